# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Putting one database in another one's place, by renaming both in one transaction.

Whoever asks for the live name meanwhile waits for the lock and comes to the new one; at no moment, whatever is killed,
does the name stand for anything else than the one or the other. Sessions that are ended first come back before the
rename gets its lock, which was tried; so they are ended while it waits.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.driver import pg_errors, sql
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError, server_message
from ansible_collections.pgops.rollback.plugins.module_utils.restore_marks import set_comment

#: Seconds between two looks at who is still connected.
_PAUSE = 0.02

#: The rename itself waits 5 s for sessions to end. Meanwhile nobody can connect, so there are not many attempts.
_ATTEMPTS = 3
#: Milliseconds for the lock on the database, which whoever is connecting holds.
_LOCK_TIMEOUT = 5000

_THERE = "SELECT oid::bigint, datname::text FROM pg_catalog.pg_database WHERE oid = ANY (%s::oid[])"
_CONNECTED = """
SELECT pid, coalesce(usename::text, backend_type) FROM pg_catalog.pg_stat_activity
WHERE datid = ANY (%s::oid[]) AND pid <> pg_catalog.pg_backend_pid() ORDER BY pid
"""


@dataclass(frozen=True)
class Renaming:
    """:ivar oid: of the database; by it is told that the name still stands for the same one.
    :ivar comment: that it gets.
    """

    oid: int
    old: str
    new: str
    comment: str | None


@dataclass(frozen=True)
class Swapped:
    """:ivar seconds: in which nobody could connect, at the most.
    :ivar ended: sessions that were ended for it.
    """

    seconds: float
    ended: int


def swap(first: Renaming, second: Renaming, session: Any, connect: Callable[[], Any]) -> Swapped:
    """Rename both databases, the first one before the second, or neither.

    :param session: in autocommit mode, in a third database.
    :param connect: opens another one like it.
    :raises RollbackError: ``database_changed`` (renamed or gone meanwhile), ``swap_refused`` (a session that does not
        end, a right that is missing). Everything is as it was then.
    """
    helper = connect()
    ended: set[int] = set()
    try:
        for attempt in range(1, _ATTEMPTS + 1):
            renaming = _InThread(session, first, second)
            begun = time.monotonic()
            renaming.start()
            while renaming.is_alive():
                _end_sessions(helper, (first.oid, second.oid), ended)
                renaming.join(_PAUSE)
            if renaming.error is None:
                return Swapped(time.monotonic() - begun, len(ended))
            again = isinstance(renaming.error, (pg_errors.ObjectInUse, pg_errors.LockNotAvailable))
            if attempt == _ATTEMPTS or not again:
                raise _refused(renaming.error, helper, (first.oid, second.oid), first.old)
    finally:
        helper.close()
    raise AssertionError("the last attempt returns or raises")


class _InThread(threading.Thread):
    def __init__(self, session: Any, *renamings: Renaming) -> None:
        super().__init__(daemon=True)
        self._session, self._renamings = session, renamings
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            with self._session.cursor() as cursor:
                cursor.execute(sql.SQL("BEGIN; SET LOCAL lock_timeout = {}; SET LOCAL statement_timeout = 0").format(
                    sql.Literal(_LOCK_TIMEOUT)
                ))  # fmt: skip
                try:
                    _require_there(cursor, self._renamings)
                    for each in self._renamings:
                        cursor.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(
                            sql.Identifier(each.old), sql.Identifier(each.new)
                        ))  # fmt: skip
                    for each in self._renamings:
                        set_comment(cursor, each.new, each.comment)
                    # By now nobody can rename them, so this is as it will be.
                    _require_renamed(cursor, self._renamings)
                    cursor.execute("COMMIT")
                except BaseException:
                    if not self._session.closed:
                        cursor.execute("ROLLBACK")
                    raise
        except Exception as error:
            self.error = error  # raised where the thread is waited for


def _require_there(cursor: Any, renamings: tuple[Renaming, ...]) -> None:
    _require_names(cursor, {each.oid: each.old for each in renamings})


def _require_renamed(cursor: Any, renamings: tuple[Renaming, ...]) -> None:
    _require_names(cursor, {each.oid: each.new for each in renamings})


def _require_names(cursor: Any, expected: dict[int, str]) -> None:
    cursor.execute(_THERE, (list(expected),))
    found = dict(cursor.fetchall())
    for oid, name in expected.items():
        if found.get(oid) != name:
            now = f"is called {found[oid]} now" if oid in found else "is gone"
            raise RollbackError(
                "database_changed",
                f"The database {name} {now}: somebody has renamed or dropped it meanwhile.",
                "Find out who, then plan again; nothing was renamed.",
            )


def _end_sessions(helper: Any, oids: tuple[int, ...], ended: set[int]) -> None:
    with helper.cursor() as cursor:
        cursor.execute(_CONNECTED, (list(oids),))
        for pid, _user in cursor.fetchall():
            try:
                cursor.execute("SELECT pg_catalog.pg_terminate_backend(%s)", (pid,))
                ended.add(pid)
            except pg_errors.InsufficientPrivilege:
                continue  # an autovacuum worker ends for the rename itself; of others it tells when it gives up


def _refused(error: Exception, helper: Any, oids: tuple[int, ...], name: str) -> Exception:
    if isinstance(error, RollbackError) or getattr(error, "pgcode", None) is None:
        return error  # the connection was lost: the caller finds out what came of it
    with helper.cursor() as cursor:
        cursor.execute(_CONNECTED, (list(oids),))
        left = [f"{user} (process {pid})" for pid, user in cursor.fetchall()]
    who = f" Still connected: {', '.join(left[:5])}." if left else ""
    return RollbackError(
        "swap_refused",
        f"The database {name} could not be renamed: {server_message(error)}.{who}",
        "End what is connected, stop what keeps connecting, or let the database's owner run it; then run it again. The"
        " live database is as it was, and what was restored is kept for that run.",
    )
