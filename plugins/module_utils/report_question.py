# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What somebody reads at a prompt, at 3 a.m., before typing a token: ten seconds' worth of it. Pure functions."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.confirmation import batch_token
from ansible_collections.pgops.rollback.plugins.module_utils.dependent import BREAKS, DROPPED, POSSIBLE, REMAINS
from ansible_collections.pgops.rollback.plugins.module_utils.report_content import plain
from ansible_collections.pgops.rollback.plugins.module_utils.report_plan import EFFECTS, action_of, history_text
from ansible_collections.pgops.rollback.plugins.module_utils.report_restore import restore_heading, restore_lines
from ansible_collections.pgops.rollback.plugins.module_utils.wording import listed

#: Databases that are told in full; of more, each has a line.
_IN_FULL = 5


def question(plans: dict[str, dict[str, Any]]) -> str:
    """The counts, what is lost or breaks, the blockers, and the token that confirms all of it.

    :param plans: all of teardowns, or all of one action of full restores, by the host's name in the inventory.
    """
    lines: list[str] = []
    for host, plan in sorted(plans.items()):
        lines.append(f"{plain(host)}: {_counts(plan)}")
        if len(plans) <= _IN_FULL:
            lines += [f"  {line}" for line in _consequences(plan)]
    token = batch_token({host: plan["token"] for host, plan in plans.items()})
    whole = f" of these {len(plans)} databases" if len(plans) > 1 else ""
    what = next(map(action_of, plans.values()), "")
    return "\n".join([*lines, f"Type {token} to confirm the {what}{whole}; anything else ends it, with nothing done"])


def _counts(plan: dict[str, Any]) -> str:
    """What goes, by kind, and the rows in it."""
    if "action" in plan:
        return restore_heading(plan)
    kinds = Counter(each["kind"] for each in plan["objects"])
    if not kinds:
        return f"nothing to do in {plain(plan['database'])}"
    rows = plan["rows"]["total"]
    told = "rows not known" if rows is None else f"{'' if plan['rows']['exact'] else 'about '}{rows:,} rows"
    number = ", ".join(f"{number} {kind}{'s' if number > 1 else ''}" for kind, number in sorted(kinds.items()))
    return f"{plan['mode']} in {plain(plan['database'])}: {number}; {told}"


def _consequences(plan: dict[str, Any]) -> list[str]:
    lines = restore_lines(plan) if "action" in plan else _effects(plan)
    return lines + [f"blocked: {plain(each['message'])}" for each in plan["blockers"]]


def _effects(plan: dict[str, Any]) -> list[str]:
    history = history_text(plan)
    lines = [f"goes: {history}"] if history else []
    for effect in (DROPPED, BREAKS, POSSIBLE, REMAINS):
        names = [_name(each) for each in [*plan["dependents"], *plan["survivors"]] if each["effect"] == effect]
        if names:
            lines.append(f"{EFFECTS[effect]} ({len(names)}): {listed(names)}")
    return lines


def _name(each: dict[str, Any]) -> str:
    return plain(f"{each['kind']} {each['name']}")
