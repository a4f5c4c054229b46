# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A live database, the session beside it from which another one can take its name, and who is connected."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.catalog_object import canonical
from ansible_collections.pgops.rollback.plugins.module_utils.confirmation import token_for
from ansible_collections.pgops.rollback.plugins.module_utils.connection import ServerInfo, connect, server_info
from ansible_collections.pgops.rollback.plugins.module_utils.database_properties import Properties, read_properties
from ansible_collections.pgops.rollback.plugins.module_utils.driver import pg_errors
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError, certain
from ansible_collections.pgops.rollback.plugins.module_utils.restore_marks import Marked, marked_databases

#: Where databases are made and renamed from, if nothing else is said; it cannot be the one that is renamed.
_MAINTENANCE = ("postgres", "template1")

#: What a token says nothing of: traffic must not make it stale.
_NOT_IN_TOKEN = frozenset(
    {"token", "rows", "sessions", "time", "disk", "blockers", "warnings", "nothing_to_do", "note", "bytes"}
)

#: Of the advisory lock that a run holds for its database.
_LOCK = "pgops.rollback.restore"
#: How long one that was killed may take to let go of it.
_LOCK_TIMEOUT = "10s"
_TAKE_LOCK = "SELECT pg_catalog.pg_advisory_lock(pg_catalog.hashtext(%s), pg_catalog.hashtext(%s))"

_SESSIONS = """
SELECT coalesce(usename::text, backend_type), application_name, count(*) FROM pg_catalog.pg_stat_activity
WHERE datid = %s AND application_name <> 'pgops.rollback' GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2
"""


@dataclass(frozen=True)
class Live:
    """The database that is to be replaced.

    :ivar login: connection options of the live database.
    :ivar session: in another database, in autocommit mode.
    :ivar server: as the session sees it.
    """

    login: dict[str, Any]
    session: Any
    server: ServerInfo
    properties: Properties

    @property
    def name(self) -> str:
        return self.properties.name

    def beside(self) -> Any:
        """Another session like it.

        :raises RollbackError: those of connect().
        """
        return connect({**self.login, "login_db": self.session.info.dbname})

    def marked(self) -> list[Marked]:
        """What restores have made and set aside, the newest first."""
        with self.session.cursor() as cursor:
            return marked_databases(cursor, self.name, self.properties.oid, self.properties.owner)

    def sessions(self) -> list[dict[str, Any]]:
        with self.session.cursor() as cursor:
            cursor.execute(_SESSIONS, (self.properties.oid,))
            names = ("user", "application", "sessions")
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """No other run restores this database meanwhile, as long as it works from the same database.

        :raises RollbackError: ``restore_running``.
        """
        with self.session.cursor() as cursor:
            cursor.execute("SELECT pg_catalog.set_config('lock_timeout', %s, false)", (_LOCK_TIMEOUT,))
            try:
                cursor.execute(_TAKE_LOCK, (_LOCK, str(self.properties.oid)))
            except pg_errors.LockNotAvailable as error:
                raise RollbackError(
                    "restore_running",
                    f"Another run is restoring, undoing or purging {self.name} already.",
                    "Wait until it has ended, or end it; nothing was done.",
                ) from error
            try:
                cursor.execute("SET lock_timeout = 0")
                yield
            finally:
                if not self.session.closed:
                    cursor.execute("SELECT pg_catalog.pg_advisory_unlock_all()")


@contextmanager
def live_database(login: dict[str, Any], database: str, maintenance: str | None) -> Iterator[Live]:
    """:param database: the live one's name, as the server says it.
    :param maintenance: the other database to work from; None for postgres or template1.
    :raises RollbackError: ``maintenance_unreachable``, ``pooler``, ``database_changed``.
    """
    session = _maintenance_session(login, database, maintenance)
    try:
        server = server_info(session)
        if server.through_pooler:
            raise RollbackError(
                "pooler",
                "A transaction-mode pooler answers, and no database is renamed through one.",
                "Point rollback_login_host and rollback_login_port at the server itself; nothing was done.",
            )
        with session.cursor() as cursor:
            properties = read_properties(cursor, server, database)
        if properties is None:
            raise RollbackError(
                "database_changed",
                f"There is no database {database} any more: somebody has renamed or dropped it meanwhile.",
                "Find out who, then plan again; nothing was done.",
            )
        yield Live({**login, "login_db": database}, session, server, properties)
    finally:
        session.close()


def _maintenance_session(login: dict[str, Any], database: str, maintenance: str | None) -> Any:
    if maintenance == database:
        raise RollbackError(
            "maintenance_unreachable",
            f"database_restore_maintenance_db is {database}, the very database that is to be renamed.",
            "Name another one that this role may connect to; nothing was done.",
        )
    error: RollbackError | None = None
    for name in (maintenance,) if maintenance else _MAINTENANCE:
        if name == database:
            continue
        try:
            return connect({**login, "login_db": name})
        except RollbackError as failed:
            error = error or failed
    raise RollbackError(
        "maintenance_unreachable",
        f"No database can be renamed from within, and there is no other one to work from: {certain(error).message}",
        "Set database_restore_maintenance_db to one that this role may connect to; nothing was done.",
    ) from error


def with_token(plan: dict[str, Any]) -> dict[str, Any]:
    """The plan with what confirms it: the same as long as the same would be done."""
    return {"token": token_for(canonical(_stable(plan))), **plan}


def _stable(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _stable(each) for name, each in value.items() if name not in _NOT_IN_TOKEN}
    return [_stable(each) for each in value] if isinstance(value, list) else value
