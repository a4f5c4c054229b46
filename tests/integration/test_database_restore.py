# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module database_restore: a dump beside the live database, in its place, back again, and purged."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils import restore_live
from ansible_collections.pgops.rollback.plugins.module_utils.baseline import Baseline, write_baseline
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_snapshot import read_snapshot
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.table_writes import read_table_writes
from ansible_collections.pgops.rollback.plugins.modules import database_restore
from tests.support.database import TestCluster, TestDatabase
from tests.support.dumps import take_dump, take_dump_with_manifest
from tests.support.restores import (
    CONTENT,
    GOOD,
    HARM,
    SPOILT,
    act,
    beside,
    drop_beside,
    end_sessions,
    oid_of,
    orders,
    plan,
)
from tests.support.waiting import until

OTHER = "rb-000000000000"
FORMS = [
    "custom", "directory", "plain", *(pytest.param(form, marks=pytest.mark.full) for form in ("tar", "plain-gzip"))
]


@pytest.fixture
def application(database: TestDatabase) -> Iterator[TestDatabase]:
    database.query(CONTENT)
    yield database
    drop_beside(database)


@pytest.fixture
def spoilt(application: TestDatabase, tmp_path: Path) -> tuple[TestDatabase, Path]:
    """The database with what came after its dump, and the dump, with its content manifest."""
    dump = take_dump_with_manifest(application, tmp_path / "dumps", "custom")
    application.query(HARM)
    return application, dump


def refusal(application: TestDatabase, dump: Path, **more: Any) -> str:
    """The code with which it is refused."""
    with pytest.raises(RollbackError) as caught:
        act(application, dump, **more)
    return caught.value.code


def blockers(database: TestDatabase, dump: Path, **more: Any) -> list[str]:
    return [each["code"] for each in plan(database, dump, **more)["plan"]["blockers"]]


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_put_in_place(application: TestDatabase, tmp_path: Path, form: str) -> None:
    dump = take_dump(application, tmp_path, form)
    application.query(HARM)
    before = oid_of(application)
    done = act(application, dump)
    assert (done["changed"], done["status"]) == (True, "changed"), done
    assert orders(application) == GOOD
    assert oid_of(application) != before
    (old,) = beside(application)
    assert (old.name, old.oid, old.mark.role, old.mark.finished) == (done["old_database"], before, "kept", True)
    assert old.name.startswith(f"{application.name}_before_restore_20")
    assert done["downtime"] < 2


def test_what_is_set_for_the_database_is_carried_over(spoilt: tuple[TestDatabase, Path], tmp_path: Path) -> None:
    database, dump = spoilt
    name = database.name
    database.query(f"""
        CREATE ROLE reader_{name}; GRANT CONNECT ON DATABASE {name} TO reader_{name};
        GRANT CREATE ON DATABASE {name} TO reader_{name} WITH GRANT OPTION;
        REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC; ALTER DATABASE {name} CONNECTION LIMIT 77;
        ALTER DATABASE {name} SET search_path = "odd Name", public; ALTER DATABASE {name} SET work_mem = '7MB';
        ALTER DATABASE {name} SET app.greeting = 'it''s, "me"';
        ALTER ROLE operator IN DATABASE {name} SET statement_timeout = '11s';
        COMMENT ON DATABASE {name} IS 'the application''s'
    """, user="postgres")  # fmt: skip
    before = read_database(database)
    try:
        act(database, dump)
        assert read_database(database) == before
        act(database, dump, action="undo", run_id="run-2")
        assert read_database(database) == before
        assert orders(database) == SPOILT
    finally:
        drop_beside(database)
        database.query(f"REVOKE ALL ON DATABASE {name} FROM reader_{name}; DROP ROLE reader_{name}", user="postgres")


def read_database(database: TestDatabase) -> tuple[Any, ...]:
    """All that is set for it, but for its OID."""
    connection = database.cluster.connect()
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT datdba, encoding, datcollate, datctype, datlocprovider, dattablespace, datconnlimit,"
                " datacl::text[], shobj_description(oid, 'pg_database'), ARRAY ("
                "   SELECT (setrole, setconfig)::text FROM pg_db_role_setting WHERE setdatabase = d.oid ORDER BY 1)"
                " FROM pg_database d WHERE datname = %s", (database.name,)
            )  # fmt: skip
            owner, *rest = cursor.fetchone()
            return owner, *(sorted(each) if isinstance(each, list) else each for each in rest)
    finally:
        connection.close()


@pytest.mark.parametrize("name", ["it's \"Odd\" %s", "täglich_" * 7])
def test_a_name_that_needs_quotes_or_is_long(cluster: TestCluster, tmp_path: Path, name: str) -> None:
    """The names made of it fit, and nothing takes it for anything else."""
    database = TestDatabase(cluster)
    database.name = name.encode()[:63].decode("utf-8", "ignore")
    database.create()
    try:
        database.query(CONTENT)
        dump = take_dump(database, tmp_path, "custom")
        database.query(HARM)
        done = act(database, dump)
        assert (orders(database), len(done["old_database"].encode()) <= 63) == (GOOD, True)
        assert [each.name for each in beside(database)] == [done["old_database"]]
        act(database, dump, action="undo", run_id="run-2")
        assert orders(database) == SPOILT
        act(database, dump, action="purge", run_id="run-3")
        assert beside(database) == []
    finally:
        database.drop()


def test_there_and_back_and_purged(spoilt: tuple[TestDatabase, Path]) -> None:
    database, dump = spoilt
    live = oid_of(database)
    act(database, dump)
    database.query("INSERT INTO public.orders (what) SELECT 'after it' FROM generate_series(1, 7)")
    until(lambda: _written(database, dump) == {"public.orders": 7}, "the counters say so")
    assert "7 rows were written since; they go." in plan(database, dump, action="undo")["msg"]

    undone = act(database, dump, action="undo", run_id="run-2")
    assert (oid_of(database), orders(database)) == (live, SPOILT)
    (aside,) = beside(database)
    assert (aside.name, aside.mark.role) == (undone["old_database"], "undone")
    # A second time there is nothing to do.
    again = act(database, dump, action="undo", run_id="run-3")
    assert (again["changed"], again["status"], oid_of(database)) == (False, "ok", live)

    token = plan(database, dump, action="purge")["token"]
    assert refusal(database, dump, action="purge", token=OTHER) == "confirmation_stale"
    connection = database.cluster.connect(aside.name)
    assert blockers(database, dump, action="purge") == ["database_in_use"]
    connection.close()
    until(lambda: not blockers(database, dump, action="purge"), "the session has ended")
    assert act(database, dump, token, action="purge", run_id="run-4")["changed"]
    assert (beside(database), orders(database)) == ([], SPOILT)
    assert not act(database, dump, action="purge", run_id="run-5")["changed"]


def _written(database: TestDatabase, dump: Path) -> dict[str, int]:
    rows = plan(database, dump, action="undo")["plan"]["lost"]["rows"]
    return {each["name"]: each["written"] for each in rows}


def test_nothing_is_touched_without_the_token(spoilt: tuple[TestDatabase, Path]) -> None:
    """Nor by a prediction, nor by the token of another action."""
    database, dump = spoilt
    live, token = oid_of(database), plan(database, dump)["token"]
    for given, code in ((OTHER, "foreign"), ("", "invalid"), ("yes", "invalid")):
        assert refusal(database, dump, token=given, batch={"db1": token}) == f"confirmation_{code}"
    assert refusal(database, dump, token=OTHER) == "confirmation_stale"
    assert act(database, dump, check=True)["changed"]
    assert plan(database, dump)["token"] == token
    assert (oid_of(database), orders(database), beside(database)) == (live, SPOILT, [])
    act(database, dump, token)
    # That token is spent, and it never was the undo's.
    for action in ("restore", "undo", "purge"):
        assert refusal(database, dump, token=token, action=action, run_id="run-2") == "confirmation_stale"
    # Nor does one restore the same backup a second time, though nothing is lost by it.
    again = plan(database, dump)["token"]
    act(database, dump, again, run_id="run-3")
    assert refusal(database, dump, token=again, run_id="run-4") == "confirmation_stale"


def test_the_plan_says_what_is_lost(application: TestDatabase, tmp_path: Path) -> None:
    dump = take_dump_with_manifest(application, tmp_path / "dumps", "custom")
    application.query(HARM)
    session = application.connect()
    found = plan(application, dump)["plan"]
    lost = {each["name"]: (each["then"], each["now"]) for each in found["lost"]["rows"]}
    assert lost == {"public.items": (300, 100), "public.orders": (500, 501)}
    assert found["lost"]["objects"] == [{"kind": "tables", "name": "public.made_since"}]
    assert found["comes_back"] == {"tables": 2, "rows": 800}
    assert {"user": "operator", "application": "", "sessions": 1} in found["sessions"]
    assert found["time"]["seconds"] is None
    # Traffic does not make it another plan; a new object does.
    application.query("DELETE FROM public.orders WHERE id > 5 AND id NOT IN (SELECT order_id FROM public.items)")
    session.close()
    assert plan(application, dump)["plan"]["token"] == found["token"]
    application.query("CREATE VIEW public.another AS SELECT 1 AS one")
    assert plan(application, dump)["plan"]["token"] != found["token"]


def test_the_baselines_tell_which_backup_is_of_use(
    application: TestDatabase, tmp_path: Path
) -> None:
    """One that lacks what was there before the migration is not, nor is one that has what the migration made."""
    good = take_dump(application, tmp_path, "plain").rename(tmp_path / "good.sql")
    before = keep(application, tmp_path, "before")
    application.query("CREATE TABLE public.migrated (id int); DELETE FROM public.items WHERE id > 290")
    after = keep(application, tmp_path, "after")
    late = take_dump(application, tmp_path, "plain").rename(tmp_path / "late.sql")
    partial = tmp_path / "partial.sql"
    partial.write_text(re.sub(r"(?m)^(-- (?:Data for )?Name: )items;", r"\1elsewhere;", good.read_text()))
    baselines = {"baseline_before": before, "baseline_after": after}
    assert blockers(application, good, **baselines) == []
    assert blockers(application, late, **baselines) == ["backup_too_late"]
    assert blockers(application, partial, **baselines) == ["backup_partial"]
    assert blockers(application, late) == []

    lost = plan(application, good, **baselines)["plan"]["lost"]
    rows = {each["name"]: (each["then"], each["now"], each["written"]) for each in lost["rows"]}
    assert rows == {"public.items": (300, 290, 10)}
    assert lost["rows_since"].startswith("the baseline of ")
    other = TestDatabase(application.cluster)
    other.create()
    try:
        assert refusal(other, good, token="", database=application.name, **baselines) == "baseline_foreign"
    finally:
        other.drop()


def keep(database: TestDatabase, directory: Path, moment: str) -> str:
    """The file of a baseline, taken when every session has handed in what it counted."""
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = 'operator'"
    until(lambda: database.value(others, user="postgres") == 0, "the sessions are over")
    with closing(database.cluster.connect(database.name)) as connection, connection.cursor() as cursor:
        writes = read_table_writes(cursor)
        path = directory / f"migration-{moment}.json"
        write_baseline(path, Baseline("migration", moment, "db1", "me", read_snapshot(connection, "exact"), writes))
    return str(path)


def test_a_rehearsal_leaves_nothing(spoilt: tuple[TestDatabase, Path]) -> None:
    database, dump = spoilt
    done = act(database, dump, token="", action="rehearse")
    assert (done["changed"], done["status"]) == (False, "ok")
    assert list(done["seconds"]) == [
        "reading the backup", "making the database", "restoring", "collecting statistics", "verifying",
        "removing it again",
    ]  # fmt: skip
    assert (orders(database), beside(database)) == (SPOILT, [])


def test_a_backup_that_does_not_restore_is_found_beside_the_live_one(
    spoilt: tuple[TestDatabase, Path], tmp_path: Path
) -> None:
    """A bit in the rows, a statement that fails, a check of the user's that does not hold."""
    database, dump = spoilt
    live = oid_of(database)
    few = {"name": "few", "query": "SELECT count(*) FROM orders", "expect": {"value": 3}}
    failed = act(database, dump, checks=[few])
    assert (failed["failed"], failed["code"]) == (True, "backup_unfit")
    broken = take_dump(database, tmp_path, "plain")
    broken.write_text(broken.read_text().replace("CREATE VIEW public.order_names", "CREATE VIEW nowhere.order_names"))
    failed = act(database, broken)
    assert failed["code"] == "backup_unfit"
    assert "It does not restore" in failed["msg"]
    bytes_of = bytearray(dump.read_bytes())
    bytes_of[-40] ^= 1
    dump.write_bytes(bytes_of)
    assert "SHA-256" in act(database, dump)["msg"]
    assert (oid_of(database), orders(database), beside(database)) == (live, SPOILT, [])


def test_what_stands_in_the_way(spoilt: tuple[TestDatabase, Path], tmp_path: Path) -> None:
    database, dump = spoilt
    assert blockers(database, dump, disk_free="1MB") == ["disk_short"]
    assert refusal(database, dump, disk_free="1MB") == "restore_blocked"
    # Through the socket the server's own disk is measured, by whoever may see where its data are.
    assert plan(database, dump, disk_free=None)["plan"]["disk"]["free"] > 0
    assert "disk_unknown" in blockers(database, dump, disk_free=None, user="operator")
    assert "privilege_missing" in blockers(database, dump, user="operator")
    prepared = database.superuser()
    prepared.cursor().execute("BEGIN; CREATE TABLE t (); PREPARE TRANSACTION 'left'")
    try:
        assert blockers(database, dump) == ["prepared_transactions"]
    finally:
        prepared.cursor().execute("ROLLBACK PREPARED 'left'")
    other = take_dump(database, tmp_path, "plain")
    other.write_text(other.read_text().replace("OWNER TO operator", "OWNER TO nobody_here"))
    assert blockers(database, other) == ["roles_missing"]
    other.write_text(other.read_text().replace("nobody_here", "operator").replace(
        "-- Dumped by pg_dump version ", "-- Dumped by pg_dump version 9"
    ))  # fmt: skip
    assert blockers(database, other) == ["major_wrong"]
    assert refusal(database, dump, token="", backup_id="another") == "backup_missing"
    assert refusal(database, dump, token="", maintenance_db=database.name) == "maintenance_unreachable"
    assert refusal(database, dump, token="", source=None) == "restore_source_missing"


def test_an_owner_who_may_create_databases_can_do_it(spoilt: tuple[TestDatabase, Path]) -> None:
    """No superuser. Sessions of others stand in the way, and are ended by whoever may."""
    database, dump = spoilt
    database.query("ALTER ROLE operator CREATEDB", user="postgres")
    try:
        assert blockers(database, dump, user="operator") == ["sessions_beyond_reach"]
        end_sessions(database)
        own = database.connect()
        done = act(database, dump, user="operator")
        assert (done["sessions_ended"], orders(database)) == (1, GOOD)
        assert own.closed == 0  # it learns of it at its next query
    finally:
        database.query("ALTER ROLE operator NOCREATEDB", user="postgres")


def test_a_database_that_is_renamed_meanwhile_is_left_alone(spoilt: tuple[TestDatabase, Path]) -> None:
    """While it is restored, and even when it has its name back with another content."""
    database, dump = spoilt
    moved = f"{database.name}_moved"

    def rename_it(text: str, _fraction: float | None) -> None:
        if text == "looking for what is broken":
            end_sessions(database)
            administrate(database, f"ALTER DATABASE {database.name} RENAME TO {moved}")
            administrate(database, f"CREATE DATABASE {database.name} OWNER operator")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database_restore, "ProgressFile", lambda _path: rename_it)
        assert refusal(database, dump) == "database_changed"
    administrate(database, f"DROP DATABASE {database.name}")
    administrate(database, f"ALTER DATABASE {moved} RENAME TO {database.name}")
    assert (orders(database), beside(database)) == (SPOILT, [])


def administrate(database: TestDatabase, statement: str) -> None:
    with closing(database.cluster.connect()) as connection:
        connection.cursor().execute(statement)


@pytest.mark.full
def test_a_session_that_does_not_end_is_named_and_the_next_run_goes_on(
    spoilt: tuple[TestDatabase, Path]
) -> None:
    database, dump = spoilt
    live, token = oid_of(database), plan(database, dump)["token"]
    stuck = database.connect()
    pid = stuck.info.backend_pid
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(RollbackError) as caught:
            act(database, dump, token)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert (caught.value.code, f"operator (process {pid})" in str(caught.value)) == ("swap_refused", True)
    assert (oid_of(database), orders(database)) == (live, SPOILT)
    (ready,) = beside(database)
    assert ready.mark.role == "ready"
    done = act(database, dump, token, run_id="run-2")
    assert ("restoring" in done["seconds"], oid_of(database), orders(database)) == (False, ready.oid, GOOD)


def test_two_runs_do_not_meet(spoilt: tuple[TestDatabase, Path]) -> None:
    database, dump = spoilt
    token = plan(database, dump)["token"]
    with closing(database.cluster.connect()) as session, session.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_lock(hashtext('pgops.rollback.restore'), hashtext(%s))", (str(oid_of(database)),)
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(restore_live, "_LOCK_TIMEOUT", "100ms")
            assert refusal(database, dump, token=token) == "restore_running"
    assert beside(database) == []
