#!/usr/bin/python
# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rollback_verify
short_description: See whether a rollback worked, from the database as it is
version_added: 0.1.0
description:
  - Runs the checks of a post-rollback verification that need no baseline. Only reads; everything is read in read-only
    transactions that wait for no lock longer than 500 ms.
  - What could not be looked at (a missing privilege, a lock, a time limit) is V(skipped) with the reason, never
    V(passed).
author:
  - The pgops.rollback authors (@pgops)
extends_documentation_fragment:
  - pgops.rollback.connection
  - pgops.rollback.attributes.read_only
  - pgops.rollback.verification_pairs
options:
  stage:
    description:
      - How long ago the rollback was. Each stage runs what the earlier ones do, too.
      - V(day) adds the error rate, which needs time to show.
    type: str
    choices: [immediate, day, week]
    default: immediate
  gone:
    description: What has to be gone. Functions that still name any of it are looked for, too.
    type: list
    elements: dict
    default: []
    suboptions:
      kind:
        description: What it is.
        type: str
        required: true
        choices: [table, view, materialized_view, sequence, function]
      name:
        description: Name as SQL writes it; of a function with the types of its arguments.
        type: str
        required: true
  created:
    description:
      - What else has to be gone, as C(created) of a rollback manifest lists it. Each has C(kind) and C(name) of a
        catalog snapshot (M(pgops.rollback.catalog_snapshot)).
    type: list
    elements: dict
    default: []
    suboptions:
      kind:
        description: What it is, such as V(index) or V(enum).
        type: str
        required: true
      name:
        description: Its name, such as V(orders_at on public.orders).
        type: str
        required: true
  checks:
    description:
      - The rollback manifest's own checks, each with C(name), C(query) and C(expect), and C(fix) if you like. C(expect)
        is V(empty), or one of C(value), C(rows) and C(minimum).
      - A query is one statement that returns rows. It runs in a read-only transaction that is rolled back.
    type: list
    elements: dict
    default: []
  endpoints:
    description: Health endpoints of the application. Proxies are those of the environment.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: What messages call it.
        type: str
        required: true
      url:
        description: Its address. Messages show host and path only.
        type: str
        required: true
      status:
        description: HTTP status codes that are good.
        type: list
        elements: int
        default: [200]
      body:
        description:
          - Regular expression that is looked for in the first 64 KiB of the answer.
          - One that cannot be decided within O(endpoints[].timeout) counts as not found.
        type: str
      timeout:
        description: Seconds that one try may take in all, reading and searching the answer included.
        type: float
        default: 5.0
      retries:
        description: Further tries after one that was not good.
        type: int
        default: 3
      delay:
        description: Seconds between two tries.
        type: float
        default: 2.0
  activity_before:
    description:
      - The database's counters at the time of the rollback or before, as a baseline holds them, with C(xact_commit),
        C(xact_rollback), C(deadlocks), C(at) and C(stats_reset). The error rate since is compared with that up to then.
    type: dict
  activity_since:
    description:
      - The counters when the rollback had ended, as RV(activity) of a verification then. The error rate since then is
        what counts. Without it the time between O(activity_before) and the rollback counts, too.
    type: dict
  baseline:
    description:
      - File of a baseline (M(pgops.rollback.migration_baseline)). The catalogs have to be as it says, no table may have
        fewer rows, and no row may be without its parent behind a foreign key that is gone. Functions that name anything
        it has and the database has not, or has in another schema, are looked for.
      - Gives O(activity_before), too, where that is not set.
    type: path
  baseline_candidates:
    description:
      - Files of baselines, the first of which that exists is compared with, where O(baseline) is not given. When none
        does, the check V(baseline) is skipped.
    type: list
    elements: path
    default: []
  explained:
    description: Objects whose difference from the baseline is known, such as V(table public.orders).
    type: list
    elements: str
    default: []
  count_rows:
    description: Whether rows are counted where the baseline has exact counts. Reads every table.
    type: bool
    default: true
  statement_timeout:
    description: How long one statement may take.
    type: str
    default: 30s
seealso:
  - module: pgops.rollback.sequence_info
  - module: pgops.rollback.rollback_report
"""

EXAMPLES = r"""
- name: See whether the coaching teardown left something behind or broke something
  pgops.rollback.rollback_verify:
    login_db: app
    gone:
      - kind: table
        name: public.sponsor_connections
      - kind: function
        name: public.create_coach_connection(uuid, uuid)
    pairs:
      - left: auth.users.id
        right: public.profiles.id
        both: true
    endpoints:
      - name: api
        url: https://app.example.com/health
        body: '"status": *"ok"'
"""

RETURN = r"""
verdict:
  description:
    - V(failed) when a check of severity V(critical) or V(major) failed, V(degraded) when a minor one did or one warned,
      V(incomplete) when something could not be checked, else V(ok).
  returned: success
  type: str
status:
  description: V(failed), as the RV(verdict).
  returned: when that is V(failed)
  type: str
checks:
  description: Every check that ran.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Its name, a word that does not change.
      type: str
    title:
      description: What it looks at.
      type: str
    status:
      description: V(passed), V(failed), V(warned) or V(skipped).
      type: str
    severity:
      description: V(critical), V(major) or V(minor).
      type: str
    message:
      description: What was found, or why it was not looked at.
      type: str
    objects:
      description: C(name) and C(problem) of each object that something is wrong with.
      type: list
      elements: dict
    fix:
      description: What to do; empty when it passed.
      type: str
    stage:
      description: The earliest stage it runs in.
      type: str
    seconds:
      description: How long it took.
      type: float
activity:
  description: The database's counters now, for O(activity_since) of a later stage. Empty when they cannot be read.
  returned: success
  type: dict
not_configured:
  description: Options without which some checks had nothing to look at.
  returned: success
  type: list
  elements: str
steps:
  description: The same as one step of a report, named V(verify).
  returned: success
  type: list
  elements: dict
code:
  description:
    - Stable code of an error that kept the verification from beginning. V(connection_failed), V(connection_string),
      V(psycopg2_missing), V(version_unsupported), V(manifest_invalid), V(endpoint_invalid), V(duration_invalid),
      V(baseline_missing), V(baseline_unreadable), V(baseline_invalid), V(baseline_foreign), V(database_error),
      V(defect).
  returned: failure
  type: str
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.pgops.rollback.plugins.module_utils.connection import ServerInfo
from ansible_collections.pgops.rollback.plugins.module_utils.connections import Connections
from ansible_collections.pgops.rollback.plugins.module_utils.database_module import run_database_module
from ansible_collections.pgops.rollback.plugins.module_utils.driver import DATABASE_ERRORS
from ansible_collections.pgops.rollback.plugins.module_utils.durations import parse_duration
from ansible_collections.pgops.rollback.plugins.module_utils.verification import STAGES, Context, verdict
from ansible_collections.pgops.rollback.plugins.module_utils.verification_activity import read_activity
from ansible_collections.pgops.rollback.plugins.module_utils.verification_checks import as_step, run_checks
from ansible_collections.pgops.rollback.plugins.module_utils.verification_endpoints import ENDPOINT_ARGUMENTS
from ansible_collections.pgops.rollback.plugins.module_utils.verification_gone import KINDS
from ansible_collections.pgops.rollback.plugins.module_utils.verification_pairs import PAIR_ARGUMENTS

ARGUMENTS: dict[str, dict[str, Any]] = {
    "stage": {"type": "str", "choices": list(STAGES), "default": STAGES[0]},
    "gone": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "kind": {"type": "str", "required": True, "choices": list(KINDS)},
            "name": {"type": "str", "required": True},
        },
    },
    "created": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"kind": {"type": "str", "required": True}, "name": {"type": "str", "required": True}},
    },
    "checks": {"type": "list", "elements": "dict", "default": []},
    "pairs": {"type": "list", "elements": "dict", "default": [], "options": PAIR_ARGUMENTS},
    "endpoints": {"type": "list", "elements": "dict", "default": [], "options": ENDPOINT_ARGUMENTS},
    "activity_before": {"type": "dict"},
    "activity_since": {"type": "dict"},
    "baseline": {"type": "path"},
    "baseline_candidates": {"type": "list", "elements": "path", "default": []},
    "explained": {"type": "list", "elements": "str", "default": []},
    "count_rows": {"type": "bool", "default": True},
    "statement_timeout": {"type": "str", "default": "30s"},
}


def rollback_verify(connections: Connections, _server: ServerInfo, module: AnsibleModule) -> dict[str, Any]:
    timeout = parse_duration(module.params["statement_timeout"], "statement_timeout")
    options = dict(module.params)
    options["baseline"] = options["baseline"] or next(filter(os.path.exists, options["baseline_candidates"]), None)
    context = Context(connections, options, max(1, int(timeout.total_seconds() * 1000)))
    baseline = context.baseline
    if baseline and not options["activity_before"]:
        options["activity_before"] = baseline.activity
    results, not_configured = run_checks(context, options["stage"])
    step = as_step(results, not_configured)
    if baseline:
        step["details"]["baseline"] = {
            "migration": baseline.migration, "moment": baseline.moment, "taken_at": baseline.taken_at,
            "operator": baseline.operator,
        }  # fmt: skip
    outcome = verdict(results)
    return {
        "changed": False,
        "failed": outcome == "failed",
        # The role takes the word away, and fails with the reasons alone; by this the report knows.
        **({"status": "failed"} if outcome == "failed" else {}),
        "msg": step["message"],
        "verdict": outcome,
        "checks": [result.as_result() for result in results],
        "activity": _activity(context),
        "not_configured": not_configured,
        "steps": [step],
    }


def _activity(context: Context) -> dict[str, Any]:
    try:
        with context.reading() as cursor:
            return read_activity(cursor)
    except DATABASE_ERRORS:
        return {}  # the checks have said what is wrong


def main() -> None:
    run_database_module(ARGUMENTS, rollback_verify)


if __name__ == "__main__":
    main()
