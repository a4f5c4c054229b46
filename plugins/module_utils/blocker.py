# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What stands in the way of a teardown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

#: How many names a sentence of a plan holds.
MOST_NAMED = 5


@dataclass(frozen=True)
class Blocker:
    """A reason not to go on; the same form serves for a warning, which is a reason to think.

    :ivar code: a short stable word, as of a RollbackError.
    :ivar message: what is in the way, a sentence without a time in it: the same state gives the same words.
    :ivar remedy: what to do about it.
    :ivar override: the variable that sets it aside; None where nothing may.
    """

    code: str
    message: str
    remedy: str
    override: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {"code": self.code, "message": self.message, "remedy": self.remedy, "override": self.override}


def in_order(blockers: list[Blocker]) -> list[dict[str, Any]]:
    """Each once, in a fixed order."""
    return [each.as_json() for each in sorted(set(blockers), key=lambda each: (each.code, each.message))]
