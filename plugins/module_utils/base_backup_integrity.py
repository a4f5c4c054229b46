# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a base backup is what its manifest says, and whether the WAL it needs is there and can be read.

Of a directory tree pg_verifybackup is asked, which is fast and reads the WAL too. Tar archives it reads from release 18
on only, and never their WAL, so those are read here, each once from its first byte to its last, and so is a tree where
there is no pg_verifybackup.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ansible_collections.pgops.rollback.plugins.module_utils.backup import (
    FAULTY,
    PASSED,
    PROGRAM_TIMEOUT,
    SKIPPED,
    Check,
    Progress,
)
from ansible_collections.pgops.rollback.plugins.module_utils.base_backup_files import PLAIN, TAR, Entry, entries
from ansible_collections.pgops.rollback.plugins.module_utils.base_backup_manifest import (
    UNLISTED,
    ManifestDamagedError,
    ManifestFile,
    WalRange,
    read_files,
    read_summary,
)
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.postgres_binaries import Binaries
from ansible_collections.pgops.rollback.plugins.module_utils.system_user import SystemUser
from ansible_collections.pgops.rollback.plugins.module_utils.wal_segments import segments_between, show_lsn

#: Faults that a message names; the rest is counted.
_NAMED = 3

#: Bytes left free where the WAL of an archive is unpacked to be read.
_RESERVE = 256 << 20


@dataclass(frozen=True)
class BaseBackup:
    """What is to be verified.

    :ivar form: ``plain`` or ``tar``.
    :ivar segment_bytes: of its WAL.
    :ivar major: of its server, None where unknown.
    """

    directory: Path
    form: str
    segment_bytes: int
    major: int | None


@dataclass(frozen=True)
class Tools:
    """:ivar binaries: programs of the fitting major, None where there are none."""

    binaries: Binaries | None
    user: SystemUser
    timeout: int

    def program(self, name: str) -> str | None:
        path = self.binaries.bindir / name if self.binaries else None
        return str(path) if path and path.exists() else None


@dataclass
class _Reading:
    """What was found by reading the files."""

    faults: list[str] = field(default_factory=list)
    total: int = 0
    wal: dict[str, int] = field(default_factory=dict)


def verify(backup: BaseBackup, tools: Tools, progress: Progress) -> list[Check]:
    """The checks, a failed one for every kind of fault.

    :raises OSError: when something cannot be read.
    :raises RollbackError: ``program_missing``, ``program_timeout``.
    """
    try:
        summary, files = read_summary(backup.directory), read_files(backup.directory)
    except ManifestDamagedError as error:
        return [Check("manifest", FAULTY, f"Its backup_manifest {error}.")]
    verifier = tools.program("pg_verifybackup") if backup.form == PLAIN else None
    if verifier:
        present = _wal_present(backup, summary.wal, _wal_in(backup.directory / "pg_wal"))
        with_wal = present.status == PASSED
        return [present, _by_pg_verifybackup(verifier, backup, tools, with_wal, progress), *_without_sums(files)]
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pgops-wal-")))
        needed = {name for span in summary.wal for name in _needed(backup, span)}
        unpack = backup.form == TAR and tools.program("pg_waldump") is not None
        room = shutil.disk_usage(scratch).free > len(needed) * backup.segment_bytes + _RESERVE
        begun = time.monotonic()
        reading = _Reading()
        _read_all(backup, files, reading, scratch if unpack and room else None, needed, progress)
        seconds = time.monotonic() - begun
        checks = [_files_check(reading, len(files), seconds), _wal_present(backup, summary.wal, reading.wal)]
        if checks[-1].status == PASSED:
            wal = scratch if backup.form == TAR else backup.directory / "pg_wal"
            checks.append(_wal_readable(backup, summary.wal, tools, wal, room))
        return checks + _without_sums(files)


def needed_segments(backup: BaseBackup, spans: Iterable[WalRange]) -> list[str]:
    """Names of the WAL segments without which the backup cannot become consistent."""
    return [name for span in spans for name in _needed(backup, span)]


def _needed(backup: BaseBackup, span: WalRange) -> list[str]:
    return segments_between(span.timeline, span.start, span.end, backup.segment_bytes)


# The manifest and the files ------------------------------------------------------------------------------------------


def _by_pg_verifybackup(
    verifier: str, backup: BaseBackup, tools: Tools, with_wal: bool, progress: Progress
) -> Check:
    progress(f"verifying {backup.directory.name} with pg_verifybackup", None)
    begun = time.monotonic()
    options = [] if with_wal else ["--no-parse-wal"]
    command = [verifier, *options, str(backup.directory)]
    answer = tools.user.run(command, Path("/"), tools.timeout, limit=PROGRAM_TIMEOUT)
    seconds = time.monotonic() - begun
    if answer.returncode == 0:
        what = "every file, and the WAL it needs," if with_wal else "every file"
        return Check("pg_verifybackup", PASSED, f"pg_verifybackup read {what} and found all as it was.", seconds)
    said = [line.partition("error: ")[2] or line for line in answer.stderr.splitlines() if line.strip()]
    return Check("pg_verifybackup", FAULTY, f"pg_verifybackup found: {_some(said)}.", seconds)


def _read_all(
    backup: BaseBackup, files: dict[str, ManifestFile], reading: _Reading, scratch: Path | None, wal: set[str],
    progress: Progress,
) -> None:  # fmt: skip
    """Read every byte; WAL that is needed is put into scratch on the way."""
    missing = dict(files)
    expected = sum(file.size for file in files.values()) or 1
    try:
        for entry in entries(backup.directory, backup.form):
            if entry.stream is None:
                continue
            name = PurePosixPath(entry.path).name
            if entry.path.startswith("pg_wal/"):
                reading.wal[name] = entry.size
                if scratch and name in wal:
                    with (scratch / name).open("wb") as copy:
                        copy.writelines(entry.chunks())
                continue
            if entry.path in UNLISTED:
                missing.pop(entry.path, None)
                continue
            _compare(entry, missing.pop(entry.path, None), reading)
            progress(f"reading {backup.directory.name}", min(reading.total / expected, 1.0))
    except RollbackError as error:
        if error.code != "backup_damaged":
            raise
        reading.faults.append(error.message.rstrip("."))
    reading.faults += [f"{path} is missing" for path in missing if not _unlisted(path)]


def _unlisted(path: str) -> bool:
    # WAL that was fetched at the end leaves its status files in the manifest.
    return path in UNLISTED or path.startswith("pg_wal/")


def _compare(entry: Entry, listed: ManifestFile | None, reading: _Reading) -> None:
    if listed is None:
        reading.faults.append(f"{entry.path} is not in the manifest")
        return
    if entry.size != listed.size:
        reading.faults.append(f"{entry.path} has {entry.size} bytes, not {listed.size}")
        return
    hasher = listed.hasher()
    read = 0
    for chunk in entry.chunks():
        read += len(chunk)
        if hasher:
            hasher.update(chunk)
    reading.total += read
    if read != listed.size:
        reading.faults.append(f"{entry.path} ends after {read} of {listed.size} bytes")
    elif hasher and hasher.hexdigest() != listed.checksum:
        reading.faults.append(f"{entry.path} does not have its {listed.algorithm} checksum")


def _files_check(reading: _Reading, count: int, seconds: float) -> Check:
    if reading.faults:
        return Check("files", FAULTY, f"It is not what its manifest says: {_some(reading.faults)}.", seconds)
    what = f"All {count} files, {reading.total:,} bytes, are what the manifest says."
    return Check("files", PASSED, what, seconds)


def _without_sums(files: dict[str, ManifestFile]) -> list[Check]:
    without = sum(file.algorithm is None for file in files.values())
    if not without:
        return []
    why = f"The manifest has no checksums of {without} of {len(files)} files (--manifest-checksums=NONE)."
    return [Check("checksums", SKIPPED, why)]


# WAL -----------------------------------------------------------------------------------------------------------------


def _wal_in(directory: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in directory.iterdir()} if directory.is_dir() else {}


def _wal_present(backup: BaseBackup, spans: tuple[WalRange, ...], found: dict[str, int]) -> Check:
    """Segment by segment: a gap keeps the server from ever becoming consistent."""
    needed = needed_segments(backup, spans)
    if not needed:
        return Check("wal", FAULTY, "Its manifest does not say which WAL it needs.")
    wrong = [f"{name} is missing" for name in needed if name not in found]
    wrong += [f"{name} has {found[name]} bytes, not {backup.segment_bytes}" for name in needed
              if name in found and found[name] != backup.segment_bytes]  # fmt: skip
    if wrong:
        return Check("wal", FAULTY, f"WAL that it needs is not in it: {_some(wrong)}.")
    return Check("wal", PASSED, f"The WAL that it needs is in it (segments: {len(needed)}).")


def _wal_readable(backup: BaseBackup, spans: tuple[WalRange, ...], tools: Tools, wal: Path, room: bool) -> Check:
    dumper = tools.program("pg_waldump")
    if dumper is None:
        needed = f"pg_waldump {backup.major or 'of its release'}"
        return Check("wal_records", SKIPPED, f"Its WAL was not read: {needed} is not installed. A drill replays it.")
    if not room:
        return Check("wal_records", SKIPPED, f"Its WAL was not read: no room to unpack it in {wal.parent}.")
    for span in spans:
        limits = [f"--timeline={span.timeline}", f"--start={show_lsn(span.start)}", f"--end={show_lsn(span.end)}"]
        answer = tools.user.run([dumper, "--quiet", f"--path={wal}", *limits], Path("/"), tools.timeout,
                                limit=PROGRAM_TIMEOUT)  # fmt: skip
        if answer.returncode != 0:
            said = [line.partition("error: ")[2] or line for line in answer.stderr.splitlines() if line.strip()]
            return Check("wal_records", FAULTY, f"pg_waldump cannot read the WAL it needs: {_some(said)}.")
    return Check("wal_records", PASSED, "pg_waldump read every WAL record that it needs.")


def _some(faults: list[str]) -> str:
    named = "; ".join(fault.rstrip(".") for fault in faults[:_NAMED])
    more = len(faults) - _NAMED
    return f"{named}; and {more} more" if more > 0 else named or "an error without a word"
