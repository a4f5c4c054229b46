#!/usr/bin/python
# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: catalog_snapshot
short_description: Read everything in a database that a migration can change
version_added: 0.1.0
description:
  - Describes every object by name, without OIDs, in a fixed order, with a fingerprint for each and one over all. The
    same catalogs and roles give the same result, on any server of the same major version.
  - Kinds are schemas, relations, columns, types, constraints, indexes, triggers, rules, policies, functions, sequences,
    publications, extensions and the seldom ones, each with owner, privileges and comment. Members of extensions,
    temporary objects and the system's own are left out.
  - Beside them there are the database itself, every role that is not the system's with its memberships and settings,
    and privileges on the system's own objects where they are not what they were made. A snapshot of some schemas has
    none of these. Passwords are never read; of settings that an application made up and of foreign options there is a
    sum.
  - Large objects are left out, for they are rows of the application; so are tablespaces and what subscriptions connect
    to.
  - Reads in one transaction that cannot write, and waits for no lock longer than 500 ms. What the role may not read is
    in RV(unreadable), and never passed over.
author:
  - The pgops.rollback authors (@pgops)
options:
  rows:
    description: Whether rows are counted (V(exact), reads every table), estimated by the planner, or left out.
    type: str
    choices: [none, estimated, exact]
    default: estimated
  checksums:
    description: Whether each table's rows are hashed, too. Reads every row.
    type: bool
    default: false
  schemas:
    description: Only what is in these, by their names without quotes. By default everything.
    type: list
    elements: str
extends_documentation_fragment:
  - pgops.rollback.connection
  - pgops.rollback.attributes.read_only
seealso:
  - module: pgops.rollback.migration_baseline
"""

EXAMPLES = r"""
- name: Tell whether anything in the catalogs has changed
  pgops.rollback.catalog_snapshot:
    login_db: app
  register: now

- name: Show it
  ansible.builtin.debug:
    var: now.fingerprint
"""

RETURN = r"""
fingerprint:
  description: SHA-256 over all objects. Rows, and where sequences stand, are no part of it.
  returned: success
  type: str
counts:
  description: Number of objects of each kind.
  returned: success
  type: dict
  sample: {table: 9, column: 61}
unreadable:
  description: What could not be read, with C(kind), C(name) (V(*) for all of a kind) and C(reason).
  returned: success
  type: list
  elements: dict
snapshot:
  description:
    - The whole of it. C(objects) is a list of C(kind), C(name), C(schema), C(relation), C(attributes) and
      C(fingerprint). C(sequences) has C(last_value) and C(is_called) by name, C(rows) the row counts by table (null
      where unknown), C(rows_are) how they were found, C(checksums) the sums of the rows' hashes by table.
  returned: success
  type: dict
code:
  description:
    - Stable code of the error. V(lock_timeout), V(statement_timeout), V(catalog_changed), V(privilege_missing),
      V(object_unknown), V(connection_failed), V(connection_string), V(psycopg2_missing), V(version_unsupported),
      V(database_error), V(defect).
  returned: failure
  type: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.pgops.rollback.plugins.module_utils.catalog_snapshot import ROWS, read_snapshot
from ansible_collections.pgops.rollback.plugins.module_utils.connection import ServerInfo
from ansible_collections.pgops.rollback.plugins.module_utils.connections import Connections
from ansible_collections.pgops.rollback.plugins.module_utils.database_module import run_database_module

ARGUMENTS: dict[str, dict[str, Any]] = {
    "rows": {"type": "str", "choices": list(ROWS), "default": "estimated"},
    "checksums": {"type": "bool", "default": False},
    "schemas": {"type": "list", "elements": "str"},
}


def catalog_snapshot(connections: Connections, _server: ServerInfo, module: AnsibleModule) -> dict[str, Any]:
    snapshot = read_snapshot(connections.first, **{name: module.params[name] for name in ARGUMENTS})
    return {
        "changed": False,
        "fingerprint": snapshot.fingerprint,
        "counts": snapshot.counts(),
        "unreadable": snapshot.unreadable,
        "snapshot": snapshot.as_json(),
    }


def main() -> None:
    run_database_module(ARGUMENTS, catalog_snapshot)


if __name__ == "__main__":
    main()
