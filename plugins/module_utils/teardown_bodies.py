# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which functions will name, in the text of their bodies, something that is gone. Pure.

``certain`` is what names it by its schema, or without where nothing else can be meant; ``possible`` what only may mean
it: a word in a literal that is executed, a name that others have, too, a body that bears that something is missing. No
text tells whether that line is ever reached.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.names import parse_name
from ansible_collections.pgops.rollback.plugins.module_utils.sql_tokens import LITERAL, QUOTED, WORD, Token, tokens
from ansible_collections.pgops.rollback.plugins.module_utils.verification_bodies import minds, names_in
from ansible_collections.pgops.rollback.plugins.module_utils.verification_names import FUNCTION_NAME, Named

#: Languages whose text is SQL.
_SQL = ("sql", "plpgsql")

_WORD = re.compile(r"[\w$]+")


@dataclass(frozen=True)
class Gone:
    """:ivar named: schema and name.
    :ivar label: in words.
    :ivar namesakes: schemas with something else of the same name, that stays.
    :ivar certain: it is gone for certain; else it may fail itself.
    """

    named: Named
    label: str
    namesakes: frozenset[str] = field(default=frozenset())
    certain: bool = True

    @property
    def name(self) -> str:
        return self.named.parts[-1]


@dataclass(frozen=True)
class Mention:
    gone: Gone
    certain: bool
    line: int


def path_of(setting: str | None) -> tuple[str, ...] | None:
    """The schemas of a search_path that a function sets itself."""
    if setting is None:
        return None
    found: list[str] = []
    for part in setting.split(","):
        try:
            found += parse_name(part, "schema")
        except RollbackError:
            continue  # "" and "$user"
    return tuple(found)


class Wanted:
    """What is looked for, arranged so that a body that names nothing of it is soon done with: most do not."""

    def __init__(self, gone: list[Gone]) -> None:
        self._by_word: dict[str, list[Gone]] = {}
        self._odd: list[tuple[str, Gone]] = []
        for each in gone:
            name = each.name.lower()
            if _WORD.fullmatch(name):
                self._by_word.setdefault(name, []).append(each)
            else:
                self._odd.append((name.replace('"', '""'), each))

    def in_text(self, body: str) -> list[Gone]:
        """Those whose name is anywhere in the body, a comment or a part of another name not excepted."""
        lower = body.lower()
        found = [each for word in self._by_word.keys() & set(_WORD.findall(lower)) for each in self._by_word[word]]
        return found + [each for name, each in self._odd if name in lower]


def mentions(body: str, language: str, path: tuple[str, ...] | None, wanted: Wanted) -> list[Mention]:
    """The first mention of each, the certain ones before the others.

    :param path: from path_of().
    """
    gone = wanted.in_text(body)
    if gone and language in _SQL:
        words = tokens(body)
        texts = {word.text for word in words if word.kind != LITERAL}
        literals = "\n".join(word.text for word in words if word.kind == LITERAL).lower()
        # Not those that only a comment names.
        gone = [each for each in gone if each.name in texts or each.name.lower().replace('"', '""') in literals]
    if not gone:
        return []
    if language not in _SQL:
        found = [mention for each in gone for mention in _words(body, each)]
    else:
        in_place, own = names_in(body)
        found = [mention for each in gone for mention in _mentions(words, in_place, path, each, each.name in own)]
        names = {each.name for each in gone} | {".".join(each.named.parts) for each in gone}
        if found and minds(body, names):
            found = [replace(mention, certain=False) for mention in found]
    best: dict[Named, Mention] = {}
    for mention in found:
        so_far = best.get(mention.gone.named)
        if so_far is None or (not mention.certain, mention.line) < (not so_far.certain, so_far.line):
            best[mention.gone.named] = mention
    return sorted(best.values(), key=lambda each: (not each.certain, each.line, each.gone.label))


def _words(body: str, gone: Gone) -> Iterator[Mention]:
    """In a language that is not read here, its name as a word."""
    pattern = re.compile(rf"(?<![\w$]){re.escape(gone.name)}(?![\w$])", re.IGNORECASE)
    for number, line in enumerate(body.splitlines(), 1):
        if pattern.search(line):
            yield Mention(gone, False, number)


def _mentions(
    words: list[Token], in_place: list[Named], path: tuple[str, ...] | None, gone: Gone, hidden: bool
) -> Iterator[Mention]:
    """:param hidden: a WITH query of the body has its name, which without a schema then means that."""
    for named in in_place:
        if named.what == gone.named.what and (meant := _meant(named.parts, path, gone)) is not None:
            yield Mention(gone, meant and gone.certain, named.line)
    for place, word in enumerate(words):
        if word.kind == LITERAL:
            yield from _in_literal(word, gone)
        elif word.kind in (WORD, QUOTED) and word.text == gone.name:
            meant = _meant_here(words, place, path, gone)
            if meant is not None and not (hidden and _sign(words, place - 1) != "."):
                yield Mention(gone, meant and gone.certain, word.line)


def _meant(parts: tuple[str, ...], path: tuple[str, ...] | None, gone: Gone) -> bool | None:
    """Whether the name means it for certain; None where it does not."""
    if len(parts) > 1:
        return True if parts[:2] == gone.named.parts else None
    if parts != (gone.name,):
        return None
    if path is None:
        return not gone.namesakes
    first = next((schema for schema in path if schema == gone.named.parts[0] or schema in gone.namesakes), None)
    return True if first == gone.named.parts[0] else None


def _meant_here(words: list[Token], place: int, path: tuple[str, ...] | None, gone: Gone) -> bool | None:
    """The same of a word anywhere: with its schema it means it; alone, only as a call or as the type of a variable."""
    called = _sign(words, place + 1) == "("
    if gone.named.what == FUNCTION_NAME and not called:
        return None
    if _sign(words, place - 1) == ".":
        qualified = place > 1 and words[place - 2].text == gone.named.parts[0] and _sign(words, place - 3) != "."
        return True if qualified else None
    typed = _sign(words, place + 1) == "%" or (_sign(words, place + 1) == "." and _sign(words, place + 3) == "%")
    meant = _meant((gone.name,), path, gone)
    if meant is None or typed or gone.named.what == FUNCTION_NAME:
        return meant
    # A column or a variable may have the same name, or the type of a variable is meant.
    return False if _may_name(words, place) else None


def _may_name(words: list[Token], place: int) -> bool:
    """Whether it is neither the table before a column's name, which is named elsewhere, nor a value."""
    return _sign(words, place + 1) != "." and _sign(words, place - 1) not in (":=", "=")


def _in_literal(literal: Token, gone: Gone) -> Iterator[Mention]:
    """In a text that may be executed, or may be looked up as a name."""
    if gone.name.lower().replace('"', '""') not in literal.text.lower():
        return
    inner = tokens(literal.text)
    for place, word in enumerate(inner):
        if word.kind == LITERAL:
            nested = Token(LITERAL, word.text, literal.line + word.line - 1)
            yield from _in_literal(nested, gone)
        elif word.kind in (WORD, QUOTED) and word.text == gone.name:
            other = _sign(inner, place - 1) == "." and inner[place - 2].text != gone.named.parts[0]
            if not other:
                yield Mention(gone, False, literal.line + word.line - 1)


def _sign(words: list[Token], place: int) -> str:
    """The word or sign at this place; empty for a name in quotes, a literal, and beyond the ends."""
    if not 0 <= place < len(words) or words[place].kind in (LITERAL, QUOTED):
        return ""
    return words[place].text
