# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A teardown's plan in the reports: every fact is told, and no name in it can do anything but be read."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.report import Run, build_report
from ansible_collections.pgops.rollback.plugins.module_utils.report_html import html
from ansible_collections.pgops.rollback.plugins.module_utils.report_picture import mermaid, picture_of, svg
from ansible_collections.pgops.rollback.plugins.module_utils.report_text import TERMINAL_PLAN, markdown, summary

RUN = Run("run-1", "db1", "sre", "2026-01-01T00:00:00Z", "2026-01-01T00:00:02Z", check_mode=False)
HOSTILE = 'public."a`]<script>alert(1)</script>|```"'


def going(kind: str, name: str, rows: int | None = None, rows_are: str = "exact", through: str = "") -> dict[str, Any]:
    size = None if rows is None else 2048
    return {"kind": kind, "name": name, "rows": rows, "rows_are": rows_are, "bytes": size, "through": through}


def dependent(kind: str, name: str, effect: str, uses: list[str], **more: Any) -> dict[str, Any]:
    given = {"detail": f"Because of {name}.", "recreatable": True, "obstacle": "", "line": None, **more}
    return {"kind": kind, "name": name, "effect": effect, "uses": uses, **given}


def plan(name: str = "public.orders") -> dict[str, Any]:
    table = f"table {name}"
    return {
        "token": "rb-0123456789ab",
        "overrides": {"teardown_require_backup": False},
        "disk": {"bytes": 1 << 20, "seconds": 90},
        "objects": [
            going("table", name, 1200), going("table", "public.lines", 70, "estimated"),
            going("sequence", "public.orders_id_seq", through=name),
        ],
        "dependents": [dependent("view", "public.totals", "dropped", [table])],
        "survivors": [
            dependent("function", "public.place()", "breaks", [table], line=7),
            dependent("policy", "own on public.users", "dropped", ["view public.totals"], recreatable=False,
                      obstacle="public.users belongs to auth."),
        ],
        "drift": [{"detail": "The manifest names the table public.gone, and the database has none."}],
        "blockers": [{"message": "No backup.", "remedy": "Verify one.", "override": "teardown_require_backup"}],
        "warnings": [{"message": "One breaks.", "remedy": "Deploy.", "override": None}],
    }  # fmt: skip


def report(made: dict[str, Any]) -> dict[str, Any]:
    return build_report(RUN, {"plan": {"status": "refused", "msg": "drop of app: 3 go.", "plan": made}})


FACTS = [
    "public.orders", "1,200", "2.0 KiB", "about 70", "is lost", "view public.totals", "breaks", "public.place()",
    "(line 7)", "cannot make it again: public.users belongs to auth.", "public.gone", "No backup. Verify one.",
    "One breaks. Deploy.", "at most 1.0 MiB", "at most about 1 min",
]  # fmt: skip


def test_the_terminal_names_what_sets_a_blocker_aside() -> None:
    made = plan()
    shown = " ".join(summary(report(made), None).split())
    assert "blocked: No backup. Verify one. (teardown_require_backup sets it aside.)" in shown
    made["blockers"][0]["override"] = None
    assert "sets it aside" not in summary(report(made), None)


@pytest.mark.parametrize("fact", FACTS)
def test_every_form_tells_it(fact: str) -> None:
    made = report(plan())
    unescaped = re.sub(r"\\(.)", r"\1", markdown(made))
    for text in (unescaped, re.sub(r"<[^>]*>", " ", html(made)), " ".join(summary(made, None).split())):
        assert all(part in text for part in re.split(r"(?<=\.) ", fact))


def test_the_report_has_the_token_and_what_was_set_aside() -> None:
    made = report(plan())
    assert (made["token"], made["overrides"]) == ("rb-0123456789ab", {"teardown_require_backup": False})


def test_a_plan_is_not_nothing_to_do() -> None:
    made = build_report(RUN, {"plan": {"status": "ok", "msg": "3 go.", "plan": {**plan(), "blockers": []}}})
    assert "Next: Read the plan. Nothing was done" in summary(made, None)
    empty = {**plan(), "objects": [], "dependents": [], "survivors": [], "blockers": [], "warnings": [], "drift": []}
    made = build_report(RUN, {"plan": {"status": "ok", "msg": "Nothing to do.", "plan": empty}})
    assert "Next: Nothing to do." in summary(made, None)


def test_the_terminal_keeps_its_width_and_its_height() -> None:
    long = plan()
    long["survivors"] = [dependent("function", f"public.f{n}()", "breaks", []) for n in range(100)]
    lines = summary(report(long), None).splitlines()
    assert max(map(len, lines)) <= 80
    assert sum("- breaks: " in line for line in lines) < TERMINAL_PLAN
    assert any("more in report.md" in line for line in lines)


def test_what_goes_on_is_only_named_on_the_terminal() -> None:
    calm = plan()
    calm["survivors"] = [dependent("trigger", f"t{n} on public.orders", "remains", []) for n in range(7)]
    shown = " ".join(summary(report(calm), None).split())
    assert "- goes on: trigger t0 on public.orders, trigger t1 on public.orders," in shown
    assert "trigger t4 on public.orders and 2 more" in shown
    assert "Because of t0" not in shown
    assert "Because of t6" in markdown(report(calm))


def test_the_picture_has_what_depends_on_what() -> None:
    picture = picture_of(plan())
    assert [node.label for node in picture.nodes] == [
        "table public.orders", "table public.lines", "view public.totals", "function public.place()",
        "policy own on public.users",
    ]  # fmt: skip
    assert picture.edges == [(0, 2), (0, 3), (2, 4)]
    drawn = mermaid(picture)
    assert 'n0 -- "is lost" --> n2' in drawn
    root = ElementTree.fromstring(svg(picture))
    assert sum(each.tag.endswith("}path") for each in root.iter()) == 3
    assert sum(each.tag.endswith("}rect") for each in root.iter()) == 5


def test_a_crowd_is_not_drawn() -> None:
    crowd = plan()
    crowd["survivors"] = [dependent("function", f"public.f{n}()", "breaks", []) for n in range(100)]
    picture = picture_of(crowd)
    assert (len(picture.nodes), picture.left_out) == (60, 43)
    assert "And 43 more" in markdown(report(crowd))


def test_names_are_only_read() -> None:
    picture = picture_of(plan(HOSTILE))
    assert not re.search(r"[<>`|]", mermaid(picture).replace("-->", ""))
    titles = [each.text for each in ElementTree.fromstring(svg(picture)).iter() if each.tag.endswith("}title")]
    assert f"table {HOSTILE}" in titles
    page = html(report(plan(HOSTILE)))
    assert "<script" not in page
    assert markdown(report(plan(HOSTILE))).count("\n```") == 2
