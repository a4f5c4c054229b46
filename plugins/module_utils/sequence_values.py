# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The values of sequences and the extremes in the data they feed, many at a time and without locks that last."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.connections import Connections, share_out
from ansible_collections.pgops.rollback.plugins.module_utils.driver import psycopg2, sql
from ansible_collections.pgops.rollback.plugins.module_utils.errors import server_message
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_catalog import Sequence, lock_slots
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_state import (
    Assessment,
    Position,
    assess,
)

#: Shared lock slots that one statement may take, and the share of the server's that it may take at the most: the rest
#: is the application's.
LOCK_SLOTS = 600
SHARE_OF_LOCKS = 10

#: A table that stays locked for longer is reported, not waited for.
READ_LOCK_TIMEOUT = "500ms"

#: For one row of each table, to look into its visibility map costs more than to look at the row.
BEGIN_READING = (
    "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; SET LOCAL row_security = off;"
    f" SET LOCAL lock_timeout = '{READ_LOCK_TIMEOUT}'; SET LOCAL enable_indexonlyscan = off;"
)
_LOCK_CAPACITY = """
SELECT pg_catalog.current_setting('max_locks_per_transaction')::int
       * (pg_catalog.current_setting('max_connections')::int
          + pg_catalog.current_setting('max_prepared_transactions')::int)
"""

# query_to_xml runs queries that are only known at run time, a row each, without a function of ours in the database.
# pg_sequence_last_value is NULL for a sequence that has not given a value yet.
_READ_EXTREMES = """
SELECT pg_catalog.query_to_xml(query, false, false, '')::text, pg_catalog.pg_sequence_last_value(sequence::oid)
FROM ROWS FROM (pg_catalog.unnest(%s::text[]), pg_catalog.unnest(%s::bigint[])) AS work (query, sequence)
"""
_READ_POSITIONS = "SELECT pg_catalog.query_to_xml(q, false, false, '')::text FROM pg_catalog.unnest(%s::text[]) AS q"
_FIELD = re.compile(r"<(last_value|is_called|extreme)>([^<]*)</")


def _made_once(*texts: str) -> tuple[Any, ...]:
    """Parts that ten thousand queries are put together from."""
    return tuple(map(sql.SQL, texts)) if sql else ()


_HIGHEST = _made_once("SELECT pg_catalog.max(", "SELECT GREATEST(NULL")
_LOWEST = _made_once("SELECT pg_catalog.min(", "SELECT LEAST(NULL")
_SHARED = _made_once(") AS extreme FROM ", ", (", ")", ") AS extreme")


def _extreme_query(sequence: Sequence) -> Any:
    """A query of one row and one column, the extreme in all columns that the sequence feeds; NULL without rows."""
    of_one, of_all = _HIGHEST if sequence.increment > 0 else _LOWEST
    source, opening, closing, end = _SHARED
    each = [
        [of_one, sql.Identifier(column.column), source, sql.Identifier(column.schema, column.table)]
        for column in sequence.compared_columns
    ]
    if len(each) == 1:
        # Nearly all of them; planning a second level would take a fifth of the whole time.
        return sql.Composed(each[0])
    return sql.Composed([of_all, *(part for one in each for part in (opening, *one, closing)), end])


def value_query(cursor: Any, sequence: Sequence) -> Any:
    """A query of one row, for a transaction that holds the tables: last_value, is_called, extreme, and whether all
    names still mean what the catalogs said before the locks."""
    relations = {(column.schema, column.table): column.relation for column in sequence.compared_columns}
    unchanged = [sql.SQL("tableoid = {}").format(sql.Literal(sequence.oid))]
    unchanged += [
        sql.SQL("pg_catalog.to_regclass({})::pg_catalog.oid = {}").format(
            sql.Literal(sql.Identifier(*name).as_string(cursor)), sql.Literal(oid)
        )
        for name, oid in relations.items()
    ]
    return sql.Composed(
        [
            sql.SQL("SELECT last_value, is_called, ("),
            _extreme_query(sequence),
            sql.SQL("), "),
            sql.SQL(" AND ").join(unchanged),
            sql.SQL(" FROM "),
            sql.Identifier(sequence.schema, sequence.sequence),
        ]
    )


def whole_number(value: Any, increment: int) -> int | None:
    """An extreme as an integer: of a fraction the whole number that is less extreme, so that the next one is beyond it.

    :raises ValueError: for NaN and infinity, which a numeric column may hold.
    """
    if value is None:
        return None
    number = Decimal(value)
    if not number.is_finite():
        raise ValueError("The data holds a value that is not a finite number.")
    return math.floor(number) if increment > 0 else math.ceil(number)


def read_assessments(connections: Connections, sequences: list[Sequence]) -> list[Assessment]:
    """Judge every sequence, in the order given, in batches; one that cannot be read does not spoil the others."""
    readable = [sequence for sequence in sequences if not sequence.missing_to_read]
    cursors = [connection.cursor() for connection in connections.every]
    cursors[0].execute(_LOCK_CAPACITY)
    slots = min(LOCK_SLOTS, cursors[0].fetchone()[0] // SHARE_OF_LOCKS)
    read: dict[int, Assessment] = {}
    for found in share_out(cursors, _batches(readable, slots, len(cursors)), _read_batch):
        read.update(found)
    return [read.get(sequence.oid) or assess(sequence, None, None) for sequence in sequences]


def _batches(sequences: list[Sequence], slots: int, workers: int) -> list[list[Sequence]]:
    """Batches of at most so many lock slots, all alike and as many for each worker, so that none waits at the end."""
    needed = [lock_slots(sequence) for sequence in sequences]
    rounds = math.ceil(sum(needed) / slots / workers)
    most = min(slots, math.ceil(sum(needed) / max(rounds * workers, 1)))
    batches: list[list[Sequence]] = []
    room = 0
    for sequence, its_slots in zip(sequences, needed, strict=True):
        room -= its_slots
        if room < 0 or not batches:
            batches.append([])
            room = most - its_slots
        batches[-1].append(sequence)
    return batches


def _read_batch(cursor: Any, batch: list[Sequence]) -> dict[int, Assessment]:
    try:
        return _read(cursor, batch)
    except psycopg2.Error:
        cursor.execute("ROLLBACK")
        return {sequence.oid: _read_alone(cursor, sequence) for sequence in batch}


def _read(cursor: Any, batch: list[Sequence]) -> dict[int, Assessment]:
    """Sequences are read after the statement's snapshot was taken, so they are never older than the data."""
    queries = [_extreme_query(sequence).as_string(cursor) for sequence in batch]
    cursor.execute(BEGIN_READING + _READ_EXTREMES, (queries, [sequence.oid for sequence in batch]))
    rows = cursor.fetchall()
    not_called = [sequence for sequence, (_document, last) in zip(batch, rows, strict=True) if last is None]
    starts = _read_positions(cursor, not_called) if not_called else {}
    cursor.execute("COMMIT")
    found = {}
    for sequence, (document, last) in zip(batch, rows, strict=True):
        position = Position(last, True) if last is not None else starts[sequence.oid]
        extreme = dict(_FIELD.findall(document)).get("extreme")
        try:
            found[sequence.oid] = assess(sequence, position, whole_number(extreme, sequence.increment))
        except ValueError as error:
            found[sequence.oid] = assess(sequence, None, None, str(error))
    return found


def _read_positions(cursor: Any, sequences: list[Sequence]) -> dict[int, Position]:
    query = sql.SQL("SELECT last_value, is_called FROM {}")
    cursor.execute(
        _READ_POSITIONS,
        ([query.format(sql.Identifier(each.schema, each.sequence)).as_string(cursor) for each in sequences],),
    )
    found = {}
    for sequence, (document,) in zip(sequences, cursor.fetchall(), strict=True):
        fields = dict(_FIELD.findall(document))
        found[sequence.oid] = Position(int(fields["last_value"]), fields["is_called"] == "true")
    return found


def _read_alone(cursor: Any, sequence: Sequence) -> Assessment:
    try:
        return _read(cursor, [sequence])[sequence.oid]
    except psycopg2.Error as error:
        cursor.execute("ROLLBACK")
        return assess(sequence, None, None, f"It could not be read: {server_message(error)}.")
