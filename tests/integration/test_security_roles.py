# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The roles of SECURITY.md, made by its own statements: each suffices for its playbooks, and has nothing to spare."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.backup import Backup
from ansible_collections.pgops.rollback.plugins.module_utils.canary import expected_canary
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from tests.support.database import ROOT, TestCluster, TestDatabase
from tests.support.dumps import take_dump
from tests.support.modules import run_module
from tests.support.pages import blocks
from tests.support.playbook import inventory, report, rollback, rollback_variables
from tests.support.restores import CONTENT, GOOD, HARM, SPOILT, act, beside, drop_beside, end_sessions, orders
from tests.support.teardown import COACHING, load_application

PAGE = ROOT / "SECURITY.md"
READER, CHANGER, BACKUP, RESTORER = "pgops_reader", "pgops_operator", "pgops_backup", "pgops_restorer"
#: Somebody who is connected, and whose member nobody is.
VISITOR = "visitor"
#: What the page calls the database.
_NAME = re.compile(r"\bDATABASE app\b")


def statements(heading: str) -> list[str]:
    """Of the page's SQL under a heading, one by one."""
    text = "".join(block.text for block in blocks(PAGE) if (block.language, block.heading) == ("sql", heading))
    return [statement.strip() for statement in text.split(";") if statement.strip()]


STATEMENTS = {role: statements(role) for role in (READER, CHANGER, BACKUP, RESTORER)}


@pytest.fixture(scope="module")
def application(cluster: TestCluster) -> Iterator[TestDatabase]:
    """The sample application in a database that is closed to everybody, as the page advises."""
    made = TestDatabase(cluster)
    made.create()
    load_application(made)
    for statement in [*statements("Database roles"), "GRANT CONNECT ON DATABASE app TO operator",
                      "REVOKE CREATE ON DATABASE app FROM operator"]:  # fmt: skip
        administrate(made, statement)
    made.query((ROOT / "demo/break_sequences.sql").read_text(encoding="utf-8"))
    administrate(made, f"CREATE ROLE {VISITOR} LOGIN")
    yield made
    administrate(made, f"DROP ROLE {VISITOR}")
    made.drop()


def administrate(database: TestDatabase, statement: str) -> None:
    database.query(_NAME.sub(f"DATABASE {database.name}", statement), user="postgres")


@contextmanager
def role_made(database: TestDatabase, role: str, without: str = "") -> Iterator[None]:
    """As the page makes it, but for one statement."""
    for statement in STATEMENTS[role]:
        if statement != without:
            administrate(database, statement)
    try:
        yield
    finally:
        administrate(database, f"DROP OWNED BY {role}; DROP ROLE {role}")


# What each role is for. The answer is what it could not do, or nothing.


def keep_baseline(database: TestDatabase, directory: Path) -> str:
    options = {"migration": "m", "artifacts_dir": str(directory), "host": "db1"}
    run = run_module("migration_baseline", {**database.login(READER), **options})
    return str(run["msg"]) if run.failed else str(run["unreadable"] or "")


def verify(database: TestDatabase, _directory: Path) -> str:
    run = run_module("rollback_verify", database.login(READER))
    # The sequences are broken: that is found, and nothing is passed over.
    skipped = [each["name"] for each in run.get("checks", []) if each["status"] == "skipped"]
    return str(run["msg"]) if skipped or "checks" not in run.result else ""


def dump(database: TestDatabase, directory: Path) -> str:
    run = run_module("backup_dump", {**database.login(READER), "path": str(directory / "app.dump")})
    return str(run["msg"]) if run.failed else ""


def look_at_sequences(database: TestDatabase, _directory: Path) -> str:
    run = run_module("sequence_reset", database.login(CHANGER), check=True)
    return str(run["msg"]) if run.failed else ""


def quarantine_and_undo(database: TestDatabase, directory: Path) -> str:
    return tear_down_and_undo(database, directory, mode="quarantine")


def drop_and_undo(database: TestDatabase, directory: Path) -> str:
    return tear_down_and_undo(database, directory, mode="drop", require_backup=False)


def tear_down_and_undo(database: TestDatabase, directory: Path, **how: Any) -> str:
    options = {**database.login(CHANGER), "manifest": COACHING, "allow_unknown_provenance": True, **how}
    planned = run_module("teardown_plan", options)
    if planned.failed or planned["plan"]["blockers"]:
        return str(planned.get("msg") or planned["plan"]["blockers"])
    where = {"host": "db1", "artifacts_dir": str(directory / how["mode"])}
    confirmed = {"confirm": planned["token"], "batch": {"db1": planned["token"]}, "run_id": "r"}
    for name, given in (("teardown", {**options, **confirmed}), ("teardown_undo", database.login(CHANGER))):
        run = run_module(name, {**given, **where})
        if run.failed:
            return str(run["msg"])
    return ""


def write_canary(database: TestDatabase, _directory: Path) -> str:
    backup = Backup("pg_basebackup", "b", "/b", "physical", started_at=datetime.now(UTC))
    try:
        expected_canary(database.login(BACKUP), backup)
    except RollbackError as error:
        return str(error)
    return ""


def plan_restore(database: TestDatabase, directory: Path) -> str:
    """While somebody is connected whose sessions only pg_signal_backend ends."""
    administrator = database.cluster.connect()
    administrator.cursor().execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", (database.name,)
    )
    administrator.close()
    dump = take_dump(database, directory, "custom")
    with role_made(database, BACKUP):
        session = database.connect(BACKUP)
        where = {"host": "db1", "artifacts_dir": str(directory)}
        options = {"source": "pg_dump", "path": str(dump), "disk_free": "100GB", **where}
        run = run_module("database_restore_plan", {**database.login(RESTORER), **options})
        session.close()
    return str(run["msg"] if run.failed else run["plan"]["blockers"] or "")


def restore_and_undo(database: TestDatabase, directory: Path) -> str:
    """A database of its own, to which another role is connected; and the purge."""
    own = TestDatabase(database.cluster)
    own.create()
    try:
        own.query(CONTENT)
        dump = take_dump(own, directory, "custom")
        own.query(HARM)
        end_sessions(own)
        with closing(database.cluster.connect(own.name, VISITOR)):
            done = act(own, dump, user=RESTORER)
        if done.get("failed") or orders(own) != GOOD:
            return str(done.get("msg"))
        end_sessions(own)
        act(own, dump, user=RESTORER, action="undo", run_id="run-2")
        act(own, dump, user=RESTORER, action="purge", run_id="run-3")
        return "" if orders(own) == SPOILT and not beside(own) else "it is not as it was"
    except RollbackError as error:
        return str(error)
    finally:
        drop_beside(own)
        own.drop()


Task = Callable[[TestDatabase, Path], str]
TASKS: dict[str, list[Task]] = {
    READER: [keep_baseline, verify, dump],
    CHANGER: [look_at_sequences, quarantine_and_undo, drop_and_undo],
    BACKUP: [write_canary],
    RESTORER: [plan_restore, restore_and_undo],
}


@pytest.mark.parametrize("role", STATEMENTS)
def test_a_role_suffices(application: TestDatabase, tmp_path: Path, role: str) -> None:
    with role_made(application, role):
        assert {task.__name__: task(application, tmp_path) for task in TASKS[role]} == {
            task.__name__: "" for task in TASKS[role]
        }


NEEDED = [
    (READER, "ALTER ROLE pgops_reader BYPASSRLS", keep_baseline),
    (READER, "GRANT CONNECT ON DATABASE app TO pgops_reader", verify),
    (READER, "GRANT pg_read_all_data TO pgops_reader", verify),
    (CHANGER, "GRANT operator TO pgops_operator", look_at_sequences),
    (CHANGER, "GRANT CREATE ON DATABASE app TO pgops_operator", quarantine_and_undo),
    (BACKUP, "GRANT CONNECT ON DATABASE app TO pgops_backup", write_canary),
    (BACKUP, "CREATE SCHEMA pgops_backup AUTHORIZATION pgops_backup", write_canary),
    (RESTORER, "ALTER ROLE pgops_restorer CREATEDB", plan_restore),
    (RESTORER, "GRANT operator TO pgops_restorer", plan_restore),
    (RESTORER, "GRANT auth_admin TO pgops_restorer", plan_restore),
    (RESTORER, "GRANT pg_signal_backend TO pgops_restorer", plan_restore),
]


def test_every_statement_is_tried() -> None:
    made = [statement for role in STATEMENTS for statement in STATEMENTS[role]]
    assert {each[1] for each in NEEDED} == {each for each in made if not each.startswith("CREATE ROLE")}


def test_every_playbook_has_a_role() -> None:
    # These two are parts of rollback.yml.
    playbooks = {path.name for path in (ROOT / "playbooks").glob("*.yml")} - {"steps.yml", "teardown.yml"}
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert {name for name in playbooks if not any(f"`{name}" in row for row in rows)} == set()


@pytest.mark.parametrize(("role", "statement", "task"), NEEDED, ids=[each[1] for each in NEEDED])
def test_without_one_statement_it_does_not(
    application: TestDatabase, tmp_path: Path, role: str, statement: str, task: Task
) -> None:
    with role_made(application, role, without=statement):
        assert task(application, tmp_path) != ""


@pytest.mark.parametrize(
    ("role", "forbidden"),
    [
        (READER, "UPDATE public.virtues SET name = name"),
        (READER, "CREATE TABLE public.mine (id int)"),
        (READER, "CREATE TEMPORARY TABLE mine (id int)"),
        (READER, "SELECT nextval('public.virtues_id_seq')"),
        (CHANGER, "SELECT rolpassword FROM pg_authid"),
        (CHANGER, "DELETE FROM auth.users WHERE false; DROP TABLE auth.users"),
        (CHANGER, "CREATE ROLE another"),
        (BACKUP, "SELECT FROM public.virtues"),
        (RESTORER, "CREATE ROLE another"),
        (BACKUP, "CREATE TABLE public.mine (id int)"),
    ],
)
def test_it_may_no_more(application: TestDatabase, role: str, forbidden: str) -> None:
    with role_made(application, role), pytest.raises(psycopg2.errors.InsufficientPrivilege):
        application.query(forbidden, user=role)


@pytest.mark.full
def test_every_playbook_as_its_role(application: TestDatabase, tmp_path: Path) -> None:
    def run(role: str, *arguments: str, playbook: str = "rollback.yml") -> None:
        inventory(tmp_path, {"db1": {**variables, **rollback_variables(application.login(role))}})
        done = rollback(tmp_path, *arguments, playbook=ROOT / playbook)
        written = report(tmp_path, "db1")
        assert done.returncode == 0, done.stdout
        # Whether the application is down nobody said; nothing else may be left open.
        open_steps = {step["name"] for step in written["steps"] if step["status"] not in ("ok", "changed")}
        assert open_steps <= {"advise"}, done.stdout

    variables = {
        "rollback_migration": "release-42",
        "backup_verification_source": "pg_dump",
        "backup_verification_path": str(tmp_path / "artifacts/db1/dumps"),
        "backup_verification_compare_with_live": True,
        "teardown_allow_unknown_provenance": True,
        "teardown_override_provenance": [*COACHING["tables"], *COACHING["functions"]],
        "post_rollback_verification_baselines": ["before"],
    }
    with role_made(application, READER), role_made(application, CHANGER), role_made(application, BACKUP):
        run(CHANGER, "--tags", "sequence", "--skip-tags", "verify")
        run(READER, "--tags", "dump", playbook="playbooks/baseline.yml")
        run(BACKUP, playbook="playbooks/verify_backup.yml")
        run(READER, playbook="playbooks/baseline.yml")
        run(READER)
        run(READER, playbook="playbooks/manifest.yml")
        run(CHANGER, "--tags", "rehearse")
        run(CHANGER, "--tags", "plan")
        plan = json.loads((tmp_path / "artifacts/db1/latest/plan.json").read_text(encoding="utf-8"))
        run(CHANGER, "--tags", "teardown", "-e", f"rollback_confirm={plan['token']}")
        run(CHANGER, playbook="playbooks/undo.yml")
