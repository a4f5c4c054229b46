# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""playbooks/restore.yml: planned without a tag, confirmed by its token alone, and back again."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.database import TestDatabase
from tests.support.dumps import take_dump_with_manifest
from tests.support.playbook import ROOT, inventory, report, rollback, rollback_variables, steps
from tests.support.restores import CONTENT, HARM, ROOM, SPOILT, beside, drop_beside, orders

RESTORE = ROOT / "playbooks/restore.yml"
WRONG = "rb-0123456789ab"


@pytest.fixture
def application(database: TestDatabase, tmp_path: Path) -> Iterator[TestDatabase]:
    """Spoilt after its dump, and named in the inventory."""
    database.query(CONTENT)
    dump = take_dump_with_manifest(database, tmp_path / "dumps", "custom")
    database.query(HARM)
    inventory(tmp_path, {"db1": {
        **rollback_variables(database.login("postgres")), "database_restore_source": "pg_dump",
        "database_restore_path": str(dump), "database_restore_disk_free": ROOM,
    }})  # fmt: skip
    yield database
    drop_beside(database)


def run(directory: Path, *arguments: str, confirm: Any = None) -> subprocess.CompletedProcess[str]:
    given = [] if confirm is None else ["-e", json.dumps({"rollback_confirm": confirm})]
    return rollback(directory, *arguments, *given, playbook=RESTORE)


def token(directory: Path) -> str:
    """Of the newest plan."""
    text = (directory / "artifacts/db1/latest/plan.json").read_text(encoding="utf-8")
    return str(json.loads(text)["token"])


def step(directory: Path, name: str) -> dict[str, Any]:
    return next(each for each in report(directory, "db1")["steps"] if each["name"] == name)


def test_without_a_tag_it_only_plans(application: TestDatabase, tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert steps(report(tmp_path, "db1")) == {"preflight": "ok", "plan": "ok"}
    told = " ".join(done.stdout.split())
    assert "lost: rows of 2 tables: public.items (100 now, 300 then), public.orders (501 now, 500 then)" in told
    assert "1 object: table public.made_since" in told
    assert "--tags restore" in told
    assert (orders(application), beside(application)) == (SPOILT, [])
