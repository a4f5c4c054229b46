#!/usr/bin/python
# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: rollback_advice
short_description: Whether to roll back, which rollback, and what each would lose
version_added: 0.1.0
description:
  - Gathers the evidence and walks the decision tree of the runbook. It never acts, and only reads.
  - If only sequences are at fault, reset them. If the application is not down, fix forward. If it is down and data is
    corrupted, restore the whole database; if no data is corrupted, tear down what the migration created, into
    quarantine first.
  - While nobody said whether the application is down and no health check tells, nothing that loses rows is recommended.
  - What could not be checked never counts as healthy, and rows that could not be counted never count as none.
  - A database that does not answer is evidence, not an error.
author:
  - The pgops.rollback authors (@pgops)
options:
  application:
    description: Whether the application works, as the operator sees it. V(unknown) leaves it to the health checks.
    type: str
    choices: [up, degraded, down, unknown]
    default: unknown
  verification:
    description: What M(pgops.rollback.rollback_verify) returned. Without it there is no certain advice.
    type: dict
    default: {}
  baseline:
    description: File with the baseline before the migration.
    type: path
  after:
    description: File with the baseline after it. What was written since is counted from then on.
    type: path
  manifest:
    description: The rollback manifest's content. Without it nothing can be torn down.
    type: dict
    default: {}
  manifest_path:
    description: Where the manifest was read, for the commands in the result.
    type: str
  records_dir:
    description: Directory with the records of backup verifications.
    type: path
  max_age:
    description: How old the last restore drill may be, with C(s), C(m), C(h), C(d) or C(w).
    type: str
    default: 24h
  host:
    description: Name of the host in the inventory, for the commands in the result.
    type: str
  inventories:
    description: Inventories that the commands in the result have to name; none where the configured one is meant.
    type: list
    elements: str
    default: []
  variables:
    description: Variables that the commands in the result have to give.
    type: dict
    default: {}
  by_file:
    description: Whether the commands name playbooks by file, as in a checkout, or by the collection's name.
    type: bool
    default: true
extends_documentation_fragment:
  - pgops.rollback.connection
  - pgops.rollback.attributes.read_only
notes:
  - Rows written are the server's own counters, which lag by up to 10 seconds and include what was rolled back. Where
    they began anew since the baseline, row counts are compared instead, if the baseline has exact ones.
  - One table is counted for 10 seconds at most, and no lock is waited for longer than 500 ms.
seealso:
  - module: pgops.rollback.rollback_verify
  - module: pgops.rollback.migration_baseline
  - module: pgops.rollback.rollback_manifest
  - module: pgops.rollback.backup_verify
"""

EXAMPLES = r"""
- name: Ask what to do about the coaching migration
  pgops.rollback.rollback_advice:
    login_db: app
    application: down
    verification: "{{ verified }}"
    baseline: /var/lib/rollback/app/baselines/coaching-before.json
    after: /var/lib/rollback/app/baselines/coaching-after.json
    manifest: "{{ lookup('ansible.builtin.file', 'coaching-manifest.json') | from_json }}"
    manifest_path: coaching-manifest.json
    records_dir: /var/lib/rollback/app/backup
    host: app
  register: advice

- name: Show it
  ansible.builtin.debug:
    msg:
      - "{{ advice.msg }}"
      - "{{ advice.next_command }}"
"""

RETURN = r"""
recommendation:
  description:
    - V(fix_forward), V(sequence_reset), V(teardown), V(full_restore), V(none) (nothing to do), or V(undecided), when
      something has to be known first.
  returned: success
  type: str
why:
  description: The reason, and what makes it uncertain.
  returned: success
  type: str
confidence:
  description: V(low) when something that might have decided was not checked, is missing or contradicts; else V(high).
  returned: success
  type: str
options:
  description: The four that there are, from the one that loses least.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: As in RV(recommendation).
      type: str
    loses:
      description: What it would lose, in words.
      type: str
    rows_lost:
      description: How many rows at the most. Null when that is not known.
      type: int
    possible:
      description: Whether anything blocks it.
      type: bool
    blocked_by:
      description: What does; empty when nothing.
      type: str
    command:
      description: The command for it, or of what has to be done before; empty when there is none.
      type: str
evidence:
  description: What was asked, in a fixed order.
  returned: success
  type: list
  elements: dict
  contains:
    question:
      description: The question.
      type: str
    answer:
      description: The answer, which may be that it is not known, and why.
      type: str
    details:
      description: What it is based on, one line each.
      type: list
      elements: str
next_command:
  description: The command to run next, as a shell reads it. Empty when there is nothing to do.
  returned: success
  type: str
  sample: ansible-playbook rollback.yml --tags sequence --limit app
status:
  description:
    - V(ok), V(skipped) (undecided), or V(degraded) when the database does not answer, or the recommendation is
      uncertain or cannot be followed yet.
  returned: success
  type: str
code:
  description:
    - Stable code of the error. V(manifest_invalid), V(duration_invalid), V(connection_string), V(psycopg2_missing),
      V(version_unsupported), V(defect).
  returned: failure
  type: str
"""

from datetime import UTC, datetime
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.pgops.rollback.plugins.module_utils.advice_evidence import read_evidence
from ansible_collections.pgops.rollback.plugins.module_utils.advice_result import advise
from ansible_collections.pgops.rollback.plugins.module_utils.connection import CONNECTION_ARGUMENTS
from ansible_collections.pgops.rollback.plugins.module_utils.database_module import run_module
from ansible_collections.pgops.rollback.plugins.module_utils.rollback_advice import ANSWERS, UNKNOWN

ARGUMENTS: dict[str, dict[str, Any]] = {
    **CONNECTION_ARGUMENTS,
    "application": {"type": "str", "choices": list(ANSWERS), "default": UNKNOWN},
    "verification": {"type": "dict", "default": {}},
    "baseline": {"type": "path"},
    "after": {"type": "path"},
    "manifest": {"type": "dict", "default": {}},
    "manifest_path": {"type": "str"},
    "records_dir": {"type": "path"},
    "max_age": {"type": "str", "default": "24h"},
    "host": {"type": "str"},
    "inventories": {"type": "list", "elements": "str", "default": []},
    "variables": {"type": "dict", "default": {}},
    "by_file": {"type": "bool", "default": True},
}


def rollback_advice(module: AnsibleModule) -> dict[str, Any]:
    return advise(read_evidence(module.params, datetime.now(UTC)))


def main() -> None:
    run_module(ARGUMENTS, rollback_advice)


if __name__ == "__main__":
    main()
