# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The blocks of code in a Markdown page, so that the tests can do what it says."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: Of a block, in a comment right above it: why the tests do not run it.
_NOT_RUN = re.compile(r"^<!-- not run: (.+) -->$")


@dataclass(frozen=True)
class Block:
    """:ivar heading: the nearest one above it.
    :ivar language: after the fence; empty for an indented block.
    :ivar line: of the page, from 1.
    :ivar not_run: the reason, where the page gives one.
    """

    heading: str
    language: str
    text: str
    line: int
    not_run: str = ""


def blocks(page: Path) -> list[Block]:
    """Fenced and indented blocks, in their order."""
    return list(_blocks(page.read_text(encoding="utf-8").splitlines()))


def _blocks(lines: list[str]) -> Iterator[Block]:
    heading = ""
    number = 0
    while number < len(lines):
        start, line = number, lines[number]
        number += 1
        if match := re.match(r"#+ +(.*)", line):
            heading = match[1].strip()
        elif fence := re.match(r" *(```+) *(\w*)", line):
            end = [line.strip() for line in lines].index(fence[1], number)
            yield _block(heading, fence[2], lines, start, range(number, end))
            number = end + 1
        elif line.startswith("    ") and (start == 0 or not lines[start - 1].strip() or _reason(lines, start)):
            while number < len(lines) and (lines[number].startswith("    ") or not lines[number].strip()):
                number += 1
            yield _block(heading, "", lines, start, range(start, number))


def _block(heading: str, language: str, lines: list[str], start: int, inside: range) -> Block:
    text = textwrap.dedent("\n".join(lines[inside.start : inside.stop])).strip("\n") + "\n"
    return Block(heading, language, text, start + 1, _reason(lines, start))


def _reason(lines: list[str], start: int) -> str:
    """A comment above the block, with or without an empty line in between."""
    above = next((line for line in reversed(lines[max(0, start - 2) : start]) if line.strip()), "")
    match = _NOT_RUN.match(above.strip())
    return match[1] if match else ""
