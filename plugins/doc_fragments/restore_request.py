# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """What is restored and from where: the options of RESTORE_ARGUMENTS in module_utils/restore_request.py."""

    DOCUMENTATION = r"""
options:
  source:
    description: What made the backups. Needed to restore, not to undo or to purge.
    type: str
    choices: [pg_dump]
  path:
    description: A dump, a directory of dumps or a glob, on the host.
    type: path
  backup_id:
    description: The backup's name, as M(pgops.rollback.backup_info) lists it. By default the newest complete one.
    type: str
  database:
    description: Database that the dump must be of. By default the live one's name.
    type: str
  maintenance_db:
    description:
      - Another database of the same server that this role may connect to. Databases are made and renamed from there,
        since none can be from within. By default V(postgres), else V(template1).
    type: str
  disk_free:
    description:
      - How much room the server's disk has, such as V(200GB), where that cannot be told from this host. Otherwise it is
        measured; where that cannot be done either, it stands in the way.
    type: bytes
  baseline_before:
    description:
      - File of the baseline from before the migration. The dump has to have its tables, and rows are counted since it.
    type: path
  baseline_after:
    description: File of the baseline from after it. The dump must not have what came between the two.
    type: path
  records_dir:
    description: Directory with the records of backup verifications, whose last drill tells how long a restore takes.
    type: path
"""
