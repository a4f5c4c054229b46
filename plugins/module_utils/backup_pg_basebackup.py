# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Base backups of pg_basebackup: a directory that is one, a directory of such directories, or a glob."""

from __future__ import annotations

import glob
import os
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from ansible_collections.pgops.rollback.plugins.module_utils.backup import (
    COMPLETE,
    FAILED,
    UNFINISHED,
    Backup,
    Check,
    PhysicalSource,
    Progress,
)
from ansible_collections.pgops.rollback.plugins.module_utils.base_backup_copy import copy_backup
from ansible_collections.pgops.rollback.plugins.module_utils.base_backup_files import (
    PLAIN,
    TAR,
    archives,
    form_of,
    major_in_archive,
    wal_header,
)
from ansible_collections.pgops.rollback.plugins.module_utils.base_backup_integrity import (
    BaseBackup,
    Tools,
    needed_segments,
    verify,
)
from ansible_collections.pgops.rollback.plugins.module_utils.base_backup_manifest import (
    MANIFEST,
    ManifestDamagedError,
    Summary,
    read_summary,
)
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.postgres_binaries import Binaries, find_binaries
from ansible_collections.pgops.rollback.plugins.module_utils.system_user import own_user
from ansible_collections.pgops.rollback.plugins.module_utils.wal_segments import SEGMENT_BYTES


class PgBasebackup(PhysicalSource):
    """Reads ``path``, ``user``, ``timeout`` and ``wheels`` of the settings."""

    name: ClassVar[str] = "pg_basebackup"
    integrity_proves: ClassVar[str] = (
        "Every file is what the backup's manifest says, and all the WAL it needs is in it and can be read"
    )
    integrity_leaves_open: ClassVar[str] = (
        "whether it restores, and pages that were damaged on the server already when the backup was taken"
    )

    def backups(self) -> list[Backup]:
        """The manifest of each is read, none of its data."""
        listed = []
        for directory in self._candidates():
            with suppress(FileNotFoundError):  # removed meanwhile, as retention does
                listed.append(_listed(directory))
        return [backup for backup in listed if backup]

    def _candidates(self) -> list[Path]:
        given = self.settings.path or ""
        if glob.has_magic(given) and not os.path.exists(given):
            return [path for path in map(Path, glob.glob(given)) if path.is_dir()]
        path = Path(given)
        try:
            if form_of(path):
                return [path]
            with os.scandir(path) as found:
                return [Path(entry.path) for entry in found if not entry.name.startswith(".") and entry.is_dir()]
        except (FileNotFoundError, NotADirectoryError) as error:
            raise RollbackError(
                "backup_path_missing",
                f"{given or 'backup_verification_path'} is not a directory on this host.",
                "Set backup_verification_path to a base backup, to the directory that holds them, or to a glob.",
            ) from error
        except OSError as error:
            raise _unreadable(path, error) from error

    def inspect(self, backup: Backup) -> Backup:
        """The release of the server, where only an archive tells."""
        if backup.status != COMPLETE or backup.server_major is not None:
            return backup
        try:
            major = major_in_archive(Path(backup.location)) if backup.details["form"] == TAR else None
        except (RollbackError, ValueError, OSError) as error:
            if isinstance(error, RollbackError) and error.code != "backup_damaged":
                raise
            return replace(backup, status=FAILED, problem=f"Its base archive cannot be read: {error}")
        if major is None:
            return replace(backup, status=FAILED, problem="It has no PG_VERSION, as half a copy of one.")
        return replace(backup, server_major=major)

    def integrity(self, backup: Backup, progress: Progress) -> list[Check]:
        directory = Path(backup.location)
        # Whoever may read the backup may run the programs: they serve nobody and write nothing.
        tools = Tools(self._binaries(backup.server_major), own_user(), self.settings.timeout)
        try:
            return verify(_base_backup(backup), tools, progress)
        except OSError as error:
            raise _unreadable(directory, error) from error

    def _binaries(self, major: int | None) -> Binaries | None:
        if major is None:
            return None
        try:
            return find_binaries(major, own_user(), wheels=self.settings.wheels, install=False)
        except RollbackError as error:
            if error.code != "binaries_missing":
                raise
            return None

    def materialise(self, backup: Backup, data_directory: Path, progress: Progress) -> None:
        copy_backup(Path(backup.location), backup.details["form"], data_directory, self.settings.user, progress)


def _listed(directory: Path) -> Backup | None:
    """What the directory and the manifest tell; None for a directory that has nothing of a base backup."""
    touched = datetime.fromtimestamp(directory.stat().st_mtime, UTC)
    backup = Backup(PgBasebackup.name, directory.name, str(directory), "physical")
    try:
        form = form_of(directory)
        if form is None:
            return None
        summary = read_summary(directory)
        status, problem = COMPLETE, ""
        if (directory / "postmaster.pid").exists():
            status, problem = FAILED, "A server runs on it, or did: that is no backup any more."
        elif summary.incremental:
            status, problem = FAILED, "It is incremental, of no use before pg_combinebackup has joined it with others."
    except FileNotFoundError:
        problem = f"It has no {MANIFEST}, which pg_basebackup writes last: interrupted, or still being made."
        return replace(backup, status=UNFINISHED, finished_at=touched, problem=problem)
    except (ManifestDamagedError, OSError) as error:
        what = f"Its {MANIFEST} {error}" if isinstance(error, ManifestDamagedError) else f"Unreadable: {error.strerror}"
        return replace(backup, status=FAILED, finished_at=touched, problem=f"{what}.")
    return _described(replace(backup, status=status, problem=problem), directory, form, summary)


def _described(backup: Backup, directory: Path, form: str, summary: Summary) -> Backup:
    header = wal_header(directory, form)
    segment_bytes = header.segment_bytes if header else SEGMENT_BYTES
    backup = replace(
        backup,
        started_at=summary.started_at,
        finished_at=summary.finished_at,
        size_bytes=summary.data_bytes if form == PLAIN else sum(path.stat().st_size for path in archives(directory)),
        database_bytes=summary.data_bytes,
        server_major=_major(directory) or (header.major if header else None),
        system_id=summary.system_id or _system_id(directory) or (header.system_id if header else None),
        details={"form": form, "segment_bytes": segment_bytes},
    )
    needed = needed_segments(_base_backup(backup), summary.wal)
    if needed:
        backup = replace(backup, wal_start=needed[0], wal_stop=needed[-1])
    return backup


def _base_backup(backup: Backup) -> BaseBackup:
    details = backup.details
    return BaseBackup(Path(backup.location), details["form"], details["segment_bytes"], backup.server_major)


def _major(directory: Path) -> int | None:
    with suppress(OSError, ValueError):
        return int((directory / "PG_VERSION").read_text(encoding="ascii"))
    return None


def _system_id(directory: Path) -> str | None:
    with suppress(OSError), (directory / "global" / "pg_control").open("rb") as stream:
        start = stream.read(8)
        return str(int.from_bytes(start, "little")) if len(start) == 8 else None
    return None


def _unreadable(path: Path, error: OSError) -> RollbackError:
    return RollbackError(
        "backup_path_unreadable",
        f"{error.filename or path} cannot be read: {error.strerror}.",
        "Let the user of the play read it.",
    )
