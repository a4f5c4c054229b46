# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Loading a dump into a database that is there: pg_restore or psql, watched, and what they said was wrong."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from subprocess import CompletedProcess
from typing import IO, Any, Protocol

from ansible_collections.pgops.rollback.plugins.module_utils.backup import Progress
from ansible_collections.pgops.rollback.plugins.module_utils.dump_files import TAR, plain_stream
from ansible_collections.pgops.rollback.plugins.module_utils.plain_sql import adapted, as_file
from ansible_collections.pgops.rollback.plugins.module_utils.system_user import SystemUser, own_user

#: Seconds between two looks at how large the database has become.
_LOOK = 2.0

#: How many errors a message names.
_NAMED = 3

_RESTORE_ERROR = re.compile(r"^pg_restore: error: (.*)", re.MULTILINE)
#: A value that the server could not read, and the lines that show one: a row's, and so nobody's business.
_VALUE = re.compile(r'(?<=: )".*|(?<=\bvalue )".*"(?= is )')
_SHOWS_ROWS = ("DETAIL:", "CONTEXT:", "LINE ", " ", "\t")

_PSQL_ERROR = re.compile(r"^psql:.*?:\d+: (?:ERROR|FATAL): +(.*)", re.MULTILINE)


class Server(Protocol):
    """The server of the database."""

    def program(self, name: str, *arguments: str) -> list[str]:
        """The command line of a client program that connects to it, but for the database."""

    def watch(self) -> Any:
        """A connection from which the database's size can be asked."""

    def require_reserve(self) -> None:
        """:raises RollbackError: ``disk_full``, when others would soon miss what the restore takes."""

    def abort(self) -> None:
        """End whatever loads into the database."""


@dataclass(frozen=True)
class Loading:
    """A dump, and where it goes.

    :ivar form: as dump_files.dump_format() calls it.
    :ivar timeout: seconds for the client program.
    :ivar environment: of the client program.
    :ivar user: who runs psql, whatever the dump holds.
    :ivar whole: bytes that the database is going to have; None where nobody knows.
    """

    server: Server
    database: str
    path: Path
    form: str
    timeout: float
    environment: dict[str, str]
    user: SystemUser
    progress: Progress
    whole: int | None = None

    def archive(self, jobs: int, kept: Sequence[int] = (), options: Sequence[str] = ()) -> list[str]:
        """:param kept: numbers of the entries to restore; none for all of them.
        :param options: more of pg_restore.
        :returns: what went wrong.
        """
        command = self.server.program("pg_restore", f"--dbname={self._conninfo}", "--no-password", *options)
        if self.form != TAR:
            command.append(f"--jobs={jobs}")  # a tar file is read from its beginning to its end
        with tempfile.TemporaryDirectory(prefix="pgops-") as directory:
            if kept:
                chosen = Path(directory, "list")
                chosen.write_text("".join(f"{number};\n" for number in kept), encoding="utf-8")
                command.append(f"--use-list={chosen}")
            answer = self._watched(
                f"restoring {self.path.name}",
                partial(own_user().run, [*command, str(self.path)], Path("/"), self.timeout, self.environment),
            )
        said = _RESTORE_ERROR.findall(answer.stderr)
        errors = [message.removeprefix("could not execute query: ").rstrip(".") for message in said]
        return errors or _ended_badly("pg_restore", answer)

    def text(self, files: list[Path], missing: list[str] | None) -> list[str]:
        """The first error ends it: behind a COPY that fails, psql would take the table's rows for commands.

        :param missing: extensions to leave out; None when the SQL can be taken as it is.
        :returns: what went wrong.
        """
        command = self.server.program("psql", f"--dbname={self._conninfo}", "--no-psqlrc", "--quiet", "--no-password",
                                      "--set=VERBOSITY=terse", "--set=ON_ERROR_STOP=1", "--output=/dev/null",
                                      "--file=-")  # fmt: skip
        for file in files:
            with plain_stream(file) as given, _adapted(given, missing) as stream:
                answer = self._watched(
                    f"restoring {file.name}",
                    partial(self.user.run, command, Path("/"), self.timeout, self.environment, stream),
                )
            errors = [message.rstrip(".") for message in _PSQL_ERROR.findall(answer.stderr)]
            if errors := errors or _ended_badly("psql", answer):
                return errors
        return []

    @property
    def _conninfo(self) -> str:
        """A bare name with = in it would be taken for one, too."""
        escaped = self.database.replace("\\", "\\\\").replace("'", "\\'")
        return f"dbname='{escaped}'"

    def _watched(self, what: str, run: Callable[[], CompletedProcess[str]]) -> CompletedProcess[str]:
        """Wait for a program and tell how large the database has become meanwhile."""
        connection = self.server.watch()
        try:
            with ThreadPoolExecutor(1) as pool, connection.cursor() as cursor:
                running = pool.submit(run)
                try:
                    while not wait([running], _LOOK).done:
                        self.server.require_reserve()
                        cursor.execute("SELECT pg_catalog.pg_database_size(%s)", (self.database,))
                        self._tell(what, cursor.fetchone()[0])
                except BaseException:
                    # With it ended the program ends; the pool, and whoever ended us, would wait for it.
                    self.server.abort()
                    raise
                return running.result()
        finally:
            connection.close()

    def _tell(self, what: str, size: int) -> None:
        fraction = min(size / self.whole, 1.0) if self.whole else None
        self.progress(f"{what}: {size / 1e6:,.0f} MB so far", fraction)


def shown_errors(errors: list[str]) -> str:
    """The first few, without the rows' values, and how many there are besides; no full stop at the end."""
    named = "; ".join(_VALUE.sub('"…"', error) for error in errors[:_NAMED])
    return named + (f" … and {len(errors) - _NAMED} more" if len(errors) > _NAMED else "")


def _ended_badly(program: str, answer: CompletedProcess[str]) -> list[str]:
    if answer.returncode == 0:
        return []
    said = [line for line in answer.stderr.splitlines() if line and not line.startswith(_SHOWS_ROWS)]
    return [f"{program} ended with {answer.returncode}: {' '.join(said)[-300:]}"]


def _adapted(stream: IO[bytes], missing: list[str] | None) -> AbstractContextManager[IO[bytes]]:
    return nullcontext(stream) if missing is None else as_file(adapted(stream, missing))
