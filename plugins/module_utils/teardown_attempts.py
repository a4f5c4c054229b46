# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A teardown or its undo in attempts: each is a whole transaction that lets everybody go on when it cannot get a lock.

What a failed attempt had locked is let go entirely: keeping even SHARE ROW EXCLUSIVE across attempts was tried, and
stood in a livelock with sessions that delete accounts.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from ansible_collections.pgops.rollback.plugins.module_utils.driver import pg_errors, psycopg2, sql
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError, server_message
from ansible_collections.pgops.rollback.plugins.module_utils.locks import (
    LONGEST_PAUSE,
    NO_WRITERS,
    NOBODY,
    LockNotObtainedError,
    Session,
    gave_up,
)
from ansible_collections.pgops.rollback.plugins.module_utils.table_content import measuring_settings

#: With the pauses between them about 45 seconds: longer than most transactions of an application.
ATTEMPTS = 20

#: Of the lock timeout, what acting may wait at most, and what is worth trying at all. The rest is for the proofs, while
#: which others wait for us.
_SHARE_OF_WAITING = 0.8
_LEAST_SHARE = 0.2

#: Seconds, for who was let go on to be done.
_SHORT_PAUSE = 0.1

# What is noted as committed in the bundle has to outlast a crash of a server that is set up to lose the last moments.
_LASTING = """
SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'
"""

# Whoever waits for a lock of ours, and whoever waits for them.
_BEHIND_US = """
WITH RECURSIVE waiting (pid, blocked_by) AS MATERIALIZED (
    SELECT l.pid, pg_blocking_pids(l.pid) FROM pg_locks l WHERE NOT l.granted
), behind (pid) AS (
    SELECT pid FROM waiting WHERE pg_backend_pid() = ANY (blocked_by)
    UNION
    SELECT w.pid FROM behind b JOIN waiting w ON b.pid = ANY (w.blocked_by)
)
SELECT count(*) FROM behind b JOIN pg_locks l ON l.pid = b.pid
WHERE l.granted AND l.locktype = 'relation' AND l.relation = ANY (%s::oid[])
  AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
"""

Outcome = TypeVar("Outcome")

#: What to try again: a lock not obtained, a statement that took too long while it waited, a deadlock.
AGAIN: tuple[type[Exception], ...] = (
    (pg_errors.LockNotAvailable, pg_errors.QueryCanceled, pg_errors.DeadlockDetected) if pg_errors else ()
)


def in_attempts(
    connection: Any,
    lock_timeout_ms: int,
    tables: list[tuple[str, str]],
    relations: list[int],
    work: Callable[[Any], Outcome],
) -> tuple[Outcome, int]:
    """Call ``work`` in transactions of its own until one of them got all its locks, and commit that one.

    :param connection: in autocommit mode.
    :param lock_timeout_ms: how long all locks of an attempt together may be waited for.
    :param tables: that nobody else may write to meanwhile, as (schema, name).
    :param relations: OIDs of what the work locks, to name whoever stands in the way in the end.
    :param work: gets a cursor; it raises LockNotObtainedError, or lets Acting raise it, for another attempt.
    :returns: what it returned, and the number of attempts.
    :raises RollbackError: ``lock_timeout``, and those of ``work``. Nothing has happened then.
    """
    session = Session(connection, lock_timeout_ms)
    for number in range(1, ATTEMPTS + 1):
        try:
            session.begin([(NO_WRITERS, tables)] if tables else [])
            session.cursor.execute(sql.SQL("; ").join([*measuring_settings(connection), sql.SQL(_LASTING)]))
            outcome = work(session.cursor)
            session.commit()
        except LockNotObtainedError as error:
            _roll_back(session)
            longest = _SHORT_PAUSE if isinstance(error, SomebodyWaitsError) else LONGEST_PAUSE
            if number < ATTEMPTS:
                time.sleep(min(longest, 0.1 * 2**number) * random.uniform(0.5, 1.5))
        except BaseException:
            _roll_back(session)
            raise
        else:
            return outcome, number
    raise RollbackError(
        "lock_timeout", gave_up(session, relations, NOBODY, ATTEMPTS), "Nothing was changed by any of the attempts."
    )


def require_no_ring(cursor: Any, relations: Iterable[int]) -> None:
    """Nobody who waits for us has locked what we are about to wait for.

    They began to wait before us: the server would look for the deadlock in their session first, and end their
    transaction. Whoever begins to wait from now on outlasts the lock timeout.

    :param relations: OIDs of what is about to be locked.
    :raises LockNotObtainedError: for another attempt, when they are done.
    """
    cursor.execute(_BEHIND_US, (sorted(relations),))
    if cursor.fetchone()[0]:
        raise SomebodyWaitsError


class SomebodyWaitsError(LockNotObtainedError):
    """They are let go on, and are done at once: the next attempt need not wait until they come again."""


@contextmanager
def refused(cursor: Any, code: str, doing: str) -> Iterator[None]:
    """What the server will not do, event triggers among it, in words.

    :raises RollbackError: of this code.
    """
    try:
        yield
    except psycopg2.Error as error:
        if cursor.connection.closed:
            raise
        raise RollbackError(
            code,
            f"The server refused to {doing}: {server_message(error)}.",
            "Remove what it names, or let its owner decide (an event trigger can refuse, too); nothing was done.",
        ) from error


class Acting:
    """Runs statements that lock what others use, within one time limit for all of them.

    :param proofs: seconds that the proofs will take, before the commit lets everybody go on.
    :ivar begun: when the first of them was sent, of time.monotonic().
    """

    def __init__(self, cursor: Any, lock_timeout_ms: int, proofs: float = 0.0) -> None:
        self.begun = time.monotonic()
        self._cursor = cursor
        timeout = lock_timeout_ms / 1000
        self._until = self.begun + min(
            timeout * _SHARE_OF_WAITING, max(timeout * _LEAST_SHARE, timeout - proofs)
        )

    def run(self, statement: Any) -> None:
        """:raises LockNotObtainedError: when the time is over, or a lock was not to be had."""
        try:
            self._cursor.execute(sql.SQL("{}; {}").format(self._limits(), statement))
        except AGAIN as error:
            raise LockNotObtainedError from error

    def copy(self, statement: Any, file: Any) -> None:
        """COPY, from or to the file.

        :raises LockNotObtainedError: as run() does.
        """
        try:
            self._cursor.execute(self._limits())
            self._cursor.copy_expert(statement, file)
        except AGAIN as error:
            raise LockNotObtainedError from error

    def end(self) -> None:
        """What follows waits for nobody."""
        self._cursor.execute("SET LOCAL statement_timeout = 0")

    def _limits(self) -> Any:
        left = sql.Literal(max(1, int((self._until - time.monotonic()) * 1000)))
        return sql.SQL("SET LOCAL lock_timeout = {}; SET LOCAL statement_timeout = {}").format(left, left)


def _roll_back(session: Session) -> None:
    if not session.lost():
        session.rollback()
