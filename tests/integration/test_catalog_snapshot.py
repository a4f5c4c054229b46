# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a snapshot sees: every change that a migration can make, by its name, and nothing where there is none."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.catalog_difference import compare
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_snapshot import Snapshot, read_snapshot
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from tests.support.database import TestCluster, TestDatabase
from tests.support.modules import run_module

SCHEMA = """
CREATE TABLE parent (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, code text UNIQUE, note text DEFAULT 'none');
CREATE TABLE child (id serial PRIMARY KEY, parent bigint NOT NULL REFERENCES parent, amount numeric(10, 2) NOT NULL
                    CHECK (amount > 0), doubled numeric GENERATED ALWAYS AS (amount * 2) STORED);
CREATE INDEX child_parent ON child (parent);
CREATE TABLE "Odd Näme" ("Kéy.1" int PRIMARY KEY, "a""b" text);
CREATE SCHEMA app;
CREATE TABLE app.parent (id int PRIMARY KEY);
CREATE TABLE parts (id int, day date) PARTITION BY RANGE (day);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE FUNCTION f(a int, b text) RETURNS int LANGUAGE sql AS 'SELECT a';
CREATE FUNCTION f(a int) RETURNS int LANGUAGE sql AS 'SELECT a';
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
CREATE PROCEDURE p() LANGUAGE sql AS 'SELECT 1';
CREATE AGGREGATE total (numeric) (SFUNC = numeric_add, STYPE = numeric);
CREATE TRIGGER touched BEFORE UPDATE ON child FOR EACH ROW EXECUTE FUNCTION touch();
CREATE VIEW sums AS SELECT parent, sum(amount) FROM child GROUP BY 1;
CREATE MATERIALIZED VIEW kept AS SELECT id FROM parent;
CREATE RULE no_delete AS ON DELETE TO app.parent DO INSTEAD NOTHING;
ALTER TABLE parent ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON parent USING (id > 0);
CREATE POLICY narrow ON parent AS RESTRICTIVE FOR SELECT USING (note IS NOT NULL);
CREATE SEQUENCE counter CACHE 5;
CREATE STATISTICS together ON parent, amount FROM child;
CREATE PUBLICATION pub FOR TABLE child;
COMMENT ON TABLE child IS 'rows';
GRANT SELECT ON parent TO pg_monitor;
"""

#: A statement, and every sentence that the difference says of it.
CHANGES: list[tuple[str, list[str]]] = [
    ("DROP POLICY own ON parent", ["policy own on public.parent is gone"]),
    ("ALTER POLICY narrow ON parent USING (true)",
     ["using of policy narrow on public.parent is true; it was (note IS NOT NULL)"]),
    ("ALTER TABLE parent DISABLE ROW LEVEL SECURITY",
     ["row level security of table public.parent is off; it was on"]),
    ("ALTER TABLE parent FORCE ROW LEVEL SECURITY",
     ["row level security of the owner, too, of table public.parent is on; it was off"]),
    ("REVOKE SELECT ON parent FROM pg_monitor", ["pg_monitor lost SELECT on table public.parent"]),
    ("GRANT INSERT (note) ON parent TO pg_monitor", ["pg_monitor gained INSERT on column public.parent.note"]),
    ("GRANT UPDATE ON parent TO pg_monitor WITH GRANT OPTION",
     ["pg_monitor gained UPDATE WITH GRANT OPTION on table public.parent"]),
    ("ALTER TABLE parent ALTER note DROP DEFAULT",
     ["column public.parent.note has lost its default, which was 'none'::text"]),
    ("ALTER TABLE child ALTER id DROP DEFAULT",
     ["column public.child.id has lost its default, which was nextval('public.child_id_seq'::regclass)"]),
    ("ALTER TABLE parent ALTER id DROP IDENTITY",
     ["sequence public.parent_id_seq is gone", "column public.parent.id has lost its identity, which was always"]),
    ("ALTER TABLE parent ALTER note SET NOT NULL",
     ["column public.parent.note is NOT NULL; it was not"]),
    ("ALTER TABLE parent ALTER note TYPE varchar(50)",
     ["type of column public.parent.note is character varying(50); it was text"]),
    ("ALTER TABLE parent ADD added int", ["column public.parent.added is new"]),
    ("ALTER TABLE parent DROP COLUMN added", ["column public.parent.added is gone"]),
    ("ALTER TABLE child DROP CONSTRAINT child_parent_fkey",
     ["constraint child_parent_fkey on public.child is gone"]),
    ("ALTER TABLE child ADD CONSTRAINT child_parent_fkey FOREIGN KEY (parent) REFERENCES parent NOT VALID",
     ["constraint child_parent_fkey on public.child is new"]),
    ("ALTER TABLE child VALIDATE CONSTRAINT child_parent_fkey",
     ["constraint child_parent_fkey on public.child is validated; it was not"]),
    ("ALTER TABLE child ALTER CONSTRAINT child_parent_fkey DEFERRABLE",
     ["definition of constraint child_parent_fkey on public.child is FOREIGN KEY (parent) REFERENCES public.parent(id)"
      " DEFERRABLE; it was FOREIGN KEY (parent) REFERENCES public.parent(id)"]),
    ("DROP INDEX child_parent", ["index child_parent on public.child is gone"]),
    ("CREATE UNIQUE INDEX ON app.parent (id) WHERE id > 0", ["index parent_id_idx on app.parent is new"]),
    ("ALTER TABLE child CLUSTER ON child_pkey",
     ["index child_pkey on public.child is clustered; it was not"]),
    ("DROP TRIGGER touched ON child", ["trigger touched on public.child is gone"]),
    ("CREATE TRIGGER touched AFTER INSERT ON child FOR EACH ROW EXECUTE FUNCTION touch()",
     ["trigger touched on public.child is new"]),
    ("ALTER TABLE child DISABLE TRIGGER touched", ["enabled of trigger touched on public.child is no; it was yes"]),
    ("DROP FUNCTION f(int)", ["function public.f(integer) is gone"]),
    ("CREATE OR REPLACE FUNCTION f(a int, b text) RETURNS int LANGUAGE sql AS 'SELECT 1'",
     ["definition of function public.f(integer, text) is CREATE OR REPLACE FUNCTION public.f(a integer, b text) RETURNS"
      " integer LANGUAGE sql AS $function$SELECT 1$function$; it was CREATE OR REPLACE FUNCTION public.f(a integer, b"
      " text) RETURNS integer LANGUAGE sql AS $function$SELECT a$function$"]),
    ("REVOKE EXECUTE ON FUNCTION f(int, text) FROM public",
     ["public lost EXECUTE on function public.f(integer, text)"]),
    ("DROP PROCEDURE p()", ["procedure public.p() is gone"]),
    ("DROP AGGREGATE total (numeric)", ["aggregate public.total(numeric) is gone"]),
    ("DROP VIEW sums", ["view public.sums is gone"]),
    ("DROP MATERIALIZED VIEW kept", ["materialized view public.kept is gone"]),
    ("DROP RULE no_delete ON app.parent", ["rule no_delete on app.parent is gone"]),
    ("ALTER TYPE mood ADD VALUE 'happy'", ["labels of enum public.mood is sad, ok, happy; it was sad, ok"]),
    ("ALTER TYPE pair ADD ATTRIBUTE c int",
     ["columns of type public.pair is a integer, b text, c integer; it was a integer, b text"]),
    ("ALTER DOMAIN positive DROP CONSTRAINT positive_check",
     ["constraint positive_check on public.positive is gone"]),
    ("ALTER SEQUENCE counter INCREMENT 2", ["increment of sequence public.counter is 2; it was 1"]),
    ("DROP STATISTICS together", ["statistics public.together is gone"]),
    ("ALTER PUBLICATION pub DROP TABLE child", ["publication table pub on public.child is gone"]),
    ("DROP PUBLICATION pub", ["publication pub is gone"]),
    ("COMMENT ON TABLE child IS NULL", ["table public.child has lost its comment, which was rows"]),
    ("ALTER TABLE child SET (fillfactor = 70)", ["table public.child has options fillfactor=70; it had none"]),
    ("ALTER TABLE parts DETACH PARTITION parts_1",
     ["column public.parts_1.day is not inherited; it was", "column public.parts_1.id is not inherited; it was",
      "table public.parts_1 has lost its parents, which was public.parts",
      "table public.parts_1 has lost its partition bound, which was FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')"]),
    ('ALTER TABLE "Odd Näme" RENAME COLUMN "a""b" TO c',
     ['column public."Odd Näme"."a""b" is gone', 'column public."Odd Näme".c is new']),
    ('DROP TABLE "Odd Näme"', ['table public."Odd Näme" is gone']),
    ("ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT ON TABLES TO pg_monitor",
     ["default privileges of postgres for tables in schema app is new"]),
    ("CREATE EXTENSION amcheck", ["extension amcheck is new"]),
    ("ALTER SCHEMA app OWNER TO pg_monitor",
     ["schema app belongs to pg_monitor; it belonged to postgres"]),
    ("CREATE EVENT TRIGGER watch ON sql_drop EXECUTE FUNCTION watch()", ["event trigger watch is new"]),
    ("CREATE TABLE fresh (id serial PRIMARY KEY, parent bigint REFERENCES parent)", ["table public.fresh is new"]),
]  # fmt: skip


@pytest.fixture
def connection(database: TestDatabase) -> Iterator[Any]:
    made = database.superuser()
    with made.cursor() as cursor:
        cursor.execute(SCHEMA)
        cursor.execute(
            "CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'"
        )
    return made


def test_every_change_is_named(connection: Any) -> None:
    before = read_snapshot(connection)
    wrong = []
    with connection.cursor() as cursor:
        for statement, expected in CHANGES:
            cursor.execute(statement)
            after = read_snapshot(connection)
            found = compare(before, after).texts()
            if sorted(found) != sorted(expected):
                wrong.append((statement, found))
            assert (before.fingerprint == after.fingerprint) is False, statement
            before = after
    assert wrong == []


def test_the_same_catalogs_give_the_same_bytes(connection: Any) -> None:
    """Whatever the session's settings are, and whatever was written meanwhile."""
    first = read_snapshot(connection, "none").as_json()
    with connection.cursor() as cursor:
        cursor.execute("SET search_path = app; SET DateStyle = 'German'; SET quote_all_identifiers = on")
        cursor.execute("INSERT INTO public.parent (code) VALUES ('x'); ANALYZE")
    second = read_snapshot(connection, "none").as_json()
    moved = {"taken_at", "sequences", "sum"}
    assert json.dumps(_without(first, moved)) == json.dumps(_without(second, moved))
    assert first["sequences"] != second["sequences"]
    assert Snapshot.from_json(json.loads(json.dumps(first))).as_json() == first


def test_the_same_statements_elsewhere_give_the_same_fingerprint(cluster: TestCluster) -> None:
    """In another database, where every OID is another one."""
    fingerprints = set()
    for filler in ("", "CREATE TABLE filler (a int, b text); DROP TABLE filler"):
        other = TestDatabase(cluster)
        other.create()
        try:
            with other.superuser().cursor() as cursor:
                cursor.execute(filler or "SELECT 1")
                cursor.execute(SCHEMA)
            fingerprints.add(read_snapshot(other.superuser()).fingerprint)
        finally:
            other.drop()
    assert len(fingerprints) == 1


def _without(content: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name not in names}


def test_no_oid_gets_in(connection: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT oid::text FROM pg_class WHERE oid >= 16384 UNION SELECT oid::text FROM pg_proc WHERE oid >= 16384"
        )
        oids = {oid for (oid,) in cursor.fetchall()}
    text = json.dumps([each.attributes for each in read_snapshot(connection).objects.values()])
    # As numbers: the digits of a hash may be anything.
    assert oids & set(re.findall(r"\b\d+\b", text)) == set()


def test_rows_and_checksums(connection: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO parent (code) SELECT n::text FROM generate_series(1, 7) n")
        cursor.execute("INSERT INTO parts VALUES (1, '2026-01-05'), (2, '2026-01-06')")
    estimated = read_snapshot(connection)
    assert (estimated.rows_are, estimated.rows["public.parent"]) == ("estimated", None)
    exact = read_snapshot(connection, "exact", checksums=True)
    expected = {"public.parent": 7, "public.child": 0, "public.parts": 2, 'public."Odd Näme"': 0}
    assert {name: exact.rows[name] for name in expected} == expected
    with connection.cursor() as cursor:
        cursor.execute("UPDATE parent SET note = 'other' WHERE id = 3")
    again = read_snapshot(connection, "exact", checksums=True)
    assert {name for name in exact.checksums if again.checksums[name] != exact.checksums[name]} == {"public.parent"}
    assert read_snapshot(connection, "none").rows == {}


def test_what_the_role_may_not_read_is_said(database: TestDatabase) -> None:
    with database.superuser().cursor() as cursor:
        cursor.execute("CREATE TABLE public.hidden (id serial); INSERT INTO public.hidden DEFAULT VALUES")
        cursor.execute("CREATE TABLE public.guarded (id int); ALTER TABLE public.guarded ENABLE ROW LEVEL SECURITY")
        cursor.execute("GRANT SELECT ON public.guarded TO operator")
    snapshot = read_snapshot(database.connect(), "exact")
    assert snapshot.rows == {"public.guarded": None, "public.hidden": None}
    reasons = {(each["kind"], each["name"]): each["reason"] for each in snapshot.unreadable}
    assert reasons.keys() == {
        ("sequence", "public.hidden_id_seq"), ("table", "public.guarded"), ("table", "public.hidden"),
    }  # fmt: skip
    assert "row-level security" in reasons["table", "public.guarded"]
    # It is described all the same: the catalogs are everybody's.
    assert ("column", "public.hidden.id") in snapshot.objects


INDEXES = """
CREATE TABLE "Shelf" (id int, "order" text, "Odd ""k" varchar(9), low text COLLATE "C", spot point, tags int[]);
CREATE INDEX i1 ON "Shelf" (id, "order");
CREATE UNIQUE INDEX "I 2" ON "Shelf" ("Odd ""k");
CREATE INDEX i3 ON "Shelf" (id DESC);
CREATE INDEX i4 ON "Shelf" (id NULLS FIRST);
CREATE INDEX i5 ON "Shelf" ("order" text_pattern_ops);
CREATE INDEX i6 ON "Shelf" ("order" COLLATE "C");
CREATE INDEX i7 ON "Shelf" (low);
CREATE INDEX i8 ON "Shelf" (low COLLATE "default");
CREATE INDEX i9 ON "Shelf" (lower("order"));
CREATE INDEX i10 ON "Shelf" (id) WHERE id > 0;
CREATE INDEX i11 ON "Shelf" (id) INCLUDE ("order");
CREATE INDEX i12 ON "Shelf" (id) WITH (fillfactor = 70);
CREATE UNIQUE INDEX i13 ON "Shelf" (id) NULLS NOT DISTINCT;
CREATE INDEX i14 ON "Shelf" USING gist (spot);
CREATE INDEX i15 ON "Shelf" USING hash (id);
CREATE INDEX i16 ON "Shelf" (tags);
CREATE INDEX i17 ON "Shelf" (id, id);
CREATE INDEX i18 ON parts (id);
CREATE INDEX i19 ON kept (id);
"""


def test_indexes_are_described_as_postgres_does(connection: Any) -> None:
    """Plain ones are described without asking it."""
    with connection.cursor() as cursor:
        cursor.execute(INDEXES)
        cursor.execute(
            "SET search_path = pg_catalog; SELECT relname, pg_get_indexdef(i.indexrelid)"
            " FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
            " WHERE i.indexrelid >= 16384 AND c.relnamespace <> 'pg_toast'::regnamespace"
            " AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid AND contype IN ('p', 'u'))"
        )
        expected = sorted(definition for _name, definition in cursor.fetchall())
    found = [each for each in read_snapshot(connection).objects.values() if each.kind == "index"]
    assert len(expected) >= 20
    assert sorted(each.attributes["definition"] for each in found if "constraint" not in each.attributes) == expected


def test_where_sequences_stand(connection: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE SEQUENCE never; CREATE SEQUENCE once; CREATE SEQUENCE put; CREATE SEQUENCE waiting")
        cursor.execute("SELECT nextval('once'), setval('put', 40), setval('waiting', 70, false)")
    states = read_snapshot(connection, "none").sequences
    assert {name: (state["last_value"], state["is_called"]) for name, state in states.items()
            if name in {"public.never", "public.once", "public.put", "public.waiting"}} == {
        "public.never": (1, False), "public.once": (1, True), "public.put": (40, True), "public.waiting": (70, False),
    }  # fmt: skip


def test_a_catalog_that_may_not_be_read_is_not_taken_for_empty(database: TestDatabase) -> None:
    with database.superuser().cursor() as cursor:
        cursor.execute("CREATE TABLE public.t (id int); CREATE POLICY own ON public.t; CREATE SEQUENCE public.s")
        before = read_snapshot(database.connect())
        cursor.execute("REVOKE SELECT ON pg_catalog.pg_policy FROM public")
    after = read_snapshot(database.connect())
    assert [each for each in after.unreadable if each["kind"] == "policy"] == [
        {"kind": "policy", "name": "*", "reason": "permission denied for table pg_policy"}
    ]
    # What is read after it is there.
    assert ("sequence", "public.s") in after.objects
    found = compare(before, after)
    assert found.texts() == ["public lost SELECT on system table pg_catalog.pg_policy"]
    assert found.not_compared == ["policy"]


def test_only_the_schemas_asked_for(connection: Any) -> None:
    snapshot = read_snapshot(connection, schemas=["app"])
    assert {each.schema for each in snapshot.objects.values() if each.schema} == {"app"}
    with pytest.raises(RollbackError, match="has no schema nowhere"):
        read_snapshot(connection, schemas=["nowhere"])


@pytest.mark.parametrize(
    "edit",
    [
        lambda content: content["objects"][0]["attributes"].update(owner="me"),
        lambda content: content["objects"].pop(),
        lambda content: content["rows"].update({"public.parent": 1}),
        lambda content: content.update(database="other"),
        lambda content: content.update(format_version=2),
        lambda content: content.pop("objects"),
        lambda content: content.update(objects=7),
    ],
)
def test_a_snapshot_that_was_edited_is_refused(connection: Any, edit: Any) -> None:
    content = read_snapshot(connection).as_json()
    edit(content)
    with pytest.raises(RollbackError) as caught:
        Snapshot.from_json(content)
    assert caught.value.code == "baseline_invalid"


def test_the_module(database: TestDatabase) -> None:
    database.query("CREATE TABLE t (id int)")
    run = run_module("catalog_snapshot", {**database.login(), "rows": "exact"})
    assert not run.failed
    assert run["snapshot"]["fingerprint"] == run["fingerprint"]
    assert (run["counts"]["table"], run["snapshot"]["rows"]) == (1, {"public.t": 0})
    assert run_module("catalog_snapshot", {**database.login(), "schemas": ["x"]})["code"] == "object_unknown"


def test_it_waits_for_no_lock_for_long(database: TestDatabase) -> None:
    """A migration that is under way holds what a view is described by."""
    database.query("CREATE TABLE busy (id int); CREATE VIEW over_it AS SELECT id FROM busy")
    migration = database.connect()
    with migration.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE busy")
        run = run_module("catalog_snapshot", database.login())
    assert (run.failed, run["code"]) == (True, "lock_timeout")
