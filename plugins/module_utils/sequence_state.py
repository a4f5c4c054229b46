# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a sequence's definition, its value and the extreme in the data mean together. Pure: no database here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.sequence_catalog import Sequence

#: From this share of the range on, a sequence is ``near_limit``.
NEAR_LIMIT_PERCENT = 80

#: In the order in which they are looked for; the first that holds is the state.
STATES = ("unreadable", "cycles", "unfed", "exhausted", "behind", "near_limit", "ahead", "ok")


@dataclass(frozen=True)
class Position:
    """Where a sequence stands: ``last_value`` and ``is_called`` as its relation holds them."""

    last_value: int
    is_called: bool

    def next_value(self, increment: int) -> int:
        """The value nextval will give, unless it lies beyond the bounds."""
        return self.last_value + increment if self.is_called else self.last_value


@dataclass(frozen=True)
class Assessment:
    """A sequence judged.

    :ivar state: one of STATES.
    :ivar message: the reason, one sentence; empty for ``ok`` and ``ahead``.
    :ivar extreme: highest value in the data (lowest for a descending sequence); None without rows or comparison.
    :ivar next_value: what nextval gives now; None when it gives an error.
    :ivar target: where a repair would set the sequence; None when nothing is to be set or nothing can be.
    :ivar percent_used: of the smaller of the sequence's and its columns' range.
    """

    state: str
    message: str
    position: Position | None = None
    extreme: int | None = None
    next_value: int | None = None
    target: Position | None = None
    percent_used: float | None = None


def bounds(sequence: Sequence) -> tuple[int, int]:
    """The lowest and highest value that both the sequence and every column it feeds can hold."""
    limits = [column.highest for column in sequence.columns if column.comparable]
    highest = [limit for limit in limits if limit is not None]
    return (
        max([sequence.min_value, *(-limit - 1 for limit in highest)]),
        min([sequence.max_value, *highest]),
    )


def assess(sequence: Sequence, position: Position | None, extreme: int | None, problem: str = "") -> Assessment:
    """Judge a sequence.

    :param position: None when it could not be read.
    :param extreme: None when its columns hold no value.
    :param problem: why reading failed, if it did; empty when privileges already tell.
    """
    missing = sequence.missing_to_read
    if missing or position is None:
        return Assessment("unreadable", f"Missing privilege: {'; '.join(missing)}." if missing else problem, position)
    value = position.next_value(sequence.increment)
    next_value = value if sequence.min_value <= value <= sequence.max_value else None
    if sequence.cycle:
        state, message = "cycles", "It starts over at its limit by design (CYCLE), so it is not repaired."
    elif not sequence.columns:
        state, message = "unfed", "No column's default uses it."
    elif not sequence.compared_columns:
        names = ", ".join(column.name for column in sequence.columns)
        state, message = "unreadable", f"The values of {names} cannot be compared with a sequence."
    else:
        return _compare(sequence, position, next_value, extreme)
    return Assessment(state, message, position, extreme, next_value)


def _compare(sequence: Sequence, position: Position, next_value: int | None, extreme: int | None) -> Assessment:
    """Judge a sequence by the data."""
    low, high = bounds(sequence)
    upward = sequence.increment > 0
    value = position.next_value(sequence.increment)
    # The repaired sequence stays on its grid: an increment of 2 keeps to odd numbers where it gave odd ones.
    steps = 0 if extreme is None else (extreme - value) // sequence.increment + 1
    behind = steps > 0
    repaired = value + max(steps, 0) * sequence.increment
    limit = high if upward else low
    target = None
    percent_used = 100.0 if high < low else _percent_used(repaired - sequence.increment, low, high, upward)
    if high < low or (repaired > high if upward else repaired < low):
        state, message = "exhausted", f"The next value would lie beyond {limit}, the end of its range."
    elif behind:
        state, message = "behind", "Its next value is already in the data, or is passed by it."
        target = Position(repaired - sequence.increment, True)
    elif percent_used >= NEAR_LIMIT_PERCENT:
        state, message = "near_limit", f"{percent_used} % of its range up to {limit} is used."
    else:
        in_step = value == (sequence.start if extreme is None else extreme + sequence.increment)
        state, message = "ok" if in_step else "ahead", ""
    return Assessment(state, message, position, extreme, next_value, target, percent_used)


def _percent_used(last: int, low: int, high: int, upward: bool) -> float:
    used = (last - low + 1) if upward else (high - last + 1)
    return round(min(max(100 * used / (high - low + 1), 0.0), 100.0), 1)


def describe(sequence: Sequence, assessment: Assessment) -> dict[str, Any]:
    """A sequence and its assessment as modules return them (documented in sequence_info)."""
    position = assessment.position
    return {
        "name": sequence.name,
        "schema": sequence.schema,
        "sequence": sequence.sequence,
        "state": assessment.state,
        "message": assessment.message,
        "columns": [
            {
                "column": column.name,
                "table": column.table_name,
                "kind": column.kind,
                "data_type": column.data_type,
                "indexed": column.indexed,
            }
            for column in sequence.columns
        ],
        "shared": sum(not column.covered for column in sequence.columns) > 1,
        "data_type": sequence.data_type,
        "start": sequence.start,
        "increment": sequence.increment,
        "min_value": sequence.min_value,
        "max_value": sequence.max_value,
        "cache_size": sequence.cache_size,
        "cycle": sequence.cycle,
        "last_value": position.last_value if position else None,
        "is_called": position.is_called if position else None,
        "next_value": assessment.next_value,
        "extreme": assessment.extreme,
        "percent_used": assessment.percent_used,
        "missing_privileges": sequence.missing_to_read,
        "warnings": warnings(sequence),
    }


def warnings(sequence: Sequence) -> list[str]:
    """What makes a repair slow, and what it has to leave out or to guess."""
    found = []
    for column in sequence.columns:
        if column.kind == "text_default" and not column.covered:
            found.append(f"{column.name} looks the sequence up by name, so another search_path may mean another one.")
        if not column.indexed and column in sequence.compared_columns:
            found.append(f"{column.name} has no index, so the whole table is read to find its extreme.")
        elif not column.comparable and sequence.compared_columns:
            found.append(f"The values of {column.name} cannot be compared with the sequence.")
    return found
