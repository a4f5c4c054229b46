#!/usr/bin/python
# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: database_restore
short_description: Put a restored database in the place of the live one, as it was planned and confirmed
version_added: 0.1.0
description:
  - Makes the plan again and refuses what is not exactly what was confirmed.
  - V(restore) restores the backup into a new database beside the live one, gives it the live one's owner, privileges
    and settings, and compares it with what is known of the backup. Only then it takes the live one's name, in one
    transaction with the old one's renaming. The old database is kept, with all that was written since.
  - The sessions of the live database are ended at that moment; whoever connects meanwhile waits for less than a second.
  - Whenever it is ended or killed, the live name stands for the one or the other database, whole. The next run removes
    what one that was killed has left, or goes on with it.
  - V(undo) puts the old database back, and keeps the restored one. V(purge) drops what is kept.
author:
  - The pgops.rollback authors (@pgops)
extends_documentation_fragment:
  - pgops.rollback.connection
  - pgops.rollback.attributes
  - pgops.rollback.restore_request
  - pgops.rollback.backup_source.wheels
  - pgops.rollback.evidence
options:
  action:
    description: V(rehearse) does all that V(restore) does but the swap, and removes it again. It needs no token.
    type: str
    choices: [restore, rehearse, undo, purge]
    default: restore
  confirm:
    description: The token of the plan, or of all plans of O(batch) together.
    type: str
    required: true
  batch:
    description: The tokens of the plans that were shown, by the host's name in the inventory.
    type: dict
    required: true
  run_id:
    description: Name of the run.
    type: str
    required: true
  checks:
    description: Checks of a rollback manifest, which have to hold in the restored database before it is put in place.
    type: list
    elements: dict
    default: []
  jobs:
    description: Sessions that restore and look at once.
    type: int
    default: 2
  timeout:
    description: How long a client program may take, with C(s), C(m), C(h) or C(d).
    type: str
    default: 6h
  progress_file:
    description: The action plugin fills it in.
    type: path
attributes:
  diff_mode:
    support: none
seealso:
  - module: pgops.rollback.database_restore_plan
"""

EXAMPLES = r"""
- name: Restore last night's dump
  pgops.rollback.database_restore:
    login_db: app
    source: pg_dump
    path: /var/backups/app
    host: db1
    artifacts_dir: /var/lib/rollback
    run_id: 20261125T150000Z-1a2b
    confirm: rb-1f2e3d4c5b6a
    batch:
      db1: rb-1f2e3d4c5b6a
"""

RETURN = r"""
status:
  description: V(changed), or V(ok) when there was nothing to do or it was a rehearsal.
  returned: success
  type: str
token:
  description: Of the plan as it was then.
  returned: success
  type: str
plan:
  description: As M(pgops.rollback.database_restore_plan) returns it.
  returned: success
  type: dict
old_database:
  description: Under which name the database is kept that was live before.
  returned: when something was put in place
  type: str
downtime:
  description: Seconds in which nobody could connect, at the most.
  returned: when something was put in place
  type: float
sessions_ended:
  description: How many sessions were ended for it.
  returned: when something was put in place
  type: int
seconds:
  description: What each step took.
  returned: when something was restored
  type: dict
checks:
  description: What was looked at before the swap, with C(name), C(status), C(message) and C(seconds).
  returned: when something was restored
  type: list
  elements: dict
proved:
  description: What is certain of the restored database.
  returned: when something was restored
  type: str
not_proved:
  description: What is not.
  returned: when something was restored
  type: str
code:
  description:
    - Stable code of the error. V(confirmation_invalid), V(confirmation_foreign), V(confirmation_stale),
      V(restore_blocked), V(restore_running), V(backup_unfit), V(swap_refused), V(carry_over_incomplete),
      V(purge_incomplete), V(disk_full), V(program_timeout), V(program_missing), V(binaries_missing),
      V(wheel_install_failed), V(artifacts_dir_relative), V(unsafe_name), those of
      M(pgops.rollback.database_restore_plan).
  returned: failure
  type: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.pgops.rollback.plugins.module_utils.connection import ServerInfo, require_primary
from ansible_collections.pgops.rollback.plugins.module_utils.connections import Connections
from ansible_collections.pgops.rollback.plugins.module_utils.database_module import run_database_module
from ansible_collections.pgops.rollback.plugins.module_utils.dump import ended_by_signals
from ansible_collections.pgops.rollback.plugins.module_utils.progress import ProgressFile
from ansible_collections.pgops.rollback.plugins.module_utils.restore_apply import Order, rehearse, restore
from ansible_collections.pgops.rollback.plugins.module_utils.restore_live import live_database
from ansible_collections.pgops.rollback.plugins.module_utils.restore_plan import RESTORE
from ansible_collections.pgops.rollback.plugins.module_utils.restore_request import (
    RESTORE_ARGUMENTS,
    RUN_ARGUMENTS,
    login_of,
    restore_request,
)
from ansible_collections.pgops.rollback.plugins.module_utils.restore_undo import PURGE, UNDO, purge, undo

REHEARSE = "rehearse"

ARGUMENTS: dict[str, dict[str, Any]] = {
    **RESTORE_ARGUMENTS,
    **RUN_ARGUMENTS,
    "action": {"type": "str", "choices": [RESTORE, REHEARSE, UNDO, PURGE], "default": RESTORE},
}


def database_restore(connections: Connections, server: ServerInfo, module: AnsibleModule) -> dict[str, Any]:
    require_primary(server)
    options, check_mode = module.params, module.check_mode
    order = Order(
        batch={str(host): str(token) for host, token in options["batch"].items()},
        **{name: options[name] for name in ("host", "confirm", "artifacts_dir", "run_id")},
    )
    login = login_of(options)
    with ended_by_signals(), live_database(login, server.database, options["maintenance_db"]) as live:
        if options["action"] == PURGE:
            connections.close()
            return purge(live, order, check_mode)
        if options["action"] == UNDO:
            return undo(connections, live, order, check_mode)
        act = rehearse if options["action"] == REHEARSE else restore
        request = restore_request(options, server.database)
        return act(connections, live, request, order, check_mode, ProgressFile(options["progress_file"]))


def main() -> None:
    run_database_module(ARGUMENTS, database_restore)


if __name__ == "__main__":
    main()
