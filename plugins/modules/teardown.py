#!/usr/bin/python
# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: teardown
short_description: Take back what a migration created, once its plan was confirmed
version_added: 0.1.0
description:
  - Makes the plan of M(pgops.rollback.teardown_plan) again, first alone and then under its locks, and refuses unless it
    is the very plan that O(confirm) stands for. Then all of it is done in one transaction, or nothing.
  - For a V(drop), and for a V(purge) of what an earlier quarantine moved away, everything that goes is exported first
    with C(pg_dump), from the transaction's own snapshot. Before the commit it is proven that nothing else has gone, and
    that the bundle makes everything again.
  - Tables are locked in SHARE ROW EXCLUSIVE mode first, which lets readers and C(pg_dump) go on. An attempt that does
    not get all its locks within O(lock_timeout) rolls back entirely and lets everybody go on; after 20 attempts it
    gives up and names who stood in the way. No session is ended.
  - Before the commit the bundle for the undo is on disk. A run that was killed is told from the places of the recorded
    objects by the next one.
author:
  - The pgops.rollback authors (@pgops)
extends_documentation_fragment:
  - pgops.rollback.connection
  - pgops.rollback.attributes
  - pgops.rollback.teardown_request.purge
  - pgops.rollback.teardown_request
  - pgops.rollback.evidence
options:
  confirm:
    description:
      - The token of the plan, or of the batch that O(batch) is. The only way to have anything done.
    type: str
    required: true
  batch:
    description: Tokens of all plans that were confirmed together, by host; that of O(host) among them.
    type: dict
    required: true
  run_id:
    description: Name of the run, in whose directory the bundle is written.
    type: str
    required: true
  planned_rows:
    description: Rows of all tables when it was planned.
    type: int
  max_row_growth:
    description: Percent that there may be more rows by now.
    type: int
    default: 10
  timeout:
    description: How long one run of C(pg_dump) or C(pg_restore) may take, with C(s), C(m), C(h) or C(d).
    type: str
    default: 1h
  artifacts_persistent:
    description:
      - That O(artifacts_dir) outlives the execution environment this runs in. Without it nothing is dropped in one.
    type: bool
    default: false
  bundle_retention:
    description:
      - How long the bundle is to be kept, with C(s), C(m), C(h), C(d) or C(w). It records until when, and
        M(pgops.rollback.teardown_expire) removes it afterwards.
    type: str
    default: 30d
  bundle_encrypt:
    description:
      - A program and its arguments that read standard input and write standard output, and encrypt. With it the rows of
        a V(drop) are written to the disk encrypted only. No shell runs it, and its arguments are no place for secrets.
    type: list
    elements: str
    default: []
  bundle_decrypt:
    description:
      - The way back. With it, it is proven before the commit that what was encrypted can be decrypted.
    type: list
    elements: str
    default: []
seealso:
  - module: pgops.rollback.teardown_plan
  - module: pgops.rollback.teardown_undo
  - module: pgops.rollback.teardown_expire
"""

EXAMPLES = r"""
- name: Tear down what was planned
  pgops.rollback.teardown:
    login_db: app
    manifest: "{{ teardown_manifest }}"
    baseline_before: /var/lib/rollback/db1/baselines/coaching-before.json
    confirm: rb-1f2e3d4c5b6a
    batch:
      db1: rb-1f2e3d4c5b6a
    host: db1
    artifacts_dir: /var/lib/rollback
    run_id: 20261125T120000Z-1a2b

- name: The same, with the rows on the disk encrypted only
  pgops.rollback.teardown:
    login_db: app
    manifest: "{{ teardown_manifest }}"
    mode: drop
    confirm: rb-1f2e3d4c5b6a
    batch:
      db1: rb-1f2e3d4c5b6a
    host: db1
    artifacts_dir: /var/lib/rollback
    run_id: 20261125T120000Z-1a2b
    bundle_encrypt: [age, -R, /etc/rollback/recipients]
    bundle_decrypt: [age, -d, -i, /etc/rollback/key]
"""

RETURN = r"""
status:
  description: V(changed), or V(ok) where there was nothing to do.
  returned: success
  type: str
token:
  description: Of the plan as it was carried out.
  returned: success
  type: str
  sample: rb-1f2e3d4c5b6a
plan:
  description: As RV(pgops.rollback.teardown_plan#module:plan).
  returned: success
  type: dict
bundle:
  description: Directory with all that an undo needs.
  returned: when something was done
  type: str
keep_until:
  description: Until when it is to be kept, in UTC.
  returned: when something was done
  type: str
  sample: "2026-12-25T12:00:00Z"
encryption:
  description:
    - C(sha256) of the rows' archive before it was encrypted, and whether it was C(proven) that it can be decrypted.
      Null when it is not encrypted.
  returned: when something was dropped
  type: dict
schema:
  description: The quarantine.
  returned: when something was moved there
  type: str
attempts:
  description: How many it took.
  returned: when something was done
  type: int
exports:
  description: How often the rows were exported. Again where somebody had changed them between two attempts.
  returned: when something was dropped
  type: int
held_ms:
  description: Milliseconds from the first statement that keeps readers out to the commit.
  returned: when something was dropped
  type: int
broken:
  description: What is broken on surviving objects from then on, each with C(what), C(why) and C(remedy).
  returned: success
  type: list
  elements: dict
code:
  description:
    - Stable code of the error. V(confirmation_invalid), V(confirmation_foreign), V(confirmation_stale),
      V(teardown_blocked), V(rows_grown), V(quarantine_refused), V(history_refused), V(bundle_exists),
      V(artifacts_unwritable), V(artifacts_vanish), V(artifacts_dir_relative), V(unsafe_name), V(bundle_damaged),
      V(disk_full), V(not_exportable), V(privilege_missing), V(row_security), V(dump_failed), V(program_timeout),
      V(archive_damaged), V(export_differs), V(drop_refused), V(drop_took_more), V(undo_impossible),
      V(binaries_missing), V(pooler), V(encryption_failed), V(decryption_failed), those of
      M(pgops.rollback.teardown_plan).
  returned: failure
  type: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.pgops.rollback.plugins.module_utils.connection import ServerInfo
from ansible_collections.pgops.rollback.plugins.module_utils.connections import Connections
from ansible_collections.pgops.rollback.plugins.module_utils.database_module import run_database_module
from ansible_collections.pgops.rollback.plugins.module_utils.durations import parse_duration
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_apply import Order, tear_down
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_cipher import Cipher
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_request import (
    PURGE_ARGUMENTS,
    PURGE_REQUIRED,
    plan_or_purge,
)

ARGUMENTS: dict[str, dict[str, Any]] = {
    **PURGE_ARGUMENTS,
    "confirm": {"type": "str", "required": True},
    "batch": {"type": "dict", "required": True},
    "host": {"type": "str", "required": True},
    "artifacts_dir": {"type": "path", "required": True},
    "run_id": {"type": "str", "required": True},
    "planned_rows": {"type": "int"},
    "max_row_growth": {"type": "int", "default": 10},
    "timeout": {"type": "str", "default": "1h"},
    "artifacts_persistent": {"type": "bool", "default": False},
    "bundle_retention": {"type": "str", "default": "30d"},
    "bundle_encrypt": {"type": "list", "elements": "str", "default": []},
    "bundle_decrypt": {"type": "list", "elements": "str", "default": []},
}


def teardown(connections: Connections, server: ServerInfo, module: AnsibleModule) -> dict[str, Any]:
    options = module.params
    order = Order(
        plan_or_purge(connections.first, server, options),
        timeout=parse_duration(options["timeout"], "teardown_timeout").total_seconds(),
        artifacts_last=options["artifacts_persistent"],
        retention=parse_duration(options["bundle_retention"], "teardown_bundle_retention"),
        cipher=Cipher(tuple(options["bundle_encrypt"]), tuple(options["bundle_decrypt"])),
        batch={str(host): str(token) for host, token in options["batch"].items()},
        **{name: options[name] for name in (
            "host", "confirm", "artifacts_dir", "run_id", "planned_rows", "max_row_growth",
        )},
    )  # fmt: skip
    return tear_down(connections.first, server, order, module.check_mode)


def main() -> None:
    run_database_module(ARGUMENTS, teardown, required_if=PURGE_REQUIRED)


if __name__ == "__main__":
    main()
