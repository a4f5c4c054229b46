# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Into quarantine and back: everything is as it was, meanwhile survivors work, and nobody gets at what is in there."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.baseline import Baseline
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_snapshot import read_snapshot
from ansible_collections.pgops.rollback.plugins.module_utils.connection import server_info
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_attempts import Acting
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_bundle import Bundle
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_outcome import teardown_outcome
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_plan import PlanRequest, make_plan, reading
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_provenance import Provenance
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_quarantine import (
    origins_of,
    prepare_quarantine,
    purge_manifest,
    quarantine_schema,
)
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_return import require_returnable, rows_since
from tests.support.database import TestDatabase
from tests.support.quarantine import (
    END_WHO_LOCKS,
    MANIFEST,
    SCHEMA,
    UNKNOWN,
    assert_same,
    load_shapes,
    quarantine,
    state,
    undo,
)
from tests.support.sessions import Activity, at_work
from tests.support.teardown import COACHING, load_application, rolled_back
from tests.support.waiting import until


@pytest.fixture
def application(database: TestDatabase) -> TestDatabase:
    load_application(database)
    return database


def outcome(database: TestDatabase, content: dict[str, Any]) -> str:
    with reading(database.connect()) as cursor:
        return teardown_outcome(cursor, Bundle(Path(), {"mode": "quarantine", **content}))


def refusal(database: TestDatabase, content: dict[str, Any]) -> RollbackError:
    """Of the undo, and of looking whether it can be done, alike."""
    with pytest.raises(RollbackError) as looked, reading(database.connect()) as cursor:
        require_returnable(cursor, content)
    return looked.value


def kill(database: TestDatabase) -> None:
    """The session that moves, or moves back."""
    database.query(END_WHO_LOCKS, user="postgres")


def test_everything_comes_back_as_it_was(application: TestDatabase) -> None:
    load_shapes(application)
    before = state(application)
    content = quarantine(application, MANIFEST)
    meanwhile = state(application)
    moved = {name for name in meanwhile[0].objects if f"{SCHEMA}." in name[1]}
    assert {("table", f"{SCHEMA}.sponsor_connections"), ("table", f'{SCHEMA}."Events 2026"'),
            ("table", f'{SCHEMA}."Session.Notes"'), ("sequence", f"{SCHEMA}.events_id_seq"),
            ("sequence", f"{SCHEMA}.tickets"), ("aggregate", f"{SCHEMA}.joined(text)"),
            ("procedure", f"{SCHEMA}.tidy(integer)")} <= moved  # fmt: skip
    # No row was touched, and every name that the bundle has is right.
    names = {each["name"]: each["moved_to"] for each in content["moves"]}
    assert {names.get(table, table): total for table, total in before[0].checksums.items()} == meanwhile[0].checksums
    assert {(each["kind"], each["moved_to"]) for each in content["moves"]} <= moved
    assert {key for key in meanwhile[0].objects if key[0] == "publication table"} == {
        ("publication table", "supabase_realtime on public.journal_entries"),
    }  # fmt: skip
    assert {("function", "public.pick(numeric)"), ("statistics", "public.told")} <= set(meanwhile[0].objects)
    assert outcome(application, content) == "committed"
    returned = undo(application, content)
    assert (returned.moved, returned.notes) == (sum(not each["along"] for each in content["moves"]), [])
    assert_same(before, state(application), same_objects=True)
    assert outcome(application, content) == "not_committed"


def test_the_statements_in_the_bundle_do_it_by_hand(application: TestDatabase) -> None:
    load_shapes(application)
    before = state(application)
    content = quarantine(application, MANIFEST)
    application.query("\n".join(content["by_hand"]))
    assert_same(before, state(application), same_objects=True)


def test_nobody_gets_at_what_is_in_quarantine_and_survivors_work(application: TestDatabase) -> None:
    load_shapes(application)
    reads = "SET request.jwt.claim.sub = '00000000-0000-4000-8000-000000000002'; SET ROLE authenticated; "
    seen = application.value(f"{reads} SELECT count(*) FROM public.profiles")
    assert seen > 1
    privileges = {each["kind"] + each["name"]: each["attributes"].get("privileges")
                  for each in quarantine(application, MANIFEST)["entries"]["objects"]}  # fmt: skip
    assert application.value(f"{reads} SELECT count(*) FROM public.profiles") == seen
    assert application.value(f"{reads} SELECT count(*) FROM public.sponsor_feedback") > 0
    for role in ("authenticated", "anon", "service_role", "auth_admin"):
        for use in ("SELECT id FROM {}.sponsor_connections", "SELECT {}.pick(1)", "SELECT nextval('{}.tickets')"):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege, match="for schema"):
                application.query(f"SET ROLE {role}; {use.format(SCHEMA)}", user="postgres")
    # The grants are still there, for whoever has the use of the schema.
    now = read_snapshot(application.superuser())
    assert now.objects["table", f"{SCHEMA}.sponsor_connections"].attributes["privileges"] == (
        privileges["tablepublic.sponsor_connections"]
    )
    assert now.objects["schema", SCHEMA].attributes["privileges"] == {"operator": ["CREATE", "USAGE"]}
    # A survivor's foreign key and default go on working, and account deletion cascades.
    with rolled_back(application.connect()) as cursor:
        cursor.execute("INSERT INTO public.virtues (name) VALUES ('new') RETURNING ticket")
        assert cursor.fetchone() == (18,)
        cursor.execute("DELETE FROM auth.users WHERE email = 'user1@example.com'")


def test_a_superuser_moves_what_belongs_to_others(application: TestDatabase) -> None:
    """Foreign keys are checked in the name of the table's owner, who needs the use of the schema for that."""
    load_shapes(application)
    before = state(application)
    content = quarantine(application, MANIFEST, user="postgres")
    with rolled_back(application.connect()) as cursor:
        cursor.execute("DELETE FROM auth.users WHERE email = 'user1@example.com'")
        cursor.execute("UPDATE public.sponsor_feedback SET connection_id = 7 WHERE connection_id = 8")
    undo(application, content, user="postgres")
    assert_same(before, state(application), same_objects=True)


def test_only_the_last_statements_keep_readers_out(application: TestDatabase) -> None:
    load_shapes(application)
    watching, locked = application.superuser().cursor(), []

    class Watched(Acting):
        """Notes how many tables and sequences are locked before each of its statements."""

        def run(self, statement: Any) -> None:
            watching.execute(
                "SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation"
                " WHERE l.mode = 'AccessExclusiveLock' AND c.relkind IN ('r', 'p', 'S')"
            )
            locked.append(watching.fetchone()[0])
            super().run(statement)

    def last() -> None:
        watching.execute("SELECT count(DISTINCT relation) FROM pg_locks WHERE mode = 'AccessExclusiveLock'")
        locked.append(watching.fetchone()[0])

    content = quarantine(application, MANIFEST, acting=Watched, last=last)
    assert locked[:-1] == [0, 0, 0]
    assert locked[-1] >= sum(each["catalog"] == "pg_class" for each in content["moves"])


def test_a_member_of_the_owner_moves_it_and_a_superuser_brings_it_back(application: TestDatabase) -> None:
    application.query(
        "ALTER TABLE public.sponsor_visible_memos OWNER TO auth_admin; GRANT auth_admin TO operator", user="postgres"
    )
    before = state(application)
    try:
        content = quarantine(application)
        with rolled_back(application.superuser()) as cursor:
            cursor.execute("DELETE FROM auth.users WHERE email = 'user60@example.com'")
        undo(application, content, user="postgres")
        assert_same(before, state(application), same_objects=True)
    finally:
        application.query("REVOKE auth_admin FROM operator", user="postgres")


def test_functions_alone_are_moved_without_any_lock_on_tables(application: TestDatabase) -> None:
    before = state(application)
    content = quarantine(application, {"functions": COACHING["functions"]})
    assert undo(application, content).moved == 2
    assert_same(before, state(application), same_objects=True)


def test_an_attempt_that_does_not_get_through_changes_nothing(application: TestDatabase) -> None:
    before = state(application)

    def veto() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quarantine(application, last=veto)
    assert_same(before, state(application), same_objects=True)
    # The session is ended with everything done and nothing committed.
    with pytest.raises(psycopg2.OperationalError):
        quarantine(application, last=lambda: kill(application))
    assert_same(before, state(application), same_objects=True)
    # The server itself refuses.
    application.query(
        "CREATE FUNCTION public.veto() RETURNS event_trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'no changes on Fridays'; END $$;"
        "CREATE EVENT TRIGGER veto ON ddl_command_end WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION public.veto()",
        user="postgres",
    )
    with pytest.raises(RollbackError, match="refused to move the objects into quarantine: no changes on") as refused:
        quarantine(application)
    assert refused.value.code == "quarantine_refused"
    application.query("DROP EVENT TRIGGER veto; DROP FUNCTION public.veto()", user="postgres")
    assert_same(before, state(application), same_objects=True)


@contextmanager
def reading_for_long(database: TestDatabase, table: str) -> Iterator[None]:
    connection = database.connect("postgres")
    with rolled_back(connection) as cursor:
        cursor.execute("SET LOCAL application_name = 'monthly report'")
        cursor.execute(f"SELECT count(*) FROM {table}")
        yield


#: Tables that stay.
OTHERS = "SELECT count(*) FROM public.sponsor_feedback; SELECT count(*) FROM auth.users"


def test_a_long_reader_is_named_and_others_are_not_kept_waiting(
    application: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ansible_collections.pgops.rollback.plugins.module_utils.teardown_attempts.ATTEMPTS", 3)
    before = state(application)
    with (
        reading_for_long(application, "public.sponsor_connections"),
        at_work(application, [
            Activity("reads the table", "SELECT count(*) FROM public.sponsor_connections", "postgres", doomed=True),
            Activity("reads others", OTHERS, "postgres"),
        ]) as sessions,
        pytest.raises(RollbackError, match="monthly report") as refused,
    ):
        quarantine(application)
    assert refused.value.code == "lock_timeout"
    assert max(each.longest for each in sessions) < 0.6
    assert min(each.done for each in sessions) > 20
    assert_same(before, state(application), same_objects=True)


def test_who_waits_already_is_no_victim_of_a_deadlock(application: TestDatabase) -> None:
    """Whoever has read one of the tables, and waits to write to another."""
    waiting: list[Any] = []
    with closing(application.superuser()) as connection, connection.cursor() as other, ThreadPoolExecutor(1) as beside:
        other.execute("SET deadlock_timeout = '300ms'; BEGIN; SELECT FROM public.sponsor_chat_messages LIMIT 1")

        class Awaited(Acting):
            def run(self, statement: Any) -> None:
                super().run(statement)
                if not waiting:
                    write = "DELETE FROM public.sponsor_connections WHERE id = -1; COMMIT"
                    waiting.append(beside.submit(other.execute, write))
                    behind = "SELECT count(*) FROM pg_stat_activity WHERE pg_blocking_pids(pid) <> '{}'"
                    until(lambda: bool(application.value(behind)), "the other one waits")

        quarantine(application, acting=Awaited)
        waiting[0].result()


def test_the_way_back_does_not_keep_others_waiting_either(
    application: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ansible_collections.pgops.rollback.plugins.module_utils.teardown_attempts.ATTEMPTS", 2)
    before = state(application)
    content = quarantine(application)
    table = f"{SCHEMA}.sponsor_connections"
    with (
        reading_for_long(application, table),
        at_work(application, [Activity("reads", f"SELECT count(*) FROM {table}", "postgres")]) as sessions,
        pytest.raises(RollbackError, match="monthly report"),
    ):  # fmt: skip
        undo(application, content)
    assert sessions[0].longest < 0.6
    assert outcome(application, content) == "committed"
    undo(application, content)
    assert_same(before, state(application), same_objects=True)


def test_a_lock_on_something_else_that_has_to_be_described_is_told_soon(application: TestDatabase) -> None:
    application.query("CREATE VIEW public.of_another AS SELECT id FROM public.journal_entries")
    content: dict[str, Any] = {}
    for act in (lambda: content.update(quarantine(application)), lambda: undo(application, content)):
        before = state(application)
        with rolled_back(application.superuser()) as cursor:
            cursor.execute("LOCK TABLE public.journal_entries")
            begun = time.monotonic()
            with pytest.raises(RollbackError, match="Another session keeps something locked") as refused:
                act()
            assert time.monotonic() - begun < 5
        assert refused.value.code == "lock_timeout"
        assert_same(before, state(application), same_objects=True)
        act()


#: What somebody does meanwhile, and the words with which the way back is refused.
CONFLICTS = {
    "renamed": ("ALTER TABLE {q}.sponsor_connections RENAME TO kept", "called rollback_quarantine_test.kept now"),
    "moved elsewhere": ("ALTER TABLE {q}.sponsor_visible_memos SET SCHEMA public",
                        "sponsor_visible_memos is called public.sponsor_visible_memos now"),
    "dropped": ("DROP TABLE {q}.sponsor_visible_memos CASCADE", f"table {SCHEMA}.sponsor_visible_memos is gone"),
    "replaced": ("DROP TABLE {q}.sponsor_visible_memos CASCADE; CREATE TABLE {q}.sponsor_visible_memos (id int)",
                 f"table {SCHEMA}.sponsor_visible_memos is gone"),
    "a table of that name": ("CREATE TABLE public.sponsor_connections (id int)", "public.sponsor_connections is taken"),
    "an index of that name": ("CREATE INDEX sponsor_connections_sponsor ON public.virtues (name)",
                              "public.sponsor_connections_sponsor is taken"),
    "a type of that name": ("CREATE TYPE public.sponsor_connections AS ENUM ('a')",
                            "public.sponsor_connections is taken"),
    "a function of that signature": (
        "CREATE FUNCTION public.get_unread_memo_count(uuid, uuid) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "public.get_unread_memo_count is taken"),
    "no publication any more": ("DROP PUBLICATION supabase_realtime", "publication supabase_realtime is gone"),
    "a renamed publication": ("ALTER PUBLICATION supabase_realtime RENAME TO live", "is called live now"),
    "in the publication again": (
        "ALTER PUBLICATION supabase_realtime ADD TABLE {q}.sponsor_chat_messages",
        "supabase_realtime with public.sponsor_chat_messages was made again"),
}  # fmt: skip


@pytest.mark.parametrize("case", CONFLICTS)
def test_what_came_into_the_way_is_named(application: TestDatabase, case: str) -> None:
    content = quarantine(application)
    statement, words = CONFLICTS[case]
    application.query(statement.format(q=SCHEMA))
    before = state(application)
    error = refusal(application, content)
    assert (error.code, words in error.message) == ("undo_conflict", True), error.message
    with pytest.raises((RollbackError, psycopg2.Error)):
        undo(application, content)
    assert_same(before, state(application), same_objects=True)


#: The same, of what only the proof finds.
CHANGES = {
    "granted": ("GRANT SELECT ON {q}.sponsor_connections TO anon", "anon gained SELECT on table public.sponsor_conn"),
    "a new column": ("ALTER TABLE {q}.sponsor_connections ADD note text", "column public.sponsor_connections.note is"),
    "an index less": ("DROP INDEX {q}.sponsor_connections_sponsor", "sponsor_connections_sponsor on public.sponsor_"),
    "another body": ("CREATE OR REPLACE FUNCTION {q}.get_unread_memo_count(practitioner uuid, sponsor uuid)"
                     " RETURNS bigint LANGUAGE sql STABLE AS 'SELECT 1::bigint'", "get_unread_memo_count(uuid, uuid)"),
}  # fmt: skip


@pytest.mark.parametrize("case", CHANGES)
def test_what_was_changed_in_quarantine_is_named(application: TestDatabase, case: str) -> None:
    content = quarantine(application)
    statement, words = CHANGES[case]
    application.query(statement.format(q=SCHEMA))
    before = state(application)
    with pytest.raises(RollbackError, match=re.escape(words)) as refused:
        undo(application, content)
    assert refused.value.code == "undo_conflict"
    assert_same(before, state(application), same_objects=True)


def test_what_need_not_be_as_it_was_is_told(application: TestDatabase) -> None:
    """Deletes that cascaded, policies of survivors that were replaced, and guests in the schema."""
    content = quarantine(application)
    application.query(
        f"DELETE FROM auth.users WHERE email = 'user1@example.com'; DROP POLICY sponsor_reads ON public.profiles;"
        f"CREATE TABLE {SCHEMA}.guest (id int)"
    )
    returned = undo(application, content)
    assert returned.notes == [
        f"The schema {SCHEMA} stays, because something else is in it: table {SCHEMA}.guest.",
        "Since the teardown: policy sponsor_reads on public.profiles is gone.",
    ]
    with reading(application.connect()) as cursor:
        notes = rows_since(cursor, content)
    assert notes[0].startswith("public.sponsor_chat_messages has 24")
    assert "it had 200 when it went into quarantine" in notes[1]


def test_a_way_back_that_is_ended_leaves_everything_in_quarantine(application: TestDatabase) -> None:
    content = quarantine(application)
    before = state(application)
    with pytest.raises(psycopg2.OperationalError):
        undo(application, content, last=lambda: kill(application))
    assert_same(before, state(application), same_objects=True)
    assert outcome(application, content) == "committed"
    assert undo(application, content).notes == []


def test_a_schema_that_stayed_is_left_alone_by_the_next_one(application: TestDatabase) -> None:
    first = quarantine(application)
    application.query(f"CREATE TABLE {SCHEMA}.guest (id int)")
    undo(application, first)
    before = state(application)
    second = quarantine(application)
    assert second["schema"] != first["schema"] == SCHEMA
    undo(application, second)
    assert_same(before, state(application), same_objects=True)


def test_what_became_of_it_is_told_by_the_objects(application: TestDatabase) -> None:
    connection = application.connect()
    server = server_info(connection)
    with reading(connection) as cursor:
        planned = make_plan(application.connect(), server, PlanRequest(COACHING, "quarantine", UNKNOWN))
        content = prepare_quarantine(cursor, planned, SCHEMA).content
    assert outcome(application, content) == "not_committed"
    content = quarantine(application)
    application.query(f"DROP TABLE {SCHEMA}.sponsor_visible_memos CASCADE")
    assert outcome(application, content) == "committed"
    application.query(f"DROP SCHEMA {SCHEMA} CASCADE")
    assert outcome(application, content) == "gone"
    # Of that name in that schema, as after the undo of a purge. Whether they are the same is proven by the way back.
    application.query(f"CREATE SCHEMA {SCHEMA} CREATE TABLE sponsor_connections (id int)")
    assert outcome(application, content) == "committed"
    assert refusal(application, content).code == "undo_conflict"


def test_the_schema_is_named_by_the_run() -> None:
    assert quarantine_schema("20261125T120000Z-1a2b", []) == "rollback_quarantine_20261125t120000z_1a2b"
    long = [quarantine_schema("r" * 60 + end, []) for end in "ab"]
    assert long[0] != long[1]
    taken: set[str] = set()
    for run_id in ("a.b", "a-b", "a.b", "a.b", "r" * 99, "r" * 99, "r" * 99):
        name = quarantine_schema(run_id, taken)
        assert name not in taken
        assert re.fullmatch(r"rollback_quarantine_[a-z0-9_]{1,43}", name)
        taken.add(name)


#: What stands in the way of a quarantine, and of nothing else.
BLOCKERS = {
    "two of a name": (
        "CREATE SCHEMA s; CREATE TABLE s.sponsor_connections (id int)",
        {"tables": ["public.sponsor_connections", "s.sponsor_connections"]},
        "quarantine_name_taken", "table s.sponsor_connections are in different schemas"),
    "two indexes of a name": (
        "CREATE SCHEMA s; CREATE TABLE s.t (id int); CREATE INDEX sponsor_connections_sponsor ON s.t (id)",
        {"tables": ["public.sponsor_connections", "s.t"]}, "quarantine_name_taken", "sponsor_connections_sponsor"),
    "two functions of a signature": (
        "CREATE SCHEMA s; CREATE FUNCTION s.f(int) RETURNS int LANGUAGE sql AS 'SELECT 1';"
        "CREATE FUNCTION public.f(int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        {"functions": ["public.f(integer)", "s.f(integer)"]}, "quarantine_name_taken", "function s.f(integer)"),
    "a sequence of a column that stays": (
        "SELECT 1", {"sequences": ["public.virtues_id_seq"]}, "sequence_owned", "column public.virtues.id"),
}  # fmt: skip


@pytest.mark.parametrize("case", BLOCKERS)
def test_what_cannot_be_moved_is_told_in_the_plan(application: TestDatabase, case: str) -> None:
    statement, manifest, code, words = BLOCKERS[case]
    application.query(statement)
    connection = application.connect()
    plan = make_plan(connection, server_info(connection), PlanRequest(manifest, "quarantine", UNKNOWN)).plan
    assert [(each["code"], words in each["message"]) for each in plan["blockers"]] == [(code, True)]


def test_functions_of_one_name_and_an_array_type_are_no_conflict(application: TestDatabase) -> None:
    application.query(
        "CREATE SCHEMA s; CREATE FUNCTION s.f(int) RETURNS int LANGUAGE sql AS 'SELECT 1';"
        "CREATE FUNCTION public.f(text) RETURNS int LANGUAGE sql AS 'SELECT 1';"
        "CREATE TABLE public.t (id int); CREATE INDEX _t ON public.virtues (id); CREATE TABLE public.u (id int);"
        "CREATE INDEX _u ON public.t (id)"
    )
    before = state(application)
    manifest = {"tables": ["public.t", "public.u"], "functions": ["public.f(text)", "s.f(integer)"]}
    undo(application, quarantine(application, manifest))
    assert_same(before, state(application), same_objects=True)


def test_who_still_sees_the_rows_is_told(application: TestDatabase) -> None:
    load_shapes(application)
    application.query("CREATE PUBLICATION everything FOR ALL TABLES", user="postgres")
    connection = application.connect()
    manifest = {**MANIFEST, "tables": [*MANIFEST["tables"][:3], '"Coach Data"."order"', "public.events_2025"]}
    plan = make_plan(connection, server_info(connection), PlanRequest(manifest, "quarantine", UNKNOWN)).plan
    told = {each["code"]: each["message"] for each in plan["warnings"]}
    assert "everything is FOR ALL TABLES: it goes on" in told["publication_all_tables"]
    assert 'of_schema publishes every table in the schema "Coach Data"' in told["publication_schema"]
    assert "public.events_2025 is a partition of public.events, which stays" in told["quarantine_attached"]


def test_what_is_in_quarantine_can_be_planned_to_go(application: TestDatabase) -> None:
    load_shapes(application)
    content = quarantine(application, MANIFEST)
    connection = application.connect()
    request = PlanRequest(purge_manifest(content), "drop", UNKNOWN, require_backup=False)
    plan = make_plan(connection, server_info(connection), request).plan
    assert {each["name"] for each in plan["objects"]} == {each["moved_to"] for each in content["moves"]}
    assert plan["drift"] == []


@pytest.mark.parametrize("schemas", [None, ["public"]])
def test_a_purge_knows_where_everything_came_from(
    application: TestDatabase, tmp_path: Path, schemas: list[str] | None
) -> None:
    """By the bundle: by their names in the quarantine nothing was there before the migration."""
    snapshot = read_snapshot(application.superuser(), schemas=schemas)
    snapshot.identities = {}
    before = Baseline("coaching", "before", "db1", "somebody", snapshot)
    load_shapes(application)
    manifest = {**COACHING, "tables": [*COACHING["tables"], "public.events"], "sequences": ["public.tickets"]}
    content = quarantine(application, manifest)
    connection = application.connect()

    def blockers(provenance: Provenance) -> set[tuple[str, str]]:
        request = PlanRequest(purge_manifest(content), "drop", provenance, require_backup=False)
        found = make_plan(connection, server_info(connection), request).plan["blockers"]
        return {(each["code"], each["message"].split(", by the")[0]) for each in found}

    older = [*COACHING["tables"], *COACHING["functions"]]
    assert blockers(Provenance(before, origins=origins_of(content))) == {
        ("provenance_older", f"The {each['kind']} {each['moved_to']} was there before the migration as {each['name']}")
        for each in content["moves"] if each["name"] in older
    }  # fmt: skip
    overridden = frozenset(each["moved_to"] for each in content["moves"] if each["name"] in older)
    assert blockers(Provenance(before, origins=origins_of(content), overridden=overridden)) == set()
