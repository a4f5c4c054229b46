# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the objects of each catalog are described that a teardown reaches: one statement for a catalog.

Every statement gives, in this order: OID, column number, kind, the parts of the name (or, as text, the whole of it), a
suffix of it, the relation that it is on (a domain's OID below zero, 0 for none), owner, definition, and further facts.
The kind is empty for what is a part of something else. They run with search_path = pg_catalog.
"""

from __future__ import annotations

_RELATIONS = """
SELECT c.oid::bigint, 0,
       CASE WHEN c.relkind IN ('r', 'p') THEN 'table' WHEN c.relkind = 'f' THEN 'foreign table'
            WHEN c.relkind = 'v' THEN 'view' WHEN c.relkind = 'm' THEN 'materialized view'
            WHEN c.relkind = 'S' THEN 'sequence' WHEN c.relkind IN ('i', 'I') AND k.oid IS NULL AND h.oid IS NOT NULL
            THEN 'index' ELSE '' END,
       CASE WHEN i.indexrelid IS NULL THEN ARRAY[n.nspname, c.relname]::text[] ELSE ARRAY[c.relname]::text[] END, '',
       coalesce(i.indrelid, 0)::bigint, coalesce(h.relowner, c.relowner)::bigint,
       CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid)
            WHEN h.oid IS NOT NULL THEN pg_get_indexdef(c.oid) END,
       jsonb_build_object('schema', n.nspname, 'options', c.reloptions, 'populated', c.relispopulated)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_index i ON i.indexrelid = c.oid
LEFT JOIN pg_class h ON h.oid = i.indrelid AND h.relkind IN ('r', 'p', 'm')
LEFT JOIN pg_constraint k ON k.conindid = c.oid AND k.contype IN ('p', 'u', 'x')
WHERE c.oid = ANY (%(oids)s::oid[])
"""

COLUMNS = """
SELECT a.attrelid::bigint, a.attnum::int, CASE c.relkind WHEN 'c' THEN 'attribute' ELSE 'column' END,
       ARRAY[n.nspname, c.relname, a.attname]::text[], '', a.attrelid::bigint, c.relowner::bigint,
       format_type(a.atttypid, a.atttypmod), jsonb_build_object('generated', a.attgenerated <> '')
FROM unnest(%(oids)s::oid[], %(parts)s::int[]) AS w (oid, part)
JOIN pg_attribute a ON a.attrelid = w.oid AND a.attnum = w.part
JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
"""

_FUNCTIONS = """
SELECT p.oid::bigint, 0,
       CASE p.prokind WHEN 'a' THEN 'aggregate' WHEN 'p' THEN 'procedure' ELSE 'function' END,
       ARRAY[n.nspname, p.proname]::text[],
       '(' || array_to_string(ARRAY (
           SELECT format_type(a.type, NULL) FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY AS a (type, place)
           ORDER BY a.place), ', ') || ')',
       0::bigint, p.proowner::bigint, CASE WHEN p.prokind <> 'a' THEN pg_get_functiondef(p.oid) END,
       jsonb_build_object('atomic', p.prosqlbody IS NOT NULL, 'trigger', p.prorettype = 'trigger'::regtype)
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.oid = ANY (%(oids)s::oid[])
  AND NOT EXISTS (SELECT FROM pg_depend i
                  WHERE i.classid = 'pg_proc'::regclass AND i.objid = p.oid AND i.deptype = 'i')
"""

# Row types and array types come and go with their table.
_TYPES = """
SELECT t.oid::bigint, 0,
       CASE WHEN t.typtype = 'd' THEN 'domain' WHEN t.typtype = 'e' THEN 'enum' WHEN t.typtype = 'r' THEN 'range'
            WHEN t.typtype = 'c' AND c.relkind = 'c' THEN 'type'
            WHEN t.typtype = 'b' AND t.typsubscript <> 6179 THEN 'type' ELSE '' END,
       ARRAY[n.nspname, t.typname]::text[], '',
       CASE WHEN c.relkind <> 'c' THEN c.oid ELSE 0 END::bigint, t.typowner::bigint,
       CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod)
                                      || coalesce(' DEFAULT ' || pg_get_expr(t.typdefaultbin, 0), '') END, NULL::jsonb
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace LEFT JOIN pg_class c ON c.oid = t.typrelid
WHERE t.oid = ANY (%(oids)s::oid[])
"""

_CONSTRAINTS = """
SELECT k.oid::bigint, 0, CASE WHEN k.contype IN ('c', 'f', 'p', 'u', 'x') THEN 'constraint' ELSE '' END,
       ARRAY[k.conname]::text[], '',
       CASE WHEN k.conrelid <> 0 THEN k.conrelid::bigint ELSE -k.contypid::bigint END,
       coalesce(c.relowner, t.typowner)::bigint, CASE WHEN k.contype <> 't' THEN pg_get_constraintdef(k.oid) END,
       jsonb_build_object('type', k.contype, 'inherited', k.conparentid <> 0 OR k.coninhcount > 0,
                          'references', CASE WHEN f.oid IS NOT NULL THEN quote_ident(n.nspname) || '.'
                                                                         || quote_ident(f.relname) END)
FROM pg_constraint k LEFT JOIN pg_class c ON c.oid = k.conrelid LEFT JOIN pg_type t ON t.oid = k.contypid
LEFT JOIN pg_class f ON f.oid = k.confrelid LEFT JOIN pg_namespace n ON n.oid = f.relnamespace
WHERE k.oid = ANY (%(oids)s::oid[])
"""

_DEFAULTS = """
SELECT d.oid::bigint, 0, CASE WHEN a.attgenerated = '' THEN 'default' ELSE '' END,
       ARRAY[n.nspname, c.relname, a.attname]::text[], '', d.adrelid::bigint, c.relowner::bigint,
       pg_get_expr(d.adbin, d.adrelid), NULL::jsonb
FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
JOIN pg_class c ON c.oid = d.adrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE d.oid = ANY (%(oids)s::oid[])
"""

_TRIGGERS = """
SELECT t.oid::bigint, 0, CASE WHEN t.tgisinternal THEN '' ELSE 'trigger' END, ARRAY[t.tgname]::text[], '',
       t.tgrelid::bigint, c.relowner::bigint, CASE WHEN NOT t.tgisinternal THEN pg_get_triggerdef(t.oid) END,
       jsonb_build_object('enabled', t.tgenabled, 'inherited', t.tgparentid <> 0)
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE t.oid = ANY (%(oids)s::oid[])
"""

_RULES = """
SELECT r.oid::bigint, 0, CASE WHEN r.rulename = '_RETURN' THEN '' ELSE 'rule' END, ARRAY[r.rulename]::text[], '',
       r.ev_class::bigint, c.relowner::bigint,
       CASE WHEN r.rulename <> '_RETURN' THEN pg_get_ruledef(r.oid) END, jsonb_build_object('enabled', r.ev_enabled)
FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class WHERE r.oid = ANY (%(oids)s::oid[])
"""

#: A policy as CREATE POLICY says it, but for its name and table; ``p`` is the policy.
POLICY_TEXT = """'AS ' || CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END || ' FOR '
       || CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE'
                        ELSE 'ALL' END
       || ' TO ' || array_to_string(ARRAY (
              SELECT CASE r WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(r)) END COLLATE "C"
              FROM unnest(p.polroles) r ORDER BY 1), ', ')
       || coalesce(' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')', '')
       || coalesce(' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')', '')"""

# Whether anything else still lets rows through: only what stays counts, which the caller knows.
_POLICIES = (
    """
SELECT p.oid::bigint, 0, 'policy', ARRAY[p.polname]::text[], '', p.polrelid::bigint, c.relowner::bigint, """
    + POLICY_TEXT
    + """,
       jsonb_build_object('permissive', p.polpermissive, 'command', p.polcmd, 'row_security', c.relrowsecurity,
                          'roles', ARRAY (SELECT CASE r WHEN 0 THEN 'everybody' ELSE pg_get_userbyid(r)::text END
                                          COLLATE "C" FROM unnest(p.polroles) r ORDER BY 1),
                          'others', ARRAY (SELECT o.oid::bigint FROM pg_policy o
                                           WHERE o.polrelid = p.polrelid AND o.oid <> p.oid AND o.polpermissive
                                             AND (o.polcmd = '*' OR o.polcmd = p.polcmd)))
FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid WHERE p.oid = ANY (%(oids)s::oid[])
"""
)

_PUBLICATION_TABLES = """
SELECT m.oid::bigint, 0, 'publication table', ARRAY[p.pubname]::text[], '', m.prrelid::bigint, p.pubowner::bigint,
       concat_ws(' ', '(' || (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attname) FROM pg_attribute a
                              WHERE a.attrelid = m.prrelid AND a.attnum = ANY (m.prattrs::int2[])) || ')',
                 'WHERE ' || pg_get_expr(m.prqual, m.prrelid)),
       jsonb_build_object('publication', p.pubname, 'table_owner', c.relowner::bigint)
FROM pg_publication_rel m JOIN pg_publication p ON p.oid = m.prpubid JOIN pg_class c ON c.oid = m.prrelid
WHERE m.oid = ANY (%(oids)s::oid[])
"""

_STATISTICS = """
SELECT s.oid::bigint, 0, 'statistics', ARRAY[n.nspname, s.stxname]::text[], '', s.stxrelid::bigint,
       s.stxowner::bigint, pg_get_statisticsobjdef(s.oid), NULL::jsonb
FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace WHERE s.oid = ANY (%(oids)s::oid[])
"""

_EVENT_TRIGGERS = """
SELECT t.oid::bigint, 0, 'event trigger', quote_ident(t.evtname), '', 0::bigint, t.evtowner::bigint,
       t.evtevent::text, NULL::jsonb
FROM pg_event_trigger t WHERE t.oid = ANY (%(oids)s::oid[])
"""

_OPERATORS = """
SELECT o.oid::bigint, 0, 'operator', quote_ident(n.nspname) || '.' || o.oprname || '('
       || CASE WHEN o.oprleft = 0 THEN 'NONE' ELSE format_type(o.oprleft, NULL) END || ', '
       || format_type(o.oprright, NULL) || ')', '', 0::bigint, o.oprowner::bigint, o.oprcode::regprocedure::text,
       NULL::jsonb
FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace WHERE o.oid = ANY (%(oids)s::oid[])
"""

_CASTS = """
SELECT c.oid::bigint, 0, 'cast', format_type(c.castsource, NULL) || ' AS ' || format_type(c.casttarget, NULL), '',
       0::bigint, coalesce(p.proowner, t.typowner)::bigint, nullif(c.castfunc, 0)::regprocedure::text, NULL::jsonb
FROM pg_cast c JOIN pg_type t ON t.oid = c.castsource LEFT JOIN pg_proc p ON p.oid = c.castfunc
WHERE c.oid = ANY (%(oids)s::oid[])
"""

_SCHEMAS = """
SELECT n.oid::bigint, 0, 'schema', ARRAY[n.nspname]::text[], '', 0::bigint, n.nspowner::bigint, NULL::text, NULL::jsonb
FROM pg_namespace n WHERE n.oid = ANY (%(oids)s::oid[])
"""

#: For kinds that seldom hang on a table: as Postgres itself calls them.
OTHERS = """
SELECT o.oid::bigint, 0, i.type, i.identity, '', 0::bigint, 0::bigint, NULL::text, NULL::jsonb
FROM unnest(%(oids)s::oid[]) AS o (oid), LATERAL pg_identify_object(%(catalog)s::regclass::oid, o.oid, 0) i
"""

DESCRIPTIONS = {
    "pg_class": _RELATIONS, "pg_proc": _FUNCTIONS, "pg_type": _TYPES, "pg_constraint": _CONSTRAINTS,
    "pg_attrdef": _DEFAULTS, "pg_trigger": _TRIGGERS, "pg_rewrite": _RULES, "pg_policy": _POLICIES,
    "pg_publication_rel": _PUBLICATION_TABLES, "pg_statistic_ext": _STATISTICS, "pg_event_trigger": _EVENT_TRIGGERS,
    "pg_operator": _OPERATORS, "pg_cast": _CASTS, "pg_namespace": _SCHEMAS,
}  # fmt: skip
