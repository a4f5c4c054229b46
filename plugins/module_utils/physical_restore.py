# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Making a restored data directory safe to start beside production."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.system_user import SystemUser

#: What a drill's server is started with: it recovers to the end of the backup and stops being a standby there. It need
#: not be as large as production, which a hot standby would have to be.
RECOVERY: dict[str, Any] = {
    "hot_standby": "off",
    "recovery_target": "immediate",
    "recovery_target_timeline": "current",  # the backup's own, whatever was promoted since
    "recovery_target_action": "promote",
}

#: Of what production had set, only the tool's way to the WAL is kept: no archive_command, no primary_conninfo.
_KEPT = re.compile(r"\s*restore_command\s*=")

#: Everybody who reaches the socket's directory is let in.
_HBA = "local all all trust\n"

#: What makes it a standby, or says that a server already works on it.
_UNWANTED = ("standby.signal", "postmaster.pid", "postmaster.opts")


def make_safe(data_directory: Path, user: SystemUser) -> None:
    """Take out what would reach production or keep us out. The drill's own postgresql.conf lies elsewhere.

    With a restore_command the server needs a recovery.signal to use it; without, backup_label is enough.
    """
    for name in _UNWANTED:
        (data_directory / name).unlink(missing_ok=True)
    automatic = data_directory / "postgresql.auto.conf"
    lines = automatic.read_text(encoding="utf-8", errors="replace").splitlines() if automatic.exists() else []
    kept = [line for line in lines if _KEPT.match(line)]
    _write(automatic, "".join(f"{line}\n" for line in kept), user)
    _write(data_directory / "pg_hba.conf", _HBA, user)
    _write(data_directory / "pg_ident.conf", "", user)
    if kept:
        _write(data_directory / "recovery.signal", "", user)
    data_directory.chmod(0o700)


def _write(path: Path, text: str, user: SystemUser) -> None:
    # Not through a link that the backup may hold.
    path.unlink(missing_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    if user.dropped:
        os.chown(path, user.uid, user.gid)
