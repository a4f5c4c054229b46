# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The disposable server that a backup is restored into: of a physical one it is the restored cluster itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.backup import (
    Backup,
    Check,
    PhysicalSource,
    Progress,
    Source,
)
from ansible_collections.pgops.rollback.plugins.module_utils.disposable_states import Request
from ansible_collections.pgops.rollback.plugins.module_utils.drill_options import DrillOptions
from ansible_collections.pgops.rollback.plugins.module_utils.drill_server import (
    ISOLATED,
    DrillServer,
    drill_directory,
    drill_server,
    has_room_at,
    remove_abandoned,
    require_room,
)
from ansible_collections.pgops.rollback.plugins.module_utils.physical_restore import RECOVERY, make_safe
from ansible_collections.pgops.rollback.plugins.module_utils.restore_space import restored_bytes

#: Memory is bounded: the server takes about this, and each of the jobs maintenance_work_mem besides.
_MEMORY = {"shared_buffers": "256MB", "maintenance_work_mem": "256MB", "max_parallel_maintenance_workers": 0}

#: Rows that are loaded into tables made in the same transaction then need no WAL.
_LOGICAL = {**ISOLATED, **_MEMORY, "wal_level": "minimal", "max_wal_size": "4GB", "checkpoint_timeout": "1h"}

_PHYSICAL = {**ISOLATED, **_MEMORY, **RECOVERY, "max_prepared_transactions": 100}


@contextmanager
def server_for(
    source: Source, backup: Backup, options: DrillOptions, settings: dict[str, Any], left: Callable[[], float],
    progress: Progress, add: Callable[[Check], None],
) -> Iterator[DrillServer]:  # fmt: skip
    """A server of the backup's release, cut off from everything, which is gone afterwards.

    :param settings: of the server, besides those of a drill.
    :param left: seconds that its start may take, recovery included.
    :param add: is told that it is isolated, and whether it is really gone.
    :raises RollbackError: ``disk_full``, ``drill_directory_missing``, ``drill_not_isolated``, and those of finding
        programs, of restoring a physical backup and of starting.
    """
    directory = drill_directory(options.directory)
    remove_abandoned(directory.parent)
    require_room(has_room_at(directory), restored_bytes(backup))
    physical = isinstance(source, PhysicalSource)

    def fill(data_directory: Path) -> None:
        if not isinstance(source, PhysicalSource):
            raise AssertionError("only a physical backup fills a data directory")
        source.materialise(backup, data_directory, progress)
        make_safe(data_directory, options.user)
        progress("recovering to the end of the backup", None)

    request = Request(
        major=backup.server_major if physical else backup.details["dump_major"],
        settings={**(_PHYSICAL if physical else _LOGICAL), **settings},
        wheels=options.wheels,
        fill=fill if physical else None,
    )
    progress("starting a disposable server", None)
    superuser = options.superuser if physical else "postgres"
    with drill_server(directory, options.user, request, superuser, ceil(left()), add) as server:
        add(server.isolated())
        yield server
