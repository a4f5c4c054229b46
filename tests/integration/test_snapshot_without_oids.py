# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The kinds that migrations seldom touch are described by name, too: elsewhere every OID is another one."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.catalog_snapshot import Snapshot, read_snapshot
from tests.support.database import TestCluster, TestDatabase

#: An object of every kind, with every option that refers to another one.
EVERYTHING = """
CREATE FUNCTION sf(numeric, numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS 'SELECT coalesce($1, 0) + $2';
CREATE FUNCTION msf(numeric, numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS 'SELECT coalesce($1, 0) + $2';
CREATE FUNCTION inv(numeric, numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS 'SELECT $1 - $2';
CREATE FUNCTION ff(numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS 'SELECT $1';
CREATE FUNCTION ff2(numeric, numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS 'SELECT $1';
CREATE FUNCTION cf(numeric, numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS 'SELECT $1 + $2';
CREATE AGGREGATE plain (numeric) (SFUNC = sf, STYPE = numeric, SSPACE = 8, FINALFUNC = ff, COMBINEFUNC = cf,
    INITCOND = '0', MSFUNC = msf, MINVFUNC = inv, MSTYPE = numeric, MSSPACE = 8, MFINALFUNC = ff, MINITCOND = '0',
    PARALLEL = safe);
CREATE AGGREGATE extra (numeric) (SFUNC = sf, STYPE = numeric, FINALFUNC = ff2, FINALFUNC_EXTRA,
    FINALFUNC_MODIFY = READ_WRITE, MSFUNC = msf, MINVFUNC = inv, MSTYPE = numeric, MFINALFUNC = ff2, MFINALFUNC_EXTRA,
    MFINALFUNC_MODIFY = SHAREABLE);
CREATE AGGREGATE internal_state (numeric) (SFUNC = numeric_avg_accum, STYPE = internal, FINALFUNC = numeric_avg,
    COMBINEFUNC = numeric_avg_combine, SERIALFUNC = numeric_avg_serialize, DESERIALFUNC = numeric_avg_deserialize);
CREATE FUNCTION before(text, text) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'text_lt';
CREATE FUNCTION after(text, text) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'text_gt';
CREATE FUNCTION selectivity(internal, oid, internal, integer) RETURNS float8 LANGUAGE internal STABLE STRICT
    AS 'scalarltsel';
CREATE FUNCTION join_selectivity(internal, oid, internal, smallint, internal) RETURNS float8 LANGUAGE internal STABLE
    STRICT AS 'scalarltjoinsel';
CREATE OPERATOR <<< (FUNCTION = before, LEFTARG = text, RIGHTARG = text, COMMUTATOR = >>>, RESTRICT = selectivity,
    JOIN = join_selectivity);
CREATE OPERATOR >>> (FUNCTION = after, LEFTARG = text, RIGHTARG = text, COMMUTATOR = <<<, NEGATOR = !>>>);
CREATE FUNCTION greatest_of(text, text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT greatest($1, $2)';
CREATE AGGREGATE sorted (text) (SFUNC = greatest_of, STYPE = text, SORTOP = >>>);
CREATE AGGREGATE placed (float8 ORDER BY numeric) (SFUNC = ordered_set_transition, STYPE = internal,
    FINALFUNC = percentile_disc_final, FINALFUNC_EXTRA);
CREATE FUNCTION compare(text, text) RETURNS integer LANGUAGE internal IMMUTABLE STRICT AS 'bttextcmp';
CREATE OPERATOR FAMILY family USING btree;
CREATE OPERATOR CLASS class FOR TYPE text USING btree FAMILY family AS OPERATOR 1 <<<, OPERATOR 5 >>>,
    FUNCTION 1 compare(text, text);
CREATE FUNCTION difference(float8, float8) RETURNS float8 LANGUAGE sql IMMUTABLE AS 'SELECT $1 - $2';
CREATE TYPE span AS RANGE (SUBTYPE = float8, SUBTYPE_DIFF = difference, MULTIRANGE_TYPE_NAME = spans);
CREATE TYPE canonical_span;
CREATE FUNCTION canonical(canonical_span) RETURNS canonical_span LANGUAGE internal IMMUTABLE STRICT
    AS 'int4range_canonical';
CREATE TYPE canonical_span AS RANGE (SUBTYPE = integer, CANONICAL = canonical);
CREATE TYPE base;
CREATE FUNCTION base_in(cstring) RETURNS base LANGUAGE internal IMMUTABLE STRICT AS 'int4in';
CREATE FUNCTION base_out(base) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'int4out';
CREATE TYPE base (INPUT = base_in, OUTPUT = base_out, LIKE = integer);
CREATE TYPE shell;
CREATE TYPE pair AS (a span, b base);
CREATE DOMAIN positive AS numeric CHECK (VALUE > ff(0));
CREATE TABLE typed OF pair;
CREATE TABLE kept (id serial, t text, p pair, s span DEFAULT span(0, 1), g numeric GENERATED ALWAYS AS (ff(1)) STORED,
                   EXCLUDE USING gist (s WITH &&));
CREATE INDEX by_class ON kept (t class);
CREATE FUNCTION of_base(base) RETURNS text LANGUAGE sql AS 'SELECT ''x''::text';
CREATE CAST (base AS text) WITH FUNCTION of_base(base) AS ASSIGNMENT;
CREATE CAST (integer AS base) WITHOUT FUNCTION;
CREATE CAST (pair AS numeric) WITH INOUT;
CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE EVENT TRIGGER watch ON ddl_command_end WHEN TAG IN ('CREATE OPERATOR', 'COMMENT') EXECUTE FUNCTION watch();
CREATE COLLATION plain_c (LOCALE = 'C');
CREATE DEFAULT CONVERSION turned FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
CREATE TEXT SEARCH PARSER words (START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end, LEXTYPES = prsd_lextype,
                                 HEADLINE = prsd_headline);
CREATE TEXT SEARCH TEMPLATE plainest (INIT = dsimple_init, LEXIZE = dsimple_lexize);
CREATE TEXT SEARCH DICTIONARY short (TEMPLATE = plainest, ACCEPT = false);
CREATE TEXT SEARCH CONFIGURATION search (PARSER = words);
ALTER TEXT SEARCH CONFIGURATION search ADD MAPPING FOR word, asciiword WITH short, simple;
CREATE STATISTICS expressions ON (ff(id)), g FROM kept;
CREATE FUNCTION validate(text[], oid) RETURNS void LANGUAGE plpgsql AS 'BEGIN END';
CREATE FOREIGN DATA WRAPPER wrapper VALIDATOR validate OPTIONS (user 'x');
CREATE SERVER elsewhere TYPE 't' VERSION '1' FOREIGN DATA WRAPPER wrapper OPTIONS (host 'h', password 'secret');
CREATE USER MAPPING FOR operator SERVER elsewhere OPTIONS (user 'u', password 'secret');
CREATE FOREIGN TABLE far (id int OPTIONS (name 'n')) SERVER elsewhere OPTIONS (table 't');
CREATE FUNCTION call() RETURNS language_handler LANGUAGE c AS '$libdir/plpgsql', 'plpgsql_call_handler';
CREATE TRUSTED LANGUAGE spoken HANDLER call;
CREATE FUNCTION from_base(internal) RETURNS internal LANGUAGE internal IMMUTABLE AS 'int4out';
CREATE FUNCTION to_base(internal) RETURNS base LANGUAGE internal IMMUTABLE AS 'int4in';
CREATE TRANSFORM FOR base LANGUAGE spoken (FROM SQL WITH FUNCTION from_base(internal),
                                           TO SQL WITH FUNCTION to_base(internal));
CREATE FUNCTION method(internal) RETURNS table_am_handler LANGUAGE internal AS 'heap_tableam_handler';
CREATE ACCESS METHOD heap_too TYPE TABLE HANDLER method;
CREATE TABLE otherwise_kept (id int) USING heap_too;
CREATE POLICY guarded ON kept USING (ff(id) > 0);
CREATE TRIGGER suppressed BEFORE UPDATE ON kept FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
CREATE PUBLICATION filtered FOR TABLE kept (id) WHERE (id > 0);
CREATE PUBLICATION whole FOR TABLES IN SCHEMA public;
ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO operator;
GRANT SELECT ON pg_catalog.pg_authid TO operator;
"""


def made_in(cluster: TestCluster, before: str) -> tuple[Snapshot, set[str]]:
    """The snapshot of a database with everything, and all OIDs of its own."""
    database = TestDatabase(cluster)
    database.create()
    try:
        with database.superuser().cursor() as cursor:
            cursor.execute(before)
            cursor.execute("SET check_function_bodies = off")
            cursor.execute(EVERYTHING)
            cursor.execute(
                "SELECT oid::text FROM pg_class UNION SELECT oid::text FROM pg_proc UNION SELECT oid::text FROM pg_type"
                " UNION SELECT oid::text FROM pg_operator UNION SELECT oid::text FROM pg_opclass"
                " UNION SELECT oid::text FROM pg_ts_dict UNION SELECT oid::text FROM pg_language"
            )
            oids = {oid for (oid,) in cursor.fetchall() if int(oid) >= 16384}
        return read_snapshot(database.superuser(), "none"), oids
    finally:
        database.drop()


@pytest.fixture(scope="module")
def snapshots(cluster: TestCluster) -> list[tuple[Snapshot, set[str]]]:
    filler = "CREATE TABLE filler (a serial, b text); CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1';"
    return [made_in(cluster, "SELECT 1"), made_in(cluster, f"{filler} DROP TABLE filler; DROP FUNCTION f()")]


def described(snapshot: Snapshot) -> dict[tuple[str, str], dict[str, Any]]:
    """Every object but the database itself, whose name is another one."""
    return {key: each.attributes for key, each in snapshot.objects.items() if each.kind != "database"}


def test_the_same_objects_have_the_same_fingerprint(snapshots: list[tuple[Snapshot, set[str]]]) -> None:
    (first, oids), (second, others) = snapshots
    assert oids != others
    assert described(first) == described(second)
    assert first.fingerprint == second.fingerprint


def test_no_attribute_holds_an_oid(snapshots: list[tuple[Snapshot, set[str]]]) -> None:
    for snapshot, oids in snapshots:
        numbers = set(re.findall(r"\d+", json.dumps(list(described(snapshot).values()))))
        assert numbers & oids == set()


def test_every_option_is_told_by_name(snapshots: list[tuple[Snapshot, set[str]]]) -> None:
    objects = described(snapshots[0][0])
    definition = objects["aggregate", "public.plain(numeric)"]["definition"]
    for part in ("FINALFUNC = public.ff", "COMBINEFUNC = public.cf", "MINVFUNC = public.inv", "MFINALFUNC = public.ff"):
        assert part in definition
    assert "SORTOP = public.>>>(text,text)" in objects["aggregate", "public.sorted(text)"]["definition"]
    operator = objects["operator", "public.<<<(text, text)"]
    assert (operator["restrict"], operator["join"]) == ("public.selectivity", "public.join_selectivity")
    assert objects["range", "public.span"]["subtype_diff"] == "public.difference"
    assert objects["range", "public.canonical_span"]["canonical"] == "public.canonical"
