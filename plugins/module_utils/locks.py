# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Short transactions that take locks: bounded, retried, and able to say who stood in the way."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from typing import Any, TypeVar

from ansible_collections.pgops.rollback.plugins.module_utils.connection import ServerInfo
from ansible_collections.pgops.rollback.plugins.module_utils.driver import pg_errors, sql
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_values import SAFE_READS

#: Worth another attempt: lock not available, statement timeout while waiting, deadlock victim. Nothing else is.
LOCK_FAILURES: tuple[type[Exception], ...] = (
    (pg_errors.LockNotAvailable, pg_errors.QueryCanceled, pg_errors.DeadlockDetected) if pg_errors else ()
)

#: Rounds over everything that is still locked, and the longest pause between two of them in seconds.
ROUNDS = 8
LONGEST_PAUSE = 2.0

#: A client that hangs while it holds locks is ended by the server after this long.
IDLE_TIMEOUT = "10s"

_DURATION = re.compile(r"\s*(\d+)\s*(ms|s|min)\s*\Z")
_MILLISECONDS = {"ms": 1, "s": 1000, "min": 60_000}

Work = TypeVar("Work")
Outcome = TypeVar("Outcome")


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
            f"The lock timeout {text!r} is not between 1ms and the server's deadlock_timeout"
            f" ({server.deadlock_timeout_ms}ms).",
            "Give a number with ms or s, for example 500ms; nothing was done.",
        )
    return milliseconds


def begin_and_lock(mode: str, tables: list[tuple[str, str]], lock_timeout_ms: int) -> Any:
    """SQL that opens a transaction and locks tables, in the order given, each within the lock timeout.

    Everything is SET LOCAL, so nothing outlives the transaction in a transaction-mode pooler. LOCK TABLE reaches
    partitions and children, each with a lock_timeout of its own; statement_timeout bounds them together.
    """
    bound = sql.Literal(f"{lock_timeout_ms}ms")
    statements = [
        sql.SQL("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;"),
        sql.SQL(SAFE_READS),
        sql.SQL("SET LOCAL lock_timeout = {}; SET LOCAL statement_timeout = {};").format(bound, bound),
        sql.SQL("SET LOCAL idle_in_transaction_session_timeout = {};").format(sql.Literal(IDLE_TIMEOUT)),
    ]
    if tables:
        names = sql.SQL(", ").join(sql.Identifier(*table) for table in tables)
        statements.append(sql.SQL("LOCK TABLE {} IN {} MODE;").format(names, sql.SQL(mode)))
    statements.append(sql.SQL("SET LOCAL statement_timeout TO DEFAULT;"))
    return sql.SQL(" ").join(statements)


def in_rounds(
    pending: list[Work], attempt: Callable[[Work], Outcome], give_up: Callable[[Work], Outcome]
) -> list[tuple[Work, Outcome]]:
    """Attempt everything; what is locked gets another round after a pause that grows and is jittered, ROUNDS in all.

    Going round, instead of insisting on the first, lets one long transaction delay only its own tables.

    :param attempt: raises one of LOCK_FAILURES when its transaction was rolled back for want of a lock.
    :param give_up: makes the outcome of what was still locked in the last round.
    """
    done: list[tuple[Work, Outcome]] = []
    for round_number in range(ROUNDS):
        locked: list[Work] = []
        for work in pending:
            try:
                done.append((work, attempt(work)))
            except LOCK_FAILURES:
                locked.append(work)
        if not locked:
            return done
        if round_number == ROUNDS - 1:
            return done + [(work, give_up(work)) for work in locked]
        pending = locked
        time.sleep(min(LONGEST_PAUSE, 0.1 * 2**round_number) * random.uniform(0.5, 1.5))
    raise AssertionError("unreachable: the last round returns")


# Modes that stand in the way of SHARE ROW EXCLUSIVE; for ACCESS EXCLUSIVE every mode does.
_CONFLICTS = {
    "SHARE ROW EXCLUSIVE": [
        "RowExclusiveLock",
        "ShareUpdateExclusiveLock",
        "ShareLock",
        "ShareRowExclusiveLock",
        "ExclusiveLock",
        "AccessExclusiveLock",
    ],
    "ACCESS EXCLUSIVE": None,
}

# A prepared transaction has no process; the lock on its own transaction id leads to its name.
_BLOCKERS = """
SELECT DISTINCT l.pid, a.usename, a.application_name, a.state,
       pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - a.xact_start)::int, p.gid
FROM pg_catalog.pg_locks l
LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
LEFT JOIN (pg_catalog.pg_locks x JOIN pg_catalog.pg_prepared_xacts p ON p.transaction = x.transactionid)
       ON l.pid IS NULL AND x.locktype = 'transactionid' AND x.virtualtransaction = l.virtualtransaction
WHERE l.locktype = 'relation' AND l.granted AND l.relation = ANY (%(relations)s::oid[])
  AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
  AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
  AND (%(modes)s::text[] IS NULL OR l.mode = ANY (%(modes)s::text[]))
ORDER BY 1
"""


def blockers(cursor: Any, relations: list[int], mode: str) -> list[str]:
    """Who holds locks on these relations that conflict with the mode, now, in words.

    A role that is not a superuser is shown process id, user and application name only.
    """
    cursor.execute(_BLOCKERS, {"relations": relations, "modes": _CONFLICTS[mode]})
    return [_blocker(*row) for row in cursor.fetchall()]


def gave_up(cursor: Any, relations: list[int], mode: str, lock_timeout_ms: int) -> str:
    """The sentence for a lock that was not obtained in all rounds, with its holders' names."""
    holders = blockers(cursor, relations, mode)
    who = f"It is held by {', '.join(holders)}." if holders else "Its holder is gone by now."
    return (
        f"No lock in {ROUNDS} attempts of {lock_timeout_ms} ms each. {who}"
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
