# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Short transactions that take locks: bounded, retried, and able to say who stood in the way."""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from ansible_collections.pgops.rollback.plugins.module_utils.connection import ServerInfo
from ansible_collections.pgops.rollback.plugins.module_utils.connections import share_out
from ansible_collections.pgops.rollback.plugins.module_utils.driver import pg_errors, psycopg2, sql
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError, server_message

#: Excludes writers and a second repairer, lets readers and pg_dump go on. SHARE would not exclude another repairer.
NO_WRITERS = "SHARE ROW EXCLUSIVE"

#: What ALTER TABLE … SET DEFAULT and ADD IDENTITY take.
NOBODY = "ACCESS EXCLUSIVE"

#: Rounds over everything that is still locked, and the longest pause between two of them in seconds.
ROUNDS = 8
LONGEST_PAUSE = 2.0

#: Seconds spent waiting for locks in vain after which there is no further round.
LONGEST_WAIT = 60.0

#: A client that hangs while it holds locks is ended by the server after this long.
IDLE_TIMEOUT = "10s"

NOT_TRIED = "It was not tried: the connection was lost before."

_DURATION = re.compile(r"\s*(\d+)\s*(ms|s)\s*\Z")
_MILLISECONDS = {"ms": 1, "s": 1000}

Work = TypeVar("Work")
Outcome = TypeVar("Outcome")

#: What to lock: a mode, and tables as (schema, name).
Lock = tuple[str, list[tuple[str, str]]]


class LockNotObtainedError(Exception):
    """Everything was rolled back, and another attempt may succeed."""


class SessionLostError(Exception):
    """The session had ended before anything was begun."""


def parse_lock_timeout(text: str, server: ServerInfo) -> int:
    """A duration such as ``500ms`` or ``2s`` in milliseconds.

    :raises RollbackError: ``lock_timeout_invalid``; zero would mean to wait for ever, and from deadlock_timeout on the
        server might abort the application's session instead of ours.
    """
    match = _DURATION.match(text)
    milliseconds = int(match.group(1)) * _MILLISECONDS[match.group(2)] if match else 0
    if not 0 < milliseconds < server.deadlock_timeout_ms:
        raise RollbackError(
            "lock_timeout_invalid",
            f"The lock timeout {text!r} is not a time with its unit between 1ms and the server's deadlock_timeout"
            f" ({server.deadlock_timeout_ms}ms).",
            "Give a number with ms or s, for example 500ms; nothing was done.",
        )
    return milliseconds


_OPENING = (
    "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL row_security = off;"
    " SET LOCAL idle_in_transaction_session_timeout = {idle};"
    " SET LOCAL lock_timeout = {timeout}; SET LOCAL statement_timeout = {timeout};"
)
# LOCK TABLE waits up to lock_timeout for every partition: statement_timeout bounds them together. What one statement
# took of the time is no longer there for the next.
_REST_OF_TIMEOUT = (
    "SELECT pg_catalog.set_config('statement_timeout', GREATEST(1, {timeout} -"
    " 1000 * pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - pg_catalog.transaction_timestamp())"
    ")::pg_catalog.int4::pg_catalog.text, true);"
)


class Session:
    """A connection in autocommit mode and its short transactions, one at a time.

    :ivar cursor: for what is done between begin and commit.
    :ivar lock_timeout_ms: how long one attempt waits for all its locks together.
    """

    def __init__(self, connection: Any, lock_timeout_ms: int) -> None:
        self._connection = connection
        self.cursor = connection.cursor()
        self.lock_timeout_ms = lock_timeout_ms
        timeout = sql.Literal(lock_timeout_ms)
        opening = sql.SQL(_OPENING).format(idle=sql.Literal(IDLE_TIMEOUT), timeout=timeout)
        # As text: a thousand transactions begin with it.
        self._opening = sql.SQL(opening.as_string(self.cursor))
        self._rest = sql.SQL(sql.SQL(_REST_OF_TIMEOUT).format(timeout=timeout).as_string(self.cursor))

    def lost(self) -> bool:
        return bool(self._connection.closed)

    def begin(self, locks: list[Lock], *then: Any) -> None:
        """Open a transaction, take the locks in the order given, and run more statements that wait for a lock.

        From then on it waits for nobody, so it can neither deadlock with the application nor make it wait much longer
        than the lock timeout. Everything is SET LOCAL: nothing is left behind in a transaction-mode pooler.

        :raises LockNotObtainedError: after a rollback.
        """
        waiting = [
            sql.SQL("LOCK TABLE {} IN {} MODE;").format(
                sql.SQL(", ").join(sql.Identifier(*table) for table in tables), sql.SQL(mode)
            )
            for mode, tables in locks
        ]
        waiting += [sql.SQL("{};").format(statement) for statement in then]
        script = [self._opening, *waiting[:1], *(part for each in waiting[1:] for part in (self._rest, each))]
        script.append(sql.SQL("SET LOCAL statement_timeout TO DEFAULT"))
        try:
            self.cursor.execute(sql.SQL(" ").join(script))
        except (pg_errors.LockNotAvailable, pg_errors.QueryCanceled, pg_errors.DeadlockDetected) as error:
            self.rollback()
            raise LockNotObtainedError from error

    def rollback(self) -> None:
        self.cursor.execute("ROLLBACK")

    def commit(self) -> None:
        self.cursor.execute("COMMIT")

    def guarded(self, action: Callable[[], Outcome], failed: Callable[[str], Outcome]) -> Outcome:
        """Run a transaction; whatever goes wrong in it is rolled back and becomes the reason of a failed outcome.

        :raises LockNotObtainedError: of the action.
        :raises SessionLostError: without having begun.
        """
        if self.lost():
            raise SessionLostError
        try:
            return action()
        except ValueError as error:
            self.rollback()
            return failed(str(error))
        except psycopg2.Error as error:
            if self.lost():
                return failed(
                    "The connection was lost in the middle of it: it is as it was or as it should be."
                    " Run it again to see."
                )
            self.rollback()
            return failed(_reason(error))


def _reason(error: Exception) -> str:
    if isinstance(error, (pg_errors.UndefinedTable, pg_errors.UndefinedColumn, pg_errors.InvalidSchemaName)):
        return "It was dropped or renamed meanwhile. Run it again."
    if isinstance(error, pg_errors.LockNotAvailable):
        return "Another session keeps it locked. Run it again when that session's transaction has ended."
    if isinstance(error, pg_errors.QueryCanceled):
        return (
            f"Reading its data was ended ({server_message(error)}). An index on the column makes it quick; else give"
            " the role a longer statement_timeout."
        )
    return f"The database reported: {server_message(error)}."


def in_rounds(
    sessions: list[Session],
    pending: list[Work],
    attempt: Callable[[Session, Work], Outcome],
    give_up: Callable[[Session, Work, int], Outcome],
) -> list[tuple[Work, Outcome]]:
    """Attempt everything; what is locked gets another round after a pause that grows and is jittered, ROUNDS in all.

    Going round, instead of insisting on the first, lets one long transaction delay only its own tables.

    :param attempt: raises LockNotObtainedError or SessionLostError.
    :param give_up: makes the outcome of what was still locked in the last round, or of what no session was left for;
        it is given the number of attempts.
    """
    done: list[tuple[Work, Outcome]] = []
    waited: list[float] = []
    one_at_a_time = threading.Lock()

    def unless_locked(session: Session, work: Work) -> Work | None:
        begun = time.monotonic()
        try:
            outcome = attempt(session, work)
        except SessionLostError:
            return work
        except LockNotObtainedError:
            waited.append(time.monotonic() - begun)
            return work
        with one_at_a_time:
            done.append((work, outcome))
        return None

    for round_number in range(ROUNDS):
        # What a session that was lost did not do is left to another one in the next round.
        alive = [session for session in sessions if not session.lost()]
        if alive:
            pending = [work for work in share_out(alive, pending, unless_locked) if work is not None]
        if not pending:
            return done
        if not alive or sum(waited) > LONGEST_WAIT:
            break
        if round_number < ROUNDS - 1:
            time.sleep(min(LONGEST_PAUSE, 0.1 * 2**round_number) * random.uniform(0.5, 1.5))
    session = next((session for session in sessions if not session.lost()), sessions[0])
    return done + [(work, give_up(session, work, round_number + 1)) for work in pending]


# Modes that stand in the way of SHARE ROW EXCLUSIVE; for ACCESS EXCLUSIVE every mode does.
_CONFLICTS = {
    NO_WRITERS: [
        "RowExclusiveLock",
        "ShareUpdateExclusiveLock",
        "ShareLock",
        "ShareRowExclusiveLock",
        "ExclusiveLock",
        "AccessExclusiveLock",
    ],
    NOBODY: None,
}

# A prepared transaction has no process; the lock on its own transaction id leads to its name.
_BLOCKERS = """
WITH RECURSIVE family (relation) AS (
    SELECT pg_catalog.unnest(%(relations)s::oid[])
    UNION
    SELECT i.inhrelid FROM family f JOIN pg_catalog.pg_inherits i ON i.inhparent = f.relation
)
SELECT DISTINCT l.pid, a.usename, a.application_name, a.state,
       pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - a.xact_start)::int, p.gid
FROM pg_catalog.pg_locks l
JOIN family f ON f.relation = l.relation
LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
LEFT JOIN (pg_catalog.pg_locks x JOIN pg_catalog.pg_prepared_xacts p ON p.transaction = x.transactionid)
       ON l.pid IS NULL AND x.locktype = 'transactionid' AND x.virtualtransaction = l.virtualtransaction
WHERE l.locktype = 'relation' AND l.granted
  AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
  AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
  AND (%(modes)s::text[] IS NULL OR l.mode = ANY (%(modes)s::text[]))
ORDER BY 1
"""


def gave_up(session: Session, relations: list[int], mode: str, attempts: int) -> str:
    """The sentence for a lock that was not obtained in all rounds, with its holders' names, or for a lost session.

    A role that is not a superuser is shown process id, user and application name only.
    """
    try:
        session.cursor.execute(_BLOCKERS, {"relations": relations, "modes": _CONFLICTS[mode]})
        holders = [_blocker(*row) for row in session.cursor.fetchall()]
    except psycopg2.Error:
        if session.lost():
            return NOT_TRIED
        holders = []
    who = f"It is held by {', '.join(holders)}." if holders else "Its holder is gone by now."
    return (
        f"No lock in {attempts} attempts of {session.lock_timeout_ms} ms each. {who}"
        " Run it again when that transaction has ended; nothing is ended for you."
    )


def _blocker(
    pid: int | None, user: str | None, application: str | None, state: str | None, seconds: int | None, gid: str | None
) -> str:
    if pid is None:
        return f"prepared transaction {gid}"
    details = [f"user {user}" if user else "", application or "", state or ""]
    details.append(f"in its transaction for {seconds} s" if seconds is not None else "")
    return f"process {pid} ({', '.join(detail for detail in details if detail)})"
