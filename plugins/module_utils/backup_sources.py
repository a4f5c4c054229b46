# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The sources by their names, and the options of a module that say which one is meant."""

from __future__ import annotations

import os
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.backup import PROGRAM_TIMEOUT, Source, SourceSettings
from ansible_collections.pgops.rollback.plugins.module_utils.backup_barman import Barman
from ansible_collections.pgops.rollback.plugins.module_utils.backup_pg_basebackup import PgBasebackup
from ansible_collections.pgops.rollback.plugins.module_utils.backup_pg_dump import PgDump
from ansible_collections.pgops.rollback.plugins.module_utils.backup_pgbackrest import PgBackRest
from ansible_collections.pgops.rollback.plugins.module_utils.backup_supabase import Supabase
from ansible_collections.pgops.rollback.plugins.module_utils.backup_walg import WalG
from ansible_collections.pgops.rollback.plugins.module_utils.durations import parse_duration
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.postgres_binaries import Wheel
from ansible_collections.pgops.rollback.plugins.module_utils.system_user import system_user

SOURCES: dict[str, type[Source]] = {
    source.name: source for source in (PgDump, PgBasebackup, PgBackRest, Barman, WalG, Supabase)
}

#: What each source cannot do without.
_REQUIRED = {
    "pg_dump": "path",
    "pg_basebackup": "path",
    "pgbackrest": "stanza",
    "barman": "server",
    "supabase": "supabase_ref",
}

#: Documented in plugins/doc_fragments/backup_source.py.
SOURCE_ARGUMENTS: dict[str, dict[str, Any]] = {
    "source": {"type": "str", "required": True, "choices": list(SOURCES)},
    "path": {"type": "path"},
    "database": {"type": "str"},
    "stanza": {"type": "str"},
    "server": {"type": "str"},
    "config": {"type": "path"},
    "supabase_ref": {"type": "str"},
    "supabase_token": {"type": "str", "no_log": True},
    "supabase_url": {"type": "str", "default": "https://api.supabase.com"},
    "program_timeout": {"type": "str", "default": "1h"},
    "user": {"type": "str"},
    "wheels": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "version": {"type": "str", "required": True},
            "majors": {"type": "list", "elements": "int", "required": True},
            "hashes": {"type": "list", "elements": "str", "required": True},
        },
    },
}


def with_token(options: dict[str, Any]) -> dict[str, Any]:
    """The options, with the environment's token where none is given."""
    return {**options, "supabase_token": options["supabase_token"] or os.environ.get("SUPABASE_ACCESS_TOKEN")}


def open_source(options: dict[str, Any]) -> Source:
    """The source that the options of a module mean.

    :param options: the values of SOURCE_ARGUMENTS.
    :raises RollbackError: ``backup_source_incomplete``, ``backup_path_relative``, ``duration_invalid``,
        ``user_unusable``.
    """
    kind = SOURCES[options["source"]]
    required = _REQUIRED.get(kind.name)
    if required and not options[required]:
        raise RollbackError(
            "backup_source_incomplete",
            f"backup_verification_source is {kind.name}, and backup_verification_{required} is not set.",
            f"Set backup_verification_{required}; nothing was done.",
        )
    if options["path"] and not os.path.isabs(options["path"]):
        raise RollbackError(
            "backup_path_relative",
            f"backup_verification_path is {options['path']!r}, which is relative, and to what is not certain.",
            "Give it as an absolute path; nothing was done.",
        )
    timeout = parse_duration(options["program_timeout"], PROGRAM_TIMEOUT)
    return kind(
        SourceSettings(
            user=system_user(options["user"]),
            timeout=int(timeout.total_seconds()),
            path=options["path"],
            database=options["database"],
            stanza=options["stanza"],
            server=options["server"],
            config=options["config"],
            supabase_ref=options["supabase_ref"],
            supabase_token=options["supabase_token"],
            supabase_url=options["supabase_url"],
            wheels=wheels_of(options),
        )
    )


def wheels_of(options: dict[str, Any]) -> tuple[Wheel, ...]:
    return tuple(
        Wheel(wheel["name"], wheel["version"], tuple(wheel["majors"]), tuple(wheel["hashes"]))
        for wheel in options["wheels"]
    )
