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
from tests.support.playbook import ROOT, command, inventory, report, rollback, rollback_variables, steps, surroundings
from tests.support.restores import CONTENT, GOOD, HARM, ROOM, SPOILT, beside, drop_beside, oid_of, orders
from tests.support.terminal import at_a_terminal

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


def test_without_the_token_nothing_is_done(application: TestDatabase, tmp_path: Path) -> None:
    """Without a terminal nobody types one."""
    done = run(tmp_path, "--tags", "restore")
    assert done.returncode == 2, done.stdout + done.stderr
    assert (step(tmp_path, "restore")["status"], step(tmp_path, "restore")["details"]["code"]) == (
        "refused", "confirmation_invalid"
    )  # fmt: skip
    assert f"rollback_confirm={token(tmp_path)}" in " ".join(done.stdout.split())
    assert (orders(application), beside(application)) == (SPOILT, [])


def test_one_thing_at_a_time(application: TestDatabase, tmp_path: Path) -> None:
    done = run(tmp_path, "--tags", "restore,purge", confirm=WRONG)
    assert done.returncode not in (0, 2)
    assert "One run does one of restore, purge" in " ".join((done.stdout + done.stderr).split())


@pytest.mark.full
@pytest.mark.parametrize("arguments", [
    ["--tags", "never"], ["--tags", "all,never"], ["--start-at-task", "Do what was confirmed"],
    ["--tags", "restore", "--skip-tags", "restore"], ["--tags", "restore", "--skip-tags", "always"],
    ["--tags", "restore", "--skip-tags", "plan"], ["--tags", "undo"], ["--tags", "purge"],
])  # fmt: skip
def test_nothing_leads_past_the_token(application: TestDatabase, tmp_path: Path, arguments: list[str]) -> None:
    done = run(tmp_path, *arguments, confirm=WRONG)
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode != 0 or "Nothing to do" in done.stdout, done.stdout
    assert (orders(application), beside(application)) == (SPOILT, [])


@pytest.mark.full
def test_check_mode_predicts(application: TestDatabase, tmp_path: Path) -> None:
    done = run(tmp_path, "--tags", "restore", "--check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert steps(report(tmp_path, "db1")) == {"preflight": "ok", "plan": "ok", "restore": "changed"}
    tried = run(tmp_path, "--tags", "restore", "--check", confirm=WRONG)
    assert (tried.returncode, step(tmp_path, "restore")["status"]) == (2, "refused")
    assert (orders(application), beside(application)) == (SPOILT, [])


@pytest.mark.full
def test_a_rehearsal_asks_nobody_and_tells_the_times(application: TestDatabase, tmp_path: Path) -> None:
    done = run(tmp_path, "--tags", "rehearse")
    assert done.returncode == 0, done.stdout + done.stderr
    found = step(tmp_path, "rehearse")
    assert (found["status"], found["changed"]) == ("ok", False)
    assert found["details"]["seconds"]["restoring"] > 0
    assert "Proved: Every row is what it was when the backup was taken" in " ".join(done.stdout.split())
    assert (orders(application), beside(application)) == (SPOILT, [])


@pytest.mark.full
def test_what_stands_in_the_way_is_not_asked_about(application: TestDatabase, tmp_path: Path) -> None:
    words = command(tmp_path, RESTORE, "--tags", "restore", "-e", "database_restore_disk_free=1MB")
    with at_a_terminal(words, tmp_path, surroundings(tmp_path)) as terminal:
        assert terminal.finish() == 2, terminal.shown
    assert "to confirm the restore" not in terminal.shown
    assert steps(report(tmp_path, "db1")) == {"preflight": "ok", "plan": "refused", "restore": "refused"}
    assert "Free some on the server." in " ".join(terminal.shown.split())
    assert (orders(application), beside(application)) == (SPOILT, [])


@pytest.mark.full
def test_restored_undone_and_purged(application: TestDatabase, tmp_path: Path) -> None:
    """The token typed at a terminal, then given; with what the user does before and after it."""
    live = oid_of(application)
    for task in ("before", "after"):
        (tmp_path / f"{task}.yml").write_text(
            f"- ansible.builtin.lineinfile: {{path: '{tmp_path}/log', line: '{task}', create: true, mode: '0600'}}\n",
            encoding="utf-8",
        )
    hooks = ["-e", "rollback_before=before.yml", "-e", "rollback_after=after.yml"]
    words = command(tmp_path, RESTORE, "--tags", "restore", *hooks)
    with at_a_terminal(words, tmp_path, surroundings(tmp_path)) as terminal:
        terminal.await_text("to confirm the restore")
        terminal.answer(token(tmp_path), "PLAY [Carry it out]")
        terminal.finish()
    found = steps(report(tmp_path, "db1"))
    assert (found["plan"], found["restore"], "verify" in found) == ("ok", "changed", True), terminal.shown
    assert (orders(application), len(beside(application))) == (GOOD, 1)
    assert (tmp_path / "log").read_text(encoding="utf-8").split() == ["before", "after"]
    assert "--tags undo" in report(tmp_path, "db1")["steps"][2]["details"]["next_command"]

    assert run(tmp_path, "--tags", "undo").returncode == 2
    done = run(tmp_path, "--tags", "undo", confirm=token(tmp_path))
    assert steps(report(tmp_path, "db1"))["undo"] == "changed", done.stdout
    assert (oid_of(application), orders(application)) == (live, SPOILT)
    assert "The database is what it was before the restore." in " ".join(done.stdout.split())

    assert run(tmp_path, "--tags", "purge").returncode == 2
    done = run(tmp_path, "--tags", "purge", confirm=token(tmp_path))
    assert (done.returncode, steps(report(tmp_path, "db1"))["purge"]) == (0, "changed"), done.stdout
    assert (orders(application), beside(application)) == (SPOILT, [])
    assert run(tmp_path, "--tags", "purge").returncode == 0
