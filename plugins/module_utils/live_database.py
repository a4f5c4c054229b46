# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may do what in the live database, which no dump brings along: read there, and given to a restored copy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.catalog_snapshot import Snapshot
from ansible_collections.pgops.rollback.plugins.module_utils.connection import ServerInfo, cluster_identifier
from ansible_collections.pgops.rollback.plugins.module_utils.driver import sql

# The role that is connected, and all that it is a member of.
_ROLES = """
WITH RECURSIVE part (oid) AS (
    SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user
    UNION
    SELECT m.roleid FROM part p JOIN pg_catalog.pg_auth_members m ON m.member = p.oid
)
"""
_ATTRIBUTES = f"""{_ROLES}
SELECT r.rolname::text, r.rolsuper, r.rolinherit, r.rolcreaterole, r.rolcreatedb, r.rolbypassrls, r.rolreplication
FROM pg_catalog.pg_roles r JOIN part p ON p.oid = r.oid ORDER BY 1
"""  # noqa: S608 - of constants
# The options of a membership are columns of Postgres 16.
_MEMBERSHIPS = f"""{_ROLES}
SELECT g.rolname::text, r.rolname::text, bool_or(m.admin_option),
       bool_or(coalesce((pg_catalog.to_jsonb(m) ->> 'inherit_option')::bool, r.rolinherit)),
       bool_or(coalesce((pg_catalog.to_jsonb(m) ->> 'set_option')::bool, true))
FROM pg_catalog.pg_auth_members m JOIN part p ON p.oid = m.member
JOIN pg_catalog.pg_roles g ON g.oid = m.roleid JOIN pg_catalog.pg_roles r ON r.oid = m.member
GROUP BY 1, 2 ORDER BY 1, 2
"""  # noqa: S608 - of constants
_DATABASE = """
SELECT pg_catalog.pg_get_userbyid(d.datdba)::text, d.datacl IS NOT NULL
FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()
"""
_PRIVILEGES = """
SELECT DISTINCT CASE WHEN a.grantee <> 0 THEN pg_catalog.pg_get_userbyid(a.grantee)::text END,
       a.privilege_type, a.is_grantable
FROM pg_catalog.pg_database d, pg_catalog.aclexplode(d.datacl) a
WHERE d.datname = pg_catalog.current_database() ORDER BY 1, 2
"""

#: In the order of _ATTRIBUTES.
_WORDS = ("SUPERUSER", "INHERIT", "CREATEROLE", "CREATEDB", "BYPASSRLS", "REPLICATION")


@dataclass(frozen=True)
class LiveDatabase:
    """What was read of it. There is no way to connect in it.

    :ivar roles: name, and whether it has each of _WORDS, of the connected role and those it is a member of.
    :ivar memberships: group, member, and whether ADMIN, INHERIT and SET.
    :ivar privileges: on the database, as grantee (None for PUBLIC), privilege, grantable; None for the usual ones.
    """

    server: ServerInfo
    system_identifier: str | None
    owner: str
    roles: list[tuple[Any, ...]] = field(default_factory=list)
    memberships: list[tuple[Any, ...]] = field(default_factory=list)
    privileges: list[tuple[str | None, str, bool]] | None = None

    @property
    def name(self) -> str:
        return self.server.database

    @property
    def snapshot(self) -> Snapshot:
        """Which database it is, for Baseline.require_same_database()."""
        return Snapshot(
            self.name, self.system_identifier, self.server.version_num, self.server.user, "", objects={}
        )


def read_live_database(connection: Any, server: ServerInfo) -> LiveDatabase:
    """In one transaction that cannot write.

    :param connection: in autocommit mode.
    """
    with connection.cursor() as cursor:
        cursor.execute("BEGIN READ ONLY")
        try:
            cursor.execute(_DATABASE)
            owner, has_privileges = cursor.fetchone()
            found = []
            for statement in (_ATTRIBUTES, _MEMBERSHIPS, _PRIVILEGES):
                cursor.execute(statement)
                found.append(cursor.fetchall())
            identifier = cluster_identifier(cursor)
        finally:
            if not connection.closed:
                cursor.execute("COMMIT")
    roles, memberships, privileges = found
    return LiveDatabase(server, identifier, owner, roles, memberships, privileges if has_privileges else None)


def play_again(cursor: Any, live: LiveDatabase, database: str, superuser: str) -> None:
    """Give a restored database the live one's name, owner and privileges, and its role that role's rights.

    :param cursor: of a superuser, in another database of the disposable cluster.
    :param database: its name so far; nobody is connected to it.
    :param superuser: of the disposable cluster, which has to stay one.
    """
    grantees = [grantee for grantee, *_more in live.privileges or [] if grantee is not None]
    named = {live.owner, live.server.user, *grantees, *(name for name, *_more in live.roles)}
    cursor.execute("SELECT rolname::text FROM pg_catalog.pg_roles")
    there = {name for (name,) in cursor.fetchall()}
    for role in sorted(each for each in named - there if not each.startswith("pg_")):
        cursor.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))
    for role, *has in live.roles:
        if role != superuser and not role.startswith("pg_"):
            words = [word if given else f"NO{word}" for word, given in zip(_WORDS, has, strict=True)]
            cursor.execute(sql.SQL("ALTER ROLE {} {}").format(sql.Identifier(role), sql.SQL(" ".join(words))))
    cursor.execute(sql.SQL("ALTER ROLE {} LOGIN").format(sql.Identifier(live.server.user)))
    for group, member, *options in live.memberships:
        if group in named | there:  # a server of an earlier release lacks some of the predefined ones
            cursor.execute(_membership(cursor, group, member, options))
    if live.name != database:
        # The server's own, with nothing in it, where the live database is the one of that name.
        cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(live.name)))
        cursor.execute(
            sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(database), sql.Identifier(live.name))
        )
    name = sql.Identifier(live.name)
    cursor.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(name, sql.Identifier(live.owner)))
    if live.privileges is not None:
        owner = sql.Identifier(live.owner)
        cursor.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC, {}").format(name, owner))
        for grantee, privilege, grantable in live.privileges:
            cursor.execute(sql.SQL("GRANT {} ON DATABASE {} TO {}{}").format(
                sql.SQL(privilege), name, sql.SQL("PUBLIC") if grantee is None else sql.Identifier(grantee),
                sql.SQL(" WITH GRANT OPTION" if grantable else ""),
            ))  # fmt: skip


def _membership(cursor: Any, group: str, member: str, options: list[bool]) -> Any:
    admin, inherit, settable = options
    if cursor.connection.server_version >= 160000:
        words = {"ADMIN": admin, "INHERIT": inherit, "SET": settable}
        how = f" WITH {', '.join(f'{word} {str(given).upper()}' for word, given in words.items())}"
    else:
        how = " WITH ADMIN OPTION" if admin else ""
    return sql.SQL("GRANT {} TO {}{}").format(sql.Identifier(group), sql.Identifier(member), sql.SQL(how))
