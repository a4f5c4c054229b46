# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bundles are removed when their retention has ended, as a whole, and never while something still needs them."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.catalog_object import canonical, digest
from ansible_collections.pgops.rollback.plugins.module_utils.connection import server_info
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_bundle import (
    CONTENT,
    EXPIRED,
    NOTE_EXPIRED,
    PARTIAL,
)
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_retention import TIME, keep_until
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_retention import expire as expire_bundles
from tests.integration.test_backup_schedule import Machine, needs_cron
from tests.integration.test_backup_schedule import changed as run_changed
from tests.integration.test_backup_schedule import pytestmark as needs_namespace
from tests.support.database import ROOT, TestDatabase
from tests.support.modules import ModuleRun, run_module
from tests.support.playbook import inventory, report, rollback, rollback_variables, steps
from tests.support.waiting import until

MANIFEST = {"name": "notes", "tables": ["public.notes"]}
PLAYBOOK = ROOT / "playbooks/expire_bundles.yml"


@pytest.fixture
def notes(database: TestDatabase) -> TestDatabase:
    database.query("CREATE TABLE notes (id int PRIMARY KEY, body text); INSERT INTO notes VALUES (1, 'dear diary')")
    return database


def tear_down(database: TestDatabase, artifacts: Path, run_id: str, mode: str, retention: str) -> Path:
    """:returns: the bundle."""
    planned = {
        **database.login(), "manifest": MANIFEST, "allow_unknown_provenance": True, "mode": mode,
        "require_backup": False,
    }  # fmt: skip
    token = run_module("teardown_plan", planned)["token"]
    done = run_module("teardown", {
        **planned, "confirm": token, "batch": {"db1": token}, "host": "db1", "artifacts_dir": str(artifacts),
        "run_id": run_id, "bundle_retention": retention,
    })  # fmt: skip
    return Path(done["bundle"])


def undo(database: TestDatabase, artifacts: Path, **more: Any) -> ModuleRun:
    return run_module("teardown_undo", {**database.login(), "host": "db1", "artifacts_dir": str(artifacts), **more})


def expire(database: TestDatabase, artifacts: Path, check: bool = False) -> ModuleRun:
    return run_module("teardown_expire", {**database.login(), "host": "db1", "artifacts_dir": str(artifacts)}, check)


def fates(run: ModuleRun) -> dict[str, str]:
    """By the name of the run, what became of its bundle."""
    return {Path(each["bundle"]).parent.name: each["fate"] for each in run["bundles"]}


def changed(bundle: Path, **values: Any) -> None:
    """As another release, clock or host would have written it."""
    content = {**json.loads((bundle / CONTENT).read_text(encoding="utf-8")), **values}
    del content["sum"]
    (bundle / CONTENT).write_text(json.dumps({**content, "sum": digest(canonical(content))}), encoding="utf-8")


def wait_for_the_end(database: TestDatabase, bundle: Path) -> None:
    """Of its retention."""
    content = json.loads((bundle / CONTENT).read_text(encoding="utf-8"))
    ended = ("SELECT now() >= %s::timestamptz", (content["keep_until"],))
    until(lambda: bool(database.value(*ended)), "the retention has ended")


def test_until_when_it_is_kept_is_recorded_and_said(notes: TestDatabase, tmp_path: Path) -> None:
    content = json.loads((tear_down(notes, tmp_path, "long", "drop", "30d") / CONTENT).read_text(encoding="utf-8"))
    created, last = (datetime.strptime(content[name], TIME) for name in ("created", "keep_until"))
    assert last - created == timedelta(days=30)
    run = expire(notes, tmp_path)
    assert (run["changed"], run["status"], fates(run)) == (False, "ok", {"long": "kept"})
    assert f"It is to be kept until {content['keep_until']}." in run["msg"]


def test_a_drop_expires_as_a_whole(notes: TestDatabase, tmp_path: Path) -> None:
    bundle = tear_down(notes, tmp_path, "short", "drop", "1s")
    wait_for_the_end(notes, bundle)
    foreseen = expire(notes, tmp_path, check=True)
    assert (foreseen["changed"], "Would remove 1: " in foreseen["msg"]) == (True, True)
    assert (bundle / CONTENT).exists()
    run = expire(notes, tmp_path)
    assert (run["changed"], run["status"], fates(run)) == (True, "changed", {"short": "removed"})
    assert [path.name for path in bundle.parent.iterdir()] == [NOTE_EXPIRED]
    # It cannot be undone any more, and says why.
    gone = undo(notes, tmp_path, bundle=str(bundle))
    assert (gone["code"], "was removed when its retention had ended" in gone["msg"]) == ("bundle_expired", True)
    assert undo(notes, tmp_path)["code"] == "bundle_none"
    again = expire(notes, tmp_path)
    assert (again["changed"], again["msg"]) == (False, "There is no bundle.")


def test_what_is_in_quarantine_keeps_its_bundle(notes: TestDatabase, tmp_path: Path) -> None:
    bundle = tear_down(notes, tmp_path, "held", "quarantine", "1s")
    wait_for_the_end(notes, bundle)
    run = expire(notes, tmp_path)
    assert (run["changed"], run["status"], fates(run)) == (False, "ok", {"held": "kept"})
    assert "Its objects are still in quarantine, in rollback_quarantine_held" in run["msg"]
    # From another database nobody can tell.
    other = TestDatabase(notes.cluster)
    other.create()
    try:
        elsewhere = expire(other, tmp_path)
        assert (elsewhere["changed"], elsewhere["status"], fates(elsewhere)) == (False, "degraded", {"held": "left"})
    finally:
        other.drop()
    assert undo(notes, tmp_path)["changed"]
    assert fates(expire(notes, tmp_path)) == {"held": "removed"}
    assert notes.value("SELECT body FROM notes") == "dear diary"


def test_what_is_odd_is_named_and_left(notes: TestDatabase, tmp_path: Path) -> None:
    bundle = tear_down(notes, tmp_path, "odd", "drop", "1s")
    wait_for_the_end(notes, bundle)
    whole = (bundle / CONTENT).read_text(encoding="utf-8")
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).strftime(TIME)

    def told() -> str:
        connection = notes.connect()
        found = expire_bundles(connection, server_info(connection), str(tmp_path), "db1", False)
        connection.close()
        assert (found["changed"], found["status"]) == (False, "degraded")
        return str(found["msg"])

    for values, words in (
        ({"host": "db2"}, "It is of db2, and lies where those of db1 do."),
        ({"created": tomorrow}, f"It is from {tomorrow}, which is still to come: a clock was wrong, or is."),
        ({"keep_until": "soon"}, "does not say keep_until"),
        ({"keep_until": None}, "does not say keep_until"),
        ({"format_version": 99}, "has format 99"),
    ):
        changed(bundle, **values)
        assert words in told()
        (bundle / CONTENT).write_text(whole, encoding="utf-8")
    for text, words in ((whole[:-99], "cannot be read"), (whole.replace("drop", "dr0p", 1), "was changed after")):
        (bundle / CONTENT).write_text(text, encoding="utf-8")
        assert words in told()
    (bundle / CONTENT).unlink()
    assert "no complete bundle" in told()
    (bundle / CONTENT).write_text(whole, encoding="utf-8")
    moved = bundle.rename(tmp_path / "elsewhere")
    bundle.symlink_to(moved)
    assert f"It is a link to {moved}" in told()
    bundle.unlink()
    moved.rename(bundle)
    # Rows that are damaged are removed all the same.
    (bundle / "archive.dump").write_bytes(b"")
    assert fates(expire(notes, tmp_path)) == {"odd": "removed"}


def test_what_interrupted_runs_left_is_removed(database: TestDatabase, tmp_path: Path) -> None:
    runs = tmp_path / "db1"
    for name in (f"old/{PARTIAL}", f"new/{PARTIAL}", f"killed/{EXPIRED}"):
        (runs / name).mkdir(parents=True)
        (runs / name / "archive.dump").touch()
    (runs / "latest").symlink_to("old")
    two_days_ago = datetime.now(UTC).timestamp() - 2 * 86400
    for path in (runs / "old" / PARTIAL / "archive.dump", runs / "old" / PARTIAL):
        os.utime(path, (two_days_ago, two_days_ago))
    assert fates(expire(database, tmp_path, check=True)) == {"old": "removed", "killed": "removed"}
    assert fates(expire(database, tmp_path)) == {"old": "removed", "killed": "removed"}
    assert sorted(str(path.relative_to(runs)) for path in runs.glob("*/.*")) == [f"new/{PARTIAL}"]


def test_a_span_that_no_calendar_has_is_refused() -> None:
    with pytest.raises(RollbackError, match="teardown_bundle_retention is 4000000 days") as refused:
        keep_until(datetime.now(UTC), timedelta(days=4000000))
    assert refused.value.code == "duration_invalid"


@pytest.mark.full
def test_as_a_user_types_it(notes: TestDatabase, tmp_path: Path) -> None:
    bundle = tear_down(notes, tmp_path / "artifacts", "short", "drop", "1s")
    wait_for_the_end(notes, bundle)
    inventory(tmp_path, {"db1": rollback_variables(notes.login())})
    assert rollback(tmp_path, "--check", playbook=PLAYBOOK).returncode == 0
    assert bundle.exists()
    assert steps(report(tmp_path, "db1")) == {"preflight": "ok", "expire": "changed"}
    odd = bundle.parent.with_name("odd") / "bundle"
    odd.mkdir(parents=True)
    done = rollback(tmp_path, playbook=PLAYBOOK)
    assert (bundle.exists(), odd.exists()) == (False, True)
    assert steps(report(tmp_path, "db1")) == {"preflight": "ok", "expire": "degraded"}
    assert (done.returncode, "Left for somebody to look at 1" in " ".join(done.stdout.split())) == (2, True)


@pytest.mark.full
@needs_namespace
@needs_cron
def test_on_a_schedule(tmp_path: Path) -> None:
    machine = Machine(tmp_path, {"db1": {}})
    (tmp_path / "play.yml").write_text(
        "- hosts: all\n  gather_facts: false\n  tasks:\n    - ansible.builtin.include_role:\n"
        "        name: pgops.rollback.teardown\n        tasks_from: schedule\n", encoding="utf-8",
    )  # fmt: skip
    refused = machine.schedule()
    assert (refused.returncode, "teardown_expire_schedule is not set." in refused.stdout) == (2, True)
    assert run_changed(machine.schedule(teardown_expire_schedule="0 4 * * *", teardown_expire_schedule_delay=0))
    (line,) = machine.crontab()
    assert line.startswith("0 4 * * * sleep 0; ")
    assert "pgops.rollback.expire_bundles -i " in line
    assert run_changed(machine.schedule(teardown_expire_schedule_state="absent"))
    assert machine.crontab() == []
