# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Setting sequences forward, each in one short transaction that either did it or did nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.driver import sql
from ansible_collections.pgops.rollback.plugins.module_utils.locks import NO_WRITERS, Session, gave_up, in_rounds
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_catalog import Sequence
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_state import Assessment, Position, assess
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_values import value_query, whole_number


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


def tables_fed(sequence: Sequence) -> list[tuple[str, str]]:
    """The tables to lock, always in the same order, so that two repairers do not wait for each other in a circle."""
    return sorted({(column.schema, column.table) for column in sequence.compared_columns})


def hold_still(sequence: Sequence) -> Any:
    """An ALTER SEQUENCE that changes nothing: nextval waits until the end of the transaction, so nobody overtakes us.

    LOCK TABLE does not take sequences. CACHE writes the sequence anew, by which other sessions drop the ids that they
    took in advance. Where there are none, a serial's OWNED BY takes the same lock and writes nothing anew, which is a
    third quicker; an identity's sequence refuses it.
    """
    name = sql.Identifier(sequence.schema, sequence.sequence)
    owner = next((column for column in sequence.columns if column.kind == "serial"), None)
    if owner is not None and sequence.cache_size == 1:
        column = sql.Identifier(owner.schema, owner.table, owner.column)
        return sql.SQL("ALTER SEQUENCE {} OWNED BY {}").format(name, column)
    return sql.SQL("ALTER SEQUENCE {} CACHE {}").format(name, sql.Literal(sequence.cache_size))


def assess_locked(cursor: Any, sequence: Sequence) -> Assessment:
    """Judge a sequence in a transaction that holds it and its tables.

    :raises ValueError: with the reason, when it has to be left alone.
    """
    cursor.execute(value_query(cursor, sequence))
    last_value, is_called, extreme, unchanged = cursor.fetchone()
    if not unchanged:
        raise ValueError("It, or a table it feeds, was renamed or replaced meanwhile. Run it again.")
    return assess(sequence, Position(last_value, is_called), whole_number(extreme, sequence.increment))


def set_statement(cursor: Any, sequence: Sequence, position: Position) -> str:
    """The statement that sets a sequence."""
    name = sql.Identifier(sequence.schema, sequence.sequence).as_string(cursor)
    statement = sql.SQL("SELECT pg_catalog.setval({}, {}, {});").format(
        sql.Literal(name), sql.Literal(position.last_value), sql.Literal(position.is_called)
    )
    return str(statement.as_string(cursor))


def repair_all(
    connections: list[Any], lock_timeout_ms: int, chosen: list[tuple[Sequence, Assessment]]
) -> list[tuple[Sequence, Repair]]:
    """Repair those that a lock shows to be behind. The caller chooses which are worth a lock."""
    sessions = [Session(connection, lock_timeout_ms) for connection in connections]
    outcomes = in_rounds(sessions, chosen, _attempt, _give_up)
    return [(sequence, repair) for (sequence, _first), repair in outcomes]


def _attempt(session: Session, work: tuple[Sequence, Assessment]) -> Repair:
    sequence, first = work
    missing = sequence.missing_to_repair
    if missing:
        return Repair("failed", f"Missing privilege: {'; '.join(missing)}.", first)
    return session.guarded(lambda: _repair(session, sequence), lambda reason: Repair("failed", reason, first))


def _repair(session: Session, sequence: Sequence) -> Repair:
    """Lock, read again, set, commit. Only here is a sequence ever set."""
    session.begin([(NO_WRITERS, tables_fed(sequence))], hold_still(sequence))
    before = assess_locked(session.cursor, sequence)
    if before.position is None or before.target is None:
        session.rollback()
        refused = before.state == "exhausted"
        return Repair("refused" if refused else "none", before.message if refused else "", before)
    undo = set_statement(session.cursor, sequence, before.position)
    session.cursor.execute(set_statement(session.cursor, sequence, before.target) + " COMMIT")
    return Repair("reset", "", before, before.target, undo)


def _give_up(session: Session, work: tuple[Sequence, Assessment], attempts: int) -> Repair:
    sequence, first = work
    relations = [sequence.oid, *(column.relation for column in sequence.columns)]
    return Repair("failed", gave_up(session, relations, NO_WRITERS, attempts), first)
