# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What people read: it fits a terminal, says what to do, and no name in a database can forge it."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.report import Run, build_report
from ansible_collections.pgops.rollback.plugins.module_utils.report_text import markdown, summary

RUN = Run("run-1", "db1", "sre", "2026-01-01T00:00:00Z", "2026-01-01T00:00:02Z", check_mode=False)
BIGGEST = 2**63 - 1


def sequence(name: str, action: str = "reset", **other: Any) -> dict[str, Any]:
    return {
        "name": name,
        "state": "behind",
        "action": action,
        "message": "",
        "before": {"last_value": 1, "is_called": False, "next_value": 1},
        "after": {"last_value": 50, "is_called": True, "next_value": 51},
        "extreme": 50,
        "columns": [],
        "undo": f"SELECT setval('{name}', 1, false);",
        "warnings": [],
        **other,
    }


def report(sequences: list[dict[str, Any]], **other: Any) -> dict[str, Any]:
    result = {
        "changed": True,
        "summary": "Done.",
        "counts": {"behind": len(sequences)},
        "sequences": sequences,
        **other,
    }
    return build_report(RUN, {"sequence": result})


def columns(line: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in line)


def row_of(text: str, beginning: str) -> str:
    (line,) = [line for line in text.splitlines() if line.startswith(f"  {beginning}")]
    return line


def test_a_row_tells_before_after_and_the_data() -> None:
    line = row_of(summary(report([sequence("public.orders_id_seq")]), "/r.md"), "public.orders_id_seq")
    assert line.split() == ["public.orders_id_seq", "behind", "1", "→", "51", "50"]


@pytest.mark.parametrize(
    "name",
    ["short.s", "public." + "x" * 63, '"Weird"."' + "é" * 63 + '"', "表" * 60, "a" * 63 + "." + "b" * 63],
)
@pytest.mark.parametrize("value", [1, BIGGEST])
def test_nothing_is_wider_than_a_terminal(name: str, value: int) -> None:
    state = {"last_value": value, "is_called": True, "next_value": value}
    row = sequence(name, before=state, after={**state, "next_value": value - 1}, extreme=value, state="near_limit")
    broken = sequence(name, "failed", message="permission denied for sequence " + name.replace(".", " "))
    text = summary(report([row, broken]), None)
    table = [line for line in text.splitlines() if "near_limit" in line]
    assert len(table) == 1
    assert columns(table[0]) <= 80
    assert str(value) in table[0]
    assert max(len(line) for line in text.splitlines()) <= 80


def test_long_names_are_cut_in_the_middle() -> None:
    name = "customers." + "x" * 60 + "_id_seq"
    line = row_of(summary(report([sequence(name)]), None), "customers.")
    assert "…" in line
    assert "_id_seq" in line


def test_the_terminal_gets_twenty_rows_and_the_file_all() -> None:
    made = report([sequence(f"public.t{number:03}_id_seq") for number in range(50)])
    text = summary(made, "/r.md")
    assert sum("behind" in line for line in text.splitlines()) == 20
    assert "… and 30 more in report.md" in text
    assert markdown(made).count("| behind |") == 50


def test_healthy_sequences_are_not_listed_and_failed_ones_come_first() -> None:
    healthy = sequence("a.healthy", "none", state="ok", after=None)
    failed = sequence("c.failed", "failed", message="denied", after=None)
    text = summary(report([healthy, sequence("b.reset"), failed]), None)
    assert "a.healthy" not in text
    assert text.index("c.failed") < text.index("b.reset")
    assert "- c.failed: denied" in text


def test_the_way_back_of_a_repaired_default_is_in_the_report() -> None:
    column = {"column": "a.t.id", "status": "repaired", "message": "Back.", "undo": "ALTER TABLE a.t …;"}
    text = markdown(report([], counts={"unfed": 1}, columns_without_default=[column]))
    assert "## How to put the state before back\n\n    ALTER TABLE a.t …;" in text


def test_an_id_that_the_test_took_is_told() -> None:
    made = report([sequence("a.s", action="reset", message="The test took the id 8, which no row will have.")])
    for text in (summary(made, None), markdown(made)):
        assert "The test took the id 8" in text


def test_warnings_and_columns_without_default_are_told() -> None:
    made = report(
        [sequence("a.s", warnings=["CACHE is 10."])],
        columns_without_default=[{"column": "a.t.id", "status": "warned", "message": "No default."}],
    )
    for text in (summary(made, None), markdown(made).replace("\\_", "_")):
        assert "a.s: CACHE is 10." in text
        assert "a.t.id: No default." in text


def test_healthy_sequences_that_are_not_listed_are_counted() -> None:
    column = {"column": "a.t.id", "status": "warned", "message": "No default."}
    text = markdown(report([], counts={"ok": 9000, "ahead": 3}, columns_without_default=[column]))
    assert "9003 looked at: 9000 ok, 3 ahead." in text
    assert "a.t.id: No default." in text


def test_the_verdict_comes_first() -> None:
    made = report([sequence("a.s")])
    assert markdown(made).startswith("# Rollback report: changed\n")
    assert summary(made, None).strip().splitlines()[0] == "db1: CHANGED"


def test_how_to_put_it_back_is_said_for_what_was_reset_only() -> None:
    made = markdown(report([sequence("a.s"), sequence("b.s", "would_reset"), sequence("c.s", "failed")]))
    assert "    SELECT setval('a.s', 1, false);" in made
    assert "'b.s'" not in made
    assert "'c.s'" not in made


def test_the_path_is_never_wrapped() -> None:
    path = "/" + "d" * 120 + "/report.md"
    assert path in summary(report([]), path)


def test_a_name_cannot_forge_the_report() -> None:
    name = "a\n# Rollback report: ok | x\x1b[2J`"
    made = report([sequence(name)])
    assert "\x1b" not in summary(made, None) + markdown(made)
    assert [line for line in markdown(made).splitlines() if line.startswith("# ")] == ["# Rollback report: changed"]
    (row,) = [line for line in markdown(made).splitlines() if line.startswith("| a")]
    assert row.replace("\\|", "").count("|") == 5


@pytest.mark.parametrize(
    ("result", "check_mode", "words"),
    [
        ({"failed": True, "msg": "No."}, False, "Do what is said above of sequence"),
        ({"failed": True, "msg": "No.", "code": "standby"}, False, "Remove the reason"),
        ({"skipped": True, "msg": "not built yet"}, False, "Not everything was checked: sequence did not run."),
        ({"status": "degraded", "msg": "2 of 3."}, False, "Look at the degraded step"),
        ({"changed": True, "summary": "x"}, False, "Try the inserts that failed."),
        ({"changed": True, "summary": "x"}, True, "without --check"),
        ({"changed": False, "summary": "x"}, False, "Nothing to do."),
    ],
)
def test_what_to_do_next_is_always_said(result: dict[str, Any], check_mode: bool, words: str) -> None:
    made = build_report(Run("r", "h", "o", "s", "f", check_mode), {"sequence": result})
    assert words in " ".join(summary(made, None).split())
    assert words in markdown(made)
