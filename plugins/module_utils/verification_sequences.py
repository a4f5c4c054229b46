# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sequences behind their data, and keys that lost what gave them a value: what sequence_survey knows, as checks."""

from __future__ import annotations

from ansible_collections.pgops.rollback.plugins.module_utils.names import QUARANTINE
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_survey import describe_key
from ansible_collections.pgops.rollback.plugins.module_utils.verification import WARNED, Context, Finding, Outcome


def sequences(context: Context) -> Outcome:
    outcome = Outcome(
        f"No sequence of {len(context.assessments)} is behind its data.",
        "Sequences whose next value is taken",
        "Run rollback.yml --tags sequence.",
    )
    for sequence, assessment in context.assessments:
        problem = assessment.message.rstrip(".")
        if assessment.state == "behind":
            outcome.findings.append(Finding(sequence.name, f"behind: {problem}"))
        elif assessment.state == "unreadable":
            outcome.unchecked.append(f"{sequence.name} ({problem})")
    return outcome


def sequence_limits(context: Context) -> Outcome:
    """Of no use to set forward: these have no values left, or not many."""
    outcome = Outcome(
        "Every sequence that could be read has values left.",
        "Sequences at their end, or near it",
        "Widen the key and its sequence: ALTER TABLE … ALTER COLUMN … TYPE bigint, ALTER SEQUENCE … AS bigint.",
    )
    for sequence, assessment in context.assessments:
        problem = assessment.message.rstrip(".")
        if assessment.state == "exhausted":
            outcome.findings.append(Finding(sequence.name, f"exhausted: {problem}"))
        elif assessment.state == "near_limit":
            outcome.findings.append(Finding(sequence.name, f"near its limit: {problem}", WARNED))
    return outcome


def keys_without_default(context: Context) -> Outcome:
    """Without a baseline a key with no trace of a sequence may as well be a natural one, so it is no finding."""
    outcome = Outcome(
        "Every key that has a sequence draws from it.",
        "Keys that inserts without an id leave empty",
        "Run rollback.yml --tags sequence with sequence_reset_repair_defaults=true.",
    )
    for key in context.sequences.keys_without_default:
        if key.sequence is None or key.schema.startswith(QUARANTINE):
            continue
        if key.lost or not key.filled_by_trigger:
            described = describe_key(key)
            outcome.findings.append(Finding(key.name, described["message"].rstrip("."), described["status"]))
    return outcome
