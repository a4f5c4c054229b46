# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What pgBackRest and Barman have in common: programs that are run, the WAL a backup needs, places beside a restore."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess

from ansible_collections.pgops.rollback.plugins.module_utils.backup import (
    FAULTY,
    PASSED,
    PROGRAM_TIMEOUT,
    Backup,
    Check,
    SourceSettings,
)
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.system_user import SystemUser
from ansible_collections.pgops.rollback.plugins.module_utils.wal_segments import (
    SEGMENT_BYTES,
    parse_lsn,
    segment_bytes_of,
    segments,
)
from ansible_collections.pgops.rollback.plugins.module_utils.wording import listed


def run_tool(settings: SourceSettings, command: Sequence[str]) -> CompletedProcess[str]:
    """Run a backup tool as the user of the settings.

    :raises RollbackError: ``program_missing``, ``program_timeout``.
    """
    program = command[0]
    try:
        return settings.user.run(command, Path("/"), settings.timeout, limit=PROGRAM_TIMEOUT)
    except OSError as error:
        raise RollbackError(
            "program_missing",
            f"{program} cannot be run on this host by user {settings.user.name}: {error.strerror}.",
            f"Install {program} on this host, or run this on the host that makes the backups.",
        ) from error


def version_of(settings: SourceSettings, program: str, argument: str) -> str | None:
    """What the program says of its version; None when it says none.

    :raises RollbackError: of run_tool().
    """
    match = re.search(r"\d+(\.\d+)+", run_tool(settings, [program, argument]).stdout)
    return match[0] if match else None


def needed_wal(backup: Backup) -> list[str]:
    """The segments without which the backup does not become consistent.

    Their size follows from the LSN in ``details["lsn_start"]``.

    :raises ValueError: when what the tool says of them makes no sense.
    """
    first, last, lsn = backup.wal_start or "", backup.wal_stop or "", backup.details.get("lsn_start")
    return segments(first, last, segment_bytes_of(parse_lsn(lsn), first) if lsn else SEGMENT_BYTES)


def wal_present(backup: Backup, present: Collection[str]) -> Check:
    """The check ``wal``: every segment from the first to the last one needed is among those present."""
    try:
        needed = needed_wal(backup)
    except ValueError as error:
        return Check("wal", FAULTY, f"Which WAL it needs cannot be understood: {error}.")
    missing = [name for name in needed if name not in present]
    if missing:
        return Check(
            "wal", FAULTY,
            f"{len(missing)} of the {len(needed)} WAL segments it needs are missing: {listed(missing)}. Without them it"
            " cannot be restored.",
        )  # fmt: skip
    return Check("wal", PASSED, f"All {len(needed)} WAL segments it needs are in the archive.")


def first_line(text: str) -> str:
    """The first line that says something, without its full stop, short enough for a sentence."""
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    return (lines[0][:300] if lines else "it gave no reason").rstrip(".")


@contextmanager
def private_directory(user: SystemUser) -> Iterator[Path]:
    """An empty directory of the user's, removed at the end."""
    with tempfile.TemporaryDirectory(prefix="pgops-") as name:
        _hand_over(Path(name), user)
        yield Path(name)


def place_beside(data_directory: Path, name: str, user: SystemUser) -> Path:
    """A new directory of the user's beside the data directory, in what the drill removes at its end."""
    place = data_directory.with_name(name)
    place.mkdir(mode=0o700)
    _hand_over(place, user)
    return place


def _hand_over(directory: Path, user: SystemUser) -> None:
    if user.dropped:
        os.chown(directory, user.uid, user.gid)
