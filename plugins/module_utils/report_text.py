# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report for people: report.md in full, and a summary that fits a terminal of 80 columns. Pure functions."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Sequence
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.report_content import (
    HISTORY_HEADINGS,
    OPTION_HEADINGS,
    SEQUENCE_HEADINGS,
    TIMELINE_HEADINGS,
    checked,
    column_notes,
    evidence_of,
    heading,
    history_rows,
    notable_sequences,
    objects_of,
    option_rows,
    plain,
    sequence_counts,
    sequence_notes,
    sequence_row,
    timeline,
    undo_statements,
)
from ansible_collections.pgops.rollback.plugins.module_utils.report_next import next_command, next_step
from ansible_collections.pgops.rollback.plugins.module_utils.report_picture import mermaid, picture_of
from ansible_collections.pgops.rollback.plugins.module_utils.report_plan import (
    broken_lines,
    plan_is_news,
    plan_lines,
    plan_of,
    step_tables,
)

TERMINAL_COLUMNS = 80
TERMINAL_ROWS = 20

#: Checks of one rung that the terminal shows; report.md has all that are not passed.
TERMINAL_CHECKS = 5
TERMINAL_OBJECTS = 5

#: Lines of a plan.
TERMINAL_PLAN = 25

#: Below this the name of a sequence says too little, and the last column gives way.
_NAME_COLUMNS = 16


def markdown(report: dict[str, Any]) -> str:
    """report.md: the verdict first, then what was found, what to do next and how to put it back."""
    lines = [
        f"# Rollback report: {report['verdict']}",
        "",
        *(f"- {_cell(line)}" for line in heading(report)),
        "",
        "| step | status | message |",
        "| --- | --- | --- |",
        *(f"| {_cell(s['name'])} | {s['status']} | {_cell(s['message'])} |" for s in report["steps"]),
        "",
    ]
    for step in report["steps"]:
        lines += _sequences_markdown(step["details"]) + _checked_markdown(step) + _advice_markdown(step)
        lines += _plan_markdown(step)
    history = history_rows(report)
    if history:
        lines += ["## The last runs", "", *_markdown_table(HISTORY_HEADINGS, history, numbers=3), ""]
    lines += ["## What to do next", "", _cell(next_step(report)), ""]
    command = next_command(report)
    lines += [f"    {command}", ""] if command else []
    lines += ["## Timeline", "", *_markdown_table(TIMELINE_HEADINGS, timeline(report)), ""]
    undo = undo_statements(report)
    if undo:
        # Indented, not fenced: a name may contain a fence.
        lines += ["## How to put the state before back", "", *(f"    {plain(statement)}" for statement in undo), ""]
    return "\n".join(lines)


def summary(report: dict[str, Any], path: str | None) -> str:
    """What the terminal shows.

    :param path: where report.md is; None if it could not be written.
    """
    lines = ["", f"{plain(report['host'])}: {report['verdict'].upper()}"]
    for line in heading(report):
        lines += _wrapped(line, "  ")
    width = max((len(step["name"]) for step in report["steps"]), default=0)
    for step in report["steps"]:
        start = f"  {plain(step['name']):{width}}  {step['status']:8}  "
        lines += _wrapped(step["message"], start)
        lines += _checked_lines(step, " " * len(start))
        said = (plan_lines(plan_of(step)) if plan_is_news(report) else []) + broken_lines(step)
        for text in said[:TERMINAL_PLAN]:
            lines += _wrapped(text, f"{' ' * len(start)}- ")
        if len(said) > TERMINAL_PLAN:
            lines.append(f"{' ' * len(start)}… and {len(said) - TERMINAL_PLAN} more in report.md")
        for option, possible, loses in option_rows(step):
            blocked = "" if possible == "yes" else f" ({possible})"
            lines += _wrapped(f"{option}: {loses}{blocked}", f"{' ' * len(start)}- ")
    rows = notable_sequences(report)
    if rows:
        lines += ["", *_table([sequence_row(row) for row in rows[:TERMINAL_ROWS]])]
    told = " ".join(step["message"] for step in report["steps"])
    notes = [note for note in sequence_notes(rows) + column_notes(report) if note not in told]
    for note in notes[:TERMINAL_ROWS]:
        lines += _wrapped(note, "  - ")
    more = sum(max(len(each) - TERMINAL_ROWS, 0) for each in (rows, notes))
    if more > 0:
        lines.append(f"  … and {more} more in report.md")
    lines += ["", *_wrapped(next_step(report), "  Next: ")]
    # Neither is ever wrapped, so that it can be copied.
    command = next_command(report)
    lines += [f"  {command}"] if command else []
    lines += [f"  Report: {path}", ""] if path else [""]
    return "\n".join(lines)


def _table(rows: list[tuple[str, str, str, str]]) -> list[str]:
    """Aligned columns within the terminal's width; the last one gives way when the numbers leave no room for names."""
    indent, gap = 2, 2
    for columns in (4, 3):
        table = [row[:columns] for row in (SEQUENCE_HEADINGS, *rows)]
        widths = [max(_width(row[column]) for row in table) for column in range(columns)]
        room = TERMINAL_COLUMNS - indent - sum(widths[1:]) - gap * (columns - 1)
        if room >= min(widths[0], _NAME_COLUMNS):
            break
    widths[0] = min(widths[0], room)
    lines = []
    for name, state, *numbers in table:
        cells = [_left(_shortened(name, widths[0]), widths[0]), _left(state, widths[1])]
        cells += [_right(number, width) for number, width in zip(numbers, widths[2:], strict=True)]
        lines.append((" " * indent + (" " * gap).join(cells)).rstrip())
    return lines


def _checked_lines(step: dict[str, Any], start: str) -> list[str]:
    """For the terminal; what the step's message has told is not told again."""
    found, told = checked(step), step["message"]
    if not found:
        return []
    lines = [] if found.proved is None else _wrapped(f"Proved: {found.proved or 'nothing'}.", start)
    if found.not_proved:
        lines += _wrapped(f"Not proved: {found.not_proved}.", start)
    for check in found.not_passed[:TERMINAL_CHECKS]:
        message = str(check.get("message") or "")
        what = f"{check.get('name')} {check.get('status')}"
        lines += _wrapped(what if not message or message in told else f"{what}: {message}", f"{start}- ")
        objects = objects_of(check)
        for text in objects[1:TERMINAL_OBJECTS]:  # the message tells the first
            lines += _wrapped(text, f"{start}    ")
        if len(objects) > TERMINAL_OBJECTS:
            lines.append(f"{start}    … and {len(objects) - TERMINAL_OBJECTS} more in report.md")
    more = len(found.not_passed) - TERMINAL_CHECKS
    return lines + ([f"{start}… and {more} more in report.md"] if more > 0 else [])


def _checked_markdown(step: dict[str, Any]) -> list[str]:
    found = checked(step)
    if not found:
        return []
    passed = len(found.checks) - len(found.not_passed)
    lines = [
        f"## {_cell(step['name'])}: {step['status']}",
        "",
        *([] if found.proved is None else [f"- Proved: {_cell(found.proved or 'nothing')}."]),
        *([f"- Not proved: {_cell(found.not_proved)}."] if found.not_proved else []),
        *([f"- {passed} of {len(found.checks)} checks passed."] if found.checks else []),
        "",
    ]
    rows = [(str(each.get("name")), str(each.get("status")), str(each.get("message"))) for each in found.not_passed]
    if rows:
        lines += [*_markdown_table(("check", "status", "message"), rows), ""]
    for check in found.not_passed:
        objects = objects_of(check)
        if objects:
            lines += [f"### {_cell(check.get('name'))}", "", *(f"- {_cell(text)}" for text in objects), ""]
        if check.get("fix"):
            lines += [f"To mend {_cell(check.get('name'))}: {_cell(check['fix'])}", ""]
    return lines


def _plan_markdown(step: dict[str, Any]) -> list[str]:
    plan, lines = plan_of(step), []
    for table in step_tables(step):
        lines += [f"## {table.title}", "", *_markdown_table(table.headings, table.rows, table.numbers), ""]
    if plan.get("objects"):
        picture = picture_of(plan)
        more = [f"And {picture.left_out} more, which the tables name.", ""] if picture.left_out else []
        lines += ["## The picture of it", "", "```mermaid", mermaid(picture), "```", "", *more]
    return lines


def _advice_markdown(step: dict[str, Any]) -> list[str]:
    rows = option_rows(step)
    if not rows:
        return []
    return [
        "## The options", "", *_markdown_table(OPTION_HEADINGS, rows), "",
        "## The evidence", "", *(f"- {_cell(line)}" for line in evidence_of(step)), "",
    ]  # fmt: skip


def _sequences_markdown(details: dict[str, Any]) -> list[str]:
    counts = sequence_counts(details)
    if not counts:
        return []
    report = {"steps": [{"details": details}]}
    rows = notable_sequences(report)
    lines = ["## Sequences", "", counts, ""]
    if rows:
        lines += [*_markdown_table(SEQUENCE_HEADINGS, [sequence_row(row) for row in rows], numbers=2), ""]
    notes = sequence_notes(rows) + column_notes(report)
    return lines + ([*(f"- {_cell(note)}" for note in notes), ""] if notes else [])


def _markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]], numbers: int = 0) -> list[str]:
    """:param numbers: how many of the last columns are numbers."""
    rule = ["---"] * (len(headings) - numbers) + ["---:"] * numbers
    return [f"| {' | '.join(cells)} |" for cells in (headings, rule, *(list(map(_cell, row)) for row in rows))]


def _wrapped(text: str, start: str) -> list[str]:
    return textwrap.wrap(
        plain(text), TERMINAL_COLUMNS, initial_indent=start, subsequent_indent=" " * len(start),
        break_on_hyphens=False,
    ) or [start.rstrip()]


def _cell(text: Any) -> str:
    """Names and messages come from a database: nothing in them is Markdown."""
    return re.sub(r"([\\`*_<>\[\]|~#])", r"\\\1", plain(text))


def _shortened(name: str, width: int) -> str:
    """Cut in the middle: the schema at the front and the column at the end tell names apart."""
    if _width(name) <= width:
        return name
    tail = ""
    head = ""
    for index in range(len(name)):
        if _width(head + tail) + _width(name[index]) + _width(name[-1 - index]) > width - 1:
            break
        head += name[index]
        tail = name[-1 - index] + tail
    return f"{head}…{tail}"


def _width(text: str) -> int:
    """Terminal columns: East Asian wide characters take two, combining ones none."""
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def _left(text: str, width: int) -> str:
    return text + " " * (width - _width(text))


def _right(text: str, width: int) -> str:
    return " " * (width - _width(text)) + text
