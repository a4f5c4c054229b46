# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the catalogs are asked about the database itself, the cluster's roles, and privileges on the system's objects.

The form of the statements is that of catalog_relations. Passwords, and how long they are valid, are never read.
"""

from __future__ import annotations

from ansible_collections.pgops.rollback.plugins.module_utils.catalog_object import DATABASE as DATABASE_KIND
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_object import SYSTEM_PRIVILEGES as PRIVILEGES_KIND
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_relations import (
    AS_IT_IS,
    STANDALONE,
    Subject,
    sha256_of,
)

DATABASE = Subject(
    (DATABASE_KIND,),
    "pg_database",
    STANDALONE,
    f"""
SELECT '{DATABASE_KIND}', NULL, d.datname, '', d.oid, 0, pg_get_userbyid(d.datdba),
       coalesce(d.datacl, acldefault('d', d.datdba))::text,
       CASE WHEN d.datconnlimit >= 0 THEN d.datconnlimit END AS connection_limit,
       shobj_description(d.oid, 'pg_database') AS comment
FROM pg_database d WHERE d.datname = current_database()
""",
)

# What a membership grants is told where it is not the usual. Its options are columns of Postgres 16.
ROLES = Subject(
    ("role",),
    "pg_authid",
    STANDALONE,
    """
SELECT 'role', NULL, r.rolname, '', r.oid, 0, NULL, NULL, r.rolsuper AS superuser, r.rolbypassrls AS bypass_rls,
       r.rolcanlogin AS login, r.rolinherit AS inherit, r.rolcreaterole AS create_role, r.rolcreatedb AS create_db,
       r.rolreplication AS replication, CASE WHEN r.rolconnlimit >= 0 THEN r.rolconnlimit END AS connection_limit,
       shobj_description(r.oid, 'pg_authid') AS comment,
       ARRAY (SELECT DISTINCT (g.rolname || coalesce(' WITH ' || nullif(concat_ws(
                  ', ', CASE WHEN m.admin_option THEN 'ADMIN OPTION' END,
                  'INHERIT ' || nullif(to_jsonb(m) ->> 'inherit_option', r.rolinherit::text),
                  'SET ' || nullif(to_jsonb(m) ->> 'set_option', 'true')), ''), '')) COLLATE "C"
              FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = r.oid ORDER BY 1) AS member_of
FROM pg_roles r WHERE r.rolname !~ '^pg_'
""",
)


def settings(kind: str, of_role: str, condition: str) -> str:
    """The query for settings that a database or a role has.

    The value of one that an application made up may be a secret: it is told by its sum.

    :param of_role: SQL of what follows the setting's name.
    """
    return f"""
SELECT '{kind}', NULL, split_part(c, '=', 1) || {of_role}, '', 0, 0, NULL, NULL,
       CASE WHEN g.name IS NOT NULL THEN substr(c, strpos(c, '=') + 1) END AS value,
       CASE WHEN g.name IS NULL THEN {sha256_of("substr(c, strpos(c, '=') + 1)")} END AS value_sha256
FROM pg_db_role_setting s CROSS JOIN unnest(s.setconfig) c
LEFT JOIN pg_roles r ON r.oid = s.setrole
LEFT JOIN pg_settings g ON g.name = split_part(c, '=', 1) AND strpos(g.name, '.') = 0
WHERE {condition}
"""


DATABASE_SETTINGS = Subject(
    ("database setting",),
    "pg_db_role_setting",
    AS_IT_IS,
    settings(
        "database setting", "coalesce(' of role ' || quote_ident(r.rolname), '')",
        "s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())",
    ),
)  # fmt: skip

#: Those that hold in all databases.
ROLE_SETTINGS = Subject(
    ("role setting",),
    "pg_db_role_setting",
    AS_IT_IS,
    settings(
        "role setting", "coalesce(' of role ' || quote_ident(r.rolname), ' of all roles')", "s.setdatabase = 0"
    ),
)


def _system(name: str, source: str, columns: tuple[str, str, str, str], usual: str, condition: str) -> str:
    """The part of SYSTEM_PRIVILEGES about one catalog.

    :param columns: what tell OID, column number, owner and privileges.
    :param usual: what acldefault() calls the kind of object.
    """
    oid, number, owner, acl = columns
    now, then = (f"coalesce({each}, acldefault({usual}, {owner}))" for each in (acl, "i.initprivs"))
    first, second = (f"ARRAY (SELECT a::text FROM unnest({each}) a ORDER BY 1)" for each in (now, then))
    return f"""
SELECT '{PRIVILEGES_KIND}', NULL, 'on ' || {name}, '', NULL::oid, 0, pg_get_userbyid({owner}), {now}::text,
       {then}::text AS _initially
FROM {source} LEFT JOIN pg_init_privs i
  ON i.objoid = {oid} AND i.classoid = '{source.split(maxsplit=1)[0]}'::regclass AND i.objsubid = {number}
WHERE {oid} < 16384 AND {acl} IS DISTINCT FROM i.initprivs AND {first} <> {second} AND {condition}
"""


_NAMED = "quote_ident(n.nspname) || '.' || quote_ident({})"
_KIND_OF_RELATION = "CASE c.relkind WHEN 'v' THEN 'view ' WHEN 'S' THEN 'sequence ' ELSE 'table ' END"
_FUNCTION = f"""'function ' || {_NAMED.format("p.proname")} || '(' || array_to_string(ARRAY (
    SELECT format_type(a.type, NULL) FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY AS a (type, place)
    ORDER BY a.place), ', ') || ')'"""

# Only where they are not what pg_init_privs says, which knows all but what initdb's last scripts granted.
SYSTEM_PRIVILEGES = Subject(
    (PRIVILEGES_KIND,),
    "pg_init_privs",
    AS_IT_IS,
    " UNION ALL ".join((
        _system(f"{_KIND_OF_RELATION} || {_NAMED.format('c.relname')}",
                "pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace",
                ("c.oid", "0", "c.relowner", "c.relacl"),
                """(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END)::"char\"""", "c.relkind IN ('r', 'v', 'S')"),
        _system(f"'column ' || {_NAMED.format('c.relname')} || '.' || quote_ident(b.attname)",
                "pg_attribute b JOIN pg_class c ON c.oid = b.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace",
                ("b.attrelid", "b.attnum", "c.relowner", "b.attacl"), "'c'", "b.attnum > 0"),
        _system(_FUNCTION, "pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace",
                ("p.oid", "0", "p.proowner", "p.proacl"), "'f'", "true"),
        _system(f"'type ' || {_NAMED.format('t.typname')}", "pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace",
                ("t.oid", "0", "t.typowner", "t.typacl"), "'T'", "true"),
        _system("'schema ' || quote_ident(n.nspname)", "pg_namespace n",
                ("n.oid", "0", "n.nspowner", "n.nspacl"), "'n'", "n.nspname <> 'public'"),
        _system("'language ' || quote_ident(l.lanname)", "pg_language l",
                ("l.oid", "0", "l.lanowner", "l.lanacl"), "'l'", "l.lanname <> 'plpgsql'"),
    )),
)  # fmt: skip

CLUSTER_SUBJECTS = (DATABASE, ROLES, DATABASE_SETTINGS, ROLE_SETTINGS, SYSTEM_PRIVILEGES)
