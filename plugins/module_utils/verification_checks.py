# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which post-rollback checks there are. To add one, write its function and add its line."""

from __future__ import annotations

from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.verification import (
    CRITICAL,
    MAJOR,
    MINOR,
    STAGES,
    CheckKind,
    CheckResult,
    Context,
    run_check,
    verdict,
)
from ansible_collections.pgops.rollback.plugins.module_utils.verification_access import disabled_security, no_policies
from ansible_collections.pgops.rollback.plugins.module_utils.verification_activity import error_rate
from ansible_collections.pgops.rollback.plugins.module_utils.verification_baseline import (
    catalog_additions,
    catalog_details,
    catalog_kept,
    grants_kept,
    missing_baseline,
    orphans_without_key,
    row_counts,
    row_security_kept,
)
from ansible_collections.pgops.rollback.plugins.module_utils.verification_endpoints import endpoint_kinds
from ansible_collections.pgops.rollback.plugins.module_utils.verification_gone import gone
from ansible_collections.pgops.rollback.plugins.module_utils.verification_integrity import (
    constraints,
    event_triggers,
    indexes,
    orphans,
    triggers,
)
from ansible_collections.pgops.rollback.plugins.module_utils.verification_manifest import manifest_kinds
from ansible_collections.pgops.rollback.plugins.module_utils.verification_pairs import pairs
from ansible_collections.pgops.rollback.plugins.module_utils.verification_references import references
from ansible_collections.pgops.rollback.plugins.module_utils.verification_sequences import (
    keys_without_default,
    sequence_limits,
    sequences,
)

#: The cheap and telling ones first.
CHECKS = (
    CheckKind("gone", "Nothing left of what was rolled back", MAJOR, "immediate", gone, "gone", "created"),
    CheckKind("references", "Functions and triggers that refer to something gone", MAJOR, "immediate", references),
    CheckKind("sequences", "Sequences ahead of their data", CRITICAL, "immediate", sequences),
    CheckKind("sequence_limits", "Sequences with values left", CRITICAL, "immediate", sequence_limits),
    CheckKind("keys_without_default", "Keys with a default or identity", CRITICAL, "immediate", keys_without_default),
    CheckKind("constraints", "Constraints validated", MAJOR, "immediate", constraints),
    CheckKind("orphans", "Rows behind foreign keys that are not valid", MAJOR, "immediate", orphans),
    CheckKind("indexes", "Indexes valid and ready", MAJOR, "immediate", indexes),
    CheckKind("triggers", "Triggers and rules enabled", MAJOR, "immediate", triggers),
    CheckKind("event_triggers", "Event triggers enabled", MINOR, "immediate", event_triggers),
    CheckKind("row_security", "Row-level security on where there are policies", MAJOR, "immediate", disabled_security),
    CheckKind("policies", "Tables that no policy lets anybody read", MINOR, "immediate", no_policies),
    CheckKind("row_security_kept", "Row-level security as in the baseline", CRITICAL, "immediate", row_security_kept,
              "baseline"),
    CheckKind("grants_kept", "Owners and privileges as in the baseline", MAJOR, "immediate", grants_kept, "baseline"),
    CheckKind("catalog_kept", "All other objects as in the baseline", CRITICAL, "immediate", catalog_kept, "baseline"),
    CheckKind("catalog_details", "Comments and settings as in the baseline", MINOR, "immediate", catalog_details,
              "baseline"),
    CheckKind("catalog_additions", "Objects not in the baseline", MINOR, "immediate", catalog_additions, "baseline"),
    CheckKind("row_counts", "Rows of the tables that live on", MINOR, "immediate", row_counts, "baseline"),
    CheckKind("orphans_without_key", "Rows behind foreign keys that are gone", CRITICAL, "immediate",
              orphans_without_key, "baseline"),
    CheckKind("pairs", "Tables whose rows belong together", MAJOR, "immediate", pairs, "pairs"),
    CheckKind("error_rate", "Failed transactions and deadlocks", MINOR, "day", error_rate, "activity_before"),
)  # fmt: skip


#: Options each of whose entries is a check of its own.
LISTS = {"checks": manifest_kinds, "endpoints": endpoint_kinds}


def run_checks(context: Context, stage: str) -> tuple[list[CheckResult], list[str]]:
    """Run what belongs to the stage.

    :returns: the results, and the options without which something had nothing to look at: it was not asked for, so it
        makes nothing incomplete.
    :raises RollbackError: ``manifest_invalid``, ``endpoint_invalid``.
    """
    kinds = [*missing_baseline(context), *CHECKS, *(kind for listed in LISTS.values() for kind in listed(context))]
    due = [kind for kind in kinds if STAGES.index(kind.stage) <= STAGES.index(stage)]
    asked = [
        kind for kind in due
        if not kind.option or context.options.get(kind.option) or context.options.get(kind.or_option)
    ]  # fmt: skip
    results = [run_check(kind, context) for kind in asked]
    lacking = [kind.option for kind in due if kind not in asked]
    return results, [*lacking, *(option for option in LISTS if not context.options.get(option))]


def as_step(results: list[CheckResult], not_configured: list[str]) -> dict[str, Any]:
    """One step of a report."""
    outcome = verdict(results)
    bad = [result for result in results if result.status in ("failed", "warned")]
    skipped = [result.name for result in results if result.status == "skipped"]
    passed = sum(result.status == "passed" for result in results)
    parts = [f"{passed} of {len(results)} checks passed"]
    parts += [f"{word}: {', '.join(names)}" for word, names in (
        ("failed", [result.name for result in bad if result.status == "failed"]),
        ("warned", [result.name for result in bad if result.status == "warned"]),
        ("not checked", skipped),
    ) if names]  # fmt: skip
    return {
        "name": "verify",
        "status": "skipped" if outcome == "incomplete" else outcome,
        "changed": False,
        "message": "; ".join(parts) + ".",
        "details": {"checks": [result.as_result() for result in results], "not_configured": not_configured},
    }
