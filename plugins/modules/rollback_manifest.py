#!/usr/bin/python
# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: rollback_manifest
short_description: Make the rollback manifest of a migration from its two baselines
version_added: 0.1.0
description:
  - Compares the baseline before the migration with the one after it, and writes what the migration created (may be torn
    down), altered (with the definition before), renamed or moved to another schema, and found (protected) to
    C(<artifacts_dir>/<host>/baselines/<migration>-manifest.json).
  - The row that came into Supabase's migration history between the two, if it is exactly one, is named as C(history).
  - Connects to no database. A manifest that was edited is not overwritten.
author:
  - The pgops.rollback authors (@pgops)
options:
  migration:
    description: Name of the migration.
    type: str
    required: true
  artifacts_dir:
    description: Absolute path of the directory with what all hosts left behind.
    type: path
    required: true
  host:
    description: Name of the host in the inventory.
    type: str
    required: true
attributes:
  check_mode:
    description: Says what the manifest would hold, and writes no file.
    support: full
  diff_mode:
    description: The result is itself a difference.
    support: N/A
  idempotent:
    description: A manifest is evidence, so it never reports a change.
    support: full
extends_documentation_fragment:
  - pgops.rollback.attributes
seealso:
  - module: pgops.rollback.migration_baseline
"""

EXAMPLES = r"""
- name: Write down what the coaching migration created
  pgops.rollback.rollback_manifest:
    migration: coaching
    artifacts_dir: /var/lib/rollback
    host: "{{ inventory_hostname }}"
"""

RETURN = r"""
path:
  description: The manifest's file, for C(rollback_manifest).
  returned: success
  type: str
manifest:
  description:
    - Its content, but for what is protected. C(tables), C(functions) and C(sequences) are names of what was created,
      C(created) all of it with C(kind) and C(name), C(altered) and C(dropped) what was there, as it was before.
      C(renamed) has C(kind), C(name) and C(before) of what was there under another name; it is protected, and in none
      of the others.
  returned: success
  type: dict
code:
  description:
    - Stable code of the error. V(baseline_missing), V(baseline_unreadable), V(baseline_invalid), V(baseline_foreign),
      V(baselines_unfit), V(manifest_exists), V(unsafe_name), V(artifacts_dir_relative), V(artifacts_unwritable),
      V(defect).
  returned: failure
  type: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.pgops.rollback.plugins.module_utils.baseline import (
    baseline_path,
    manifest_file,
    read_baseline,
)
from ansible_collections.pgops.rollback.plugins.module_utils.database_module import run_module
from ansible_collections.pgops.rollback.plugins.module_utils.rollback_manifest import make_manifest, write_manifest

ARGUMENTS: dict[str, dict[str, Any]] = {
    "migration": {"type": "str", "required": True},
    "artifacts_dir": {"type": "path", "required": True},
    "host": {"type": "str", "required": True},
}


def rollback_manifest(module: AnsibleModule) -> dict[str, Any]:
    where = (module.params["artifacts_dir"], module.params["host"], module.params["migration"])
    before, after = (read_baseline(baseline_path(*where, moment)) for moment in ("before", "after"))
    manifest = make_manifest(before, after)
    path = manifest_file(*where)
    if not module.check_mode:
        write_manifest(path, manifest)
    numbers = {word: len(manifest[word]) for word in ("created", "altered", "dropped", "renamed", "protected")}
    return {
        "changed": False,
        "path": str(path),
        "manifest": {name: value for name, value in manifest.items() if name != "protected"},
        "status": "degraded" if manifest["not_compared"] else "ok",
        "msg": f"{', '.join(f'{number} {word}' for word, number in numbers.items())}: {path.name}.",
    }


def main() -> None:
    run_module(ARGUMENTS, rollback_manifest)


if __name__ == "__main__":
    main()
