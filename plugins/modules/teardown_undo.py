#!/usr/bin/python
# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: teardown_undo
short_description: Bring back what a teardown took
version_added: 0.1.0
description:
  - Verifies the bundle. Out of quarantine, it finds the objects by their recorded OIDs and moves them to where they
    were and into their publications. After a drop, it makes them again from the bundle, with every row. After a purge,
    it does so in the quarantine, whose own undo brings them from there to where they were.
  - In one transaction, and it proves before the commit that catalogs, rows and sequences are what they were.
  - It destroys nothing and asks for no token. Whatever is in its way is named, and then nothing is done.
author:
  - The pgops.rollback authors (@pgops)
extends_documentation_fragment:
  - pgops.rollback.connection
  - pgops.rollback.attributes
  - pgops.rollback.evidence
options:
  bundle:
    description: Directory of the bundle. By default the newest of the host whose teardown was committed.
    type: path
  lock_timeout:
    description: How long one attempt waits for all its locks, with C(ms) or C(s), below C(deadlock_timeout).
    type: str
    default: 500ms
  timeout:
    description: How long one run of C(pg_restore) may take, with C(s), C(m), C(h) or C(d).
    type: str
    default: 1h
  bundle_decrypt:
    description: A program and its arguments that decrypt what standard input has to standard output. No shell runs it.
    type: list
    elements: str
    default: []
seealso:
  - module: pgops.rollback.teardown
"""

EXAMPLES = r"""
- name: Bring the newest teardown back
  pgops.rollback.teardown_undo:
    login_db: app
    host: db1
    artifacts_dir: /var/lib/rollback
"""

RETURN = r"""
status:
  description: V(changed), or V(ok) when it was undone already.
  returned: success
  type: str
bundle:
  description: Directory of the bundle.
  returned: success
  type: str
mode:
  description: What is undone, V(quarantine), V(drop) or V(purge).
  returned: success
  type: str
objects:
  description: How many objects are back.
  returned: success
  type: int
attempts:
  description: How many it took.
  returned: when something was done
  type: int
notes:
  description: What is not as it was and need not be, in sentences.
  returned: success
  type: list
  elements: str
code:
  description:
    - Stable code of the error. V(bundle_none), V(bundle_missing), V(bundle_incomplete), V(bundle_damaged),
      V(bundle_unknown), V(bundle_foreign), V(bundle_uncommitted), V(bundle_gone), V(undo_conflict), V(undo_refused),
      V(undo_unequal), V(bundle_expired), V(decryption_missing), V(decryption_failed),
      V(archive_damaged), V(program_timeout), V(binaries_missing), V(duration_invalid),
      V(lock_timeout), V(lock_timeout_invalid), V(statement_timeout), V(catalog_changed), V(artifacts_dir_relative),
      V(unsafe_name), V(standby), V(connection_failed), V(connection_string), V(psycopg2_missing),
      V(version_unsupported), V(database_error), V(defect).
  returned: failure
  type: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.pgops.rollback.plugins.module_utils.connection import ServerInfo, require_primary
from ansible_collections.pgops.rollback.plugins.module_utils.connections import Connections
from ansible_collections.pgops.rollback.plugins.module_utils.database_module import run_database_module
from ansible_collections.pgops.rollback.plugins.module_utils.durations import parse_duration
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_cipher import Cipher
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_undo import UndoRequest, undo

ARGUMENTS: dict[str, dict[str, Any]] = {
    "host": {"type": "str", "required": True},
    "artifacts_dir": {"type": "path", "required": True},
    "bundle": {"type": "path"},
    "lock_timeout": {"type": "str", "default": "500ms"},
    "timeout": {"type": "str", "default": "1h"},
    "bundle_decrypt": {"type": "list", "elements": "str", "default": []},
}


def teardown_undo(connections: Connections, server: ServerInfo, module: AnsibleModule) -> dict[str, Any]:
    require_primary(server)
    request = UndoRequest(
        timeout=parse_duration(module.params["timeout"], "teardown_timeout").total_seconds(),
        cipher=Cipher(decrypt=tuple(module.params["bundle_decrypt"])),
        **{name: module.params[name] for name in ("artifacts_dir", "host", "bundle", "lock_timeout")},
    )
    return undo(connections.first, server, request, module.check_mode)


def main() -> None:
    run_database_module(ARGUMENTS, teardown_undo)


if __name__ == "__main__":
    main()
