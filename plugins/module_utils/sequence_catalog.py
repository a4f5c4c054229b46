# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the catalogs say of sequences: which exist, which columns they feed, which keys are fed by none.

Everything here is read with a fixed number of queries, however many sequences there are. Values (the last one given,
the extreme in the data) are read in sequence_values.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.connections import Connections
from ansible_collections.pgops.rollback.plugins.module_utils.driver import psycopg2
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.names import parse_name, quote_name

#: Columns of these types can be compared with a sequence; the others (text, uuid …) cannot.
COMPARABLE_TYPES = {"smallint": 2**15 - 1, "integer": 2**31 - 1, "bigint": 2**63 - 1, "numeric": None}

#: LOCK TABLE takes ordinary and partitioned tables; a foreign table cannot be locked.
LOCKABLE_KINDS = ("r", "p")

# Defaults are read as the catalogs store them: pg_get_expr would wait for whoever holds a table's ACCESS EXCLUSIVE
# lock. Functions by the OIDs of pg_proc.dat: nextval 1574, text to regclass 1079, and the casts between number types.
# What is not recognised counts as an expression, whose values are never compared.
_CALLS_NEXTVAL = ":funcid 1574 "
_NUMBER_CASTS = "313|314|480|481|714|754|1703|1740|1781|1782"
_NEXTVAL_ALONE = re.compile(
    rf"(?:\{{COERCETODOMAIN :arg |\{{FUNCEXPR :funcid (?:{_NUMBER_CASTS}) [^{{]*:args \()*"
    r"\{FUNCEXPR :funcid 1574 [^{]*:args \(\{(?:CONST|FUNCEXPR :funcid 1079) "
)
_TEXT_BYTES = re.compile(r":funcid 1079 [^{]*:args \(\{CONST [^{]*:constvalue \d+ \[ ([-0-9 ]+) \]")
_VARLENA_HEADER = 4

_USER_SCHEMA = """n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'"""

_NOT_EXTENSION = """
    NOT EXISTS (SELECT FROM pg_catalog.pg_depend e
                WHERE e.classid = 'pg_catalog.pg_class'::regclass AND e.objid = {oid} AND e.deptype = 'e')"""

_SEQUENCES = f"""
SELECT c.oid, n.nspname, c.relname, pg_catalog.format_type(s.seqtypid, NULL), s.seqstart, s.seqincrement,
       s.seqmin, s.seqmax, s.seqcache, s.seqcycle,
       pg_catalog.has_schema_privilege(n.oid, 'USAGE'),
       pg_catalog.has_sequence_privilege(c.oid, 'SELECT'),
       pg_catalog.has_sequence_privilege(c.oid, 'UPDATE'),
       pg_catalog.pg_has_role(c.relowner, 'USAGE'),
       NOT {_NOT_EXTENSION.format(oid="c.oid")}
FROM pg_catalog.pg_sequence s
JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relpersistence <> 't' AND {_USER_SCHEMA}
ORDER BY n.nspname, c.relname
"""

# nextval('s'::text) leaves no dependency on the sequence: then the expression alone leads to it.
_FEEDS = f"""
WITH RECURSIVE link (sequence, relation, attnum, expression) AS (
    SELECT d.objid, d.refobjid, d.refobjsubid, NULL::text
    FROM pg_catalog.pg_depend d
    JOIN pg_catalog.pg_sequence s ON s.seqrelid = d.objid
    WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass
      AND d.deptype = 'i'
    UNION ALL
    SELECT s.seqrelid, def.adrelid, def.adnum, def.adbin::text
    FROM pg_catalog.pg_attrdef def
    LEFT JOIN (pg_catalog.pg_depend d JOIN pg_catalog.pg_sequence s
                 ON s.seqrelid = d.refobjid AND d.refclassid = 'pg_catalog.pg_class'::regclass)
      ON d.classid = 'pg_catalog.pg_attrdef'::regclass AND d.objid = def.oid
    WHERE pg_catalog.strpos(def.adbin::text, '{_CALLS_NEXTVAL}') > 0
),
lock_privileges (lock_privileges) AS (
    SELECT 'UPDATE, DELETE, TRUNCATE'
           || CASE WHEN pg_catalog.current_setting('server_version_num')::int >= 170000 THEN ', MAINTAIN' ELSE '' END
),
tree (ancestor, relation) AS (
    SELECT inhparent, inhrelid FROM pg_catalog.pg_inherits
    UNION
    SELECT t.ancestor, i.inhrelid FROM tree t JOIN pg_catalog.pg_inherits i ON i.inhparent = t.relation
),
descendants (ancestor, number) AS (SELECT ancestor, pg_catalog.count(*) FROM tree GROUP BY ancestor),
base (type, base) AS (
    SELECT oid, typbasetype FROM pg_catalog.pg_type WHERE typtype = 'd'
    UNION ALL
    SELECT b.type, t.typbasetype FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.base AND t.typtype = 'd'
)
SELECT l.sequence, l.expression, CASE WHEN l.expression IS NULL THEN a.attidentity ELSE '' END,
       l.expression IS NOT NULL AND
       EXISTS (SELECT FROM pg_catalog.pg_depend o
               WHERE o.classid = 'pg_catalog.pg_class'::regclass AND o.objid = l.sequence AND o.deptype = 'a'
                 AND o.refclassid = 'pg_catalog.pg_class'::regclass AND o.refobjid = l.relation
                 AND o.refobjsubid = l.attnum),
       l.relation, n.nspname, c.relname, c.relkind, a.attname,
       pg_catalog.format_type(coalesce((SELECT b.base FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.base
                                        WHERE b.type = a.atttypid AND t.typtype <> 'd'), a.atttypid), NULL),
       EXISTS (SELECT FROM pg_catalog.pg_index i
               WHERE i.indrelid = l.relation AND i.indkey[0] = l.attnum AND i.indisvalid AND i.indpred IS NULL),
       pg_catalog.has_schema_privilege(n.oid, 'USAGE'),
       pg_catalog.has_column_privilege(l.relation, a.attnum, 'SELECT'),
       pg_catalog.has_table_privilege(l.relation, p.lock_privileges),
       pg_catalog.row_security_active(l.relation),
       CASE WHEN a.atttypid = 'pg_catalog.numeric'::regtype AND a.atttypmod >= 4
            THEN ((a.atttypmod - 4) >> 16) - ((a.atttypmod - 4) & 2047) END,
       coalesce(d.number, 0),
       ARRAY (SELECT i.inhparent::bigint FROM pg_catalog.pg_inherits i WHERE i.inhrelid = l.relation)
FROM link l
CROSS JOIN lock_privileges p
LEFT JOIN descendants d ON d.ancestor = l.relation
JOIN pg_catalog.pg_class c ON c.oid = l.relation
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = l.relation AND a.attnum = l.attnum::int2
WHERE c.relpersistence <> 't' AND {_USER_SCHEMA}
ORDER BY n.nspname, c.relname, a.attnum
"""

# Partitions are left out: rows reach them through the root, and on 15 and 16 they have no identity of their own.
_KEYS_WITHOUT_DEFAULT = f"""
SELECT c.oid, n.nspname, c.relname, a.attname, pg_catalog.format_type(coalesce(nullif(t.typbasetype, 0), t.oid), NULL),
       (SELECT d.objid FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_sequence s ON s.seqrelid = d.objid
        WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass
          AND d.refobjid = c.oid AND d.refobjsubid = a.attnum AND d.deptype = 'a'
        ORDER BY d.objid LIMIT 1),
       (SELECT q.oid FROM pg_catalog.pg_class q
        WHERE q.relkind = 'S' AND q.relnamespace = c.relnamespace
          AND q.relname = c.relname || '_' || a.attname || '_seq'),
       pg_catalog.cardinality(k.conkey) = 1
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint f
                         WHERE f.conrelid = c.oid AND f.contype = 'f' AND a.attnum = ANY (f.conkey)),
       pg_catalog.pg_has_role(c.relowner, 'USAGE'),
       pg_catalog.has_schema_privilege(n.oid, 'CREATE'),
       pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT'),
       pg_catalog.row_security_active(c.oid),
       EXISTS (SELECT FROM pg_catalog.pg_trigger g
               WHERE g.tgrelid = c.oid AND NOT g.tgisinternal AND g.tgtype & 7 = 7)
FROM pg_catalog.pg_constraint k
JOIN pg_catalog.pg_class c ON c.oid = k.conrelid AND c.relkind IN ('r', 'p') AND NOT c.relispartition
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (k.conkey)
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
WHERE k.contype = 'p' AND c.relpersistence <> 't' AND {_USER_SCHEMA} AND {_NOT_EXTENSION.format(oid="c.oid")}
  AND a.attnotnull AND NOT a.atthasdef AND a.attidentity = '' AND t.typdefault IS NULL
  AND coalesce(nullif(t.typbasetype, 0), t.oid)
      IN ('pg_catalog.int2'::regtype, 'pg_catalog.int4'::regtype, 'pg_catalog.int8'::regtype)
ORDER BY n.nspname, c.relname, a.attnum
"""

# nextval('name') is looked up at run time in the search_path of whoever inserts. The table's own schema is the best
# guess there is, then our search_path.
_SEARCH_PATH = "SELECT pg_catalog.unnest(pg_catalog.current_schemas(false))"


class _Column:
    """How a column and its table are written."""

    schema: str
    table: str
    column: str

    @property
    def table_name(self) -> str:
        return quote_name(self.schema, self.table)

    @property
    def name(self) -> str:
        return quote_name(self.schema, self.table, self.column)


@dataclass
class FedColumn(_Column):
    """A column that takes its value from a sequence.

    :ivar kind: ``serial`` (the column owns the sequence), ``identity_always``, ``identity_by_default``, ``default``,
        ``text_default`` (nextval('name'), no dependency in the catalogs) or ``expression`` (more than nextval alone).
    :ivar data_type: the type below any domain.
    :ivar indexed: a valid index begins with the column, so its extreme is found without reading the table.
    :ivar digits: before the decimal point, of a numeric(precision, scale); None for others.
    :ivar descendants: partitions and inheritance children, which are read and locked with the table.
    :ivar covered: a parent fed by the same sequence is read with its children, this one among them.
    """

    kind: str
    relation: int
    schema: str
    table: str
    relkind: str
    column: str
    data_type: str
    indexed: bool
    schema_usage: bool
    can_select: bool
    can_lock: bool
    row_security: bool
    digits: int | None
    descendants: int
    parents: list[int]
    covered: bool = False

    @property
    def highest(self) -> int | None:
        """The largest value that the column holds; None if it has no limit worth the name."""
        return 10**self.digits - 1 if self.digits is not None else COMPARABLE_TYPES[self.data_type]

    @property
    def comparable(self) -> bool:
        return self.kind != "expression" and self.data_type in COMPARABLE_TYPES and self.relkind in LOCKABLE_KINDS


@dataclass
class Sequence:
    """A sequence, its definition (as in pg_sequence), what we may do with it, and the columns it feeds."""

    oid: int
    schema: str
    sequence: str
    data_type: str
    start: int
    increment: int
    min_value: int
    max_value: int
    cache_size: int
    cycle: bool
    schema_usage: bool
    can_select: bool
    can_update: bool
    owned_by_us: bool
    extension_member: bool
    columns: list[FedColumn] = field(default_factory=list)

    @property
    def name(self) -> str:
        return quote_name(self.schema, self.sequence)

    @cached_property
    def missing_to_read(self) -> list[str]:
        """What the connected role lacks to read it and its data, in words that a GRANT can be written from."""
        schemas = {self.schema: self.schema_usage}
        schemas.update({column.schema: column.schema_usage for column in self.compared_columns})
        missing = [f"USAGE on schema {quote_name(schema)}" for schema, usage in sorted(schemas.items()) if not usage]
        if not self.can_select:
            missing.append(f"SELECT on sequence {self.name}")
        for column in self.compared_columns:
            if not column.can_select:
                missing.append(f"SELECT on table {column.table_name}")
            if column.row_security:
                missing.append(f"BYPASSRLS, because row-level security may hide rows of {column.table_name}")
        return missing

    @property
    def missing_to_repair(self) -> list[str]:
        """What it lacks to set it."""
        missing = list(self.missing_to_read)
        if not self.owned_by_us:
            # Without it nothing keeps another session from drawing ids in the middle of a repair.
            missing.append(f"membership in the owner of sequence {self.name}")
        elif not self.can_update:
            missing.append(f"UPDATE on sequence {self.name}")
        missing += [f"UPDATE on table {column.table_name}" for column in self.compared_columns if not column.can_lock]
        return missing

    @cached_property
    def compared_columns(self) -> list[FedColumn]:
        """The columns whose extreme has to be read; a parent's extreme includes its children's."""
        return [column for column in self.columns if column.comparable and not column.covered]


@dataclass(frozen=True)
class KeyWithoutDefault(_Column):
    """A NOT NULL integer column of a primary key with neither default nor identity.

    :ivar sequence: the sequence that still exists for it (owned by it, or of the conventional name), or None.
    :ivar sequence_owned: it is owned by the column.
    :ivar sole_key: the only column of the key and not a foreign key, so it may well have been generated once.
    :ivar filled_by_trigger: there is a BEFORE INSERT row trigger, which may give the column its value.
    """

    relation: int
    schema: str
    table: str
    column: str
    data_type: str
    sequence: Sequence | None
    sequence_owned: bool
    sole_key: bool
    owned_by_us: bool
    can_create: bool
    can_select: bool
    row_security: bool
    filled_by_trigger: bool

    @property
    def lost(self) -> bool:
        """It still owns the sequence that it does not use, and nothing else gives it a value."""
        return self.sequence_owned and not self.filled_by_trigger

    @property
    def schema_name(self) -> str:
        return quote_name(self.schema)


@dataclass
class SequenceCatalog:
    """All sequences and keys without default of the user schemas."""

    sequences: list[Sequence]
    keys_without_default: list[KeyWithoutDefault]


def lock_slots(sequence: Sequence) -> int:
    """About how many of the server's shared lock slots reading it takes: it, and each table with an index or two."""
    return 1 + sum(3 * (1 + column.descendants) for column in sequence.compared_columns)


def read_catalog(connections: Connections) -> SequenceCatalog:
    """Read every sequence of the user schemas with what it feeds. Temporary objects do not count.

    Many sequences are worth a second session already here. It is opened while the longest query runs, and reads the
    rest; where there is none, the first one reads it all.
    """
    with connections.first.cursor() as cursor, ThreadPoolExecutor(1) as pool:
        cursor.execute("SELECT pg_catalog.count(*) FROM pg_catalog.pg_sequence")
        (number,) = cursor.fetchone()
        rest = pool.submit(_read_rest, connections, number)
        feeds = _rows(cursor, _FEEDS)
        sequences, keys, schemas = rest.result()
        codec = psycopg2.extensions.encodings.get(cursor.connection.info.parameter_status("server_encoding"), "utf-8")
    by_oid = {row[0]: Sequence(*row) for row in sequences}
    by_name = {(sequence.schema, sequence.sequence): sequence for sequence in by_oid.values()}
    search_path = [schema for (schema,) in schemas]
    for oid, expression, identity, owned, *facts in feeds:
        schema = facts[1]
        sequence = by_oid.get(oid) or _by_literal(expression, codec, [schema, *search_path], by_name)
        kind = _kind(expression, identity, oid, owned)
        if sequence is not None:
            sequence.columns.append(FedColumn(kind, *facts))
    for sequence in by_oid.values():
        if len(sequence.columns) > 1:
            fed = {(column.relation, column.column) for column in sequence.columns if column.comparable}
            for column in sequence.columns:
                column.covered = any((parent, column.column) in fed for parent in column.parents)
    return SequenceCatalog(list(by_oid.values()), [key for row in keys if (key := _key(row, by_oid))])


def _read_rest(connections: Connections, number: int) -> list[list[tuple[Any, ...]]]:
    connections.expect(number)
    with connections.every[-1].cursor() as cursor:
        return [_rows(cursor, query) for query in (_SEQUENCES, _KEYS_WITHOUT_DEFAULT, _SEARCH_PATH)]


def _rows(cursor: Any, query: str) -> list[tuple[Any, ...]]:
    cursor.execute(query)
    return list(cursor.fetchall())


def _key(row: tuple[Any, ...], by_oid: dict[int, Sequence]) -> KeyWithoutDefault | None:
    relation, schema, table, column, data_type, owned_oid, namesake_oid, sole_key, *rights = row
    sequence = by_oid.get(owned_oid)
    namesake = by_oid.get(namesake_oid)
    if sequence is None and namesake is not None and not namesake.columns:
        sequence = namesake
    if sequence is None and not sole_key:
        return None
    return KeyWithoutDefault(
        relation, schema, table, column, data_type, sequence, owned_oid is not None, sole_key, *rights
    )


def _kind(expression: str | None, identity: str, dependency: int | None, owned: bool) -> str:
    if expression is None:
        return "identity_always" if identity == "a" else "identity_by_default"
    if not _NEXTVAL_ALONE.match(expression):
        return "expression"
    if dependency is None:
        return "text_default"
    return "serial" if owned else "default"


def _by_literal(
    expression: str | None, codec: str, schemas: list[str], by_name: dict[tuple[str, str], Sequence]
) -> Sequence | None:
    """The sequence that a text constant means; an expression holds it as its bytes, in signed decimal numbers."""
    literal = _TEXT_BYTES.search(expression or "")
    if literal is None:
        return None
    name = bytes(int(number) & 0xFF for number in literal.group(1).split())[_VARLENA_HEADER:].decode(codec, "replace")
    try:
        parts = parse_name(name, "sequence")
    except RollbackError:
        return None
    if len(parts) == 2:
        return by_name.get((parts[0], parts[1]))
    return next((by_name[schema, parts[0]] for schema in schemas if (schema, parts[0]) in by_name), None)
