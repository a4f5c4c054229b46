# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The advice as the module returns it: each option with what it would lose and its command, and the evidence. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.command_line import Invocation, command_line
from ansible_collections.pgops.rollback.plugins.module_utils.durations import show_duration
from ansible_collections.pgops.rollback.plugins.module_utils.rollback_advice import (
    APPLICATION,
    CATALOG,
    DATA,
    DOWN,
    FIX_FORWARD,
    FULL_RESTORE,
    NONE,
    OTHER,
    SEQUENCE,
    SEQUENCE_RESET,
    TEARDOWN,
    UNDECIDED,
    UNKNOWN,
    Decision,
    Evidence,
    Finding,
    ProvenBackup,
    Rows,
    Written,
    decide,
    named,
)
from ansible_collections.pgops.rollback.plugins.module_utils.wording import listed

#: How many tables, objects or checks one line names.
_SHOWN = 20

_HEADLINES = {
    FIX_FORWARD: "Fix forward, do not roll back.",
    SEQUENCE_RESET: "Reset the sequences.",
    TEARDOWN: "Tear down what the migration created, into quarantine first.",
    FULL_RESTORE: "Restore the whole database from the backup.",
    NONE: "Nothing to do.",
    UNDECIDED: "No advice yet.",
}

#: The source of backups that playbooks/restore.yml restores.
_RESTORED = "pg_dump"

Option = dict[str, Any]


def advise(evidence: Evidence) -> dict[str, Any]:
    """What the module rollback_advice returns."""
    decision = decide(evidence)
    options = {
        option["name"]: option
        for option in (_fix_forward(evidence), _sequence_reset(evidence), _teardown(evidence), _full_restore(evidence))
    }
    chosen = options.get(decision.recommendation)
    doubts = [f"Not certain: {'; '.join(decision.doubts)}."] if decision.doubts else []
    why = " ".join([decision.why, *doubts])
    command = _next_command(evidence, decision, options)
    sentences = [_HEADLINES[decision.recommendation], why]
    if chosen:
        sentences.append(f"It loses {chosen['loses']}.")
        if chosen["blocked_by"]:
            sentences.append(f"It cannot be done yet: {chosen['blocked_by']}.")
    return {
        "changed": False,
        "recommendation": decision.recommendation,
        "why": why,
        "confidence": decision.confidence,
        "options": list(options.values()),
        "evidence": _evidence(evidence),
        "next_command": command,
        "status": _status(evidence, decision, chosen),
        "msg": " ".join(sentences),
    }


def _status(evidence: Evidence, decision: Decision, chosen: Option | None) -> str:
    """As a step of the report. What is only not configured must not make a run fail."""
    if evidence.unreachable or (chosen and (decision.doubts or not chosen["possible"])):
        return "degraded"
    return "skipped" if decision.recommendation == UNDECIDED else "ok"


def _next_command(evidence: Evidence, decision: Decision, options: dict[str, Option]) -> str:
    recommendation = decision.recommendation
    if recommendation == NONE:
        return ""
    if recommendation == UNDECIDED or (recommendation == TEARDOWN and evidence.findings.not_run):
        return _verify(evidence)
    if recommendation == FIX_FORWARD and evidence.findings.failed(SEQUENCE):
        return str(options[SEQUENCE_RESET]["command"])
    return str(options[recommendation]["command"])


def _verify(evidence: Evidence) -> str:
    """Ask again, with an answer where one is missing."""
    answer = evidence.operators_answer
    if evidence.application == UNKNOWN and not evidence.unreachable:
        answer = DOWN
    given = {} if answer == UNKNOWN else {"rollback_advice_application": answer}
    return _command(evidence, "rollback", "--tags", "verify,advise", **_with_manifest(evidence), **given)


def _with_manifest(evidence: Evidence) -> dict[str, str]:
    return {"rollback_manifest": evidence.manifest_path} if evidence.manifest_path else {}


def _command(evidence: Evidence, playbook: str, *arguments: str, **variables: str) -> str:
    run = Invocation(evidence.inventories, evidence.host or "", evidence.by_file, evidence.variables)
    return command_line(run, playbook, *arguments, **variables)


def _option(name: str, loses: str, rows_lost: int | None, blocked_by: str, command: str) -> Option:
    return {
        "name": name,
        "loses": loses,
        "rows_lost": rows_lost,
        "possible": not blocked_by,
        "blocked_by": blocked_by,
        "command": command,
    }


def _fix_forward(evidence: Evidence) -> Option:
    return _option(FIX_FORWARD, "nothing", 0, "", _command(evidence, "rollback", "--tags", "verify"))


def _sequence_reset(evidence: Evidence) -> Option:
    lost_default = any(check.name.startswith("keys_without_default") for check in evidence.findings.failed(SEQUENCE))
    repair = {"sequence_reset_repair_defaults": "true"} if lost_default else {}
    command = _command(evidence, "rollback", "--tags", "sequence", **repair)
    return _option(SEQUENCE_RESET, "nothing", 0, _unreachable(evidence), command)


def _unreachable(evidence: Evidence) -> str:
    return "the database does not answer" if evidence.unreachable else ""


def _teardown(evidence: Evidence) -> Option:
    no_teardown = evidence.migration.no_teardown
    if not evidence.migration.known:
        return _option(TEARDOWN, f"nobody knows what: {no_teardown}", None, no_teardown, "")
    rows = evidence.created_rows
    known = not rows.unknown
    command = "" if no_teardown else _command(
        evidence, "rollback", "--tags", "plan", **_with_manifest(evidence), teardown_mode="quarantine"
    )  # fmt: skip
    loses = _rows_of_created(evidence)
    return _option(TEARDOWN, loses, rows.total if known else None, no_teardown or _unreachable(evidence), command)


def _rows_of_created(evidence: Evidence) -> str:
    if not evidence.migration.tables:
        return "no rows: the migration created no table"
    rows, written = evidence.created_rows, evidence.since_migration
    parts = [
        f"{'at least ' if rows.unknown else ''}{_counted(rows.total, 'row')} in {_counted(len(rows.counted), 'table')}"
        " that the migration created, all of them once quarantine is purged"
    ]
    if rows.unknown:
        parts.append(f"unknown how many in {_reasons(rows.unknown)}")
    if rows.absent:
        parts.append(f"no longer there: {_few(rows.absent)}")
    if written.why_unknown:
        parts.append(f"how many were written since the migration is unknown, because {written.why_unknown}")
    else:
        mine = {name: number for name, number in written.tables.items() if name in rows.counted}
        least = "at least " if written.at_least else ""
        parts.append(f"{least}{_counted(sum(mine.values()), 'row')} of them written since {_moment(written.since)}")
        if unsure := {name: why for name, why in written.unknown_tables.items() if name in rows.counted}:
            parts.append(f"unknown how many in {_reasons(unsure)}")
    return "; ".join(parts)


def _full_restore(evidence: Evidence) -> Option:
    backup = evidence.backup
    if backup is None:
        reason = f"no verified backup: {evidence.no_backup}"
        command = _command(evidence, "verify_backup")
        return _option(FULL_RESTORE, "what was written since a backup that nobody has proven", None, reason, command)
    least, most = evidence.since_backup_least, evidence.since_backup_most
    loses = f"everything written in every table since {_moment(backup.finished_at)}: "
    if most:
        loses += f"at most {_counted(most.total, 'row')} (all since {_moment(most.since)})"
    if least:
        loses += f"{' and ' if most else ''}at least {_counted(least.total, 'row')} (since {_moment(least.since)})"
    if not most and not least:
        loses += f"unknown how much, because {_unreachable(evidence) or 'no baseline can be compared with'}"
    elif not most:
        loses += ", and unknown how much before that"
    rows = most.total if most else None
    if backup.source != _RESTORED:
        by_hand = f"no playbook does it in this release, so restore {backup.id} with {backup.source}'s own tool"
        return _option(FULL_RESTORE, loses, rows, by_hand, "")
    # Without a tag it plans; by the plan somebody decides.
    command = _command(
        evidence, "restore", database_restore_source=backup.source, database_restore_backup_id=backup.id
    )
    return _option(FULL_RESTORE, loses, rows, _unreachable(evidence), command)


def _evidence(evidence: Evidence) -> list[dict[str, Any]]:
    findings = evidence.findings
    unchecked = findings.skipped()
    return [
        _line("Does the database answer?", "no" if evidence.unreachable else "yes", [evidence.unreachable]),
        _line("Is the application down?", evidence.application, _who_says(evidence)),
        _line("Is data corrupted?", _answer(evidence, DATA), _described(evidence, DATA)),
        _line("Is the fault in sequences only?", _only_sequences(evidence), _described(evidence, SEQUENCE)),
        _line("Is anything else at fault?", _answer(evidence, CATALOG, APPLICATION, OTHER),
              _described(evidence, CATALOG, APPLICATION, OTHER)),
        _line("What was not checked?",
              findings.not_run or (_counted(len(unchecked), "check") if unchecked else "everything was"),
              [f"{check.name}: {check.message}" for check in unchecked]),
        _line("What did the migration create?", _created(evidence), evidence.migration.tables),
        _line("How many rows were written since the migration?", *_written(evidence.since_migration)),
        _line("How many rows have the tables that it created?", *_rows(evidence.created_rows)),
        _line("Is there a verified backup?", _backup(evidence)),
        _line("How long would its restore take?", _restore_time(evidence.backup)),
        _line("Which baselines were used?", "not all" if evidence.notes else "both", evidence.notes),
    ]  # fmt: skip


def _line(question: str, answer: str, details: Sequence[str] = ()) -> dict[str, Any]:
    return {"question": question, "answer": answer, "details": [text for text in details if text]}


def _who_says(evidence: Evidence) -> list[str]:
    answer = evidence.operators_answer
    said = "The operator did not say." if answer == UNKNOWN else f"The operator says: {answer}."
    asked = [f"{check.name} {check.status}: {check.message}" for check in evidence.findings.endpoints]
    return [said, *(asked or ["No health endpoint was asked."])]


def _of(evidence: Evidence, *kinds: str) -> list[Finding]:
    return [check for check in evidence.findings.checks if check.kind in kinds]


def _answer(evidence: Evidence, *kinds: str) -> str:
    if evidence.findings.not_run:
        return "not known: the verification has no result"
    if failed := evidence.findings.failed(*kinds):
        objects = sum(len(check.objects) for check in failed)
        return f"yes: {_counted(len(failed), 'check')} failed, {_counted(objects, 'object')} named"
    checks = _of(evidence, *kinds)
    if not checks:
        return "not known: no check looked for it"
    unchecked = len(evidence.findings.skipped(*kinds))
    return f"not known: {_counted(unchecked, 'check')} skipped, no other failed" if unchecked else "no"


def _only_sequences(evidence: Evidence) -> str:
    findings = evidence.findings
    if not findings.failed(SEQUENCE):
        answer = _answer(evidence, SEQUENCE)
        return "no sequence is at fault" if answer == "no" else answer
    others = findings.failed(DATA, CATALOG, OTHER)
    return f"no, also {named(others)}" if others else "yes"


def _described(evidence: Evidence, *kinds: str) -> list[str]:
    return [
        f"{check.name} {check.status}: {check.message}" + (f" ({_few(check.objects)})" if check.objects else "")
        for check in _of(evidence, *kinds)
        if check.status in ("failed", "warned", "skipped")
    ]


def _created(evidence: Evidence) -> str:
    migration = evidence.migration
    if migration.no_teardown:
        return f"not to be torn down: {migration.no_teardown}"
    return f"{_counted(len(migration.tables), 'table')}; functions and sequences: {len(migration.others)}"


def _written(written: Written) -> tuple[str, list[str]]:
    if written.why_unknown:
        return f"unknown, because {written.why_unknown}", []
    largest = sorted(written.tables.items(), key=lambda item: (-item[1], item[0]))
    source = "differences of row counts, which see no update" if written.at_least else "the server's counters"
    details = [f"{name}: {number:,}" for name, number in largest[:_SHOWN]]
    if len(largest) > _SHOWN:
        details.append(f"and {_counted(len(largest) - _SHOWN, 'table')} more")
    details += [f"unknown: {_reasons(written.unknown_tables)}"] if written.unknown_tables else []
    least = "at least " if written.at_least or written.unknown_tables else ""
    return f"{least}{written.total:,} since {_moment(written.since)}, by {source}", details


def _rows(rows: Rows) -> tuple[str, list[str]]:
    details = [f"{name}: {number:,}" for name, number in sorted(rows.counted.items())]
    details += [f"{name}: unknown, {why}" for name, why in sorted(rows.unknown.items())]
    details += [f"{name}: no longer there" for name in rows.absent]
    if not details:
        return "there are none", []
    if rows.unknown:
        return f"at least {rows.total:,}" if rows.counted else "unknown", details
    return f"{rows.total:,}", details


def _backup(evidence: Evidence) -> str:
    backup = evidence.backup
    if backup is None:
        return f"no verified backup: {evidence.no_backup}"
    return (
        f"yes: {backup.id} ({backup.source}) of {_moment(backup.finished_at)}, {show_duration(backup.age)} old,"
        f" restored in a drill that ended {_moment(backup.drilled_at)}"
    )


def _restore_time(backup: ProvenBackup | None) -> str:
    if backup is None or backup.restore_seconds is None:
        return "unknown"
    span = show_duration(timedelta(seconds=max(1, backup.restore_seconds)))
    if backup.restore_bytes is None:
        return f"about {span}, as the drill did"
    return f"about {span}: {backup.restore_bytes / 1e6:,.0f} MB at the speed of the drill"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _few(names: Iterable[str]) -> str:
    return listed(names, _SHOWN)


def _reasons(unknown: dict[str, str]) -> str:
    return _few([f"{name} ({why})" for name, why in sorted(unknown.items())])


def _moment(text: str) -> str:
    """2026-01-02T03:04:05Z as people read it."""
    return f"{text[:16].replace('T', ' ')} UTC"
