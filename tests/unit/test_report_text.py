# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What people read: it fits a terminal, says what to do, and no name in a database can forge it."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.report import Run, build_report
from ansible_collections.pgops.rollback.plugins.module_utils.report_content import timeline
from ansible_collections.pgops.rollback.plugins.module_utils.report_html import html
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


def rung(name: str, status: str = "ok", message: str = "Said.", **details: Any) -> dict[str, Any]:
    told = {"proved": "", "not_proved": "", "seconds": 1.0, "checks": [], **details}
    return {"name": name, "status": status, "changed": False, "message": message, "details": told}


def check(name: str, status: str, message: str = "Found.") -> dict[str, Any]:
    return {"name": name, "status": status, "message": message, "seconds": 0.1}


def verification(*rungs: dict[str, Any], **other: Any) -> dict[str, Any]:
    return build_report(RUN, {"backup": {"changed": False, "steps": list(rungs), **other}})


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


def test_a_rung_tells_what_it_proved_and_what_it_did_not() -> None:
    made = verification(
        rung("exists", proved="A backup is there", not_proved="whether it can be restored."),
        rung("integrity", "failed", checks=[check("toc", "passed"), check("sha256", "failed", "It differs.")]),
    )
    for text in (" ".join(summary(made, None).split()), markdown(made)):
        assert "Proved: A backup is there." in text
        assert "Not proved: whether it can be restored." in text
        assert "restored.." not in text
        assert "Proved: nothing." in text
        assert "toc" not in text
        assert "There is no proven backup to roll back to. Do what is said above of integrity" in text
    assert "- sha256 failed: It differs." in summary(made, None)
    assert "| sha256 | failed | It differs. |" in markdown(made)
    assert "- 1 of 2 checks passed." in markdown(made)


def test_the_worst_checks_come_first_and_the_terminal_counts_the_rest() -> None:
    checks = [check("amcheck", "skipped"), check("owner", "degraded")]
    checks += [check(f"count_{number}", "failed", f"Table {number} differs.") for number in range(30)]
    made = verification(rung("drill", "failed", checks=checks))
    lines = [line.strip() for line in summary(made, None).splitlines()]
    assert [line for line in lines if line.startswith("- ")] == [
        f"- count_{number} failed: Table {number} differs." for number in range(5)
    ]
    assert "… and 27 more in report.md" in lines
    found = markdown(made).partition("## Timeline")[0]
    rows = [line for line in found.splitlines() if line.startswith("| ")][-32:]
    assert [row.split(" | ")[1] for row in rows] == ["failed"] * 30 + ["degraded", "skipped"]


def test_what_the_message_says_is_not_said_twice_on_the_terminal() -> None:
    checks = [check("sha256", "failed", "It differs.")]
    made = verification(rung("integrity", "failed", "It differs. 1 more.", checks=checks))
    assert summary(made, None).count("It differs.") == 1
    assert "- sha256 failed" in summary(made, None)


def test_a_rung_is_not_wider_than_a_terminal() -> None:
    long = "word " * 60 + "x" * 100
    made = verification(
        rung("integrity", "failed", long, proved=long, not_proved=long, checks=[check("n" * 90, "failed", long)])
    )
    assert max(len(line) for line in summary(made, None).splitlines()) <= 80


RUNS: list[dict[str, Any]] = [
    {"run_id": "r2", "finished": "2026-01-02T03:00:00Z", "verdict": "failed", "backup_id": None,
     "backup_finished": None, "age_seconds": None, "size_bytes": None, "drill_seconds": None},
    {"run_id": "r1", "finished": "2026-01-01T03:00:00Z", "verdict": "ok", "backup_id": "a|b.dump",
     "backup_finished": "2026-01-01T02:00:00Z", "age_seconds": 3600, "size_bytes": 1536, "drill_seconds": 75.5},
]  # fmt: skip


def test_the_last_runs_are_a_table() -> None:
    text = markdown(verification(rung("exists"), history=RUNS))
    assert """
| finished (UTC) | verdict | backup | age | size | drill |
| --- | --- | --- | ---: | ---: | ---: |
| 2026-01-02 03:00 | failed | - | - | - | - |
| 2026-01-01 03:00 | ok | a\\|b.dump | 1 h | 1.5 KiB | 1 min |
""" in text
    assert "The last runs" not in markdown(verification(rung("exists"), history=[]))


@pytest.mark.parametrize(
    ("size", "shown"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5 * 2**20, "5.0 MiB"), (2**52, "4096.0 TiB")],
)
def test_sizes_are_told_in_units_that_people_compare(size: int, shown: str) -> None:
    assert f"| {shown} |" in markdown(verification(rung("exists"), history=[{**RUNS[1], "size_bytes": size}]))


def test_a_rung_cannot_forge_the_report() -> None:
    evil = "a\n# Rollback report: ok | x\x1b[2J`"
    made = verification(
        rung("drill", "failed", evil, proved=evil, not_proved=evil, checks=[check(evil, "failed", evil)]),
        history=[{**RUNS[1], "backup_id": evil}],
    )
    assert "\x1b" not in summary(made, None) + markdown(made)
    assert [line for line in markdown(made).splitlines() if line.startswith("# ")] == ["# Rollback report: failed"]


def test_the_timeline_has_the_baseline_and_what_is_to_come() -> None:
    baseline = {"migration": "r42", "moment": "before", "taken_at": "2026-11-20T08:00:00Z", "operator": "me"}
    details = {"checks": [], "baseline": baseline}
    made = verification({"name": "verify", "status": "ok", "changed": False, "message": "", "details": details})
    rows = timeline({**made, "started": "2026-11-22T09:30:00Z", "finished": "2026-11-22T09:31:00Z", "verdict": "ok"})
    assert rows == [
        ("2026-11-20 08:00", "baseline before r42, taken by me"),
        ("2026-11-22 09:30", "this run began"),
        ("2026-11-22 09:31", "this run ended: ok"),
        ("2026-11-23 09:31", "to come: rollback.yml --tags verify -e post_rollback_verification_stage=day"),
        ("2026-11-29 09:31", "to come: rollback.yml --tags verify -e post_rollback_verification_stage=week"),
    ]
    assert "to come" not in markdown(verification(rung("drill", "ok")))


def test_a_check_s_objects_and_its_remedy_are_told() -> None:
    objects = [{"name": f"public.t{number}", "problem": "is gone"} for number in range(9)]
    message = "public.t0: is gone."
    found = {**check("catalog_kept", "failed", message), "objects": objects, "fix": "Make it again."}
    step = {"name": "verify", "status": "failed", "changed": False, "message": message, "details": {"checks": [found]}}
    made = verification(step)
    told = summary(made, None)
    assert told.count("is gone") == 5
    assert "… and 4 more in report.md" in told
    for text in (markdown(made), html(made)):
        assert text.count("is gone") >= 10
        assert "Make it again." in text
