# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """What is torn down and how: the options of PLAN_ARGUMENTS in module_utils/teardown_request.py."""

    DOCUMENTATION = r"""
options:
  baseline_before:
    description:
      - File of the baseline from before the migration. What it already has is not the migration's. Where there is no
        such file, nobody knows, which stands in the way.
    type: path
  baseline_after:
    description: File of the baseline from after it. What came between the two and is not in O(manifest) is drift.
    type: path
  records_dir:
    description: Directory with the records of backup verifications. Without it no backup counts.
    type: path
  require_backup:
    description:
      - Whether V(drop) and V(purge) need a backup whose restore drill succeeded. Otherwise its lack is a warning.
    type: bool
    default: true
  backup_max_age:
    description: How old the last restore drill may be, with C(s), C(m), C(h), C(d) or C(w).
    type: str
    default: 24h
  lock_timeout:
    description:
      - How long the teardown is going to wait for a lock, with C(ms) or C(s). It has to be below the server's
        C(deadlock_timeout).
    type: str
    default: 500ms
  allow_unknown_provenance:
    description: Whether objects may go of which no baseline says that the migration created them.
    type: bool
    default: false
  override_provenance:
    description: Names, as the plan has them, of objects that may go though they were there before the migration.
    type: list
    elements: str
    default: []
"""

    #: What PLAN_ARGUMENTS and PURGE_ARGUMENTS have in common, and differently.
    MANIFEST = r"""
options:
  manifest:
    description: A rollback manifest as data, as M(pgops.rollback.teardown_plan) takes it.
    type: dict
    required: true
  mode:
    description: V(quarantine) moves the objects to a schema of their own, V(drop) drops them.
    type: str
    choices: [quarantine, drop]
    default: quarantine
"""

    PURGE = r"""
options:
  manifest:
    description:
      - A rollback manifest as data. Its C(tables), C(functions) and C(sequences) are lists of names as SQL writes them;
        functions have the types of their arguments, such as V(public.total(bigint, text)), where there are several of
        the name. Other keys are ignored, but for C(name), C(history), and C(unreadable), why it could not be read.
      - Partitions, and the sequences of columns, need not be named. Names that do not exist are reported as drift.
      - C(history) names the row by which a deployment tool knows that the migration was applied. It goes and comes back
        with the objects. C(value) is that of C(column) in C(table), text in quotes; without the two it is C(version) in
        C(supabase_migrations.schema_migrations). Without C(history) the row of this table goes whose version, or
        version and name as in C(20251125120000_coaching), is C(name); no other row is certain to be the migration's.
      - Needed in every mode but V(purge).
    type: dict
  mode:
    description:
      - V(quarantine) moves the objects to a schema of their own, V(drop) drops them.
      - V(purge) drops what a quarantine has moved, and its schema, if nothing else is in it. The quarantine's O(bundle)
        tells what that is, and that it may go; O(manifest) and the baselines are not looked at.
    type: str
    choices: [quarantine, drop, purge]
    default: quarantine
  bundle:
    description:
      - Directory of the bundle of the quarantine that V(purge) is of. By default the newest one of O(host) that was
        committed and not undone.
    type: path
"""
