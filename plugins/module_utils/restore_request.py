# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of the full restore's modules, and what is made of them."""

from __future__ import annotations

from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.backup_pg_dump import PgDump
from ansible_collections.pgops.rollback.plugins.module_utils.backup_sources import (
    SOURCE_ARGUMENTS,
    open_source,
    wheels_of,
)
from ansible_collections.pgops.rollback.plugins.module_utils.baseline import baseline_if_there
from ansible_collections.pgops.rollback.plugins.module_utils.connection import CONNECTION_ARGUMENTS
from ansible_collections.pgops.rollback.plugins.module_utils.durations import parse_duration
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.manifest_checks import validate_checks
from ansible_collections.pgops.rollback.plugins.module_utils.restore_plan import RestoreRequest

#: Documented in plugins/doc_fragments/restore_request.py.
RESTORE_ARGUMENTS: dict[str, dict[str, Any]] = {
    "source": {"type": "str", "choices": [PgDump.name]},
    "path": {"type": "path"},
    "backup_id": {"type": "str"},
    "database": {"type": "str"},
    "wheels": SOURCE_ARGUMENTS["wheels"],
    "maintenance_db": {"type": "str"},
    "disk_free": {"type": "bytes"},
    "baseline_before": {"type": "path"},
    "baseline_after": {"type": "path"},
    "records_dir": {"type": "path"},
    "host": {"type": "str", "required": True},
    "artifacts_dir": {"type": "path", "required": True},
}

#: Of what acts upon it.
RUN_ARGUMENTS: dict[str, dict[str, Any]] = {
    "confirm": {"type": "str", "required": True},
    "batch": {"type": "dict", "required": True},
    "run_id": {"type": "str", "required": True},
    "checks": {"type": "list", "elements": "dict", "default": []},
    "jobs": {"type": "int", "default": 2},
    "timeout": {"type": "str", "default": "6h"},
    "progress_file": {"type": "path"},
}


def restore_request(options: dict[str, Any], database: str) -> RestoreRequest:
    """:param options: values of RESTORE_ARGUMENTS, and of RUN_ARGUMENTS where they are the module's.
    :param database: name of the live one.
    :raises RollbackError: ``restore_source_missing``, those of open_source() and read_baseline(), ``duration_invalid``,
        ``manifest_invalid``.
    """
    if options["source"] is None:
        raise RollbackError(
            "restore_source_missing",
            "database_restore_source is not set, so there is nothing to restore from.",
            "Set it to pg_dump, and database_restore_path to the dump, a directory of dumps or a glob; nothing was"
            " done.",
        )
    timeout = int(parse_duration(options.get("timeout", "6h"), "database_restore_timeout").total_seconds())
    unset = dict.fromkeys(SOURCE_ARGUMENTS)
    source = open_source({
        **unset, **{name: options[name] for name in ("source", "path", "wheels")},
        "database": options["database"] or database, "program_timeout": f"{timeout}s", "supabase_url": "",
    })  # fmt: skip
    return RestoreRequest(
        source=source,
        before=baseline_if_there(options["baseline_before"]),
        after=baseline_if_there(options["baseline_after"]),
        checks=validate_checks(options.get("checks") or []),
        jobs=max(1, options.get("jobs", 1)),
        timeout=timeout,
        wheels=wheels_of(options),
        **{name: options[name] for name in ("backup_id", "records_dir", "disk_free")},
    )


def login_of(options: dict[str, Any]) -> dict[str, Any]:
    """The connection options among a module's."""
    return {name: options[name] for name in CONNECTION_ARGUMENTS}
