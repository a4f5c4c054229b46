# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names that the text of a function holds, beside what there is and what there was. Pure."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

from ansible_collections.pgops.rollback.plugins.module_utils.names import (
    parse_name,
    parse_routine,
    quote_name,
)

RELATION_NAME, FUNCTION_NAME, TYPE_NAME, COLUMN_NAME = "relation", "function", "type", "column"

#: What a kind is, as a list of what is gone or a snapshot calls it, with blanks; other kinds no body names.
NAMED_AS = {
    **dict.fromkeys(("table", "foreign table", "view", "materialized view", "sequence"), RELATION_NAME),
    **dict.fromkeys(("function", "procedure", "aggregate"), FUNCTION_NAME),
    **dict.fromkeys(("type", "domain", "enum", "range"), TYPE_NAME),
    "column": COLUMN_NAME,
}

#: How many arguments a function takes: the least and the most; None for any number.
Arguments: TypeAlias = "tuple[int, int | None]"


@dataclass(frozen=True)
class Named:
    """Something that a body names.

    :ivar parts: with the schema or without; of a column with schema and table.
    :ivar what: ``relation``, ``function``, ``type`` or ``column``.
    :ivar arguments: how many a call gives; None where that is not known.
    :ivar line: of the body; 0 where none is known.
    """

    parts: tuple[str, ...]
    what: str
    arguments: int | None = None
    line: int = field(default=0, compare=False)

    @property
    def text(self) -> str:
        return quote_name(*self.parts) + ("()" if self.what == FUNCTION_NAME else "")


def named_by(kind: str, name: str) -> Named | None:
    """An object of a list or a snapshot as a body would name it; None for what no body names.

    :raises RollbackError: ``name_invalid``.
    """
    what = NAMED_AS.get(kind)
    if what is None:
        return None
    return Named(parse_routine(name) if what == FUNCTION_NAME else parse_name(name, kind), what)


@dataclass(frozen=True)
class KnownNames:
    """What there is now.

    :ivar relations: schema and name of every relation; ``types`` likewise.
    :ivar functions: by schema and name what each of them takes.
    :ivar schemas: that have a place for what a person makes.
    :ivar keywords: of SQL.
    :ivar passing: names without schema that exist only while something runs, such as transition and temporary tables.
    :ivar gone: what was there and is not any more, or is elsewhere.
    :ivar path: schemas in which a name without one may be looked for; None where that may be any.
    :ivar whole_path: whether it is looked for nowhere else, since the function sets its search_path itself.
    """

    relations: frozenset[tuple[str, str]]
    types: frozenset[tuple[str, str]]
    functions: dict[tuple[str, str], list[Arguments]]
    schemas: frozenset[str]
    keywords: frozenset[str] = frozenset()
    passing: frozenset[str] = frozenset()
    gone: frozenset[Named] = frozenset()
    path: frozenset[str] | None = None
    whole_path: bool = False

    def lacks(self, named: Named) -> bool:
        """Whether there is no such thing, for all that a text can tell."""
        if len(named.parts) == 1:
            if named.parts[0] in self.passing:
                return False
            return not self._fits(named, self._on_path if self.whole_path else self._anywhere)
        schema = named.parts[0]
        if len(named.parts) != 2 or schema.startswith("pg_"):
            return False
        if schema not in self.schemas:
            return schema not in self.passing
        return not self._fits(named, {schema})

    def misses(self, gone: Named) -> bool:
        """Whether the name of what is gone meant it without its schema, and means nothing any more.

        A namesake in a schema that is on the way stands in for it, and one that is not does not.
        """
        name = gone.parts[-1]
        alone = Named((name,), gone.what)
        if name in self.passing or self._fits(alone, self._on_path):
            return False
        return gone.parts[0] in self._on_path or not self._fits(alone, self._anywhere)

    def looked_for(self, named: Named) -> set[str]:
        """By which literals a body would find out whether it is there."""
        schema = {named.parts[0]} - self.schemas if len(named.parts) == 2 else set()
        return {named.parts[-1], ".".join(named.parts)} | schema

    def places(self, relation: str) -> Set[str]:
        """Schemas that have a relation of that name."""
        return self._places[RELATION_NAME].get(relation, set())

    def _fits(self, named: Named, schemas: Set[str]) -> bool:
        name = named.parts[-1]
        if self._places[TYPE_NAME].get(name, set()) & schemas and named.what != RELATION_NAME:
            # A type may be followed by a parenthesis, too.
            return True
        found = self._places[named.what].get(name, set()) & schemas
        if named.what != FUNCTION_NAME or named.arguments is None or "pg_catalog" in found:
            return bool(found)
        return any(
            least <= named.arguments and (most is None or named.arguments <= most)
            for schema in found
            for least, most in self.functions[schema, name]
        )

    @cached_property
    def _anywhere(self) -> Set[str]:
        return {schema for names in (self.relations, self.types, self.functions) for schema, _name in names}

    @property
    def _on_path(self) -> Set[str]:
        return self._anywhere if self.path is None else self.path

    @cached_property
    def _places(self) -> dict[str, dict[str, set[str]]]:
        """By what it is and its name the schemas that have it."""
        found: dict[str, dict[str, set[str]]] = {}
        for what, names in (
            (RELATION_NAME, self.relations), (TYPE_NAME, self.types), (FUNCTION_NAME, self.functions)
        ):  # fmt: skip
            places = found.setdefault(what, {})
            for schema, name in names:
                places.setdefault(name, set()).add(schema)
        return found
