# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The blast radius of a teardown as a picture: Mermaid for Markdown, SVG for HTML. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.report_content import plain
from ansible_collections.pgops.rollback.plugins.module_utils.report_plan import EFFECTS

#: More boxes than these are no picture; the tables have all.
_MOST_NODES = 60

_WIDTH, _HEIGHT, _GAP, _ROOM, _LETTERS = 330, 26, 10, 130, 46

#: By the effect: the border's colour, which is told apart without colour by the words on the arrows, too.
_COLOURS = {"goes": "#777777", "dropped": "#c0392b", "breaks": "#c0392b", "possible": "#b7791f", "remains": "#2f855a"}


@dataclass(frozen=True)
class Node:
    """:ivar effect: a key of EFFECTS, or ``goes`` of what the plan is for."""

    label: str
    effect: str


@dataclass(frozen=True)
class Picture:
    """:ivar edges: numbers of two nodes; the second depends on the first.
    :ivar left_out: how many nodes there was no room for.
    """

    nodes: list[Node]
    edges: list[tuple[int, int]]
    left_out: int = 0


def picture_of(plan: dict[str, Any]) -> Picture:
    """Sequences of columns go with their tables and are left out."""
    objects = [each for each in plan["objects"] if not (each["kind"] == "sequence" and each["through"])]
    every = [
        *(Node(_label(each), "goes") for each in objects),
        *(Node(_label(each), each["effect"]) for each in [*plan["dependents"], *plan["survivors"]]),
    ]
    nodes = every[:_MOST_NODES]
    numbers = {node.label: number for number, node in reversed(list(enumerate(nodes)))}
    edges = [
        (numbers[use], numbers[_label(each)])
        for each in [*plan["dependents"], *plan["survivors"]]
        for use in each["uses"]
        if use in numbers and _label(each) in numbers and numbers[use] != numbers[_label(each)]
    ]
    return Picture(nodes, sorted(set(edges)), len(every) - len(nodes))


def mermaid(picture: Picture) -> str:
    lines = ["flowchart LR"]
    lines += [f'    n{number}["{_entities(node.label)}"]' for number, node in enumerate(picture.nodes)]
    for first, second in picture.edges:
        lines.append(f'    n{first} -- "{EFFECTS[picture.nodes[second].effect]}" --> n{second}')
    return "\n".join(lines)


def svg(picture: Picture) -> str:
    """What goes on the left, what hangs on it on the right. Text is shortened; the whole of it is its title."""
    left = [number for number, node in enumerate(picture.nodes) if node.effect == "goes"]
    right = [number for number, node in enumerate(picture.nodes) if node.effect != "goes"]
    place = {number: (0, row) for row, number in enumerate(left)} | {n: (1, row) for row, n in enumerate(right)}
    height = max(len(left), len(right), 1) * (_HEIGHT + _GAP)
    width = 2 * _WIDTH + _ROOM
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" font-size="12"'
        ' font-family="sans-serif" fill="currentColor">',
        f"<title>{len(left)} objects go, {len(right)} hang on them</title>",
    ]
    for first, second in picture.edges:
        (column, row), (to_column, to_row) = place[first], place[second]
        x, y = column * (_WIDTH + _ROOM) + _WIDTH, row * (_HEIGHT + _GAP) + _HEIGHT // 2
        to_x = to_column * (_WIDTH + _ROOM) + (0 if to_column > column else _WIDTH)
        to_y = to_row * (_HEIGHT + _GAP) + _HEIGHT // 2
        colour = _COLOURS[picture.nodes[second].effect]
        bend = _ROOM // 2
        lines.append(
            f'<path d="M{x},{y} C{x + bend},{y} {to_x + (bend if to_column == column else -bend)},{to_y} {to_x},{to_y}"'
            f' fill="none" stroke="{colour}"/>'
        )
    for number, node in enumerate(picture.nodes):
        column, row = place[number]
        x, y = column * (_WIDTH + _ROOM), row * (_HEIGHT + _GAP)
        said = node.label if node.effect == "goes" else f"{EFFECTS[node.effect]}: {node.label}"
        lines += [
            f'<rect x="{x + 1}" y="{y + 1}" width="{_WIDTH - 2}" height="{_HEIGHT - 2}" rx="4" fill="none"'
            f' stroke="{_COLOURS[node.effect]}"/>',
            f'<text x="{x + 8}" y="{y + 17}">{escape(_shortened(said))}<title>{escape(said)}</title></text>',
        ]
    return "\n".join([*lines, "</svg>"])


def _label(each: dict[str, Any]) -> str:
    return plain(f"{each['kind']} {each['name']}")


def _shortened(text: str) -> str:
    return text if len(text) <= _LETTERS else f"{text[: _LETTERS // 2]}…{text[-_LETTERS // 2 + 1 :]}"


def _entities(text: str) -> str:
    """Mermaid's own, for everything that is not plain: a name may hold quotes, brackets and the fence's backticks."""
    return "".join(each if each.isalnum() or each in " ._,()-" else f"#{ord(each)};" for each in text)
