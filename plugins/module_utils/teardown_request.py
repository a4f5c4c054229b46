# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of a module that plans a teardown, and the request that they make."""

from __future__ import annotations

from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.baseline import baseline_if_there
from ansible_collections.pgops.rollback.plugins.module_utils.blast_radius import (
    DROP,
    MODES,
    PURGE,
    QUARANTINE,
)
from ansible_collections.pgops.rollback.plugins.module_utils.connection import ServerInfo
from ansible_collections.pgops.rollback.plugins.module_utils.durations import parse_duration
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_plan import PlanRequest
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_provenance import Provenance
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_purge import purge_request
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_routines import parse_signature

PLAN_ARGUMENTS: dict[str, dict[str, Any]] = {
    "manifest": {"type": "dict", "required": True},
    "mode": {"type": "str", "choices": [QUARANTINE, DROP], "default": QUARANTINE},
    "baseline_before": {"type": "path"},
    "baseline_after": {"type": "path"},
    "records_dir": {"type": "path"},
    "require_backup": {"type": "bool", "default": True},
    "backup_max_age": {"type": "str", "default": "24h"},
    "lock_timeout": {"type": "str", "default": "500ms"},
    "allow_unknown_provenance": {"type": "bool", "default": False},
    "override_provenance": {"type": "list", "elements": "str", "default": []},
}

#: The same of a module that purges, too.
PURGE_ARGUMENTS: dict[str, dict[str, Any]] = {
    **PLAN_ARGUMENTS,
    "manifest": {"type": "dict"},
    "mode": {"type": "str", "choices": list(MODES), "default": QUARANTINE},
    "host": {"type": "str"},
    "artifacts_dir": {"type": "path"},
    "bundle": {"type": "path"},
}

#: What is needed of them in which mode.
PURGE_REQUIRED = [
    ("mode", QUARANTINE, ["manifest"]), ("mode", DROP, ["manifest"]), ("mode", PURGE, ["host", "artifacts_dir"]),
]  # fmt: skip


def plan_request(options: dict[str, Any], **more: Any) -> PlanRequest:
    """:param options: values of PLAN_ARGUMENTS.
    :param more: fields of PlanRequest that only some modules have an option for.
    :raises RollbackError: those of read_baseline() but for a missing one, ``duration_invalid``, ``name_invalid``.
    """
    return PlanRequest(
        manifest=options["manifest"],
        mode=options["mode"],
        provenance=Provenance(
            before=baseline_if_there(options["baseline_before"]),
            missing=options["baseline_before"] or "",
            after=baseline_if_there(options["baseline_after"]),
            allow_unknown=options["allow_unknown_provenance"],
            overridden=frozenset(parse_signature(name).text for name in options["override_provenance"]),
        ),
        backup_max_age=parse_duration(options["backup_max_age"], "teardown_backup_max_age"),
        **{name: options[name] for name in ("records_dir", "require_backup", "lock_timeout")},
        **more,
    )


def plan_or_purge(connection: Any, server: ServerInfo, options: dict[str, Any], **more: Any) -> PlanRequest:
    """:param connection: in autocommit mode; it is asked what is in quarantine.
    :param options: values of PURGE_ARGUMENTS; ``more`` as of plan_request().
    :raises RollbackError: those of plan_request() and purge_request().
    """
    request = plan_request(options, **more)
    if request.mode != PURGE:
        return request
    return purge_request(connection, server, request, *(options[name] for name in ("artifacts_dir", "host", "bundle")))
