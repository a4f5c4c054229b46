# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Functions and triggers that run into something that is gone or elsewhere, and the many that only look like it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.database import ROOT, TestDatabase
from tests.support.modules import run_module


def take_baseline(database: TestDatabase, directory: Path) -> str:
    kept = {"migration": "release", "artifacts_dir": str(directory), "host": "app"}
    run = run_module("migration_baseline", {**database.login(), **kept})
    assert not run.failed, run["msg"]
    return str(run["path"])


def found(database: TestDatabase, **options: Any) -> dict[str, str]:
    """What the check tells of each object."""
    run = run_module("rollback_verify", {**database.login(), **options})
    check = next(each for each in run["checks"] if each["name"] == "references")
    assert check["status"] != "skipped", check["message"]
    return {each["name"]: f"{each['status']}: {each['problem']}" for each in check["objects"]}


def make_functions(database: TestDatabase, bodies: list[str]) -> None:
    for number, body in enumerate(bodies):
        database.query(f"CREATE FUNCTION uses_{number:02}(given int) RETURNS void LANGUAGE plpgsql AS $b$ {body} $b$")


# What is gone -------------------------------------------------------------------------------------------------------

BEFORE = """
CREATE FUNCTION gone_function(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION overloaded(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION overloaded(int, int) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE PROCEDURE gone_procedure(int) LANGUAGE sql AS 'SELECT 1';
CREATE TYPE gone_type AS ENUM ('a');
CREATE TABLE gone_table (id int);
CREATE TABLE staying (id int, gone_column int, kept int);
CREATE TABLE beside (id int, gone_column int);
"""
AFTER = """
DROP FUNCTION gone_function; DROP FUNCTION overloaded(int, int); DROP PROCEDURE gone_procedure; DROP TYPE gone_type;
DROP TABLE gone_table; ALTER TABLE staying DROP gone_column;
"""

#: Bodies that fail after the drop, whether the text alone tells so without a baseline, and what is named.
BROKEN = [
    ("BEGIN PERFORM gone_function(given); END", True, "gone_function"),
    ("BEGIN CALL gone_procedure(1); END", True, "gone_procedure"),
    ("DECLARE x int; BEGIN x := gone_function(1); END", True, "gone_function"),
    ("BEGIN IF gone_function(1) = 1 THEN RETURN; END IF; END", True, "gone_function"),
    ("BEGIN PERFORM 1 FROM gone_function(1) AS f (x); END", True, "gone_function"),
    ("BEGIN PERFORM overloaded(1, 2); END", True, "overloaded"),
    ("BEGIN PERFORM public.overloaded(given, coalesce(2, 3)); END", True, "public.overloaded"),
    ("BEGIN PERFORM 'a'::gone_type; END", True, "gone_type"),
    ("BEGIN PERFORM cast('a' AS gone_type); END", False, "public.gone_type"),
    ("BEGIN PERFORM public.gone_type 'a'; END", False, "public.gone_type"),
    ("BEGIN EXECUTE 'INSERT INTO gone_table VALUES (1)'; END", False, "public.gone_table"),
    ("BEGIN EXECUTE format('DELETE FROM %I', 'gone_table'); END", False, "public.gone_table"),
    ("BEGIN EXECUTE 'SELECT gone_function(1)'; END", False, "public.gone_function()"),
    ("BEGIN EXECUTE 'SELECT ''a''::gone_type'; END", False, "public.gone_type"),
    ("BEGIN RAISE NOTICE '%', 'gone_table'; DELETE FROM gone_table; END", False, "public.gone_table"),
    ("BEGIN UPDATE staying SET gone_column = 1; END", False, "public.staying.gone_column"),
    ("BEGIN PERFORM s.gone_column FROM staying s; END", False, "public.staying.gone_column"),
    ("BEGIN EXECUTE 'UPDATE staying SET gone_column = 1'; END", False, "public.staying.gone_column"),
]

#: That go on working.
SOUND = [
    "BEGIN PERFORM overloaded(1), public.overloaded(coalesce(1, 2)); END",
    "BEGIN UPDATE beside SET gone_column = 1; END",
    "BEGIN UPDATE beside b SET gone_column = 1 FROM staying s WHERE s.id = b.id; END",
    "DECLARE gone_column int; BEGIN SELECT kept INTO gone_column FROM staying; END",
    "BEGIN PERFORM kept AS gone_column FROM staying; END",
    "BEGIN RAISE NOTICE 'gone_table and gone_function(1) are gone'; END",
    "BEGIN IF to_regclass('gone_table') IS NOT NULL THEN DELETE FROM gone_table; END IF; END",
    "BEGIN IF EXISTS (SELECT FROM pg_tables WHERE tablename = 'gone_table') THEN DELETE FROM gone_table; END IF; END",
    "BEGIN PERFORM gone_function(1); EXCEPTION WHEN undefined_function THEN NULL; END",
    "DECLARE gone_function CURSOR (n int) FOR SELECT n; BEGIN FOR r IN gone_function(1) LOOP NULL; END LOOP; END",
]


def test_what_the_baseline_has_and_the_database_lacks(database: TestDatabase, tmp_path: Path) -> None:
    database.query(BEFORE)
    make_functions(database, [body for body, _alone, _named in BROKEN] + SOUND)
    database.query(
        "CREATE FUNCTION fires() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN PERFORM gone_function(new.id); new.gone_column := 1; RETURN new; END';"
        "CREATE TRIGGER fires BEFORE INSERT ON staying FOR EACH ROW EXECUTE FUNCTION fires()"
    )
    baseline = take_baseline(database, tmp_path)
    assert found(database, baseline=baseline) == {}
    assert found(database) == {}
    database.query(AFTER)
    said = found(database, baseline=baseline)
    fires = "warned: possibly: its text names public.gone_function(), public.staying.gone_column"
    assert said.pop("public.fires()") == fires
    assert said.pop("trigger fires on public.staying").startswith("warned: calls public.fires(): possibly")
    numbered = {f"public.uses_{number:02}(integer)": row for number, row in enumerate(BROKEN)}
    assert said.keys() == numbered.keys()
    assert [(name, row) for name, row in numbered.items() if row[2] not in said[name]] == []
    alone = found(database)
    assert {name for name in numbered if name in alone} == {name for name, row in numbered.items() if row[1]}
    assert set(alone) - numbered.keys() == {"public.fires()", "trigger fires on public.staying"}


#: What looks like a call or a type and is none, or is one that is there.
HARMLESS = [
    "BEGIN PERFORM x.a FROM generate_series(1, 2) x (a), unnest('{1}'::int[]) WITH ORDINALITY AS u (v, o); END",
    "BEGIN PERFORM d.a FROM (VALUES (1, 2)) d (a, b) JOIN LATERAL (SELECT d.a) l (c) ON true; END",
    "BEGIN CREATE TEMP TABLE made (a numeric(10, 2), b varchar(3), UNIQUE (a)); CREATE INDEX ON made (a); END",
    "BEGIN INSERT INTO data (a, b) VALUES (1, 2) ON CONFLICT (a) DO UPDATE SET (a, b) = (1, 2); END",
    "DECLARE a numeric(10, 2) := 1; b timestamp(3) with time zone; BEGIN a := (a)::numeric(4, 1); END",
    "DECLARE c CURSOR (n int) FOR SELECT n; BEGIN OPEN c (1); CLOSE c; FOR r IN c(2) LOOP NULL; END LOOP; END",
    "BEGIN WITH w (a) AS (SELECT 1), v (b) AS (SELECT a FROM w) SELECT b FROM v INTO given; END",
    "BEGIN PERFORM variadic_one(1, 2, 3, 4), with_default(1), with_default(1, 2), concat(1, 2, 3), now(); END",
    "BEGIN PERFORM percentile_cont(0.5) WITHIN GROUP (ORDER BY a), count(*), rank() OVER (ORDER BY 1) FROM data; END",
    "BEGIN PERFORM extract(year FROM now()), substring('a' FROM 1 FOR 2), position('a' IN 'b'), trim('c'); END",
    "BEGIN PERFORM coalesce(1), nullif(1, 2), greatest(1, 2), row(1, 2), array(SELECT 1), cast('1' AS int); END",
    "BEGIN PERFORM 'x'::\"char\", '1'::double precision, 'now'::timestamp with time zone, '1'::int2::bit(3); END",
    "BEGIN PERFORM 'data'::regclass, NULL::data, NULL::public.data, '{}'::data[], '1'::dom, NULL::other.t; END",
    "BEGIN CALL puts_out(1, given); PERFORM data(NULL::data), dom(1), elsewhere_only(1), now()::date; END",
    "BEGIN EXECUTE 'CREATE FUNCTION made_here() RETURNS int LANGUAGE sql AS ''SELECT 1'''; PERFORM made_here(); END",
    "BEGIN CREATE TYPE made_type AS (a int); PERFORM NULL::made_type; DROP FUNCTION IF EXISTS a(int), b(int); END",
    "BEGIN IF (given) > 1 THEN RETURN; ELSIF (given) > 2 THEN RETURN; END IF; WHILE (false) LOOP EXIT; END LOOP; END",
    "BEGIN FOR i IN REVERSE (3)..(1) LOOP ASSERT (true); END LOOP; PERFORM (1); RAISE NOTICE '%', (given); END",
    "BEGIN GRANT SELECT (a), UPDATE (b) ON data TO CURRENT_USER; COMMENT ON FUNCTION no_such(int) IS ''; END",
    "BEGIN PERFORM 1 WHERE given = ANY (ARRAY[1]) AND given IN (1) AND (1, 2) OVERLAPS (3, 4) OR NOT (true); END",
    "BEGIN IF to_regproc('later') IS NOT NULL THEN PERFORM later(1); END IF; END",
    "BEGIN IF EXISTS (SELECT FROM pg_extension WHERE extname = 'cron') THEN PERFORM schedule(1); END IF; END",
    "BEGIN PERFORM set_config('search_path', 'other', true); PERFORM elsewhere_only(1) FROM t; END",
]


def test_what_only_looks_like_a_call_or_a_type(database: TestDatabase, tmp_path: Path) -> None:
    database.query(
        "CREATE TABLE data (a int UNIQUE, b int); CREATE DOMAIN dom AS int; CREATE SCHEMA other;"
        "CREATE TABLE other.t (id int); CREATE PROCEDURE puts_out(a int, OUT b int) LANGUAGE sql AS 'SELECT 1';"
        "CREATE FUNCTION variadic_one(VARIADIC int[]) RETURNS int LANGUAGE sql AS 'SELECT 1';"
        "CREATE FUNCTION with_default(int, b int DEFAULT 1) RETURNS int LANGUAGE sql AS 'SELECT 1';"
        "CREATE FUNCTION other.elsewhere_only(int) RETURNS int LANGUAGE sql AS 'SELECT 1'"
    )
    make_functions(database, HARMLESS)
    assert found(database) == {}
    assert found(database, baseline=take_baseline(database, tmp_path)) == {}


def test_functions_of_many_shapes(database: TestDatabase, tmp_path: Path) -> None:
    database.query((ROOT / "tests/support/function_shapes.sql").read_text(encoding="utf-8"))
    assert found(database) == {}
    baseline = take_baseline(database, tmp_path)
    database.query("CREATE TABLE unrelated (id int)")
    assert found(database, baseline=baseline) == {}


# Names that are in another schema now -------------------------------------------------------------------------------

QUARANTINED = """
CREATE TABLE coach (id int); CREATE TABLE journal (id int); CREATE SCHEMA quarantine;
CREATE FUNCTION n() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM coach';
CREATE FUNCTION own_path() RETURNS bigint LANGUAGE plpgsql SET search_path = public
    AS 'BEGIN RETURN (SELECT count(*) FROM coach); END';
CREATE FUNCTION fires() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO coach VALUES (1); RETURN new; END';
CREATE TRIGGER fires BEFORE INSERT ON journal FOR EACH ROW EXECUTE FUNCTION fires();
"""
FINDS_IT = """
CREATE FUNCTION finds_it() RETURNS bigint LANGUAGE plpgsql SET search_path = public, quarantine
    AS 'BEGIN RETURN (SELECT count(*) FROM coach); END';
"""


def test_a_table_in_quarantine(database: TestDatabase, tmp_path: Path) -> None:
    database.query(QUARANTINED)
    baseline = take_baseline(database, tmp_path)
    database.query("ALTER TABLE coach SET SCHEMA quarantine")
    missing, possibly = 'failed: relation "coach" does not exist', "possibly: its text names public.coach"
    expected = {
        "public.n()": missing, "public.own_path()": f"warned: {possibly}", "public.fires()": f"warned: {possibly}",
        "trigger fires on public.journal": f"warned: calls public.fires(): {possibly}",
    }  # fmt: skip
    assert found(database, baseline=baseline) == expected
    assert found(database, gone=[{"kind": "table", "name": "public.coach"}]) == expected


def test_a_table_that_is_on_nobody_s_path(database: TestDatabase) -> None:
    database.query(f"{QUARANTINED} ALTER TABLE coach SET SCHEMA quarantine")
    said = found(database)
    assert said.pop("public.n()").endswith("it is in quarantine, which is on no search_path that is known")
    # Its own search_path leaves no doubt; whoever runs the trigger may have another.
    assert said == {"public.own_path()": "warned: possibly: its text names coach"}
    database.query(FINDS_IT)
    assert found(database).keys() == {"public.own_path()"}


#: An application that sets its search_path when it connects, and one that has a schema for each customer.
AT_RUN_TIME = """
CREATE SCHEMA app; CREATE TABLE app.t (id int);
CREATE FUNCTION app.f() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM t); END';
SET search_path = app, public;
CREATE FUNCTION app.g() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM t';
CREATE FUNCTION public.p() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN app.f() + (SELECT count(*) FROM t); END';
CREATE SCHEMA one; CREATE TABLE one.orders (id int); CREATE SCHEMA two; CREATE TABLE two.orders (id int);
SET search_path = one, public;
CREATE FUNCTION public.of_customer() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM orders';
RESET search_path;
CREATE TABLE unrelated (id int); CREATE TABLE t (id int);
"""


def test_applications_that_set_the_path_at_run_time(database: TestDatabase, tmp_path: Path) -> None:
    database.query(AT_RUN_TIME)
    baseline = take_baseline(database, tmp_path)
    assert found(database) == {}
    assert found(database, baseline=baseline) == {}
    database.query("DROP TABLE unrelated, two.orders")
    assert found(database, baseline=baseline) == {}


# Odd names ----------------------------------------------------------------------------------------------------------


def test_names_that_hold_a_parenthesis(database: TestDatabase, tmp_path: Path) -> None:
    database.query(
        'CREATE TABLE "Orders (2024)" (id int);'
        """CREATE FUNCTION "f (x)"(a int) RETURNS int LANGUAGE sql AS 'SELECT 1'"""
    )
    make_functions(database, ['BEGIN DELETE FROM "Orders (2024)"; END', 'BEGIN PERFORM "f (x)"(1); END'])
    baseline = take_baseline(database, tmp_path)
    database.query('DROP TABLE "Orders (2024)"; DROP FUNCTION "f (x)"')
    names = {"public.uses_00(integer)": 'public."Orders (2024)"', "public.uses_01(integer)": 'public."f (x)"()'}
    expected = {name: f"warned: possibly: its text names {text}" for name, text in names.items()}
    assert found(database, baseline=baseline) == expected
    gone = [{"kind": "table", "name": 'public."Orders (2024)"'}]
    assert found(database, gone=gone)["public.uses_00(integer)"] == expected["public.uses_00(integer)"]
