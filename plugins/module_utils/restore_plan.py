# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan of a full restore: what comes back, what is lost by it, how long it takes, and what stands in the way."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.archive_toc import ArchiveDamagedError
from ansible_collections.pgops.rollback.plugins.module_utils.backup import COMPLETE, Backup, Source
from ansible_collections.pgops.rollback.plugins.module_utils.backup_ladder import select
from ansible_collections.pgops.rollback.plugins.module_utils.backup_records import latest_drill
from ansible_collections.pgops.rollback.plugins.module_utils.baseline import Baseline
from ansible_collections.pgops.rollback.plugins.module_utils.blocker import MOST_NAMED, Blocker, in_order
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_snapshot import Snapshot
from ansible_collections.pgops.rollback.plugins.module_utils.connection import cluster_identifier
from ansible_collections.pgops.rollback.plugins.module_utils.content_manifest import manifest_path
from ansible_collections.pgops.rollback.plugins.module_utils.database_properties import not_carried_over
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError, certain
from ansible_collections.pgops.rollback.plugins.module_utils.postgres_binaries import Wheel
from ansible_collections.pgops.rollback.plugins.module_utils.restore_blockers import (
    DISK_OVERRIDE,
    backup_blockers,
    rights_blockers,
    space_blockers,
)
from ansible_collections.pgops.rollback.plugins.module_utils.restore_live import Live, with_token
from ansible_collections.pgops.rollback.plugins.module_utils.restore_losses import Losses, read_losses
from ansible_collections.pgops.rollback.plugins.module_utils.restore_marks import KEPT, READY, UNDONE, Marked
from ansible_collections.pgops.rollback.plugins.module_utils.restore_space import Space, read_space
from ansible_collections.pgops.rollback.plugins.module_utils.wording import listed

RESTORE = "restore"

#: A rate of another day is better than none.
_DRILL_MAX_AGE = timedelta(days=365)


@dataclass(frozen=True)
class RestoreRequest:
    """What is to be restored, and how.

    :ivar source: where the backups are.
    :ivar backup_id: of the backup; None for the newest complete one.
    :ivar before: baseline from before the migration, and ``after`` from after it.
    :ivar records_dir: with the records of backup verifications, or None.
    :ivar disk_free: bytes, as somebody says who knows the server.
    :ivar checks: of the rollback manifest, validated.
    :ivar jobs: sessions that restore and look at once.
    :ivar timeout: seconds for a client program.
    """

    source: Source
    backup_id: str | None = None
    before: Baseline | None = None
    after: Baseline | None = None
    records_dir: str | None = None
    disk_free: int | None = None
    checks: list[dict[str, Any]] = field(default_factory=list)
    jobs: int = 2
    timeout: int = 21600
    wheels: tuple[Wheel, ...] = ()


@dataclass(frozen=True)
class PlannedRestore:
    """:ivar interrupted: the old database of a run that was killed after it had swapped: all is done."""

    plan: dict[str, Any]
    backup: Backup
    space: Space
    interrupted: Marked | None


def choose_backup(request: RestoreRequest) -> Backup:
    """:raises RollbackError: ``backup_missing``, and those of the source."""
    backups = request.source.backups()
    wanted = request.backup_id
    if wanted is None:
        chosen, rung = select(request.source, backups)
        if chosen is None:
            raise RollbackError("backup_missing", rung.message, "Nothing was done.")
        return chosen
    named = next((each for each in backups if each.id == wanted), None)
    if named is None:
        there = listed(sorted((each.id for each in backups), reverse=True), MOST_NAMED)
        raise RollbackError(
            "backup_missing",
            f"There is no backup {wanted}{f'; there are {there}' if there else ''}.",
            "Correct database_restore_backup_id, or leave it out for the newest; nothing was done.",
        )
    inspected = request.source.inspect(named)
    if inspected.status != COMPLETE:
        raise RollbackError(
            "backup_missing",
            f"{wanted} does not count: {inspected.problem}",
            "Name another one with database_restore_backup_id; nothing was done.",
        )
    return inspected


def backup_identity(backup: Backup) -> str:
    """By which a later run knows it again."""
    return f"{backup.source} {backup.id} {_time(backup.finished_at)} {backup.size_bytes}"


def make_restore_plan(connection: Any, live: Live, request: RestoreRequest) -> PlannedRestore:
    """:param connection: to the live database, in autocommit mode.
    :raises RollbackError: those of choose_backup(), ``backup_damaged``, and of what reads the dump.
    """
    _require_own(connection, request.before)
    backup = choose_backup(request)
    try:
        losses = read_losses(connection, backup, request.before, request.after)
        with live.session.cursor() as cursor:
            blockers = [*rights_blockers(cursor, live.properties), *backup_blockers(cursor, live.server, backup)]
            left_behind = not_carried_over(cursor, live.properties)
    except (ArchiveDamagedError, OSError) as error:
        raise RollbackError(
            "backup_damaged", f"{backup.id} cannot be read: {error}.", "Use another backup; nothing was done."
        ) from error
    space = read_space(live.session, live.properties.tablespace, backup, request.disk_free)
    blockers += [*space_blockers(space), *_loss_blockers(backup, losses)]
    marked = live.marked()
    interrupted = _interrupted(live, marked, backup)
    plan = {
        "action": RESTORE,
        "database": live.name,
        "backup": _described(backup),
        "comes_back": {"tables": losses.tables, "rows": losses.restored_rows},
        "lost": {
            "rows": losses.rows, "rows_since": losses.since, "counted_since": losses.counted_since,
            "objects": [{"kind": each.kind.replace("_", " "), "name": each.text} for each in losses.objects],
        },
        "sessions": live.sessions(),
        "time": _expected_time(backup, request.records_dir),
        "disk": {"needed": space.needed, "free": space.free},
        "not_carried_over": left_behind,
        "others": [other(each) for each in marked if each.mark.role in (KEPT, UNDONE)],
        "blockers": in_order(blockers),
        "warnings": in_order(_warnings(live, backup, marked)),
        "overrides": {DISK_OVERRIDE: True} if request.disk_free is not None else {},
        "nothing_to_do": interrupted is not None,
    }  # fmt: skip
    return PlannedRestore(with_token(plan), backup, space, interrupted)


def _require_own(connection: Any, baseline: Baseline | None) -> None:
    """:raises RollbackError: ``baseline_foreign``."""
    if baseline is None:
        return
    with connection.cursor() as cursor:
        identifier = cluster_identifier(cursor)
    name, version = connection.info.dbname, connection.server_version
    baseline.require_same_database(Snapshot(name, identifier, version, role="", taken_at="", objects={}))


def other(marked: Marked) -> dict[str, Any]:
    """A database that a restore has made or set aside, as a plan tells it."""
    return {"name": marked.name, "role": marked.mark.role, "since": marked.mark.since, "bytes": marked.bytes}


def ready_database(marked: list[Marked], backup: Backup) -> Marked | None:
    """One that an earlier run has restored from this very backup and has not put in place."""
    wanted = backup_identity(backup)
    return next((each for each in marked if each.mark.role == READY and each.mark.backup == wanted), None)


def _interrupted(live: Live, marked: list[Marked], backup: Backup) -> Marked | None:
    newest = next((each for each in marked if each.mark.role == KEPT), None)
    if newest is None or newest.mark.finished or newest.mark.successor != live.properties.oid:
        return None
    return newest if newest.mark.backup == backup_identity(backup) else None


def _described(backup: Backup) -> dict[str, Any]:
    return {
        "id": backup.id, "source": backup.source, "location": backup.location, "database": backup.database,
        "finished": _time(backup.finished_at), "size_bytes": backup.size_bytes, "server_major": backup.server_major,
        "content_manifest": manifest_path(Path(backup.location)).exists(),
    }  # fmt: skip


def _time(when: datetime | None) -> str:
    return certain(when).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _expected_time(backup: Backup, records_dir: str | None) -> dict[str, Any]:
    """By the rate of the last drill; seconds are null where there is none."""
    unknown = {"seconds": None, "of": "no restore drill was recorded here, so nobody has measured it"}
    if records_dir is None:
        return unknown
    try:
        record = latest_drill(Path(records_dir), _DRILL_MAX_AGE, datetime.now(UTC))
    except RollbackError:
        return unknown
    restore = record["restore"]
    size = backup.database_bytes or restore["bytes"]
    return {
        "seconds": round(size / max(restore["bytes_per_second"], 1), 1),
        "of": f"the drill of {record['finished']} restored {restore['bytes_per_second'] / 1e6:,.0f} MB/s",
    }


def _loss_blockers(backup: Backup, losses: Losses) -> list[Blocker]:
    found = []
    if losses.absent:
        found.append(Blocker(
            "backup_partial",
            f"{backup.id} lacks tables that were there before the migration: {listed(losses.absent, MOST_NAMED)}.",
            "Name a backup of the whole database with database_restore_backup_id.",
        ))  # fmt: skip
    if losses.of_migration:
        found.append(Blocker(
            "backup_too_late",
            f"{backup.id} was taken after the migration: it has {listed(losses.of_migration, MOST_NAMED)}.",
            "Name an earlier one with database_restore_backup_id.",
        ))  # fmt: skip
    return found


def _warnings(live: Live, backup: Backup, marked: list[Marked]) -> list[Blocker]:
    found = []
    if backup.server_major is not None and backup.server_major < live.server.major:
        found.append(Blocker(
            "backup_older_major",
            f"{backup.id} is of Postgres {backup.server_major}, and the server is {live.server.major}.",
            "It is restored as in an upgrade; rehearse it first.",
        ))  # fmt: skip
    if not manifest_path(Path(backup.location)).exists():
        found.append(Blocker(
            "no_content_manifest",
            f"No content manifest lies beside {backup.id}, so nobody can tell whether every row is what it was.",
            "Take dumps with playbooks/baseline.yml --tags dump.",
        ))  # fmt: skip
    if ready_database(marked, backup):
        found.append(Blocker(
            "restored_already",
            "An earlier run has restored this backup and could not put it in place: it is taken as it is.",
            "Purge it first, if it is to be restored anew.",
        ))  # fmt: skip
    return found


def summary(plan: dict[str, Any]) -> str:
    """One line for a person."""
    if plan["nothing_to_do"]:
        return "Nothing to do: the last run was interrupted after it had put the restored database in place."
    backup = plan["backup"]
    blocked = len(plan["blockers"])
    return f"Restore of {plan['database']} from {backup['id']} of {backup['finished']}. " + (
        f"{blocked} blocker{'s' if blocked > 1 else ''}." if blocked else f"Token {plan['token']}."
    )
