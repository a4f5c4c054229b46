# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report for people: report.md in full, and a summary that fits a terminal of 80 columns. Pure functions."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from typing import Any

TERMINAL_COLUMNS = 80
TERMINAL_ROWS = 20

#: Below this the name of a sequence says too little, and the last column gives way.
_NAME_COLUMNS = 16

#: States with nothing to do and nothing to know at 3 a.m.; report.json lists them.
_QUIET_STATES = ("ok", "ahead", "unfed")

_ORDER = {"failed": 0, "refused": 1, "reset": 2, "would_reset": 2}
_HEADINGS = ("sequence", "state before", "next value", "highest id")


def markdown(report: dict[str, Any]) -> str:
    """report.md: the verdict first, then what was found, what to do next and how to put it back."""
    lines = [
        f"# Rollback report: {report['verdict']}",
        "",
        *(f"- {_cell(line)}" for line in _heading(report)),
        "",
        "| step | status | message |",
        "| --- | --- | --- |",
        *(f"| {_cell(s['name'])} | {s['status']} | {_cell(s['message'])} |" for s in report["steps"]),
        "",
    ]
    for step in report["steps"]:
        lines += _sequences_markdown(step["details"])
    lines += ["## What to do next", "", _cell(_next(report)), ""]
    undo = [row["undo"] for row in _notable(report) if row.get("undo") and row.get("action") == "reset"]
    undo += [column["undo"] for column in _key_columns(report) if column.get("undo")]
    if undo:
        # Indented, not fenced: a name may contain a fence.
        lines += ["## How to put the state before back", "", *(f"    {_plain(statement)}" for statement in undo), ""]
    return "\n".join(lines)


def summary(report: dict[str, Any], path: str | None) -> str:
    """What the terminal shows.

    :param path: where report.md is; None if it could not be written.
    """
    lines = ["", f"{_plain(report['host'])}: {report['verdict'].upper()}"]
    for line in _heading(report):
        lines += _wrapped(line, "  ")
    width = max((len(step["name"]) for step in report["steps"]), default=0)
    for step in report["steps"]:
        start = f"  {_plain(step['name']):{width}}  {step['status']:8}  "
        lines += _wrapped(step["message"], start)
    rows = _notable(report)
    if rows:
        lines += ["", *_table([_row(row) for row in rows[:TERMINAL_ROWS]])]
    told = " ".join(step["message"] for step in report["steps"])
    notes = [note for note in _notes(rows) + _columns(report) if note not in told]
    for note in notes[:TERMINAL_ROWS]:
        lines += _wrapped(note, "  - ")
    more = sum(max(len(each) - TERMINAL_ROWS, 0) for each in (rows, notes))
    if more > 0:
        lines.append(f"  … and {more} more in report.md")
    lines += ["", *_wrapped(_next(report), "  Next: ")]
    # Never wrapped, so that it can be copied.
    lines += [f"  Report: {path}", ""] if path else [""]
    return "\n".join(lines)


def _heading(report: dict[str, Any]) -> list[str]:
    database = f"database {report['database']}, " if report["database"] else ""
    version = f"Postgres {report['server_version'].split()[0]}, " if report["server_version"] else ""
    lines = [
        f"{database}{version}host {report['host']}",
        f"run {report['run_id']} by {report['operator']}, {_period(report['started'], report['finished'])}",
    ]
    if report["check_mode"]:
        lines.append("check mode: a prediction, nothing was written to the database")
    return lines


def _period(started: str, finished: str) -> str:
    """From and to, both as 2026-11-22T09:30:00Z, without saying the day twice."""
    day, _t, start = started.rstrip("Z").partition("T")
    last_day, _t, end = finished.rstrip("Z").partition("T")
    return f"{day} {start} to {end if last_day == day else f'{last_day} {end}'} UTC"


def _next(report: dict[str, Any]) -> str:
    def names(status: str) -> str:
        return ", ".join(step["name"] for step in report["steps"] if step["status"] == status)

    changed = "Try the inserts that failed. report.md and report.json say how to put the state before back."
    by_verdict = {
        "failed": f"Do what is said above of {names('failed')}, then run the same command again"
        + ("." if report["check_mode"] else "; what is already done stays done and is not repeated."),
        "refused": "Nothing was done by the refused step. Remove the reason it names, then run the same command again.",
        "degraded": "Look at the degraded step: it was done, but not everything is as it should be.",
        "incomplete": f"Not everything was checked: {names('skipped')} did not run.",
        "changed": "Run the same command without --check to do this." if report["check_mode"] else changed,
    }
    return by_verdict.get(report["verdict"], "Nothing to do.")


def _notable(report: dict[str, Any]) -> list[dict[str, Any]]:
    rows = [row for step in report["steps"] for row in step["details"].get("sequences") or []]
    rows = [row for row in rows if row.get("action", "none") != "none" or row.get("state") not in _QUIET_STATES]
    return sorted(rows, key=lambda row: (_ORDER.get(str(row.get("action")), 3), str(row.get("name"))))


def _row(row: dict[str, Any]) -> tuple[str, str, str, str]:
    before, after = row.get("before") or {}, row.get("after") or {}
    values = [_number(before.get("next_value"))]
    if after and after != before:
        values.append(_number(after.get("next_value")))
    return _plain(row.get("name")), str(row.get("state")), " → ".join(values), _number(row.get("extreme"))


def _number(value: Any) -> str:
    return "-" if value is None else str(value)


def _notes(rows: list[dict[str, Any]]) -> list[str]:
    """What the table has no room for: why a sequence was not repaired, and warnings."""
    notes = []
    for row in rows:
        if row.get("message"):
            notes.append(f"{row.get('name')}: {row['message']}")
        notes += [f"{row.get('name')}: {warning}" for warning in row.get("warnings") or []]
    return notes


def _key_columns(report: dict[str, Any]) -> list[dict[str, Any]]:
    return [column for step in report["steps"] for column in step["details"].get("columns_without_default") or []]


def _columns(report: dict[str, Any]) -> list[str]:
    return [f"{column.get('column')}: {column.get('message') or ''}" for column in _key_columns(report)]


def _table(rows: list[tuple[str, str, str, str]]) -> list[str]:
    """Aligned columns within the terminal's width; the last one gives way when the numbers leave no room for names."""
    indent, gap = 2, 2
    for columns in (4, 3):
        table = [row[:columns] for row in (_HEADINGS, *rows)]
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


def _sequences_markdown(details: dict[str, Any]) -> list[str]:
    counts = details.get("counts")
    if not counts:
        return []
    report = {"steps": [{"details": details}]}
    rows = _notable(report)
    # The list may leave healthy sequences out; the counts do not.
    found = ", ".join(f"{number} {state}" for state, number in counts.items())
    lines = ["## Sequences", "", f"{sum(counts.values())} looked at: {found}.", ""]
    if rows:
        lines += ["| " + " | ".join(_HEADINGS) + " |", "| --- | --- | ---: | ---: |"]
        lines += ["| " + " | ".join(map(_cell, _row(row))) + " |" for row in rows]
        lines.append("")
    notes = _notes(rows) + _columns(report)
    return lines + ([*(f"- {_cell(note)}" for note in notes), ""] if notes else [])


def _wrapped(text: str, start: str) -> list[str]:
    return textwrap.wrap(
        _plain(text), TERMINAL_COLUMNS, initial_indent=start, subsequent_indent=" " * len(start),
        break_on_hyphens=False,
    ) or [start.rstrip()]


def _plain(text: Any) -> str:
    """One line without control characters: a name in a database may hold a newline or an escape sequence."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in str(text))


def _cell(text: Any) -> str:
    """Names and messages come from a database: nothing in them is Markdown."""
    return re.sub(r"([\\`*_<>\[\]|~#])", r"\\\1", _plain(text))


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
