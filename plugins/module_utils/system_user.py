# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The operating system's user that the server programs run as, and directories nobody else can tamper with."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import signal
import stat
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError

#: Users that root drops to, in order of preference: Postgres refuses to run as root.
_UNPRIVILEGED = ("postgres", "nobody")

#: What libpq reads, but not what pgBackRest does.
_LIBPQ_VARIABLE = re.compile(r"PG(?!BACKREST_)")


@dataclass(frozen=True)
class SystemUser:
    """Who runs the server programs.

    :ivar own_uid: of this process; another than ``uid`` only when this process is root's.
    """

    name: str
    uid: int
    gid: int
    own_uid: int

    @property
    def dropped(self) -> bool:
        return self.own_uid != self.uid

    def run(
        self,
        command: Sequence[str],
        cwd: Path,
        timeout: float = 300,
        environment: Mapping[str, str] | None = None,
        stdin: IO[bytes] | None = None,
        limit: str = "",
        stdout: IO[bytes] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as this user, in the C locale and without the caller's libpq variables.

        :param timeout: seconds; then it is ended, and whatever it started with it.
        :param environment: variables to add.
        :param stdin: an open file to read from; nothing by default.
        :param limit: the variable that sets the timeout.
        :param stdout: an open file to write to, which the result does not have then.
        :raises OSError: when it cannot be started.
        :raises RollbackError: ``program_timeout``.
        """
        inherited = {name: value for name, value in os.environ.items() if not _LIBPQ_VARIABLE.match(name)}
        identity: dict[str, Any] = {}
        if self.dropped:
            identity = {"user": self.uid, "group": self.gid, "extra_groups": []}
            # Where a backup tool looks for its configuration.
            inherited["HOME"] = pwd.getpwuid(self.uid).pw_dir
        with subprocess.Popen(
            command, cwd=cwd, env={**inherited, "LC_ALL": "C", **(environment or {})},
            stdin=stdin or subprocess.DEVNULL, stdout=stdout or subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, errors="replace", start_new_session=True, **identity,
        ) as process:  # fmt: skip
            try:
                output, errors = process.communicate(timeout=timeout)
            except BaseException as error:
                _end(process)
                if isinstance(error, subprocess.TimeoutExpired):
                    raise RollbackError(
                        "program_timeout",
                        f"{Path(command[0]).name} was still at work after {timeout:.0f} seconds and was ended.",
                        f"See what it waits for, or give it more time{f' with {limit}' if limit else ''}.",
                    ) from error
                raise
        return subprocess.CompletedProcess(command, process.returncode, output, errors)


def _end(process: subprocess.Popen[str]) -> None:
    """End a program and what it started: it leads a process group of its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def system_user(name: str | None = None) -> SystemUser:
    """The named user, or by default this process's own, or for root the first unprivileged one that exists.

    :raises RollbackError: ``user_unusable``.
    """
    own_uid = os.geteuid()
    if name is not None:
        entry = _entry(name)
        if entry is None:
            raise _unusable(f"There is no user {name} on this machine.")
    elif own_uid == 0:
        entry = next((found for found in map(_entry, _UNPRIVILEGED) if found), None)
        if entry is None:
            raise _unusable(f"Postgres does not run as root, and none of {', '.join(_UNPRIVILEGED)} exists here.")
    else:
        entry = pwd.getpwuid(own_uid)
    if entry.pw_uid == 0:
        raise _unusable("Postgres does not run as root.")
    if own_uid not in (0, entry.pw_uid):
        raise _unusable(f"Only root can run the server as another user ({entry.pw_name}).")
    return SystemUser(entry.pw_name, entry.pw_uid, entry.pw_gid, own_uid)


def own_user() -> SystemUser:
    """Who this process runs as, root included: for programs that serve nobody else."""
    entry = pwd.getpwuid(os.geteuid())
    return SystemUser(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_uid)


def private_ownership(directory: Path, what: str, remedy: str) -> None:
    """Refuse a directory that another user made, may write to, or has put a link in the place of.

    :raises RollbackError: ``directory_untrusted``.
    """
    status = directory.lstat()
    reason = None
    if not stat.S_ISDIR(status.st_mode):
        reason = "it is not a directory but a link or a file"
    elif status.st_uid != os.geteuid():
        reason = f"it belongs to uid {status.st_uid}, not to uid {os.geteuid()}"
    elif status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        reason = "other users may write to it"
    if reason:
        raise RollbackError(
            "directory_untrusted", f"{directory} cannot be {what}: {reason}.", f"Remove it, or set {remedy}."
        )


def _entry(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _unusable(message: str) -> RollbackError:
    remedy = "Name an existing unprivileged user (disposable_postgres_user, or backup_verification_user for backups)."
    return RollbackError("user_unusable", message, remedy)
