# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The values of sequences and the extremes in the data they feed, many at a time and without locks that last."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.driver import psycopg2, sql
from ansible_collections.pgops.rollback.plugins.module_utils.errors import server_message
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_catalog import Sequence
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_state import (
    Assessment,
    Position,
    assess,
    missing_privileges,
)

#: Sequences read in one statement: each holds about three of the server's shared lock slots until its end.
BATCH = 200

#: A table that stays locked for longer is reported, not waited for.
READ_LOCK_TIMEOUT = "500ms"

# Reads must fail rather than leave out rows that a policy hides, and names must mean what we wrote.
SAFE_READS = "SET LOCAL row_security = off; SET LOCAL search_path = pg_catalog, pg_temp;"

_BEGIN = f"BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; {SAFE_READS} SET LOCAL lock_timeout = '{READ_LOCK_TIMEOUT}';"

# query_to_xml runs queries that are only known at run time, a row each, without a function of ours in the database.
_RUN_EACH = "SELECT pg_catalog.query_to_xml(query, false, false, '')::text FROM pg_catalog.unnest(%s::text[]) AS query"
_FIELD = re.compile(r"<(last_value|is_called|extreme)>([^<]*)</")


def value_query(sequence: Sequence) -> Any:
    """A query of one row: last_value, is_called, extreme (NULL without rows; a fraction counts as its whole part).

    The sequence is read after the statement's snapshot was taken, so it is never older than the data beside it.
    """
    upward = sequence.increment > 0
    extremes = [
        sql.SQL("(SELECT pg_catalog.{function}({column})::numeric FROM {table})").format(
            function=sql.SQL("max" if upward else "min"),
            column=sql.Identifier(column.column),
            table=sql.Identifier(column.schema, column.table),
        )
        for column in sequence.compared_columns
    ]
    query = "SELECT last_value, is_called, pg_catalog.{whole}({best}({extremes})) AS extreme FROM {name}"
    return sql.SQL(query).format(
        whole=sql.SQL("floor" if upward else "ceil"),
        best=sql.SQL("GREATEST" if upward else "LEAST"),
        extremes=sql.SQL(", ").join(extremes or [sql.SQL("NULL::numeric")]),
        name=sql.Identifier(sequence.schema, sequence.sequence),
    )


def whole_number(value: Any) -> int | None:
    """An extreme as an integer.

    :raises ValueError: for NaN and infinity, which a numeric column may hold.
    """
    if value is None:
        return None
    number = Decimal(value)
    if not number.is_finite():
        raise ValueError("The data holds a value that is not a finite number.")
    return int(number)


def read_assessments(cursor: Any, sequences: list[Sequence]) -> list[Assessment]:
    """Judge every sequence, in the order given, in batches; one that cannot be read does not spoil the others."""
    readable = [sequence for sequence in sequences if not missing_privileges(sequence)]
    read: dict[int, Assessment] = {}
    for start in range(0, len(readable), BATCH):
        batch = readable[start : start + BATCH]
        try:
            read.update(_read(cursor, batch))
        except psycopg2.Error:
            cursor.execute("ROLLBACK")
            for sequence in batch:
                read[sequence.oid] = _read_alone(cursor, sequence)
    return [read.get(sequence.oid) or assess(sequence, None, None) for sequence in sequences]


def _read(cursor: Any, batch: list[Sequence]) -> dict[int, Assessment]:
    queries = [value_query(sequence).as_string(cursor) for sequence in batch]
    cursor.execute(_BEGIN + _RUN_EACH, (queries,))
    rows = cursor.fetchall()
    cursor.execute("COMMIT")
    found = {}
    for sequence, (document,) in zip(batch, rows, strict=True):
        fields = dict(_FIELD.findall(document))
        position = Position(int(fields["last_value"]), fields["is_called"] == "true")
        try:
            found[sequence.oid] = assess(sequence, position, whole_number(fields.get("extreme")))
        except ValueError as error:
            found[sequence.oid] = assess(sequence, None, None, str(error))
    return found


def _read_alone(cursor: Any, sequence: Sequence) -> Assessment:
    try:
        return _read(cursor, [sequence])[sequence.oid]
    except psycopg2.Error as error:
        cursor.execute("ROLLBACK")
        return assess(sequence, None, None, f"It could not be read: {server_message(error)}.")
