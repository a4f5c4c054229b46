# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Post-rollback verification in a rehearsal: what it finds after a step that it did not find before.

A restored copy differs from the baseline for reasons of its own (the cluster's roles, the time since the dump), and the
database may have had faults before. All that is found both times, so only what is new is the step's doing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.baseline import Baseline
from ansible_collections.pgops.rollback.plugins.module_utils.connections import Connections
from ansible_collections.pgops.rollback.plugins.module_utils.dependent import DROPPED
from ansible_collections.pgops.rollback.plugins.module_utils.verification import SKIPPED, STAGES, CheckResult, Context
from ansible_collections.pgops.rollback.plugins.module_utils.verification_checks import run_checks

#: What the check ``gone`` calls the kinds of a plan.
_KINDS = {
    "table": "table", "foreign table": "table", "view": "view", "materialized view": "materialized_view",
    "sequence": "sequence", "function": "function", "procedure": "function", "aggregate": "function",
}  # fmt: skip


@dataclass(frozen=True)
class Verifying:
    """:ivar baseline: from before the migration, made to fit the copy.
    :ivar manifest: whose ``checks`` have to hold, and of whose ``created`` nothing may be left.
    :ivar statement_timeout: milliseconds.
    """

    baseline: Baseline | None = None
    manifest: dict[str, Any] = field(default_factory=dict)
    pairs: list[dict[str, Any]] = field(default_factory=list)
    count_rows: bool = True
    statement_timeout: int = 30_000


def look(connections: Connections, verifying: Verifying, plan: dict[str, Any] | None = None) -> list[CheckResult]:
    """:param plan: that was carried out; None where nothing has to be gone.
    :raises RollbackError: those of run_checks().
    """
    created = verifying.manifest.get("created") or []
    options = {
        "gone": _gone(plan) if plan else [],
        "created": [{"kind": each["kind"], "name": each["name"]} for each in created if each["kind"] not in _KINDS]
        if plan else [],
        "checks": verifying.manifest.get("checks") or [],
        "pairs": verifying.pairs,
        "endpoints": [],
        "activity_before": None,
        "activity_since": None,
        "baseline": verifying.baseline,
        "baseline_candidates": [],
        "explained": _explained(plan) if plan else [],
        "count_rows": verifying.count_rows,
    }  # fmt: skip
    return run_checks(Context(connections, options, verifying.statement_timeout), STAGES[0])[0]


def news(before: list[CheckResult], after: list[CheckResult]) -> list[dict[str, str]]:
    """``check``, ``name`` and ``problem`` of each object that was not found fault with in the same words before."""
    known = {(each.name, found.name, found.problem) for each in before for found in each.objects}
    return [
        {"check": each.name, "name": found.name, "problem": found.problem}
        for each in after for found in each.objects if (each.name, found.name, found.problem) not in known
    ]  # fmt: skip


def unchecked(results: list[CheckResult]) -> list[str]:
    """Names of the checks that could not be made, each with the reason."""
    return [f"{each.name}: {each.message.rstrip('.')}" for each in results if each.status == SKIPPED]


def _every(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [*plan["objects"], *plan["dependents"], *plan["survivors"]]


def _gone(plan: dict[str, Any]) -> list[dict[str, str]]:
    whole = [each for each in plan["dependents"] if each["effect"] == DROPPED and not each["on"]]
    return [
        {"kind": _KINDS[each["kind"]], "name": each["name"]}
        for each in [*plan["objects"], *whole] if each["kind"] in _KINDS
    ]  # fmt: skip


def _explained(plan: dict[str, Any]) -> list[str]:
    return [f"{each['kind']} {each['name']}" for each in _every(plan)]
