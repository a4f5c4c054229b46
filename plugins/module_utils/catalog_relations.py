# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the catalogs are asked about relations and what they are made of.

Every statement gives, in this order: kind, place (the OID of a relation, that of a domain below zero, the name of a
schema, or NULL), name, suffix (of the name, such as a function's argument types), OID, column number, owner, access
privileges. Every further column is an attribute by its own name, unless that begins with _. NULL stands for what an
object has anyway, and is left out. They run with search_path = pg_catalog, so that every name is printed
with its schema.

The functions that print expressions open the relation, which waits for whoever holds it ACCESS EXCLUSIVE and costs more
than all the rest. So they get relation 0 where no column can occur, and plain indexes are printed without them.
"""

from __future__ import annotations

from dataclasses import dataclass

#: How the name of an object is put together.
STANDALONE, COLUMN, ON_RELATION, AS_IT_IS = "schema.name", "schema.relation.name", "name on schema.relation", "name"


@dataclass(frozen=True)
class Subject:
    """:ivar kinds: what it may find.
    :ivar catalog: the catalog whose rows the objects are, for their comments and memberships in extensions.
    """

    kinds: tuple[str, ...]
    catalog: str
    names: str
    query: str


USER_SCHEMA = "n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'"

#: Objects that initdb did not make.
MADE_LATER = "oid >= 16384"


def sha256_of(text: str) -> str:
    """The SQL of a text's sum, which is the same in every encoding. In SQL_ASCII nothing is known of it but its bytes.

    :param text: an SQL expression.
    """
    encoding = "CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END"
    return f"encode(sha256(convert_to({text}, {encoding})), 'hex')"


def options_sha256(options: str) -> str:
    """The SQL of the sum of foreign options, in any order: they may be passwords."""
    ordered = f"""(SELECT string_agg(o, ',' ORDER BY o COLLATE "C") FROM unnest({options}) o)"""
    return f"CASE WHEN {options} IS NOT NULL THEN {sha256_of(ordered)} END"


RELATIONS = Subject(
    ("table", "foreign table", "view", "materialized view"),
    "pg_class",
    STANDALONE,
    f"""
SELECT CASE c.relkind WHEN 'f' THEN 'foreign table' WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
                      ELSE 'table' END,
       n.nspname, c.relname, '', c.oid, 0, pg_get_userbyid(c.relowner),
       coalesce(c.relacl, acldefault('r', c.relowner))::text,
       c.relkind::text AS _relkind, c.reltuples AS _reltuples, h.parents AS _parents,
       CASE WHEN c.relpersistence = 'u' THEN true END AS unlogged,
       CASE WHEN c.relkind IN ('r', 'p') THEN c.relrowsecurity END AS row_security,
       CASE WHEN c.relkind IN ('r', 'p') THEN c.relforcerowsecurity END AS row_security_forced,
       CASE c.relreplident WHEN 'f' THEN 'full' WHEN 'i' THEN 'index' WHEN 'n' THEN CASE WHEN c.relkind IN ('r', 'p')
            THEN 'nothing' END END AS replica_identity,
       CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END AS partitioned_by,
       pg_get_expr(c.relpartbound, 0) AS partition_bound,
       CASE WHEN c.reloptions IS NOT NULL
            THEN ARRAY (SELECT o FROM unnest(c.reloptions) o ORDER BY o COLLATE "C") END AS options,
       CASE WHEN t.reloptions IS NOT NULL
            THEN ARRAY (SELECT o FROM unnest(t.reloptions) o ORDER BY o COLLATE "C") END AS toast_options,
       (SELECT m.amname FROM pg_am m WHERE m.oid = c.relam AND m.amname <> 'heap') AS access_method,
       (SELECT t.spcname FROM pg_tablespace t WHERE t.oid = c.reltablespace) AS tablespace,
       CASE WHEN c.reloftype <> 0 THEN format_type(c.reloftype, NULL) END AS of_type,
       CASE WHEN c.relkind = 'm' AND NOT c.relispopulated THEN false END AS populated,
       CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END AS definition,
       f.srvname AS server, f.names AS option_names, f.sum AS options_sha256
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_class t ON t.oid = c.reltoastrelid AND t.reloptions IS NOT NULL
LEFT JOIN (SELECT i.inhrelid, array_agg(i.inhparent::bigint ORDER BY i.inhseqno) AS parents FROM pg_inherits i
           GROUP BY i.inhrelid) h ON h.inhrelid = c.oid
LEFT JOIN (SELECT t.ftrelid, s.srvname, ARRAY (SELECT option_name FROM pg_options_to_table(t.ftoptions) ORDER BY 1)
                  AS names, {options_sha256("t.ftoptions")} AS sum
           FROM pg_foreign_table t JOIN pg_foreign_server s ON s.oid = t.ftserver) f ON f.ftrelid = c.oid
WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm') AND c.relpersistence <> 't' AND {USER_SCHEMA}
""",
)

COLUMNS = Subject(
    ("column",),
    "pg_class",
    COLUMN,
    f"""
SELECT 'column', a.attrelid, a.attname, '', a.attrelid, a.attnum,
       CASE WHEN a.attacl IS NOT NULL THEN pg_get_userbyid(c.relowner) END, a.attacl::text,
       format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS not_null,
       CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, 0) END AS default,
       CASE a.attidentity WHEN 'a' THEN 'always' WHEN 'd' THEN 'by default' END AS identity,
       CASE WHEN a.attgenerated <> '' THEN pg_get_expr(d.adbin, d.adrelid)
            || CASE a.attgenerated WHEN 's' THEN ' STORED' ELSE ' VIRTUAL' END END AS generated,
       CASE WHEN a.attcollation <> t.typcollation
            THEN (SELECT quote_ident(cn.nspname) || '.' || quote_ident(co.collname) FROM pg_collation co
                  JOIN pg_namespace cn ON cn.oid = co.collnamespace WHERE co.oid = a.attcollation) END AS collation,
       CASE WHEN a.attstorage <> t.typstorage
            THEN CASE a.attstorage WHEN 'p' THEN 'plain' WHEN 'e' THEN 'external' WHEN 'm' THEN 'main' ELSE 'extended'
                 END END AS storage,
       CASE a.attcompression WHEN 'p' THEN 'pglz' WHEN 'l' THEN 'lz4' END AS compression,
       CASE WHEN a.attstattarget >= 0 THEN a.attstattarget END AS statistics_target,
       (SELECT string_agg(o, ', ' ORDER BY o COLLATE "C") FROM unnest(a.attoptions) o) AS options,
       {options_sha256("a.attfdwoptions")} AS options_sha256,
       CASE WHEN a.attinhcount > 0 THEN true END AS inherited,
       a.atttypid AS _type, a.attcollation AS _collation
FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.atthasdef
WHERE a.attnum > 0 AND NOT a.attisdropped AND c.{MADE_LATER} AND c.relkind IN ('r', 'p', 'f', 'v', 'm')
  AND c.relpersistence <> 't'
""",
)

# Constraints of their own from Postgres 18 on.
NOT_NULL = """
SELECT k.conrelid, k.conkey[1], k.conname, CASE WHEN k.connoinherit THEN ' NO INHERIT' ELSE '' END
                                           || CASE WHEN k.convalidated THEN '' ELSE ' NOT VALID' END
FROM pg_constraint k WHERE k.contype = 'n' AND k.conrelid <> 0
"""

CONSTRAINTS = Subject(
    ("constraint",),
    "pg_constraint",
    ON_RELATION,
    """
SELECT 'constraint', CASE WHEN k.conrelid <> 0 THEN k.conrelid::bigint ELSE -k.contypid::bigint END, k.conname, '',
       k.oid, 0, NULL, NULL,
       CASE k.contype WHEN 'c' THEN 'check' WHEN 'f' THEN 'foreign key' WHEN 'p' THEN 'primary key'
                      WHEN 'u' THEN 'unique'
                      ELSE 'exclude' END AS type,
       CASE WHEN k.convalidated THEN pg_get_constraintdef(k.oid)
            ELSE regexp_replace(pg_get_constraintdef(k.oid), ' NOT VALID$', '') END AS definition,
       k.convalidated AS validated,
       CASE WHEN k.conparentid <> 0 OR k.coninhcount > 0 THEN true END AS inherited,
       CASE WHEN f.tgconstraint IS NOT NULL THEN true END AS triggers_disabled
FROM pg_constraint k
LEFT JOIN (SELECT DISTINCT t.tgconstraint FROM pg_trigger t WHERE t.tgisinternal AND t.tgenabled IN ('D', 'R')) f
  ON f.tgconstraint = k.oid
WHERE k.contype IN ('c', 'f', 'p', 'u', 'x')
""",
)

# What a constraint made is described by the constraint. Plain are those of which pg_get_indexdef would say nothing but
# the columns: catalog_indexes says the same without it.
INDEXES = Subject(
    ("index",),
    "pg_class",
    ON_RELATION,
    """
SELECT 'index', i.indrelid, x.relname, '', i.indexrelid, 0, NULL, NULL,
       CASE WHEN i.indexprs IS NULL AND i.indpred IS NULL AND x.reloptions IS NULL AND x.relam = 403
                 AND x.relkind = 'i' AND i.indnkeyatts = i.indnatts AND NOT i.indnullsnotdistinct
                 AND translate(i.indoption::text, '0 ', '') = ''
            THEN i.indkey::text END AS _keys,
       i.indclass::text AS _classes, i.indcollation::text AS _collations, i.indisunique AS _unique,
       CASE WHEN x.reloptions IS NOT NULL
            THEN ARRAY (SELECT o FROM unnest(x.reloptions) o ORDER BY o COLLATE "C") END AS options,
       i.indisvalid AS valid, CASE WHEN NOT i.indisready THEN false END AS ready,
       CASE WHEN i.indisclustered THEN true END AS clustered,
       CASE WHEN i.indisreplident THEN true END AS replica_identity,
       CASE WHEN x.reltablespace <> 0
            THEN (SELECT t.spcname FROM pg_tablespace t WHERE t.oid = x.reltablespace) END AS tablespace,
       CASE WHEN x.relispartition THEN true END AS inherited, k.conname AS constraint
FROM pg_index i
JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_class c ON c.oid = i.indrelid
LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x')
WHERE i.indexrelid >= 16384 AND c.relkind IN ('r', 'p', 'm') AND c.relpersistence <> 't'
""",
)

TRIGGERS = Subject(
    ("trigger",),
    "pg_trigger",
    ON_RELATION,
    """
SELECT 'trigger', t.tgrelid, t.tgname, '', t.oid, 0, NULL, NULL, pg_get_triggerdef(t.oid) AS definition,
       CASE t.tgenabled WHEN 'O' THEN 'yes' WHEN 'D' THEN 'no' WHEN 'A' THEN 'always' ELSE 'on replicas' END AS enabled,
       CASE WHEN t.tgparentid <> 0 THEN true END AS inherited
FROM pg_trigger t WHERE NOT t.tgisinternal
""",
)

RULES = Subject(
    ("rule",),
    "pg_rewrite",
    ON_RELATION,
    f"""
SELECT 'rule', r.ev_class, r.rulename, '', r.oid, 0, NULL, NULL, pg_get_ruledef(r.oid) AS definition,
       CASE r.ev_enabled WHEN 'O' THEN 'yes' WHEN 'D' THEN 'no' WHEN 'A' THEN 'always' ELSE 'on replicas' END AS enabled
FROM pg_rewrite r WHERE r.rulename <> '_RETURN' AND r.{MADE_LATER}
""",
)

POLICIES = Subject(
    ("policy",),
    "pg_policy",
    ON_RELATION,
    """
SELECT 'policy', p.polrelid, p.polname, '', p.oid, 0, NULL, NULL,
       CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE'
                     ELSE 'ALL' END AS command,
       p.polpermissive AS permissive,
       ARRAY (SELECT CASE r WHEN 0 THEN 'public' ELSE pg_get_userbyid(r)::text END COLLATE "C"
              FROM unnest(p.polroles) r ORDER BY 1) AS roles,
       pg_get_expr(p.polqual, p.polrelid) AS using, pg_get_expr(p.polwithcheck, p.polrelid) AS with_check
FROM pg_policy p
""",
)

SEQUENCES = Subject(
    ("sequence",),
    "pg_class",
    STANDALONE,
    f"""
SELECT 'sequence', n.nspname, c.relname, '', c.oid, 0, pg_get_userbyid(c.relowner),
       coalesce(c.relacl, acldefault('s', c.relowner))::text,
       format_type(s.seqtypid, NULL) AS data_type, s.seqstart AS start, s.seqincrement AS increment,
       s.seqmin AS minimum, s.seqmax AS maximum, s.seqcache AS cache, s.seqcycle AS cycle,
       CASE WHEN c.relpersistence = 'u' THEN true END AS unlogged,
       has_schema_privilege(n.oid, 'USAGE') AND has_sequence_privilege(c.oid, 'SELECT') AS _readable,
       d.refobjid AS _owner, a.attname AS _column, CASE WHEN d.deptype = 'i' THEN true END AS identity
FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN (pg_depend d JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid)
  ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0
 AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
WHERE c.relpersistence <> 't' AND {USER_SCHEMA}
""",
)

#: The relations come first: the others say of which they are a part. Those that take the server long follow.
RELATION_PARTS = (COLUMNS, CONSTRAINTS, INDEXES, SEQUENCES, TRIGGERS, RULES, POLICIES)
