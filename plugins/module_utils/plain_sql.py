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

#: What psql would do besides running SQL. pg_dump writes \connect with --create; its \restrict does no harm.
_COMMANDS = re.compile(
    rb"\\(?:c|connect|!|i|ir|include|include_relative|o|out|copy|g|gexec|gset|w|write|setenv|cd|lo_\w+|e|edit)\b"
)


def sql_lines(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The lines that are not rows of a COPY.

    :raises RollbackError: ``backup_unsupported`` for a psql command.
    """
    in_rows = False
    for line in lines:
        if in_rows:
            in_rows = line.rstrip(b"\r\n") != b"\\."
            continue
        _refuse_commands(line)
        yield line
        in_rows = _begins_rows(line)


def without_extensions(lines: Iterable[bytes], extensions: list[str]) -> Iterator[bytes]:
    """All lines, but those that create the extensions or comment on them."""
    in_rows = False
    for line in lines:
        if in_rows:
            in_rows = line.rstrip(b"\r\n") != b"\\."
        elif extension_of(line) in extensions:
            continue
        else:
            in_rows = _begins_rows(line)
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


def _refuse_commands(line: bytes) -> None:
    if line.startswith(b"\\") and (command := _COMMANDS.match(line)):
        raise RollbackError(
            "backup_unsupported",
            f"The dump contains the psql command {command[0].decode()}, which leads out of the drill's database.",
            "Take it without --create; a dump that was edited by hand is not drilled.",
        )
