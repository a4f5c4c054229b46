# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What somebody is shown who is to confirm a teardown, and what to do after a plan, a teardown and an undo."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.command_line import Invocation, command_line
from ansible_collections.pgops.rollback.plugins.module_utils.confirmation import batch_token
from ansible_collections.pgops.rollback.plugins.module_utils.report import build_report
from ansible_collections.pgops.rollback.plugins.module_utils.report_html import html
from ansible_collections.pgops.rollback.plugins.module_utils.report_next import (
    name_next_command,
    next_command,
    next_step,
)
from ansible_collections.pgops.rollback.plugins.module_utils.report_question import question
from ansible_collections.pgops.rollback.plugins.module_utils.report_text import markdown, summary
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_plan import summary as one_line
from tests.unit.test_report_plan import HOSTILE, RUN, dependent
from tests.unit.test_report_plan import plan as sample

HERE = Invocation(["prod.yml"], "db*", by_file=True, variables={"rollback_migration": "release-42"})
BROKEN = [{"what": "function public.place()", "why": "It reads public.orders.", "remedy": "Replace it."}]


def plan(**more: Any) -> dict[str, Any]:
    given = {"database": "app", "mode": "drop", "rows": {"total": 1270, "exact": False}, "blockers": []}
    return {**sample(), **given, **more}


def planned(**more: Any) -> dict[str, Any]:
    return {"plan": {"status": "ok", "msg": "3 go.", "plan": plan(**{"mode": "quarantine", **more})}}


def torn_down(**more: Any) -> dict[str, Any]:
    """As the module returns it."""
    return {
        "status": "changed", "changed": True, "msg": "3 objects went.", "bundle": "/a/db1/run-1/bundle",
        "broken": BROKEN, "plan": plan(), **more,
    }  # fmt: skip


def after(results: dict[str, Any], invocation: Invocation | None = HERE) -> dict[str, Any]:
    made = build_report(RUN, results)
    if invocation:
        name_next_command(made, invocation)
    return made


def test_the_question_is_read_in_ten_seconds() -> None:
    functions = [dependent("function", f"public.f{number}()", "breaks", []) for number in range(9)]
    asked = question({"db1": plan(survivors=functions)}).splitlines()
    assert asked == [
        "db1: drop in app: 1 sequence, 2 tables; about 1,270 rows",
        "  is lost (1): view public.totals",
        "  breaks (9): function public.f0(), function public.f1(), function public.f2() and 6 more",
        "Type rb-0123456789ab to confirm the teardown; anything else ends it, with nothing done",
    ]


def test_the_question_for_a_batch_names_its_token_and_stays_short() -> None:
    plans = {f"db{number}": plan() for number in range(20)}
    asked = question({**plans, "empty": plan(objects=[], rows={"total": 0, "exact": True})}).splitlines()
    assert len(asked) == 22
    assert "empty: nothing to do in app" in asked
    tokens = {host: "rb-0123456789ab" for host in [*plans, "empty"]}
    assert asked[-1].startswith(f"Type {batch_token(tokens)} to confirm the teardown of these 21 databases;")


def test_names_in_the_question_are_only_read() -> None:
    hostile = dependent("view", f"{HOSTILE}\x1b[2J\n", "breaks", [])
    asked = question({"db1": plan(survivors=[hostile], blockers=[{"message": "No\x07."}])})
    assert len(asked.splitlines()) == 5
    assert asked.replace("\n", "").isprintable()


def test_after_a_plan_the_command_that_carries_it_out() -> None:
    made = after(planned())
    assert next_command(made) == (
        "ansible-playbook -i prod.yml rollback.yml --tags teardown --limit 'db*' -e rollback_migration=release-42"
    )
    assert "which asks for the token (unattended, add -e rollback_confirm=rb-0123456789ab):" in next_step(made)


@pytest.mark.parametrize(
    ("teardown", "command"),
    [
        ({"skipped": True, "msg": "Planned, not done yet."}, "--tags teardown"),
        ({"failed": True, "code": "confirmation_invalid", "msg": "Nothing was confirmed."}, "--tags teardown"),
        ({"failed": True, "code": "rows_grown", "msg": "More rows."}, ""),
        (torn_down(), "playbooks/undo.yml --limit db1 "),
        ({"status": "ok", "msg": "Nothing to do."}, ""),
    ],
)
def test_the_command_depends_on_what_came_of_it(teardown: dict[str, Any], command: str) -> None:
    made = after({**planned(), "teardown": teardown})
    assert command in next_command(made)
    assert bool(next_command(made)) == bool(command)


def test_after_a_teardown_what_is_broken_and_where_the_bundle_is() -> None:
    made = after({**planned(), "teardown": torn_down()})
    told = next_step(made)
    for part in ("Mend what is broken now, 1 object,", "/a/db1/run-1/bundle", "personal data"):
        assert part in told
    assert next_command(made).endswith("-e rollback_bundle=/a/db1/run-1/bundle")
    for text in (summary(made, None), markdown(made).replace("\\", ""), html(made)):
        assert "function public.place()" in text
        assert "Replace it." in " ".join(text.split())
    shown = summary(made, None)
    # It was shown before it was carried out.
    assert "goes: " not in shown
    assert "goes: " in summary(after(planned()), None)
    assert markdown(made).count("## What goes\n") == 1


def test_after_a_drop_the_rows_are_in_the_bundle_alone() -> None:
    assert "--tags teardown" in next_command(after(planned(mode="drop")))
    done = torn_down(broken=[], schema=None, keep_until="2026-12-25T12:00:00Z")
    told = next_step(after({**planned(mode="drop"), "teardown": done}))
    assert "personal data among them, are in /a/db1/run-1/bundle alone" in told
    assert "until 2026-12-25T12:00:00Z. From then on playbooks/expire_bundles.yml removes it." in told


def test_in_quarantine_the_rows_stay() -> None:
    done = torn_down(broken=[], schema="rollback_quarantine_1")
    told = next_step(after({**planned(mode="quarantine"), "teardown": done}))
    assert "stay in the database, in quarantine" in told
    assert "Mend" not in told


def test_what_went_wrong_besides_is_named() -> None:
    made = after({**planned(), "teardown": torn_down(), "verify": {"status": "failed", "msg": "1 check failed."}})
    assert "Look at verify." in next_step(made)


def test_after_an_undo() -> None:
    told = next_step(after({"undo": {"status": "changed", "changed": True, "msg": "8 objects are back."}}))
    assert told.startswith("What was torn down is back as it was.")
    undone = {"status": "changed", "changed": True, "mode": "purge", "msg": "8 objects are back in quarantine."}
    # The same command may name the bundle of the purge, which has been undone.
    assert "run the same command again" not in (told := next_step(after({"undo": undone})))
    assert "rollback_bundle" in told


def test_a_command_can_be_pasted() -> None:
    variables = {"teardown_override_provenance": ["public.x"], "rollback_manifest": "m.yml"}
    run = Invocation(["a b.yml"], variables=variables)
    assert command_line(run, "undo") == (
        "ansible-playbook -i 'a b.yml' pgops.rollback.undo -e '{\"teardown_override_provenance\": [\"public.x\"]}'"
        " -e rollback_manifest=m.yml"
    )


@pytest.mark.parametrize(
    ("effects", "told"),
    [
        (["dropped"], "1 goes, 1 goes with them."),
        (["breaks", "possible", "remains"], "1 goes, 1 breaks, 1 may break."),
        (["dropped", "dropped", "breaks", "breaks"], "1 goes, 2 go with them, 2 break."),
    ],
)
def test_a_plan_in_one_line(effects: list[str], told: str) -> None:
    made = plan(objects=[{}], dependents=[{"effect": each} for each in effects], survivors=[], blockers=[])
    assert f"of app: {told} Token rb-0123456789ab." in one_line(made)
