# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Taking a dump with its content manifest: both are of the same moment, and both are there or neither is."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.client_environment import client_environment
from ansible_collections.pgops.rollback.plugins.module_utils.connection import ServerInfo
from ansible_collections.pgops.rollback.plugins.module_utils.connections import Connections
from ansible_collections.pgops.rollback.plugins.module_utils.content_manifest import manifest_path, write_manifest
from ansible_collections.pgops.rollback.plugins.module_utils.dump_files import DIRECTORY
from ansible_collections.pgops.rollback.plugins.module_utils.dump_snapshot import (
    manifest_of,
    moment_of,
    require_readable,
    require_session,
)
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.postgres_binaries import MAJORS, find_binaries
from ansible_collections.pgops.rollback.plugins.module_utils.report_files import sync
from ansible_collections.pgops.rollback.plugins.module_utils.system_user import own_user

_VERSION = re.compile(r"\) (\d+)")


@dataclass(frozen=True)
class DumpRequest:
    """A dump of a whole database.

    :ivar path: file, or directory for the directory format; it does not exist yet.
    :ivar format: ``custom``, ``directory``, ``tar`` or ``plain``.
    :ivar jobs: sessions of pg_dump, for the directory format.
    :ivar compress: as ``pg_dump --compress`` takes it; None for pg_dump's own choice.
    :ivar lock_timeout_ms: of each attempt to lock the tables.
    :ivar timeout: seconds that pg_dump may take.
    """

    path: Path
    format: str
    jobs: int
    compress: str | None
    lock_timeout_ms: int
    timeout: float

    def require_place(self) -> None:
        """:raises RollbackError: ``dump_exists``, ``dump_directory_missing``, ``dump_jobs``."""
        if self.jobs > 1 and self.format != DIRECTORY:
            raise RollbackError(
                "dump_jobs",
                f"pg_dump writes the format {self.format} with one session only.",
                "Take the format directory, or leave jobs at 1; nothing was done.",
            )
        if not self.path.is_absolute() or not self.path.parent.is_dir():
            raise RollbackError(
                "dump_directory_missing",
                f"The dump cannot be written to {self.path}: its directory does not exist, or the path is relative.",
                "Make the directory, or give another absolute path; nothing was done.",
            )
        for path in (self.path, manifest_path(self.path)):
            if os.path.lexists(path):
                raise RollbackError(
                    "dump_exists",
                    f"{path} exists already, and a dump never replaces another.",
                    "Give another path, or remove that dump and its manifest; nothing was done.",
                )


def find_pg_dump(major: int) -> Path:
    """A pg_dump that knows servers of this major: of the same one if there is one, else a newer one.

    :raises RollbackError: ``binaries_missing``.
    """
    user = own_user()
    for wanted in sorted(number for number in MAJORS if number >= major):
        with suppress(RollbackError):
            found = find_binaries(wanted, user)
            if found and (found.bindir / "pg_dump").exists():
                return found.bindir / "pg_dump"
        named = shutil.which("pg_dump")  # of a machine with client programs only
        if named:
            answer = user.run([named, "--version"], Path("/"))
            version = _VERSION.search(answer.stdout)
            if version and int(version.group(1)) >= major:
                return Path(named)
    raise RollbackError(
        "binaries_missing",
        f"There is no pg_dump here that knows Postgres {major}: neither in PATH nor where server packages put it.",
        f"Install the client programs of Postgres {major} (Debian: postgresql-client-{major}); nothing was done.",
    )


def foresee_dump(connections: Connections, server: ServerInfo, request: DumpRequest) -> dict[str, Any]:
    """Everything that can be checked beforehand, and what take_dump() would return as far as it is known."""
    request.require_place()
    find_pg_dump(server.major)
    require_session(server)
    tables = require_readable(connections.first)
    return {"path": str(request.path), "manifest_path": str(manifest_path(request.path)), "tables": len(tables)}


def take_dump(connections: Connections, server: ServerInfo, request: DumpRequest) -> dict[str, Any]:
    """Dump the database and write the content manifest beside the dump. Readable by their owner only.

    :returns: what the module backup_dump returns.
    :raises RollbackError: ``dump_failed``, ``dump_under_way``, ``dump_unwritable``, and those of find_pg_dump(),
        moment_of(), manifest_of() and SystemUser.run(). Nothing is left then.
    """
    begun = time.monotonic()
    request.require_place()
    pg_dump = find_pg_dump(server.major)
    try:
        with (
            ended_by_signals(),
            _unfinished(request.path) as directory,
            moment_of(connections.first, server, request.lock_timeout_ms) as moment,
        ):
            dump = directory / request.path.name
            with client_environment(connections.first) as environment:
                run_pg_dump(_command(pg_dump, request, dump, moment.snapshot), request.timeout, environment)
            _make_private(dump)
            manifest = manifest_of(connections, server, moment, dump)
            written = write_manifest(manifest, dump)
            # The manifest last: a manifest alone could be taken for that of another dump.
            dump.rename(request.path)
            written.rename(manifest_path(request.path))
            sync(request.path.parent)
    except OSError as error:
        raise RollbackError(
            "dump_unwritable",
            f"The dump cannot be written to {request.path}: {error.strerror}.",
            "Make room there, or give another path; nothing was left.",
        ) from error
    return {
        "path": str(request.path),
        "manifest_path": str(manifest_path(request.path)),
        "tables": len(manifest.tables),
        "rows": manifest.rows,
        "bytes": sum(file.size_bytes for file in manifest.files),
        "seconds": round(time.monotonic() - begun, 3),
    }


def _command(pg_dump: Path, request: DumpRequest, dump: Path, snapshot: str) -> list[str]:
    command = [
        str(pg_dump), "--no-password", f"--format={request.format}", f"--file={dump}", f"--snapshot={snapshot}",
        f"--lock-wait-timeout={request.lock_timeout_ms}",
    ]  # fmt: skip
    if request.jobs > 1:
        command.append(f"--jobs={request.jobs}")
    if request.compress is not None:
        command.append(f"--compress={request.compress}")
    return command


def run_pg_dump(command: list[str], timeout: float, environment: dict[str, str]) -> None:
    """:param environment: of client_environment().
    :param timeout: seconds.
    :raises RollbackError: ``dump_failed``, ``program_timeout``.
    """
    # From where we are: a certificate may have been given by a relative path.
    answer = own_user().run(command, Path.cwd(), timeout, environment)
    if answer.returncode != 0:
        reason = " ".join(answer.stderr.replace("pg_dump: error: ", "").split())
        raise RollbackError(
            "dump_failed",
            f"pg_dump ended with {answer.returncode}: {reason[:600].rstrip('.')}.",
            "Remove the reason and run it again; nothing was left.",
        )


@contextmanager
def _unfinished(path: Path) -> Iterator[Path]:
    """A private directory beside the target, removed in the end. One that a killed run left is taken over."""
    directory = path.with_name(f".{path.name}.partial")
    directory.mkdir(mode=0o700, exist_ok=True)
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RollbackError(
                "dump_under_way",
                f"Another run is writing {path} at this moment.",
                "Wait for it, or give another path; nothing was done.",
            ) from error
        try:
            _empty(directory)
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)
    finally:
        os.close(handle)


def _empty(directory: Path) -> None:
    for leftover in directory.iterdir():
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()


def _make_private(dump: Path) -> None:
    if dump.is_dir():
        dump.chmod(0o700)
        for file in dump.iterdir():
            file.chmod(0o600)
    else:
        dump.chmod(0o600)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let what ends this process end pg_dump, too, and remove what is unfinished."""

    def end(number: int, _frame: Any) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
