# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan of a teardown as people read it: the same tables in Markdown, HTML and on the terminal. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from ansible_collections.pgops.rollback.plugins.module_utils.dependent import BREAKS, DROPPED, POSSIBLE, REMAINS
from ansible_collections.pgops.rollback.plugins.module_utils.durations import show_duration
from ansible_collections.pgops.rollback.plugins.module_utils.report_content import plain, size_text
from ansible_collections.pgops.rollback.plugins.module_utils.report_restore import (
    LOST_HEADINGS,
    restore_lines,
    restore_rows,
)
from ansible_collections.pgops.rollback.plugins.module_utils.wording import listed

_NAMED = 5

#: What an effect is to whoever reads it at 3 a.m.
EFFECTS = {DROPPED: "is lost", BREAKS: "breaks", POSSIBLE: "may break", REMAINS: "goes on"}


#: Steps that carry a plan out.
ACTING = ("teardown", "restore", "rehearse", "undo", "purge")


class PlanTable(NamedTuple):
    """:ivar numbers: how many of the last columns are numbers."""

    title: str
    headings: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    numbers: int = 0


def plan_of(step: dict[str, Any]) -> dict[str, Any]:
    """Empty for a step of another kind."""
    plan = step["details"].get("plan")
    return plan if isinstance(plan, dict) and {"objects", "action"} & plan.keys() else {}


def plan_tables(plan: dict[str, Any]) -> list[PlanTable]:
    """What there is something to say of, in the order in which it matters. Empty without a plan."""
    if not plan:
        return []
    obstacles = ("what", "what to do", "sets it aside")
    if "action" in plan:
        found = [PlanTable("What stands in the way", obstacles, [_obstacle(each) for each in plan["blockers"]])]
        for title, rows in restore_rows(plan):
            headings = LOST_HEADINGS if len(rows[0]) > 1 else ("what",)
            found.append(PlanTable(title, headings, rows, numbers=len(headings) - 1))
        found.append(PlanTable("What to think of", obstacles, [_obstacle(each) for each in plan["warnings"]]))
        return [table for table in found if table.rows]
    differences = [(plain(each["detail"]),) for each in plan["drift"]]
    found = [
        PlanTable("What stands in the way", obstacles, [_obstacle(each) for each in plan["blockers"]]),
        PlanTable("What goes", ("what", "rows", "size"), _going(plan), numbers=2),
        PlanTable("What the export takes", ("space", "time"), _export(plan), numbers=2),
        PlanTable("What goes with it", ("effect", "what", "why"), [_dependent(each) for each in plan["dependents"]]),
        PlanTable("What happens to what stays", ("effect", "what", "why"), [_dependent(e) for e in plan["survivors"]]),
        PlanTable("Where manifest and database differ", ("what",), differences),
        PlanTable("What to think of", obstacles, [_obstacle(each) for each in plan["warnings"]]),
    ]
    return [table for table in found if table.rows]


def step_tables(step: dict[str, Any]) -> list[PlanTable]:
    """What a plan has, what a teardown has left behind, and what a rehearsed one would."""
    headings = ("what", "why", "what to do")
    found = [
        PlanTable(title, headings, [_broken(each) for each in step["details"].get(key) or []])
        for key, title in (("broken", "What is broken now"), ("would_break", "What the teardown would break"))
    ]
    return [table for table in found if table.rows] + plan_tables(plan_of(step))


def broken_lines(step: dict[str, Any]) -> list[str]:
    """The same of the teardown for the terminal."""
    return [
        f"{word}: {what}. {why} {remedy}"
        for key, word in (("broken", "broken"), ("would_break", "would break"))
        for what, why, remedy in map(_broken, step["details"].get(key) or [])
    ]


def plan_is_news(report: dict[str, Any]) -> bool:
    """Whether a terminal has not shown the plan yet: before it is carried out, somebody has been shown it."""
    status = {step["name"]: step["status"] for step in report["steps"]}
    done = any(status.get(step, "skipped") != "skipped" for step in ACTING)
    return not done or status.get("plan") == "refused"


def plan_lines(plan: dict[str, Any]) -> list[str]:
    """The same for the terminal, a sentence each; the step's message has the numbers and the token."""
    lines = [_stops(each) for each in plan.get("blockers", [])]
    if "action" in plan:
        lines += restore_lines(plan)
    for what, rows, size in _going(plan):
        lines.append(f"goes: {what}, {rows} rows, {size}" if size else f"goes: {what}")
    lines += [f"the export takes {space} and {time}" for space, time in _export(plan)]
    every = [*plan.get("dependents", []), *plan.get("survivors", [])]
    for effect, what, why in (_dependent(each) for each in every if each["effect"] != REMAINS):
        lines.append(f"{effect}: {what}. {why}")
    # Nobody has to do anything about these: the reports on disk have them one by one.
    if going_on := [_dependent(each)[1] for each in every if each["effect"] == REMAINS]:
        lines.append(f"{EFFECTS[REMAINS]}: {listed(going_on, _NAMED)}")
    lines += [plain(each["detail"]) for each in plan.get("drift", [])]
    return lines + [f"mind: {what} {remedy}" for what, remedy, _override in map(_obstacle, plan.get("warnings", []))]


def _stops(blocker: dict[str, Any]) -> str:
    what, remedy, override = _obstacle(blocker)
    return f"blocked: {what} {remedy}" + (f" ({override} sets it aside.)" if blocker["override"] else "")


def action_of(plan: dict[str, Any]) -> str:
    """What carries the plan out: the step of a report, and its tag."""
    return str(plan.get("action") or ("purge" if plan.get("mode") == "purge" else "teardown"))


def history_text(plan: dict[str, Any]) -> str:
    """The row of the deployment tool's that goes; empty where none does."""
    row = plan.get("history")
    return plain(f"history row of {row['table']} with {row['column']} {row['value']}") if row else ""


def _going(plan: dict[str, Any]) -> list[tuple[str, str, str]]:
    history = history_text(plan)
    return [_object(each) for each in plan.get("objects", [])] + ([(history, "1", "")] if history else [])


def _export(plan: dict[str, Any]) -> list[tuple[str, str]]:
    """Where there is one."""
    disk = plan.get("disk") or {}
    if not disk.get("seconds"):
        return []
    time = show_duration(timedelta(seconds=disk["seconds"]))
    return [(f"at most {size_text(disk['bytes'])}", f"at most about {time}")]


def _object(each: dict[str, Any]) -> tuple[str, str, str]:
    rows = "" if each["rows"] is None else f"{'' if each['rows_are'] == 'exact' else 'about '}{each['rows']:,}"
    size = "" if each["bytes"] is None else size_text(each["bytes"])
    return plain(f"{each['kind']} {each['name']}"), rows, size


def _dependent(each: dict[str, Any]) -> tuple[str, str, str]:
    more = "" if each["recreatable"] or not each["obstacle"] else f" This role cannot make it again: {each['obstacle']}"
    line = f" (line {each['line']})" if each["line"] else ""
    what = plain(f"{each['kind']} {each['name']}")
    return EFFECTS[each["effect"]], what, plain(f"{each['detail']}{line}{more}")


def _broken(each: dict[str, Any]) -> tuple[str, str, str]:
    return plain(each["what"]), plain(each["why"]), plain(each["remedy"])


def _obstacle(each: dict[str, Any]) -> tuple[str, str, str]:
    return plain(each["message"]), plain(each["remedy"]), plain(each["override"] or "nothing does")
