# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lines of a plain dump: which are SQL, and which are a table's rows."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO

from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.names import parse_name

_NAME = rb'("(?:[^"]|"")+"|[A-Za-z_][\w$]*)'
_EXTENSION = re.compile(rb"(?:CREATE EXTENSION (?:IF NOT EXISTS )?|COMMENT ON EXTENSION )" + _NAME)

#: What psql would do besides running SQL. pg_dump's \restrict does no harm, and its \connect is taken out.
_COMMANDS = re.compile(
    rb"\\(?:!|i|ir|include|include_relative|o|out|copy|g|gexec|gset|w|write|setenv|cd|lo_\w+|e|edit)\b|\\!"
)

#: What is about a database of its own, which a drill's is not.
_DATABASE = re.compile(
    rb"(?:CREATE|DROP|ALTER) DATABASE |COMMENT ON DATABASE |(?:GRANT|REVOKE) .* ON DATABASE |\\c(?:onnect)?\b"
)

#: What `pg_dump --clean` writes in front of everything else, for a database that is not empty.
_REMOVAL = re.compile(rb"DROP |ALTER .* (?:DROP|DETACH) ")

_TOKEN = re.compile(rb"'|\"|\$(?:[A-Za-z_\x80-\xff][\w\x80-\xff]*)?\$|--|/\*|\*/|\\")
_IN_WORD = re.compile(rb"[\w$\x80-\xff]\Z")
_ESCAPES = re.compile(rb"(?:\A|[^\w$\x80-\xff])[eE]\Z")


class _Quotes:
    """Within which quotes a line of SQL ends, as psql reads it: a backslash there is no command."""

    def __init__(self) -> None:
        self._within = b""

    @property
    def outside(self) -> bool:
        return not self._within

    def command(self, line: bytes) -> bytes:
        """What follows the backslash of a psql command, and it; empty when the line has none."""
        position = 0
        while match := _TOKEN.search(line, position):
            token, position = match[0], match.end()
            if self._within:
                position += self._inside(token)
            elif token == b"--":
                break
            elif token == b"\\":
                return line[match.start() :]
            elif token == b"'" and _ESCAPES.search(line, 0, match.start()):
                self._within = b"E'"
            elif token != b"*/" and not (token[:1] == b"$" and _IN_WORD.search(line, 0, match.start())):
                self._within = token
        return b""

    def _inside(self, token: bytes) -> int:
        """:returns: how many more bytes belong to the token."""
        ends = {b"E'": b"'", b"/*": b"*/"}.get(self._within, self._within)
        if token == ends:
            self._within = b""
        return 1 if token == b"\\" and self._within == b"E'" else 0


def sql_lines(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The lines that are not rows of a COPY.

    :raises RollbackError: ``backup_unsupported`` for a psql command.
    """
    in_rows, quotes = False, _Quotes()
    for line in lines:
        if in_rows:
            in_rows = line.rstrip(b"\r\n") != b"\\."
            continue
        outside = quotes.outside
        _refuse(quotes.command(line))
        yield line
        in_rows = outside and _begins_rows(line)


def is_for_another_database(line: bytes) -> bool:
    """Whether the statement is of a dump made with ``--create`` or ``--clean``: adapted() takes it out."""
    return bool(_DATABASE.match(line) or _REMOVAL.match(line))


def adapted(lines: Iterable[bytes], extensions: list[str]) -> Iterator[bytes]:
    """All lines, but security labels, statements about the extensions, about databases, and those that remove what is
    not there yet.
    """
    in_rows = begun = skipping = False
    quotes = _Quotes()
    for line in lines:
        if in_rows:
            in_rows = line.rstrip(b"\r\n") != b"\\."
            yield line
            continue
        outside = quotes.outside
        quotes.command(line)
        if outside and not skipping:
            unwanted = extension_of(line) in extensions or _DATABASE.match(line) or line.startswith(b"SECURITY LABEL ")
            skipping = bool(unwanted or (not begun and _REMOVAL.match(line)))
            begun = begun or (not skipping and line.startswith(b"CREATE "))
        if skipping:
            skipping = not (quotes.outside and (line.rstrip().endswith(b";") or line.startswith(b"\\")))
            continue
        in_rows = outside and _begins_rows(line)
        yield line


def extension_of(line: bytes) -> str | None:
    """The extension that a statement creates or comments on."""
    match = _EXTENSION.match(line)
    return parse_name(match.group(1).decode("utf-8", "replace"), "extension")[0] if match else None


@contextmanager
def as_file(lines: Iterable[bytes]) -> Iterator[IO[bytes]]:
    """An open file that a program can read the lines from."""
    reading, writing = os.pipe()

    def write() -> None:
        # Whoever ends early reads no more.
        with contextlib.suppress(BrokenPipeError), os.fdopen(writing, "wb") as pipe:
            pipe.writelines(lines)

    writer = threading.Thread(target=write, daemon=True)
    with os.fdopen(reading, "rb") as file:
        writer.start()
        yield file
    writer.join()


def _begins_rows(line: bytes) -> bool:
    return line.startswith(b"COPY ") and line.rstrip().endswith(b"FROM stdin;")


def _refuse(command: bytes) -> None:
    if found := _COMMANDS.match(command):
        raise RollbackError(
            "backup_unsupported",
            f"The dump contains the psql command {found[0].decode()}, which leads out of the drill's database.",
            "Take another one: pg_dump writes no such command, so this one was edited.",
        )
