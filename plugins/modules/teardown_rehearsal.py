#!/usr/bin/python
# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: teardown_rehearsal
short_description: See a teardown, and its undo, succeed or fail on a restored backup before it is done
version_added: 0.1.0
description:
  - Restores the newest complete backup into a disposable server that listens on a private unix socket only. There it
    makes the plan, tears down, verifies, undoes and verifies again, and then removes all of it.
  - The live database is only read, once and before anything else, for its name, its release, its owner, and what the
    connected role may do. Nothing that acts is given a way to connect to it, so no token is asked for.
  - What stands in the way and could be set aside by a variable is told, and set aside in the copy alone.
  - Verification is judged by what it finds after the teardown and had not found before.
  - Event triggers of the copy fire as they would in the live database.
author:
  - The pgops.rollback authors (@pgops)
extends_documentation_fragment:
  - pgops.rollback.connection
  - pgops.rollback.backup_source
  - pgops.rollback.backup_source.wheels
  - pgops.rollback.teardown_request.manifest
  - pgops.rollback.teardown_request
  - pgops.rollback.attributes
  - pgops.rollback.verification_pairs
options:
  drill_directory:
    description:
      - Existing directory to work in, with room for the restored database. The server's user must be able to pass
        through it. By default the place of disposable clusters in C(/tmp).
    type: path
  drill_jobs:
    description: Sessions that restore at once.
    type: int
    default: 2
  drill_timeout:
    description: How long all of it may take. Looked at between the steps.
    type: str
    default: 6h
  superuser:
    description: Bootstrap superuser of the cluster in a physical backup.
    type: str
    default: postgres
  count_rows:
    description: Whether verification counts rows where the baseline has exact counts.
    type: bool
    default: true
  statement_timeout:
    description: How long one statement of the verification may take.
    type: str
    default: 30s
  progress_file:
    description: The action plugin fills it in.
    type: path
attributes:
  check_mode:
    description: Finds the backup, says what would be restored, and restores nothing.
    support: full
  diff_mode:
    description: Changes nothing, so there is nothing to show a difference of.
    support: N/A
  idempotent:
    description: Changes nothing.
    support: full
seealso:
  - module: pgops.rollback.teardown_plan
  - module: pgops.rollback.teardown
  - module: pgops.rollback.backup_verify
"""

EXAMPLES = r"""
- name: Rehearse the teardown on last night's dump
  pgops.rollback.teardown_rehearsal:
    login_db: app
    source: pg_dump
    path: /var/backups/app
    manifest: "{{ teardown_manifest }}"
    mode: drop
    baseline_before: /var/lib/rollback/db1/baselines/coaching-before.json
"""

RETURN = r"""
status:
  description:
    - V(ok) when all of it works. V(degraded) when it works, but the live database would refuse it, or verification
      would find fault with something. V(refused) when it could not be rehearsed. V(failed) when a step failed.
  returned: always
  type: str
checks:
  description:
    - What was done, each with C(name), C(status) (V(passed), V(degraded), V(skipped) or V(failed)), C(message),
      C(seconds), C(objects) (C(name) and C(problem) of each that something is wrong with) and C(fix).
    - C(restore), C(plan), C(look) (verification before), C(teardown), C(verify), C(undo) and C(verify_undo), and of
      the disposable server C(isolated) and C(cleanup).
  returned: when it was begun
  type: list
  elements: dict
timings:
  description: Seconds of each step that was reached.
  returned: when it was begun
  type: dict
seconds:
  description: Of all of it.
  returned: when it was begun
  type: float
backup:
  description: The backup it was done with, as in M(pgops.rollback.backup_info).
  returned: always
  type: dict
mode:
  description: As O(mode).
  returned: when it was begun
  type: str
postgres:
  description: Version of the copy.
  returned: when it was begun
  type: str
objects:
  description: How many go.
  returned: when it was begun
  type: int
rows:
  description: Of all tables that go, in the backup.
  returned: when it was begun
  type: int
blockers:
  description: What stands in the way, as C(blockers) in RV(pgops.rollback.teardown_plan#module:plan).
  returned: when it was begun
  type: list
  elements: dict
would_break:
  description: What would be broken on surviving objects, each with C(what), C(why) and C(remedy).
  returned: when it was begun
  type: list
  elements: dict
proved:
  description: What is certain now; empty when nothing is.
  returned: when it was begun
  type: str
not_rehearsed:
  description: What the live database has and the copy has not, so that nothing is known of it.
  returned: when it was begun
  type: list
  elements: str
not_proved:
  description: The same in one text.
  returned: when it was begun
  type: str
code:
  description:
    - Stable code of the error. V(rehearsal_impossible), V(rehearsal_blocked), V(nothing_to_rehearse),
      V(backup_none), V(restore_failed), V(drill_timeout), V(disk_full), V(baseline_foreign), those of
      M(pgops.rollback.backup_info), M(pgops.rollback.teardown) and M(pgops.rollback.teardown_undo).
  returned: when something failed or was refused
  type: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.pgops.rollback.plugins.module_utils.backup_ladder import select
from ansible_collections.pgops.rollback.plugins.module_utils.backup_sources import (
    SOURCE_ARGUMENTS,
    SOURCES,
    open_source,
    wheels_of,
    with_token,
)
from ansible_collections.pgops.rollback.plugins.module_utils.connection import (
    CONNECTION_ARGUMENTS,
    connect,
    require_supported,
    server_info,
)
from ansible_collections.pgops.rollback.plugins.module_utils.database_module import run_module
from ansible_collections.pgops.rollback.plugins.module_utils.drill_options import DrillOptions
from ansible_collections.pgops.rollback.plugins.module_utils.dump import ended_by_signals
from ansible_collections.pgops.rollback.plugins.module_utils.durations import parse_duration
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.live_database import LiveDatabase, read_live_database
from ansible_collections.pgops.rollback.plugins.module_utils.progress import ProgressFile
from ansible_collections.pgops.rollback.plugins.module_utils.rehearsal_verification import Verifying
from ansible_collections.pgops.rollback.plugins.module_utils.system_user import system_user
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_rehearsal import (
    Rehearsal,
    rehearse,
    require_restorable,
)
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_request import PLAN_ARGUMENTS, plan_request
from ansible_collections.pgops.rollback.plugins.module_utils.verification_pairs import PAIR_ARGUMENTS

ARGUMENTS: dict[str, dict[str, Any]] = {
    **CONNECTION_ARGUMENTS,
    **SOURCE_ARGUMENTS,
    **PLAN_ARGUMENTS,
    "drill_directory": {"type": "path"},
    "drill_jobs": {"type": "int", "default": 2},
    "drill_timeout": {"type": "str", "default": "6h"},
    "superuser": {"type": "str", "default": "postgres"},
    "pairs": {"type": "list", "elements": "dict", "default": [], "options": PAIR_ARGUMENTS},
    "count_rows": {"type": "bool", "default": True},
    "statement_timeout": {"type": "str", "default": "30s"},
    "progress_file": {"type": "path"},
}


def teardown_rehearsal(module: AnsibleModule) -> dict[str, Any]:
    options = with_token(module.params)
    require_restorable(SOURCES[options["source"]])
    progress = ProgressFile(options["progress_file"])
    statement_timeout = parse_duration(options["statement_timeout"], "statement_timeout")
    drilling = DrillOptions(
        user=system_user(options["user"]),
        directory=options["drill_directory"],
        jobs=max(1, options["drill_jobs"]),
        timeout=int(parse_duration(options["drill_timeout"], "backup_verification_drill_timeout").total_seconds()),
        wheels=wheels_of(options),
        superuser=options["superuser"],
    )
    request = plan_request(options)
    live = _live_database(options)
    source = open_source({**options, "database": options["database"] or live.name})
    progress("listing the backups", None)
    backup, rung = select(source, source.backups())
    if backup is None:
        raise RollbackError("backup_none", rung.message, "Nothing was rehearsed.")
    if module.check_mode:
        return {
            "changed": False, "status": "skipped", "backup": backup.as_result(),
            "msg": f"Check mode: {backup.id} would be restored into a disposable server, and the teardown tried there.",
        }  # fmt: skip
    verifying = Verifying(
        manifest=options["manifest"],
        pairs=options["pairs"],
        count_rows=options["count_rows"],
        statement_timeout=max(1, int(statement_timeout.total_seconds() * 1000)),
    )
    with ended_by_signals():
        return rehearse(source, backup, Rehearsal(live, request, verifying, drilling), progress)


def _live_database(options: dict[str, Any]) -> LiveDatabase:
    """All that is read of it; the connection is closed then."""
    connection = connect(options)
    try:
        server = server_info(connection)
        require_supported(server)
        return read_live_database(connection, server)
    finally:
        connection.close()


def main() -> None:
    run_module(ARGUMENTS, teardown_rehearsal)


if __name__ == "__main__":
    main()
