#!/usr/bin/python
# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: database_restore_plan
short_description: See what a full restore of a database would bring back and take away, before anything is touched
version_added: 0.1.0
description:
  - Of a restore it says which backup comes back, which rows and objects are lost by it, how long it takes, who is
    connected, what cannot be carried over, and what stands in the way; of an undo, what was written since; of a purge,
    which databases go for good.
  - The token stands for the plan without rows, sizes, sessions, blockers and warnings. It is the same as long as the
    same would be done.
  - Only reads, and takes no lock above ACCESS SHARE.
author:
  - The pgops.rollback authors (@pgops)
extends_documentation_fragment:
  - pgops.rollback.connection
  - pgops.rollback.attributes.read_only
  - pgops.rollback.restore_request
  - pgops.rollback.backup_source.wheels
  - pgops.rollback.evidence
options:
  action:
    description: What is planned.
    type: str
    choices: [restore, undo, purge]
    default: restore
seealso:
  - module: pgops.rollback.database_restore
  - module: pgops.rollback.backup_info
"""

EXAMPLES = r"""
- name: See what restoring last night's dump would take away
  pgops.rollback.database_restore_plan:
    login_db: app
    source: pg_dump
    path: /var/backups/app
    host: db1
    artifacts_dir: /var/lib/rollback
  register: result

- name: Show it
  ansible.builtin.debug:
    var: result.plan.lost
"""

RETURN = r"""
token:
  description: Confirms this plan and no other.
  returned: success
  type: str
  sample: rb-1f2e3d4c5b6a
status:
  description: V(refused) when there are blockers, else V(ok).
  returned: success
  type: str
plan:
  description: The plan, in a fixed order.
  returned: success
  type: dict
  contains:
    token:
      description: As RV(token).
      type: str
    action:
      description: As O(action).
      type: str
    database:
      description: Name of the live database.
      type: str
    backup:
      description:
        - Of a restore, C(id), C(source), C(location), C(database), C(finished), C(size_bytes), C(server_major) and
          C(content_manifest).
      type: dict
    comes_back:
      description: Of a restore, C(tables) and C(rows) of the backup; of an undo, the database that comes back.
      type: dict
    lost:
      description:
        - C(rows), a list with C(name) of each table that has other rows than C(then), has C(now) others, or was
          C(written) to; null when nobody knows. C(rows_since) and C(counted_since) say what those are of. C(objects)
          are in the live database and not in the backup.
      type: dict
    goes:
      description: Of a purge, the databases that go for good, with C(name), C(role), C(since) and C(bytes).
      type: list
      elements: dict
    sessions:
      description: Who is connected to the live database, with C(user), C(application) and C(sessions).
      type: list
      elements: dict
    time:
      description: How many C(seconds) it takes, by the rate C(of) the last restore drill.
      type: dict
    disk:
      description: Bytes C(needed) and C(free) on the server.
      type: dict
    not_carried_over:
      description: What the restored database does not get of the live one, in sentences.
      type: list
      elements: str
    others:
      description: Databases that earlier restores have set aside.
      type: list
      elements: dict
    blockers:
      description:
        - What stands in the way, each with C(code), C(message), C(remedy) and C(override), the variable that sets it
          aside, or null.
      type: list
      elements: dict
    warnings:
      description: What does not, in the same form.
      type: list
      elements: dict
    overrides:
      description: What was set aside, by its variable.
      type: dict
    nothing_to_do:
      description: Whether it was done already, or there is nothing it could be done with.
      type: bool
code:
  description:
    - Stable code of the error. V(restore_source_missing), V(backup_missing), V(backup_damaged), V(undo_none),
      V(maintenance_unreachable), V(pooler), V(database_changed), V(standby), V(baseline_foreign),
      V(baseline_unreadable), V(baseline_invalid), V(manifest_invalid), V(backup_path_missing),
      V(backup_path_unreadable), V(backup_path_relative), V(backup_source_incomplete), V(backup_unsupported),
      V(duration_invalid), V(connection_failed), V(connection_string), V(psycopg2_missing), V(version_unsupported),
      V(database_error), V(defect).
  returned: failure
  type: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.pgops.rollback.plugins.module_utils.connection import ServerInfo, require_primary
from ansible_collections.pgops.rollback.plugins.module_utils.connections import Connections
from ansible_collections.pgops.rollback.plugins.module_utils.database_module import run_database_module
from ansible_collections.pgops.rollback.plugins.module_utils.restore_live import live_database
from ansible_collections.pgops.rollback.plugins.module_utils.restore_plan import RESTORE, make_restore_plan, summary
from ansible_collections.pgops.rollback.plugins.module_utils.restore_request import (
    RESTORE_ARGUMENTS,
    login_of,
    restore_request,
)
from ansible_collections.pgops.rollback.plugins.module_utils.restore_undo import (
    PURGE,
    UNDO,
    make_purge_plan,
    make_undo_plan,
    purge_summary,
    undo_summary,
)

ARGUMENTS: dict[str, dict[str, Any]] = {
    **RESTORE_ARGUMENTS,
    "action": {"type": "str", "choices": [RESTORE, UNDO, PURGE], "default": RESTORE},
}


def database_restore_plan(connections: Connections, server: ServerInfo, module: AnsibleModule) -> dict[str, Any]:
    require_primary(server)
    options = module.params
    with live_database(login_of(options), server.database, options["maintenance_db"]) as live:
        if options["action"] == PURGE:
            plan, _marked = make_purge_plan(live)
            said = purge_summary(plan)
        elif options["action"] == UNDO:
            plan, _old = make_undo_plan(connections.first, live, options["artifacts_dir"], options["host"])
            said = undo_summary(plan)
        else:
            plan = make_restore_plan(connections.first, live, restore_request(options, server.database)).plan
            said = summary(plan)
    return {
        "changed": False,
        "token": plan["token"],
        "status": "refused" if plan["blockers"] else "ok",
        "plan": plan,
        "msg": said,
    }


def main() -> None:
    run_database_module(ARGUMENTS, database_restore_plan)


if __name__ == "__main__":
    main()
