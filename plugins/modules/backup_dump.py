#!/usr/bin/python
# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_dump
author: The pgops.rollback authors (@pgops)
version_added: 0.1.0
short_description: Dump a database together with a manifest of what is in the dump
description:
  - Runs C(pg_dump) on a whole database and writes beside the dump, as C(<dump>.manifest.json), what the dump holds. For
    each table there are an exact row count and a hash of its rows, taken in the very snapshot that C(pg_dump) reads.
    Further the SHA-256 sums of the files, where the sequences stand, and the names of all objects.
  - A drill that restores the dump compares with the manifest, and so finds a single wrong bit that every other check
    passes.
  - Both files are there in the end, or neither is. They are readable by their owner only.
  - Tables are locked against being dropped or rewritten (ACCESS SHARE), as C(pg_dump) does. Reading and writing go on.
  - After C(pg_dump) the tables are read once more, in the same snapshot, by two sessions where there is much to read.
    That takes about a second for a million small rows.
extends_documentation_fragment:
  - pgops.rollback.connection
  - pgops.rollback.attributes
attributes:
  idempotent:
    support: none
    description: A dump that exists is never replaced; a second run with the same path fails.
options:
  path:
    description:
      - Absolute path of the file, or with O(format=directory) of the directory, on the host that runs the module.
      - It must not exist, the directory it is in must.
    type: path
    required: true
  format:
    description: As C(pg_dump --format).
    type: str
    choices: [custom, directory, plain, tar]
    default: custom
  jobs:
    description: How many sessions C(pg_dump) uses with O(format=directory).
    type: int
    default: 1
  compress:
    description: As C(pg_dump --compress), for example V(0), V(9) or, from Postgres 16 on, V(zstd:3).
    type: str
  lock_timeout:
    description:
      - How long an attempt waits for a table that is locked against reading, with C(ms) or C(s). There are 8 attempts.
      - Must be above zero and below the server's C(deadlock_timeout) (1 s unless configured).
    type: str
    default: 500ms
  timeout:
    description: How long C(pg_dump) may take, with C(s), C(m), C(h) or C(d). Then it is ended.
    type: str
    default: 12h
notes:
  - Needs C(pg_dump) of the server's release or a newer one on the host that runs the module.
  - Needs the right to read everything (C(pg_read_all_data)), and BYPASSRLS where policies would hide rows. What is
    missing is named.
  - A transaction-mode pooler is refused; a standby is not.
seealso:
  - module: pgops.rollback.database_info
"""

EXAMPLES = r"""
- name: Dump before a migration
  pgops.rollback.backup_dump:
    login_db: app
    path: /var/backups/app/before-2026-11-24.dump

- name: Dump a large database with four sessions
  pgops.rollback.backup_dump:
    login_db: app
    path: /var/backups/app/before-2026-11-24
    format: directory
    jobs: 4
"""

RETURN = r"""
summary:
  description: What was done, in one sentence.
  type: str
  returned: success
path:
  description: The dump.
  type: str
  returned: success
manifest_path:
  description: Its content manifest.
  type: str
  returned: success
tables:
  description: How many tables are in it.
  type: int
  returned: success
rows:
  description: How many rows the tables have together; large objects count as one each.
  type: int
  returned: success, but not in check mode
bytes:
  description: Size of the dump.
  type: int
  returned: success, but not in check mode
seconds:
  description: How long it all took.
  type: float
  returned: success, but not in check mode
code:
  description:
    - What went wrong, in one stable word.
    - V(dump_exists), V(dump_directory_missing), V(dump_jobs), V(dump_under_way), V(dump_unwritable), V(dump_failed),
      V(dump_incomplete), V(binaries_missing), V(pooler), V(privilege_missing), V(row_security), V(lock_timeout),
      V(lock_timeout_invalid), V(duration_invalid), V(program_timeout), or one of M(pgops.rollback.database_info).
  type: str
  returned: failure
  sample: dump_exists
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.pgops.rollback.plugins.module_utils.connection import ServerInfo
from ansible_collections.pgops.rollback.plugins.module_utils.connections import Connections
from ansible_collections.pgops.rollback.plugins.module_utils.database_module import run_database_module
from ansible_collections.pgops.rollback.plugins.module_utils.dump import DumpRequest, foresee_dump, take_dump
from ansible_collections.pgops.rollback.plugins.module_utils.durations import parse_duration
from ansible_collections.pgops.rollback.plugins.module_utils.locks import parse_lock_timeout

ARGUMENTS: dict[str, dict[str, Any]] = {
    "path": {"type": "path", "required": True},
    "format": {"type": "str", "choices": ["custom", "directory", "plain", "tar"], "default": "custom"},
    "jobs": {"type": "int", "default": 1},
    "compress": {"type": "str"},
    "lock_timeout": {"type": "str", "default": "500ms"},
    "timeout": {"type": "str", "default": "12h"},
}


def backup_dump(connections: Connections, server: ServerInfo, module: AnsibleModule) -> dict[str, Any]:
    request = DumpRequest(
        path=Path(module.params["path"]),
        format=module.params["format"],
        jobs=module.params["jobs"],
        compress=module.params["compress"],
        lock_timeout_ms=parse_lock_timeout(module.params["lock_timeout"], server),
        timeout=parse_duration(module.params["timeout"], "timeout").total_seconds(),
    )
    if module.check_mode:
        result = foresee_dump(connections, server, request)
        result["summary"] = f"{server.database} would be dumped to {request.path}: {result['tables']} tables."
    else:
        result = take_dump(connections, server, request)
        result["summary"] = (
            f"{server.database} was dumped to {request.path}: {result['tables']} tables, {result['rows']:,} rows,"
            f" {result['bytes'] / 1e6:,.1f} MB in {result['seconds']:.0f} s, with its content manifest."
        )
    if module._diff:
        after = {name: result[name] for name in ("path", "manifest_path")}
        result["diff"] = {"before": dict.fromkeys(after), "after": after}
    return {"changed": True, **result}


def main() -> None:
    run_database_module(ARGUMENTS, backup_dump)


if __name__ == "__main__":
    main()
