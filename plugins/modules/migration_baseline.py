#!/usr/bin/python
# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: migration_baseline
short_description: Keep what is in a database before a migration, or after it
version_added: 0.1.0
description:
  - Takes a catalog snapshot (see M(pgops.rollback.catalog_snapshot)) and keeps it, together with the counters of rows
    written, the record of the last restore drill, and who took it when, in
    C(<artifacts_dir>/<host>/baselines/<migration>-<moment>.json).
  - A baseline is written once, and never overwritten. Its directory has mode 0700, the file 0600.
  - Writes nothing to the database.
author:
  - The pgops.rollback authors (@pgops)
options:
  migration:
    description: Name of the migration. Letters, digits, dots, dashes and underscores, at most 128.
    type: str
    required: true
  moment:
    description: Whether the migration is still to come.
    type: str
    choices: [before, after]
    default: before
  artifacts_dir:
    description: Absolute path of the directory for what all hosts leave behind.
    type: path
    required: true
  host:
    description: Name of the host in the inventory.
    type: str
    required: true
  operator:
    description: Who takes it.
    type: str
    default: unknown
  rows:
    description: Whether rows are counted (V(exact), reads every table), estimated by the planner, or left out.
    type: str
    choices: [none, estimated, exact]
    default: exact
  checksums:
    description: Whether each table's rows are hashed, too. Reads every row.
    type: bool
    default: false
  schemas:
    description: Only these, by their names without quotes. By default all but the system's.
    type: list
    elements: str
  records_dir:
    description: Directory with the records of backup verifications. Without it no backup is looked for.
    type: path
  backup_max_age:
    description: How old the last restore drill may be, with C(s), C(m), C(h), C(d) or C(w).
    type: str
    default: 24h
attributes:
  check_mode:
    description: Reads everything, says what would be kept, and writes no file.
    support: full
  diff_mode:
    description: A baseline is new, so there is nothing to show a difference of.
    support: N/A
  idempotent:
    description: A second baseline of the same name is refused.
    support: none
extends_documentation_fragment:
  - pgops.rollback.connection
  - pgops.rollback.attributes
seealso:
  - module: pgops.rollback.catalog_snapshot
  - module: pgops.rollback.rollback_manifest
"""

EXAMPLES = r"""
- name: Keep what is there before the coaching migration
  pgops.rollback.migration_baseline:
    login_db: app
    migration: coaching
    artifacts_dir: /var/lib/rollback
    host: "{{ inventory_hostname }}"
"""

RETURN = r"""
path:
  description: The baseline's file.
  returned: success
  type: str
fingerprint:
  description: SHA-256 over all objects; the same as long as the catalogs are.
  returned: success
  type: str
counts:
  description: Number of objects of each kind.
  returned: success
  type: dict
  sample: {table: 9, column: 61}
unreadable:
  description: What could not be read, with C(kind), C(name) and C(reason).
  returned: success
  type: list
  elements: dict
taken_at:
  description: When, UTC in ISO 8601.
  returned: success
  type: str
backup:
  description: Identifier of the backup that the last restore drill restored, or null.
  returned: success
  type: str
status:
  description: V(ok), or V(degraded) when something could not be read or the verified backup is missing.
  returned: success
  type: str
code:
  description:
    - Stable code of the error. V(baseline_exists), V(unsafe_name), V(artifacts_dir_relative), V(artifacts_unwritable),
      V(lock_timeout), V(statement_timeout), V(catalog_changed), V(privilege_missing), V(object_unknown),
      V(duration_invalid), V(connection_failed), V(connection_string), V(psycopg2_missing), V(version_unsupported),
      V(database_error), V(defect).
  returned: failure
  type: str
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.pgops.rollback.plugins.module_utils.backup_records import latest_drill
from ansible_collections.pgops.rollback.plugins.module_utils.baseline import (
    MOMENTS,
    Baseline,
    baseline_path,
    require_new,
    write_baseline,
)
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_snapshot import ROWS, read_snapshot
from ansible_collections.pgops.rollback.plugins.module_utils.connection import ServerInfo
from ansible_collections.pgops.rollback.plugins.module_utils.connections import Connections
from ansible_collections.pgops.rollback.plugins.module_utils.database_module import run_database_module
from ansible_collections.pgops.rollback.plugins.module_utils.durations import parse_duration
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.table_writes import read_table_writes
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_history import read_versions
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_plan import reading
from ansible_collections.pgops.rollback.plugins.module_utils.verification_activity import read_activity

ARGUMENTS: dict[str, dict[str, Any]] = {
    "migration": {"type": "str", "required": True},
    "moment": {"type": "str", "choices": list(MOMENTS), "default": "before"},
    "artifacts_dir": {"type": "path", "required": True},
    "host": {"type": "str", "required": True},
    "operator": {"type": "str", "default": "unknown"},
    "rows": {"type": "str", "choices": list(ROWS), "default": "exact"},
    "checksums": {"type": "bool", "default": False},
    "schemas": {"type": "list", "elements": "str"},
    "records_dir": {"type": "path"},
    "backup_max_age": {"type": "str", "default": "24h"},
}


def migration_baseline(connections: Connections, server: ServerInfo, module: AnsibleModule) -> dict[str, Any]:
    options = module.params
    path = baseline_path(options["artifacts_dir"], options["host"], options["migration"], options["moment"])
    require_new(path, options["migration"], options["moment"])
    backup, note = _proof_of_backup(options)
    with connections.first.cursor() as cursor:
        # Before the snapshot: what is written meanwhile then counts as written since, never as lost.
        writes, activity = read_table_writes(cursor), read_activity(cursor)
    with reading(connections.first) as cursor:
        history = read_versions(cursor)
    snapshot = read_snapshot(connections.first, options["rows"], options["checksums"], options["schemas"])
    baseline = Baseline(
        migration=options["migration"], moment=options["moment"], host=options["host"], operator=options["operator"],
        snapshot=snapshot, writes=writes, activity=activity, backup=backup, backup_note=note,
        history=history,
    )  # fmt: skip
    if not module.check_mode:
        write_baseline(path, baseline)
    return _result(path, baseline, written=not module.check_mode, backup_wanted=options["records_dir"] is not None)


def _proof_of_backup(options: dict[str, Any]) -> tuple[dict[str, Any] | None, str]:
    if options["records_dir"] is None:
        return None, "no backup is configured"
    max_age = parse_duration(options["backup_max_age"], "backup_verification_max_age")
    try:
        return latest_drill(Path(options["records_dir"]), max_age, datetime.now(UTC)), ""
    except RollbackError as error:
        return None, str(error)


def _result(path: Path, baseline: Baseline, written: bool, backup_wanted: bool) -> dict[str, Any]:
    snapshot = baseline.snapshot
    counts = snapshot.counts()
    backup = baseline.backup["backup"]["id"] if baseline.backup else None
    notes = [f"{sum(counts.values()):,} objects {'kept' if written else 'would be kept'} in {path.name}."]
    if snapshot.unreadable:
        notes.append(f"{len(snapshot.unreadable)} could not be read, first {_named(snapshot.unreadable[0])}.")
    if backup:
        notes.append(f"The last restore drill restored {backup}.")
    else:
        notes.append(f"No verified backup: {baseline.backup_note.rstrip('.')}.")
    return {
        "changed": False,
        "path": str(path),
        "fingerprint": snapshot.fingerprint,
        "counts": counts,
        "unreadable": snapshot.unreadable,
        "taken_at": snapshot.taken_at,
        "backup": backup,
        "status": "degraded" if snapshot.unreadable or (backup_wanted and not backup) else "ok",
        "msg": " ".join(notes),
    }


def _named(unreadable: dict[str, str]) -> str:
    return f"{unreadable['kind']} {unreadable['name']} ({unreadable['reason']})"


def main() -> None:
    run_database_module(ARGUMENTS, migration_baseline)


if __name__ == "__main__":
    main()
