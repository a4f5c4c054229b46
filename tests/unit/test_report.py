# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From results to statuses, verdict and the stable keys of report.json."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.report import (
    NO_RESULT,
    NOT_REACHED,
    Run,
    build_report,
    verdict,
)

RUN = Run("run-1", "db1", "sre", "2026-01-01T00:00:00Z", "2026-01-01T00:00:02Z", check_mode=False)
OK = {"changed": False, "summary": "Connected.", "database": "app", "version": "15.18", "user": "owner"}


def only_step(result: dict[str, Any] | None) -> dict[str, Any]:
    (step,) = build_report(RUN, {"sequence": result})["steps"]
    assert isinstance(step, dict)
    return step


def test_the_keys_are_those_that_others_rely_on() -> None:
    report = build_report(RUN, {"preflight": OK})
    assert list(report) == [
        "run_id", "host", "database", "server_version", "operator", "started", "finished", "check_mode", "token",
        "overrides", "verdict", "steps",
    ]
    assert (report["database"], report["server_version"], report["token"]) == ("app", "15.18", None)
    assert list(report["steps"][0]) == ["name", "status", "changed", "message", "details"]


@pytest.mark.parametrize(
    ("result", "status", "message"),
    [
        (OK, "ok", "Connected."),
        ({"changed": True, "summary": "3 reset."}, "changed", "3 reset."),
        ({"changed": False, "failed": True, "msg": "Why and what now.", "summary": "s"}, "failed", "Why and what now."),
        ({"changed": True, "failed": True, "msg": "Half of them."}, "failed", "Half of them."),
        ({"failed": True, "code": "standby", "msg": "A standby."}, "refused", "A standby."),
        ({"failed": True, "code": "connection_failed", "msg": "No."}, "failed", "No."),
        # A role may have suppressed the failure with failed_when, to go on.
        ({"failed": False, "code": "tool_missing", "msg": "No."}, "failed", "No."),
        ({"failed": False, "module_stderr": "python: not found", "msg": "MODULE FAILURE"}, "failed", "MODULE FAILURE"),
        ({"skipped": True, "changed": False, "msg": "not built yet"}, "skipped", "not built yet"),
        ({"skipped": True, "skip_reason": "Conditional result was False"}, "skipped", "Conditional result was False"),
        ({"status": "degraded", "changed": False, "msg": "2 of 3."}, "degraded", "2 of 3."),
        ({}, "failed", NO_RESULT),
        (None, "failed", NO_RESULT),
    ],
)
def test_a_result_becomes_a_status(result: dict[str, Any] | None, status: str, message: str) -> None:
    step = only_step(result)
    assert (step["status"], step["message"]) == (status, message)


def test_a_step_after_a_failed_one_was_not_reached() -> None:
    report = build_report(RUN, {"preflight": {"failed": True, "msg": "No."}, "sequence": {}})
    assert [(step["status"], step["message"]) for step in report["steps"]] == [
        ("failed", "No."), ("skipped", NOT_REACHED),
    ]
    assert report["verdict"] == "failed"


def test_details_keep_what_is_new_and_leave_out_the_envelope() -> None:
    result = {
        **OK, "invocation": {"module_args": {"login_password": "x"}}, "_ansible_no_log": False, "diff": [],
        "counts": {"ok": 3}, "something_new": [1],
    }
    assert only_step(result)["details"] == {
        "database": "app", "version": "15.18", "user": "owner", "counts": {"ok": 3}, "something_new": [1],
    }


def rung(name: str, status: str, **details: Any) -> dict[str, Any]:
    return {"name": name, "status": status, "changed": False, "message": f"{name}.", "details": details}


def test_the_steps_of_a_result_take_its_place() -> None:
    inner = [rung("exists", "ok", proved="p"), rung("freshness", "ok", proved="q")]
    result = {"changed": False, "msg": "m", "verdict": "ok", "steps": inner, "history": [{"run_id": "r0"}]}
    report = build_report(RUN, {"preflight": OK, "backup": result, "sequence": {"changed": True}})
    assert [step["name"] for step in report["steps"]] == ["preflight", "exists", "freshness", "sequence"]
    # What else the result holds is kept, once.
    assert report["steps"][1]["details"] == {"verdict": "ok", "history": [{"run_id": "r0"}], "proved": "p"}
    assert report["steps"][2]["details"] == {"proved": "q"}
    assert all(list(step) == ["name", "status", "changed", "message", "details"] for step in report["steps"])


def test_a_skipped_rung_makes_the_run_incomplete() -> None:
    report = build_report(RUN, {"backup": {"steps": [rung("exists", "ok"), rung("drill", "skipped")]}})
    assert report["verdict"] == "incomplete"


@pytest.mark.parametrize("status", ["passed", "", None])
def test_a_status_that_does_not_exist_is_a_failure(status: Any) -> None:
    assert build_report(RUN, {"backup": {"steps": [rung("exists", status)]}})["verdict"] == "failed"


@pytest.mark.parametrize(
    ("result", "names", "verdict_"),
    [
        ({"failed": True, "msg": "Why."}, ["exists", "backup"], "failed"),
        ({"failed": True, "code": "lock_timeout", "msg": "Why."}, ["exists", "backup"], "refused"),
        ({"status": "degraded", "msg": "Why."}, ["exists", "backup"], "degraded"),
        ({"failed": True, "msg": "Why.", "steps": [rung("exists", "failed")]}, ["exists"], "failed"),
        ({"changed": False, "msg": "Well."}, ["exists"], "ok"),
        ({"failed": True, "msg": "Why.", "steps": []}, ["backup"], "failed"),
    ],
)
def test_a_failure_that_no_rung_tells_is_not_lost(result: dict[str, Any], names: list[str], verdict_: str) -> None:
    report = build_report(RUN, {"backup": {"steps": [rung("exists", "ok")], **result}})
    assert [step["name"] for step in report["steps"]] == names
    assert report["verdict"] == verdict_


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([], "ok"),
        (["ok", "ok"], "ok"),
        (["ok", "changed"], "changed"),
        (["changed", "skipped"], "incomplete"),
        (["skipped", "degraded"], "degraded"),
        (["degraded", "refused"], "refused"),
        (["refused", "failed", "changed"], "failed"),
    ],
)
def test_the_verdict_is_that_of_the_worst_step(statuses: list[str], expected: str) -> None:
    assert verdict([{"status": status} for status in statuses]) == expected
