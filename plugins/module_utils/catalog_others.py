# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the catalogs are asked about the kinds that migrations seldom touch: operators, casts, foreign data …

The form of the statements is that of catalog_relations. Options of foreign data wrappers, servers and user mappings are
told by their sum, since they may be passwords; how subscriptions connect is never read.
"""

from __future__ import annotations

from ansible_collections.pgops.rollback.plugins.module_utils.catalog_relations import (
    AS_IT_IS,
    MADE_LATER,
    STANDALONE,
    USER_SCHEMA,
    Subject,
    options_sha256,
)

OPERATORS = Subject(
    ("operator",),
    "pg_operator",
    AS_IT_IS,
    f"""
SELECT 'operator', n.nspname, quote_ident(n.nspname) || '.' || o.oprname || '('
       || CASE WHEN o.oprleft = 0 THEN 'NONE' ELSE format_type(o.oprleft, NULL) END || ', '
       || format_type(o.oprright, NULL) || ')', '', o.oid, 0, pg_get_userbyid(o.oprowner), NULL,
       o.oprcode::regprocedure::text AS function, nullif(o.oprcom, 0)::regoperator::text AS commutator,
       nullif(o.oprnegate, 0)::regoperator::text AS negator, nullif(o.oprrest::text, '-') AS restrict,
       nullif(o.oprjoin::text, '-') AS join, CASE WHEN o.oprcanmerge THEN true END AS merges,
       CASE WHEN o.oprcanhash THEN true END AS hashes
FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace WHERE {USER_SCHEMA}
""",
)

OPERATOR_CLASSES = Subject(
    ("operator class", "operator family"),
    "pg_opclass",
    STANDALONE,
    f"""
SELECT 'operator class', n.nspname, o.opcname, ' USING ' || m.amname, o.oid, 0, pg_get_userbyid(o.opcowner), NULL,
       format_type(o.opcintype, NULL) AS type, o.opcdefault AS default,
       format_type(nullif(o.opckeytype, 0), NULL) AS storage,
       quote_ident(fn.nspname) || '.' || quote_ident(f.opfname) AS family, NULL::text[] AS members,
       NULL AS comment
FROM pg_opclass o JOIN pg_namespace n ON n.oid = o.opcnamespace JOIN pg_am m ON m.oid = o.opcmethod
JOIN pg_opfamily f ON f.oid = o.opcfamily JOIN pg_namespace fn ON fn.oid = f.opfnamespace
WHERE {USER_SCHEMA}
UNION ALL
SELECT 'operator family', n.nspname, f.opfname, ' USING ' || m.amname, NULL, 0, pg_get_userbyid(f.opfowner), NULL,
       NULL, NULL, NULL, NULL,
       ARRAY (SELECT member FROM (
              SELECT 'operator ' || a.amopstrategy || ' ' || a.amopopr::regoperator || ' ' || a.amoppurpose::text
                     AS member
              FROM pg_amop a WHERE a.amopfamily = f.oid
              UNION ALL
              SELECT 'function ' || p.amprocnum || ' ' || p.amproc::regprocedure || ' for '
                     || format_type(p.amproclefttype, NULL) || ', ' || format_type(p.amprocrighttype, NULL)
              FROM pg_amproc p WHERE p.amprocfamily = f.oid) m ORDER BY member),
       obj_description(f.oid, 'pg_opfamily')
FROM pg_opfamily f JOIN pg_namespace n ON n.oid = f.opfnamespace JOIN pg_am m ON m.oid = f.opfmethod
WHERE {USER_SCHEMA}
  AND NOT EXISTS (SELECT FROM pg_depend e
                  WHERE e.classid = 'pg_opfamily'::regclass AND e.objid = f.oid AND e.deptype = 'e')
""",
)

CASTS = Subject(
    ("cast",),
    "pg_cast",
    AS_IT_IS,
    f"""
SELECT 'cast', NULL, format_type(c.castsource, NULL) || ' AS ' || format_type(c.casttarget, NULL), '', c.oid, 0, NULL,
       NULL, nullif(c.castfunc, 0)::regprocedure::text AS function,
       CASE c.castcontext WHEN 'i' THEN 'implicit' WHEN 'a' THEN 'assignment' ELSE 'explicit' END AS context,
       CASE c.castmethod WHEN 'f' THEN 'function' WHEN 'i' THEN 'inout' ELSE 'binary' END AS method
FROM pg_cast c WHERE c.{MADE_LATER}
""",
)

# Columns that only some majors have are asked for by way of JSON.
COLLATIONS = Subject(
    ("collation",),
    "pg_collation",
    STANDALONE,
    f"""
SELECT 'collation', n.nspname, c.collname, '', c.oid, 0, pg_get_userbyid(c.collowner), NULL,
       CASE c.collprovider WHEN 'i' THEN 'icu' WHEN 'c' THEN 'libc' WHEN 'b' THEN 'builtin' END AS provider,
       c.collisdeterministic AS deterministic, c.collcollate AS collate, c.collctype AS ctype,
       coalesce(to_jsonb(c) ->> 'colllocale', to_jsonb(c) ->> 'colliculocale') AS locale,
       to_jsonb(c) ->> 'collicurules' AS rules
FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace WHERE {USER_SCHEMA}
""",
)

CONVERSIONS = Subject(
    ("conversion",),
    "pg_conversion",
    STANDALONE,
    f"""
SELECT 'conversion', n.nspname, c.conname, '', c.oid, 0, pg_get_userbyid(c.conowner), NULL,
       pg_encoding_to_char(c.conforencoding) AS source, pg_encoding_to_char(c.contoencoding) AS target,
       c.conproc::regproc::text AS function, c.condefault AS default
FROM pg_conversion c JOIN pg_namespace n ON n.oid = c.connamespace WHERE {USER_SCHEMA}
""",
)

TEXT_SEARCH_CONFIGURATIONS = Subject(
    ("text search configuration",),
    "pg_ts_config",
    STANDALONE,
    f"""
SELECT 'text search configuration', n.nspname, c.cfgname, '', c.oid, 0, pg_get_userbyid(c.cfgowner), NULL,
       (SELECT quote_ident(pn.nspname) || '.' || quote_ident(p.prsname) FROM pg_ts_parser p
        JOIN pg_namespace pn ON pn.oid = p.prsnamespace WHERE p.oid = c.cfgparser) AS parser,
       ARRAY (SELECT (SELECT t.alias FROM ts_token_type(c.cfgparser) t WHERE t.tokid = m.maptokentype) || ' '
                     || m.mapseqno || ' ' || m.mapdict::regdictionary
              FROM pg_ts_config_map m WHERE m.mapcfg = c.oid ORDER BY m.maptokentype, m.mapseqno) AS mappings
FROM pg_ts_config c JOIN pg_namespace n ON n.oid = c.cfgnamespace WHERE {USER_SCHEMA}
""",
)

TEXT_SEARCH_DICTIONARIES = Subject(
    ("text search dictionary",),
    "pg_ts_dict",
    STANDALONE,
    f"""
SELECT 'text search dictionary', n.nspname, d.dictname, '', d.oid, 0, pg_get_userbyid(d.dictowner), NULL,
       quote_ident(tn.nspname) || '.' || quote_ident(t.tmplname) AS template, d.dictinitoption AS options
FROM pg_ts_dict d JOIN pg_namespace n ON n.oid = d.dictnamespace JOIN pg_ts_template t ON t.oid = d.dicttemplate
JOIN pg_namespace tn ON tn.oid = t.tmplnamespace WHERE {USER_SCHEMA}
""",
)

TEXT_SEARCH_PARSERS = Subject(
    ("text search parser",),
    "pg_ts_parser",
    STANDALONE,
    f"""
SELECT 'text search parser', n.nspname, p.prsname, '', p.oid, 0, NULL, NULL,
       ARRAY[p.prsstart::text, p.prstoken::text, p.prsend::text, p.prsheadline::text, p.prslextype::text] AS functions
FROM pg_ts_parser p JOIN pg_namespace n ON n.oid = p.prsnamespace WHERE {USER_SCHEMA}
""",
)

TEXT_SEARCH_TEMPLATES = Subject(
    ("text search template",),
    "pg_ts_template",
    STANDALONE,
    f"""
SELECT 'text search template', n.nspname, t.tmplname, '', t.oid, 0, NULL, NULL,
       ARRAY[t.tmplinit::text, t.tmpllexize::text] AS functions
FROM pg_ts_template t JOIN pg_namespace n ON n.oid = t.tmplnamespace WHERE {USER_SCHEMA}
""",
)

STATISTICS = Subject(
    ("statistics",),
    "pg_statistic_ext",
    STANDALONE,
    f"""
SELECT 'statistics', n.nspname, s.stxname, '', s.oid, 0, pg_get_userbyid(s.stxowner), NULL,
       pg_get_statisticsobjdef(s.oid) AS definition,
       CASE WHEN s.stxstattarget >= 0 THEN s.stxstattarget END AS statistics_target
FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace WHERE {USER_SCHEMA}
""",
)

SUBSCRIPTIONS = Subject(
    ("subscription",),
    "pg_subscription",
    STANDALONE,
    """
SELECT 'subscription', NULL, s.subname, '', s.oid, 0, pg_get_userbyid(s.subowner), NULL
FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid AND d.datname = current_database()
""",
)


def _option_names(options: str) -> str:
    return f"ARRAY (SELECT option_name FROM pg_options_to_table({options}) ORDER BY 1) AS option_names"


FOREIGN_DATA_WRAPPERS = Subject(
    ("foreign data wrapper",),
    "pg_foreign_data_wrapper",
    STANDALONE,
    f"""
SELECT 'foreign data wrapper', NULL, f.fdwname, '', f.oid, 0, pg_get_userbyid(f.fdwowner),
       coalesce(f.fdwacl, acldefault('F', f.fdwowner))::text, nullif(f.fdwhandler, 0)::regprocedure::text AS handler,
       nullif(f.fdwvalidator, 0)::regprocedure::text AS validator,
       {_option_names("f.fdwoptions")}, {options_sha256("f.fdwoptions")} AS options_sha256
FROM pg_foreign_data_wrapper f
""",
)

FOREIGN_SERVERS = Subject(
    ("foreign server",),
    "pg_foreign_server",
    STANDALONE,
    f"""
SELECT 'foreign server', NULL, s.srvname, '', s.oid, 0, pg_get_userbyid(s.srvowner),
       coalesce(s.srvacl, acldefault('S', s.srvowner))::text, f.fdwname AS wrapper, s.srvtype AS type,
       s.srvversion AS version, {_option_names("s.srvoptions")}, {options_sha256("s.srvoptions")} AS options_sha256
FROM pg_foreign_server s JOIN pg_foreign_data_wrapper f ON f.oid = s.srvfdw
""",
)

# The view: the catalog itself is for superusers. It tells of options that a role may not see as if there were none.
USER_MAPPINGS = Subject(
    ("user mapping",),
    "pg_user_mapping",
    AS_IT_IS,
    f"""
SELECT 'user mapping', NULL, 'of ' || quote_ident(m.usename) || ' on ' || quote_ident(m.srvname), '', m.umid, 0,
       NULL, NULL, {_option_names("m.umoptions")}, {options_sha256("m.umoptions")} AS options_sha256,
       NOT (m.umuser <> 0 AND m.usename = current_user
            AND (pg_has_role(s.srvowner, 'USAGE') OR has_server_privilege(m.srvid, 'USAGE'))
            OR m.umuser = 0 AND pg_has_role(s.srvowner, 'USAGE')
            OR (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)) AS _hidden
FROM pg_user_mappings m JOIN pg_foreign_server s ON s.oid = m.srvid
""",
)

# plpgsql is a member of an extension that is there from the start, and is described all the same.
LANGUAGES = Subject(
    ("language",),
    "pg_language",
    STANDALONE,
    f"""
SELECT 'language', NULL, l.lanname, '', CASE WHEN l.lanname <> 'plpgsql' THEN l.oid END, 0,
       pg_get_userbyid(l.lanowner), coalesce(l.lanacl, acldefault('l', l.lanowner))::text, l.lanpltrusted AS trusted,
       nullif(l.lanplcallfoid, 0)::regprocedure::text AS handler, obj_description(l.oid, 'pg_language') AS comment
FROM pg_language l WHERE l.{MADE_LATER} OR l.lanname = 'plpgsql'
""",
)

TRANSFORMS = Subject(
    ("transform",),
    "pg_transform",
    AS_IT_IS,
    """
SELECT 'transform', NULL, 'for ' || format_type(t.trftype, NULL) || ' language ' || quote_ident(l.lanname), '', t.oid,
       0, NULL, NULL, nullif(t.trffromsql, 0)::regprocedure::text AS from_sql,
       nullif(t.trftosql, 0)::regprocedure::text AS to_sql
FROM pg_transform t JOIN pg_language l ON l.oid = t.trflang
""",
)

ACCESS_METHODS = Subject(
    ("access method",),
    "pg_am",
    STANDALONE,
    f"""
SELECT 'access method', NULL, a.amname, '', a.oid, 0, NULL, NULL, a.amhandler::regprocedure::text AS handler
FROM pg_am a WHERE a.{MADE_LATER}
""",
)

SELDOM_CHANGED = (
    OPERATORS, OPERATOR_CLASSES, CASTS, COLLATIONS, CONVERSIONS, TEXT_SEARCH_CONFIGURATIONS, TEXT_SEARCH_DICTIONARIES,
    TEXT_SEARCH_PARSERS, TEXT_SEARCH_TEMPLATES, STATISTICS, SUBSCRIPTIONS, FOREIGN_DATA_WRAPPERS, FOREIGN_SERVERS,
    USER_MAPPINGS, LANGUAGES, TRANSFORMS, ACCESS_METHODS,
)  # fmt: skip
