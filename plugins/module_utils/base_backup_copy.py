# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A base backup put into an empty directory, ready to be started beside production."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ansible_collections.pgops.rollback.plugins.module_utils.backup import Progress
from ansible_collections.pgops.rollback.plugins.module_utils.base_backup_files import Entry, entries
from ansible_collections.pgops.rollback.plugins.module_utils.base_backup_manifest import (
    UNLISTED,
    ManifestDamagedError,
    read_files,
)
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.system_user import SystemUser

#: Not copied. The WAL is inside, so the server recovers by backup_label alone, without a recovery.signal, which would
#: send it to production's archive; the tablespaces get new places, so their old ones must not come back.
_LEFT_OUT = {*UNLISTED, "postmaster.pid", "postmaster.opts", "tablespace_map"}

#: Where tablespaces are put: on the server that was backed up they lie anywhere.
_TABLESPACES = "tablespaces"

_IN_TABLESPACE = re.compile(r"pg_tblspc/(\d+)(?:/|\Z)")


def copy_backup(directory: Path, form: str, target: Path, owner: SystemUser, progress: Progress) -> None:
    """Copy or unpack it, every file for the owner only.

    :param target: an empty directory.
    :raises RollbackError: ``restore_failed``, ``program_missing`` (of the compression).
    """
    try:
        expected = read_files(directory)
        copied = _Copy(target, owner, sum(file.size for file in expected.values()) or 1, progress)
        for entry in entries(directory, form):
            if entry.path not in _LEFT_OUT:
                copied.put(entry)
        copied.link_tablespaces()
    except ManifestDamagedError as error:
        raise _failed(f"Its backup_manifest {error}.") from error
    except OSError as error:
        raise _failed(f"It cannot be copied to {target}: {error.strerror}.") from error
    except RollbackError as error:
        if error.code != "backup_damaged":
            raise
        raise _failed(error.message) from error
    missing = sorted(set(expected) - copied.paths - _LEFT_OUT)
    if missing:
        raise _failed(f"{len(missing)} of its files are not there, such as {missing[0]}.")


class _Copy:
    def __init__(self, target: Path, owner: SystemUser, expected: int, progress: Progress) -> None:
        self._target, self._owner, self._expected, self._progress = target, owner, expected, progress
        self._total = 0
        self._tablespaces: set[str] = set()
        self.paths: set[str] = set()

    def put(self, entry: Entry) -> None:
        path = self._target / self._place(entry.path)
        if entry.stream is None:
            self._make_directory(path)
            return
        self._make_directory(path.parent)
        with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as copy:
            for chunk in entry.chunks():
                copy.write(chunk)
                self._total += len(chunk)
                self._progress("copying the backup", min(self._total / self._expected, 1.0))
        self._own(path)
        self.paths.add(entry.path)

    def link_tablespaces(self) -> None:
        for number in self._tablespaces:
            link = self._target / "pg_tblspc" / number
            self._make_directory(link.parent)
            link.symlink_to(self._target / _TABLESPACES / number)

    def _place(self, path: str) -> str:
        match = _IN_TABLESPACE.match(path)
        if match is None:
            return path
        self._tablespaces.add(match.group(1))
        return f"{_TABLESPACES}/{path.removeprefix('pg_tblspc/')}"

    def _make_directory(self, path: Path) -> None:
        if not path.is_dir():
            self._make_directory(path.parent)
            path.mkdir(mode=0o700)
            self._own(path)

    def _own(self, path: Path) -> None:
        if self._owner.dropped:
            os.chown(path, self._owner.uid, self._owner.gid)


def _failed(message: str) -> RollbackError:
    return RollbackError("restore_failed", message, "Use another backup, or see what happened to this one.")
