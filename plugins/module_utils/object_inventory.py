# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which objects a database has, by name, and where its sequences stand. Only what pg_dump would dump."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.driver import sql
from ansible_collections.pgops.rollback.plugins.module_utils.names import quote_name

#: What becomes of a word in pg_class.relkind.
RELATION_KINDS = {"r": "tables", "p": "tables", "f": "foreign_tables", "v": "views", "m": "materialized_views"}

KINDS = (
    "schemas", "tables", "foreign_tables", "views", "materialized_views", "functions", "triggers", "policies",
    "constraints", "indexes", "types", "publications",
)  # fmt: skip

#: How many sequences one statement reads.
_SEQUENCES_AT_ONCE = 200

# The queries below are put together from these constants.
_USER_SCHEMA = "n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'"
_NOT_MEMBER = """
    NOT EXISTS (SELECT FROM pg_catalog.pg_depend e
                WHERE e.classid = 'pg_catalog.{catalog}'::regclass AND e.objid = {oid} AND e.deptype = 'e')"""
_RELATIONS = f"""
    SELECT c.oid, n.nspname, c.relname, c.relkind
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relpersistence <> 't' AND {_USER_SCHEMA} AND {_NOT_MEMBER.format(catalog="pg_class", oid="c.oid")}
"""  # noqa: S608

# Schema public is there in a new database anyway. What partitions inherit (constraints, triggers) is made with the
# parent's, under a name that the server chooses. Not-null constraints have names from 18 on only.
_OBJECTS = f"""
WITH relation AS MATERIALIZED ({_RELATIONS})
SELECT 'schemas', '', n.nspname, '', '' FROM pg_catalog.pg_namespace n
WHERE {_USER_SCHEMA} AND n.nspname <> 'public' AND {_NOT_MEMBER.format(catalog="pg_namespace", oid="n.oid")}
UNION ALL
SELECT 'relation', r.nspname, r.relname, '', r.relkind::text FROM relation r
WHERE r.relkind IN ('r', 'p', 'f', 'v', 'm')
UNION ALL
SELECT 'functions', n.nspname, p.proname || '(' || pg_catalog.array_to_string(ARRAY (
           SELECT pg_catalog.format_type(a.type, NULL)
           FROM pg_catalog.unnest(p.proargtypes::oid[]) WITH ORDINALITY AS a (type, place) ORDER BY a.place), ', ')
       || ')', '', ''
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE {_USER_SCHEMA} AND {_NOT_MEMBER.format(catalog="pg_proc", oid="p.oid")}
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend i
                  WHERE i.classid = 'pg_catalog.pg_proc'::regclass AND i.objid = p.oid AND i.deptype = 'i')
UNION ALL
SELECT 'triggers', r.nspname, t.tgname, r.relname, '' FROM pg_catalog.pg_trigger t JOIN relation r ON r.oid = t.tgrelid
WHERE NOT t.tgisinternal AND t.tgparentid = 0
UNION ALL
SELECT 'policies', r.nspname, p.polname, r.relname, '' FROM pg_catalog.pg_policy p JOIN relation r ON r.oid = p.polrelid
UNION ALL
SELECT 'constraints', r.nspname, k.conname, r.relname, ''
FROM pg_catalog.pg_constraint k JOIN relation r ON r.oid = k.conrelid
WHERE k.contype IN ('c', 'f', 'p', 'u', 'x') AND k.conparentid = 0
UNION ALL
SELECT 'indexes', r.nspname, c.relname, r.relname, ''
FROM pg_catalog.pg_index i JOIN relation r ON r.oid = i.indrelid JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
WHERE i.indisvalid
UNION ALL
SELECT 'types', n.nspname, t.typname, '', '' FROM pg_catalog.pg_type t
JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
WHERE {_USER_SCHEMA} AND {_NOT_MEMBER.format(catalog="pg_type", oid="t.oid")}
  AND (t.typtype IN ('d', 'e', 'r')
       OR EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = t.typrelid AND c.relkind = 'c'))
UNION ALL
SELECT 'publications', '', pubname, '', '' FROM pg_catalog.pg_publication p
WHERE {_NOT_MEMBER.format(catalog="pg_publication", oid="p.oid")}
"""  # noqa: S608

_EXTENSIONS = """
SELECT e.extname, e.extversion, n.nspname FROM pg_catalog.pg_extension e
JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE e.extname <> 'plpgsql' ORDER BY e.extname
"""

_SEQUENCES = f"""
SELECT n.nspname, c.relname, pg_catalog.has_schema_privilege(n.oid, 'USAGE')
                             AND pg_catalog.has_sequence_privilege(c.oid, 'SELECT'), s.seqincrement
FROM pg_catalog.pg_sequence s
JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relpersistence <> 't' AND {_USER_SCHEMA} AND {_NOT_MEMBER.format(catalog="pg_class", oid="c.oid")}
ORDER BY n.nspname, c.relname
"""  # noqa: S608


@dataclass(frozen=True, order=True)
class DatabaseObject:
    """:ivar kind: one of KINDS.
    :ivar name: of functions with the types of their arguments, as pg_dump calls them.
    :ivar relation: the table, or view, that it belongs to; empty for what stands alone.
    """

    kind: str
    schema: str
    name: str
    relation: str = ""

    @property
    def text(self) -> str:
        """As people read it: ``public.orders``, ``orders_pkey on public.orders``."""
        if self.relation:
            return f"{quote_name(self.name)} on {quote_name(self.schema, self.relation)}"
        if self.kind == "functions":
            name, parenthesis, arguments = self.name.rpartition("(")
            return f"{quote_name(self.schema, name)}{parenthesis}{arguments}"
        return quote_name(self.schema, self.name) if self.schema else quote_name(self.name)


@dataclass(frozen=True)
class Extension:
    name: str
    version: str
    schema: str


@dataclass(frozen=True)
class SequenceContent:
    """Where a sequence stands.

    :ivar later: last_value and is_called after the dump, when it moved meanwhile: sequences are in no snapshot, so the
        dump has it somewhere between the two.
    """

    schema: str
    sequence: str
    last_value: int
    is_called: bool
    increment: int
    later: tuple[int, bool] | None = None

    @property
    def key(self) -> tuple[str, str]:
        return self.schema, self.sequence

    @property
    def name(self) -> str:
        return quote_name(self.schema, self.sequence)

    def set_back(self) -> bool:
        """Whether it went the other way during the dump: then the dump may have it anywhere."""
        return self.later is not None and self._order(self.later) < self._order((self.last_value, self.is_called))

    def covers(self, restored: SequenceContent) -> bool:
        """Whether the dump may have held what was restored."""
        now = self._order((self.last_value, self.is_called))
        later = self._order(self.later) if self.later else now
        return now <= self._order((restored.last_value, restored.is_called)) <= later

    def _order(self, position: tuple[int, bool]) -> tuple[int, bool]:
        value, is_called = position
        return (value if self.increment > 0 else -value), is_called


def read_objects(cursor: Any) -> list[DatabaseObject]:
    """Every object that is no member of an extension, in a fixed order."""
    cursor.execute(_OBJECTS)
    return sorted(
        DatabaseObject(RELATION_KINDS[relkind] if kind == "relation" else kind, schema, name, relation)
        for kind, schema, name, relation, relkind in cursor.fetchall()
    )


def read_extensions(cursor: Any) -> list[Extension]:
    cursor.execute(_EXTENSIONS)
    return [Extension(*row) for row in cursor.fetchall()]


def read_sequences(cursor: Any, unreadable: Callable[[list[str]], None] | None = None) -> list[SequenceContent]:
    """Those that the role may read.

    :param unreadable: called with the names of the others, if there are any.
    """
    cursor.execute(_SEQUENCES)
    listed = cursor.fetchall()
    hidden = [quote_name(schema, name) for schema, name, readable, _increment in listed if not readable]
    if hidden and unreadable:
        unreadable(hidden)
    listed = [row for row in listed if row[2]]
    found = []
    query = sql.SQL("SELECT {}, last_value, is_called FROM {}")
    for start in range(0, len(listed), _SEQUENCES_AT_ONCE):
        batch = listed[start : start + _SEQUENCES_AT_ONCE]
        cursor.execute(
            sql.SQL(" UNION ALL ").join(
                query.format(sql.Literal(number), sql.Identifier(*row[:2]))
                for number, row in enumerate(batch)
            )
        )
        for number, last_value, is_called in cursor.fetchall():
            schema, name, _readable, increment = batch[number]
            found.append(SequenceContent(schema, name, last_value, is_called, increment))
    return sorted(found, key=lambda sequence: sequence.key)
