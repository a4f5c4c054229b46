# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the catalogs are asked about schemas, functions, types, publications, extensions and default privileges.

The form of the statements is that of catalog_relations.
"""

from __future__ import annotations

from ansible_collections.pgops.rollback.plugins.module_utils.catalog_relations import (
    AS_IT_IS,
    MADE_LATER,
    ON_RELATION,
    STANDALONE,
    USER_SCHEMA,
    Subject,
    sha256_of,
)

SCHEMAS = Subject(
    ("schema",),
    "pg_namespace",
    AS_IT_IS,
    f"""
SELECT 'schema', n.nspname, quote_ident(n.nspname), '', n.oid, 0, pg_get_userbyid(n.nspowner),
       coalesce(n.nspacl, acldefault('n', n.nspowner))::text
FROM pg_namespace n WHERE {USER_SCHEMA}
""",
)

# pg_get_functiondef knows no aggregates. No function at all is printed as -.
FUNCTIONS = Subject(
    ("function", "procedure", "aggregate"),
    "pg_proc",
    STANDALONE,
    f"""
SELECT CASE p.prokind WHEN 'a' THEN 'aggregate' WHEN 'p' THEN 'procedure' ELSE 'function' END, n.nspname, p.proname,
       '(' || array_to_string(ARRAY (
           SELECT format_type(a.type, NULL) FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY AS a (type, place)
           ORDER BY a.place), ', ') || ')',
       p.oid, 0, pg_get_userbyid(p.proowner), coalesce(p.proacl, acldefault('f', p.proowner))::text,
       d.definition, {sha256_of("d.definition")} AS definition_sha256,
       l.lanname AS language, p.prosecdef AS security_definer,
       CASE p.provolatile WHEN 'i' THEN 'immutable' WHEN 's' THEN 'stable' ELSE 'volatile' END AS volatility,
       CASE p.proparallel WHEN 's' THEN 'safe' WHEN 'r' THEN 'restricted' END AS parallel,
       CASE WHEN p.proisstrict THEN true END AS strict, CASE WHEN p.proleakproof THEN true END AS leakproof,
       CASE WHEN p.proconfig IS NOT NULL
            THEN ARRAY (SELECT c FROM unnest(p.proconfig) c ORDER BY c COLLATE "C") END AS config,
       pg_get_function_result(p.oid) AS result
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
LEFT JOIN pg_aggregate g ON g.aggfnoid = p.oid
CROSS JOIN LATERAL (SELECT CASE WHEN p.prokind <> 'a' THEN pg_get_functiondef(p.oid) ELSE format(
    'CREATE AGGREGATE %s.%s(%s) (%s)', quote_ident(n.nspname), quote_ident(p.proname), pg_get_function_arguments(p.oid),
    array_to_string(ARRAY[
        'SFUNC = ' || g.aggtransfn, 'STYPE = ' || format_type(g.aggtranstype, NULL),
        'SSPACE = ' || nullif(g.aggtransspace, 0), 'FINALFUNC = ' || nullif(g.aggfinalfn::text, '-'),
        'FINALFUNC_MODIFY = ' || g.aggfinalmodify::text, CASE WHEN g.aggfinalextra THEN 'FINALFUNC_EXTRA' END,
        'COMBINEFUNC = ' || nullif(g.aggcombinefn::text, '-'), 'SERIALFUNC = ' || nullif(g.aggserialfn::text, '-'),
        'DESERIALFUNC = ' || nullif(g.aggdeserialfn::text, '-'), 'INITCOND = ' || quote_literal(g.agginitval),
        'MSFUNC = ' || nullif(g.aggmtransfn::text, '-'), 'MINVFUNC = ' || nullif(g.aggminvtransfn::text, '-'),
        'MSTYPE = ' || format_type(nullif(g.aggmtranstype, 0), NULL), 'MSSPACE = ' || nullif(g.aggmtransspace, 0),
        'MFINALFUNC = ' || nullif(g.aggmfinalfn::text, '-'), CASE WHEN g.aggmfinalextra THEN 'MFINALFUNC_EXTRA' END,
        'MFINALFUNC_MODIFY = ' || g.aggmfinalmodify::text, 'MINITCOND = ' || quote_literal(g.aggminitval),
        'SORTOP = ' || nullif(g.aggsortop, 0)::regoperator, 'KIND = ' || g.aggkind::text], ', ')) END AS definition) d
WHERE {USER_SCHEMA}
  AND NOT EXISTS (SELECT FROM pg_depend i
                  WHERE i.classid = 'pg_proc'::regclass AND i.objid = p.oid AND i.deptype = 'i')
""",
)

# Row types of tables, array types and multiranges come and go with what they belong to.
TYPES = Subject(
    ("type", "domain", "enum", "range"),
    "pg_type",
    STANDALONE,
    f"""
SELECT CASE t.typtype WHEN 'd' THEN 'domain' WHEN 'e' THEN 'enum' WHEN 'r' THEN 'range' ELSE 'type' END,
       n.nspname, t.typname, '', t.oid, 0, pg_get_userbyid(t.typowner),
       coalesce(t.typacl, acldefault('T', t.typowner))::text,
       CASE t.typtype WHEN 'c' THEN 'composite' WHEN 'b' THEN 'base' WHEN 'p' THEN 'shell' END AS form,
       CASE WHEN t.typtype = 'e'
            THEN ARRAY (SELECT e.enumlabel::text FROM pg_enum e WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder)
            END AS labels,
       CASE WHEN t.typtype = 'c'
            THEN ARRAY (SELECT quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod)
                               || coalesce(' COLLATE ' || (
                                      SELECT quote_ident(cn.nspname) || '.' || quote_ident(co.collname)
                                      FROM pg_collation co JOIN pg_namespace cn ON cn.oid = co.collnamespace
                                      WHERE co.oid = a.attcollation AND co.oid <> 100), '')
                        FROM pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
                        ORDER BY a.attnum) END AS columns,
       CASE WHEN t.typtype = 'c'
            THEN ARRAY (SELECT quote_ident(a.attname) || ': ' || d.description
                        FROM pg_attribute a JOIN pg_description d
                          ON d.classoid = 'pg_class'::regclass AND d.objoid = a.attrelid AND d.objsubid = a.attnum
                        WHERE a.attrelid = t.typrelid AND a.attnum > 0 ORDER BY a.attnum) END AS column_comments,
       CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod) END AS base_type,
       CASE WHEN t.typtype = 'd' THEN t.typnotnull END AS not_null,
       CASE WHEN t.typtype = 'd' THEN pg_get_expr(t.typdefaultbin, 0) END AS default,
       CASE WHEN t.typtype = 'd' AND t.typcollation NOT IN (0, 100) THEN (
            SELECT quote_ident(cn.nspname) || '.' || quote_ident(co.collname)
            FROM pg_collation co JOIN pg_namespace cn ON cn.oid = co.collnamespace WHERE co.oid = t.typcollation)
            END AS collation,
       format_type(r.rngsubtype, NULL) AS subtype, format_type(r.rngmultitypid, NULL) AS multirange,
       (SELECT quote_ident(oc.opcname) FROM pg_opclass oc WHERE oc.oid = r.rngsubopc) AS operator_class,
       nullif(r.rngcanonical::text, '-') AS canonical, nullif(r.rngsubdiff::text, '-') AS subtype_diff,
       CASE WHEN t.typtype = 'b' THEN ARRAY[t.typinput::text, t.typoutput::text, t.typlen::text, t.typalign::text,
                                            t.typstorage::text, t.typcategory::text, t.typdefault] END AS base
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace LEFT JOIN pg_class c ON c.oid = t.typrelid
LEFT JOIN pg_range r ON r.rngtypid = t.oid
WHERE {USER_SCHEMA} AND (t.typtype IN ('d', 'e', 'r', 'p') OR c.relkind = 'c'
                         OR t.typtype = 'b' AND t.typelem = 0 OR t.typtype = 'b' AND t.typsubscript <> 6179)
""",
)

PUBLICATIONS = Subject(
    ("publication",),
    "pg_publication",
    STANDALONE,
    """
SELECT 'publication', NULL, p.pubname, '', p.oid, 0, pg_get_userbyid(p.pubowner), NULL, p.puballtables AS all_tables,
       array_remove(ARRAY[CASE WHEN p.pubinsert THEN 'insert' END, CASE WHEN p.pubupdate THEN 'update' END,
                          CASE WHEN p.pubdelete THEN 'delete' END, CASE WHEN p.pubtruncate THEN 'truncate' END], NULL)
           AS operations,
       p.pubviaroot AS via_root, nullif(to_jsonb(p) ->> 'pubgencols', 'n') AS generated_columns,
       ARRAY (SELECT s.nspname::text FROM pg_publication_namespace m JOIN pg_namespace s ON s.oid = m.pnnspid
              WHERE m.pnpubid = p.oid ORDER BY s.nspname) AS schemas
FROM pg_publication p
""",
)

PUBLICATION_TABLES = Subject(
    ("publication table",),
    "pg_publication_rel",
    ON_RELATION,
    """
SELECT 'publication table', m.prrelid, p.pubname, '', m.oid, 0, NULL, NULL,
       pg_get_expr(m.prqual, m.prrelid) AS row_filter,
       CASE WHEN m.prattrs IS NOT NULL THEN ARRAY (
           SELECT a.attname::text FROM pg_attribute a
           WHERE a.attrelid = m.prrelid AND a.attnum = ANY (m.prattrs::int2[])
           ORDER BY a.attname) END AS columns
FROM pg_publication_rel m JOIN pg_publication p ON p.oid = m.prpubid
""",
)

EXTENSIONS = Subject(
    ("extension",),
    "pg_extension",
    STANDALONE,
    """
SELECT 'extension', NULL, e.extname, '', e.oid, 0, pg_get_userbyid(e.extowner), NULL, e.extversion AS version,
       n.nspname AS schema
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
""",
)

DEFAULT_PRIVILEGES = Subject(
    ("default privileges",),
    "pg_default_acl",
    AS_IT_IS,
    """
SELECT 'default privileges', n.nspname,
       'of ' || quote_ident(pg_get_userbyid(d.defaclrole)) || ' for '
       || CASE d.defaclobjtype WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences' WHEN 'f' THEN 'functions'
                               WHEN 'T' THEN 'types' WHEN 'n' THEN 'schemas' ELSE 'large objects' END
       || coalesce(' in schema ' || quote_ident(n.nspname), ''),
       '', d.oid, 0, pg_get_userbyid(d.defaclrole), d.defaclacl::text
FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace
""",
)

EVENT_TRIGGERS = Subject(
    ("event trigger",),
    "pg_event_trigger",
    STANDALONE,
    f"""
SELECT 'event trigger', NULL, t.evtname, '', t.oid, 0, pg_get_userbyid(t.evtowner), NULL, t.evtevent AS event,
       t.evtfoid::regprocedure::text AS function, ARRAY (SELECT g FROM unnest(t.evttags) g ORDER BY g) AS tags,
       CASE t.evtenabled WHEN 'O' THEN 'yes' WHEN 'D' THEN 'no' WHEN 'A' THEN 'always' ELSE 'on replicas' END AS enabled
FROM pg_event_trigger t WHERE t.{MADE_LATER}
""",
)

SCHEMA_SUBJECTS = (FUNCTIONS, PUBLICATIONS, PUBLICATION_TABLES, EXTENSIONS, DEFAULT_PRIVILEGES, EVENT_TRIGGERS)
