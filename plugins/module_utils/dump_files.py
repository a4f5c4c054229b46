# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files that pg_dump and `supabase db dump` leave: what format they have, and what their first and last bytes tell."""

from __future__ import annotations

import fcntl
import re
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO

from ansible_collections.pgops.rollback.plugins.module_utils.archive_toc import MAGIC
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError, certain

CUSTOM, DIRECTORY, TAR, PLAIN, SUPABASE = "custom", "directory", "tar", "plain", "supabase"

#: What pg_restore reads.
ARCHIVES = (CUSTOM, DIRECTORY, TAR)

#: The files of `supabase db dump`, in the order they are restored; the roles may be missing.
SUPABASE_FILES = ("roles.sql", "schema.sql", "data.sql")

#: First bytes of a compressed file, and the program that reads it.
_COMPRESSED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"\x04\x22\x4d\x18": "lz4"}

#: pg_dump's last words. Since `\restrict` they are no longer the last line.
_END_MARKER = b"PostgreSQL database dump complete"
_CLUSTER_MARKER = b"PostgreSQL database cluster dump"
_TAIL = 8192

#: A tar file ends with two blocks of zeros.
_TAR_END = bytes(1024)

#: Seconds without a write after which a writer has ended.
_QUIET = 600
_HEAD = 8192
_CHUNK = 1 << 20

_SERVER = re.compile(rb"^-- Dumped from database version (\d+)", re.MULTILINE)
_DUMPER = re.compile(rb"^-- Dumped by pg_dump version (\d+)", re.MULTILINE)
_SQL_START = re.compile(rb"\s*(--|/\*|\\|SET |CREATE |BEGIN|INSERT |COPY )", re.IGNORECASE)


def dump_format(path: Path) -> str | None:
    """One of the formats, or None for what is no dump. A compressed file counts as plain.

    :raises OSError: when it cannot be read.
    """
    if path.is_dir():
        if (path / "toc.dat").exists():
            return DIRECTORY
        return SUPABASE if all((path / name).exists() for name in SUPABASE_FILES[1:]) else None
    with path.open("rb") as stream:
        start = stream.read(512)
    if start.startswith(MAGIC):
        return CUSTOM
    if start[257:262] == b"ustar":
        return TAR
    return PLAIN if compression(path) or _SQL_START.match(start) else None


def compression(path: Path) -> str | None:
    """The program that decompresses it; None if it is not compressed."""
    with path.open("rb") as stream:
        start = stream.read(4)
    return next((program for magic, program in _COMPRESSED.items() if start.startswith(magic)), None)


def plain_stream(path: Path) -> AbstractContextManager[IO[bytes]]:
    """The SQL of a plain dump, decompressed on the way.

    A reader that stops early ends the program; whoever read to the end learns whether all was whole.

    :raises RollbackError: ``program_missing``, ``backup_damaged`` (cut short, or a checksum of the compression fails).
    """
    program = compression(path)
    return _Decompressed(program, path) if program else path.open("rb")


class _Decompressed(AbstractContextManager[IO[bytes]]):
    def __init__(self, program: str, path: Path) -> None:
        self._path = path
        command = [program, "-dc", "--", str(path)]
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        except FileNotFoundError as error:
            raise RollbackError(
                "program_missing",
                f"{path.name} is compressed, and {program} is not installed on this host.",
                f"Install {program} there.",
            ) from error

    def __enter__(self) -> IO[bytes]:
        return certain(self._process.stdout)

    def __exit__(self, kind: type[BaseException] | None, *_details: object) -> None:
        with self._process as process:
            if kind is not None or certain(process.stdout).read(1):
                process.kill()
                return
            reason = certain(process.stderr).read().decode(errors="replace")
        if process.returncode != 0:
            raise RollbackError(
                "backup_damaged",
                f"{self._path.name} cannot be decompressed to its end: {' '.join(reason.split()).rstrip('.')}.",
                "Use another backup; this one is cut short or damaged.",
            )


def beginning(path: Path) -> bytes:
    with plain_stream(path) as stream:
        return stream.read(_HEAD)


def versions(path: Path) -> tuple[int | None, int | None]:
    """The majors of the dumped server and of pg_dump, from the comments a plain dump begins with."""
    head = beginning(path)
    server, dumper = _SERVER.search(head), _DUMPER.search(head)
    return (int(server.group(1)) if server else None, int(dumper.group(1)) if dumper else None)


def is_sql(path: Path) -> bool:
    """Whether it begins as SQL does, decompressed if need be."""
    return _SQL_START.match(beginning(path)) is not None


def is_cluster_dump(path: Path) -> bool:
    """Whether it is pg_dumpall's."""
    return _CLUSTER_MARKER in beginning(path)


def ends_complete(path: Path) -> bool:
    """Whether an uncompressed file ends with pg_dump's last words."""
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - _TAIL))
        return _END_MARKER in stream.read()


def tar_ends_complete(path: Path) -> bool:
    """Whether the blocks are there that are written last."""
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - len(_TAR_END)))
        return stream.read() == _TAR_END


def is_settled(path: Path) -> bool:
    """Whether nobody writes to the file any more: for those whose end does not tell.

    Linux knows for a local file of one's own, and else a time without a write has to do.
    """
    return _is_closed(path) or time.time() - path.stat().st_mtime > _QUIET


def _is_closed(path: Path) -> bool:
    """Whether the system says that no process has it open for writing; False may mean that it does not know.

    A read lease is given for no other file (fcntl(2)). Whoever opens it in this moment waits until the lease is
    returned, which is at once, and the signal that says so is one that is ignored.
    """
    if not hasattr(fcntl, "F_SETLEASE"):
        return False
    with path.open("rb") as stream:
        try:
            fcntl.fcntl(stream, fcntl.F_SETSIG, signal.SIGURG)
            fcntl.fcntl(stream, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            fcntl.fcntl(stream, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        except OSError:
            return False
    return True


def last_bytes(path: Path, told: Callable[[int], None]) -> tuple[int, bytes]:
    """Read all of a plain dump, or of a data file of a directory: how many bytes it has, and the last ones.

    :param told: called with the bytes read so far.
    :raises RollbackError: of plain_stream().
    """
    tail, total = b"", 0
    with plain_stream(path) as stream:
        while found := stream.read(_CHUNK):
            total += len(found)
            tail = (tail + found)[-_TAIL:]
            told(total)
    return total, tail


def read_to_the_end(path: Path, told: Callable[[int], None]) -> tuple[int, bool]:
    """Read all of a plain dump: how many bytes of SQL it has, and whether pg_dump's last words are at its end."""
    total, tail = last_bytes(path, told)
    return total, _END_MARKER in tail


def ends_as_data(tail: bytes) -> bool:
    """Whether it is the end of a table's data: COPY's terminator, or the last of its INSERT statements."""
    return tail.rstrip(b"\n").endswith((b"\n\\.", b";")) or tail.strip() == b"\\."
