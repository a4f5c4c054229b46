# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How much room a restored database takes, and how much there is on its server."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.backup import Backup
from ansible_collections.pgops.rollback.plugins.module_utils.dump_files import PLAIN, compression
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.report_content import size_text

#: How many times larger than its dump a database may be, where no content manifest says.
_GROWTH = 8
_GROWTH_UNCOMPRESSED = 3

#: With less on the server's disk a restore is ended: the live database needs some, too.
_LEAST = 256 << 20

# No row where this role may not see the setting. The WAL of a restore stays until a checkpoint.
_PLACE = """
SELECT (SELECT setting FROM pg_catalog.pg_settings WHERE name = 'data_directory'),
       (SELECT pg_catalog.pg_tablespace_location(oid) FROM pg_catalog.pg_tablespace WHERE spcname = %s),
       (SELECT setting::bigint * 1048576 FROM pg_catalog.pg_settings WHERE name = 'max_wal_size')
"""


def restored_bytes(backup: Backup) -> int:
    """What the restored database is going to take, with some to spare."""
    if backup.database_bytes is not None:
        return backup.database_bytes * 5 // 4
    form = backup.details.get("format")
    compressed = compression(Path(backup.location)) is not None if form == PLAIN else form is not None
    return (backup.size_bytes or 0) * (_GROWTH if compressed else _GROWTH_UNCOMPRESSED)


@dataclass(frozen=True)
class Space:
    """On the disk of a server's tablespace.

    :ivar needed: bytes, the WAL of the restore among them.
    :ivar free: bytes; None where it cannot be told from here.
    :ivar place: the directory, where it is on this host; None where nothing can be measured.
    """

    needed: int
    free: int | None
    place: Path | None

    @property
    def suffices(self) -> bool:
        return self.free is not None and self.free >= self.needed + _LEAST

    def require_reserve(self) -> None:
        """While something is restored. How much a compressed backup becomes is an estimate.

        :raises RollbackError: ``disk_full``.
        """
        if self.place is None:
            return
        free = shutil.disk_usage(self.place).free
        if free < _LEAST:
            raise RollbackError(
                "disk_full",
                f"The restore was ended: it needs more room than expected, and only {size_text(free)} are free in"
                f" {self.place}.",
                "Free some, and run it again; the live database is as it was.",
            )


def read_space(connection: Any, tablespace: str, backup: Backup, given: int | None) -> Space:
    """:param connection: to the server; through a socket it is on this host.
    :param given: bytes that are free, as somebody says who knows the server.
    """
    with connection.cursor() as cursor:
        cursor.execute(_PLACE, (tablespace,))
        data_directory, location, wal = cursor.fetchone()
    needed = restored_bytes(backup) + wal
    place = location or data_directory
    if given is not None or not place or not (connection.info.host or "").startswith("/"):
        return Space(needed, given, None)
    try:
        return Space(needed, shutil.disk_usage(place).free, Path(place))
    except OSError:
        return Space(needed, None, None)  # the socket leads into a container
