# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The decision tree: whether to roll back at all, which rollback, and why. Pure functions over the evidence.

What could not be checked never counts as healthy, and what is not known never counts as nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NamedTuple

#: The operator's answers to: is the application down?
UP, DEGRADED, DOWN, UNKNOWN = "up", "degraded", "down", "unknown"
ANSWERS = (UP, DEGRADED, DOWN, UNKNOWN)

#: What may be recommended, beside ``none`` and ``undecided``; from the one that loses least.
FIX_FORWARD, SEQUENCE_RESET, TEARDOWN, FULL_RESTORE = "fix_forward", "sequence_reset", "teardown", "full_restore"
NONE, UNDECIDED = "none", "undecided"

#: Kinds of faults. OTHER are those of the user's own checks, of which only the user knows what they mean.
SEQUENCE, DATA, APPLICATION, CATALOG, OTHER = "sequence", "data", "application", "catalog", "other"

#: By how the name of a check of rollback_verify begins. Whatever is not here is OTHER.
_KINDS = {
    "sequences": SEQUENCE,
    "keys_without_default": SEQUENCE,
    "orphans": DATA,
    "pairs": DATA,
    "row_counts": DATA,
    "endpoint": APPLICATION,
    "activity": APPLICATION,
    "error_rate": APPLICATION,
    "baseline": CATALOG,
    "catalog": CATALOG,
    "constraints": CATALOG,
    "event_triggers": CATALOG,
    "gone": CATALOG,
    "grants": CATALOG,
    "indexes": CATALOG,
    "policies": CATALOG,
    "references": CATALOG,
    "row_security": CATALOG,
    "sequence_limits": CATALOG,
    "triggers": CATALOG,
}


@dataclass(frozen=True)
class Finding:
    """A check of rollback_verify.

    :ivar status: ``passed``, ``failed``, ``warned`` or ``skipped``.
    :ivar kind: of the faults that it finds.
    """

    name: str
    status: str
    kind: str
    critical: bool = False
    message: str = ""
    objects: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Findings:
    """:ivar not_run: why there are none; empty when the verification ran."""

    checks: list[Finding] = field(default_factory=list)
    not_run: str = ""

    def failed(self, *kinds: str) -> list[Finding]:
        """Of these kinds, or of all."""
        return [check for check in self.checks if check.status == "failed" and check.kind in (kinds or {check.kind})]

    def warned(self, *kinds: str) -> list[Finding]:
        """Of these kinds, or of all."""
        return [check for check in self.checks if check.status == "warned" and check.kind in (kinds or {check.kind})]

    def skipped(self, *kinds: str) -> list[Finding]:
        """Of these kinds, or of all."""
        return [check for check in self.checks if check.status == "skipped" and check.kind in (kinds or {check.kind})]

    @property
    def not_checked(self) -> list[Finding]:
        """What should have been checked to be certain."""
        return [check for check in self.skipped() if check.critical]

    @property
    def endpoints(self) -> list[Finding]:
        return [check for check in self.checks if check.name.startswith("endpoint")]

    @property
    def health(self) -> str:
        """What the health endpoints say of the application."""
        told = {check.status for check in self.endpoints} - {"skipped"}
        if not told:
            return UNKNOWN
        if told == {"passed"}:
            return UP
        return DOWN if told == {"failed"} else DEGRADED


def read_findings(verification: dict[str, Any]) -> Findings:
    """:param verification: what rollback_verify returned, or ``{}``. What is not as it should be was not checked."""
    checks = verification.get("checks")
    if not isinstance(checks, list) or not checks:
        failure = str(verification.get("msg") or "") if verification.get("failed") else ""
        return Findings(not_run=failure or "it was not run")
    return Findings([_finding(check if isinstance(check, dict) else {}) for check in checks])


def _finding(check: dict[str, Any]) -> Finding:
    name, status = str(check.get("name") or "a check without a name"), check.get("status")
    known = status in ("passed", "failed", "warned", "skipped")
    objects = [each for each in check.get("objects") or [] if isinstance(each, dict)]
    return Finding(
        name=name,
        status=str(status) if known else "skipped",
        kind=next((kind for beginning, kind in _KINDS.items() if name.startswith(beginning)), OTHER),
        critical=not known or check.get("severity") == "critical",
        message=str(check.get("message") or ""),
        objects=[": ".join(str(each[key]) for key in ("name", "problem") if each.get(key)) for each in objects],
    )


@dataclass(frozen=True)
class Migration:
    """What the rollback manifest says.

    :ivar known: whether there is a manifest.
    :ivar tables: that the migration created; ``others`` are functions and sequences.
    :ivar protected: those of the tables that were there before, or are protected: no rollback may take them.
    :ivar provenance_known: whether a baseline before the migration, or the manifest made from it, says what was there.
    """

    known: bool = False
    tables: Sequence[str] = ()
    others: Sequence[str] = ()
    protected: Sequence[str] = ()
    provenance_known: bool = True

    @property
    def no_teardown(self) -> str:
        """Why there is nothing that could be torn down; empty when there is."""
        if not self.known:
            return "no manifest says what the migration created"
        if self.protected:
            return f"the manifest names tables that were there before the migration: {', '.join(self.protected)}"
        if not self.tables and not self.others:
            return "the migration created nothing, says the manifest"
        return "" if self.provenance_known else "no baseline says what was there before the migration"


@dataclass(frozen=True)
class Rows:
    """Exact rows by table.

    :ivar unknown: why a table was not counted.
    :ivar absent: tables that are not there.
    """

    counted: dict[str, int] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Of those that were counted."""
        return sum(self.counted.values())


@dataclass(frozen=True)
class Written:
    """Rows inserted, updated and deleted since a moment.

    :ivar tables: those that have any.
    :ivar since: UTC, ISO 8601.
    :ivar at_least: they are differences of row counts, which do not see everything.
    :ivar unknown_tables: why it is not known of a table.
    :ivar why_unknown: why it is not known of any.
    """

    tables: dict[str, int] = field(default_factory=dict)
    since: str = ""
    at_least: bool = False
    unknown_tables: dict[str, str] = field(default_factory=dict)
    why_unknown: str = ""

    @property
    def total(self) -> int:
        return sum(self.tables.values())


@dataclass(frozen=True)
class ProvenBackup:
    """A backup that was restored in a drill.

    :ivar holds_until: what was written before is in it for sure; None where the record does not tell.
    :ivar age: of the backup.
    :ivar restore_seconds: how long a restore takes, by the drill; None where the record does not tell.
    :ivar restore_bytes: of the database now, if they were the basis of that.
    """

    id: str
    source: str
    finished_at: str
    holds_until: str | None
    drilled_at: str
    age: timedelta
    restore_seconds: float | None = None
    restore_bytes: int | None = None


@dataclass(frozen=True)
class Evidence:
    """:ivar host: name in the inventory, for the commands.
    :ivar operators_answer: one of ANSWERS.
    :ivar unreachable: why the database did not answer; empty when it did.
    :ivar since_backup_least: written since a moment after the backup; ``…_most`` since one before it.
    :ivar no_backup: why there is no proven backup.
    :ivar notes: what else could not be used.
    :ivar inventories: that the commands have to name.
    :ivar variables: that the commands have to give.
    :ivar by_file: whether the commands name playbooks by their files, else by the collection's name.
    """

    operators_answer: str = UNKNOWN
    findings: Findings = Findings(not_run="it was not run")
    unreachable: str = ""
    migration: Migration = Migration()
    created_rows: Rows = Rows()
    since_migration: Written = Written(why_unknown="nobody asked")
    since_backup_least: Written | None = None
    since_backup_most: Written | None = None
    backup: ProvenBackup | None = None
    no_backup: str = ""
    notes: list[str] = field(default_factory=list)
    host: str | None = None
    manifest_path: str | None = None
    inventories: Sequence[str] = ()
    variables: dict[str, str] = field(default_factory=dict)
    by_file: bool = True

    @property
    def application(self) -> str:
        """One of ANSWERS. Who is asked knows better than an endpoint."""
        return self.findings.health if self.operators_answer == UNKNOWN else self.operators_answer


class Decision(NamedTuple):
    """:ivar recommendation: one of the constants above.
    :ivar why: one or two sentences.
    :ivar doubts: what makes a recommendation uncertain.
    """

    recommendation: str
    why: str
    doubts: list[str]

    @property
    def confidence(self) -> str:
        return "low" if self.doubts or self.recommendation == UNDECIDED else "high"


def decide(evidence: Evidence) -> Decision:
    recommendation, why = _decide(evidence, evidence.application)
    return Decision(recommendation, why, _doubts(evidence, recommendation))


def _decide(evidence: Evidence, application: str) -> tuple[str, str]:
    findings = evidence.findings
    if findings.failed(SEQUENCE) and not findings.failed(DATA, CATALOG, OTHER):
        return SEQUENCE_RESET, f"Only sequences are at fault: {named(findings.failed(SEQUENCE))}."
    if evidence.unreachable and not findings.failed(DATA):
        return UNDECIDED, f"The database does not answer, so nothing in it could be checked. {evidence.unreachable}"
    if application == UNKNOWN:
        return _when_nobody_knows(evidence)
    if application == DOWN:
        return _when_down(evidence)
    return _when_not_down(evidence, application)


def _when_nobody_knows(evidence: Evidence) -> tuple[str, str]:
    down, up = _decide(evidence, DOWN)[0], _decide(evidence, UP)[0]
    if down == up == FIX_FORWARD:
        return FIX_FORWARD, (
            f"Whether or not the application is down: {evidence.migration.no_teardown}."
            f" Fix {named(evidence.findings.failed() or evidence.findings.warned(DATA))}."
        )
    return UNDECIDED, (
        "Nobody said whether the application is down, and no health check tells. With"
        f" -e rollback_advice_application=down the advice is {_in_words(down)}; with =up it is {_in_words(up)}."
    )


def _when_down(evidence: Evidence) -> tuple[str, str]:
    findings, no_teardown = evidence.findings, evidence.migration.no_teardown
    if corrupted := findings.failed(DATA):
        return FULL_RESTORE, f"The application is down and data is corrupted: {named(corrupted)}."
    found = "no data was found corrupted"
    if findings.not_run:
        found = "whether data is corrupted is not known"
    elif suspicious := findings.warned(DATA):
        found = f"whether data is lost is yours to say: {named(suspicious)}"
    elif findings.skipped(DATA):
        found = "no data was found corrupted where that was checked"
    if no_teardown and findings.warned(DATA):
        return UNDECIDED, (
            f"The application is down, and {found}. If it is, restore the whole database; if the application deleted"
            f" it, fix forward, since {no_teardown}."
        )
    if no_teardown:
        fix = f" Fix {named(findings.failed())}." if findings.failed() else ""
        return FIX_FORWARD, f"The application is down and {found}, but {no_teardown}.{fix}"
    return TEARDOWN, (
        f"The application is down and {found}: take back what the migration created, into quarantine first, where its"
        " rows are kept."
    )


def _when_not_down(evidence: Evidence, application: str) -> tuple[str, str]:
    findings = evidence.findings
    state = "works" if application == UP else "works in part"
    if findings.failed():
        return FIX_FORWARD, f"The application {state}, so no rollback is worth it. Fix {named(findings.failed())}."
    if application == DEGRADED and findings.not_run:
        return FIX_FORWARD, "The application works in part, so verify first what there is to fix."
    if application == DEGRADED:
        return FIX_FORWARD, "The application works in part and no check failed: look for the fault in the application."
    return _when_all_is_well(findings)


def _when_all_is_well(findings: Findings) -> tuple[str, str]:
    """Or seems to be."""
    if findings.not_run:
        return UNDECIDED, "The application works, but the verification was not run, so faults may be hidden."
    if findings.not_checked:
        return UNDECIDED, f"No check failed, but not everything was checked: {named(findings.not_checked)}."
    if lost := findings.warned(DATA):
        return FIX_FORWARD, f"The application works, and data may be lost: {named(lost)}. Look whether it was meant."
    but = [f"warned: {named(findings.warned())}"] if findings.warned() else []
    but += [f"not made: {named(findings.skipped())}"] if findings.skipped() else []
    return NONE, f"The application works and {'; '.join(['no check failed', *but]) if but else 'every check passed'}."


def _doubts(evidence: Evidence, recommendation: str) -> list[str]:
    findings, application = evidence.findings, evidence.application
    if recommendation == UNDECIDED and (evidence.unreachable or application != UNKNOWN):
        return []  # the reason for having no advice says it
    found = []
    if findings.not_run:
        found.append(f"the verification has no result ({findings.not_run.rstrip('.')})")
    if findings.not_checked:
        found.append(f"not checked: {named(findings.not_checked)}")
    if findings.warned(DATA):
        found.append(f"data may be lost: {named(findings.warned(DATA))}")
    if findings.failed(OTHER):
        found.append(f"only you know what this means: {named(findings.failed(OTHER))}")
    if evidence.unreachable:
        found.append("the database does not answer")
    answer, health = evidence.operators_answer, findings.health
    if {answer, health} == {UP, DOWN}:
        found.append(f"the application is said to be {answer}, and its health checks say {health}")
    if recommendation in (TEARDOWN, FULL_RESTORE) and answer == UNKNOWN:
        found.append("only the health checks say that the application is down, and a part of it may work")
    if recommendation == FIX_FORWARD and application in (DOWN, UNKNOWN) and not evidence.migration.known:
        found.append("with a manifest a teardown might be the better way")
    return found


def named(checks: list[Finding]) -> str:
    """The first three, each with the first thing that it names."""
    firsts = [(check.name, check.objects[0] if check.objects else check.message.rstrip(".")) for check in checks[:3]]
    more = f" and {len(checks) - 3} more" if len(checks) > 3 else ""
    return "; ".join(f"{name} ({first})" if first else name for name, first in firsts) + more


def _in_words(recommendation: str) -> str:
    return {
        FIX_FORWARD: "to fix forward",
        SEQUENCE_RESET: "to reset sequences",
        TEARDOWN: "to tear down what the migration created, into quarantine first",
        FULL_RESTORE: "a full restore",
        NONE: "to do nothing",
        UNDECIDED: "to verify first",
    }[recommendation]
