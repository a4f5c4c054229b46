# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""SQL and PL/pgSQL text as tokens, without its comments. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

WORD, QUOTED, LITERAL, OTHER = "word", "quoted", "literal", "other"

_TOKEN = re.compile(
    r"""(?P<blank>\s+|--[^\n]*)
      | (?P<comment>/\*)
      | (?P<literal>[eE]'(?:[^'\\]|\\.|'')*'|(?:[uU]&|[bBxXnN])?'(?:[^']|'')*'
                   |\$(?P<tag>[A-Za-z_]\w*)?\$.*?\$(?(tag)(?P=tag))\$)
      | (?P<quoted>"(?:[^"]|"")+")
      | (?P<word>[^\W\d][\w$]*)
      | (?P<other>\$?\d[\w.]*|.)""",
    re.DOTALL | re.VERBOSE,
)  # fmt: skip
_COMMENT_SIGN = re.compile(r"/\*|\*/")


@dataclass(frozen=True)
class Token:
    """:ivar text: of a word in lower case, of a quoted name and a literal without the quotes.
    :ivar line: of the body, from 1 on, in which it begins.
    """

    kind: str
    text: str
    line: int = field(default=0, compare=False)


def tokens(body: str) -> list[Token]:
    found: list[Token] = []
    place, line, counted = 0, 1, 0
    while match := _TOKEN.match(body, place):
        line += body.count("\n", counted, match.start())
        counted = match.start()
        place = match.end()
        kind, text = OTHER, match.group()
        if match["comment"] is not None:
            place = _behind_comment(body, place)
            continue
        if match["blank"] is not None:
            continue
        if match["literal"] is not None:
            border = "$" + (match["tag"] or "") + "$" if text[0] == "$" else "'"
            kind, text = LITERAL, text.partition(border)[2].removesuffix(border)
        elif match["quoted"] is not None:
            kind, text = QUOTED, text[1:-1].replace('""', '"')
        elif match["word"] is not None:
            kind, text = WORD, text.lower()
        found.append(Token(kind, text, line))
    return found


def _behind_comment(body: str, place: int) -> int:
    """Where the comment ends whose beginning ends here; one may hold others."""
    depth = 1
    for sign in _COMMENT_SIGN.finditer(body, place):
        depth += 1 if sign.group() == "/*" else -1
        if depth == 0:
            return sign.end()
    return len(body)
