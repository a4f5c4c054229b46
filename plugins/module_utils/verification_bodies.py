# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which relations and functions the text of a function names, where nothing on the server can say so.

Pure. A body is read as tokens, so comments and literals never look like names; where it is not certain that a word
names something, it is not taken for a name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property

from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.names import parse_name, quote_name
from ansible_collections.pgops.rollback.plugins.module_utils.sql_tokens import (
    LITERAL,
    OTHER,
    QUOTED,
    WORD,
    Token,
    tokens,
)

#: What a function creates, in its text or in a literal that it executes: no other function's use of it is a fault.
_CREATED = re.compile(
    r"\b(?:create\s+(?:or\s+replace\s+)?(?:(?:global|local|temp|temporary|unlogged|foreign|materialized|recursive)\s+)*"
    r"(?:table|view|sequence|schema)\s+(?:if\s+not\s+exists\s+)?|rename\s+to\s+)((?:[\w$]+\.)?(?:[\w$]+|\"[^\"]+\"))",
    re.IGNORECASE,
)
_HANDLES_MISSING = re.compile(r"\bundefined_(?:table|function|object)\b|'42P01'|'42883'", re.IGNORECASE)

_QUALIFIED = re.compile(r"[\w$]+\.[\w$]+")

#: Where a paren opens a query, FROM has its usual meaning; elsewhere it may be that of extract() or trim().
_QUERY_WORDS = {"select", "with", "insert", "update", "delete", "values", "merge", "table"}
_FROM_NAMES_NO_TABLE = {"fetch", "move", "revoke", "copy", "import", "alter", "grant", "drop", "set"}
_BEFORE_STATEMENT = {";", "begin", "then", "else", "loop", "(", ")", "query"}
_BEFORE_TARGET = {("into", "insert"), ("into", "merge"), ("table", "lock"), ("table", "truncate")}
_NO_RELATION = {
    "set", "select", "values", "rows", "lateral", "only", "of", "on", "current_date", "current_time",
    "current_timestamp", "localtime", "localtimestamp", "current_user", "user", "session_user", "current_role",
    "current_catalog", "current_schema", "nowait", "skip", "table", "strict",
}  # fmt: skip
_ALIAS_ENDS = {
    "where", "join", "left", "right", "full", "inner", "cross", "natural", "on", "using", "group", "order", "limit",
    "having", "union", "except", "intersect", "for", "loop", "returning", "offset", "window", "set", "into", "fetch",
    "tablesample", "then", "when",
}  # fmt: skip
_NOT_A_CALL = {
    "into", "table", "references", "on", "copy", "function", "procedure", "aggregate", "routine", "index", "exists",
    "update", "of", "only", "type", "trigger", "view", "cast",
}  # fmt: skip
_SEQUENCE_CALLS = {"nextval", "currval", "setval"}
RELATION_NAME, FUNCTION_NAME = "relation", "function"


@dataclass(frozen=True)
class Named:
    """Something that a body names.

    :ivar parts: with the schema or without.
    :ivar what: ``relation`` or ``function``.
    """

    parts: tuple[str, ...]
    what: str

    @property
    def text(self) -> str:
        return quote_name(*self.parts) + ("()" if self.what == FUNCTION_NAME else "")


@dataclass(frozen=True)
class KnownNames:
    """What there is now.

    :ivar relations: schema and name of every relation; ``functions`` likewise.
    :ivar schemas: that have a place for what a person makes.
    :ivar passing: names without schema that exist only while something runs, such as transition and temporary tables.
    :ivar gone: what was rolled back and is not there any more.
    """

    relations: frozenset[tuple[str, str]]
    functions: frozenset[tuple[str, str]]
    schemas: frozenset[str]
    passing: frozenset[str] = frozenset()
    gone: frozenset[Named] = frozenset()

    @cached_property
    def relation_names(self) -> frozenset[str]:
        return frozenset(name for _schema, name in self.relations)

    @cached_property
    def function_names(self) -> frozenset[str]:
        return frozenset(name for _schema, name in self.functions)

    def lacks(self, named: Named) -> bool:
        """Whether there is no such thing, for all that a text can tell."""
        if len(named.parts) == 1:
            name = named.parts[0]
            return named.what == RELATION_NAME and name not in self.relation_names and name not in self.passing
        schema, name = named.parts[:2]
        if len(named.parts) != 2 or schema.startswith("pg_"):
            return False
        if schema not in self.schemas:
            return schema not in self.passing
        return (schema, name) not in (self.relations if named.what == RELATION_NAME else self.functions)

    def looked_for(self, named: Named) -> set[str]:
        """By which literals a body would find out whether it is there."""
        schema = {named.parts[0]} - self.schemas if len(named.parts) == 2 else set()
        return {named.parts[-1], ".".join(named.parts)} | schema


def created(body: str) -> set[str]:
    """Names, without their schemas, of tables, views, sequences and schemas that the body creates."""
    return {name.rpartition(".")[2].strip('"').lower() for name in _CREATED.findall(body)}


def missing(body: str, known: KnownNames) -> list[str]:
    """What the body names and the database lacks, as SQL writes it; empty when it minds what is missing itself."""
    if _HANDLES_MISSING.search(body):
        return []
    reading = _Reading(tokens(body))
    reading.read()
    lacking = [each for each in reading.named if known.lacks(each) and each.parts not in reading.own]
    lacking += [named for named in known.gone if reading.mentions(named, known)]
    # Whoever writes the plain name of it in a literal looks first whether it is there.
    return sorted({named.text for named in lacking if not reading.literals & known.looked_for(named)})


def minds(body: str, names: set[str]) -> bool:
    """Whether the body bears that something is missing, or looks first whether there is anything of these names."""
    return bool(_HANDLES_MISSING.search(body) or _Reading(tokens(body)).literals & names)


@dataclass
class _Reading:
    """:ivar own: of its WITH queries the names, which have one part."""

    tokens: list[Token]
    named: list[Named] = field(default_factory=list)
    own: set[tuple[str, ...]] = field(default_factory=set)

    @cached_property
    def literals(self) -> set[str]:
        """That are a name and no more, also without its schema, but for those that sequences are drawn by."""
        names = {
            token.text.replace('"', "")
            for place, token in enumerate(self.tokens)
            if token.kind == LITERAL and not self._names_sequence(place)
        }
        return names | {name.rpartition(".")[2] for name in names if _QUALIFIED.fullmatch(name)}

    def read(self) -> None:
        queries, first, statement = [True], True, ""
        for place, token in enumerate(self.tokens):
            before = self._word(place - 1)
            if token.text == "(" and token.kind == OTHER:
                queries.append(self._word(place + 1) in _QUERY_WORDS)
            elif token.text == ")" and token.kind == OTHER:
                queries = queries[:-1] if len(queries) > 1 else queries
            if len(queries) == 1 and (first or before in (";", "begin", "then", "else", "loop")):
                statement = token.text if token.kind == WORD else ""
            first = False
            if token.kind == WORD:
                self._at_word(place, token.text, before, queries[-1] and statement not in _FROM_NAMES_NO_TABLE)
            elif token.kind == LITERAL and self._names_sequence(place):
                self._sequence(token.text)
            self._call(place, before)

    def _at_word(self, place: int, word: str, before: str, in_query: bool) -> None:
        if word == "as":
            self._with_query(place)
        elif (word == "from" and in_query and before != "distinct") or word == "join":
            self._sources(place + 1, several=word == "from")
        elif (word, before) in _BEFORE_TARGET:
            self._target(place + 1)
        elif word in ("update", "truncate"):
            if place == 0 or before in _BEFORE_STATEMENT:
                self._target(place + 1)
        elif word == "view" and before == "materialized" and self._word(place - 2) == "refresh":
            self._target(place + 1 + (self._word(place + 1) == "concurrently"))

    def _target(self, place: int) -> None:
        """The table that is written, whose columns may follow in parentheses."""
        place += self._word(place) == "only"
        parts, _after = self._name(place)
        if parts and not (len(parts) == 1 and parts[0] in _NO_RELATION):
            self.named.append(Named(parts, RELATION_NAME))

    def _sources(self, place: int, several: bool) -> None:
        """The name at this place and, of a list, those that follow with their aliases; with "(" it is a call."""
        while True:
            while self._word(place) in ("only", "lateral"):
                place += 1
            parts, place = self._name(place)
            called = self._word(place) == "("
            if not parts or called or (len(parts) == 1 and parts[0] in _NO_RELATION) or self._word(place) == "from":
                return
            self.named.append(Named(parts, RELATION_NAME))
            if not several:
                return
            place += self._word(place) == "as"
            if self._is_name(place) and self._word(place) not in _ALIAS_ENDS:
                place += 1
            if self._word(place) != ",":
                return
            place += 1

    def _with_query(self, place: int) -> None:
        """``name [(columns)] AS [[NOT] MATERIALIZED] (``."""
        after = place + 1
        while self._word(after) in ("not", "materialized"):
            after += 1
        if self._word(after) != "(":
            return
        before = place - 1
        if self._word(before) == ")":
            while before > 0 and self._word(before) != "(":
                before -= 1
            before -= 1
        if self._is_name(before):
            self.own.add((self.tokens[before].text,))

    def _call(self, place: int, before: str) -> None:
        """``schema.function (``, from its first part on."""
        if not self._is_name(place) or before in (".", *_NOT_A_CALL):
            return
        parts, after = self._name(place)
        if len(parts) == 2 and self._word(after) == "(":
            self.named.append(Named(parts, FUNCTION_NAME))

    def _names_sequence(self, place: int) -> bool:
        return self._word(place - 1) == "(" and self._word(place - 2) in _SEQUENCE_CALLS

    def _sequence(self, text: str) -> None:
        try:
            self.named.append(Named(parse_name(text, "sequence"), RELATION_NAME))
        except RollbackError:
            return

    def mentions(self, gone: Named, known: KnownNames) -> bool:
        """Whether what is gone is named anywhere, or in a statement that is put together as text."""
        name = gone.parts[-1]
        for place, token in enumerate(self.tokens):
            if token.kind == LITERAL and _in_text(gone, token.text):
                return True
            if not self._is_name(place) or self._word(place - 1) == ".":
                continue
            parts, after = self._name(place)
            called = self._word(after) == "("
            if parts[:2] == gone.parts and (gone.what == RELATION_NAME or called):
                return True
            if parts == (name,) and gone.what == FUNCTION_NAME and called and name not in known.function_names:
                return True
        return False

    def _name(self, place: int) -> tuple[tuple[str, ...], int]:
        """The parts of the name that begins here, and the place behind it."""
        parts: list[str] = []
        while self._is_name(place):
            parts.append(self.tokens[place].text)
            place += 1
            if self._word(place) != "." or not self._is_name(place + 1):
                break
            place += 1
        return tuple(parts), place

    def _is_name(self, place: int) -> bool:
        return 0 <= place < len(self.tokens) and self.tokens[place].kind in (WORD, QUOTED)

    def _word(self, place: int) -> str:
        """The word or sign at this place; empty for names in quotes, literals, and beyond the ends."""
        if not 0 <= place < len(self.tokens) or self.tokens[place].kind in (LITERAL, QUOTED):
            return ""
        return self.tokens[place].text


def _in_text(gone: Named, text: str) -> bool:
    """In an SQL statement that the function executes as text."""
    if gone.what != RELATION_NAME:
        return False
    name = r"\s*\.\s*".join(rf'"?{re.escape(part)}"?' for part in gone.parts)
    return re.search(rf"\b(?:from|join|into|update|table|only)\s+{name}(?![\w$.])", text, re.IGNORECASE) is not None
