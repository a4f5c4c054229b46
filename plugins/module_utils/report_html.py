# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report as one HTML file that needs nothing else: for a phone at night, a mail, or paper. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.report_content import (
    HISTORY_HEADINGS,
    OPTION_HEADINGS,
    SEQUENCE_HEADINGS,
    TIMELINE_HEADINGS,
    Checked,
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
from ansible_collections.pgops.rollback.plugins.module_utils.report_picture import picture_of, svg
from ansible_collections.pgops.rollback.plugins.module_utils.report_plan import plan_of, step_tables

#: Nothing is fetched and nothing runs, even if something that was not escaped got in.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

#: Words for how something ended, by the colour they get; the word itself is always shown too.
_TONES = {
    "ok": "good", "passed": "good", "changed": "good",
    "skipped": "open", "incomplete": "open",
    "degraded": "warn", "warned": "warn",
}  # fmt: skip

#: On a narrow screen each row of a table becomes a block, with the headings beside the values.
_STYLE = """
:root { color-scheme: light dark; --text: #1b1f24; --back: #fff; --line: #c9d0d8; --soft: #f3f5f7; --dim: #4d5761;
  --good: #116329; --warn: #7d4e00; --bad: #a40e26; --open: #444c56; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e8ec; --back: #12161b; --line: #3a434d; --soft: #1c2229;
  --dim: #a7b1bb; --good: #57c46f; --warn: #e0a62e; --bad: #ff8a80; --open: #b3bcc6; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 60rem; color: var(--text); background: var(--back);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: 0 0 .5rem; }
h2 { font-size: 1.15rem; margin: 1.5rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1rem 0 .3rem; }
p, ul { margin: .4rem 0; }
ul { padding-left: 1.2rem; }
.dim { color: var(--dim); }
.badge { display: inline-block; padding: 0 .5em; border: 2px solid; border-radius: .3em; font-weight: 700; }
.good { color: var(--good); } .warn { color: var(--warn); } .bad { color: var(--bad); } .open { color: var(--open); }
.next { padding: .6rem .8rem; border-left: .3rem solid; background: var(--soft); }
section { border-top: 1px solid var(--line); }
table { width: 100%; border-collapse: collapse; margin: .5rem 0; }
th, td { padding: .3rem .5rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { color: var(--dim); }
pre { padding: .6rem; background: var(--soft); white-space: pre-wrap; font-size: .9rem; }
@media screen and (max-width: 40rem) {
  thead { display: none; }
  tr { display: block; padding: .4rem 0; border-bottom: 1px solid var(--line); }
  td { display: block; padding: .1rem 0; border: 0; }
  td::before { content: attr(data-label) ": "; color: var(--dim); }
}
@media print {
  :root { color-scheme: light; --text: #000; --back: #fff; --line: #888; --soft: #fff; --dim: #333;
    --good: #000; --warn: #000; --bad: #000; --open: #000; }
  body { padding: 0; max-width: none; font-size: 10pt; }
  h2, tr { break-inside: avoid; break-after: auto; }
  h2 { break-after: avoid; }
}
"""


def html(report: dict[str, Any]) -> str:
    """The content of report.html: the verdict and what to do first, then each step, and how to put it back."""
    title = f"{report['host']}: {report['verdict'].upper()}"
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{_text(_POLICY)}">',
        f"<title>{_text(title)}</title>",
        f"<style>{_STYLE}</style>",
        "</head>",
        "<body>",
        "<header>",
        f"<h1>{_badge(report['verdict'])} {_text(report['host'])}</h1>",
        *(f'<p class="dim">{_text(line)}</p>' for line in heading(report)),
        f'<p class="next {_tone(report["verdict"])}"><strong>Next:</strong> {_text(next_step(report))}</p>',
        *(f"<pre>{_text(each)}</pre>" for each in [next_command(report)] if each),
        "</header>",
        "<main>",
    ]
    for step in report["steps"]:
        lines += _section(f"{_text(step['name'])} {_badge(step['status'])}", _step(step))
    history = history_rows(report)
    if history:
        lines += _section("The last runs", _table(HISTORY_HEADINGS, history, worded=1))
    lines += _section("Timeline", _table(TIMELINE_HEADINGS, timeline(report)))
    undo = undo_statements(report)
    if undo:
        lines += _section("How to put the state before back", ["<pre>", *map(_text, undo), "</pre>"])
    return "\n".join([*lines, "</main>", "</body>", "</html>", ""])


def _section(title: str, content: Iterable[str]) -> list[str]:
    """:param title: HTML."""
    return ["<section>", f"<h2>{title}</h2>", *content, "</section>"]


def _step(step: dict[str, Any]) -> list[str]:
    lines = [f"<p>{_text(step['message'])}</p>"] if step["message"] else []
    found = checked(step)
    lines += _checked(found) if found else _sequences(step["details"])
    return lines + _advice(step) + _plan(step)


def _plan(step: dict[str, Any]) -> list[str]:
    plan, lines = plan_of(step), []
    for table in step_tables(step):
        lines += [f"<h3>{_text(table.title)}</h3>", *_table(table.headings, table.rows)]
    if plan.get("objects"):
        picture = picture_of(plan)
        more = [f"<p>And {picture.left_out} more, which the tables name.</p>"] if picture.left_out else []
        lines += ["<h3>The picture of it</h3>", svg(picture), *more]
    return lines


def _checked(found: Checked) -> list[str]:
    lines = [] if found.proved is None else [f"<p><strong>Proved:</strong> {_text(found.proved or 'nothing')}.</p>"]
    if found.not_proved:
        lines.append(f"<p><strong>Not proved:</strong> {_text(found.not_proved)}.</p>")
    rows = [(str(each.get("name")), str(each.get("status")), str(each.get("message") or "")) for each in found.checks]
    lines += _table(("check", "status", "message"), rows, worded=1) if rows else []
    for check in found.not_passed:
        objects = objects_of(check)
        if objects:
            lines += [f"<h3>{_text(check.get('name'))}</h3>", *_list(objects)]
        if check.get("fix"):
            lines.append(f"<p><strong>To mend {_text(check.get('name'))}:</strong> {_text(check['fix'])}</p>")
    return lines


def _advice(step: dict[str, Any]) -> list[str]:
    rows = option_rows(step)
    return [*_table(OPTION_HEADINGS, rows), "<h3>The evidence</h3>", *_list(evidence_of(step))] if rows else []


def _list(texts: Iterable[str]) -> list[str]:
    return ["<ul>", *(f"<li>{_text(text)}</li>" for text in texts), "</ul>"]


def _sequences(details: dict[str, Any]) -> list[str]:
    counts = sequence_counts(details)
    if not counts:
        return []
    report = {"steps": [{"details": details}]}
    rows = notable_sequences(report)
    lines = [f"<p>{_text(counts)}</p>"]
    if rows:
        lines += _table(SEQUENCE_HEADINGS, [sequence_row(row) for row in rows])
    notes = sequence_notes(rows) + column_notes(report)
    return lines + (_list(notes) if notes else [])


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]], worded: int | None = None) -> list[str]:
    """:param worded: the column whose words say how something ended, and get their colour."""
    lines = ["<table>", f"<thead><tr>{''.join(f'<th>{_text(each)}</th>' for each in headings)}</tr></thead>", "<tbody>"]
    for row in rows:
        cells = [
            f'<td data-label="{_text(name)}"{_coloured(cell) if column == worded else ""}>{_text(cell)}</td>'
            for column, (name, cell) in enumerate(zip(headings, row, strict=True))
        ]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return [*lines, "</tbody>", "</table>"]


def _coloured(word: str) -> str:
    return f' class="{_tone(word)}"'


def _badge(word: str) -> str:
    return f'<span class="badge {_tone(word)}">{_text(word.upper())}</span>'


def _tone(word: str) -> str:
    return _TONES.get(word, "bad")


def _text(value: Any) -> str:
    """Names and messages come from a database and from other programs: nothing in them is HTML."""
    return escape(plain(value))
