# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What tables hold: exact row counts and hashes that neither the order of the rows nor that of the columns changes.

A row's hash is taken of its text, under settings that make equal rows equal text on any server, with the columns in the
order of their names: pg_dump may restore them in another one. The hashes of a table's rows are added up.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.backup import Progress
from ansible_collections.pgops.rollback.plugins.module_utils.connections import share_out
from ansible_collections.pgops.rollback.plugins.module_utils.driver import pg_errors, sql
from ansible_collections.pgops.rollback.plugins.module_utils.names import quote_name

#: How a row's text becomes a number. Of other encodings the text is hashed in UTF-8, which a drill restores into.
_OF_TEXT = 'pg_catalog.hashtextextended({} COLLATE pg_catalog."C", 0)'
_OF_UTF8 = "pg_catalog.hash_record_extended(ROW(pg_catalog.convert_to({}, 'UTF8')), 0)"
ALGORITHMS = {
    "sum-of-hashtextextended-2": _OF_TEXT,
    "sum-of-hash-record-utf8-2": _OF_UTF8,
    "sum-of-hashtextextended-1": _OF_TEXT,
    "sum-of-hash-record-utf8-1": _OF_UTF8,
}

#: Those whose rows have generated columns, too. No dump holds these, and a restore generates them as its release does.
_WITH_GENERATED = frozenset({"sum-of-hashtextextended-1", "sum-of-hash-record-utf8-1"})

#: Large objects are measured like a table with a row for each.
LARGE_OBJECTS = ("pg_catalog", "pg_largeobject")

#: How many tables, and how many bytes, one statement reads: short enough to tell how far it is.
_TABLES_AT_ONCE = 50
_BYTES_AT_ONCE = 256 << 20

#: A second session pays for itself from here on.
MUCH_DATA = 64 << 20

#: The text of a value must depend on nothing but the value. Time limits are for the application's statements.
_SETTINGS = {
    "bytea_output": "hex",
    "datestyle": "ISO, YMD",
    "extra_float_digits": "3",
    "idle_in_transaction_session_timeout": "0",
    "intervalstyle": "postgres",
    "jit": "off",
    "lc_monetary": "C",
    "quote_all_identifiers": "off",
    "row_security": "off",
    "search_path": "pg_catalog",
    "statement_timeout": "0",
    "timezone": "UTC",
    "xmlbinary": "base64",
}

_TABLES = """
SELECT c.oid, n.nspname, c.relname,
       ARRAY (SELECT a.attname::text FROM pg_catalog.pg_attribute a
              WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
              ORDER BY a.attname),
       ARRAY (SELECT a.attname::text FROM pg_catalog.pg_attribute a
              WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated <> ''),
       c.relam = (SELECT m.oid FROM pg_catalog.pg_am m WHERE m.amname = 'heap'),
       pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT'),
       pg_catalog.row_security_active(c.oid)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
  AND (c.relpersistence = 'p' OR c.relpersistence = 'u' AND NOT pg_catalog.pg_is_in_recovery())
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e
                  WHERE e.classid = 'pg_catalog.pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')
ORDER BY n.nspname, c.relname
"""
_SIZES = """
SELECT t.oid, pg_catalog.pg_relation_size(t.oid::regclass)
              / pg_catalog.current_setting('block_size')::int, pg_catalog.pg_table_size(t.oid::regclass)
FROM pg_catalog.unnest(%s::oid[]) AS t (oid)
"""

_LARGE_OBJECTS = f"""
SELECT {{index}} AS piece, rows, hash FROM (
    WITH RECURSIVE part (object, number, length, hash) AS (
        SELECT m.oid, 0, p.length, p.hash
        FROM pg_catalog.pg_largeobject_metadata m, LATERAL (
            SELECT pg_catalog.octet_length(d), {_OF_TEXT.format("m.oid || '/0/' || pg_catalog.encode(d, 'hex')")}
            FROM pg_catalog.lo_get(m.oid, 0, 1048576) AS d
        ) AS p (length, hash)
        UNION ALL
        SELECT q.object, q.number + 1, p.length, p.hash
        FROM part q, LATERAL (
            SELECT pg_catalog.octet_length(d),
                   {_OF_TEXT.format("q.object || '/' || q.number + 1 || '/' || pg_catalog.encode(d, 'hex')")}
            FROM pg_catalog.lo_get(q.object, (q.number + 1) * 1048576::bigint, 1048576) AS d
        ) AS p (length, hash)
        WHERE q.length = 1048576
    )
    SELECT pg_catalog.count(*) FILTER (WHERE number = 0) AS rows, coalesce(pg_catalog.sum(hash), 0) AS hash FROM part
) AS large_objects
"""  # noqa: S608 - of constants


@dataclass(frozen=True)
class Table:
    """A table whose rows can be measured, at one moment.

    :ivar columns: in the order of their names, but for those that are ``generated``.
    :ivar heap: of Postgres's own kind of storage, where a row's place can be asked for.
    :ivar readable: whether the role may read it; ``row_security`` whether policies would hide rows from it.
    """

    oid: int
    schema: str
    table: str
    columns: tuple[str, ...] = ()
    generated: tuple[str, ...] = ()
    heap: bool = False
    readable: bool = True
    row_security: bool = False

    @property
    def key(self) -> tuple[str, str]:
        return self.schema, self.table

    @property
    def name(self) -> str:
        return quote_name(self.schema, self.table)


@dataclass(frozen=True)
class TableContent:
    """:ivar hash: the sum of the rows' hashes, a whole number in decimal; it may have more than 64 bits."""

    schema: str
    table: str
    rows: int
    hash: str

    @property
    def key(self) -> tuple[str, str]:
        return self.schema, self.table


@dataclass(frozen=True)
class _Piece:
    """Some pages of a table. ``last`` is None for all that follow."""

    table: Table
    first: int
    last: int | None
    size: int


def algorithm_for(encoding: str) -> str:
    """The algorithm for a database of this server encoding."""
    in_text, in_utf8, *_earlier = ALGORITHMS
    return in_text if encoding in ("UTF8", "SQL_ASCII") else in_utf8


def list_tables(cursor: Any) -> list[Table]:
    """Ordinary tables and the leaves of partitioned ones: no temporary or foreign ones, no members of extensions.

    On a standby unlogged tables are left out, which cannot be read there.
    """
    cursor.execute(_TABLES)
    return [
        Table(oid, schema, table, tuple(columns), tuple(generated), heap, readable, row_security)
        for oid, schema, table, columns, generated, heap, readable, row_security in cursor.fetchall()
    ]


def list_large_objects(cursor: Any) -> list[Table]:
    """One entry that stands for all of them, if there are any."""
    cursor.execute("SELECT EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata)")
    schema, table = LARGE_OBJECTS
    return [Table(0, schema, table)] if cursor.fetchone()[0] else []


def measuring_settings(connection: Any) -> list[Any]:
    """Statements for the beginning of a transaction that measures or reads catalogs."""
    settings = dict(_SETTINGS)
    if connection.server_version >= 170000:
        settings["transaction_timeout"] = "0"
    return [
        sql.SQL("SET LOCAL {} = {}").format(sql.Identifier(name), sql.Literal(value))
        if name != "search_path" else sql.SQL("SET LOCAL search_path = pg_catalog")
        for name, value in settings.items()
    ]  # fmt: skip


def begin_reading(
    connection: Any, snapshot: str | None = None, locked: list[Table] | None = None, lock_timeout_ms: int = 0
) -> None:
    """Open a transaction that sees the database at one moment, with the settings for measuring.

    :param connection: in autocommit mode.
    :param snapshot: of another session; None for a new one, which is then taken after the locks.
    :param locked: tables that nobody is to drop or rewrite meanwhile.
    :param lock_timeout_ms: for each lock; 0 waits for ever.
    :raises psycopg2.Error: LockNotAvailable, and whatever else the database reports.
    """
    script = [sql.SQL("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")]
    if snapshot is not None:
        script.append(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(snapshot)))
    script += measuring_settings(connection)
    script.append(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(lock_timeout_ms)))
    if locked:
        names = sql.SQL(", ").join(sql.SQL("ONLY {}").format(sql.Identifier(*table.key)) for table in locked)
        script.append(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(names))
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("; ").join(script))


def export_snapshot(connection: Any) -> str:
    """The name of the snapshot of the transaction that begin_reading() opened."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_catalog.pg_export_snapshot()")
        name: str = cursor.fetchone()[0]
    return name


def end_reading(connection: Any) -> None:
    if not connection.closed:
        with connection.cursor() as cursor:
            cursor.execute("ROLLBACK")


def join_reading(first: Any, others: list[Any], locked: list[Table], lock_timeout_ms: int) -> list[Any]:
    """Let further sessions see what the first one sees.

    :returns: the first and those that could join. One that would have to wait, since somebody queues for the tables
        that the first holds, would wait for ever: it stays outside.
    """
    joined = [first]
    snapshot = export_snapshot(first) if others else ""
    for connection in others:
        try:
            begin_reading(connection, snapshot, locked, lock_timeout_ms)
        except (pg_errors.LockNotAvailable, pg_errors.OutOfMemory):
            end_reading(connection)
        else:
            joined.append(connection)
    return joined


@contextmanager
def reading(connections: list[Any]) -> Iterator[None]:
    """All of them see the same moment of a database that nobody else works in."""
    try:
        begin_reading(connections[0])
        join_reading(connections[0], connections[1:], [], 0)
        yield
    finally:
        for connection in connections:
            end_reading(connection)


def measure(connections: list[Any], tables: list[Table], algorithm: str, progress: Progress) -> list[TableContent]:
    """Count and hash the rows of the tables, each once, several at a time if there are several connections.

    :param connections: each in a transaction of begin_reading().
    :param tables: from list_tables() and list_large_objects().
    :param algorithm: one of ALGORITHMS.
    :returns: in the order of the names.
    :raises psycopg2.Error: what the database reports, a damaged page for instance.
    """
    cursors = [connection.cursor() for connection in connections]
    pieces = _pieces(cursors[0], tables)
    whole = sum(piece.size for piece in pieces)
    read = 0
    one_at_a_time = threading.Lock()
    totals = {table.key: (0, 0) for table in tables}

    def work(cursor: Any, batch: list[_Piece]) -> None:
        nonlocal read
        with one_at_a_time:
            progress(f"counting and hashing {batch[0].table.name}", read / whole if whole else None)
        cursor.execute(_statement(batch, algorithm))
        found = cursor.fetchall()
        with one_at_a_time:
            read += sum(piece.size for piece in batch)
            for number, rows, total in found:
                known_rows, known_total = totals[batch[number].table.key]
                totals[batch[number].table.key] = (known_rows + rows, known_total + int(total))

    share_out(cursors, _batches(pieces), work)
    return [TableContent(*key, rows, str(total)) for key, (rows, total) in sorted(totals.items())]


def _pieces(cursor: Any, tables: list[Table]) -> list[_Piece]:
    """Large tables in several pieces, the largest pieces first."""
    cursor.execute(_SIZES, ([table.oid for table in tables],))
    sizes = {oid: (pages, size) for oid, pages, size in cursor.fetchall()}
    pieces = []
    for table in tables:
        pages, size = sizes[table.oid]
        number = min(-(-(size or 0) // _BYTES_AT_ONCE), pages or 0) if table.heap else 1
        if number < 2:
            pieces.append(_Piece(table, 0, None, size or 0))
            continue
        bounds = [pages * index // number for index in range(number)]
        # The last one is open: the table may have grown, though not by rows that are seen.
        pieces += [
            _Piece(table, first, last, size // number) for first, last in zip(bounds, [*bounds[1:], None], strict=True)
        ]
    return sorted(pieces, key=lambda piece: (-piece.size, piece.table.key, piece.first))


def _batches(pieces: list[_Piece]) -> list[list[_Piece]]:
    batches: list[list[_Piece]] = []
    room = 0
    for piece in pieces:
        room -= piece.size
        if not batches or room < 0 or len(batches[-1]) >= _TABLES_AT_ONCE:
            batches.append([])
            # Small ones share a statement, but not so many that the sessions are not kept busy alike.
            room = _BYTES_AT_ONCE // 16 - piece.size
        batches[-1].append(piece)
    return batches


def _statement(batch: list[_Piece], algorithm: str) -> Any:
    return sql.SQL(" UNION ALL ").join(_select(number, piece, algorithm) for number, piece in enumerate(batch))


def _select(number: int, piece: _Piece, algorithm: str) -> Any:
    table = piece.table
    if table.key == LARGE_OBJECTS:
        return sql.SQL(_LARGE_OBJECTS).format(index=sql.Literal(number))
    columns = sorted([*table.columns, *table.generated]) if algorithm in _WITH_GENERATED else table.columns
    row = sql.SQL("ROW({})::text").format(sql.SQL(", ").join(sql.Identifier("measured", name) for name in columns))
    places = sql.SQL("")
    if piece.first or piece.last is not None:
        places = sql.SQL(" WHERE measured.ctid >= {}::tid").format(sql.Literal(f"({piece.first},0)"))
        if piece.last is not None:
            places += sql.SQL(" AND measured.ctid < {}::tid").format(sql.Literal(f"({piece.last},0)"))
    of_row = sql.SQL(ALGORITHMS[algorithm]).format(row)
    return sql.SQL(
        "SELECT {}, pg_catalog.count(*), coalesce(pg_catalog.sum({}), 0) FROM ONLY {} AS measured{}"
    ).format(sql.Literal(number), of_row, sql.Identifier(*table.key), places)
