# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Dumps in files: a file, a directory of them, or a glob. Listing reads no file; only a candidate is opened."""

from __future__ import annotations

import glob
import os
import re
import stat
import tarfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

from ansible_collections.pgops.rollback.plugins.module_utils.archive_toc import (
    MAGIC,
    ArchiveDamagedError,
    ArchiveEntry,
    ArchiveHead,
    has_all_data,
    read_head,
    read_toc,
)
from ansible_collections.pgops.rollback.plugins.module_utils.backup import (
    FAILED,
    FAULTY,
    PASSED,
    PROGRAM_TIMEOUT,
    UNFINISHED,
    Backup,
    Check,
    Progress,
    Source,
)
from ansible_collections.pgops.rollback.plugins.module_utils.content_manifest import (
    MANIFEST_ENDING,
    manifest_path,
    read_manifest,
    verify_file,
)
from ansible_collections.pgops.rollback.plugins.module_utils.dump_files import (
    ARCHIVES,
    CUSTOM,
    DIRECTORY,
    SUPABASE,
    SUPABASE_FILES,
    TAR,
    beginning,
    compression,
    dump_format,
    ends_as_data,
    ends_complete,
    is_cluster_dump,
    is_settled,
    is_sql,
    last_bytes,
    read_to_the_end,
    tar_ends_complete,
    versions,
)
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError, certain
from ansible_collections.pgops.rollback.plugins.module_utils.file_sums import beside
from ansible_collections.pgops.rollback.plugins.module_utils.postgres_binaries import find_binaries
from ansible_collections.pgops.rollback.plugins.module_utils.recorded_sums import SUM_ENDING, recorded_sum, sum_file
from ansible_collections.pgops.rollback.plugins.module_utils.system_user import own_user

#: Beside a dump, and no dump; nor is what is still being written under another name.
_COMPANIONS = re.compile(r"\.|.*\.(sha256|md5|json|log|txt|tmp|part|partial)\Z")

#: What may lie beside a dump and belong to it.
_BESIDE = (MANIFEST_ENDING, SUM_ENDING)

#: A file that is much younger than the dump in it is a copy. The dump's own date has no zone (up to 14 hours), and a
#: dump may take a day.
_COPIED_AFTER = timedelta(hours=38)

#: The list of the large objects in a tar file; from 17 on there may be several.
_LARGE_OBJECTS = re.compile(r"blobs(_\d+)?\.toc")


class PgDump(Source):
    """Reads ``path``, ``database``, ``timeout`` and ``wheels`` of the settings."""

    name: ClassVar[str] = "pg_dump"
    integrity_proves: ClassVar[str] = "The dump is whole and can be read to its end"
    integrity_leaves_open: ClassVar[str] = "whether it restores, and, without a content manifest, single wrong bits"

    def backups(self) -> list[Backup]:
        listed = []
        for path in dict.fromkeys(self._candidates()):
            with suppress(FileNotFoundError):  # removed meanwhile, as retention does
                listed.append(self._listed(path))
        return listed

    def _candidates(self) -> Iterable[str]:
        """Paths without links, as text: there may be many, and to make a Path takes longer than to look at the file."""
        given = self.settings.path or ""
        if glob.has_magic(given) and not os.path.exists(given):
            found = [Path(name) for name in glob.glob(given)]
            return [_without_link(path) for path in found if not _COMPANIONS.match(path.name)]
        path = Path(given)
        try:
            if not path.is_dir() or dump_format(path):
                path.stat()
                return [_without_link(path)]
            with os.scandir(path) as entries:
                return [
                    _without_link(Path(entry.path)) if entry.is_symlink() else entry.path for entry in entries
                    if not _COMPANIONS.match(entry.name) and (_is_file(entry) or _may_be_dump(entry))
                ]  # fmt: skip
        except FileNotFoundError as error:
            raise RollbackError(
                "backup_path_missing",
                f"{given or 'backup_verification_path'} does not exist on this host.",
                "Set backup_verification_path to a dump, to the directory that holds the dumps, or to a glob.",
            ) from error
        except OSError as error:
            raise RollbackError(
                "backup_path_unreadable",
                f"{given} cannot be read: {error.strerror}.",
                "Let the user of the play read it.",
            ) from error

    def _listed(self, path: str) -> Backup:
        """As much as a directory entry tells. Of a directory the file that is written last counts."""
        found = os.stat(path)
        size, written = found.st_size, found.st_mtime
        if stat.S_ISDIR(found.st_mode):
            directory = Path(path)
            last = next((file for name in ("toc.dat", "data.sql") if (file := directory / name).exists()), directory)
            size = sum(file.stat().st_size for file in directory.iterdir() if file.is_file())
            written = last.stat().st_mtime
        finished = datetime.fromtimestamp(written, UTC)
        backup = Backup(self.name, os.path.basename(path), path, "logical", finished_at=finished, size_bytes=size)
        return replace(backup, status=FAILED, problem="It is empty (0 bytes).") if size == 0 else backup

    def inspect(self, backup: Backup) -> Backup:
        if backup.problem:
            return backup
        path = Path(backup.location)
        try:
            return self._of_right_database(self._inspected(backup, path))
        except ArchiveDamagedError as error:
            return replace(backup, status=FAILED, problem=f"It is no whole archive: {error}.")
        except RollbackError as error:
            return replace(backup, status=FAILED, problem=error.message)
        except OSError as error:
            return replace(backup, status=FAILED, problem=f"It cannot be read: {error.strerror}.")

    def _inspected(self, backup: Backup, path: Path) -> Backup:
        form = dump_format(path)
        if form is None:
            if path.is_dir():
                return replace(backup, status=UNFINISHED, problem="The directory has no toc.dat, which comes last.")
            return replace(backup, status=FAILED, problem="It is neither a dump of pg_dump nor SQL.")
        backup = replace(backup, details={**backup.details, "format": form})
        created: datetime | None = None
        if form in ARCHIVES:
            head = read_head(path)
            backup = _as_head_says(backup, head)
            # Without a zone, so local time is the best guess there is.
            created = head.created.astimezone(UTC) if head.created else None
            backup = _unless_being_written(backup, path, form)
        else:
            # Of the files of the Supabase CLI the data alone say where they come from, and end as they should.
            backup = _as_text_says(backup, path / "data.sql" if form == SUPABASE else path)
        if manifest_path(path).exists():
            manifest = read_manifest(manifest_path(path))
            # UTC and exact: the dump is of that moment, whenever it was copied.
            created = manifest.taken_at
            if backup.finished_at:
                backup = replace(backup, finished_at=min(backup.finished_at, created))
            backup = replace(
                backup, database=backup.database or manifest.database, database_bytes=manifest.database_bytes
            )
        if created and backup.finished_at and created + _COPIED_AFTER < backup.finished_at:
            backup = replace(backup, finished_at=created)
        return replace(backup, started_at=created)

    def _of_right_database(self, backup: Backup) -> Backup:
        wanted = self.settings.database
        if backup.problem or wanted is None or backup.database in (None, wanted):
            return backup
        return replace(backup, status=FAILED, problem=f"It is a dump of database {backup.database}, not of {wanted}.")

    # Integrity --------------------------------------------------------------------------------------------------------

    def integrity(self, backup: Backup, progress: Progress) -> list[Check]:
        path = Path(backup.location)
        form = backup.details["format"]
        checks = [recorded_sum(path, progress)] if sum_file(path).exists() else []
        if manifest_path(path).exists():
            checks += verify_file(read_manifest(manifest_path(path)), path, progress)
        if form in ARCHIVES:
            checks.append(_contents(path, form, progress))
            if checks[-1].status == PASSED:
                checks.append(self._structure(path, form, backup, progress))
        elif form == SUPABASE:
            checks.append(_end_marker(path / "data.sql", progress))
        else:
            checks.append(_end_marker(path, progress))
        return checks

    def _structure(self, path: Path, form: str, backup: Backup, progress: Progress) -> Check:
        """pg_restore reads all of it and writes nowhere. The data of a directory were read before, and better."""
        progress(f"reading {path.name} with pg_restore", None)
        user = own_user()
        major = backup.details["dump_major"]
        binaries = certain(find_binaries(major, user, wheels=self.settings.wheels))
        command = [str(binaries.bindir / "pg_restore"), "-f", os.devnull]
        command += ["--schema-only"] if form == DIRECTORY else []
        answer = user.run([*command, str(path)], Path("/"), self.settings.timeout, limit=PROGRAM_TIMEOUT)
        if answer.returncode == 0:
            return Check("structure", PASSED, f"pg_restore {binaries.version} reads it to its end.")
        reason = " ".join(answer.stderr.split()).removeprefix("pg_restore: error: ")
        return Check("structure", FAULTY, f"pg_restore cannot read it: {reason[:300].rstrip('.')}.")


def _without_link(path: Path) -> str:
    """The dump that a link such as latest.dump leads to: what belongs to it lies there, and it has one name only.

    A link that itself has what the dump has not stays.
    """
    has_own = any(beside(path, ending) == path.with_name(f"{path.name}{ending}") for ending in _BESIDE)
    return os.path.realpath(path) if path.is_symlink() and not has_own else str(path)


def _is_file(entry: os.DirEntry[str]) -> bool:
    """The directory tells it of what is no link; os.path.isfile takes a link in a circle for no file."""
    return entry.is_file(follow_symlinks=False) or os.path.isfile(entry)


def _may_be_dump(entry: os.DirEntry[str]) -> bool:
    """A directory that pg_dump or the Supabase CLI made, or has begun to make."""
    try:
        names = os.listdir(entry.path)
    except OSError:
        return False  # a link that leads nowhere, or nothing of ours
    return any(name == "toc.dat" or ".dat" in name or name in SUPABASE_FILES for name in names)


def _as_head_says(backup: Backup, head: ArchiveHead) -> Backup:
    server, dumper = (int(text.partition(".")[0]) for text in (head.server_version, head.dump_version))
    # pg_dump writes SQL for its own release, which an older server may not know.
    details = {**backup.details, "dump_major": max(server, dumper)}
    return replace(backup, database=head.database, server_major=server, details=details)


def _unless_being_written(backup: Backup, path: Path, form: str) -> Backup:
    if form == TAR and not tar_ends_complete(path):
        return replace(backup, status=UNFINISHED, problem="It lacks a tar file's end: cut short, or not ended yet.")
    if form == CUSTOM:
        _head, entries = read_toc(path)
        data = [entry.placed for entry in entries if entry.has_data]
        # pg_dump into a file notes last where its data are; into a pipe it never does, so the data have to tell.
        if data and not any(data) and not (is_settled(path) and has_all_data(path)):
            return _unsettled(backup)
    return backup


def _unsettled(backup: Backup) -> Backup:
    return replace(backup, status=UNFINISHED, problem="It is still being written to, or was not written to its end.")


def _as_text_says(backup: Backup, path: Path) -> Backup:
    if beginning(path).startswith(MAGIC):
        return replace(backup, status=FAILED, problem="It is a compressed archive, which pg_restore cannot read.")
    if not is_sql(path):
        return replace(backup, status=FAILED, problem="What is compressed in it is no SQL.")
    if is_cluster_dump(path):
        return replace(backup, status=FAILED, problem="It is pg_dumpall's: only dumps of one database are verified.")
    server, dumper = versions(path)
    major = max(filter(None, (server, dumper)), default=None)
    backup = replace(backup, server_major=server, details={**backup.details, "dump_major": major})
    if compression(path):
        # Its end alone tells whether it is complete, and only reading all of it leads there.
        return backup if is_settled(path) and read_to_the_end(path, lambda _total: None)[1] else _unsettled(backup)
    if not ends_complete(path):
        return replace(backup, status=UNFINISHED, problem="It lacks pg_dump's end marker: cut short, or not ended yet.")
    return backup


def _contents(path: Path, form: str, progress: Progress) -> Check:
    """The table of contents is whole, and all the data it promises are there, each to its end.

    pg_restore takes a data file of a directory that is empty or cut short for a table with fewer rows, and waits for
    ever for the rest of a tar file.
    """
    try:
        _head, entries = read_toc(path)
        data = [entry for entry in entries if entry.has_data]
        if form == DIRECTORY:
            faults = _faulty_files(path, data, progress)
        elif form == TAR:
            faults = _faulty_members(path, data)
        else:
            faults = [f"{e.name} are missing" for e in data if not e.placed] if any(e.placed for e in data) else []
    except (ArchiveDamagedError, tarfile.TarError, OSError) as error:
        return Check("contents", FAULTY, f"It cannot be read: {error}.")
    if faults:
        return Check("contents", FAULTY, f"The data of {'; of '.join(faults[:3])} ({len(faults)} in all).")
    return Check("contents", PASSED, f"Its table of contents is whole: {len(entries)} entries, {len(data)} with data.")


def _faulty_files(path: Path, data: list[ArchiveEntry], progress: Progress) -> list[str]:
    """What is wrong with the data files of a directory, in the middle of a sentence."""
    faults = []
    for number, entry in enumerate(data):
        progress(f"reading {path.name}/{entry.file}", number / len(data))
        if entry.kind == "TABLE DATA" and entry.file:
            fault = _fault_of(path, entry.file, ends_as_data)
            faults += [f"{entry.name} {fault}"] if fault else []
        elif entry.file.endswith(".toc"):
            faults += _faulty_large_objects(path, entry.file)
    return faults


def _faulty_large_objects(path: Path, contents: str) -> list[str]:
    """A file lists them, a line each: number and file name. An empty one is a large object, too."""
    faults = []
    try:
        for line in (path / contents).read_text(encoding="utf-8").splitlines():
            number, file = line.split()
            if fault := _fault_of(path, file, None):
                faults.append(f"large object {number} {fault}")
    except FileNotFoundError:
        return ["the large objects are missing"]
    except ValueError:
        return ["the large objects cannot be found: their list is damaged"]
    return faults


def _fault_of(path: Path, name: str, ends_well: Callable[[bytes], bool] | None) -> str:
    """Half a sentence; empty when the file, compressed or not, is whole."""
    file = next(path.glob(f"{glob.escape(name)}*"), None)
    if file is None:
        return "are missing"
    try:
        total, tail = last_bytes(file, lambda _total: None)
    except RollbackError as error:
        if error.code != "backup_damaged":
            raise
        return "cannot be decompressed to their end"
    return "are cut short" if ends_well and not (total and ends_well(tail)) else ""


def _faulty_members(path: Path, data: list[ArchiveEntry]) -> list[str]:
    """Likewise of a tar file; its members' ends are looked at, pg_restore reads the rest."""
    faults = []
    size = path.stat().st_size
    with tarfile.open(path) as archive:
        members = {member.name: member for member in archive.getmembers()}
        for entry in data:
            if entry.kind == "BLOBS":
                faults += _missing_large_objects(archive, members)
                continue
            member = members.get(entry.file)
            if entry.file and member is None:
                faults.append(f"{entry.name} are missing")
            elif member and member.offset_data + member.size > size:
                faults.append(f"{entry.name} are cut short")
    return faults


def _missing_large_objects(archive: tarfile.TarFile, members: dict[str, tarfile.TarInfo]) -> list[str]:
    """A member lists them, whatever the table of contents calls it; pg_restore reads their content."""
    lists = [member for name, member in members.items() if _LARGE_OBJECTS.fullmatch(name)]
    listed = [line.split() for member in lists for line in certain(archive.extractfile(member)).read().splitlines()]
    if not lists or any(len(line) != 2 for line in listed):
        return ["the large objects are missing, or their list is damaged"]
    return [f"large object {number.decode()} are missing" for number, file in listed if file.decode() not in members]


def _end_marker(path: Path, progress: Progress) -> Check:
    size = path.stat().st_size if compression(path) is None else None
    try:
        total, ended = read_to_the_end(
            path, lambda read: progress(f"reading {path.name}", read / size if size else None)
        )
    except RollbackError as error:
        if error.code != "backup_damaged":
            raise
        return Check("end_marker", FAULTY, error.message)
    if ended:
        return Check("end_marker", PASSED, f"It ends with pg_dump's end marker, after {total:,} bytes of SQL.")
    return Check("end_marker", FAULTY, f"After {total:,} bytes of SQL it ends without pg_dump's end marker: cut short.")
