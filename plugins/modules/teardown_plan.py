#!/usr/bin/python
# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: teardown_plan
short_description: See everything that tearing down a migration would take, before anything is touched
version_added: 0.1.0
description:
  - Resolves a rollback manifest against the catalogs and says what goes, what goes with it or breaks elsewhere on
    objects that survive, where manifest and database differ, and what stands in the way.
  - What V(drop) would take is what C(DROP … CASCADE) takes, found in C(pg_depend) without dropping anything. Functions
    whose body is text are not in there. They are read, and what names something that goes is told with its line.
  - The token stands for the plan without rows, sizes, backup, blockers and warnings. It is the same as long as the same
    would be done, also in a restored copy of the database that has the same name.
  - V(purge) plans the drop of what an earlier quarantine moved away. Nothing in quarantine is nothing to do.
  - Reads in one transaction that cannot write, waits for no lock longer than 500 ms and takes none above ACCESS SHARE.
author:
  - The pgops.rollback authors (@pgops)
extends_documentation_fragment:
  - pgops.rollback.connection
  - pgops.rollback.attributes.read_only
  - pgops.rollback.teardown_request.purge
  - pgops.rollback.teardown_request
options:
  count_rows:
    description: Whether rows are counted, for 10 seconds at the most. Otherwise the planner's estimates are given.
    type: bool
    default: true
  pg_dump_version:
    description: Version of the pg_dump that is going to export what is dropped. By default one is looked for.
    type: str
  host:
    description: Name of the database in the inventory, under which V(purge) looks for bundles.
    type: str
  artifacts_dir:
    description: Absolute path of the directory with what all hosts left behind, for V(purge).
    type: path
seealso:
  - module: pgops.rollback.rollback_manifest
  - module: pgops.rollback.migration_baseline
"""

EXAMPLES = r"""
- name: See what dropping the coaching tables would take
  pgops.rollback.teardown_plan:
    login_db: app
    mode: drop
    manifest:
      name: coaching
      tables: [public.sponsor_connections, public.sponsor_chat_messages]
      functions: ["public.create_coach_connection(uuid, uuid)"]
    baseline_before: /var/lib/rollback/db1/baselines/coaching-before.json
  register: result

- name: Show what it would do to surviving objects
  ansible.builtin.debug:
    var: result.plan.survivors
"""

RETURN = r"""
token:
  description: Confirms this plan and no other.
  returned: success
  type: str
  sample: rb-1f2e3d4c5b6a
nothing_to_do:
  description: Whether the database has nothing of what the manifest names.
  returned: success
  type: bool
status:
  description: V(refused) when there are blockers, else V(ok), also with warnings.
  returned: success
  type: str
plan:
  description: The plan. It has no OID and no time of its own in it, and is in a fixed order.
  returned: success
  type: dict
  contains:
    token:
      description: As RV(token).
      type: str
    mode:
      description: As O(mode).
      type: str
    database:
      description: Name of the database.
      type: str
    manifest:
      description: C(name), C(tables), C(functions) and C(sequences) of the manifest.
      type: dict
    objects:
      description:
        - What goes, each with C(kind), C(name), C(owner), C(privileges), C(definition_sha256), C(rows), C(rows_are)
          (V(exact), V(estimated) or V(unknown)) and C(bytes). C(named) tells whether the manifest names it, C(through)
          of which table it is a part otherwise.
      type: list
      elements: dict
    history:
      description:
        - The row that goes by which a deployment tool knows the migration, with C(table), C(column) and C(value); null
          where none does.
      type: dict
    dependents:
      description:
        - Views, functions and so on that go with it as a whole, each with C(kind), C(name), C(on), C(effect), C(owner),
          C(detail), C(recreatable) and C(obstacle) (why this role could not make it again), C(definition), C(uses) (the
          labels of what it depends on) and C(line).
      type: list
      elements: dict
    survivors:
      description:
        - What happens on objects that survive, in the same form. C(effect) is V(dropped), V(breaks) (fails from then
          on), V(possible) (may fail, or may refuse the teardown) or V(remains) (still reaches what is in quarantine).
      type: list
      elements: dict
    drift:
      description:
        - C(kind), C(name), C(problem) (V(missing), V(overload), V(not_in_manifest) or V(left_over)) and C(detail).
      type: list
      elements: dict
    rows:
      description: C(total) of all tables, null if unknown, and whether it is C(exact).
      type: dict
    disk:
      description: C(bytes) and C(seconds) that the export of a drop takes at the most.
      type: dict
    backup:
      description: The last restore drill, with C(id), C(finished), C(verdict), C(missing_extensions) and C(problem).
      type: dict
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
code:
  description:
    - Stable code of the error. V(manifest_invalid), V(manifest_unreadable), V(manifest_empty), V(name_invalid),
      V(system_schema), V(object_twice), V(object_kind), V(object_ambiguous), V(object_required), V(history_ambiguous),
      V(bundle_missing), V(bundle_incomplete), V(bundle_damaged), V(bundle_unknown), V(bundle_foreign), V(bundle_unfit),
      V(artifacts_dir_relative), V(unsafe_name), V(baseline_unreadable), V(baseline_invalid), V(baseline_foreign),
      V(baselines_unfit), V(lock_timeout_invalid), V(duration_invalid), V(version_invalid), V(lock_timeout),
      V(statement_timeout), V(catalog_changed), V(connection_failed), V(connection_string), V(psycopg2_missing),
      V(version_unsupported), V(database_error), V(defect).
  returned: failure
  type: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.pgops.rollback.plugins.module_utils.connection import ServerInfo
from ansible_collections.pgops.rollback.plugins.module_utils.connections import Connections
from ansible_collections.pgops.rollback.plugins.module_utils.database_module import run_database_module
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_plan import make_plan, summary
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_request import (
    PURGE_ARGUMENTS,
    PURGE_REQUIRED,
    plan_or_purge,
)

ARGUMENTS: dict[str, dict[str, Any]] = {
    **PURGE_ARGUMENTS,
    "count_rows": {"type": "bool", "default": True},
    "pg_dump_version": {"type": "str"},
}


def teardown_plan(connections: Connections, server: ServerInfo, module: AnsibleModule) -> dict[str, Any]:
    options = module.params
    request = plan_or_purge(
        connections.first, server, options,
        **{name: options[name] for name in ("count_rows", "pg_dump_version")},
    )  # fmt: skip
    plan = make_plan(connections.first, server, request).plan
    return {
        "changed": False,
        "token": plan["token"],
        "nothing_to_do": not plan["objects"],
        "status": "refused" if plan["blockers"] else "ok",
        "plan": plan,
        "msg": summary(plan),
    }


def main() -> None:
    run_database_module(ARGUMENTS, teardown_plan, required_if=PURGE_REQUIRED)


if __name__ == "__main__":
    main()
