# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is shown of a full restore: to whoever is to confirm it, in the reports, and what to do next."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.command_line import Invocation
from ansible_collections.pgops.rollback.plugins.module_utils.report import build_report
from ansible_collections.pgops.rollback.plugins.module_utils.report_html import html
from ansible_collections.pgops.rollback.plugins.module_utils.report_next import (
    name_next_command,
    next_command,
    next_step,
)
from ansible_collections.pgops.rollback.plugins.module_utils.report_question import question
from ansible_collections.pgops.rollback.plugins.module_utils.report_text import markdown, summary
from tests.unit.test_report_plan import HOSTILE, RUN

HERE = Invocation(["prod.yml"], "db*", by_file=True, variables={"database_restore_source": "pg_dump"})
TOKEN = "rb-0123456789ab"
KEPT = {"name": "app_before_restore_20261125_150000", "role": "kept", "since": "2026-11-25T15:00:00Z", "bytes": 2048}


def plan(**more: Any) -> dict[str, Any]:
    return {
        "action": "restore", "token": TOKEN, "database": "app",
        "backup": {"id": "app.dump", "finished": "2026-11-25T02:00:00Z", "size_bytes": 1024, "location": "/b/app.dump"},
        "comes_back": {"tables": 3, "rows": 800},
        "lost": {
            "rows": [{"name": "public.orders", "then": 500, "now": 501, "written": 57},
                     {"name": "public.items", "then": 300, "now": None, "written": None}],
            "rows_since": "the backup", "counted_since": "",
            "objects": [{"kind": "tables", "name": "public.later"}],
        },
        "sessions": [{"user": "web", "application": "puma", "sessions": 20}],
        "time": {"seconds": 754.0, "of": "the drill of 2026-11-24T03:00:00Z restored 40 MB/s"},
        "disk": {"needed": 1024**3, "free": None},
        "not_carried_over": ["The subscription s: it goes on writing to the old database, and has to be made anew."],
        "others": [KEPT], "blockers": [], "warnings": [], "overrides": {}, "nothing_to_do": False, **more,
    }  # fmt: skip


UNDO = plan(
    action="undo", comes_back=KEPT, lost={"rows": None}, others=[], backup=None, not_carried_over=[]
)  # fmt: skip
PURGE = {
    "action": "purge", "token": TOKEN, "database": "app", "goes": [KEPT, {**KEPT, "since": "", "bytes": None}],
    "blockers": [], "warnings": [], "overrides": {}, "nothing_to_do": False,
}  # fmt: skip


def reported(name: str, made: dict[str, Any], **result: Any) -> dict[str, Any]:
    """A run that planned, and did what is named, if anything."""
    results: dict[str, Any] = {"plan": {"status": "ok", "msg": "Planned.", "plan": made}}
    if result:
        results[name] = {"plan": made, **result}
    report = build_report(RUN, results)
    name_next_command(report, HERE)
    return report


def test_the_question_says_what_is_lost() -> None:
    assert question({"db1": plan()}).splitlines() == [
        "db1: restore app",
        "  app.dump, of 2026-11-25T02:00:00Z, 1.0 KiB: 3 of the live tables and 800 rows (/b/app.dump)",
        "  lost: rows of 2 tables: public.orders (501 now, 500 then, 57 written), public.items (? now, 300 then); 1"
        " object: table public.later",
        "  time to restore beside the live database: 12 min (the drill of 2026-11-24T03:00:00Z restored 40 MB/s)",
        "  disk: 1.0 GiB needed, an unknown number free",
        "  downtime: about a second, for the swap, which ends 20 sessions (web puma)",
        "  not carried over: The subscription s: it goes on writing to the old database, and has to be made anew.",
        "  set aside earlier: app_before_restore_20261125_150000, kept 2026-11-25T15:00:00Z, 2.0 KiB",
        f"Type {TOKEN} to confirm the restore; anything else ends it, with nothing done",
    ]


def test_what_nobody_knows_is_said() -> None:
    unknown = {"rows": [], "rows_since": "", "counted_since": "", "objects": []}
    assert "how many rows is not known, since there is neither" in question({"db1": plan(lost=unknown)})
    known = {**unknown, "rows_since": "the backup"}
    assert "lost: no row that anybody knows of" in question({"db1": plan(lost=known)})
    asked = question({"db1": UNDO})
    assert "undo the restore of app" in asked
    assert "how many rows were written since is not known" in asked
    assert f"Type {TOKEN} to confirm the undo;" in asked


def test_a_purge_names_what_goes_for_good() -> None:
    asked = question({"db1": PURGE})
    assert "goes for good: app_before_restore_20261125_150000, kept 2026-11-25T15:00:00Z, 2.0 KiB" in asked
    assert "goes for good: app_before_restore_20261125_150000, left by a run that was killed" in asked


@pytest.mark.parametrize("show", [markdown, html, lambda report: summary(report, None)])
def test_the_reports_show_the_plan(show: Any) -> None:
    text = " ".join(show(reported("restore", plan())).split())
    for words in ("public.later", "app.dump", "subscription s", "public.orders"):
        assert words in text


@pytest.mark.parametrize("show", [markdown, html, lambda report: summary(report, None)])
def test_names_from_a_database_do_no_harm(show: Any) -> None:
    lost = {"rows": [{"name": HOSTILE, "then": 1, "now": 2, "written": None}], "rows_since": "the backup",
            "counted_since": "", "objects": [{"kind": "views", "name": HOSTILE}]}  # fmt: skip
    made = plan(lost=lost, sessions=[{"user": HOSTILE, "application": HOSTILE, "sessions": 1}])
    shown = show(reported("restore", made))
    assert "\x1b" not in shown
    assert "<script>" not in shown or show is not html
    assert "\x1b" not in question({"db1": made})


def test_what_to_do_next() -> None:
    planned = reported("restore", plan())
    assert next_command(planned).endswith("playbooks/restore.yml --tags restore --limit 'db*' -e"
                                          " database_restore_source=pg_dump")  # fmt: skip
    assert f"-e rollback_confirm={TOKEN}" in next_step(planned)
    done = reported("restore", plan(), status="changed", changed=True, msg="Done.", old_database="app_old")
    assert "kept as app_old" in next_step(done)
    assert "playbooks/restore.yml --tags undo --limit" in next_command(done)
    undone = reported("undo", UNDO, status="changed", changed=True, msg="Back.", old_database="app_new")
    assert next_step(undone).startswith("The database is what it was before the restore.")
    refused = reported("purge", PURGE, failed=True, code="confirmation_invalid", msg="No token.")
    assert "--tags purge" in next_command(refused)
    assert [step["status"] for step in refused["steps"]] == ["ok", "refused"]
