# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which rung catches which damage, over all forms of a dump: the table of docs/BACKUP_VERIFICATION.md.

Every fault is tried three times: with a content manifest beside the dump, without one, and without one but with a
baseline that has checksums.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.backup import SourceSettings
from ansible_collections.pgops.rollback.plugins.module_utils.backup_ladder import RUNGS
from ansible_collections.pgops.rollback.plugins.module_utils.backup_pg_dump import PgDump
from ansible_collections.pgops.rollback.plugins.module_utils.backup_verification import Verification, verify
from ansible_collections.pgops.rollback.plugins.module_utils.baseline import Baseline, read_baseline
from ansible_collections.pgops.rollback.plugins.module_utils.content_manifest import manifest_path
from ansible_collections.pgops.rollback.plugins.module_utils.drill_options import DrillOptions
from ansible_collections.pgops.rollback.plugins.module_utils.restore_drill import drill
from ansible_collections.pgops.rollback.plugins.module_utils.system_user import system_user
from tests.integration.test_backup_verify import SCHEMA
from tests.support import faults
from tests.support.database import TestDatabase
from tests.support.dumps import take_dump_with_manifest
from tests.support.modules import run_module

FORMS = ("custom", "custom-z0", "directory", "tar", "plain", "plain-gzip")

WITH_MANIFEST, WITHOUT, WITH_BASELINE = "with a manifest", "without", "with a baseline"

#: Kind of damage, how often it is done to each form, and the forms it can be done to.
FAULTS: list[tuple[str, faults.Fault, int, tuple[str, ...]]] = [
    ("one bit flipped", faults.flip_a_bit, 6, FORMS),
    ("cut short", faults.cut_short, 3, FORMS),
    ("a file empty", faults.empty, 1, FORMS),
    ("a data file missing", faults.lose_a_file, 2, ("directory",)),
    ("rows deleted", faults.lose_rows, 3, ("plain", "plain-gzip")),
]


def climb(dump: Path, baseline: Baseline | None = None) -> dict[str, Any]:
    user = system_user()
    asked = Verification(
        run_id="table", host="here", source="pg_dump", database=None, up_to="drill", max_age=timedelta(hours=1),
        drill=DrillOptions(user=user, baseline=baseline),
    )  # fmt: skip
    source = PgDump(SourceSettings(user=user, timeout=20, path=str(dump)))
    return verify(source, asked, lambda _text, _fraction: None)


def restores_identically(dump: Path) -> bool:
    """Whether the damage is of no consequence, such as one in a comment: the content manifest is asked, whatever the
    file is like.
    """
    user = system_user()
    source = PgDump(SourceSettings(user=user, timeout=20, path=str(dump)))
    backup = source.inspect(source.backups()[0])
    return drill(source, backup, DrillOptions(user=user), lambda _text, _fraction: None).rung.status == "ok"


def catching(result: dict[str, Any]) -> str:
    """The rung that fails, or has a reservation; empty when none does."""
    return next((step["name"] for step in result["steps"] if step["status"] in ("failed", "degraded")), "")


@pytest.fixture
def app(database: TestDatabase) -> TestDatabase:
    database.query(SCHEMA)
    return database


def damaged(whole: Path, directory: Path, fault: faults.Fault, chance: random.Random, manifest: bool) -> Path:
    """A damaged copy, at the same place and with the same times for every fault."""
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(whole.parent, directory)
    dump = directory / whole.name
    if not manifest:
        manifest_path(dump).unlink()
    fault(dump, chance)
    return dump


def test_a_few_of_the_table(app: TestDatabase, tmp_path: Path) -> None:
    """One of each kind; the whole table is the next test's."""
    for kind, fault, _number, forms in FAULTS:
        whole = take_dump_with_manifest(app, tmp_path / kind, forms[-1])
        result = climb(damaged(whole, tmp_path / "damaged", fault, random.Random(kind), manifest=True))
        assert (kind, result["verdict"]) == (kind, "failed")


@pytest.mark.full
@pytest.mark.timeout(1500)
def test_the_table(app: TestDatabase, tmp_path: Path) -> None:
    kept = {"migration": "table", "artifacts_dir": str(tmp_path / "kept"), "host": "app", "checksums": True}
    baseline = read_baseline(Path(run_module("migration_baseline", {**app.login(), **kept})["path"]))
    caught: dict[str, Counter[tuple[str, str]]] = {
        WITH_MANIFEST: Counter(), WITHOUT: Counter(), WITH_BASELINE: Counter()
    }  # fmt: skip
    total: Counter[str] = Counter()
    for form in FORMS:
        whole = take_dump_with_manifest(app, tmp_path / form, form)
        for kind, fault, number, forms in FAULTS:
            for seed in range(number if form in forms else 0):
                total[kind] += 1
                for way, counter in caught.items():
                    chance = random.Random(f"{form} {kind} {seed}")
                    dump = damaged(whole, tmp_path / "damaged", fault, chance, way == WITH_MANIFEST)
                    result = climb(dump, baseline if way == WITH_BASELINE else None)
                    counter[kind, catching(result)] += 1
                    told = (form, kind, seed, result["steps"])
                    assert way != WITH_MANIFEST or result["verdict"] == "failed", told
                    if way == WITH_BASELINE and result["verdict"] == "ok":
                        chance = random.Random(f"{form} {kind} {seed}")
                        again = damaged(whole, tmp_path / "damaged", fault, chance, manifest=True)
                        assert restores_identically(again), told
    print(f"\n{'damage':22}number  caught by {', '.join(RUNGS)}, none ({'; '.join(caught)})")
    for kind, number in total.items():
        rows = [[counter[kind, rung] for rung in (*RUNGS, "")] for counter in caught.values()]
        print(f"{kind:22}{number:6}  {'  '.join(map(str, rows))}")
    assert sum(total.values()) >= 60
    # With nothing to compare with these leave no trace; everything else is caught.
    assert {kind for kind, rung in caught[WITHOUT] if not rung} <= {"one bit flipped", "rows deleted"}


@pytest.mark.full
@pytest.mark.timeout(600)
def test_no_intact_dump_is_failed(app: TestDatabase, tmp_path: Path) -> None:
    """Twenty of them, each after other writes."""
    verdicts = []
    for number in range(20):
        app.query("INSERT INTO orders (customer, note) SELECT 1 + n % 200, random()::text FROM generate_series(1, 9) n")
        whole = take_dump_with_manifest(app, tmp_path / str(number), FORMS[number % len(FORMS)])
        if number % 2:
            manifest_path(whole).unlink()
        verdicts.append(climb(whole)["verdict"])
    assert verdicts == ["ok"] * 20
