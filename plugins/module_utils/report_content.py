# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a report tells people, whichever form it has: the text is the same in Markdown, HTML and on the terminal."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.durations import show_duration

SEQUENCE_HEADINGS = ("sequence", "state before", "next value", "highest id")
HISTORY_HEADINGS = ("finished (UTC)", "verdict", "backup", "age", "size", "drill")

#: States with nothing to do and nothing to know at 3 a.m.; report.json lists them.
_QUIET_STATES = ("ok", "ahead", "unfed")

_ORDER = {"failed": 0, "refused": 1, "reset": 2, "would_reset": 2}
_CHECK_ORDER = {"failed": 0, "degraded": 1, "warned": 1, "skipped": 2}

#: How many of the last runs people are shown; report.json has them all.
_SHOWN_RUNS = 14

_SIZE_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


@dataclass(frozen=True)
class Checked:
    """What a step made of checks says beyond its message.

    :ivar proved: what is certain now; empty when nothing is, None of a step that claims nothing beyond its checks.
    :ivar checks: ``name``, ``status``, ``message``, ``seconds``, and maybe ``objects`` (``name``, ``problem``) and
        ``fix`` of each, the worst first.
    """

    proved: str | None
    not_proved: str
    checks: list[dict[str, Any]]

    @property
    def not_passed(self) -> list[dict[str, Any]]:
        return [check for check in self.checks if check.get("status") != "passed"]


def checked(step: dict[str, Any]) -> Checked | None:
    """None of a step of another kind."""
    details = step["details"]
    if not {"proved", "checks"} & details.keys():
        return None
    checks = sorted(details.get("checks") or [], key=lambda check: _CHECK_ORDER.get(str(check.get("status")), 3))
    proved = _phrase(details["proved"]) if "proved" in details else None
    return Checked(proved, _phrase(details.get("not_proved")), checks)


def objects_of(check: dict[str, Any]) -> list[str]:
    """Each object that a check found fault with, and what."""
    return [f"{each.get('name')}: {each.get('problem')}" for each in check.get("objects") or []]


TIMELINE_HEADINGS = ("when (UTC)", "what")
OPTION_HEADINGS = ("option", "possible", "what it would lose")


def option_rows(step: dict[str, Any]) -> list[tuple[str, str, str]]:
    """What could be done, of an advice; empty of any other step."""
    return [
        (
            str(option.get("name")).replace("_", " "),
            "yes" if option.get("possible") else f"no: {option.get('blocked_by')}",
            str(option.get("loses")),
        )
        for option in step["details"].get("options") or []
    ]


def evidence_of(step: dict[str, Any]) -> list[str]:
    """What an advice is based on, a line for each question and its details."""
    lines = []
    for each in step["details"].get("evidence") or []:
        lines.append(f"{each.get('question')} {each.get('answer')}")
        lines += [f"{detail}" for detail in each.get("details") or []]
    return lines


def _phrase(text: Any) -> str:
    """Without the full stop that the sentence around it has."""
    return str(text or "").rstrip(".")


def history_rows(report: dict[str, Any]) -> list[tuple[str, ...]]:
    """The last runs of the verification, newest first, under HISTORY_HEADINGS."""
    runs = [run for step in report["steps"] for run in step["details"].get("history") or []]
    return [
        (
            str(run.get("finished") or "-").replace("T", " ")[:16],
            str(run.get("verdict")),
            str(run.get("backup_id") or "-"),
            _span(run.get("age_seconds")),
            size_text(run.get("size_bytes")),
            _span(run.get("drill_seconds")),
        )
        for run in runs[:_SHOWN_RUNS]
    ]


def timeline(report: dict[str, Any]) -> list[tuple[str, str]]:
    """What happened when (UTC), under TIMELINE_HEADINGS, and which checks are still to come after a verification."""
    events = []
    for step in report["steps"]:
        baseline = step["details"].get("baseline")
        if isinstance(baseline, dict):
            told = f"baseline {baseline.get('moment')} {baseline.get('migration')}, taken by {baseline.get('operator')}"
            events.append((str(baseline.get("taken_at")), told))
    events += [(report["started"], "this run began"), (report["finished"], f"this run ended: {report['verdict']}")]
    if any(step["name"] == "verify" for step in report["steps"]):
        again = "to come: rollback.yml --tags verify -e post_rollback_verification_stage="
        events += [(_later(report["finished"], days), f"{again}{stage}") for stage, days in (("day", 1), ("week", 7))]
    return [(when.replace("T", " ").rstrip("Z")[:16], text) for when, text in sorted(events)]


def _later(time: str, days: int) -> str:
    try:
        return (datetime.fromisoformat(time) + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        return time  # `finished` may be the user's, in a play of one's own


def undo_statements(report: dict[str, Any]) -> list[str]:
    """The statements that put the state before back."""
    undo = [row["undo"] for row in notable_sequences(report) if row.get("undo") and row.get("action") == "reset"]
    return undo + [column["undo"] for column in _key_columns(report) if column.get("undo")]


def sequence_counts(details: dict[str, Any]) -> str:
    """How many sequences were looked at and in which states; empty of a step that looked at none."""
    counts = details.get("counts")
    if not counts:
        return ""
    # The list may leave healthy sequences out; the counts do not.
    return f"{sum(counts.values())} looked at: {', '.join(f'{number} {state}' for state, number in counts.items())}."


def heading(report: dict[str, Any]) -> list[str]:
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


def notable_sequences(report: dict[str, Any]) -> list[dict[str, Any]]:
    rows = [row for step in report["steps"] for row in step["details"].get("sequences") or []]
    rows = [row for row in rows if row.get("action", "none") != "none" or row.get("state") not in _QUIET_STATES]
    return sorted(rows, key=lambda row: (_ORDER.get(str(row.get("action")), 3), str(row.get("name"))))


def sequence_row(row: dict[str, Any]) -> tuple[str, str, str, str]:
    before, after = row.get("before") or {}, row.get("after") or {}
    values = [_number(before.get("next_value"))]
    if after and after != before:
        values.append(_number(after.get("next_value")))
    return plain(row.get("name")), str(row.get("state")), " → ".join(values), _number(row.get("extreme"))


def _number(value: Any) -> str:
    return "-" if value is None else str(value)


def sequence_notes(rows: list[dict[str, Any]]) -> list[str]:
    """What the table has no room for: why a sequence was not repaired, and warnings."""
    notes = []
    for row in rows:
        if row.get("message"):
            notes.append(f"{row.get('name')}: {row['message']}")
        notes += [f"{row.get('name')}: {warning}" for warning in row.get("warnings") or []]
    return notes


def _key_columns(report: dict[str, Any]) -> list[dict[str, Any]]:
    return [column for step in report["steps"] for column in step["details"].get("columns_without_default") or []]


def column_notes(report: dict[str, Any]) -> list[str]:
    return [f"{column.get('column')}: {column.get('message') or ''}" for column in _key_columns(report)]


def plain(text: Any) -> str:
    """One line without control characters: a name in a database may hold a newline or an escape sequence."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in str(text))


def _span(seconds: float | None) -> str:
    return "-" if seconds is None else show_duration(timedelta(seconds=seconds))


def size_text(number: float | None) -> str:
    if number is None:
        return "-"
    power = min(max(int(number).bit_length() - 1, 0) // 10, len(_SIZE_UNITS) - 1)
    return f"{number / 1024**power:.{1 if power else 0}f} {_SIZE_UNITS[power]}"
