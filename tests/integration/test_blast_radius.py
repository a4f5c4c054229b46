# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The blast radius against what a DROP … CASCADE really takes: nothing more, and nothing less."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.blast_radius import BlastRadius
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_difference import Difference
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_targets import Targets
from tests.support.database import TestDatabase
from tests.support.teardown import COACHING, load_application, read_radius, really_dropped


def disagreements(targets: Targets, radius: BlastRadius, difference: Difference) -> list[str]:
    """Every way in which the plan and the drop differ."""
    objects = {each.label for each in targets.objects}
    planned = {each.label for each in radius.dropped}
    gone = {each.object.label for each in difference.dropped}
    unplanned = {
        each.object.label for each in difference.dropped
        if each.object.label not in objects and each.object.label not in planned
        and (not each.within or each.object.kind == "publication table")
        # A part of what is in the plan.
        and f"column {each.object.attributes.get('owned_by')}" not in planned
    }  # fmt: skip
    for each in difference.altered:
        for name, (old, new) in each.attributes.items():
            if each.before.kind == "column" and name == "default" and new is None:
                gone.add(f"default {each.before.name}")
            elif each.before.kind == "type" and name == "columns":
                gone |= {f"attribute {each.before.name}.{text.split()[0]}" for text in set(old) - set(new)}
            elif each.before.kind == "operator family":
                gone |= {label for label in planned if label.endswith(f" of {each.before.name}")}
            else:
                gone.add(f"{each.before.label}: {name}")
    changed = {label for label in gone if label.startswith(("default ", "attribute ")) or ": " in label}
    return sorted(
        [f"{label} went, and is not planned" for label in unplanned | (changed - planned)]
        + [f"{label} is planned, and stayed" for label in (planned | objects) - gone]
    )


#: What depends on the coaching tables, one kind after the other: its SQL, as the operator, and what of it has to be in
#: the plan by its label.
SHAPES: dict[str, tuple[str, list[str]]] = {
    "nothing more": ("SELECT 1", [
        "constraint sponsor_feedback_connection_id_fkey on public.sponsor_feedback",
        "policy party on public.sponsor_feedback", "policy sponsor_reads on public.profiles",
        "policy sponsor_reads on public.user_virtue_stage_memos",
        "publication table supabase_realtime on public.sponsor_chat_messages", "view public.coach_overview",
    ]),
    "views over views": (
        "CREATE VIEW v1 AS SELECT id, status FROM sponsor_connections; CREATE VIEW v2 AS SELECT * FROM v1;"
        " CREATE MATERIALIZED VIEW m3 AS SELECT status, count(*) FROM v2 GROUP BY 1; CREATE UNIQUE INDEX m3_i ON m3"
        " (status); CREATE VIEW v4 AS SELECT * FROM m3;"
        " CREATE FUNCTION f_v() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
        " CREATE TRIGGER instead INSTEAD OF INSERT ON v1 FOR EACH ROW EXECUTE FUNCTION f_v()",
        ["view public.v1", "view public.v2", "materialized view public.m3", "view public.v4",
         "index m3_i on public.m3", "trigger instead on public.v1"],
    ),
    "row types": (
        "CREATE TABLE archive (id int PRIMARY KEY, was sponsor_connections, many sponsor_chat_messages[]);"
        "CREATE INDEX archive_was ON archive (((was).id)); CREATE VIEW archived AS SELECT id, was FROM archive;"
        "CREATE STATISTICS archive_stat ON id, (((was).id + 1)) FROM archive",
        ["column public.archive.was", "column public.archive.many", "index archive_was on public.archive",
         "view public.archived", "statistics public.archive_stat"],
    ),
    "row types in types": (
        "CREATE TYPE pair AS (a int, c sponsor_connections); CREATE TABLE pairs (id int, p pair);"
        "CREATE DOMAIN conn AS sponsor_connections CHECK ((VALUE).id > 0); CREATE TABLE conns (id int, c conn);"
        "CREATE TABLE typed OF pair",
        ["attribute public.pair.c", "domain public.conn", "column public.conns.c", "column public.typed.c"],
    ),
    "functions on row types": (
        "CREATE FUNCTION f_in(c sponsor_connections) RETURNS int LANGUAGE sql AS 'SELECT 1';"
        "CREATE FUNCTION f_out() RETURNS SETOF sponsor_chat_messages LANGUAGE sql AS 'TABLE sponsor_chat_messages';"
        "CREATE FUNCTION f_array(sponsor_connections[]) RETURNS int LANGUAGE sql AS 'SELECT 1';"
        "CREATE FUNCTION f_atomic() RETURNS bigint BEGIN ATOMIC SELECT count(*) FROM sponsor_visible_memos; END;"
        "CREATE PROCEDURE p_atomic() BEGIN ATOMIC DELETE FROM sponsor_visible_memos; END;"
        "CREATE AGGREGATE agg (sponsor_connections) (SFUNC = sf, STYPE = int)",
        ["function public.f_in(public.sponsor_connections)", "function public.f_out()",
         "function public.f_array(public.sponsor_connections[])", "function public.f_atomic()",
         "procedure public.p_atomic()", "aggregate public.agg(public.sponsor_connections)"],
    ),
    "rules": (
        "CREATE RULE copy AS ON INSERT TO virtues DO ALSO DELETE FROM sponsor_visible_memos WHERE id < 0;"
        "CREATE RULE of_doomed AS ON DELETE TO sponsor_connections DO INSTEAD NOTHING",
        ["rule copy on public.virtues"],
    ),
    "triggers": (
        "CREATE FUNCTION doomed() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
        "CREATE TRIGGER by_doomed BEFORE INSERT ON virtues FOR EACH ROW EXECUTE FUNCTION doomed();"
        "CREATE TRIGGER on_doomed BEFORE INSERT ON sponsor_connections FOR EACH ROW EXECUTE FUNCTION doomed()",
        ["trigger by_doomed on public.virtues"],
    ),
    "defaults": (
        "CREATE SEQUENCE doomed_seq; ALTER TABLE virtues ADD rank bigint DEFAULT nextval('doomed_seq');"
        "ALTER TABLE sponsor_visible_memos ADD number serial;"
        "ALTER TABLE virtues ADD borrowed int DEFAULT nextval('sponsor_visible_memos_number_seq');"
        "CREATE FUNCTION doomed() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';"
        "ALTER TABLE virtues ADD of_function int DEFAULT doomed()",
        ["default public.virtues.rank", "default public.virtues.borrowed", "default public.virtues.of_function"],
    ),
    "expressions with functions": (
        "CREATE FUNCTION doomed(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1';"
        "ALTER TABLE virtues ADD CHECK (doomed(id) > 0), ADD twice int GENERATED ALWAYS AS (doomed(id)) STORED;"
        "CREATE INDEX by_doomed ON virtues (doomed(id)); CREATE INDEX where_doomed ON virtues (name) WHERE"
        " doomed(id) > 1; CREATE DOMAIN checked AS int CHECK (doomed(VALUE) > 0);"
        "CREATE DOMAIN with_default AS int DEFAULT doomed(1); CREATE TABLE of_domain (d with_default, c checked);"
        "ALTER TABLE virtues ADD CONSTRAINT one EXCLUDE USING btree (doomed(id) WITH =);"
        "CREATE VIEW generated AS SELECT twice FROM virtues; CREATE STATISTICS st ON id, (doomed(id)) FROM virtues;"
        "CREATE POLICY calls ON virtues USING (doomed(id) > 0)",
        ["constraint virtues_id_check on public.virtues", "column public.virtues.twice",
         "index by_doomed on public.virtues", "index where_doomed on public.virtues",
         "constraint checked_check on public.checked", "domain public.with_default", "column public.of_domain.d",
         "constraint one on public.virtues", "view public.generated", "statistics public.st",
         "policy calls on public.virtues"],
    ),
    "operators": (
        "CREATE FUNCTION doomed(point, point) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT true';"
        "CREATE OPERATOR <@@> (LEFTARG = point, RIGHTARG = point, FUNCTION = doomed);"
        "CREATE TABLE places (a point, b point, CHECK (a <@@> b))",
        ["operator public.<@@>(point, point)", "constraint places_check on public.places"],
    ),
    "aggregates": (
        "CREATE FUNCTION doomed(int, int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';"
        "CREATE AGGREGATE summed (int) (SFUNC = doomed, STYPE = int);"
        "CREATE VIEW sums AS SELECT summed(id) FROM virtues",
        ["aggregate public.summed(integer)", "view public.sums"],
    ),
    "foreign keys": (
        'CREATE TABLE "Odd Ref" (id int, "Conn" bigint REFERENCES sponsor_connections ON DELETE CASCADE,'
        " a uuid, b uuid,"
        " FOREIGN KEY (a, b) REFERENCES sponsor_connections (practitioner_user_id, sponsor_user_id));"
        "CREATE TABLE parted (id int, conn bigint REFERENCES sponsor_connections) PARTITION BY LIST (id);"
        "CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);"
        "CREATE TABLE parted_2 PARTITION OF parted DEFAULT",
        ['constraint "Odd Ref_Conn_fkey" on public."Odd Ref"',
         'constraint "Odd Ref_a_b_fkey" on public."Odd Ref"', "constraint parted_conn_fkey on public.parted",
         "constraint parted_conn_fkey on public.parted_1", "constraint parted_conn_fkey on public.parted_2"],
    ),
    "publications": (
        "CREATE PUBLICATION mine FOR TABLE sponsor_connections (id, status) WHERE (id > 0), virtues",
        ["publication table mine on public.sponsor_connections"],
    ),
    "partitioned survivors": (
        "CREATE FUNCTION doomed() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
        "CREATE FUNCTION doomed_int(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1';"
        "CREATE TABLE parted (id int, was sponsor_connections, twice int GENERATED ALWAYS AS (doomed_int(id)) STORED,"
        " CHECK (doomed_int(id) >= 0), rank int DEFAULT doomed_int(1)) PARTITION BY LIST (id);"
        "CREATE INDEX parted_i ON parted (doomed_int(id));"
        "CREATE TRIGGER parted_t BEFORE INSERT ON parted FOR EACH ROW EXECUTE FUNCTION doomed();"
        "CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);"
        "CREATE TABLE parted_2 PARTITION OF parted DEFAULT PARTITION BY LIST (id);"
        "CREATE TABLE parted_2_1 PARTITION OF parted_2 DEFAULT; CREATE INDEX ON parted_2_1 (was);"
        "CREATE TABLE mother (id int CHECK (doomed_int(id) > 0), was sponsor_connections);"
        "CREATE TABLE child () INHERITS (mother)",
        ["column public.parted.was", "column public.parted_2_1.was", "column public.parted_1.twice",
         "trigger parted_t on public.parted_2_1", "constraint parted_id_check on public.parted_1",
         "default public.parted_1.rank", "index parted_i on public.parted", "column public.child.was",
         "constraint mother_id_check on public.child"],
    ),
    "odds and ends": (
        "CREATE TABLE kept (id int PRIMARY KEY, was sponsor_connections NOT NULL, UNIQUE (was), a int, b int,"
        " EXCLUDE USING btree (a WITH =)); CREATE SEQUENCE of_column OWNED BY kept.was;"
        "ALTER TABLE kept REPLICA IDENTITY USING INDEX kept_pkey; CREATE STATISTICS kept_s ON was, a FROM kept;"
        "CREATE PUBLICATION listed FOR TABLE kept (id, was); GRANT SELECT (was) ON kept TO anon;"
        "COMMENT ON COLUMN kept.was IS 'was'; CREATE VIEW typed AS SELECT NULL::sponsor_connections AS c;"
        "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
        "CREATE TRIGGER of_column BEFORE UPDATE OF was ON kept FOR EACH ROW EXECUTE FUNCTION touch();"
        "CREATE TRIGGER when_column BEFORE UPDATE ON kept FOR EACH ROW WHEN ((NEW.was).id > 1)"
        " EXECUTE FUNCTION touch(); CREATE FUNCTION defaulted(a bigint DEFAULT (NULL::sponsor_connections).id)"
        " RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE VIEW calls AS SELECT defaulted();"
        "CREATE VIEW updatable AS SELECT * FROM virtues; CREATE RULE reroute AS ON UPDATE TO updatable DO INSTEAD"
        " UPDATE sponsor_visible_memos SET read_at = now() WHERE id = NEW.id",
        ["column public.kept.was", "sequence public.of_column", "statistics public.kept_s", "view public.typed",
         "trigger of_column on public.kept", "trigger when_column on public.kept",
         "function public.defaulted(bigint)", "view public.calls", "rule reroute on public.updatable",
         "constraint kept_was_key on public.kept", "publication table listed on public.kept"],
    ),
    "policies through views and functions": (
        "CREATE VIEW active AS SELECT * FROM sponsor_connections; ALTER TABLE virtues ENABLE ROW LEVEL SECURITY;"
        "CREATE POLICY narrow ON virtues AS RESTRICTIVE USING (EXISTS (SELECT FROM active a WHERE a.id = virtues.id));"
        "CREATE POLICY asks ON virtues FOR UPDATE USING (get_unread_memo_count(auth.uid(), auth.uid()) > 0)",
        ["policy narrow on public.virtues", "policy asks on public.virtues", "view public.active"],
    ),
}  # fmt: skip

#: What the shapes name that is to go with the coaching tables.
ALSO = {
    "partitioned survivors": {"functions": ["public.doomed()", "public.doomed_int(integer)"]},
    "triggers": {"functions": ["public.doomed"]},
    "defaults": {"functions": ["public.doomed()"], "sequences": ["public.doomed_seq"]},
    "expressions with functions": {"functions": ["public.doomed(int4)"]},
    "operators": {"functions": ["public.doomed"]},
    "aggregates": {"functions": ["public.doomed(int, int)"]},
}
BEFOREHAND = {
    "functions on row types": "CREATE FUNCTION sf(int, sponsor_connections) RETURNS int LANGUAGE sql AS 'SELECT 1'",
}

#: Other manifests: their tables, functions and sequences, SQL as a superuser, and what has to be in the plan.
OTHERS: dict[str, tuple[dict[str, Any], str, list[str]]] = {
    "partitions": (
        {"tables": ["public.parted"]},
        "CREATE TABLE parted (id int, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);"
        "CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');"
        "CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM ('2026-02-01') TO ('2026-03-01')"
        " PARTITION BY LIST (id); CREATE TABLE parted_2_1 PARTITION OF parted_2 DEFAULT;"
        "CREATE TABLE refers (id int, day date, FOREIGN KEY (id, day) REFERENCES parted);"
        "CREATE VIEW of_partition AS SELECT * FROM parted_2_1; CREATE TABLE typed_by (p parted_1)",
        ["constraint refers_id_day_fkey on public.refers", "view public.of_partition",
         "column public.typed_by.p"],
    ),
    "one partition of a survivor": (
        {"tables": ["public.parted_1"]},
        "CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY LIST (id);"
        "CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1); CREATE VIEW v AS SELECT * FROM parted_1;"
        "CREATE TABLE refers (id int REFERENCES parted_1)",
        ["view public.v", "constraint refers_id_fkey on public.refers"],
    ),
    "inheritance": (
        {"tables": ["public.mother"]},
        "CREATE TABLE mother (id serial PRIMARY KEY, a int); CREATE TABLE child (b int) INHERITS (mother);"
        "CREATE TABLE grandchild () INHERITS (child); CREATE VIEW v AS SELECT b FROM grandchild",
        ["view public.v"],
    ),
    "odd names": (
        {"tables": ['"Odd Schema"."T.1"'], "functions": ['"Odd Schema"."F(x"(int)'],
         "sequences": ['"Odd Schema"."S""1"']},
        'CREATE SCHEMA "Odd Schema"; CREATE TABLE "Odd Schema"."T.1" ("I""d" int PRIMARY KEY);'
        'CREATE FUNCTION "Odd Schema"."F(x"(int) RETURNS int LANGUAGE sql IMMUTABLE AS \'SELECT 1\';'
        'CREATE SEQUENCE "Odd Schema"."S""1"; CREATE TABLE "Néw" (a int DEFAULT nextval(\'"Odd Schema"."S""1"\'),'
        ' "B.b" int CHECK ("Odd Schema"."F(x"("B.b") > 0), c int REFERENCES "Odd Schema"."T.1");'
        'CREATE VIEW "V.w" AS SELECT * FROM "Odd Schema"."T.1"',
        ['default public."Néw".a', 'constraint "Néw_B.b_check" on public."Néw"', 'view public."V.w"',
         'constraint "Néw_c_fkey" on public."Néw"'],
    ),
    "what only a superuser makes": (
        {"functions": ["public.lt", "public.cmp", "public.watch", "public.to_point"]},
        "CREATE FUNCTION lt(point, point) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT true';"
        "CREATE FUNCTION cmp(point, point) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';"
        "CREATE OPERATOR <~ (LEFTARG = point, RIGHTARG = point, FUNCTION = lt);"
        "CREATE OPERATOR CLASS point_ops DEFAULT FOR TYPE point USING btree AS OPERATOR 1 <~, FUNCTION 1 cmp;"
        "CREATE TABLE places (p point); CREATE INDEX by_point ON places (p);"
        "CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';"
        "CREATE EVENT TRIGGER watching ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION watch();"
        "CREATE FUNCTION to_point(int) RETURNS point LANGUAGE sql IMMUTABLE AS 'SELECT point(1, 1)';"
        "CREATE CAST (int AS point) WITH FUNCTION to_point(int)",
        ["operator public.<~(point, point)", "operator class public.point_ops USING btree",
         "index by_point on public.places", "event trigger watching", "cast integer AS point"],
    ),
    "a function alone": (
        {"functions": ["public.set_updated_at()"]}, "SELECT 1",
        ["trigger set_updated_at on public.profiles", "trigger set_updated_at on public.sponsor_connections"],
    ),
    "foreign tables": (
        {"tables": ["public.far", "public.parted"]},
        "CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER far_away FOREIGN DATA WRAPPER nothing;"
        "CREATE FOREIGN TABLE far (id int) SERVER far_away; CREATE VIEW v AS SELECT * FROM far;"
        "CREATE TABLE parted (id int) PARTITION BY LIST (id);"
        "CREATE FOREIGN TABLE parted_1 PARTITION OF parted FOR VALUES IN (1) SERVER far_away",
        ["view public.v"],
    ),
}  # fmt: skip


@pytest.fixture
def application(database: TestDatabase) -> TestDatabase:
    load_application(database)
    return database


@pytest.mark.parametrize("shape", SHAPES)
def test_the_plan_is_what_the_drop_takes(application: TestDatabase, shape: str) -> None:
    statements, expected = SHAPES[shape]
    application.query(f"SET search_path = public; {BEFOREHAND.get(shape, '')}; {statements}")
    manifest = {**COACHING}
    for section, names in ALSO.get(shape, {}).items():
        manifest[section] = [*manifest[section], *names]
    connection = application.connect()
    targets, radius = read_radius(connection, manifest)
    difference = really_dropped(connection, [{"kind": each.kind, "name": each.name} for each in targets.objects])
    assert disagreements(targets, radius, difference) == []
    labels = {each.label for each in radius.dropped}
    assert set(expected) - labels == set()
    assert all(each.detail.endswith(".") and each.owner for each in radius.dropped)
    # What it hangs on is told, and leads to the objects.
    assert [each.label for each in radius.dropped if not each.uses] == []


@pytest.mark.parametrize("case", OTHERS)
def test_the_plan_of_other_manifests_is_what_the_drop_takes(application: TestDatabase, case: str) -> None:
    manifest, statements, expected = OTHERS[case]
    application.query(f"SET search_path = public; {statements}", user="postgres")
    connection = application.superuser()
    targets, radius = read_radius(connection, manifest)
    difference = really_dropped(connection, [{"kind": each.kind, "name": each.name} for each in targets.objects])
    assert disagreements(targets, radius, difference) == []
    assert set(expected) - {each.label for each in radius.dropped} == set()


_EVERY_OBJECT = """
SELECT 'tables', format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_|^information_schema$'
UNION ALL
SELECT 'sequences', format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'S' AND n.nspname !~ '^pg_' AND NOT EXISTS (
    SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'i')
UNION ALL
SELECT 'functions', format('%I.%I(%s)', n.nspname, p.proname, array_to_string(ARRAY (
           SELECT format_type(t, NULL) FROM unnest(p.proargtypes::oid[]) t), ', '))
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname !~ '^pg_|^information_schema$'
ORDER BY 1, 2
"""


def test_whatever_is_dropped_alone_takes_what_the_plan_says(application: TestDatabase) -> None:
    """All shapes in one database, and each of its tables, sequences and functions torn down by itself."""
    connection = application.superuser()
    with connection.cursor() as cursor:
        for number, shape in enumerate(SHAPES):
            cursor.execute(f"CREATE SCHEMA shape_{number}; SET search_path = shape_{number}, public")
            cursor.execute(f"{BEFOREHAND.get(shape, 'SELECT 1')}; {SHAPES[shape][0]}")
        cursor.execute("SET search_path = pg_catalog")
        cursor.execute(_EVERY_OBJECT)
        objects = cursor.fetchall()
    wrong = {}
    for section, name in objects:
        targets, radius = read_radius(connection, {section: [name]})
        difference = really_dropped(connection, [{"kind": each.kind, "name": each.name} for each in targets.objects])
        found = disagreements(targets, radius, difference)
        if found:
            wrong[name] = found
    assert wrong == {}
    assert len(objects) > 50
