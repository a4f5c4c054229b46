# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rungs of a verification, and the first two: is there a backup, and is the newest one recent."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.backup import (
    COMPLETE,
    DEGRADED,
    FAULTY,
    SKIPPED,
    Backup,
    Check,
    Source,
)
from ansible_collections.pgops.rollback.plugins.module_utils.durations import show_duration
from ansible_collections.pgops.rollback.plugins.module_utils.errors import certain

#: In the order they are climbed; each stands on those before it.
RUNGS = ("exists", "freshness", "integrity", "drill")

#: Clocks of two machines may differ by so much; a backup from further in the future is a mistake of a clock.
CLOCK_SKEW = timedelta(minutes=5)


@dataclass(frozen=True)
class Rung:
    """What came of a rung.

    :ivar status: ``ok``, ``degraded``, ``skipped`` or ``failed``, as the steps of a report.
    :ivar proved: what is certain now; empty where nothing is.
    :ivar not_proved: what this rung leaves open.
    """

    name: str
    status: str
    message: str
    proved: str = ""
    not_proved: str = ""
    checks: list[Check] = field(default_factory=list)
    seconds: float = 0.0

    def as_step(self) -> dict[str, Any]:
        """As a step of the report."""
        details = {"proved": self.proved, "not_proved": self.not_proved, "seconds": round(self.seconds, 3)}
        return {
            "name": self.name,
            "status": self.status,
            "changed": False,
            "message": self.message,
            "details": {**details, "checks": [asdict(check) for check in self.checks]},
        }


def judged(name: str, checks: list[Check], passed: str, proved: str, not_proved: str, seconds: float) -> Rung:
    """A rung from its checks: the worst one decides, and nothing checked is nothing proved.

    :param passed: the message when all is well.
    """
    statuses = {check.status for check in checks}
    if FAULTY in statuses:
        first = next(check for check in checks if check.status == FAULTY)
        more = sum(check.status == FAULTY for check in checks) - 1
        message = first.message + (f" {more} more check{'s' if more > 1 else ''} failed." if more else "")
        return Rung(name, "failed", message, "", not_proved, checks, seconds)
    if not statuses - {SKIPPED}:
        return Rung(name, "skipped", checks[0].message if checks else "Nothing was checked.", "", not_proved, checks,
                    seconds)  # fmt: skip
    if DEGRADED in statuses:
        message = " ".join(check.message for check in checks if check.status == DEGRADED)
        return Rung(name, "degraded", message, proved, not_proved, checks, seconds)
    left_out = [check.name for check in checks if check.status == SKIPPED]
    note = f" Not checked: {', '.join(left_out)}." if left_out else ""
    return Rung(name, "ok", passed + note, proved, not_proved, checks, seconds)


def newest_first(backups: list[Backup]) -> list[Backup]:
    return sorted(backups, key=_finished, reverse=True)


def select(source: Source, backups: list[Backup]) -> tuple[Backup | None, Rung]:
    """The newest complete backup, and the rung ``exists``.

    Only what might be the newest is inspected. A newer one that does not count is named.
    """
    found = newest_first(backups)
    chosen: Backup | None = None
    passed_over: list[Backup] = []
    for candidate in found:
        if chosen and _finished(candidate) <= _finished(chosen):
            break
        inspected = source.inspect(candidate) if candidate.status == COMPLETE else candidate
        if inspected.status != COMPLETE or inspected.finished_at is None:
            passed_over.append(inspected)
        elif chosen is None or _finished(inspected) > _finished(chosen):
            chosen = inspected
    others = [f"{each.id}: {each.problem or 'When it was finished is not known.'}" for each in passed_over]
    not_proved = "whether it can be read and restored"
    if chosen is None:
        if found:
            what = f"None of {len(found)} backups is complete. {' '.join(others[:2])} Make a new one."
        else:
            what = "There is no backup. See to whatever makes them, or correct where they are looked for."
        return None, Rung("exists", "failed", what, "", not_proved)
    newer = [text for text, each in zip(others, passed_over, strict=True) if _finished(each) > _finished(chosen)]
    note = f" A newer one does not count: {newer[0]}" if newer else ""
    return chosen, Rung(
        "exists",
        "ok",
        f"{chosen.id} is complete, and the newest of {len(found)}.{note}",
        "A complete backup is there",
        not_proved,
    )


def fresh(backup: Backup, max_age: timedelta, now: datetime) -> Rung:
    """The rung ``freshness``: the age of the newest complete backup."""
    finished_at = certain(backup.finished_at)
    age = now - finished_at
    finished = f"{finished_at:%Y-%m-%d %H:%M} UTC"
    not_proved = "whether it can be read and restored"
    if age < -CLOCK_SKEW:
        return Rung(
            "freshness",
            "failed",
            f"{backup.id} says it was finished in the future ({finished}, in {show_duration(-age)}): a clock is wrong,"
            " so its age is not known.",
            "",
            not_proved,
        )
    age = max(age, timedelta(0))
    limit = show_duration(max_age)
    if age > max_age:
        return Rung(
            "freshness",
            "failed",
            f"{backup.id} is {show_duration(age)} old (finished {finished}); the limit is {limit}. Whatever makes"
            " the backups has stopped, or fails.",
            "",
            not_proved,
        )
    return Rung(
        "freshness",
        "ok",
        f"{backup.id} is {show_duration(age)} old (finished {finished}); the limit is {limit}.",
        f"It is not older than {limit}",
        not_proved,
    )


def not_reached(name: str) -> Rung:
    return Rung(name, "skipped", "Not reached, because an earlier rung failed.")


def _finished(backup: Backup) -> datetime:
    return backup.finished_at or datetime.min.replace(tzinfo=UTC)
