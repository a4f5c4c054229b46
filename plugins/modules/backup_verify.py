#!/usr/bin/python
# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_verify
short_description: Prove that a backup exists, is recent, is intact, and can be restored
version_added: 0.1.0
description:
  - Climbs a ladder of four rungs on the newest complete backup. Each says what it proved and what it did not; one that
    fails ends the climb, and one that could not be checked has not passed.
  - The drill restores into a disposable server that listens on a private unix socket only, with archiving and
    replication off, compares what came out, and removes it again.
  - A rung that fails fails the module. The result says everything all the same.
author:
  - The pgops.rollback authors (@pgops)
extends_documentation_fragment:
  - pgops.rollback.connection
  - pgops.rollback.backup_source
  - pgops.rollback.backup_source.wheels
  - pgops.rollback.attributes
options:
  up_to:
    description: The last rung. Those before it are always climbed, on the same backup.
    type: str
    choices: [exists, freshness, integrity, drill]
    default: drill
  max_age:
    description: How old the newest complete backup may be, with C(s), C(m), C(h), C(d) or C(w).
    type: str
    default: 24h
  look_at_drill:
    description: In place of a drill, says what the record of the last one in O(records_dir) says.
    type: bool
    default: false
  drill_directory:
    description:
      - Existing directory that the drill works in, with room for the restored database. The server's user must be able
        to pass through it. By default the place of disposable clusters in C(/tmp).
    type: path
  drill_jobs:
    description: Sessions that restore and check at once.
    type: int
    default: 2
  drill_timeout:
    description: How long the drill may take in all.
    type: str
    default: 6h
  superuser:
    description: Bootstrap superuser of the cluster in a physical backup.
    type: str
    default: postgres
  compare_with_live:
    description:
      - Where no content manifest lies beside the backup, compares row counts with the planner's estimates of the live
        database, which the connection options name.
    type: bool
    default: false
  canary:
    description:
      - Of a physical backup, writes a row to the table C(pgops_rollback_canary) of the live database, which it makes if
        need be, and looks in the backup for the one that was written before it began.
      - Writes to production, so it has to be asked for.
    type: bool
    default: false
  tolerance:
    description: Percent by which a table's rows may differ from the live database's, or from the baseline's.
    type: int
    default: 20
  baseline:
    description:
      - File of a baseline (M(pgops.rollback.migration_baseline)) to compare with where no content manifest lies beside
        the backup. Its objects have to be there. Rows that are others are a reservation, since it is of another moment.
    type: path
  manifest:
    description: A rollback manifest, whose C(tables) have to be there and whose C(checks) have to hold.
    type: dict
    default: {}
  run_id:
    description: Name of the run, for the records.
    type: str
    default: unnamed
  host:
    description: Name of the host in the inventory, for the records and the metrics.
    type: str
    default: localhost
  records_dir:
    description: Absolute path of the directory for the history and the evidence of drills. By default none is kept.
    type: path
  metrics_file:
    description: Absolute path of a C(.prom) file for the textfile collector of a Prometheus node exporter.
    type: path
  progress_file:
    description: The action plugin fills it in.
    type: path
attributes:
  check_mode:
    description: Lists, and reads the backup; says what would be restored, and restores nothing. Leaves no metrics.
    support: full
  diff_mode:
    description: Changes nothing, so there is nothing to show a difference of.
    support: N/A
  idempotent:
    description: Changes nothing.
    support: full
seealso:
  - module: pgops.rollback.backup_info
  - module: pgops.rollback.backup_dump
"""

EXAMPLES = r"""
- name: Prove that last night's dump can be restored
  pgops.rollback.backup_verify:
    source: pg_dump
    path: /var/backups/app
    database: app

- name: Only see whether pgBackRest has a recent one
  pgops.rollback.backup_verify:
    source: pgbackrest
    stanza: main
    up_to: freshness
    max_age: 26h
"""

RETURN = r"""
verdict:
  description: V(ok), V(incomplete) (a rung was skipped), V(degraded) or V(failed).
  returned: always
  type: str
steps:
  description: The rungs, in the shape of a report's steps.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: V(exists), V(freshness), V(integrity) or V(drill).
      type: str
    status:
      description: V(ok), V(degraded), V(skipped) or V(failed).
      type: str
    message:
      description: What was found.
      type: str
    details:
      description:
        - C(proved) and C(not_proved) in words, C(seconds), and C(checks), each with C(name), C(status) (V(passed),
          V(degraded), V(skipped), V(failed)), C(message) and C(seconds).
      type: dict
backup:
  description: The backup that was looked at, as in M(pgops.rollback.backup_info), or null.
  returned: always
  type: dict
age_seconds:
  description: Its age in seconds when the verification began.
  returned: always
  type: int
restore:
  description:
    - What a drill measured, or null. C(seconds) that restoring took, C(bytes) of the restored database, its C(rows),
      and the rate in C(bytes_per_second).
  returned: always
  type: dict
missing_extensions:
  description: Extensions it needs that cannot be installed on this host.
  returned: always
  type: list
  elements: str
history:
  description: The last runs, newest first, with C(run_id), C(source), C(database), C(finished), C(verdict),
    C(backup_id), C(backup_finished), C(age_seconds), C(size_bytes) and C(drill_seconds). Times are UTC in ISO 8601.
  returned: always
  type: list
  elements: dict
code:
  description: Stable code of an error that kept the verification from beginning.
  returned: failure
  type: str
"""

import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.pgops.rollback.plugins.module_utils.backup import Source
from ansible_collections.pgops.rollback.plugins.module_utils.backup_ladder import RUNGS
from ansible_collections.pgops.rollback.plugins.module_utils.backup_sources import (
    SOURCE_ARGUMENTS,
    open_source,
    wheels_of,
    with_token,
)
from ansible_collections.pgops.rollback.plugins.module_utils.backup_verification import Verification, verify
from ansible_collections.pgops.rollback.plugins.module_utils.connection import CONNECTION_ARGUMENTS
from ansible_collections.pgops.rollback.plugins.module_utils.database_module import run_module
from ansible_collections.pgops.rollback.plugins.module_utils.drill_options import DrillOptions
from ansible_collections.pgops.rollback.plugins.module_utils.durations import parse_duration
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.manifest_checks import validate_checks
from ansible_collections.pgops.rollback.plugins.module_utils.names import parse_name, quote_name
from ansible_collections.pgops.rollback.plugins.module_utils.progress import ProgressFile
from ansible_collections.pgops.rollback.plugins.module_utils.system_user import own_user, system_user

ARGUMENTS: dict[str, dict[str, Any]] = {
    **CONNECTION_ARGUMENTS,
    **SOURCE_ARGUMENTS,
    "up_to": {"type": "str", "choices": list(RUNGS), "default": "drill"},
    "max_age": {"type": "str", "default": "24h"},
    "look_at_drill": {"type": "bool", "default": False},
    "drill_directory": {"type": "path"},
    "drill_jobs": {"type": "int", "default": 2},
    "drill_timeout": {"type": "str", "default": "6h"},
    "superuser": {"type": "str", "default": "postgres"},
    "compare_with_live": {"type": "bool", "default": False},
    "canary": {"type": "bool", "default": False},
    "tolerance": {"type": "int", "default": 20},
    "baseline": {"type": "path"},
    "manifest": {"type": "dict", "default": {}},
    "run_id": {"type": "str", "default": "unnamed"},
    "host": {"type": "str", "default": "localhost"},
    "records_dir": {"type": "path"},
    "metrics_file": {"type": "path"},
    "progress_file": {"type": "path"},
}


def _ended(_number: int, _frame: Any) -> None:
    """What a drill started is removed, too, when somebody ends the module."""
    raise SystemExit(1)


def backup_verify(module: AnsibleModule) -> dict[str, Any]:
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _ended)
    options = with_token(module.params)
    metrics = Path(options["metrics_file"] or "")
    try:
        if options["metrics_file"] and not metrics.is_absolute():
            raise RollbackError(
                "metrics_path_relative",
                f"backup_verification_metrics_file is {str(metrics)!r}, which is relative, and to what is not certain.",
                "Give it as an absolute path; nothing was done.",
            )
        source: Source | RollbackError = open_source(options)
        max_age = parse_duration(options["max_age"], "backup_verification_max_age")
        drilling = _drill_options(options)
    except RollbackError as error:
        source, max_age, drilling = error, timedelta(0), DrillOptions(user=own_user())
    asked = Verification(
        run_id=options["run_id"],
        host=options["host"],
        source=options["source"],
        database=options["database"],
        up_to=options["up_to"],
        max_age=max_age,
        drill=drilling,
        check_mode=module.check_mode,
        look_at_drill=options["look_at_drill"],
        records=Path(options["records_dir"]) if options["records_dir"] else None,
        metrics=metrics if metrics.is_absolute() else None,
    )
    return verify(source, asked, ProgressFile(options["progress_file"]))


def _drill_options(options: dict[str, Any]) -> DrillOptions:
    manifest = options["manifest"]
    live = {name: options[name] for name in CONNECTION_ARGUMENTS}
    baseline = None
    if options["baseline"]:
        # Late, as the drill is in backup_verification.
        from ansible_collections.pgops.rollback.plugins.module_utils.baseline import read_baseline  # noqa: PLC0415

        baseline = read_baseline(Path(options["baseline"]))
    return DrillOptions(
        user=system_user(options["user"]),
        directory=options["drill_directory"],
        jobs=max(1, options["drill_jobs"]),
        timeout=int(parse_duration(options["drill_timeout"], "backup_verification_drill_timeout").total_seconds()),
        wheels=wheels_of(options),
        superuser=options["superuser"],
        database=options["database"],
        baseline=baseline,
        live=live if options["compare_with_live"] else None,
        canary=live if options["canary"] else None,
        tolerance=options["tolerance"],
        tables=[quote_name(*parse_name(name, "table")) for name in manifest.get("tables") or []],
        checks=validate_checks(manifest.get("checks") or []),
    )


def main() -> None:
    run_module(ARGUMENTS, backup_verify)


if __name__ == "__main__":
    main()
