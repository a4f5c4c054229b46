# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a quarantine moves and takes out of publications, and the statements for both, there and back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.driver import sql
from ansible_collections.pgops.rollback.plugins.module_utils.names import quote_name
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_targets import Targets

# The types of the arguments now, and when the tables that some of them are the row types of have been moved.
_SIGNATURES = """
SELECT p.oid::bigint,
       array_to_string(ARRAY (
           SELECT format_type(a.type, NULL) FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY AS a (type, place)
           ORDER BY a.place), ', '),
       array_to_string(ARRAY (
           SELECT CASE WHEN coalesce(e.typrelid, t.typrelid) = ANY (%(relations)s::oid[])
                       THEN quote_ident(%(schema)s) || '.' || quote_ident(coalesce(e.typname, t.typname))
                            || CASE WHEN e.oid IS NOT NULL THEN '[]' ELSE '' END
                       ELSE format_type(t.oid, NULL) END
           FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY AS a (type, place)
           JOIN pg_type t ON t.oid = a.type LEFT JOIN pg_type e ON e.typarray = t.oid
           ORDER BY a.place), ', ')
FROM pg_proc p WHERE p.oid = ANY (%(routines)s::oid[])
"""

_MEMBERSHIPS = """
SELECT p.oid::bigint, p.pubname::text, m.prrelid::bigint,
       CASE WHEN m.prattrs IS NOT NULL THEN ARRAY (
           SELECT a.attname::text FROM pg_attribute a
           WHERE a.attrelid = m.prrelid AND a.attnum = ANY (m.prattrs::int2[]) ORDER BY a.attnum) END,
       pg_get_expr(m.prqual, m.prrelid)
FROM pg_publication_rel m JOIN pg_publication p ON p.oid = m.prpubid
WHERE m.prrelid = ANY (%s::oid[]) ORDER BY 2, 3
"""

# Indexes and row types go along with their table, and need a free name as well.
_NAMES = """
SELECT 'relation', c.relname::text, c.oid::bigint, '' FROM pg_class c WHERE c.oid = ANY (%(relations)s::oid[])
UNION ALL
SELECT 'relation', c.relname::text, i.indrelid::bigint, '' FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = ANY (%(relations)s::oid[])
UNION ALL
SELECT 'type', t.typname::text, c.oid::bigint, '' FROM pg_class c
JOIN pg_type r ON r.oid = c.reltype JOIN pg_type t ON t.oid IN (r.oid, r.typarray)
WHERE c.oid = ANY (%(relations)s::oid[])
UNION ALL
SELECT 'routine', p.proname::text, p.oid::bigint, p.proargtypes::text FROM pg_proc p
WHERE p.oid = ANY (%(routines)s::oid[])
"""


@dataclass(frozen=True)
class Move:
    """An object, where it was, and what it is called in the quarantine. Its fields are JSON values.

    :ivar name: as in a catalog snapshot; ``moved_to`` the same in the quarantine.
    :ivar schema: where it was, unquoted; ``short`` its name there and in the quarantine.
    :ivar types: of a routine's arguments, as SQL writes them; ``types_there`` in the quarantine. Empty for a relation.
    :ivar along: a sequence of a column, which goes where its table goes.
    """

    catalog: str
    oid: int
    kind: str
    name: str
    moved_to: str
    schema: str
    short: str
    types: str = ""
    types_there: str = ""
    along: bool = False

    @property
    def key(self) -> tuple[str, int]:
        return self.catalog, self.oid

    @property
    def home(self) -> tuple[str, str]:
        return self.schema, self.short

    @property
    def routine(self) -> bool:
        return self.catalog == "pg_proc"

    @property
    def label(self) -> str:
        return f"{self.kind} {self.name}"

    def there(self, quarantine: str) -> Any:
        return self._set_schema(self.schema, self.types, quarantine)

    def back(self, quarantine: str) -> Any:
        return self._set_schema(quarantine, self.types_there, self.schema)

    def _set_schema(self, schema: str, types: str, to: str) -> Any:
        what = sql.Identifier(schema, self.short)
        if self.routine:
            # The server itself has written the types.
            what = sql.SQL("{}({})").format(what, sql.SQL(types))
        word = "ROUTINE" if self.routine else self.kind.upper()
        return sql.SQL("ALTER {} {} SET SCHEMA {}").format(sql.SQL(word), what, sql.Identifier(to))


@dataclass(frozen=True)
class Membership:
    """A table in a publication that names it. Its fields are JSON values.

    :ivar columns: those that are published; None for all.
    :ivar row_filter: as SQL writes it; None where there is none.
    """

    publication: str
    publication_oid: int
    relation: int
    schema: str
    table: str
    columns: list[str] | None
    row_filter: str | None

    @property
    def label(self) -> str:
        return f"{quote_name(self.publication)} with {quote_name(self.schema, self.table)}"

    def drop(self) -> Any:
        # Children are members of their own.
        return sql.SQL("ALTER PUBLICATION {} DROP TABLE ONLY {}").format(
            sql.Identifier(self.publication), sql.Identifier(self.schema, self.table)
        )

    def add(self, quarantine: str) -> Any:
        """While the table is in the quarantine."""
        columns, where = sql.SQL(""), sql.SQL("")
        if self.columns is not None:
            columns = sql.SQL(" ({})").format(sql.SQL(", ").join(map(sql.Identifier, self.columns)))
        if self.row_filter is not None:
            where = sql.SQL(" WHERE ({})").format(sql.SQL(self.row_filter))
        return sql.SQL("ALTER PUBLICATION {} ADD TABLE ONLY {}{}{}").format(
            sql.Identifier(self.publication), sql.Identifier(quarantine, self.table), columns, where
        )


def read_moves(cursor: Any, targets: Targets, quarantine: str) -> list[Move]:
    """In the order in which they are moved.

    :param cursor: in a transaction with the settings of table_content.measuring_settings().
    """
    cursor.execute(_SIGNATURES, {
        "relations": targets.relations, "routines": [each.oid for each in targets.routines], "schema": quarantine,
    })  # fmt: skip
    signatures = {oid: (types, there) for oid, types, there in cursor.fetchall()}
    moves = []
    for each in targets.objects:
        types, there = signatures[each.oid] if each.catalog == "pg_proc" else ("", "")
        moved_to = quote_name(quarantine, each.short) + (f"({there})" if each.catalog == "pg_proc" else "")
        moves.append(Move(
            each.catalog, each.oid, each.kind, each.name, moved_to, each.schema, each.short, types, there,
            along=each.kind == "sequence" and bool(each.through),
        ))  # fmt: skip
    return moves


def read_memberships(cursor: Any, moves: Iterable[Move]) -> list[Membership]:
    """Of publications that name a table; not of those of all tables, or of all in its schema."""
    relations = {each.oid: each for each in moves if not each.routine}
    cursor.execute(_MEMBERSHIPS, (sorted(relations),))
    return [
        Membership(publication, oid, relation, relations[relation].schema, relations[relation].short, columns, where)
        for oid, publication, relation, columns, where in cursor.fetchall()
    ]


def read_names(cursor: Any, relations: list[int], routines: list[int]) -> list[tuple[str, str, int, str]]:
    """Every name that moving needs free: ``relation``, ``type`` or ``routine``, the name, the OID of the object that
    takes it along, and of a routine the OIDs of its arguments' types.
    """
    cursor.execute(_NAMES, {"relations": relations, "routines": routines})
    names: list[tuple[str, str, int, str]] = cursor.fetchall()
    return names
