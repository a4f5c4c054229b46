# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which relations and functions the text of a function names, where nothing on the server can say so.

Pure. A body is read as tokens, so comments and literals never look like names; where it is not certain that a word
names something, it is not taken for a name.
"""

from __future__ import annotations

import re
from collections.abc import Set
from dataclasses import dataclass, field
from functools import cached_property

from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.names import parse_name
from ansible_collections.pgops.rollback.plugins.module_utils.sql_tokens import (
    LITERAL,
    OTHER,
    QUOTED,
    WORD,
    Token,
    tokens,
)
from ansible_collections.pgops.rollback.plugins.module_utils.verification_names import (
    FUNCTION_NAME,
    RELATION_NAME,
    TYPE_NAME,
    KnownNames,
    Named,
)

#: What a function creates, in its text or in a literal that it executes: no other function's use of it is a fault.
_CREATED = re.compile(
    r"\b(?:create\s+(?:or\s+replace\s+)?(?:(?:global|local|temp|temporary|unlogged|foreign|materialized|recursive)\s+)*"
    r"(?:table|view|sequence|schema|type|domain|function|procedure|aggregate)\s+(?:if\s+not\s+exists\s+)?|rename\s+to\s+)((?:[\w$]+\.)?(?:[\w$]+|\"[^\"]+\"))",
    re.IGNORECASE,
)
#: The path of the session may not be the one that the body looks along.
_SETS_PATH = re.compile(r"\bsearch_path\b", re.IGNORECASE)
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
#: After these a name with a parenthesis and no schema is a call; elsewhere it may be an alias, a type or an index.
_BEFORE_CALL = {
    *"(,=+-*/%<>|&^~!@#[?", "select", "distinct", "all", "where", "and", "or", "not", "having", "by", "when", "then",
    "else", "case", "in", "between", "like", "ilike", "from", "join", "lateral", "limit", "offset", "return", "perform",
    "call", "if", "elsif", "elseif", "while", "assert", "returning", "default", "reverse", "execute", "query",
}  # fmt: skip
_DEFINITIONS = {"create", "alter", "drop", "comment", "grant", "revoke", "copy", "security"}
#: Words of PL/pgSQL that SQL does not know and a parenthesis may follow.
_PLPGSQL_WORDS = {"elsif", "elseif", "while", "perform", "assert", "reverse", "query", "exit", "foreach", "raise"}
_SEQUENCE_CALLS = {"nextval", "currval", "setval"}
#: Where a body finds out what there is, besides functions such as to_regclass() and has_table_privilege().
_CATALOGS = {
    "information_schema", "pg_class", "pg_tables", "pg_views", "pg_matviews", "pg_sequences", "pg_proc", "pg_type",
    "pg_namespace", "pg_attribute",
}  # fmt: skip


def names_in(body: str) -> tuple[list[Named], set[str]]:
    """Everything that stands where only the name of a relation, or of a function with its schema, can stand; and the
    names of the body's own WITH queries, which are not among it.
    """
    reading = Reading(tokens(body))
    reading.read()
    named = [each for each in reading.named if each.parts not in reading.own]
    return named, {name for (name,) in reading.own}


def created(body: str) -> set[str]:
    """Names, without their schemas, of what the body creates."""
    return {name.rpartition(".")[2].strip('"').lower() for name in _CREATED.findall(body)}


def sets_path(body: str) -> bool:
    """Whether it may look for names elsewhere than where it begins to."""
    return bool(_SETS_PATH.search(body))


def may_name(lower_body: str, name: str) -> bool:
    """What takes no time for many names and long bodies."""
    return name.replace('"', '""').lower() in lower_body


def missing(body: str, known: KnownNames) -> list[Named]:
    """What the body names and the database lacks; empty when it minds what is missing itself."""
    if _HANDLES_MISSING.search(body):
        return []
    reading = Reading(tokens(body), known.keywords)
    reading.read()
    # Whoever writes the plain name of it in a literal may look first whether it is there. Where it is known to be gone,
    # there has to be something to look with.
    # What an extension brings along is there with it.
    lacking = [] if "pg_extension" in reading.words else [
        each for each in reading.named
        if known.lacks(each) and each.parts not in reading.own and not reading.literals & known.looked_for(each)
    ]  # fmt: skip
    lower_body = body.lower()
    gone = [
        each for each in known.gone
        if may_name(lower_body, each.parts[-1]) and reading.mentions(each, known)
        and not (reading.looks and reading.literals & known.looked_for(each))
    ]  # fmt: skip
    whole = {(each.parts[-1:], each.what) for each in gone}
    return [*(each for each in lacking if (each.parts, each.what) not in whole), *gone]


def minds(body: str, names: set[str]) -> bool:
    """Whether the body bears that something is missing, or looks first whether there is anything of these names."""
    return bool(_HANDLES_MISSING.search(body) or Reading(tokens(body)).literals & names)


@dataclass
class Reading:
    """:ivar keywords: of SQL.
    :ivar named: what it certainly names, once it is read.
    :ivar own: of its WITH queries the names, which have one part.
    """

    tokens: list[Token]
    keywords: Set[str] = frozenset()
    named: list[Named] = field(default_factory=list)
    own: set[tuple[str, ...]] = field(default_factory=set)

    @cached_property
    def words(self) -> set[str]:
        return {token.text for token in self.tokens if token.kind == WORD}

    @property
    def executes(self) -> bool:
        """Whether it runs statements that are put together as text."""
        return "execute" in self.words

    @cached_property
    def looks(self) -> bool:
        """Whether it looks at the catalogs."""
        return bool(self.words & _CATALOGS) or any(
            word.startswith("to_reg") or (word.startswith("has_") and word.endswith("_privilege"))
            for word in self.words
        )

    @cached_property
    def cursors(self) -> set[str]:
        """That it declares, and may open with arguments."""
        found = set()
        for place, token in enumerate(self.tokens):
            if (token.kind, token.text) == (WORD, "cursor"):
                before = place - 1
                while self.word(before) in ("no", "scroll"):
                    before -= 1
                found.add(self.tokens[before].text)
        return found

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
            before = self.word(place - 1)
            if token.text == "(" and token.kind == OTHER:
                queries.append(self.word(place + 1) in _QUERY_WORDS)
            elif token.text == ")" and token.kind == OTHER:
                queries = queries[:-1] if len(queries) > 1 else queries
            if len(queries) == 1 and (first or before in (";", "begin", "then", "else", "loop")):
                statement = token.text if token.kind == WORD else ""
            first = False
            if token.kind == WORD:
                self._at_word(place, token.text, before, queries[-1] and statement not in _FROM_NAMES_NO_TABLE)
            elif token.kind == LITERAL and self._names_sequence(place):
                self._sequence(token)
            if statement not in _DEFINITIONS:
                self._call(place, before)
            self._cast(place)

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
        elif word == "view" and before == "materialized" and self.word(place - 2) == "refresh":
            self._target(place + 1 + (self.word(place + 1) == "concurrently"))

    def _target(self, place: int) -> None:
        """The table that is written, whose columns may follow in parentheses."""
        place += self.word(place) == "only"
        parts, _after = self.name(place)
        if parts and not (len(parts) == 1 and parts[0] in _NO_RELATION):
            self.named.append(Named(parts, RELATION_NAME, line=self.tokens[place].line))

    def _sources(self, place: int, several: bool) -> None:
        """The name at this place and, of a list, those that follow with their aliases; with "(" it is a call."""
        while True:
            while self.word(place) in ("only", "lateral"):
                place += 1
            line = self.tokens[place].line if place < len(self.tokens) else 0
            parts, place = self.name(place)
            called = self.word(place) == "("
            if not parts or called or (len(parts) == 1 and parts[0] in _NO_RELATION) or self.word(place) == "from":
                return
            self.named.append(Named(parts, RELATION_NAME, line=line))
            if not several:
                return
            place += self.word(place) == "as"
            if self.is_name(place) and self.word(place) not in _ALIAS_ENDS:
                place += 1
            if self.word(place) != ",":
                return
            place += 1

    def _with_query(self, place: int) -> None:
        """``name [(columns)] AS [[NOT] MATERIALIZED] (``."""
        after = place + 1
        while self.word(after) in ("not", "materialized"):
            after += 1
        if self.word(after) != "(":
            return
        before = place - 1
        if self.word(before) == ")":
            while before > 0 and self.word(before) != "(":
                before -= 1
            before -= 1
        if self.is_name(before):
            self.own.add((self.tokens[before].text,))

    def _call(self, place: int, before: str) -> None:
        """``schema.function (``, from its first part on, and ``function (`` where that cannot be anything else."""
        if not self.is_name(place) or before in (".", *_NOT_A_CALL):
            return
        parts, after = self.name(place)
        if self.word(after) == "(" and (len(parts) == 2 or (len(parts) == 1 and self._calls_plainly(place, before))):
            self.named.append(Named(parts, FUNCTION_NAME, self._arguments(after), self.tokens[place].line))

    def _calls_plainly(self, place: int, before: str) -> bool:
        token = self.tokens[place]
        if before not in _BEFORE_CALL or token.text in self.cursors:
            return False
        return token.kind == QUOTED or not (token.text in self.keywords or token.text in _PLPGSQL_WORDS)

    def _arguments(self, place: int) -> int | None:
        """How many are in the parenthesis that opens here."""
        depth, commas = 0, 0
        for number, token in enumerate(self.tokens[place:]):
            if token.kind != OTHER:
                continue
            depth += (token.text in "([") - (token.text in ")]")
            commas += token.text == "," and depth == 1
            if depth == 0:
                return 0 if number == 1 else commas + 1
        return None

    def _cast(self, place: int) -> None:
        """``::type``."""
        if not self.is_name(place) or (self.word(place - 2), self.word(place - 1)) != (":", ":"):
            return
        parts, after = self.name(place)
        keyword = self.tokens[place].kind == WORD and len(parts) == 1 and parts[0] in self.keywords
        if not keyword and len(parts) <= 2 and self.word(after) != "%":
            self.named.append(Named(parts, TYPE_NAME))

    def _names_sequence(self, place: int) -> bool:
        return self.word(place - 1) == "(" and self.word(place - 2) in _SEQUENCE_CALLS

    def _sequence(self, token: Token) -> None:
        try:
            self.named.append(Named(parse_name(token.text, "sequence"), RELATION_NAME, line=token.line))
        except RollbackError:
            return

    def mentions(self, gone: Named, known: KnownNames) -> bool:
        """Whether what is gone is named anywhere, or in a statement that is put together as text."""
        alone = (gone.parts[-1],) if known.misses(gone) else ()
        if alone and Named(alone, gone.what) in self.named and alone not in self.own:
            return True
        for place, token in enumerate(self.tokens):
            if token.kind == LITERAL and self.executes and _in_text(gone, bool(alone), token.text):
                return True
            if not self.is_name(place) or self.word(place - 1) == ".":
                continue
            parts, after = self.name(place)
            if gone.what == FUNCTION_NAME:
                called = self.word(after) == "(" and self.word(place - 1) not in _NOT_A_CALL
                if called and (parts == gone.parts or (parts == alone and token.text not in self.cursors)):
                    return True
            elif parts[:2] == gone.parts or (parts == alone and self._is_type(place, after)):
                return True
        return False

    def _is_type(self, place: int, after: int) -> bool:
        """``::name``, ``CAST (x AS name)`` or ``name 'literal'``."""
        literal = after < len(self.tokens) and self.tokens[after].kind == LITERAL
        cast = self.word(place - 1) == "as" and self.word(after) == ")" and "cast" in self.words
        return (self.word(place - 2), self.word(place - 1)) == (":", ":") or cast or literal

    def name(self, place: int) -> tuple[tuple[str, ...], int]:
        """The parts of the name that begins here, and the place behind it."""
        parts: list[str] = []
        while self.is_name(place):
            parts.append(self.tokens[place].text)
            place += 1
            if self.word(place) != "." or not self.is_name(place + 1):
                break
            place += 1
        return tuple(parts), place

    def is_name(self, place: int) -> bool:
        return 0 <= place < len(self.tokens) and self.is_name_token(self.tokens[place])

    @staticmethod
    def is_name_token(token: Token) -> bool:
        return token.kind in (WORD, QUOTED)

    def word(self, place: int) -> str:
        """The word or sign at this place; empty for names in quotes, literals, and beyond the ends."""
        if not 0 <= place < len(self.tokens) or self.tokens[place].kind in (LITERAL, QUOTED):
            return ""
        return self.tokens[place].text


def _in_text(gone: Named, alone: bool, text: str) -> bool:
    """In an SQL statement that the function executes as text.

    :param alone: whether the name is taken without its schema, too.
    """
    names = "|".join(
        r"\s*\.\s*".join(rf'"?{re.escape(part)}"?' for part in parts)
        for parts in (gone.parts, gone.parts[-1:])[: 1 + alone]
    )
    pattern = {
        RELATION_NAME: rf"\A(?:{names})\Z|(?:\b(?:from|join|into|update|table|only)\s+|::\s*)(?:{names})(?![\w$.])",
        FUNCTION_NAME: rf"\A(?:{names})\Z|(?<![\w$.])(?:{names})\s*\(",
        TYPE_NAME: rf"(?:::\s*|\bas\s+)(?:{names})(?![\w$.])",
    }[gone.what]
    return re.search(pattern, text, re.IGNORECASE) is not None
