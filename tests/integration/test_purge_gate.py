# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""rollback.yml --tags purge: the gate of a teardown in front of it too, the way there and the way back."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_teardown_gate import VARIABLES, WRONG, plan_token, refused, step
from tests.support.database import TestCluster, TestDatabase
from tests.support.modules import run_module
from tests.support.playbook import ROOT, command, inventory, report, rollback, rollback_variables, steps, surroundings
from tests.support.quarantine import assert_same, state
from tests.support.teardown import COACHING, load_application
from tests.support.terminal import at_a_terminal

PROMPT = "to confirm the purge"
FREELY = {**VARIABLES, "teardown_require_backup": False}


@pytest.fixture(scope="module")
def kept(cluster: TestCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestDatabase, Path]]:
    """The application with its coaching tables in a quarantine that no test may harm, and the artifacts."""
    made, artifacts = TestDatabase(cluster), tmp_path_factory.mktemp("kept") / "artifacts"
    made.create()
    load_application(made)
    options = {**made.login(), "manifest": COACHING, "allow_unknown_provenance": True}
    token = run_module("teardown_plan", options)["token"]
    where = {"host": "db1", "artifacts_dir": str(artifacts), "run_id": "moved"}
    assert run_module("teardown", {**options, **where, "confirm": token, "batch": {"db1": token}})["changed"]
    yield made, artifacts
    made.drop()


@pytest.fixture
def directory(kept: tuple[TestDatabase, Path], tmp_path: Path) -> Iterator[Path]:
    """Of runs after which everything is in quarantine still."""
    database, artifacts = kept
    shutil.copytree(artifacts, tmp_path / "artifacts")
    inventory(tmp_path, {"db1": {**rollback_variables(database.login()), **FREELY}})
    yield tmp_path
    (schema,) = database.query("SELECT nspname FROM pg_namespace WHERE nspname ~ '^rollback_quarantine'")[0]
    assert database.value(f"SELECT count(*) FROM {schema}.sponsor_chat_messages") == 2500


def purge(directory: Path, *arguments: str, confirm: str | None = None) -> subprocess.CompletedProcess[str]:
    given = [] if confirm is None else ["-e", json.dumps({"rollback_confirm": confirm})]
    return rollback(directory, "--tags", "purge", *given, *arguments)


def predicted(directory: Path) -> str:
    """The token, of a run that asks nobody."""
    done = purge(directory, "--check")
    assert steps(report(directory, "db1")) == {"preflight": "ok", "plan": "ok", "purge": "changed"}, done.stdout
    return plan_token(directory, "db1")


def test_nothing_is_confirmed_without_a_terminal(directory: Path) -> None:
    done = purge(directory)
    refused(directory, done, "confirmation_invalid", name="purge")
    plan = json.loads((directory / "artifacts/db1/latest/plan.json").read_text(encoding="utf-8"))
    assert plan["mode"] == "purge"
    assert "--tags purge" in done.stdout


@pytest.mark.full
def test_another_token_is_refused(directory: Path) -> None:
    refused(directory, purge(directory, confirm=WRONG), "confirmation_foreign", name="purge")
    token = predicted(directory)
    refused(directory, purge(directory, "-e", "teardown_allow_unknown_provenance=false", confirm=token),
            "confirmation_foreign", name="purge")  # fmt: skip


@pytest.mark.full
@pytest.mark.parametrize("tag", ["teardown", "purge", "always", "never", "all"])
def test_no_skipped_tag_leads_past_it(directory: Path, tag: str) -> None:
    done = purge(directory, "--skip-tags", tag, confirm=WRONG)
    assert done.returncode not in (0, 2), done.stdout


@pytest.mark.full
@pytest.mark.parametrize("skipped", ["plan", "report", "verify", "plan,report,verify"])
def test_the_module_refuses_whatever_else_is_skipped(directory: Path, skipped: str) -> None:
    done = purge(directory, "--skip-tags", skipped, confirm=WRONG)
    assert done.returncode == 2, done.stdout + done.stderr
    assert f"The token {WRONG} does not confirm this run." in " ".join(done.stdout.split())


@pytest.mark.full
@pytest.mark.parametrize("name", ["Plan", "Ask", "Tear down", "Do it"])
def test_no_start_leads_past_it(directory: Path, name: str) -> None:
    done = purge(directory, "--start-at-task", name, confirm=WRONG)
    assert done.returncode not in (0, 2)
    assert "--start-at-task finds no task" in done.stdout + done.stderr


@pytest.mark.full
@pytest.mark.parametrize("tags", ["never", "all", "all,never", "teardown"])
def test_no_other_tag_purges(directory: Path, tags: str) -> None:
    token = predicted(directory)
    rollback(directory, "--tags", tags, "-e", f"rollback_confirm={token}")
    found = report(directory, "db1")
    # The newest is the prediction where a run got nowhere.
    assert found["check_mode"] or "purge" not in steps(found)


@pytest.mark.full
@pytest.mark.parametrize("tag", ["sequence", "advise", "backup", "teardown"])
def test_it_is_a_run_of_its_own(directory: Path, tag: str) -> None:
    done = rollback(directory, "--tags", f"purge,{tag}", "-e", f"rollback_confirm={WRONG}")
    assert done.returncode not in (0, 2)
    assert f"Run {tag} before it or after it." in done.stdout + done.stderr


@pytest.mark.full
def test_a_terminal_that_is_left_alone_waits_and_another_answer_is_refused(directory: Path) -> None:
    words = command(directory, ROOT / "rollback.yml", "--tags", "purge")
    with at_a_terminal(words, directory, surroundings(directory)) as terminal:
        terminal.await_text(PROMPT)
        assert terminal.process.poll() is None
        terminal.answer("yes", "PLAY [Tear down]")
        assert terminal.finish() == 2, terminal.shown
    assert step(directory, "purge")["status"] == "refused"


@pytest.mark.full
def test_a_purge_needs_a_backup(directory: Path) -> None:
    done = purge(directory, "-e", '{"teardown_require_backup": true}', confirm=WRONG)
    assert done.returncode == 2, done.stdout
    assert steps(report(directory, "db1")) == {"preflight": "ok", "plan": "refused", "purge": "refused"}
    assert "Something stands in the way on db1" in step(directory, "purge")["message"]


@pytest.mark.full
def test_there_and_all_the_way_back(database: TestDatabase, tmp_path: Path) -> None:
    """A quarantine, its purge, the undo of that, and of the quarantine: everything is as it was."""
    load_application(database)
    at_home = state(database)
    inventory(tmp_path, {"db1": {**rollback_variables(database.login()), **FREELY}})

    def run(*arguments: str, **variables: Any) -> subprocess.CompletedProcess[str]:
        return rollback(tmp_path, *arguments, *(["-e", json.dumps(variables)] if variables else []))

    assert run("--tags", "plan").returncode == 0
    run("--tags", "teardown", "--skip-tags", "verify", rollback_confirm=plan_token(tmp_path, "db1"))
    moved = state(database)
    predicted(tmp_path)
    done = purge(tmp_path, confirm=plan_token(tmp_path, "db1"))
    assert steps(report(tmp_path, "db1")) == {
        "preflight": "ok", "plan": "ok", "purge": "changed", "verify": step(tmp_path, "verify")["status"],
    }, done.stdout  # fmt: skip
    assert "Purged 8 objects" in step(tmp_path, "purge")["message"]
    assert database.query("SELECT FROM pg_namespace WHERE nspname ~ '^rollback_quarantine'") == []
    assert "alone: keep it safe, and back it up" in done.stdout
    assert "pgops.rollback.undo" in done.stdout

    again = purge(tmp_path)
    assert steps(report(tmp_path, "db1"))["purge"] == "ok", again.stdout
    for mode, said, then in (("purge", "back in quarantine", moved), ("quarantine", "is back as it was", at_home)):
        done = rollback(tmp_path, playbook=ROOT / "playbooks/undo.yml")
        assert steps(report(tmp_path, "db1")) == {"preflight": "ok", "undo": "changed", "verify": "ok"}, done.stdout
        assert step(tmp_path, "undo")["details"]["mode"] == mode
        assert said in done.stdout
        assert_same(then, state(database))
