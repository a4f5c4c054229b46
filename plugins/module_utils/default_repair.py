# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Giving a key column its default or identity back, in one transaction with the right next value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.driver import sql
from ansible_collections.pgops.rollback.plugins.module_utils.locks import (
    NO_WRITERS,
    NOBODY,
    Lock,
    Session,
    gave_up,
    in_rounds,
)
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_catalog import (
    COMPARABLE_TYPES,
    FedColumn,
    KeyWithoutDefault,
    Sequence,
)
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_repair import (
    assess_locked,
    hold_still,
    set_statement,
    tables_fed,
)
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_state import Position
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_values import BEGIN_READING


@dataclass(frozen=True)
class DefaultRepair:
    """What happened to a column.

    :ivar status: ``repaired``, ``would_repair`` or ``failed``.
    :ivar undo: the statements that take it back.
    :ivar before: where its sequence stood; ``after``, where it was set. None where it was not set.
    """

    status: str
    message: str
    undo: str | None = None
    before: Position | None = None
    after: Position | None = None


@dataclass(frozen=True)
class _Plan:
    """What is to be executed, and what is said once it is."""

    statements: list[str]
    repair: DefaultRepair


def repair_defaults(
    connection: Any, lock_timeout_ms: int, keys: list[KeyWithoutDefault], check_mode: bool
) -> list[tuple[KeyWithoutDefault, DefaultRepair]]:
    """Repair the columns, or in check mode find out what repairing them would come to, without a lock."""

    def attempt(session: Session, key: KeyWithoutDefault) -> DefaultRepair:
        missing = _missing(key)
        if missing:
            return DefaultRepair("failed", f"Missing privilege: {'; '.join(missing)}.")
        return session.guarded(
            lambda: _repair(session, key, check_mode), lambda reason: DefaultRepair("failed", reason)
        )

    return in_rounds([Session(connection, lock_timeout_ms)], keys, attempt, _give_up) if keys else []


def _repair(session: Session, key: KeyWithoutDefault, check_mode: bool) -> DefaultRepair:
    fed = _with_column(key.sequence, key) if key.sequence else None
    if check_mode:
        session.cursor.execute(BEGIN_READING)
    else:
        session.begin(_locks(key, fed), *([hold_still(fed)] if fed else []))
    plan = _with_sequence(session.cursor, key, fed) if fed else _with_identity(session.cursor, key)
    if check_mode:
        session.rollback()
        return replace(plan.repair, status="would_repair")
    session.cursor.execute(" ".join([*plan.statements, "COMMIT"]))
    return plan.repair


def _locks(key: KeyWithoutDefault, fed: Sequence | None) -> list[Lock]:
    altered = (key.schema, key.table)
    others = [table for table in tables_fed(fed) if table != altered] if fed else []
    locks: list[Lock] = [(NOBODY, [altered])]
    return [*locks, (NO_WRITERS, others)] if others else locks


def _with_sequence(cursor: Any, key: KeyWithoutDefault, fed: Sequence) -> _Plan:
    """The sequence that still exists, moved beyond the data where it is behind."""
    assessment = assess_locked(cursor, fed)
    if assessment.state in ("exhausted", "unreadable", "cycles"):
        raise ValueError(f"{fed.name} cannot serve it: {assessment.message}")
    name = sql.Identifier(fed.schema, fed.sequence).as_string(cursor)
    default = sql.SQL("SET DEFAULT pg_catalog.nextval({}::pg_catalog.regclass)").format(sql.Literal(name))
    statements, undo = [_alter(cursor, key, default)], [_alter(cursor, key, sql.SQL("DROP DEFAULT"))]
    moved = assessment.target is not None and assessment.position is not None
    if assessment.target is not None and assessment.position is not None:
        statements.append(set_statement(cursor, fed, assessment.target))
        undo.append(set_statement(cursor, fed, assessment.position))
    return _Plan(
        statements,
        DefaultRepair(
            "repaired",
            f"It takes its ids from {fed.name}.",
            " ".join(undo),
            assessment.position if moved else None,
            assessment.target,
        ),
    )


def _with_identity(cursor: Any, key: KeyWithoutDefault) -> _Plan:
    """A new identity that begins after the data. BY DEFAULT, since what gave ids explicitly may still do so."""
    name = sql.Identifier(key.schema, key.table)
    cursor.execute(
        sql.SQL("SELECT pg_catalog.max({}), pg_catalog.to_regclass({})::pg_catalog.oid = {} FROM {}").format(
            sql.Identifier(key.column), sql.Literal(name.as_string(cursor)), sql.Literal(key.relation), name
        )
    )
    highest, unchanged = cursor.fetchone()
    if not unchanged:
        raise ValueError("Its table was renamed or replaced meanwhile. Run it again.")
    start = max((highest or 0) + 1, 1)
    if start > (COMPARABLE_TYPES[key.data_type] or start):
        raise ValueError(f"Its highest value is the last one that {key.data_type} can hold.")
    identity = sql.SQL("ADD GENERATED BY DEFAULT AS IDENTITY (START WITH {})").format(sql.Literal(start))
    return _Plan(
        [_alter(cursor, key, identity)],
        DefaultRepair(
            "repaired",
            f"It is an identity column that continues at {start}.",
            _alter(cursor, key, sql.SQL("DROP IDENTITY")),
        ),
    )


def _alter(cursor: Any, key: KeyWithoutDefault, action: Any) -> str:
    statement = sql.SQL("ALTER TABLE {} ALTER COLUMN {} {};").format(
        sql.Identifier(key.schema, key.table), sql.Identifier(key.column), action
    )
    return str(statement.as_string(cursor))


def _missing(key: KeyWithoutDefault) -> list[str]:
    """What the connected role lacks to repair this column."""
    missing = []
    if not key.owned_by_us:
        missing.append(f"ownership of table {key.table_name}")
    if not key.can_select:
        missing.append(f"SELECT on table {key.table_name}")
    if key.row_security:
        missing.append(f"BYPASSRLS, because row-level security may hide rows of {key.table_name}")
    if key.sequence is None and not key.can_create:
        missing.append(f"CREATE on schema {key.schema_name}")
    return missing + (key.sequence.missing_to_repair if key.sequence else [])


def _with_column(sequence: Sequence, key: KeyWithoutDefault) -> Sequence:
    """The sequence as it will be when it feeds the column."""
    column = FedColumn(
        relation=key.relation,
        schema=key.schema,
        table=key.table,
        relkind="r",
        column=key.column,
        kind="default",
        data_type=key.data_type,
        indexed=True,
        schema_usage=True,
        can_select=True,
        can_lock=True,
        row_security=False,
        digits=None,
        descendants=0,
        parents=[],
    )
    return replace(sequence, columns=[*sequence.columns, column])


def _give_up(session: Session, key: KeyWithoutDefault, attempts: int) -> DefaultRepair:
    relations = [key.relation]
    if key.sequence:
        relations += [key.sequence.oid, *(column.relation for column in key.sequence.columns)]
    return DefaultRepair("failed", gave_up(session, relations, NOBODY, attempts))
