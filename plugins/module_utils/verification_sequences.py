# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sequences behind their data, and keys that lost what gave them a value: what sequence_survey knows, as checks."""

from __future__ import annotations

from ansible_collections.pgops.rollback.plugins.module_utils.sequence_survey import describe_key
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_values import read_assessments
from ansible_collections.pgops.rollback.plugins.module_utils.verification import WARNED, Context, Finding, Outcome

_FAILED_STATES = ("behind", "exhausted")


def sequences(context: Context) -> Outcome:
    found = [each for each in context.sequences.sequences if not each.extension_member]
    outcome = Outcome(
        f"No sequence of {len(found)} is behind its data or at its end.",
        "Sequences whose next value fails or soon will",
        "Run rollback.yml --tags sequence.",
    )
    for sequence, assessment in zip(found, read_assessments(context.connections, found), strict=True):
        problem = assessment.message.rstrip(".")
        if assessment.state in _FAILED_STATES:
            outcome.findings.append(Finding(sequence.name, f"{assessment.state}: {problem}"))
        elif assessment.state == "near_limit":
            outcome.findings.append(Finding(sequence.name, f"near its limit: {problem}", WARNED))
        elif assessment.state == "unreadable":
            outcome.unchecked.append(f"{sequence.name} ({problem})")
    return outcome


def keys_without_default(context: Context) -> Outcome:
    """Without a baseline a key with no trace of a sequence may as well be a natural one, so it is no finding."""
    outcome = Outcome(
        "Every key that has a sequence draws from it.",
        "Keys that inserts without an id leave empty",
        "Run rollback.yml --tags sequence with sequence_reset_repair_defaults=true.",
    )
    for key in context.sequences.keys_without_default:
        if key.sequence is not None and (key.lost or not key.filled_by_trigger):
            described = describe_key(key)
            outcome.findings.append(Finding(key.name, described["message"].rstrip("."), described["status"]))
    return outcome
