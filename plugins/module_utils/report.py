# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From the results of the steps to the report: statuses, verdict and the stable keys of report.json. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

#: From best to worst, but for ``skipped``: what a step can end as.
STATUSES = ("ok", "changed", "skipped", "degraded", "refused", "failed")

#: The verdict of a run is that of its worst step; the first that is found counts.
_VERDICTS = (
    ("failed", "failed"),
    ("refused", "refused"),
    ("degraded", "degraded"),
    ("skipped", "incomplete"),
    ("changed", "changed"),
)

#: A run with one of these ends with a non-zero exit code.
BAD_VERDICTS = ("degraded", "refused", "failed")

#: Error codes that mean: not done on purpose, since it would not have been safe.
REFUSALS = frozenset(
    {"standby", "version_unsupported", "lock_timeout", "pooler", "row_security", "privilege_missing", "dump_exists",
     "confirmation_invalid", "confirmation_foreign", "confirmation_stale", "teardown_blocked", "rows_grown",
     "quarantine_refused", "history_refused", "bundle_unfit", "drop_refused", "drop_took_more", "undo_impossible",
     "not_exportable", "export_differs", "disk_full", "artifacts_vanish", "undo_conflict", "undo_refused",
     "undo_unequal", "encryption_failed", "decryption_failed", "decryption_missing", "bundle_foreign",
     "bundle_uncommitted", "bundle_gone", "restore_blocked", "restore_running", "swap_refused",
     "carry_over_incomplete", "database_changed", "maintenance_unreachable", "undo_none"}
)

#: What only a module that failed returns; a role's ``failed_when`` takes the word ``failed`` away, but not these.
_FAILURE_KEYS = {"code", "exception", "module_stderr"}

#: What Ansible or this module puts into a result and what has its own key in a step.
_NOT_DETAILS = frozenset(
    {"changed", "failed", "skipped", "status", "msg", "summary", "steps", "diff", "invocation", "exception",
     "skip_reason", "false_condition", "ansible_facts", "deprecations"}
)

NOT_REACHED = "Not reached, because an earlier step did not succeed."
NO_RESULT = "Stopped before it did anything; the message of the failed task above says why."


@dataclass(frozen=True)
class Run:
    """What the report says about the run as a whole.

    :ivar started: UTC, ISO 8601; ``finished`` likewise.
    """

    run_id: str
    host: str
    operator: str
    started: str
    finished: str
    check_mode: bool


def build_report(run: Run, results: dict[str, dict[str, Any] | None]) -> dict[str, Any]:
    """The content of report.json.

    :param results: step name to the registered result of its module, in the order of the steps. An empty result is a
        step that was asked for and did not get as far as its module. One with a list ``steps`` is replaced by them, and
        what else it holds goes into the details of the first.
    """
    preflight = results.get("preflight") or {}
    plan = (results.get("plan") or {}).get("plan") or {}
    steps: list[dict[str, Any]] = []
    for name, result in results.items():
        stopped = any(step["status"] in ("failed", "refused") for step in steps)
        steps += _steps(name, result or {}, stopped)
    _without_repetition(steps, plan)
    return {
        "run_id": run.run_id,
        "host": run.host,
        "database": preflight.get("database"),
        "server_version": preflight.get("version"),
        "operator": run.operator,
        "started": run.started,
        "finished": run.finished,
        "check_mode": run.check_mode,
        "token": plan.get("token"),
        "overrides": plan.get("overrides", {}),
        "verdict": verdict(steps),
        "steps": steps,
    }


def _without_repetition(steps: list[dict[str, Any]], plan: dict[str, Any]) -> None:
    """What carries a plan out returns it again."""
    for step in steps:
        if step["name"] != "plan" and plan:
            step["details"].pop("plan", None)


def verdict(steps: list[dict[str, Any]]) -> str:
    found = {step["status"] for step in steps}
    return next((word for status, word in _VERDICTS if status in found), "ok")


def _steps(name: str, result: dict[str, Any], stopped: bool) -> list[dict[str, Any]]:
    whole = _step(name, result, stopped)
    inner = [_inner_step(step) for step in result.get("steps") or []]
    if not inner:
        return [whole]
    inner[0]["details"] = {**whole["details"], **inner[0]["details"]}
    # A result that failed although its steps look well is not to be lost.
    lost = whole["status"] in BAD_VERDICTS and verdict(inner) not in BAD_VERDICTS
    return [*inner, {**whole, "details": {}}] if lost else inner


def _inner_step(given: dict[str, Any]) -> dict[str, Any]:
    """A step as its module made it, with the stable keys alone; a status that does not exist is no good one."""
    return {
        "name": str(given.get("name")),
        "status": given["status"] if given.get("status") in STATUSES else "failed",
        "changed": bool(given.get("changed")),
        "message": str(given.get("message") or ""),
        "details": dict(given.get("details") or {}),
    }


def _step(name: str, result: dict[str, Any], stopped: bool) -> dict[str, Any]:
    if not result:
        status, message = ("skipped", NOT_REACHED) if stopped else ("failed", NO_RESULT)
    else:
        status, message = _status(result), _message(result)
    return {
        "name": name,
        "status": status,
        "changed": bool(result.get("changed")),
        "message": message,
        "details": {
            key: value for key, value in result.items() if key not in _NOT_DETAILS and not key.startswith("_ansible")
        },
    }


def _status(result: dict[str, Any]) -> str:
    if result.get("status") in STATUSES:
        return str(result["status"])
    if result.get("failed") or _FAILURE_KEYS & result.keys():
        return "refused" if result.get("code") in REFUSALS else "failed"
    if result.get("skipped"):
        return "skipped"
    return "changed" if result.get("changed") else "ok"


def _message(result: dict[str, Any]) -> str:
    texts = ("msg", "summary") if result.get("failed") else ("summary", "msg", "skip_reason")
    return next((str(result[key]) for key in texts if result.get(key)), "")
