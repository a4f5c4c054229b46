#!/usr/bin/python
# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_info
short_description: List the backups of a Postgres database, whichever tool made them
version_added: 0.1.0
description:
  - Lists what pg_dump, pg_basebackup, pgBackRest, Barman, WAL-G or Supabase's Management API has, in one shape.
  - Reads no backup; of dump files the newest complete one is opened for its head and its end.
author:
  - The pgops.rollback authors (@pgops)
extends_documentation_fragment:
  - pgops.rollback.attributes.read_only
  - pgops.rollback.backup_source
  - pgops.rollback.backup_source.wheels
seealso:
  - module: pgops.rollback.backup_verify
"""

EXAMPLES = r"""
- name: List the dumps of a directory
  pgops.rollback.backup_info:
    source: pg_dump
    path: /var/backups/app

- name: List what pgBackRest has
  pgops.rollback.backup_info:
    source: pgbackrest
    stanza: main
"""

RETURN = r"""
backups:
  description: Every backup, newest first.
  returned: success
  type: list
  elements: dict
  contains:
    source:
      description: What made it.
      type: str
    id:
      description: What the tool calls it; of files, the file's name.
      type: str
    location:
      description: Where it is.
      type: str
    kind:
      description: V(logical) (SQL) or V(physical) (a data directory).
      type: str
    status:
      description: V(complete), V(unfinished) or V(failed). Files are not opened for it, except for the newest.
      type: str
    problem:
      description: Why it does not count; empty when it is complete.
      type: str
    started_at:
      description: UTC, ISO 8601. Null where the source does not tell, like the others.
      type: str
    finished_at:
      description: UTC, ISO 8601.
      type: str
    size_bytes:
      description: What it takes where it is stored.
      type: int
    database_bytes:
      description: What the restored database takes.
      type: int
    server_major:
      description: Major version of the server it was taken from.
      type: int
    system_id:
      description: System identifier of the cluster, of a physical backup.
      type: str
    database:
      description: Name of the database, of a logical backup.
      type: str
    wal_start:
      description: First WAL segment it needs.
      type: str
    wal_stop:
      description: Last WAL segment it needs.
      type: str
newest:
  description: The newest complete one, likewise, or null.
  returned: success
  type: dict
code:
  description: Stable code of the error, such as V(backup_path_missing), V(stanza_missing) or V(program_missing).
  returned: failure
  type: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.pgops.rollback.plugins.module_utils.backup_ladder import newest_first, select
from ansible_collections.pgops.rollback.plugins.module_utils.backup_sources import (
    SOURCE_ARGUMENTS,
    open_source,
    with_token,
)
from ansible_collections.pgops.rollback.plugins.module_utils.database_module import run_module


def backup_info(module: AnsibleModule) -> dict[str, Any]:
    source = open_source(with_token(module.params))
    found = source.backups()
    newest, _rung = select(source, found)
    by_id = {newest.id: newest} if newest else {}
    return {
        "changed": False,
        "backups": [by_id.get(backup.id, backup).as_result() for backup in newest_first(found)],
        "newest": newest.as_result() if newest else None,
    }


def main() -> None:
    run_module(SOURCE_ARGUMENTS, backup_info)


if __name__ == "__main__":
    main()
