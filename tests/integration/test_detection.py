# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Faults that a rollback or a migration leaves behind are found and named; where there is none, none is found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.database import ROOT, TestCluster, TestDatabase
from tests.support.modules import ModuleRun, run_module

PAIRS = [{"left": "auth.users.id", "right": "public.profiles.id", "both": True}]
SAMPLE = (ROOT / "demo/sample_application.sql").read_text(encoding="utf-8")

#: What the sample application lacks and other applications have.
MORE = """
CREATE TABLE public.parts (id int, day date) PARTITION BY RANGE (day);
CREATE TABLE public.parts_1 PARTITION OF public.parts FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TYPE public.mood AS ENUM ('sad', 'ok');
CREATE DOMAIN public.positive AS int CHECK (VALUE > 0);
CREATE FUNCTION public.count_virtues() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM public.virtues';
CREATE FUNCTION public.note_it() RETURNS trigger LANGUAGE plpgsql
    AS 'BEGIN INSERT INTO public.notes (note) VALUES (''x''); RETURN new; END';
CREATE TABLE public.notes (id serial PRIMARY KEY, note text NOT NULL DEFAULT 'none');
CREATE TRIGGER note_it AFTER INSERT ON public.virtues FOR EACH ROW EXECUTE FUNCTION public.note_it();
CREATE MATERIALIZED VIEW public.kept AS SELECT id FROM public.virtues;
CREATE POLICY narrow ON public.profiles AS RESTRICTIVE USING (true);
CREATE SEQUENCE public.counter;
CREATE STATISTICS public.together ON user_id, created_at FROM public.journal_entries;
CREATE RULE no_delete AS ON DELETE TO public.notes DO INSTEAD NOTHING;
COMMENT ON TABLE public.notes IS 'notes';
GRANT SELECT ON public.notes TO anon;
CREATE TABLE public.odd ("k (x)" int CONSTRAINT "a on b" REFERENCES public.virtues);
"""


@dataclass(frozen=True)
class Fault:
    """:ivar check: that has to find it.
    :ivar words: that have to be among what it says.
    """

    statement: str
    check: str
    words: str


FAULTS = [
    Fault("DROP POLICY own ON public.profiles", "row_security_kept", "policy own on public.profiles: is gone"),
    Fault("DROP POLICY narrow ON public.profiles", "row_security_kept", "policy narrow on public.profiles: is gone"),
    Fault("ALTER POLICY own ON public.profiles USING (true)", "row_security_kept", "policy own on public.profiles"),
    Fault("CREATE POLICY all_of_it ON public.profiles USING (true)", "row_security_kept", "all_of_it on"),
    Fault("ALTER TABLE public.profiles DISABLE ROW LEVEL SECURITY", "row_security_kept", "is off; it was on"),
    Fault("ALTER TABLE public.profiles DISABLE ROW LEVEL SECURITY", "row_security", "public.profiles"),
    Fault("ALTER TABLE public.profiles FORCE ROW LEVEL SECURITY", "row_security_kept", "is on; it was off"),
    Fault("REVOKE SELECT ON public.profiles FROM authenticated", "grants_kept", "authenticated lost SELECT"),
    Fault("GRANT SELECT ON public.journal_entries TO anon", "grants_kept", "anon gained SELECT"),
    Fault("REVOKE USAGE ON SCHEMA public FROM authenticated", "grants_kept", "lost USAGE on schema public"),
    Fault("ALTER TABLE public.notes OWNER TO service_role", "grants_kept", "belongs to service_role"),
    Fault("ALTER FUNCTION public.count_virtues() OWNER TO service_role", "grants_kept", "public.count_virtues()"),
    Fault("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO anon", "grants_kept", "default privileges"),
    Fault("ALTER TABLE public.journal_entries DROP CONSTRAINT journal_entries_user_id_fkey", "catalog_kept",
          "constraint journal_entries_user_id_fkey on public.journal_entries: is gone"),
    Fault("ALTER TABLE public.journal_entries DROP CONSTRAINT journal_entries_user_id_fkey;"
          "UPDATE public.journal_entries SET user_id = gen_random_uuid()"
          " WHERE id IN (SELECT id FROM public.journal_entries ORDER BY id LIMIT 3)", "orphans_without_key",
          "journal_entries_user_id_fkey on public.journal_entries: gone, and 3 rows"),
    Fault('ALTER TABLE public.odd DROP CONSTRAINT "a on b"; INSERT INTO public.odd VALUES (-1)', "orphans_without_key",
          'constraint "a on b" on public.odd: gone, and 1 row'),
    Fault("ALTER SEQUENCE public.virtues_id_seq MAXVALUE 12", "sequence_limits", "public.virtues_id_seq: exhausted"),
    Fault("DROP TABLE public.journal_entries CASCADE", "row_counts", "public.journal_entries: gone, and with it "),
    Fault("ALTER TABLE public.notes ADD CONSTRAINT short CHECK (length(note) < 9) NOT VALID", "constraints", "short"),
    Fault("ALTER TABLE public.journal_entries DROP CONSTRAINT journal_entries_pkey CASCADE", "catalog_kept",
          "journal_entries_pkey"),
    Fault("ALTER TABLE public.virtues DROP CONSTRAINT virtues_name_key", "catalog_kept", "virtues_name_key"),
    Fault("DROP INDEX public.journal_entries_user_id", "catalog_kept", "index journal_entries_user_id"),
    Fault("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'public.journal_entries_user_id'::regclass",
          "indexes", "public.journal_entries_user_id"),
    Fault("ALTER TABLE public.virtues ALTER id DROP DEFAULT", "catalog_kept", "has lost its default"),
    Fault("ALTER TABLE public.virtues ALTER id DROP DEFAULT", "keys_without_default", "public.virtues.id"),
    Fault("ALTER TABLE public.sponsor_connections ALTER id DROP IDENTITY", "catalog_kept", "has lost its identity"),
    Fault("SELECT setval('public.virtues_id_seq', 1, false)", "sequences", "public.virtues_id_seq: behind"),
    Fault("ALTER TABLE public.notes ALTER note DROP NOT NULL", "catalog_kept", "is not NOT NULL; it was"),
    Fault("ALTER TABLE public.notes ALTER note TYPE varchar(10)", "catalog_kept", "character varying(10)"),
    Fault("ALTER TABLE public.notes ALTER note DROP DEFAULT", "catalog_kept", "public.notes.note"),
    Fault("ALTER TABLE public.profiles DROP COLUMN display_name CASCADE", "catalog_kept", "profiles.display_name"),
    Fault("DROP MATERIALIZED VIEW public.kept", "catalog_kept", "materialized view public.kept: is gone"),
    Fault("DROP FUNCTION public.count_virtues()", "catalog_kept", "function public.count_virtues(): is gone"),
    Fault("CREATE OR REPLACE FUNCTION public.count_virtues() RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'",
          "catalog_kept", "function public.count_virtues()"),
    Fault("ALTER TABLE public.virtues RENAME TO virtue", "references", "public.count_virtues()"),
    Fault("ALTER TABLE public.virtues RENAME TO virtue", "catalog_kept", "table public.virtues: is public.virtue now"),
    Fault("ALTER TABLE public.journal_entries RENAME TO entries; DELETE FROM public.entries WHERE id < 5", "row_counts",
          "public.entries: has "),
    Fault("DROP TABLE public.notes", "references", "public.note_it()"),
    Fault("DROP TABLE public.notes", "catalog_kept", "table public.notes: is gone"),
    Fault("DROP TRIGGER note_it ON public.virtues", "catalog_kept", "trigger note_it on public.virtues: is gone"),
    Fault("ALTER TABLE public.virtues DISABLE TRIGGER note_it", "triggers", "note_it on public.virtues"),
    Fault("ALTER PUBLICATION supabase_realtime DROP TABLE public.journal_entries", "catalog_kept",
          "publication table supabase_realtime on public.journal_entries: is gone"),
    Fault("DROP PUBLICATION supabase_realtime", "catalog_kept", "publication supabase_realtime: is gone"),
    Fault("DROP RULE no_delete ON public.notes", "catalog_kept", "rule no_delete on public.notes: is gone"),
    Fault("DROP STATISTICS public.together", "catalog_kept", "statistics public.together: is gone"),
    Fault("DROP TYPE public.mood", "catalog_kept", "enum public.mood: is gone"),
    Fault("ALTER TYPE public.mood ADD VALUE 'happy'", "catalog_kept", "enum public.mood"),
    Fault("ALTER DOMAIN public.positive DROP CONSTRAINT positive_check", "catalog_kept", "positive_check"),
    Fault("DROP SEQUENCE public.counter", "catalog_kept", "sequence public.counter: is gone"),
    Fault("ALTER TABLE public.parts DETACH PARTITION public.parts_1", "catalog_kept", "table public.parts_1"),
    Fault("COMMENT ON TABLE public.notes IS NULL", "catalog_details", "table public.notes"),
    Fault("CREATE TABLE public.left_behind (id int)", "catalog_additions", "table public.left_behind: is new"),
    Fault("DELETE FROM public.journal_entries WHERE id IN (SELECT id FROM public.journal_entries LIMIT 5)",
          "row_counts", "public.journal_entries: has"),
    Fault("ALTER TABLE public.profiles DROP CONSTRAINT profiles_id_fkey;"
          "INSERT INTO public.profiles (id, display_name) VALUES (gen_random_uuid(), 'x')", "pairs", "profiles.id"),
    Fault("DELETE FROM public.profiles WHERE id IN (SELECT id FROM public.profiles LIMIT 1)", "pairs", "auth.users.id"),
]  # fmt: skip


@pytest.fixture
def app(cluster: TestCluster) -> Iterator[TestDatabase]:
    database = TestDatabase(cluster)
    database.create()
    database.query(SAMPLE + MORE, user="postgres")
    yield database
    database.drop()


def take_baseline(database: TestDatabase, directory: Path) -> str:
    kept = {"migration": "release", "artifacts_dir": str(directory), "host": "app"}
    run = run_module("migration_baseline", {**database.login("postgres"), **kept})
    assert not run.failed, run["msg"]
    return str(run["path"])


def verify(database: TestDatabase, **options: Any) -> ModuleRun:
    return run_module("rollback_verify", {**database.login("postgres"), "pairs": PAIRS, **options})


def told(run: ModuleRun) -> dict[str, str]:
    """Every object of every check that found something, by check."""
    return {
        check["name"]: "; ".join(f"{each['name']}: {each['problem']}" for each in check["objects"])
        for check in run["checks"] if check["status"] in ("failed", "warned")
    }  # fmt: skip


def missed(app: TestDatabase, faults: list[Fault], directory: Path) -> list[Any]:
    """Those that are not found, each seeded in a copy of the database that has a baseline from before the fault."""
    found = []
    for number, fault in enumerate(faults):
        damaged = TestDatabase(app.cluster)
        with app.cluster.connect().cursor() as cursor:
            # Nobody may be connected to what is copied.
            cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (app.name,))
            cursor.execute(f"CREATE DATABASE {damaged.name} TEMPLATE {app.name}")
        try:
            baseline = take_baseline(damaged, directory / str(number))
            damaged.query(f"SET allow_system_table_mods = on; {fault.statement}", user="postgres")
            what = told(verify(damaged, baseline=baseline))
            if fault.words not in what.get(fault.check, ""):
                found.append((fault.statement, fault.check, what))
        finally:
            damaged.drop()
    return found


def test_some_seeded_faults_are_found_and_named(app: TestDatabase, tmp_path: Path) -> None:
    """Every fifth; all of them are the next test's."""
    assert missed(app, FAULTS[::5], tmp_path) == []


@pytest.mark.full
@pytest.mark.timeout(600)
def test_every_seeded_fault_is_found_and_named(app: TestDatabase, tmp_path: Path) -> None:
    assert missed(app, FAULTS, tmp_path) == []
    assert len({fault.statement for fault in FAULTS}) >= 40


#: What the first version of the coaching rollback did once its statements were un-commented.
NAIVE = """
DROP TABLE IF EXISTS sponsor_chat_messages CASCADE;
DROP TABLE IF EXISTS sponsor_visible_memos CASCADE;
DROP TABLE IF EXISTS sponsor_connections CASCADE;
DROP FUNCTION IF EXISTS create_coach_connection(uuid, uuid) CASCADE;
DROP FUNCTION IF EXISTS get_unread_memo_count(uuid, uuid) CASCADE;
"""


def test_after_the_naive_script_everything_that_broke_is_named(app: TestDatabase, tmp_path: Path) -> None:
    baseline = take_baseline(app, tmp_path)
    app.query(NAIVE)
    run = verify(app, baseline=baseline)
    assert (run.failed, run["verdict"]) == (True, "failed")
    named = {each["name"] for check in run["checks"] for each in check["objects"]}
    assert named == {
        "table public.sponsor_connections", "table public.sponsor_chat_messages", "table public.sponsor_visible_memos",
        # with their rows
        "public.sponsor_connections", "public.sponsor_chat_messages", "public.sponsor_visible_memos",
        "function public.create_coach_connection(uuid, uuid)", "function public.get_unread_memo_count(uuid, uuid)",
        # And what nobody meant to lose.
        "policy sponsor_reads on public.profiles", "policy sponsor_reads on public.user_virtue_stage_memos",
        "policy party on public.sponsor_feedback", "public.sponsor_feedback", "view public.coach_overview",
        "constraint sponsor_feedback_connection_id_fkey on public.sponsor_feedback",
    }  # fmt: skip


def test_a_lock_leaves_the_other_checks(app: TestDatabase, tmp_path: Path) -> None:
    baseline = take_baseline(app, tmp_path)
    app.connect("postgres").cursor().execute("BEGIN; LOCK TABLE public.profiles IN ACCESS EXCLUSIVE MODE")
    run = verify(app, baseline=baseline, pairs=[])
    assert run["verdict"] == "incomplete", run["msg"]
    skipped = {check["name"]: check["message"] for check in run["checks"] if check["status"] != "passed"}
    assert set(skipped) == {
        "references", "row_security_kept", "grants_kept", "catalog_kept", "catalog_details", "catalog_additions",
        "row_counts", "orphans_without_key",
    }  # fmt: skip
    assert all("locked" in message for message in skipped.values())
    assert sum(check["seconds"] for check in run["checks"]) < 5, "each check has waited for the lock anew"


#: Databases of many shapes, none with a fault.
SHAPES = [
    "SELECT 1",
    SAMPLE,
    SAMPLE + MORE,
    "CREATE TABLE t (id serial PRIMARY KEY); INSERT INTO t SELECT FROM generate_series(1, 50)",
    "CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n int); INSERT INTO t (n) VALUES (1), (2)",
    "CREATE TABLE t (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), at timestamptz DEFAULT now())",
    "CREATE TABLE p (id int, day date) PARTITION BY LIST (id); CREATE TABLE p_1 PARTITION OF p FOR VALUES IN (1);"
    " CREATE TABLE p_default PARTITION OF p DEFAULT; INSERT INTO p VALUES (1, now()), (2, now())",
    "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (more text) INHERITS (a); INSERT INTO b VALUES (1, 'x')",
    'CREATE SCHEMA "Odd Schema"; CREATE TABLE "Odd Schema"."T" ("Id" serial PRIMARY KEY, "a""b" text)',
    "CREATE TABLE t (id int PRIMARY KEY, doubled int GENERATED ALWAYS AS (id * 2) STORED); INSERT INTO t VALUES (4)",
    "CREATE FUNCTION f(a int) RETURNS TABLE (b int) LANGUAGE sql AS 'WITH c AS (SELECT a) SELECT c.a FROM c';"
    " CREATE VIEW v AS SELECT * FROM f(1)",
    "CREATE FUNCTION g() RETURNS void LANGUAGE plpgsql AS $$ BEGIN CREATE TEMP TABLE scratch (n int) ON COMMIT DROP;"
    " INSERT INTO scratch VALUES (1); EXECUTE 'DROP TABLE scratch'; END $$",
    "CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ DECLARE r record; BEGIN FOR r IN SELECT 1 AS n LOOP NULL; END LOOP;"
    " END $$",
    "CREATE TABLE t (id int); ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (true)",
    "CREATE TABLE t (id int, CONSTRAINT none UNIQUE (id) DEFERRABLE); CREATE MATERIALIZED VIEW m AS SELECT * FROM t",
    "CREATE TYPE c AS (a int, b text); CREATE TABLE t (v c, e int[]); INSERT INTO t VALUES ((1, 'x'), '{1,2}')",
    "CREATE UNLOGGED TABLE t (id int); CREATE INDEX ON t ((id + 1)) WHERE id > 0; INSERT INTO t VALUES (1)",
    "CREATE SEQUENCE down INCREMENT -1 START 100 MAXVALUE 100 MINVALUE 1; SELECT nextval('down');"
    " CREATE TABLE t (id int DEFAULT nextval('down') PRIMARY KEY); INSERT INTO t DEFAULT VALUES",
    "CREATE AGGREGATE total (numeric) (SFUNC = numeric_add, STYPE = numeric); CREATE DOMAIN d AS int CHECK (VALUE > 0)",
    "CREATE TABLE t (id int PRIMARY KEY, up int REFERENCES t); INSERT INTO t VALUES (1, 1), (2, 1);"
    " CREATE FUNCTION tr() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';"
    " CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION tr()",
    # Each may be as it is on purpose, and was so before.
    "CREATE TABLE closed (id int); ALTER TABLE closed ENABLE ROW LEVEL SECURITY; GRANT ALL ON closed TO PUBLIC;"
    " CREATE TABLE open (id int PRIMARY KEY); CREATE POLICY p ON open USING (id = 1); CREATE TABLE more (id int);"
    " ALTER TABLE more ADD CONSTRAINT legacy FOREIGN KEY (id) REFERENCES open NOT VALID;"
    " ALTER TABLE more ADD CHECK (id > 0) NOT VALID; ALTER TABLE more DISABLE TRIGGER ALL;"
    " CREATE RULE nothing AS ON DELETE TO more DO INSTEAD NOTHING; ALTER TABLE more DISABLE RULE nothing;"
    " CREATE DOMAIN d AS int; ALTER DOMAIN d ADD CHECK (VALUE > 0) NOT VALID",
]  # fmt: skip


def test_nothing_is_found_where_nothing_is_wrong(cluster: TestCluster, tmp_path: Path) -> None:
    found = []
    for number, shape in enumerate(SHAPES):
        untouched = TestDatabase(cluster)
        untouched.create()
        try:
            untouched.query(shape, user="postgres")
            run = verify(untouched, baseline=take_baseline(untouched, tmp_path / str(number)), pairs=[])
            if run["verdict"] != "ok":
                found.append((shape, run["msg"], told(run)))
        finally:
            untouched.drop()
    assert found == []
    assert len(SHAPES) >= 20
