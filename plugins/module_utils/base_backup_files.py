# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The files of a base backup, read alike whether it lies there as a directory tree or in tar archives."""

from __future__ import annotations

import gzip
import os
import re
import struct
import tarfile
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from ansible_collections.pgops.rollback.plugins.module_utils.dump_files import plain_stream
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError, certain

PLAIN, TAR = "plain", "tar"

#: What pg_basebackup calls its archives: the data directory, the WAL, and each tablespace by its OID.
_ARCHIVE = re.compile(r"(base|pg_wal|\d+)\.tar(\.gz|\.zst|\.lz4)?\Z")

#: What a data directory is recognised by, also half of one.
_SIGNS = ("backup_manifest", "backup_label", "PG_VERSION", "global", "base")

_WAL_NAME = re.compile(r"[0-9A-F]{24}\Z")

#: First bytes of a WAL segment: magic, flags, timeline, address, length, then of the cluster and of the segment.
_WAL_HEADER = struct.Struct("<HHIQI4xQII")
_MAJOR_OF_WAL = {0xD110: 15, 0xD113: 16, 0xD116: 17, 0xD118: 18}

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Entry:
    """A file or a directory.

    :ivar path: relative to the data directory; tablespaces are below pg_tblspc/OID.
    :ivar stream: to be read before the next entry is asked for; None of a directory.
    """

    path: str
    size: int
    stream: IO[bytes] | None

    def chunks(self) -> Iterator[bytes]:
        """Its content.

        :raises RollbackError: ``backup_damaged``.
        """
        stream = certain(self.stream)
        try:
            while found := stream.read(_CHUNK):
                yield found
        except tarfile.TarError as error:
            raise RollbackError(
                "backup_damaged", f"The archive ends within {self.path}.", "Use another backup; this one is cut short."
            ) from error


@dataclass(frozen=True)
class WalHeader:
    """What a WAL segment says of its cluster."""

    major: int
    system_id: str
    segment_bytes: int


def form_of(directory: Path) -> str | None:
    """``plain``, ``tar``, or None for what is no base backup, not even half of one."""
    names = set(os.listdir(directory))
    if any(map(_ARCHIVE.match, names)):
        return TAR
    return PLAIN if names.intersection(_SIGNS) else None


def archives(directory: Path) -> list[Path]:
    return sorted(path for path in directory.iterdir() if _ARCHIVE.match(path.name))


def entries(directory: Path, form: str) -> Iterator[Entry]:
    """Every file and directory of the backup; of compressed archives every byte is read and checked.

    :raises OSError: when something cannot be read.
    :raises RollbackError: ``backup_damaged``, ``program_missing`` (of the compression).
    """
    if form == PLAIN:
        yield from _walk(directory, "")
        return
    for archive in archives(directory):
        name = archive.name.partition(".")[0]
        yield from _unpacked(archive, {"base": "", "pg_wal": "pg_wal/"}.get(name, f"pg_tblspc/{name}/"))


def _walk(directory: Path, prefix: str) -> Iterator[Entry]:
    with os.scandir(directory) as found:
        listed = sorted(found, key=lambda entry: entry.name)
    for entry in listed:
        path = prefix + entry.name
        # pg_basebackup makes links for these only.
        linked = path == "pg_wal" or prefix == "pg_tblspc/"
        if entry.is_dir(follow_symlinks=linked):
            yield Entry(path, 0, None)
            yield from _walk(Path(entry.path), f"{path}/")
        elif entry.is_file(follow_symlinks=False):
            with open(entry.path, "rb") as stream:
                yield Entry(path, entry.stat().st_size, stream)


def _unpacked(archive: Path, prefix: str) -> Iterator[Entry]:
    with plain_stream(archive) as packed:
        try:
            with tarfile.open(fileobj=packed, mode="r|") as contents:
                while member := contents.next():
                    contents.members = []  # type: ignore[attr-defined]  # else it remembers all of them
                    path = PurePosixPath(member.name)
                    if path.is_absolute() or ".." in path.parts:
                        raise _damaged(archive, f"holds a file outside of itself ({member.name})")
                    if member.isdir() and path.parts:
                        yield Entry(f"{prefix}{path}", 0, None)
                    elif member.isfile():
                        yield Entry(f"{prefix}{path}", member.size, contents.extractfile(member))
        except (tarfile.TarError, EOFError) as error:
            raise _damaged(archive, f"is no whole tar archive ({str(error).rstrip('.')})") from error
        # A compression proves itself at its very end.
        while packed.read(_CHUNK):
            pass


def wal_header(directory: Path, form: str) -> WalHeader | None:
    """Of the first WAL segment in the backup; None without one that can be understood."""
    with suppress(OSError, EOFError, tarfile.TarError, gzip.BadGzipFile, StopIteration):
        if form == PLAIN:
            first = next(name for name in sorted(os.listdir(directory / "pg_wal")) if _WAL_NAME.match(name))
            return _understood((directory / "pg_wal" / first).open("rb"))
        archive = next(path for path in archives(directory) if path.name.startswith("pg_wal."))
        # pg_basebackup compresses WAL with gzip at most. Only its beginning is read.
        with (
            archive.open("rb") as packed,
            gzip.open(packed) if archive.suffix == ".gz" else nullcontext(packed) as plain,
            tarfile.open(fileobj=plain, mode="r|") as contents,
        ):
            while member := contents.next():
                if _WAL_NAME.match(PurePosixPath(member.name).name):
                    return _understood(contents.extractfile(member))
    return None


def _understood(stream: IO[bytes] | None) -> WalHeader | None:
    with certain(stream) as opened:
        start = opened.read(_WAL_HEADER.size)
    if len(start) < _WAL_HEADER.size:
        return None
    magic, _flags, _timeline, _address, _length, system_id, segment_bytes, _block = _WAL_HEADER.unpack(start)
    major = _MAJOR_OF_WAL.get(magic)
    return WalHeader(major, str(system_id), segment_bytes) if major and segment_bytes else None


def major_in_archive(directory: Path) -> int | None:
    """From PG_VERSION in base.tar, which is read up to there; None when it is not there.

    :raises RollbackError: ``backup_damaged``, ``program_missing``.
    """
    for archive in archives(directory):
        if archive.name.startswith("base."):
            for entry in _unpacked(archive, ""):
                if entry.path == "PG_VERSION" and entry.stream:
                    return int(entry.stream.read(8))
    return None


def _damaged(archive: Path, what: str) -> RollbackError:
    return RollbackError("backup_damaged", f"{archive.name} {what}.", "Use another backup; this one is damaged.")
