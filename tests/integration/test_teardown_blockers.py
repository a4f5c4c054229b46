# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What stands in the way of a teardown: each blocker alone, and gone when what it is about is gone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.backup_records import write_record
from ansible_collections.pgops.rollback.plugins.module_utils.connection import server_info
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_plan import PlanRequest, make_plan
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_provenance import Provenance
from tests.support.database import TestDatabase
from tests.support.modules import run_module
from tests.support.teardown import COACHING, load_application

#: With these there is no blocker, but for what a test brings about.
FREE: dict[str, Any] = {"provenance": Provenance(allow_unknown=True), "require_backup": False}


def plan_of(database: TestDatabase, mode: str = "drop", **options: Any) -> dict[str, Any]:
    connection = database.connect(options.pop("user", "operator"))
    try:
        server = server_info(connection)
        server = replace(server, **options.pop("server", {}))
        return make_plan(connection, server, PlanRequest(COACHING, mode, **{**FREE, **options})).plan
    finally:
        connection.close()


def blockers(database: TestDatabase, mode: str = "drop", **options: Any) -> dict[str, str]:
    """Messages by code; two of a code are put together."""
    return _by_code(plan_of(database, mode, **options)["blockers"])


def warnings(database: TestDatabase, mode: str = "drop", **options: Any) -> dict[str, str]:
    return _by_code(plan_of(database, mode, **options)["warnings"])


def _by_code(entries: list[dict[str, Any]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in entries:
        assert (each["message"][-1], each["remedy"][-1]) == (".", "."), each
        found[each["code"]] = " ".join([*filter(None, [found.get(each["code"])]), each["message"]])
    return found


@pytest.fixture
def application(database: TestDatabase) -> TestDatabase:
    load_application(database)
    return database


def test_nothing_stands_in_the_way_of_the_sample_application(application: TestDatabase) -> None:
    for user in ("operator", "postgres"):
        for mode in ("drop", "quarantine"):
            assert blockers(application, mode, user=user) == {}


# Backups ------------------------------------------------------------------------------------------------------------


def record_drill(directory: Path, database: str | None, age: timedelta, **other: Any) -> None:
    finished = (datetime.now(UTC) - age).strftime("%Y-%m-%dT%H:%M:%SZ")
    write_record(directory, {
        "schema_version": 1, "run_id": "r1", "host": "db1", "source": "pg_dump", "database": database,
        "started": finished, "finished": finished, "verdict": "ok",
        "backup": {"id": "a.dump", "finished_at": finished, "size_bytes": 1000}, "age_seconds": 60,
        "rungs": [{"name": "drill", "status": "ok", "changed": False, "message": "", "details": {"seconds": 1.0}}],
        "restore": {"seconds": 1.0, "bytes": 1, "bytes_per_second": 1, "rows": 1}, "missing_extensions": [],
        "versions": {}, **other,
    })  # fmt: skip


def test_a_drop_needs_a_backup_that_was_drilled(application: TestDatabase, tmp_path: Path) -> None:
    def problem(directory: Path | None) -> str | None:
        options: dict[str, Any] = {"records_dir": str(directory) if directory else None, "require_backup": True}
        found = plan_of(application, **options)
        assert (found["backup"]["problem"] is None) == (found["blockers"] == [])
        assert {each["override"] for each in found["blockers"]} <= {"teardown_require_backup"}
        # For a quarantine, or where it is not required, it is a warning.
        assert blockers(application, "quarantine", **options) == {}
        assert blockers(application, records_dir=options["records_dir"]) == {}
        expected = {"backup_unverified"} if found["blockers"] else set()
        assert warnings(application, "quarantine", **options).keys() & {"backup_unverified"} == expected
        message: str | None = found["backup"]["problem"]
        return message

    assert "no directory" in str(problem(None))
    assert "no record of a successful restore drill" in str(problem(tmp_path / "none"))
    record_drill(tmp_path / "old", application.name, timedelta(hours=25))
    # Without the age: the same state gives the same words.
    assert problem(tmp_path / "old") == "The last successful restore drill is older than 1 day."
    record_drill(tmp_path / "other", "another", timedelta(hours=1))
    assert "was of database another" in str(problem(tmp_path / "other"))
    record_drill(tmp_path / "good", application.name, timedelta(hours=1))
    assert problem(tmp_path / "good") is None
    record_drill(tmp_path / "any", None, timedelta(hours=1))
    assert problem(tmp_path / "any") is None
    assert plan_of(application, records_dir=str(tmp_path / "good"))["backup"]["id"] == "a.dump"


def test_a_degraded_drill_counts_unless_the_objects_need_what_it_lacked(
    application: TestDatabase, tmp_path: Path
) -> None:
    application.query("CREATE EXTENSION hstore", user="postgres")
    record_drill(tmp_path, None, timedelta(hours=1), verdict="degraded", missing_extensions=["hstore", "vector"])
    options: dict[str, Any] = {"records_dir": str(tmp_path), "require_backup": True}
    assert blockers(application, **options) == {}
    assert "hstore, vector" in warnings(application, **options)["backup_degraded"]
    # By a column, by a column's domain, by an index, by a function's argument.
    for statement, undo in (
        ("ALTER TABLE public.sponsor_connections ADD h public.hstore",
         "ALTER TABLE public.sponsor_connections DROP COLUMN h"),
        ("CREATE DOMAIN public.d AS public.hstore; ALTER TABLE public.sponsor_connections ADD h public.d[]",
         "ALTER TABLE public.sponsor_connections DROP COLUMN h"),
        ("CREATE INDEX by_h ON public.sponsor_connections ((public.hstore(status, 'x') -> 'y'))",
         "DROP INDEX public.by_h"),
        ("CREATE TABLE public.unrelated (h public.hstore)", None),
    ):  # fmt: skip
        application.query(statement)
        expected = {} if undo is None else {
            "backup_unverified": "The last restore drill had to do without hstore, which these objects need.",
        }  # fmt: skip
        assert blockers(application, **options) == expected, statement
        application.query(undo or "SELECT 1")


# Where the objects come from ----------------------------------------------------------------------------------------


def take_baseline(database: TestDatabase, directory: Path, moment: str, **options: Any) -> str:
    run = run_module("migration_baseline", {
        **database.login(), "migration": "coaching", "moment": moment, "artifacts_dir": str(directory), "host": "db1",
        "rows": "none", **options,
    })  # fmt: skip
    assert not run.failed, run["msg"]
    path: str = run["path"]
    return path


def test_what_was_there_before_the_migration_is_not_its_own(database: TestDatabase, tmp_path: Path) -> None:
    """Overridden object by object, by name; whatever the migration created is free."""
    database.query(
        "CREATE TABLE public.older (id serial PRIMARY KEY); CREATE FUNCTION public.old_f(int) RETURNS int LANGUAGE sql"
        " AS 'SELECT 1'; CREATE SEQUENCE public.old_s"
    )
    before = take_baseline(database, tmp_path, "before")
    database.query(
        "CREATE TABLE public.newer (id serial PRIMARY KEY);"
        "CREATE FUNCTION public.old_f(text) RETURNS int LANGUAGE sql AS 'SELECT 1';"
        "CREATE INDEX of_migration ON public.older (id); CREATE VIEW public.forgotten AS SELECT 1 AS one;"
        "CREATE VIEW public.planned AS SELECT id FROM public.newer; CREATE TABLE public.dropped_again (id int)"
    )
    after = take_baseline(database, tmp_path, "after")
    database.query("DROP TABLE public.dropped_again")
    manifest = {
        "name": "coaching", "tables": ["public.older", "public.newer"],
        "functions": ["public.old_f(int)", "public.old_f(text)"], "sequences": ["public.old_s"],
    }  # fmt: skip
    options = {**database.login(), "manifest": manifest, "baseline_before": before, "baseline_after": after}
    run = run_module("teardown_plan", options)
    assert [(each["code"], each["override"]) for each in run["plan"]["blockers"]] == [
        ("provenance_older", "teardown_override_provenance"),
    ] * 3
    assert [each["message"].split(" was there")[0] for each in run["plan"]["blockers"]] == [
        "The function public.old_f(integer)", "The sequence public.old_s", "The table public.older",
    ]  # fmt: skip
    # The index is a part of a table that goes; the view is of nobody, and what is gone again is none.
    assert [(each["problem"], each["name"]) for each in run["plan"]["drift"]] == [
        ("not_in_manifest", "public.forgotten"),
    ]
    one_less = run_module("teardown_plan", {**options, "override_provenance": ['public."older"', "public.newer"]})
    assert [each["message"].split(" was there")[0] for each in one_less["plan"]["blockers"]] == [
        "The function public.old_f(integer)", "The sequence public.old_s",
    ]  # fmt: skip
    # An override of what needs none is told.
    assert [each["code"] for each in one_less["plan"]["warnings"] if "override" in each["code"]] == ["override_unused"]
    every = {"override_provenance": ["public.older", "public.old_f(integer)", "public.old_s"]}
    assert run_module("teardown_plan", {**options, **every})["plan"]["blockers"] == []
    # One variable for all of them there is not.
    unknown = run_module("teardown_plan", {**options, "allow_unknown_provenance": True})
    assert len(unknown["plan"]["blockers"]) == 3


def test_what_was_renamed_was_there_before_all_the_same(database: TestDatabase, tmp_path: Path) -> None:
    database.query("CREATE TABLE customers (id int); CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT 1'")
    before = take_baseline(database, tmp_path, "before")
    database.query(
        "ALTER TABLE customers RENAME TO clients; ALTER FUNCTION f(int) RENAME TO g; CREATE TABLE customers (id text);"
        " CREATE TABLE made (id int)"
    )
    after = take_baseline(database, tmp_path, "after")
    run = run_module("teardown_plan", {
        **database.login(), "baseline_before": before, "baseline_after": after,
        "manifest": {"tables": ["public.clients"], "functions": ["public.g(integer)"]},
    })  # fmt: skip
    messages = [each["message"] for each in run["plan"]["blockers"] if each["code"] == "provenance_older"]
    assert [message.partition(", by")[0] for message in messages] == [
        "The function public.g(integer) was there before the migration as public.f(integer)",
        "The table public.clients was there before the migration as public.customers",
    ]
    assert [(each["name"], each["problem"]) for each in run["plan"]["drift"]] == [
        ("public.customers", "not_in_manifest"), ("public.made", "not_in_manifest"),
    ]  # fmt: skip


def test_without_a_baseline_nobody_knows(application: TestDatabase, tmp_path: Path) -> None:
    nobody = {"provenance": Provenance()}
    for mode in ("drop", "quarantine"):
        found = plan_of(application, mode, **nobody)["blockers"]
        assert [(each["code"], each["override"]) for each in found] == [
            ("provenance_unknown", "teardown_allow_unknown_provenance"),
        ]
        assert "public.sponsor_connections" in found[0]["message"]
    nowhere = {"manifest": COACHING, "baseline_before": "/nowhere/before.json", "baseline_after": "/nowhere/after.json"}
    (found_none,) = run_module("teardown_plan", {**application.login(), **nowhere})["plan"]["blockers"]
    assert (found_none["code"], "no /nowhere/before.json" in found_none["message"]) == ("provenance_unknown", True)
    # A baseline of other schemas does not tell either.
    before = take_baseline(application, tmp_path, "before", schemas=["auth"])
    run = run_module("teardown_plan", {**application.login(), "manifest": COACHING, "baseline_before": before})
    assert [each["code"] for each in run["plan"]["blockers"]] == ["provenance_unknown"]
    assert "does not cover them" in run["plan"]["blockers"][0]["message"]


def test_baselines_that_do_not_fit_are_refused(application: TestDatabase, tmp_path: Path) -> None:
    options = {**application.login(), "manifest": COACHING}
    before = take_baseline(application, tmp_path, "before")
    swapped = run_module("teardown_plan", {**options, "baseline_after": before})
    assert (swapped["code"], "taken before the migration" in swapped["msg"]) == ("baselines_unfit", True)
    other = TestDatabase(application.cluster)
    other.create()
    try:
        foreign = take_baseline(other, tmp_path / "other", "before")
    finally:
        other.drop()
    assert run_module("teardown_plan", {**options, "baseline_before": foreign})["code"] == "baseline_foreign"
    another = run_module(
        "teardown_plan", {**options, "manifest": {**COACHING, "name": "2025-06"}, "baseline_before": before}
    )
    assert "baseline_name" in {each["code"] for each in another["plan"]["warnings"]}


# The server, and this machine ---------------------------------------------------------------------------------------


def test_a_standby_and_a_pooler(application: TestDatabase) -> None:
    assert blockers(application, server={"in_recovery": True}).keys() == {"standby"}
    assert blockers(application, "quarantine", server={"in_recovery": True}).keys() == {"standby"}
    assert blockers(application, server={"through_pooler": True}).keys() == {"pooler"}
    # A quarantine is one transaction, which goes through a pooler.
    assert blockers(application, "quarantine", server={"through_pooler": True}) == {}
    assert "pooler" in warnings(application, "quarantine", server={"through_pooler": True})


def test_the_lock_timeout_has_to_be_below_the_deadlock_timeout(application: TestDatabase) -> None:
    for text, blocked in (("500ms", False), ("999ms", False), ("1s", True), ("5s", True)):
        for mode in ("drop", "quarantine"):
            found = blockers(application, mode, lock_timeout=text)
            assert ("lock_timeout_invalid" in found) == blocked, text
    assert "1000 ms" in blockers(application, lock_timeout="1s")["lock_timeout_invalid"]


def test_pg_dump_has_to_know_the_server(application: TestDatabase) -> None:
    major = application.cluster.major
    assert blockers(application, pg_dump_version="14.2").keys() == {"pg_dump_old"}
    assert blockers(application, pg_dump_version=f"pg_dump (PostgreSQL) {major}.1") == {}
    assert blockers(application, pg_dump_version="99beta1") == {}
    assert blockers(application, "quarantine", pg_dump_version="14.2") == {}
    assert blockers(application, server={"version_num": 990000}).keys() == {"binaries_missing"}


@pytest.mark.parametrize("table", ["public.sponsor_connections", "public.sponsor_feedback", "auth.users"])
def test_a_prepared_transaction_that_holds_locks(application: TestDatabase, table: str) -> None:
    """On the objects, on a survivor whose key goes, and on one that they refer to."""
    holder = application.connect("postgres")
    with holder.cursor() as cursor:
        cursor.execute(f"BEGIN; LOCK TABLE {table} IN ROW EXCLUSIVE MODE; PREPARE TRANSACTION 'left over'")
        try:
            found = blockers(application)
            assert found.keys() == {"prepared_transaction"}
            assert "left over of postgres" in found["prepared_transaction"]
            assert table in found["prepared_transaction"]
        finally:
            cursor.execute("ROLLBACK PREPARED 'left over'")
        cursor.execute("BEGIN; LOCK TABLE public.virtues IN ROW EXCLUSIVE MODE; PREPARE TRANSACTION 'unrelated'")
        try:
            assert blockers(application) == {}
        finally:
            cursor.execute("ROLLBACK PREPARED 'unrelated'")


def test_members_of_extensions_do_not_go(application: TestDatabase) -> None:
    application.query(
        "CREATE EXTENSION hstore; ALTER EXTENSION hstore ADD TABLE public.sponsor_visible_memos", user="postgres"
    )
    for mode in ("drop", "quarantine"):
        assert blockers(application, mode)["extension_member"] == (
            "The table public.sponsor_visible_memos belongs to the extension hstore, which does not let it go."
        )
    application.query(
        "ALTER EXTENSION hstore DROP TABLE public.sponsor_visible_memos;"
        "ALTER EXTENSION hstore ADD VIEW public.coach_overview", user="postgres",
    )  # fmt: skip
    assert "view public.coach_overview" in blockers(application)["extension_member"]
    assert blockers(application, "quarantine") == {}


# What the role may not do -------------------------------------------------------------------------------------------

#: A statement of a superuser, and what of it blocks a drop, a quarantine, and the drop of a superuser.
PRIVILEGES: dict[str, tuple[str, dict[str, str], dict[str, str], dict[str, str]]] = {
    "an object of another owner": (
        "ALTER TABLE public.sponsor_visible_memos OWNER TO auth_admin",
        {"privilege_missing": "public.sponsor_visible_memos"}, {"privilege_missing": "auth_admin"}, {},
    ),
    "a schema that it may not create in": (
        "ALTER SCHEMA public OWNER TO postgres; GRANT USAGE ON SCHEMA public TO operator",
        {"privilege_missing": "create in, the schema public", "not_recreatable": "view public.coach_overview"},
        {"privilege_missing": "create in, the schema public"}, {},
    ),
    "a database that it may not create schemas in": (
        "REVOKE CREATE ON DATABASE {name} FROM operator; ALTER DATABASE {name} OWNER TO postgres",
        {}, {"privilege_missing": "may not create a schema"}, {},
    ),
    "another owner's view": (
        "CREATE VIEW auth.v AS SELECT id FROM public.sponsor_connections; ALTER VIEW auth.v OWNER TO auth_admin",
        {"not_recreatable": "view auth.v"}, {}, {},
    ),
    "a view in a schema of somebody else": (
        "CREATE VIEW auth.v AS SELECT id FROM public.sponsor_connections; ALTER VIEW auth.v OWNER TO operator",
        {"not_recreatable": "may not create in the schema auth"}, {}, {},
    ),
    "a policy on another owner's table": (
        "CREATE POLICY p ON auth.users USING (id IN (SELECT sponsor_user_id FROM public.sponsor_connections))",
        {"not_recreatable": "policy p on auth.users"}, {}, {},
    ),
    "a foreign key of another owner's table": (
        "CREATE TABLE auth.t (c bigint REFERENCES public.sponsor_connections)",
        {"not_recreatable": "constraint t_c_fkey on auth.t"}, {}, {},
    ),
    "another owner's publication": (
        "CREATE PUBLICATION theirs FOR TABLE public.sponsor_connections",
        {"not_recreatable": "theirs belongs to postgres"}, {"publication_foreign": "theirs belongs to postgres"}, {},
    ),
    "a publication of all tables": (
        "CREATE PUBLICATION everything FOR ALL TABLES",
        {"publication_all_tables": "everything of postgres is FOR ALL TABLES"}, {}, {},
    ),
    "a column that is lost": (
        "CREATE TABLE public.archive (was public.sponsor_connections); ALTER TABLE public.archive OWNER TO operator",
        {"data_lost": "column public.archive.was"}, {}, {"data_lost": "column public.archive.was"},
    ),
    "an attribute that is lost": (
        "CREATE TYPE public.pair AS (a int, c public.sponsor_connections); ALTER TYPE public.pair OWNER TO operator",
        {"data_lost": "attribute public.pair.c"}, {}, {"data_lost": "attribute public.pair.c"},
    ),
    "a child that the manifest does not name": (
        "CREATE TABLE public.child () INHERITS (public.sponsor_connections);"
        "ALTER TABLE public.child OWNER TO operator",
        {"child_unnamed": "table public.child"}, {"child_unnamed": "public.sponsor_connections"},
        {"child_unnamed": "table public.child"},
    ),
    "no right to refer": (
        "REVOKE REFERENCES ON auth.users FROM operator",
        {"references_missing": "sponsor_connections_sponsor_user_id_fkey"}, {}, {},
    ),
    "no use of the schema referred to": (
        "REVOKE USAGE ON SCHEMA auth FROM operator, anon, authenticated",
        {"references_missing": "no USAGE on its schema (auth.users)"}, {}, {},
    ),
    "a grant by somebody else": (
        "GRANT SELECT ON public.sponsor_connections TO auth_admin WITH GRANT OPTION; SET ROLE auth_admin;"
        "GRANT SELECT ON public.sponsor_connections TO anon",
        {"foreign_grantor": "public.sponsor_connections were made by auth_admin"}, {}, {},
    ),
    "a grant on a column by somebody else": (
        "GRANT SELECT (id) ON public.sponsor_connections TO auth_admin WITH GRANT OPTION; SET ROLE auth_admin;"
        "GRANT SELECT (id) ON public.sponsor_connections TO anon",
        {"foreign_grantor": "auth_admin"}, {}, {},
    ),
    "a trigger function that it may not execute": (
        "ALTER FUNCTION public.set_updated_at() OWNER TO postgres;"
        "REVOKE EXECUTE ON FUNCTION public.set_updated_at() FROM public, operator",
        {"not_recreatable": "trigger set_updated_at on public.sponsor_connections"}, {}, {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PRIVILEGES)
def test_what_the_role_may_not_do(application: TestDatabase, case: str) -> None:
    statement, drop, quarantine, superuser = PRIVILEGES[case]
    application.query(statement.format(name=application.name), user="postgres")
    for mode, user, expected in (
        ("drop", "operator", drop), ("quarantine", "operator", quarantine), ("drop", "postgres", superuser),
    ):  # fmt: skip
        found = blockers(application, mode, user=user)
        assert found.keys() == expected.keys(), (mode, user, found)
        assert [code for code, words in expected.items() if words not in found[code]] == [], found
    every = plan_of(application)["blockers"]
    assert {each["override"] for each in every} <= {None}


def test_a_member_of_the_owner_may_do_what_the_owner_may(application: TestDatabase) -> None:
    application.query("ALTER TABLE public.sponsor_visible_memos OWNER TO auth_admin", user="postgres")
    application.query(
        "GRANT CREATE ON SCHEMA public TO auth_admin; GRANT auth_admin TO operator;"
        "GRANT SELECT ON public.sponsor_connections TO auth_admin WITH GRANT OPTION; SET ROLE auth_admin;"
        "GRANT SELECT ON public.sponsor_connections TO anon", user="postgres",
    )  # fmt: skip
    try:
        assert blockers(application) == {}
    finally:
        application.query("REVOKE auth_admin FROM operator", user="postgres")


def test_what_goes_is_looked_at_in_every_blocker(application: TestDatabase) -> None:
    """What only breaks, or what the manifest does not reach, blocks nothing."""
    application.query(
        "CREATE TABLE auth.other (id int, c public.virtues); CREATE PUBLICATION other FOR TABLE auth.other;"
        "CREATE FUNCTION auth.reads() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM public.sponsor_connections'",
        user="postgres",
    )
    assert blockers(application) == {}
    assert "function auth.reads()" in warnings(application)["survivors_break"]
