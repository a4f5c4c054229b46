# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a snapshot holds beside the catalogs: where sequences stand, how many rows tables have, and their checksums."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ansible_collections.pgops.rollback.plugins.module_utils.catalog_reading import (
    Catalog,
    Relation,
    SequenceEntry,
)
from ansible_collections.pgops.rollback.plugins.module_utils.driver import psycopg2, sql
from ansible_collections.pgops.rollback.plugins.module_utils.errors import server_message
from ansible_collections.pgops.rollback.plugins.module_utils.names import quote_name
from ansible_collections.pgops.rollback.plugins.module_utils.table_content import (
    Table,
    algorithm_for,
    list_tables,
    measure,
)

#: How many sequences, and tables, one statement reads: it holds a lock on each.
_SEQUENCES_AT_ONCE = 200
_TABLES_AT_ONCE = 50

#: Milliseconds for one statement on sequences.
_SEQUENCES_TIMEOUT = 60_000

# They keep their locks until the transaction ends. Before Postgres 18 there is only the second, which says nothing of a
# sequence that was never called: such a one is read as a relation, which takes three times as long.
_SEQUENCE_DATA = """
SELECT s.seqrelid, d.last_value, d.is_called
FROM pg_catalog.pg_sequence s, LATERAL pg_catalog.pg_get_sequence_data(s.seqrelid) d
WHERE s.seqrelid = ANY (%s::oid[])
"""
_LAST_VALUES = """
SELECT s.seqrelid, pg_catalog.pg_sequence_last_value(s.seqrelid), true
FROM pg_catalog.pg_sequence s WHERE s.seqrelid = ANY (%s::oid[])
"""

Item = TypeVar("Item")


def read_sequence_states(connection: Any, catalog: Catalog, lock_timeout_ms: int) -> dict[str, dict[str, Any]]:
    """last_value and is_called by name. What cannot be read is added to the catalog's ``unreadable``.

    No snapshot of a transaction holds them: each is of the moment when it is read. So they are read in short
    transactions of their own, else the locks of them all would be kept until the last is read.

    :param connection: in autocommit mode, in no transaction.
    """
    found: dict[str, dict[str, Any]] = {}
    one = sql.SQL("SELECT {}::oid, last_value, is_called FROM {}")

    def read(cursor: Any, batch: list[SequenceEntry]) -> None:
        recent = connection.server_version >= 180000
        cursor.execute(_SEQUENCE_DATA if recent else _LAST_VALUES, ([entry.oid for entry in batch],))
        states = {oid: state for oid, *state in cursor.fetchall() if state[0] is not None}
        rest = [entry for entry in batch if entry.oid not in states and not recent]
        if rest:
            selects = [one.format(sql.Literal(entry.oid), sql.Identifier(entry.schema, entry.name)) for entry in rest]
            cursor.execute(sql.SQL(" UNION ALL ").join(selects))
            states |= {oid: state for oid, *state in cursor.fetchall()}
        for entry in batch:
            if entry.oid in states:
                last_value, is_called = states[entry.oid]
                found[entry.quoted] = {"last_value": last_value, "is_called": is_called}

    def cannot(entry: SequenceEntry, reason: str) -> None:
        catalog.unreadable.append(
            {"kind": "sequence", "name": entry.quoted, "reason": f"Where it stands was not read: {reason}"}
        )

    begin = sql.SQL("BEGIN READ ONLY; SET LOCAL lock_timeout = {}; SET LOCAL statement_timeout = {}").format(
        sql.Literal(lock_timeout_ms), sql.Literal(_SEQUENCES_TIMEOUT)
    )
    _in_batches(
        connection, [entry for entry in catalog.sequences if entry.readable], _SEQUENCES_AT_ONCE, read, cannot,
        (begin, "ROLLBACK"),
    )  # fmt: skip
    for entry in catalog.sequences:
        if not entry.readable:
            cannot(entry, "the role lacks SELECT on it or USAGE on its schema.")
        elif entry.quoted not in found and connection.server_version >= 180000:
            cannot(entry, "it was dropped meanwhile, or is unlogged and this is a standby.")
    return found


def estimated_rows(catalog: Catalog) -> dict[str, int | None]:
    """The planner's estimates by table, without reading any. None where it has none, which is not zero."""
    return _by_table(catalog, lambda relation: int(relation.reltuples) if relation.reltuples >= 0 else None)


def read_contents(
    connection: Any, catalog: Catalog, checksums: bool, unreadable: list[dict[str, str]]
) -> tuple[dict[str, int | None], dict[str, str]]:
    """Exact row counts by table, None for what could not be counted; and, if asked for, the sums of the rows' hashes.

    A partitioned table has the rows of its leaves and no checksum of its own; an inheritance parent has its own only.

    :param unreadable: is told kind, name and reason of what could not be counted.
    """
    counts: dict[str, int] = {}
    sums: dict[str, str] = {}
    algorithm = algorithm_for(connection.info.parameter_status("server_encoding"))

    def read(cursor: Any, batch: list[Table]) -> None:
        if checksums:
            for content in measure([connection], batch, algorithm, _quietly):
                name = quote_name(*content.key)
                counts[name], sums[name] = content.rows, f"{algorithm}:{content.hash}"
            return
        selects = [
            sql.SQL("SELECT {}, count(*) FROM ONLY {}").format(sql.Literal(number), sql.Identifier(*table.key))
            for number, table in enumerate(batch)
        ]
        cursor.execute(sql.SQL(" UNION ALL ").join(selects))
        for number, rows in cursor.fetchall():
            counts[batch[number].name] = rows

    def cannot(table: Table, reason: str) -> None:
        unreadable.append({"kind": "table", "name": table.name, "reason": f"Its rows were not counted: {reason}"})

    there = {table.name: table for table in list_tables(connection.cursor())}
    countable = []
    for relation in catalog.relations.values():
        table = there.get(relation.quoted)
        reason = _uncountable(relation, table)
        if reason:
            cannot(table or Table(0, relation.schema, relation.name), reason)
        elif table is not None:
            countable.append(table)
    _in_batches(connection, countable, _TABLES_AT_ONCE, read, cannot)
    return _by_table(catalog, lambda relation: counts.get(relation.quoted)), sums


def _uncountable(relation: Relation, table: Table | None) -> str:
    """Why; empty if it can be counted, or has no rows of its own."""
    if relation.relkind == "f":
        return "they are on another server."
    if relation.relkind != "r":
        return ""
    if table is None:
        return "an unlogged table cannot be read on a standby."
    if not table.readable:
        return "the role lacks SELECT on it or USAGE on its schema."
    return "row-level security would hide some from the role, which lacks BYPASSRLS." if table.row_security else ""


def _by_table(catalog: Catalog, rows_of: Callable[[Relation], int | None]) -> dict[str, int | None]:
    relations = catalog.relations
    children: dict[int, list[int]] = {}
    for oid, relation in relations.items():
        for parent in relation.parents:
            children.setdefault(parent, []).append(oid)

    def rows(oid: int) -> int | None:
        if relations[oid].relkind != "p":
            return rows_of(relations[oid])
        leaves = [rows(child) for child in children.get(oid, [])]
        known = [number for number in leaves if number is not None]
        return sum(known) if len(known) == len(leaves) else None

    return {relation.quoted: rows(oid) for oid, relation in relations.items() if relation.relkind in ("r", "p", "f")}


def _in_batches(
    connection: Any,
    items: list[Item],
    size: int,
    read: Callable[[Any, list[Item]], None],
    cannot: Callable[[Item, str], None],
    around: tuple[Any, str] = ("SAVEPOINT batch", "ROLLBACK TO SAVEPOINT batch"),
) -> None:
    """What fails in a batch is looked for in its halves. No lock outlives its batch."""
    cursor = connection.cursor()
    pending = [items[start : start + size] for start in range(0, len(items), size)]
    while pending:
        batch = pending.pop()
        cursor.execute(around[0])
        try:
            read(cursor, batch)
        except psycopg2.Error as error:
            if connection.closed:
                raise
            if len(batch) == 1:
                cannot(batch[0], f"{server_message(error)}.")
            else:
                pending += [batch[: len(batch) // 2], batch[len(batch) // 2 :]]
        cursor.execute(around[1])


def _quietly(_text: str, _fraction: float | None) -> None:
    """A snapshot shows no progress."""
