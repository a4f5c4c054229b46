# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The head and the table of contents of a pg_dump archive (custom, directory and tar), read without any program.

The layout is that of ReadHead and ReadToc in src/bin/pg_dump/pg_backup_archiver.c, versions 1.13 to 1.16 (pg_dump 11 to
18). ``pg_restore --list`` says less (no owner of an ACL, no dependency) and needs a pg_restore that is new enough.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

MAGIC = b"PGDMP"

#: Of the archive layout, first and last that is known.
_VERSIONS = ((1, 13), (1, 16))

#: No string of an archive's contents is longer; a damaged length would ask for more.
_LONGEST = 1 << 30

#: K_OFFSET_POS_NOT_SET of pg_backup_archiver.h.
#: What a block of data in a custom archive begins with.
_TABLE_DATA, _LARGE_OBJECTS = b"\x01", b"\x03"

_POSITION_NOT_SET, _POSITION_SET = 1, 2


class ArchiveDamagedError(ValueError):
    """The bytes are no archive's; the message says in half a sentence what is wrong."""


@dataclass(frozen=True)
class ArchiveHead:
    """:ivar created: when pg_dump began, local time of the machine it ran on: no zone is stored.
    :ivar server_version: of the dumped server, such as ``15.18 (Debian …)``.
    :ivar entries: how many entries the table of contents has.
    """

    version: tuple[int, int]
    database: str
    server_version: str
    dump_version: str
    created: datetime | None
    entries: int


@dataclass(frozen=True)
class ArchiveEntry:
    """One object of the archive.

    :ivar kind: as pg_dump calls it, e.g. ``TABLE``, ``TABLE DATA``, ``ACL``, ``EXTENSION``.
    :ivar definition: the SQL that makes it; empty for data.
    :ivar has_data: data belong to it.
    :ivar placed: where its data are is noted (custom format; False when pg_dump could not seek, or has not ended).
    :ivar offset: where its data begin in the archive; 0 where that is not noted.
    :ivar file: the file with its data (directory and tar).
    :ivar catalog: OID of the catalog that the object is in, and ``oid`` its own; 0 where it has none. Data, and what
        switches row level security on, have the OID of their relation and no catalog.
    """

    dump_id: int
    kind: str
    schema: str
    name: str
    owner: str
    definition: str
    tablespace: str
    depends_on: tuple[int, ...]
    has_data: bool
    placed: bool
    offset: int
    file: str
    catalog: int = 0
    oid: int = 0


@contextmanager
def open_contents(path: Path) -> Iterator[IO[bytes]]:
    """The stream that begins with the archive's head: the file itself, toc.dat of a directory or of a tar file."""
    if path.is_dir():
        with (path / "toc.dat").open("rb") as stream:
            yield stream
        return
    with path.open("rb") as stream:
        start = stream.read(262)
        if start[257:262] != b"ustar":
            stream.seek(0)
            yield stream
            return
    try:
        with tarfile.open(path) as archive:
            member = archive.next()
            contents = archive.extractfile(member) if member and member.name == "toc.dat" else None
            if contents is None:
                raise ArchiveDamagedError("its first member is not toc.dat")
            yield contents
    except tarfile.TarError as error:
        raise ArchiveDamagedError(f"the tar file cannot be read ({error})") from error


def read_head(path: Path) -> ArchiveHead:
    """:raises ArchiveDamagedError: and OSError."""
    with open_contents(path) as stream:
        return _Reader(stream).head()


def read_toc(path: Path) -> tuple[ArchiveHead, list[ArchiveEntry]]:
    """:raises ArchiveDamagedError: and OSError."""
    with open_contents(path) as stream:
        reader = _Reader(stream)
        head = reader.head()
        in_files = not is_custom(path)
        entries = [reader.entry(in_files) for _number in range(head.entries)]
        first = min((entry.offset for entry in entries if entry.offset), default=None)
        # One wrong bit in the number of entries would leave objects out without an error.
        if (stream.tell() != first) if first is not None else (in_files and stream.read(1) != b""):
            raise ArchiveDamagedError("its table of contents holds more than it says")
        return head, entries


def has_all_data(path: Path) -> bool:
    """Whether a custom archive holds, to their ends, the data of every entry that has any.

    Reads the length of each piece and skips what is in it. For an archive that was written through a pipe, which notes
    nowhere where its data are, this alone tells whether pg_dump ended.

    :raises ArchiveDamagedError: and OSError.
    """
    with open_contents(path) as stream:
        reader = _Reader(stream)
        head = reader.head()
        wanted = {entry.dump_id for entry in (reader.entry(False) for _number in range(head.entries)) if entry.has_data}
        try:
            # What follows is none of it: from 16 on pg_dump writes its table of contents once more to a redirected
            # output, behind the data.
            while wanted and (kind := stream.read(1)):
                wanted.discard(reader.skip_data(kind))
        except ArchiveDamagedError:
            return False
    return not wanted


def is_custom(path: Path) -> bool:
    """Whether it is an archive in one file, where the data follow the table of contents."""
    if path.is_dir():
        return False
    with path.open("rb") as stream:
        return stream.read(len(MAGIC)) == MAGIC


class _Reader:
    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._int_size = self._offset_size = 0
        self._version = (0, 0)

    def head(self) -> ArchiveHead:
        if self._bytes(len(MAGIC)) != MAGIC:
            raise ArchiveDamagedError("it does not begin with PGDMP")
        major, minor, _revision, self._int_size, self._offset_size, _format = self._bytes(6)
        self._version = (major, minor)
        first, last = _VERSIONS
        if not first <= self._version <= last:
            raise ArchiveDamagedError(
                f"its layout is version {major}.{minor}; known are {first[0]}.{first[1]} to {last[0]}.{last[1]}"
            )
        if not (1 <= self._int_size <= 8 and 1 <= self._offset_size <= 8):
            raise ArchiveDamagedError("its head is damaged")
        if self._version >= (1, 15):
            self._bytes(1)  # the compression's algorithm
        else:
            self._int()  # its level
        second, minute, hour, day, month, year, _summer = (self._int() for _field in range(7))
        try:
            created = datetime(1900 + year, 1 + month, day, hour, minute, min(second, 59))
        except ValueError:
            raise ArchiveDamagedError("its head holds no valid date") from None
        return ArchiveHead(
            version=self._version,
            database=self._text(),
            server_version=self._text(),
            dump_version=self._text(),
            created=created,
            entries=self._int(),
        )

    def entry(self, in_files: bool) -> ArchiveEntry:
        dump_id = self._int()
        has_data = bool(self._int())
        catalog, oid = self._number(), self._number()
        name, kind = self._text(), self._text()
        self._int()  # section
        definition = self._text()
        self._text(), self._text()  # the DROP and the COPY statement
        schema = self._text()
        tablespace = self._text()
        if self._version >= (1, 14):
            self._text()  # access method
        if self._version >= (1, 16):
            self._int()  # relkind
        owner = self._text()
        self._text()  # with OIDs
        depends_on = []
        while (text := self._string()) is not None:
            depends_on.append(int(text) if text.isdigit() else 0)
        placed, offset, file = True, 0, ""
        if in_files:
            file = self._text()
        else:
            state = self._bytes(1)[0]
            placed = state != _POSITION_NOT_SET
            number = int.from_bytes(self._bytes(self._offset_size), "little")
            offset = number if state == _POSITION_SET else 0
        return ArchiveEntry(
            dump_id, kind, schema, name, owner, definition, tablespace, tuple(depends_on), has_data, placed, offset,
            file, catalog, oid,
        )  # fmt: skip

    def skip_data(self, kind: bytes) -> int:
        """:returns: the entry whose data were skipped, to their end."""
        dump_id = self._int()
        if kind == _TABLE_DATA:
            self._skip_pieces()
        elif kind == _LARGE_OBJECTS:
            while self._int():
                self._skip_pieces()
        else:
            raise ArchiveDamagedError("its data are damaged")
        return dump_id

    def _skip_pieces(self) -> None:
        while length := self._int():
            # Seeking beyond the end is no error; reading there is.
            self._stream.seek(length - 1, os.SEEK_CUR)
            self._bytes(1)

    def _bytes(self, length: int) -> bytes:
        found = self._stream.read(length)
        if len(found) < length:
            raise ArchiveDamagedError("it ends within its table of contents")
        return found

    def _int(self) -> int:
        sign, *digits = self._bytes(1 + self._int_size)
        number = int.from_bytes(bytes(digits), "little")
        return -number if sign else number

    def _string(self) -> str | None:
        length = self._int()
        if length < 0:
            return None
        if length > _LONGEST:
            raise ArchiveDamagedError("its table of contents is damaged")
        return self._bytes(length).decode("utf-8", "replace")

    def _number(self) -> int:
        text = self._text()
        return int(text) if text.isdigit() else 0

    def _text(self) -> str:
        return self._string() or ""
