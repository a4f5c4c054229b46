# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a database is beside its content: how it was made, and what is set for it as a whole. No dump of one database
holds that, so a database that is to take another one's place has to be given it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.connection import ServerInfo
from ansible_collections.pgops.rollback.plugins.module_utils.driver import sql
from ansible_collections.pgops.rollback.plugins.module_utils.names import quote_name

#: Settings whose value is a list of names, which has to be stored as it is (guc_tables.c, GUC_LIST_QUOTE).
_LISTS = frozenset({"local_preload_libraries", "search_path", "session_preload_libraries", "temp_tablespaces"})

_PROVIDERS = {"c": "libc", "i": "icu", "b": "builtin"}

_DATABASE = """
SELECT d.oid::bigint, d.datname::text, r.rolname::text, pg_catalog.pg_encoding_to_char(d.encoding)::text,
       d.datcollate, d.datctype, d.datlocprovider::text, {locale}, {rules}, t.spcname::text, d.datconnlimit,
       d.datistemplate, pg_catalog.shobj_description(d.oid, 'pg_database')
FROM pg_catalog.pg_database d
JOIN pg_catalog.pg_roles r ON r.oid = d.datdba JOIN pg_catalog.pg_tablespace t ON t.oid = d.dattablespace
WHERE d.datname = %s
"""
_ACL = """
SELECT CASE a.grantee WHEN 0 THEN '' ELSE pg_catalog.pg_get_userbyid(a.grantee)::text END, a.privilege_type,
       a.is_grantable, pg_catalog.pg_get_userbyid(a.grantor)::text
FROM pg_catalog.pg_database d,
     pg_catalog.aclexplode(coalesce(d.datacl, pg_catalog.acldefault('d', d.datdba))) a
WHERE d.oid = %s ORDER BY 1, 2, 3, 4
"""
_SETTINGS = """
SELECT coalesce(r.rolname::text, ''), pg_catalog.split_part(c.text, '=', 1),
       pg_catalog.substr(c.text, pg_catalog.strpos(c.text, '=') + 1)
FROM pg_catalog.pg_db_role_setting s LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole,
     pg_catalog.unnest(s.setconfig) WITH ORDINALITY AS c (text, place)
WHERE s.setdatabase = %s ORDER BY 1, c.place
"""
_LABELS = """
SELECT count(*) FROM pg_catalog.pg_shseclabel WHERE classoid = 'pg_catalog.pg_database'::regclass AND objoid = %s
"""
_SLOTS = "SELECT slot_name::text FROM pg_catalog.pg_replication_slots WHERE datoid = %s AND NOT temporary ORDER BY 1"
_SUBSCRIPTIONS = """
SELECT subname::text FROM pg_catalog.pg_subscription WHERE subdbid = %s ORDER BY 1
"""
_MAY_SET = """
SELECT context NOT IN ('superuser', 'superuser-backend')
       OR pg_catalog.has_parameter_privilege(name, 'SET') FROM pg_catalog.pg_settings WHERE name = %s
"""
_TEMPLATE_TABLESPACE = """
SELECT t.spcname::text FROM pg_catalog.pg_database d JOIN pg_catalog.pg_tablespace t ON t.oid = d.dattablespace
WHERE d.datname = 'template0'
"""
_IS_SUPERUSER = "SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user"


@dataclass(frozen=True)
class Grant:
    """:ivar grantee: a role; empty for everybody."""

    grantee: str
    privilege: str
    grantable: bool
    grantor: str


@dataclass(frozen=True)
class Setting:
    """:ivar role: for whose sessions; empty for everybody's."""

    role: str
    name: str
    value: str

    @property
    def text(self) -> str:
        return f"{self.name} of {self.role}" if self.role else self.name


@dataclass(frozen=True)
class Properties:
    """Of one database.

    :ivar provider: of its collation, a key of _PROVIDERS; ``locale`` and ``rules`` are its, None for libc.
    :ivar grants: the owner's own among them.
    :ivar slots: logical replication slots that read it; ``subscriptions`` write to it.
    """

    oid: int
    name: str
    owner: str
    encoding: str
    collate: str
    ctype: str
    provider: str
    locale: str | None
    rules: str | None
    tablespace: str
    connection_limit: int
    is_template: bool
    comment: str | None
    grants: tuple[Grant, ...]
    settings: tuple[Setting, ...]
    labels: int
    slots: tuple[str, ...]
    subscriptions: tuple[str, ...]

    def lacks(self, other: Properties, beyond: list[Setting]) -> list[str]:
        """What carry_over() has not given it of the other one's, in words.

        :param beyond: settings of the other one that could not be given.
        """
        wanted = [each for each in other.settings if each not in beyond]
        pairs = {
            "the owner": (self.owner, other.owner),
            "the limit of connections": (self.connection_limit, other.connection_limit),
            "the privileges": (self._privileges, other._privileges),
            "the settings": (list(self.settings), wanted),
        }
        return [what for what, (mine, others) in pairs.items() if mine != others]

    @property
    def _privileges(self) -> set[tuple[str, str, bool]]:
        return {(each.grantee, each.privilege, each.grantable) for each in self.grants}


def read_properties(cursor: Any, server: ServerInfo, name: str) -> Properties | None:
    """None when there is no such database.

    :param cursor: of a session in any database of the cluster.
    """
    query = _DATABASE.format(
        locale="d.datlocale" if server.major >= 17 else "d.daticulocale",
        rules="d.daticurules" if server.major >= 16 else "NULL",
    )
    cursor.execute(query, (name,))
    found = cursor.fetchone()
    if found is None:
        return None
    oid = found[0]
    cursor.execute(_ACL, (oid,))
    grants = tuple(Grant(*row) for row in cursor.fetchall())
    cursor.execute(_SETTINGS, (oid,))
    settings = tuple(Setting(*row) for row in cursor.fetchall())
    cursor.execute(_LABELS, (oid,))
    labels = cursor.fetchone()[0]
    cursor.execute(_SLOTS, (oid,))
    slots = tuple(each for (each,) in cursor.fetchall())
    cursor.execute(_SUBSCRIPTIONS, (oid,))
    subscriptions = tuple(each for (each,) in cursor.fetchall())
    return Properties(*[*found, grants, settings, labels, slots, subscriptions])


def create_like(cursor: Any, properties: Properties, name: str) -> None:
    """An empty database of this name that only its owner may connect to, until carry_over().

    :raises psycopg2.Error: when it cannot be made.
    """
    options = [
        sql.SQL("OWNER {}").format(sql.Identifier(properties.owner)),
        sql.SQL("TEMPLATE template0"),
        sql.SQL("ENCODING {}").format(sql.Literal(properties.encoding)),
        sql.SQL("LOCALE_PROVIDER {}").format(sql.SQL(_PROVIDERS[properties.provider])),
        sql.SQL("LC_COLLATE {}").format(sql.Literal(properties.collate)),
        sql.SQL("LC_CTYPE {}").format(sql.Literal(properties.ctype)),
    ]
    cursor.execute(_TEMPLATE_TABLESPACE)
    if cursor.fetchone() != (properties.tablespace,):
        # Whoever names it needs a privilege on it, even if it is the template's.
        options.append(sql.SQL("TABLESPACE {}").format(sql.Identifier(properties.tablespace)))
    if properties.locale is not None:
        word = "ICU_LOCALE" if properties.provider == "i" else "BUILTIN_LOCALE"
        options.append(sql.SQL("{} {}").format(sql.SQL(word), sql.Literal(properties.locale)))
    if properties.rules is not None:
        options.append(sql.SQL("ICU_RULES {}").format(sql.Literal(properties.rules)))
    target = sql.Identifier(name)
    cursor.execute(sql.SQL("CREATE DATABASE {} {}").format(target, sql.SQL(" ").join(options)))
    cursor.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(target))


def carry_over(cursor: Any, properties: Properties, given: Properties) -> None:
    """Give another database what this one has, in one transaction, so far as this role may.

    :param given: the other one's.
    :raises psycopg2.Error: when it cannot be given.
    """
    target = sql.Identifier(given.name)
    cursor.execute("BEGIN")
    try:
        cursor.execute(
            sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(target, sql.Literal(properties.connection_limit))
        )
        _grant(cursor, properties, target)
        beyond = set(settings_beyond(cursor, properties))
        for role in {"", *(each.role for each in given.settings)}:
            cursor.execute(sql.SQL("ALTER {} RESET ALL").format(_whose(target, role)))
        for setting in properties.settings:
            if setting not in beyond:
                _set(cursor, target, setting)
        cursor.execute("COMMIT")
    finally:
        if not cursor.connection.closed and cursor.connection.info.transaction_status:
            cursor.execute("ROLLBACK")


def settings_beyond(cursor: Any, properties: Properties) -> list[Setting]:
    """Settings of the database that this role may not set."""
    cursor.execute(_IS_SUPERUSER)
    if cursor.fetchone()[0]:
        return []
    cursor.execute("SELECT current_user::text")
    user = cursor.fetchone()[0]
    beyond = []
    for setting in properties.settings:
        cursor.execute(_MAY_SET, (setting.name,))
        may = cursor.fetchone() or (True,)  # one that an application made up
        if not may[0] or setting.role not in ("", user):
            beyond.append(setting)
    return beyond


def not_carried_over(cursor: Any, properties: Properties) -> list[str]:
    """What another database does not get of this one, a sentence each, in a fixed order."""
    found = [
        f"The setting {setting.text}: this role may not set it." for setting in settings_beyond(cursor, properties)
    ]
    others = sorted({each.grantor for each in properties.grants} - {properties.owner})
    if others:
        found.append(f"Who granted privileges on the database ({', '.join(others)}): the owner grants them now.")
    if properties.is_template:
        found.append("That it is a template for others.")
    if properties.labels:
        found.append("The security labels of the database itself.")
    found += [
        f"The replication slot {quote_name(slot)}: it goes on reading the old database, and has to be made anew."
        for slot in properties.slots
    ]
    found += [
        f"The subscription {quote_name(name)}: it goes on writing to the old database, and has to be made anew."
        for name in properties.subscriptions
    ]
    return found


def _grant(cursor: Any, properties: Properties, target: Any) -> None:
    for grantee in ("", properties.owner):
        cursor.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM {}").format(target, _grantee(grantee)))
    for each in properties.grants:
        cursor.execute(
            sql.SQL("GRANT {} ON DATABASE {} TO {}{}").format(
                sql.SQL(each.privilege), target, _grantee(each.grantee),
                sql.SQL(" WITH GRANT OPTION" if each.grantable and each.grantee != properties.owner else ""),
            )
        )  # fmt: skip


def _grantee(name: str) -> Any:
    return sql.Identifier(name) if name else sql.SQL("PUBLIC")


def _whose(target: Any, role: str) -> Any:
    if role:
        return sql.SQL("ROLE {} IN DATABASE {}").format(sql.Identifier(role), target)
    return sql.SQL("DATABASE {}").format(target)


def _set(cursor: Any, target: Any, setting: Setting) -> None:
    whose = _whose(target, setting.role)
    name = sql.Identifier(*setting.name.split("."))
    if setting.name in _LISTS:
        # As it is stored: written as a literal the list would become one name.
        cursor.execute("SELECT pg_catalog.set_config(%s, %s, true)", (setting.name, setting.value))
        cursor.execute(sql.SQL("ALTER {} SET {} FROM CURRENT").format(whose, name))
    else:
        cursor.execute(sql.SQL("ALTER {} SET {} TO {}").format(whose, name, sql.Literal(setting.value)))
