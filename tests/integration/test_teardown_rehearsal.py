# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rehearsal of a teardown: all of it on a restored backup, nothing on the live database, nothing left behind."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.base_backups import take_base_backup
from tests.support.database import TestCluster, TestDatabase
from tests.support.dumps import take_dump
from tests.support.modules import ModuleRun, run_module
from tests.support.playbook import inventory, report, rollback, rollback_variables, steps
from tests.support.processes import Forked
from tests.support.quarantine import assert_same, state
from tests.support.teardown import COACHING, load_application
from tests.support.waiting import until

#: One that is older than the migration, and what the migration makes.
BEFORE = "CREATE TABLE kept (id int PRIMARY KEY); INSERT INTO kept VALUES (1); CREATE TABLE older (id int PRIMARY KEY)"
MIGRATION = """
CREATE TABLE made (id serial PRIMARY KEY, kept int REFERENCES kept); INSERT INTO made (kept) VALUES (1), (1), (1);
CREATE FUNCTION made_count() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM public.made';
"""
MADE = {"name": "m", "tables": ["public.made"], "functions": ["public.made_count()"]}
STEPS = ["restore", "plan", "look", "teardown", "verify", "undo", "verify_undo"]
DRILLED = {"backup_verification_source": "pg_dump", "teardown_allow_unknown_provenance": True}


@pytest.fixture(scope="module")
def application(cluster: TestCluster) -> Iterator[TestDatabase]:
    """The live database, in which whatever would be written is an error."""
    made = TestDatabase(cluster)
    made.create()
    load_application(made)
    made.query(f"ALTER DATABASE {made.name} SET default_transaction_read_only = on", user="postgres")
    yield made
    made.drop()


@pytest.fixture(scope="module")
def dump(application: TestDatabase, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return take_dump(application, tmp_path_factory.mktemp("dump"), "custom")


@pytest.fixture
def place() -> Iterator[Path]:
    """Where rehearsals work, and leave nothing."""
    with tempfile.TemporaryDirectory(prefix="pgops-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)
        assert list(Path(name).iterdir()) == []


@pytest.fixture
def migrated(database: TestDatabase) -> TestDatabase:
    database.query(BEFORE)
    database.query(MIGRATION)
    return database


def options(path: Path, place: Path, **more: Any) -> dict[str, Any]:
    return {
        "manifest": MADE, "source": "pg_dump", "path": str(path), "drill_directory": str(place),
        "allow_unknown_provenance": True, **more,
    }  # fmt: skip


def rehearse(
    database: TestDatabase, path: Path, place: Path, check: bool = False, **more: Any
) -> ModuleRun:
    return run_module("teardown_rehearsal", {**database.login(), **options(path, place, **more)}, check=check)


def of(run: ModuleRun, name: str) -> dict[str, Any]:
    (found,) = [each for each in run["checks"] if each["name"] == name]
    return dict(found)


def statuses(run: ModuleRun) -> dict[str, str]:
    return {each["name"]: each["status"] for each in run["checks"]}


def passed(run: ModuleRun) -> bool:
    return set(statuses(run)) == {*STEPS, "isolated", "cleanup"} and set(statuses(run).values()) == {"passed"}


def sessions(database: TestDatabase) -> int:
    """How many there were of the database by now."""
    connection = database.cluster.connect()
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT sessions FROM pg_stat_database WHERE datname = %s", (database.name,))
            return int(cursor.fetchone()[0])
    finally:
        connection.close()


def test_in_quarantine_and_back_and_the_live_database_is_as_it_was(
    application: TestDatabase, dump: Path, place: Path
) -> None:
    """It is found by the environment alone, of which nothing leads the rehearsal to it."""
    before, login = state(application), application.login()
    environment = {
        "PGHOST": login["login_host"], "PGPORT": str(login["login_port"]), "PGUSER": login["login_user"],
        # The live database lets nobody write, unlike the copy, which nobody would be let into with this.
        "PGDATABASE": application.name, "PGTARGETSESSIONATTRS": "read-only",
    }  # fmt: skip
    begun = sessions(application)
    run = run_module("teardown_rehearsal", options(dump, place, manifest=COACHING), env=environment)
    assert (run["status"], run["changed"], passed(run)) == ("ok", False, True), run["msg"]
    assert (run["objects"], run["rows"], run["backup"]["id"]) == (8, 3300, "app.dump")
    assert list(run["timings"]) == STEPS
    assert all(0 < seconds <= run["seconds"] for seconds in run["timings"].values())
    # One session read what had to be read.
    until(lambda: sessions(application) > begun, "the session is counted")
    assert sessions(application) == begun + 1
    assert_same(before, state(application), same_objects=True)
    # A plan of the copy may have the token of the live one.
    assert "rb-" not in run.output


def test_dropped_and_restored_and_what_would_break_is_told(
    application: TestDatabase, dump: Path, place: Path
) -> None:
    before = state(application)
    run = rehearse(application, dump, place, manifest=COACHING, mode="drop", records_dir=str(place))
    # That no drill of the backup is on record blocks the live teardown, and not the rehearsal.
    assert (run["status"], run.failed) == ("degraded", False)
    assert {name for name, status in statuses(run).items() if status == "degraded"} == {"plan", "verify"}
    assert "failed" not in statuses(run).values()
    assert "skipped" not in statuses(run).values()
    assert "would be refused (backup_unverified)" in of(run, "plan")["message"]
    assert [each["name"] for each in of(run, "verify")["objects"]] == ["public.sponsor_feedback"]
    assert "the bundle's encryption" in run["not_proved"]
    assert "policy party on public.sponsor_feedback" in [each["what"] for each in run["would_break"]]
    assert_same(before, state(application), same_objects=True)


def test_with_the_live_hosts_baselines(migrated: TestDatabase, tmp_path: Path, place: Path) -> None:
    """They are of another cluster than the copy. Of what a copy lacks, such as roles, nothing is new after a step."""
    migrated.query("DROP TABLE made CASCADE; DROP FUNCTION made_count()")
    given = {"migration": "m", "moment": "before", "artifacts_dir": str(tmp_path), "host": "db1", "operator": "me"}
    baseline = run_module("migration_baseline", {**migrated.login(), **given})["path"]
    migrated.query(MIGRATION)
    dump = take_dump(migrated, tmp_path, "plain")
    known = {"baseline_before": baseline, "allow_unknown_provenance": False}
    run = rehearse(migrated, dump, place, **known)
    assert (run["status"], passed(run), run["rows"]) == ("ok", True, 3), run["msg"]
    assert "renamed since the baseline" in run["not_proved"]

    tables = {**MADE, "tables": ["public.made", "public.older"]}
    run = rehearse(migrated, dump, place, **known, manifest=tables)
    assert (run["status"], run["blockers"][0]["code"]) == ("degraded", "provenance_older")
    assert (of(run, "teardown")["status"], of(run, "verify_undo")["status"]) == ("passed", "passed")

    other = TestDatabase(migrated.cluster)
    other.create()
    try:
        foreign = {**options(dump, place, **known), **other.login(), "database": migrated.name}
        run = run_module("teardown_rehearsal", foreign)
        assert (run["code"], run.get("checks")) == ("baseline_foreign", None)
    finally:
        other.drop()


def test_what_the_role_may_not_do_it_may_not_do_there(migrated: TestDatabase, tmp_path: Path, place: Path) -> None:
    """Neither privileges on the database nor memberships are in a dump."""
    migrated.query("CREATE ROLE makers; GRANT makers TO operator; ALTER TABLE made OWNER TO makers", user="postgres")
    try:
        dump = take_dump(migrated, tmp_path, "custom")
        assert rehearse(migrated, dump, place)["status"] == "ok"
        migrated.query(f"REVOKE CREATE ON DATABASE {migrated.name} FROM operator", user="postgres")
        run = rehearse(migrated, dump, place)
    finally:
        migrated.query("ALTER TABLE made OWNER TO operator; DROP ROLE makers", user="postgres")
    assert (run["status"], run.failed, run["code"]) == ("refused", False, "rehearsal_blocked")
    assert "may not create a schema" in run["msg"]
    assert [statuses(run)[name] for name in ("plan", "teardown", "cleanup")] == ["failed", "skipped", "passed"]
    assert run["proved"] == ""


def test_what_cannot_be_rehearsed_is_refused(migrated: TestDatabase, tmp_path: Path, place: Path) -> None:
    assert rehearse(migrated, tmp_path, place)["code"] == "backup_none"
    supabase = rehearse(migrated, tmp_path, place, source="supabase")
    assert (supabase["code"], "backup_verification_source pg_dump" in supabase["msg"]) == ("rehearsal_impossible", True)
    migrated.query("ALTER TABLE made RENAME TO called_otherwise; DROP FUNCTION made_count()")
    dump = take_dump(migrated, tmp_path, "custom")
    run = rehearse(migrated, dump, place)
    assert (run["status"], run["code"]) == ("refused", "nothing_to_rehearse")
    assert "may be from before the migration" in run["msg"]
    predicted = rehearse(migrated, dump, place, check=True)
    assert (predicted["status"], predicted.get("checks")) == ("skipped", None)


def test_the_tag_its_report_and_its_exit_code(application: TestDatabase, dump: Path, tmp_path: Path) -> None:
    before = state(application)
    variables = {**rollback_variables(application.login()), **DRILLED}
    inventory(tmp_path, {"db1": {**variables, "backup_verification_path": str(dump)}})
    done = rollback(tmp_path, "--tags", "rehearse")
    assert done.returncode == 0, done.stdout + done.stderr
    written = report(tmp_path, "db1")
    assert (written["verdict"], steps(written)) == ("ok", {"preflight": "ok", "rehearse": "ok"})
    details = written["steps"][-1]["details"]
    assert list(details["timings"]) == STEPS
    assert "--tags plan" in details["next_command"]
    for said in ("rehearse   ok", "Not proved: how long locks are waited for", "Only a restored copy was touched."):
        assert said in " ".join(done.stdout.split()) or said in done.stdout
    directory = tmp_path / "artifacts/db1/latest"
    assert 'name="verify_undo"' in (directory / "junit.xml").read_text(encoding="utf-8")
    assert "What the teardown would break" in (directory / "report.md").read_text(encoding="utf-8")
    # Neither a plan nor a bundle that could be taken for the live database's.
    assert {path.name for path in directory.iterdir()} == {"report.json", "report.md", "report.html", "junit.xml"}
    assert_same(before, state(application), same_objects=True)


@pytest.mark.full
def test_the_tag_where_something_stands_in_the_way(application: TestDatabase, dump: Path, tmp_path: Path) -> None:
    variables = rollback_variables(application.login())
    inventory(tmp_path, {"db1": variables})
    done = rollback(tmp_path, "--tags", "rehearse")
    assert (done.returncode, "backup_verification_source is not set" in done.stdout + done.stderr) == (2, True)
    inventory(tmp_path, {"db1": {**variables, **DRILLED, "backup_verification_path": str(dump)}})
    done = rollback(tmp_path, "--tags", "rehearse", "-e", "teardown_mode=drop")
    assert (done.returncode, report(tmp_path, "db1")["verdict"]) == (2, "degraded")
    assert "Before the real one, do what is said above." in " ".join(done.stdout.split())
    done = rollback(tmp_path, "--tags", "rehearse", "--check")
    assert (done.returncode, steps(report(tmp_path, "db1"))["rehearse"]) == (0, "skipped")


@pytest.mark.full
def test_a_veto_is_met_in_the_copy(migrated: TestDatabase, tmp_path: Path, place: Path) -> None:
    migrated.query(
        "CREATE FUNCTION veto() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not tonight'; END $$;"
        "CREATE EVENT TRIGGER veto ON ddl_command_start WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION veto()",
        user="postgres",
    )
    run = rehearse(migrated, take_dump(migrated, tmp_path, "custom"), place)
    assert (run.failed, run["status"], run["code"]) == (True, "failed", "quarantine_refused")
    assert "not tonight" in of(run, "teardown")["message"]
    assert statuses(run)["undo"] == "skipped"


@pytest.mark.full
def test_ended_in_the_middle_of_it_nothing_is_left(migrated: TestDatabase, tmp_path: Path, place: Path) -> None:
    """Each attempt waits there, its bundle on disk, until its time is over."""
    migrated.query(
        "CREATE FUNCTION waits() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); END';"
        "CREATE EVENT TRIGGER waits ON ddl_command_start WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION waits()",
        user="postgres",
    )
    given = {**migrated.login(), **options(take_dump(migrated, tmp_path, "custom"), place)}
    running = Forked(partial(run_module, "teardown_rehearsal", given))
    until(lambda: any(place.glob("drill-*/bundle/rehearsal/rehearsal/bundle/bundle.json")), "the bundle is there")
    (module,) = {int(path.name.split("-")[1]) for path in place.iterdir()}
    os.kill(module, signal.SIGTERM)
    with pytest.raises(Exception, match="Expecting value"):
        running.result()
    assert list(place.iterdir()) == []


@pytest.mark.full
def test_on_a_physical_backup(cluster: TestCluster, migrated: TestDatabase, tmp_path: Path, place: Path) -> None:
    taken = take_base_backup(cluster, tmp_path / "base", "plain", "")
    run = rehearse(migrated, taken.directory, place, source="pg_basebackup")
    assert (run["status"], passed(run)) == ("ok", True), run["msg"]
