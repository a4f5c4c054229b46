# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rollback manifest's own checks, as checks of the verification: each is one of its own."""

from __future__ import annotations

from functools import partial
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.backup import FAULTY, SKIPPED
from ansible_collections.pgops.rollback.plugins.module_utils.manifest_checks import run_check, validate_checks
from ansible_collections.pgops.rollback.plugins.module_utils.verification import (
    MAJOR,
    CheckKind,
    Context,
    Finding,
    Outcome,
)


def manifest_kinds(context: Context) -> list[CheckKind]:
    """:raises RollbackError: ``manifest_invalid``."""
    return [
        CheckKind(
            f"manifest: {check['name']}", "A check of the rollback manifest", MAJOR, "immediate", partial(_run, check)
        )
        for check in validate_checks(context.options.get("checks") or [])
    ]


def _run(check: dict[str, Any], context: Context) -> Outcome:
    found = run_check(context.connections.first, check, context.statement_timeout)
    problem = found.message.rstrip(".")
    outcome = Outcome(
        found.message,
        "Not as the rollback manifest expects",
        str(check.get("fix") or "Look at what its query finds, or correct the check in the manifest."),
    )
    if found.status == FAULTY:
        outcome.findings.append(Finding(str(check["name"]), problem))
    elif found.status == SKIPPED:
        outcome.unchecked.append(problem)
    return outcome
