# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The policy exact: which sequences stand further than their data asks for, and which ids come again if they are set
back. Pure: what it takes to do it is in sequence_lowering.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.catalog_object import canonical
from ansible_collections.pgops.rollback.plugins.module_utils.confirmation import token_for
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_catalog import Sequence
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_state import Assessment, bounds
from ansible_collections.pgops.rollback.plugins.module_utils.wording import some

#: States in which a sequence may stand too far. ``exhausted``, since a wrong setval may have taken it to its end.
_TOO_FAR = ("ahead", "near_limit", "exhausted")


@dataclass(frozen=True)
class Lowering:
    """A sequence that is to be set back.

    :ivar current: the value it would give next as it stands.
    :ivar target: the value it is to give next.
    :ivar increment: the sequence's.
    """

    name: str
    current: int
    target: int
    increment: int

    @property
    def count(self) -> int:
        """How many ids come again."""
        return -((self.target - self.current) // self.increment)

    @property
    def last(self) -> int:
        """The last id that comes again; the first is the target."""
        return self.target + (self.count - 1) * self.increment

    @property
    def ids(self) -> str:
        """In words."""
        if self.count == 1:
            return f"the id {self.target} comes again"
        step = f" in steps of {abs(self.increment)}" if abs(self.increment) > 1 else ""
        return f"the ids {self.target} to {self.last}{step} ({self.count:,}) come again"

    def within(self, confirmed: dict[str, Any]) -> bool:
        """Whether no other id comes again than the plan's entry says."""
        ids = confirmed["ids_again"]
        return (
            self.increment == confirmed["increment"]
            and (self.target - ids["first"]) % self.increment == 0
            and (self.target - ids["first"]) * self.increment >= 0
            and (ids["last"] - self.last) * self.increment >= 0
        )


def lowering_of(sequence: Sequence, found: Assessment) -> Lowering | None:
    """None where nothing is to be set back, or not enough is known to say so.

    The target is the sequence's first value beyond the data, but none before its start value: what lies before that was
    never the sequence's to give. Without rows it is the start value.
    """
    if found.position is None or found.state not in _TOO_FAR:
        return None
    step = sequence.increment
    current = found.position.next_value(step)
    target = sequence.start
    if found.extreme is not None:
        beyond = current + ((found.extreme - current) // step + 1) * step
        target = max(beyond, target) if step > 0 else min(beyond, target)
    low, high = bounds(sequence)
    if (current - target) * step <= 0 or not low <= target <= high:
        return None
    return Lowering(sequence.name, current, target, step)


def make_plan(database: str, lowerings: Iterable[Lowering]) -> dict[str, Any]:
    """What is to be confirmed: the same for the same state of the same database, without OIDs and times."""
    return {
        "database": database,
        "sequences": [
            {
                "name": each.name,
                "from": each.current,
                "to": each.target,
                "increment": each.increment,
                "ids_again": {"first": each.target, "last": each.last, "count": each.count},
            }
            for each in sorted(lowerings, key=lambda each: each.name)
        ],
    }


def plan_token(plan: dict[str, Any]) -> str:
    return token_for(canonical(plan))


def require_within(lowerings: Iterable[Lowering], confirmed: dict[str, Any]) -> None:
    """Refuse if any id would come again that was not confirmed. Fewer are fine: rows have taken them meanwhile.

    :param confirmed: a plan.
    :raises RollbackError: ``confirmation_stale``.
    """
    known = {entry["name"]: entry for entry in confirmed["sequences"]}
    beyond = [each for each in lowerings if each.name not in known or not each.within(known[each.name])]
    if beyond:
        raise RollbackError(
            "confirmation_stale",
            "More would happen now than what was confirmed: "
            + some((f"of {each.name} {each.ids}" for each in beyond), separator="; ") + ".",
            "Repeat the same command without rollback_confirm, read the new plan, and confirm that one if it is what"
            " you want; nothing was done.",
        )  # fmt: skip
