# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Backups of a Supabase project, of which the Management API only tells that they are there."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, ClassVar

from ansible_collections.pgops.rollback.plugins.module_utils.backup import (
    COMPLETE,
    FAILED,
    SKIPPED,
    UNFINISHED,
    Backup,
    Check,
    Progress,
    Source,
    SourceSettings,
)
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError

#: What each status of the API means; only a completed backup counts.
_STATUSES = {
    "COMPLETED": (COMPLETE, ""),
    "PENDING": (UNFINISHED, "Supabase has not finished it yet (PENDING)."),
    "FAILED": (FAILED, "Supabase failed to make it (FAILED)."),
    "REMOVED": (FAILED, "Supabase has removed it (REMOVED)."),
    "ARCHIVED": (FAILED, "Supabase has archived it, so it cannot be restored from the dashboard (ARCHIVED)."),
    "CANCELLED": (FAILED, "It was cancelled (CANCELLED)."),
}

#: The id of what point-in-time recovery can restore.
PITR = "pitr"


class Supabase(Source):
    """Reads ``supabase_ref``, ``supabase_token`` and ``supabase_url`` of the settings."""

    name: ClassVar[str] = "supabase"
    integrity_proves: ClassVar[str] = "Nothing: the Management API hands out no backup to look into"
    integrity_leaves_open: ClassVar[str] = "whether the backup is whole and can be restored"
    no_drill: ClassVar[str] = (
        "Supabase restores in place only, with downtime, and hands out no physical backup. Drill a dump of your own:"
        " playbooks/baseline.yml --tags dump, and backup_verification_source pg_dump."
    )

    def __init__(self, settings: SourceSettings, sleep: Callable[[float], None] = time.sleep) -> None:
        super().__init__(settings)
        if not re.fullmatch(r"[a-z]{20}", settings.supabase_ref or ""):
            raise RollbackError(
                "supabase_ref_invalid",
                "backup_verification_supabase_ref is not a project's reference, which has 20 small letters.",
                "Take it from the address of the project's dashboard; nothing was done.",
            )
        # Late, since Ansible's HTTP client takes as long to import as all other sources together.
        from ansible_collections.pgops.rollback.plugins.module_utils.supabase_api import ManagementApi  # noqa: PLC0415

        self._api = ManagementApi(settings.supabase_url, settings.supabase_token, sleep)

    def backups(self) -> list[Backup]:
        answer = self._api.get(f"/v1/projects/{self.settings.supabase_ref}/database/backups")
        try:
            region = answer["region"]
            location = f"Supabase project {self.settings.supabase_ref} ({region})"
            listed = [_listed(entry, location) for entry in answer["backups"] or []]
            window = answer["physical_backup_data"] or {}
            return [*listed, _window(window, location)] if answer["pitr_enabled"] else listed
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise RollbackError(
                "supabase_unexpected",
                "The Management API answered in a form that is not understood here.",
                "See whether there is a newer release of pgops.rollback, and look at the dashboard meanwhile.",
            ) from error

    def integrity(self, backup: Backup, progress: Progress) -> list[Check]:
        why = f"Not possible: the Management API only lists {backup.id}, it hands out nothing to look into."
        return [Check("contents", SKIPPED, why)]


def _listed(entry: dict[str, Any], location: str) -> Backup:
    text = str(entry["status"])
    status, problem = _STATUSES.get(text, (FAILED, f"Its status {text!r} is not known here."))
    made = datetime.fromisoformat(entry["inserted_at"])
    return Backup(
        Supabase.name,
        str(entry["id"]),
        location,
        "physical" if entry["is_physical_backup"] else "logical",
        status,
        problem,
        # Without a zone it is UTC.
        finished_at=made.astimezone(UTC) if made.tzinfo else made.replace(tzinfo=UTC),
    )


def _window(window: dict[str, Any], location: str) -> Backup:
    """With point-in-time recovery daily backups stop, and this counts in their place."""
    earliest, latest = (window.get(f"{end}_physical_backup_date_unix") for end in ("earliest", "latest"))
    if latest is None:
        problem = "Point-in-time recovery is on, but there is nothing to restore from yet."
        return Backup(Supabase.name, PITR, location, "physical", UNFINISHED, problem)
    last = datetime.fromtimestamp(latest, UTC)
    first = f"from {datetime.fromtimestamp(earliest, UTC):%Y-%m-%d %H:%M} " if earliest is not None else ""
    span = f"point-in-time recovery {first}to {last:%Y-%m-%d %H:%M} UTC"
    # While nothing is written to the database, there is no newer WAL.
    return Backup(
        Supabase.name, PITR, f"{location}, {span} (lags while nothing is written)", "physical", finished_at=last
    )  # fmt: skip
