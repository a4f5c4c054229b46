# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The gate in front of a teardown: nobody gets past it by accident, and who means it gets through."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.pgops.rollback.plugins.module_utils.confirmation import batch_token
from tests.support.database import TestCluster, TestDatabase
from tests.support.playbook import (
    ROOT,
    command,
    inventory,
    report,
    rollback,
    rollback_variables,
    steps,
    surroundings,
)
from tests.support.teardown import COACHING, load_application
from tests.support.terminal import at_a_terminal

TABLES = COACHING["tables"]
ROWS = {"public.sponsor_connections": 200, "public.sponsor_chat_messages": 2500, "public.sponsor_visible_memos": 600}
#: The databases of the tests have no baseline.
VARIABLES = {"teardown_allow_unknown_provenance": True}
WRONG = "rb-0123456789ab"
PROMPT = "to confirm the teardown"
#: The play that follows it.
APPLIES = "PLAY [Tear down]"


def tables(database: TestDatabase) -> dict[str, int]:
    """Rows of the tables that are there."""
    there = [name for name in TABLES if database.value("SELECT to_regclass(%s) IS NOT NULL", (name,))]
    return {name: database.value(f"SELECT count(*) FROM {name}") for name in there}


@pytest.fixture(scope="module")
def kept(cluster: TestCluster) -> Iterator[TestDatabase]:
    """The application that no test of this file may harm."""
    made = TestDatabase(cluster)
    made.create()
    load_application(made)
    yield made
    made.drop()


@pytest.fixture
def application(database: TestDatabase) -> TestDatabase:
    load_application(database)
    return database


@pytest.fixture
def directory(kept: TestDatabase, tmp_path: Path) -> Iterator[Path]:
    """Of runs on the database that has to be as it was afterwards."""
    inventory(tmp_path, {"db1": {**rollback_variables(kept.login()), **VARIABLES}})
    yield tmp_path
    assert tables(kept) == ROWS


@pytest.fixture(scope="module")
def token(kept: TestDatabase, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of the database's plan."""
    directory = tmp_path_factory.mktemp("plan")
    inventory(directory, {"db1": {**rollback_variables(kept.login()), **VARIABLES}})
    assert rollback(directory, "--tags", "plan").returncode == 0
    return plan_token(directory, "db1")


def plan_token(directory: Path, host: str) -> str:
    text = (directory / "artifacts" / host / "latest/plan.json").read_text(encoding="utf-8")
    return str(json.loads(text)["token"])


def teardown(directory: Path, *arguments: str, confirm: Any = None) -> subprocess.CompletedProcess[str]:
    given = [] if confirm is None else ["-e", json.dumps({"rollback_confirm": confirm})]
    return rollback(directory, "--tags", "teardown", *given, *arguments)


def step(directory: Path, name: str, host: str = "db1") -> dict[str, Any]:
    return next(each for each in report(directory, host)["steps"] if each["name"] == name)


def refused(
    directory: Path, done: subprocess.CompletedProcess[str], code: str, host: str = "db1", name: str = "teardown"
) -> None:
    """The module refused, for this reason, and said so in the report."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    found = step(directory, name, host)
    assert (found["status"], found["details"].get("code")) == ("refused", code), done.stdout
    assert "nothing was done" in found["message"]


@pytest.mark.full
def test_a_manifest_that_cannot_be_read_is_said_in_the_report(directory: Path) -> None:
    assert teardown(directory, "-e", "rollback_manifest=nosuch.yml").returncode == 2
    assert steps(report(directory, "db1")) == {"preflight": "ok", "plan": "failed", "teardown": "skipped"}
    planned = step(directory, "plan")
    assert planned["details"]["code"] == "manifest_unreadable"
    assert f"cannot be read: {directory}/nosuch.yml: there is no such file." in planned["message"]


def test_without_a_terminal_nothing_is_confirmed(directory: Path) -> None:
    refused(directory, teardown(directory), "confirmation_invalid")


@pytest.mark.full
def test_a_closed_stdin_confirms_nothing(directory: Path) -> None:
    words = command(directory, ROOT / "rollback.yml", "--tags", "teardown")
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *words], cwd=directory, env=surroundings(directory), capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    refused(directory, done, "confirmation_invalid")


@pytest.mark.full
@pytest.mark.parametrize(
    ("confirm", "code"),
    [
        (WRONG, "confirmation_foreign"),
        ("", "confirmation_invalid"),
        (123456789012, "confirmation_invalid"),
        ("123456789012", "confirmation_invalid"),
        (1.5e11, "confirmation_invalid"),
        (True, "confirmation_invalid"),
    ],
)
def test_another_token_is_refused(directory: Path, confirm: Any, code: str) -> None:
    refused(directory, teardown(directory, confirm=confirm), code)


@pytest.mark.full
def test_a_token_is_stale_when_the_plan_has_changed(kept: TestDatabase, directory: Path, token: str) -> None:
    """Between the plan and the apply, by the user's own task; before them, it is the token of another plan."""
    (directory / "change.yml").write_text(
        f"""
- ansible.builtin.command: >-
    {kept.cluster.bindir}/psql -h {kept.cluster.socket_directory} -p {kept.cluster.recipe.socket_port} -U operator
    -d {kept.name} -c "CREATE VIEW public.new_since AS SELECT id FROM public.sponsor_connections"
""",
        encoding="utf-8",
    )
    try:
        done = teardown(directory, "-e", "rollback_before=change.yml", confirm=token)
        refused(directory, done, "confirmation_stale")
        refused(directory, teardown(directory, confirm=token), "confirmation_foreign")
    finally:
        kept.query("DROP VIEW public.new_since")


@pytest.mark.parametrize("tag", ["teardown", "always", "never", "all", "purge"])
def test_no_skipped_tag_leads_past_it(directory: Path, token: str, tag: str) -> None:
    done = teardown(directory, "--skip-tags", tag, confirm=token)
    assert done.returncode not in (0, 2)


@pytest.mark.full
@pytest.mark.parametrize("skipped", ["plan", "report", "verify", "plan,report,verify"])
def test_the_module_refuses_whatever_else_is_skipped(directory: Path, skipped: str) -> None:
    done = teardown(directory, "--skip-tags", skipped, confirm=WRONG)
    assert done.returncode == 2, done.stdout + done.stderr
    assert f"The token {WRONG} does not confirm this run." in " ".join(done.stdout.split())


def task_names() -> list[str]:
    """Of everything that a teardown runs."""
    files = [ROOT / "playbooks/teardown.yml"]
    roles = ("teardown", "coaching_teardown", "rollback_preflight", "rollback_report", "post_rollback_verification")
    for role in roles:
        files += sorted((ROOT / "roles" / role / "tasks").glob("*.yml"))
    found: list[str] = []

    def collect(entries: Any) -> None:
        for entry in entries if isinstance(entries, list) else []:
            found.append(entry["name"])
            for key in ("tasks", "block", "rescue", "always"):
                collect(entry.get(key))

    for file in files:
        collect(yaml.safe_load(file.read_text(encoding="utf-8")))
    return sorted(set(found))


@pytest.mark.full
@pytest.mark.parametrize("name", task_names())
def test_no_start_leads_past_it(directory: Path, token: str, name: str) -> None:
    done = teardown(directory, "--start-at-task", name, confirm=token)
    assert done.returncode not in (0, 2)
    assert "--start-at-task finds no task" in done.stdout + done.stderr


def test_the_module_cannot_be_started_at(directory: Path, token: str) -> None:
    test_no_start_leads_past_it(directory, token, "Tear down")


@pytest.mark.parametrize("tags", [["--tags", "never"], ["--tags", "all"], [], ["--tags", "all,never"]])
def test_no_other_tag_tears_down(directory: Path, token: str, tags: list[str]) -> None:
    rollback(directory, *tags, "-e", f"rollback_confirm={token}")
    if (directory / "artifacts").exists():
        assert "teardown" not in steps(report(directory, "db1"))


@pytest.mark.parametrize("tag", ["sequence", "advise", "backup"])
def test_it_is_a_run_of_its_own(directory: Path, token: str, tag: str) -> None:
    done = rollback(directory, "--tags", f"teardown,{tag}", "-e", f"rollback_confirm={token}")
    assert done.returncode not in (0, 2)
    assert f"Run {tag} before it or after it." in done.stdout + done.stderr


def test_its_playbook_does_nothing_without_its_tag(directory: Path, token: str) -> None:
    done = rollback(directory, "-e", f"rollback_confirm={token}", playbook=ROOT / "playbooks/teardown.yml")
    assert done.returncode not in (0, 2)
    assert "rollback.yml --tags teardown" in done.stdout + done.stderr


@pytest.mark.full
@pytest.mark.parametrize("confirmed", [False, True])
def test_check_mode_predicts(directory: Path, token: str, confirmed: bool) -> None:
    done = teardown(directory, "--check", confirm=token if confirmed else None)
    assert done.returncode == 0, done.stdout + done.stderr
    assert steps(report(directory, "db1")) == {"preflight": "ok", "plan": "ok", "teardown": "changed"}
    assert PROMPT not in done.stdout


@pytest.mark.full
def test_check_mode_tries_the_token(directory: Path) -> None:
    refused(directory, teardown(directory, "--check", confirm=WRONG), "confirmation_foreign")


@pytest.mark.full
def test_a_strategy_of_the_users_does_not_lead_past_it(directory: Path) -> None:
    done = rollback(directory, "--tags", "teardown", ANSIBLE_STRATEGY="free")
    refused(directory, done, "confirmation_invalid")


@pytest.mark.full
def test_a_terminal_that_is_left_alone_waits(directory: Path) -> None:
    """As under ansible-runner, whose idle timeout ends it."""
    words = command(directory, ROOT / "rollback.yml", "--tags", "teardown")
    with at_a_terminal(words, directory, surroundings(directory)) as terminal:
        terminal.await_text(PROMPT)
        assert terminal.process.poll() is None
    found = report(directory, "db1")
    assert (steps(found)["teardown"], step(directory, "teardown")["message"]) == ("skipped", "Planned, not done yet.")


@pytest.mark.full
@pytest.mark.parametrize("typed", [WRONG, "", "yes"])
def test_anything_else_that_is_typed_is_refused(directory: Path, typed: str) -> None:
    words = command(directory, ROOT / "rollback.yml", "--tags", "teardown")
    with at_a_terminal(words, directory, surroundings(directory)) as terminal:
        terminal.await_text(PROMPT)
        terminal.answer(typed, APPLIES)
        assert terminal.finish() == 2, terminal.shown
    assert step(directory, "teardown")["status"] == "refused"


@pytest.mark.full
def test_what_stands_in_the_way_is_not_asked_about(directory: Path, token: str) -> None:
    blocked = ["-e", '{"teardown_allow_unknown_provenance": false}']
    words = command(directory, ROOT / "rollback.yml", "--tags", "teardown", *blocked)
    with at_a_terminal(words, directory, surroundings(directory)) as terminal:
        assert terminal.finish() == 2, terminal.shown
        assert PROMPT not in terminal.shown
    assert steps(report(directory, "db1")) == {"preflight": "ok", "plan": "refused", "teardown": "refused"}
    assert "Something stands in the way on db1" in step(directory, "teardown")["message"]
    done = teardown(directory, *blocked, "--skip-tags", "report", confirm=token)
    assert done.returncode == 2, done.stdout


@pytest.mark.full
@pytest.mark.parametrize("hook", ["rollback_before", "rollback_after"])
def test_a_task_file_that_is_missing_is_found_before_anything_is_done(directory: Path, token: str, hook: str) -> None:
    done = teardown(directory, "-e", f"{hook}=gone.yml", confirm=token)
    assert done.returncode == 2, done.stdout
    assert f"{hook}: {directory}/gone.yml is no file." in step(directory, "teardown")["message"]


# Two databases.


@pytest.fixture
def pair(kept: TestDatabase, application: TestDatabase, tmp_path: Path) -> Iterator[Path]:
    hosts = {"db1": kept, "db2": application}
    variables = {host: {**rollback_variables(each.login()), **VARIABLES} for host, each in hosts.items()}
    inventory(tmp_path, variables)
    yield tmp_path
    assert tables(kept) == ROWS


def test_two_databases_are_not_confirmed_by_the_token_of_one(
    pair: Path, application: TestDatabase, token: str
) -> None:
    done = teardown(pair, confirm=token)
    for host in ("db1", "db2"):
        refused(pair, done, "confirmation_foreign", host)
    assert tables(application) == ROWS


@pytest.mark.full
def test_one_that_cannot_be_planned_keeps_the_other_from_it(
    pair: Path, application: TestDatabase, token: str, tmp_path: Path
) -> None:
    nowhere = {"rollback_login_host": str(tmp_path), "rollback_login_db": "app"}
    inventory(pair, {"db2": {**rollback_variables(application.login()), **VARIABLES}, "db3": nowhere})
    done = teardown(pair, confirm=token)
    assert done.returncode == 2
    assert "There is no plan of db3" in step(pair, "teardown", "db2")["message"]
    assert steps(report(pair, "db3"))["plan"] == "skipped"
    assert tables(application) == ROWS


# Whoever means it.


def test_the_token_typed_at_a_terminal_confirms(application: TestDatabase, tmp_path: Path) -> None:
    inventory(tmp_path, {"db1": {**rollback_variables(application.login()), **VARIABLES}})
    words = command(tmp_path, ROOT / "rollback.yml", "--tags", "teardown")
    with at_a_terminal(words, tmp_path, surroundings(tmp_path)) as terminal:
        terminal.await_text(PROMPT)
        asked = terminal.shown
        terminal.answer(plan_token(tmp_path, "db1"), APPLIES)
        terminal.finish()
    assert "db1: quarantine in" in asked
    assert "2 functions, 3 sequences, 3 tables; 3,300 rows" in asked
    assert steps(report(tmp_path, "db1"))["teardown"] == "changed", terminal.shown
    assert tables(application) == {}


def test_two_databases_are_confirmed_together_without_a_terminal(cluster: TestCluster, tmp_path: Path) -> None:
    """One after the other, with what the user does before and after."""
    databases = {name: TestDatabase(cluster) for name in ("db1", "db2")}
    for task in ("before", "after"):
        (tmp_path / f"{task}.yml").write_text(
            f"- ansible.builtin.lineinfile: {{path: '{tmp_path}/log', line: '{task} {{{{ inventory_hostname }}}}',"
            " create: true, mode: '0600'}\n",
            encoding="utf-8",
        )
    try:
        for each in databases.values():
            each.create()
            load_application(each)
        inventory(tmp_path, {
            host: {**rollback_variables(each.login()), **VARIABLES} for host, each in databases.items()
        })  # fmt: skip
        assert rollback(tmp_path, "--tags", "plan").returncode == 0
        both = batch_token({host: plan_token(tmp_path, host) for host in databases})
        hooks = ["-e", "rollback_before=before.yml", "-e", f"rollback_after={tmp_path}/after.yml"]
        done = teardown(tmp_path, *hooks, "-e", "rollback_serial=1", "--skip-tags", "verify", confirm=both)
        for host, each in databases.items():
            assert steps(report(tmp_path, host))["teardown"] == "changed", done.stdout
            assert tables(each) == {}
        log = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
        assert log == ["before db1", "after db1", "before db2", "after db2"]
        # A second run finds nothing and asks nobody.
        again = teardown(tmp_path)
        assert {steps(report(tmp_path, host))["teardown"] for host in databases} == {"ok"}, again.stdout
    finally:
        for each in databases.values():
            each.drop()


@pytest.mark.parametrize("mode", [pytest.param("quarantine", marks=pytest.mark.full), "drop"])
def test_what_was_torn_down_comes_back(application: TestDatabase, tmp_path: Path, mode: str) -> None:
    """With nothing typed, between what the user does before and after it."""
    for task in ("before", "after"):
        (tmp_path / f"{task}.yml").write_text(
            f"- ansible.builtin.file: {{path: '{tmp_path}/{task}', state: touch, mode: '0600'}}\n", encoding="utf-8"
        )
    how = {**VARIABLES, "teardown_mode": mode, "teardown_require_backup": False}
    inventory(tmp_path, {"db1": {**rollback_variables(application.login()), **how}})
    assert rollback(tmp_path, "--tags", "plan").returncode == 0
    torn_down = teardown(tmp_path, "--skip-tags", "verify", confirm=plan_token(tmp_path, "db1"))
    assert tables(application) == {}
    told = {"quarantine": "stay in the database, in quarantine", "drop": "alone: keep it safe, and back it up"}
    assert told[mode] in " ".join(torn_down.stdout.split())
    hooks = ["-e", "rollback_before=before.yml", "-e", "rollback_after=after.yml"]
    done = rollback(tmp_path, *hooks, playbook=ROOT / "playbooks/undo.yml")
    assert steps(report(tmp_path, "db1")) == {"preflight": "ok", "undo": "changed", "verify": "ok"}, done.stdout
    assert "What was torn down is back as it was." in done.stdout
    assert (tmp_path / "before").exists()
    assert (tmp_path / "after").exists()
    assert tables(application) == ROWS


@pytest.mark.full
def test_a_missing_task_file_keeps_from_an_undo(directory: Path) -> None:
    done = rollback(directory, "-e", "rollback_after=gone.yml", playbook=ROOT / "playbooks/undo.yml")
    assert done.returncode == 2
    assert "rollback_after: " in step(directory, "undo")["message"]


@pytest.mark.full
def test_no_application_is_stopped_for_what_is_refused(directory: Path) -> None:
    (directory / "stop.yml").write_text(
        f"- ansible.builtin.file: {{path: '{directory}/stopped', state: touch, mode: '0600'}}\n", encoding="utf-8"
    )
    refused(directory, teardown(directory, "-e", "rollback_before=stop.yml", confirm=WRONG), "confirmation_foreign")
    assert not (directory / "stopped").exists()


@pytest.mark.full
def test_the_application_is_started_again_after_a_failure(directory: Path, token: str) -> None:
    (directory / "stop.yml").write_text("- ansible.builtin.fail: {msg: It does not stop.}\n", encoding="utf-8")
    (directory / "start.yml").write_text(
        f"- ansible.builtin.file: {{path: '{directory}/started', state: touch, mode: '0600'}}\n", encoding="utf-8"
    )
    done = teardown(directory, "-e", "rollback_before=stop.yml", "-e", "rollback_after=start.yml", confirm=token)
    assert done.returncode == 2
    assert (directory / "started").exists()
    assert steps(report(directory, "db1"))["teardown"] == "failed"


@pytest.mark.full
def test_rows_that_came_into_empty_tables_are_seen(database: TestDatabase, tmp_path: Path) -> None:
    """Between the plan and the teardown, while the application is being stopped."""
    database.query("CREATE TABLE public.bare (id int)")
    login = database.login()
    (tmp_path / "manifest.yml").write_text("{name: bare, tables: [public.bare]}\n", encoding="utf-8")
    (tmp_path / "fill.py").write_text(
        f"import psycopg2\nwith psycopg2.connect(host={login['login_host']!r}, port={login['login_port']!r},"
        f" user={login['login_user']!r}, password={login.get('login_password')!r}, dbname={login['login_db']!r})"
        " as c:\n    c.cursor().execute('INSERT INTO public.bare VALUES (1)')\n", encoding="utf-8",
    )  # fmt: skip
    (tmp_path / "fill.yml").write_text(
        f"- ansible.builtin.command: {{argv: ['{sys.executable}', '{tmp_path}/fill.py']}}\n", encoding="utf-8"
    )
    how = {**VARIABLES, "rollback_manifest": f"{tmp_path}/manifest.yml"}
    inventory(tmp_path, {"db1": {**rollback_variables(login), **how}})
    assert rollback(tmp_path, "--tags", "plan").returncode == 0
    done = teardown(tmp_path, "-e", "rollback_before=fill.yml", confirm=plan_token(tmp_path, "db1"))
    refused(tmp_path, done, "rows_grown")
    assert database.value("SELECT count(*) FROM public.bare") == 1
