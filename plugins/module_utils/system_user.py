# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The operating system's user that the server programs run as, and directories nobody else can tamper with."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError

#: Users that root drops to, in order of preference: Postgres refuses to run as root.
_UNPRIVILEGED = ("postgres", "nobody")


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

    def run(self, command: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run a server program as this user, in the C locale and without the caller's PG* variables."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        identity: dict[str, Any] = (
            {"user": self.uid, "group": self.gid, "extra_groups": []} if self.dropped else {}
        )
        return subprocess.run(
            command, cwd=cwd, env={**environment, "LC_ALL": "C"}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, errors="replace", check=False, **identity,
        )  # fmt: skip


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
    return RollbackError("user_unusable", message, "Set disposable_postgres_user to an existing unprivileged user.")
