# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Columns that tables have lost, in the text of functions. Pure.

A column's name alone tells little, so the body has to name its table as well, and no other table that it names may have
such a column.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Set
from dataclasses import dataclass

from ansible_collections.pgops.rollback.plugins.module_utils.sql_tokens import LITERAL, WORD, tokens
from ansible_collections.pgops.rollback.plugins.module_utils.verification_bodies import Reading, may_name
from ansible_collections.pgops.rollback.plugins.module_utils.verification_names import Named


@dataclass(frozen=True)
class LostColumns:
    """:ivar lost: schema, table and column of each.
    :ivar tables: by their schema and name those columns of tables that are called like one of the lost.
    :ivar keywords: of SQL.
    """

    lost: Collection[Named]
    tables: dict[tuple[str, str], set[str]]
    keywords: Set[str]

    def named(self, body: str, declared: Set[str], triggered: Set[tuple[str, str]]) -> list[Named]:
        """Those that the body names.

        :param declared: the names of its arguments.
        :param triggered: schema and name of the tables whose triggers call it.
        """
        lower_body = body.lower()
        lost = [each for each in self.lost if may_name(lower_body, each.parts[2])]
        if not lost:
            return []
        reading = Reading(tokens(body), self.keywords)
        there = {token.text for token in reading.tokens if reading.is_name_token(token)}
        texts = [token.text for token in reading.tokens if token.kind == LITERAL] if reading.executes else []
        others = {table for table in self.tables if table[1] in there} | triggered
        variables = declared | _declared(reading)
        return [
            each for each in lost
            if any(_has_words(text, each.parts[1:]) for text in texts)
            or ((each.parts[1] in there or each.parts[:2] in triggered)
                and not any(each.parts[2] in self.tables.get(table, ()) for table in others)
                and self._used(reading, each.parts[2], variables))
        ]  # fmt: skip

    def _used(self, reading: Reading, column: str, variables: Set[str]) -> bool:
        """As a column: neither what is declared, nor an alias, a type or a function."""
        for place, token in enumerate(reading.tokens):
            if not reading.is_name(place) or token.text != column or reading.word(place + 1) == "(":
                continue
            before = reading.word(place - 1)
            if before == ".":
                return True
            behind_name = reading.is_name(place - 1) and not (
                reading.tokens[place - 1].kind == WORD and before in self.keywords
            )
            if column not in variables and before not in (":", "as") and not behind_name:
                return True
        return False


def _declared(reading: Reading) -> set[str]:
    """Its variables: what follows DECLARE, and there each semicolon; and those of FOR."""
    found, declaring = set(), False
    for place in range(len(reading.tokens)):
        word = reading.word(place)
        if word in ("declare", "begin"):
            declaring = word == "declare"
        if word in ("declare", "for", "foreach") or (declaring and word == ";"):
            name, _after = reading.name(place + 1)
            found |= set(name[:1])
    return found


def _has_words(text: str, words: tuple[str, ...]) -> bool:
    return all(re.search(rf"(?<![\w$]){re.escape(word)}(?![\w$])", text, re.IGNORECASE) for word in words)
