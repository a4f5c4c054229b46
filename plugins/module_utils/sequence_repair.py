# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Setting sequences forward, each in one short transaction that either did it or did nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.driver import psycopg2, sql
from ansible_collections.pgops.rollback.plugins.module_utils.errors import server_message
from ansible_collections.pgops.rollback.plugins.module_utils.locks import (
    LOCK_FAILURES,
    begin_and_lock,
    gave_up,
    in_rounds,
)
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_catalog import Sequence
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_state import (
    Assessment,
    Position,
    assess,
    missing_privileges,
)
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_values import value_query, whole_number

#: Excludes writers and a second repairer, lets readers and pg_dump go on. SHARE would not exclude another repairer.
LOCK_MODE = "SHARE ROW EXCLUSIVE"


@dataclass
class Repair:
    """What happened to a sequence.

    :ivar action: ``none``, ``reset``, ``would_reset``, ``refused`` (no repair is possible) or ``failed``.
    :ivar message: the reason; empty where nothing had to be done.
    :ivar before: the assessment under the lock, or the first one where nothing was locked.
    :ivar after: where it was set, None where it was not.
    :ivar undo: the statement that puts it back where it was.
    """

    action: str
    message: str
    before: Assessment
    after: Position | None = None
    undo: str | None = None


def set_forward(cursor: Any, sequence: Sequence, target: Position) -> Any:
    """SQL that sets a sequence to the target, inside a transaction that holds the tables it feeds.

    It returns a row, or none if the sequence has passed the target meanwhile: it is never lowered.
    """
    name = sql.Identifier(sequence.schema, sequence.sequence)
    statement = sql.SQL(
        "{hold} SELECT pg_catalog.setval({text}::pg_catalog.regclass, {target}, true)"
        " FROM {name} WHERE last_value {not_beyond} {target}"
    )
    # The owner's ALTER changes nothing and is worth a lot: nextval waits until we commit, so nobody overtakes us;
    # setval becomes transactional; and sessions drop the ids they took in advance (CACHE).
    hold = sql.SQL("ALTER SEQUENCE {} CACHE {};").format(name, sql.Literal(sequence.cache_size))
    return statement.format(
        hold=hold if sequence.owned_by_us else sql.SQL(""),
        text=sql.Literal(name.as_string(cursor)),
        target=sql.Literal(target.last_value),
        name=name,
        not_beyond=sql.SQL("<=" if sequence.increment > 0 else ">="),
    )


def undo_statement(cursor: Any, sequence: Sequence, before: Position) -> str:
    """The statement that puts a sequence back where it was."""
    return (
        sql.SQL("SELECT pg_catalog.setval({}, {}, {});")
        .format(
            sql.Literal(sql.Identifier(sequence.schema, sequence.sequence).as_string(cursor)),
            sql.Literal(before.last_value),
            sql.Literal(before.is_called),
        )
        .as_string(cursor)
    )


class SequenceRepairer:
    """Repairs sequences over one connection in autocommit mode.

    :param lock_timeout_ms: how long an attempt waits for each lock.
    """

    def __init__(self, connection: Any, lock_timeout_ms: int) -> None:
        self._connection = connection
        self._cursor = connection.cursor()
        self._lock_timeout_ms = lock_timeout_ms

    def repair_all(self, surveyed: list[tuple[Sequence, Assessment]]) -> list[tuple[Sequence, Repair]]:
        """Repair those that a lock shows to be behind. The caller chooses which are worth a lock."""
        outcomes = in_rounds(
            surveyed, lambda work: self._attempt(*work), lambda work: self._give_up(*work)
        )
        return [(sequence, repair) for (sequence, _assessment), repair in outcomes]

    def _attempt(self, sequence: Sequence, first: Assessment) -> Repair:
        missing = missing_privileges(sequence, repair=True)
        if missing:
            return Repair("failed", f"Missing privilege: {'; '.join(missing)}.", first)
        if self._connection.closed:
            return Repair("failed", "It was not tried: the connection was lost before.", first)
        try:
            return self._repair(sequence)
        except LOCK_FAILURES:
            self._cursor.execute("ROLLBACK")
            raise
        except ValueError as error:
            self._cursor.execute("ROLLBACK")
            return Repair("failed", str(error), first)
        except psycopg2.Error as error:
            if not self._connection.closed:
                self._cursor.execute("ROLLBACK")
                return Repair("failed", f"The database reported: {server_message(error)}.", first)
            return Repair(
                "failed",
                "The connection was lost while it was repaired: it stands where it stood or where it should."
                " Run it again to see.",
                first,
            )

    def _repair(self, sequence: Sequence) -> Repair:
        """Lock, read again, set, commit: two round trips. Only here is a sequence ever written."""
        tables = sorted({(column.schema, column.table) for column in sequence.compared_columns})
        self._cursor.execute(
            sql.SQL("{} {}").format(begin_and_lock(LOCK_MODE, tables, self._lock_timeout_ms), value_query(sequence))
        )
        last_value, is_called, extreme = self._cursor.fetchone()
        before = assess(sequence, Position(last_value, is_called), whole_number(extreme))
        if before.target is None:
            self._cursor.execute("ROLLBACK")
            action = "refused" if before.state == "exhausted" else "none"
            return Repair(action, before.message if action == "refused" else "", before)
        undo = undo_statement(self._cursor, sequence, Position(last_value, is_called))
        self._cursor.execute(set_forward(self._cursor, sequence, before.target))
        was_set = self._cursor.fetchone() is not None
        self._cursor.execute("COMMIT")
        if not was_set:
            return Repair("none", "", before)
        return Repair("reset", "", before, before.target, undo)

    def _give_up(self, sequence: Sequence, first: Assessment) -> Repair:
        relations = [sequence.oid, *(column.relation for column in sequence.columns)]
        return Repair("failed", gave_up(self._cursor, relations, LOCK_MODE, self._lock_timeout_ms), first)
