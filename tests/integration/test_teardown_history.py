# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The row of a deployment tool's table: only the one that is certain goes, and it comes back as it was."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.connection import server_info
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_attempts import Acting, in_attempts
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_history import (
    History,
    put_history,
    take_history,
)
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_plan import PlanRequest, make_plan
from tests.integration.test_teardown_drop import teardown
from tests.integration.test_teardown_drop import undo as undo_drop
from tests.support.database import TestCluster, TestDatabase
from tests.support.quarantine import UNKNOWN, assert_same, quarantine, state, undo

NEWEST = "20251125120000"
TABLE = "supabase_migrations.schema_migrations"

#: As Supabase has it, with the rows of two migrations.
SUPABASE = r"""
CREATE SCHEMA supabase_migrations;
CREATE TABLE supabase_migrations.schema_migrations (version text PRIMARY KEY, statements text[], name text);
INSERT INTO supabase_migrations.schema_migrations VALUES
    ('20250101000000', '{"CREATE TABLE profiles ()"}', 'coaching'),
    ('20251125120000', ARRAY[E'CREATE TABLE notes (\n\tid int)', 'SELECT ''{"a,b"}'', ''\n'', ''ä€😀''', NULL, ''],
     'coaching');
"""

#: Of every kind of value that has more than one way to be written down, and of columns that are not simply inserted.
TOOLS = r"""
CREATE SCHEMA "Tool's";
CREATE TABLE "Tool's"."Applied %s" (
    "Rank" int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, gone int, "at {0}" timestamptz, took interval, raw bytea,
    part real, whole double precision, amount numeric, doc jsonb, plain json, words text[], "row" record_of_it,
    twice int GENERATED ALWAYS AS (length("value") * 2) STORED, "value" varchar(20) NOT NULL, empty text, nothing text,
    span int4range, bits bit(3), ok boolean, word char(8));
ALTER TABLE "Tool's"."Applied %s" DROP COLUMN gone;
INSERT INTO "Tool's"."Applied %s" ("at {0}", took, raw, part, whole, amount, doc, plain, words, "row", "value", empty,
                                   span, bits, ok, word)
SELECT '2025-11-25 12:00:00.123456+05:30', '1 year -2 mons 03:04:05.678', '\x00ff5c0a', 0.1::real, 1e-300, 1.500,
       '{"b": 1, "a": [null, "\\n"]}', '{ "b":1,  "b":2 }', ARRAY[NULL, 'NULL', '', 'a"b\c', E'tab\t\nline'],
       ROW(1, E'\\."')::record_of_it, n, '', '[1,5)', B'101', true, 'pad'
FROM unnest('{0012,12,"\\N"}'::text[]) n;
"""
ODD = {"table": '"Tool\'s"."Applied %s"', "column": '"value"'}


def notes(**more: Any) -> dict[str, Any]:
    return {"name": "notes", "tables": ["public.notes"], **more}


@pytest.fixture
def supabase(database: TestDatabase) -> TestDatabase:
    database.query(SUPABASE)
    database.query("CREATE TABLE public.notes (id int PRIMARY KEY); INSERT INTO public.notes VALUES (1), (2)")
    return database


def plan(database: TestDatabase, manifest: dict[str, Any], mode: str = "quarantine") -> dict[str, Any]:
    connection = database.connect()
    request = PlanRequest(manifest, mode, UNKNOWN, require_backup=False)
    made: dict[str, Any] = make_plan(connection, server_info(connection), request).plan
    connection.close()
    return made


def codes(made: dict[str, Any], of: str) -> list[str]:
    return [each["code"] for each in made[of] if each["code"] != "backup_unverified"]


def versions(database: TestDatabase) -> list[str]:
    return [version for (version,) in database.query(f"SELECT version FROM {TABLE} ORDER BY 1")]


def test_what_the_plan_says(supabase: TestDatabase) -> None:
    named = plan(supabase, notes(history={"value": NEWEST}))
    assert named["history"] == {"table": TABLE, "column": "version", "value": NEWEST}
    assert (named["blockers"], named["drift"], codes(named, "warnings")) == ([], [], [])
    silent = plan(supabase, notes())
    assert silent["history"] is None
    assert codes(silent, "warnings") == ["history_unnamed"]
    assert silent["token"] != named["token"]
    other = plan(supabase, notes(history={"value": "20250101000000"}))
    assert other["token"] not in (named["token"], silent["token"])


@pytest.mark.parametrize(
    ("name", "version"),
    [(NEWEST, NEWEST), (f"{NEWEST}_coaching", NEWEST), ("coaching", None), ("20251125", None), ("", None),
     ("' OR true --", None)],
)  # fmt: skip
def test_only_a_file_name_is_certain(supabase: TestDatabase, name: str, version: str | None) -> None:
    made = plan(supabase, notes(name=name))
    assert (made["history"] or {}).get("value") == version
    assert codes(made, "warnings") == ([] if version else ["history_unnamed"])


def test_a_file_name_that_two_rows_have(supabase: TestDatabase) -> None:
    supabase.query(f"INSERT INTO {TABLE} VALUES ('{NEWEST}_coaching', NULL, NULL)")
    assert plan(supabase, notes(name=f"{NEWEST}_coaching"))["history"] is None


def test_drift(supabase: TestDatabase) -> None:
    for history in ({"value": "2024"}, {"value": "1", "table": "public.nowhere"}):
        made = plan(supabase, notes(history=history))
        (drift,) = made["drift"]
        assert (made["history"], made["blockers"], drift["problem"]) == (None, [], "missing")
    left = plan(supabase, {"tables": ["public.never"], "history": {"value": NEWEST}})
    assert left["history"] is None
    assert [each["problem"] for each in left["drift"]] == ["missing", "left_over"]


@pytest.mark.parametrize(
    ("history", "code"),
    [
        ("20250101", "manifest_invalid"), ({}, "manifest_invalid"), ({"value": 12}, "manifest_invalid"),
        ({"value": ""}, "manifest_invalid"), ({"value": "1", "tabel": "x.y"}, "manifest_invalid"),
        ({"value": "1", "table": "one_part"}, "manifest_invalid"),
        ({"value": "1", "table": "a.b.c"}, "manifest_invalid"),
        ({"value": "1", "table": "a b"}, "name_invalid"), ({"value": "1", "column": "a.b"}, "manifest_invalid"),
        ({"value": "1", "column": "never"}, "manifest_invalid"),
        ({"value": "1", "table": "public.seen"}, "manifest_invalid"),
        ({"value": "1", "table": "public.notes", "column": "id"}, "manifest_invalid"),
        ({"value": "coaching", "column": "name"}, "history_ambiguous"),
    ],
)  # fmt: skip
def test_bad_input(supabase: TestDatabase, history: Any, code: str) -> None:
    supabase.query("CREATE VIEW public.seen AS SELECT '1'::text AS version")
    with pytest.raises(RollbackError) as refused:
        plan(supabase, notes(history=history))
    assert refused.value.code == code
    assert "nothing was done" in refused.value.remedy or code == "name_invalid"


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("REVOKE INSERT ON {} FROM operator", "privilege_missing"),
        ("REVOKE ALL ON SCHEMA supabase_migrations FROM operator", "privilege_missing"),
        ("ALTER TABLE {} ENABLE ROW LEVEL SECURITY", "row_security"),
        ("CREATE FUNCTION public.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END';"
         "CREATE TRIGGER t AFTER DELETE ON {} FOR EACH ROW EXECUTE FUNCTION public.f()", "history_not_plain"),
        ("CREATE RULE r AS ON DELETE TO {} DO INSTEAD NOTHING", "history_not_plain"),
        ("CREATE TABLE public.of_it (version text REFERENCES {} ON DELETE CASCADE)", "history_not_plain"),
    ],
)  # fmt: skip
def test_blockers(supabase: TestDatabase, statement: str, code: str) -> None:
    supabase.query(
        f"ALTER SCHEMA supabase_migrations OWNER TO postgres; ALTER TABLE {TABLE} OWNER TO postgres;"
        f"GRANT USAGE ON SCHEMA supabase_migrations TO operator; GRANT SELECT, INSERT, DELETE ON {TABLE} TO operator",
        user="postgres",
    )
    manifest = notes(history={"value": NEWEST})
    assert plan(supabase, manifest)["blockers"] == []
    supabase.query(statement.format(TABLE), user="postgres")
    for mode in ("quarantine", "drop"):
        made = plan(supabase, manifest, mode)
        assert (codes(made, "blockers"), made["history"]["value"]) == ([code], NEWEST)


@pytest.mark.parametrize("value", ["0012", "\\N"])
def test_every_type_there_and_back(database: TestDatabase, tmp_path: Path, value: str) -> None:
    database.query("CREATE TYPE public.record_of_it AS (a int, b text); CREATE TABLE public.notes (id int)")
    database.query(f"SET search_path = public; {TOOLS}")
    manifest = notes(history={**ODD, "value": value})
    before = state(database)
    content = quarantine(database, manifest)
    left = [each for (each,) in database.query('SELECT "value" FROM "Tool\'s"."Applied %s" ORDER BY 1')]
    assert left == sorted({"0012", "12", "\\N"} - {value})
    undo(database, content)
    assert_same(before, state(database), same_objects=True)

    done = teardown(database, tmp_path, manifest)
    assert state(database)[0].rows['"Tool\'s"."Applied %s"'] != before[0].rows['"Tool\'s"."Applied %s"']
    undo_drop(database, done.bundle)
    assert_same(before, state(database))


def test_by_hand(supabase: TestDatabase) -> None:
    """What the bundle keeps of it is what psql takes."""
    content = quarantine(supabase, notes(history={"value": NEWEST}))
    assert versions(supabase) == ["20250101000000"]
    (script,) = [each for each in content["by_hand"] if each.startswith("COPY")]
    assert script == f"COPY {TABLE} (version, statements, name) FROM stdin;\n{content['history']['row']}\\."
    assert json.loads(json.dumps(content["history"])) == content["history"]


@pytest.mark.parametrize(
    ("statement", "code", "named"),
    [
        (f"INSERT INTO {TABLE} VALUES ('{NEWEST}')", "undo_conflict", f"with version {NEWEST} is there again"),
        (f"DROP TABLE {TABLE}", "undo_conflict", f"the table {TABLE} is gone"),
        (f"ALTER TABLE {TABLE} RENAME name TO called", "undo_conflict", f"the column name of {TABLE} is gone"),
        (f"DELETE FROM {TABLE}; ALTER TABLE {TABLE} ADD CHECK (version < '2025')", "undo_refused", "violates check"),
        (f"CREATE FUNCTION public.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.name = 1; RETURN NEW; END';"
         f"CREATE TRIGGER t BEFORE INSERT ON {TABLE} FOR EACH ROW EXECUTE FUNCTION public.f()", "undo_refused",
         "would not come back as it was"),
    ],
)  # fmt: skip
def test_what_keeps_it_from_coming_back(supabase: TestDatabase, statement: str, code: str, named: str) -> None:
    content = quarantine(supabase, notes(history={"value": NEWEST}))
    supabase.query(statement)
    before = state(supabase)
    with pytest.raises(RollbackError) as refused:
        undo(supabase, content)
    assert (refused.value.code, named in refused.value.message) == (code, True)
    assert_same(before, state(supabase), same_objects=True)


def test_the_drop_refuses_it_too(supabase: TestDatabase, tmp_path: Path) -> None:
    done = teardown(supabase, tmp_path, notes(history={"value": NEWEST}))
    supabase.query(f"INSERT INTO {TABLE} VALUES ('{NEWEST}')")
    with pytest.raises(RollbackError, match="is there again"):
        undo_drop(supabase, done.bundle)
    supabase.query(f"DELETE FROM {TABLE} WHERE version = '{NEWEST}'")
    undo_drop(supabase, done.bundle)
    assert versions(supabase) == ["20250101000000", NEWEST]


def test_what_cannot_come_back_does_not_go(supabase: TestDatabase, tmp_path: Path) -> None:
    """A row that the table would not take today."""
    supabase.query(f"ALTER TABLE {TABLE} ADD CHECK (version < '2025') NOT VALID")
    before = state(supabase)
    manifest = notes(history={"value": NEWEST})
    with pytest.raises(RollbackError, match="violates check constraint") as refused:
        quarantine(supabase, manifest)
    assert refused.value.code == "history_refused"
    with pytest.raises(RollbackError, match="violates check constraint"):
        teardown(supabase, tmp_path, manifest)
    assert_same(before, state(supabase), same_objects=True)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_the_row_is_waited_for_shortly(supabase: TestDatabase) -> None:
    """Another session holds it for a while; the attempts in between let everybody go on."""
    holder = supabase.connect()
    with holder.cursor() as cursor:
        cursor.execute(f"BEGIN; SELECT FROM {TABLE} WHERE version = '{NEWEST}' FOR UPDATE")
        timer = threading.Timer(0.7, lambda: cursor.execute("COMMIT"))
        timer.start()
        columns = ("version", "statements", "name")
        history = History(("supabase_migrations", "schema_migrations"), "version", NEWEST, columns)
        kept, attempts = in_attempts(
            supabase.connect(), 300, [], [], lambda work: take_history(work, Acting(work, 300), history)
        )
        timer.join()
    assert kept
    assert attempts > 1
    assert versions(supabase) == ["20250101000000"]


def test_a_row_that_was_taken_away_meanwhile(supabase: TestDatabase) -> None:
    """After the plan was made again under the locks."""
    history = History(("supabase_migrations", "schema_migrations"), "version", "20260101000000", ("version", "name"))
    with pytest.raises(RollbackError, match="taken away, or changed") as refused:
        in_attempts(supabase.connect(), 300, [], [], lambda work: take_history(work, Acting(work, 300), history))
    assert refused.value.code == "history_refused"


def test_any_bytes(cluster: TestCluster, database: TestDatabase) -> None:
    """In a database that takes any bytes for text."""
    name = f"{database.name}_bytes"
    database.query(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'",
                   user="postgres")  # fmt: skip
    connection = cluster.connect(name)
    try:
        cursor = connection.cursor()
        cursor.execute("CREATE TABLE applied (version text, said text);"
                       r"INSERT INTO applied VALUES ('1', E'caf\xe9 \\xe9 \x5c'), ('2', 'x')")  # fmt: skip
        cursor.execute("SELECT convert_to(said, 'SQL_ASCII') FROM applied WHERE version = '1'")
        before = bytes(cursor.fetchone()[0])
        history = History(("public", "applied"), "version", "1", ("version", "said"))
        kept = in_attempts(connection, 500, [], [], lambda work: take_history(work, Acting(work, 500), history))[0]
        kept = json.loads(json.dumps(kept))
        in_attempts(connection, 500, [], [], lambda work: put_history(work, Acting(work, 500), kept))
        cursor.execute("SELECT convert_to(said, 'SQL_ASCII') FROM applied WHERE version = '1'")
        assert bytes(cursor.fetchone()[0]) == before
    finally:
        connection.close()
        database.query(f"DROP DATABASE {name}", user="postgres")
