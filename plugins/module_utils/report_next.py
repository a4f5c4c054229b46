# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What to do after a run: one sentence, and where there is one the command to copy. Pure functions."""

from __future__ import annotations

from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.command_line import Invocation, command_line
from ansible_collections.pgops.rollback.plugins.module_utils.gate import nothing_to_do
from ansible_collections.pgops.rollback.plugins.module_utils.report_content import plain
from ansible_collections.pgops.rollback.plugins.module_utils.report_plan import action_of

#: Variables that an undo does not look at.
_OF_THE_PLAN = (
    "teardown_mode", "teardown_manifest", "teardown_require_backup", "teardown_backup_max_age",
    "teardown_allow_unknown_provenance", "teardown_override_provenance", "teardown_max_row_growth",
    "teardown_bundle_retention", "teardown_bundle_encrypt", "rollback_bundle",
)  # fmt: skip


def name_next_command(report: dict[str, Any], invocation: Invocation) -> None:
    """Put the command that follows a plan, a teardown, a rehearsal or a full restore into the details of that step."""
    torn_down, planned, rehearsed = _torn_down(report), _planned(report), _rehearsed(report)
    if restored := _restored(report):
        restored["next_command"] = command_line(invocation.at(report["host"]), "restore", "--tags", "undo")
    elif torn_down:
        given = {"rollback_bundle": torn_down["bundle"]} if torn_down.get("bundle") else {}
        torn_down["next_command"] = command_line(invocation.at(report["host"]).without(_OF_THE_PLAN), "undo", **given)
    elif planned:
        action = action_of(planned["plan"])
        playbook = "restore" if "action" in planned["plan"] else "rollback"
        planned["next_command"] = command_line(invocation, playbook, "--tags", action)
    elif rehearsed:
        rehearsed["next_command"] = command_line(invocation, "rollback", "--tags", "plan")


def next_command(report: dict[str, Any]) -> str:
    """The command that a step of the run names, for a shell; empty when none does."""
    named = (step["details"].get("next_command") for step in report["steps"])
    return plain(next(filter(None, named), ""))


def next_step(report: dict[str, Any]) -> str:
    """A sentence; with a next_command() it introduces that."""
    torn_down, planned = _torn_down(report), _planned(report)
    command = next_command(report)
    if restored := _restored(report):
        return _after_restore(report, restored) + (" To have the old one back, run:" if command else "")
    if torn_down:
        return _after_teardown(report, torn_down) + (" To have it all back, run:" if command else "")
    if planned:
        read = "Read the plan. Nothing was done."
        how = f" To carry it out, run this, which asks for the token (unattended, add {_confirming(planned)}):"
        return read + (how if command else "")
    if _rehearsed(report) is not None:
        return _after_rehearsal(report) + (" To see the live database's own plan, run:" if command else "")
    return "Run:" if command else _by_verdict(report)


def _by_verdict(report: dict[str, Any]) -> str:
    def names(status: str) -> str:
        return ", ".join(step["name"] for step in report["steps"] if step["status"] == status)

    failed_rung = any(
        step["status"] == "failed" and "proved" in step["details"] and step["name"] != "rehearse"
        for step in report["steps"]
    )
    unproven = "There is no proven backup to roll back to. " if failed_rung else ""
    or_new = ", or make a new backup" if failed_rung else ""
    changed = "Try the inserts that failed. report.md and report.json say how to put the state before back."
    if _details(report, "dump") is not None:
        changed = "Prove that it restores: verify_backup.yml with backup_verification_source=pg_dump and its path."
    if (undone := _details(report, "undo")) is not None:
        what = "The database is what it was before the restore." if "old_database" in undone else (
            "What was torn down is back as it was."
        )
        changed = f"{what} Deploy the application's release that uses it."
        if undone.get("mode") == "purge":
            changed = (
                "What was purged is back in quarantine. To have it where it was, undo the quarantine, too: the same"
                " command, with the bundle that the quarantine's report names as rollback_bundle."
            )
    if _details(report, "purge") is not None:
        changed = "Look at the disk: what was dropped is gone for good."
    by_verdict = {
        "failed": f"{unproven}Do what is said above of {names('failed')}{or_new}, then run the same command again"
        + ("." if unproven or report["check_mode"] else "; what is already done stays done and is not repeated."),
        "refused": "Nothing was done by the refused step. Remove the reason it names, then run the same command again.",
        "degraded": "Look at the degraded step: it was done, but not everything is as it should be.",
        "incomplete": f"Not everything was checked: {names('skipped')} did not run.",
        "changed": "Run the same command without --check to do this." if report["check_mode"] else changed,
    }
    return by_verdict.get(report["verdict"], "Nothing to do.")


def _details(report: dict[str, Any], name: str, *statuses: str) -> dict[str, Any] | None:
    """Of the step of that name, if it ended as one of these; None if there is none."""
    for step in report["steps"]:
        if step["name"] == name and (not statuses or step["status"] in statuses):
            details: dict[str, Any] = step["details"]
            return details
    return None


def _torn_down(report: dict[str, Any]) -> dict[str, Any] | None:
    """Also by the purge of a quarantine, which has a bundle; that of a full restore has none."""
    if report["check_mode"]:
        return None
    found = _details(report, "teardown", "changed") or _details(report, "purge", "changed")
    return found if found and "broken" in found else None


def _restored(report: dict[str, Any]) -> dict[str, Any] | None:
    return None if report["check_mode"] else _details(report, "restore", "changed")


def _planned(report: dict[str, Any]) -> dict[str, Any] | None:
    """Of a plan that could be carried out and was not."""
    found = _details(report, "plan", "ok")
    if not found or not found.get("plan") or nothing_to_do(found["plan"]):
        return None
    step = action_of(found["plan"])
    refused = _details(report, step, "refused")
    unconfirmed = refused is not None and str(refused.get("code")).startswith("confirmation_")
    undone = _details(report, step) is None or _details(report, step, "skipped") is not None
    return found if undone or unconfirmed else None


def _rehearsed(report: dict[str, Any]) -> dict[str, Any] | None:
    """Of a rehearsal that got as far as its copy, and stopped at nothing else of the run."""
    found = _details(report, "rehearse")
    return found if found and found.get("checks") else None


def _after_rehearsal(report: dict[str, Any]) -> str:
    by_status = {
        "ok": "The teardown and its undo work in the copy.",
        "degraded": "The teardown and its undo work in the copy. Before the real one, do what is said above.",
    }
    status = next(step["status"] for step in report["steps"] if step["name"] == "rehearse")
    mend = "Do what is said above of rehearse, then rehearse again."
    return f"{by_status.get(status, mend)} Only a restored copy was touched."


def _confirming(planned: dict[str, Any]) -> str:
    token = planned.get("batch_token") or planned["plan"].get("token")
    return f"-e rollback_confirm={token}"


def _after_restore(report: dict[str, Any], restored: dict[str, Any]) -> str:
    wrong = [step["name"] for step in report["steps"] if step["status"] in ("failed", "degraded", "refused")]
    look = f"Look at {', '.join(wrong)}. " if wrong else "See that the application works. "
    return (
        f"{look}The old database is kept as {plain(restored.get('old_database'))}, with all that was written since the"
        " backup; when nobody needs it any more, restore.yml --tags purge drops it."
    )


def _after_teardown(report: dict[str, Any], torn_down: dict[str, Any]) -> str:
    sentences = []
    broken = len(torn_down.get("broken") or [])
    if broken:
        sentences.append(f"Mend what is broken now, {broken} object{'s' if broken > 1 else ''}, as said above.")
    wrong = [step["name"] for step in report["steps"] if step["status"] in ("failed", "degraded", "refused")]
    if wrong:
        sentences.append(f"Look at {', '.join(wrong)}.")
    bundle = torn_down.get("bundle")
    if torn_down.get("schema"):
        sentences.append("The rows, personal data among them, stay in the database, in quarantine.")
        sentences += [f"What brings them back is in {bundle}."] if bundle else []
    elif bundle:
        sentences.append(
            f"The rows, personal data among them, are in {bundle} alone: keep it safe, and back it up, until"
            f" {torn_down.get('keep_until')}. From then on playbooks/expire_bundles.yml removes it."
        )
    return " ".join(sentences)
