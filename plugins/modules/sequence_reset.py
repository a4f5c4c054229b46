#!/usr/bin/python
# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sequence_reset
short_description: Set sequences that are behind their data forward again
version_added: 0.1.0
description:
  - Repairs, in one call, any number of sequences whose next value is already in the data, which is what
    "duplicate key value violates unique constraint" on an insert without an id means.
  - Each sequence has one short transaction of its own. The tables it feeds are locked against writers (SHARE ROW
    EXCLUSIVE; readers and C(pg_dump) go on), the sequence is held still by an ALTER SEQUENCE that changes nothing, the
    extreme is read again, so that rows that were not committed before count, and the sequence is set. What fails leaves
    that sequence as it was.
  - A sequence is never lowered, unless O(policy=exact) asks for it and its plan was confirmed. Healthy sequences are
    neither locked nor touched. Sessions that took ids in advance (CACHE) give them up.
  - Needs membership in the sequence's owner, and no superuser. Works through a transaction-mode pooler.
  - From 500 sequences on a second session is used, if the server has room for one.
author:
  - The pgops.rollback authors (@pgops)
extends_documentation_fragment:
  - pgops.rollback.connection
  - pgops.rollback.attributes
  - pgops.rollback.sequence_selection
options:
  policy:
    description:
      - V(forward) sets sequences forward only, to the next value beyond the data.
      - V(exact) does that, and sets back sequences that stand further than their data asks for. The next value is then
        the extreme in the data plus the increment (for a descending sequence minus), or the first one beyond the
        extreme on the sequence's own grid, of odd numbers for example. It is never before the sequence's start value,
        and is the start value where there are no rows. With several columns, partitions or children it is the extreme
        in all of them.
      - To set a sequence back hands out ids again. Rows are looked at, nothing else. The ids may live on in logs,
        caches, other systems, references without a foreign key, and in an application that took an id with nextval and
        has not inserted it yet, or that uses the sequence for more than its columns' defaults.
      - Without O(confirm), while anything is to be set back, nothing at all is done. The call returns RV(plan) and
        RV(token) and its RV(status) is V(refused). Where nothing is to be set back, no token is asked for.
      - With it, the tables of all sequences of the plan are locked together, everything is read again, and in one
        transaction (ALTER SEQUENCE RESTART, which a setval is not part of) all of them are set back or none.
      - Not set back is what feeds a column that cannot be compared, or whose default looks it up by name, or what a key
        column without default may have its ids from, or what starts over (CYCLE).
    type: str
    choices: [forward, exact]
    default: forward
  confirm:
    description:
      - With O(policy=exact), what was typed or given to confirm. The token of O(batch), which for one database is that
        of its plan. Empty means not confirmed.
    type: str
  batch:
    description: RV(token) of every database that is confirmed together, by its name in the inventory.
    type: dict
  host:
    description: This database's name in O(batch).
    type: str
  plan:
    description:
      - RV(plan) as it was shown. Then rows that took some of its ids meanwhile do not matter, since fewer ids come
        again. An id more, one that was handed out meanwhile and is not in the data for example, refuses.
      - Without it the plan has to be the same now, to the last id.
    type: dict
  lock_timeout:
    description:
      - How long an attempt waits for its locks, all together, with C(ms) or C(s).
      - There are up to 8 attempts, with pauses of 0.05 to 3 seconds between them, in which other sequences have their
        turn; fewer when more than a minute was waited in vain. Then the result names who holds the lock.
      - Must be above zero and below the server's C(deadlock_timeout) (1 s unless configured).
    type: str
    default: 500ms
  lock_healthy:
    description:
      - Locks and reads again also sequences that look healthy, for a row with an explicit id that is not committed yet.
      - Writers to every selected table wait for a moment, one table after the other.
    type: bool
    default: false
  repair_defaults:
    description:
      - Gives key columns that have neither default nor identity the sequence that they still own back as default.
      - A column that owns none may be a natural key, or be filled by the application. It is repaired only where its
        table is named in O(tables) or O(manifest), by the sequence that has its name and feeds nothing, else by making
        it GENERATED BY DEFAULT AS IDENTITY, continuing after the data.
      - Takes an ACCESS EXCLUSIVE lock on the table for a moment, and needs its ownership and for a new identity CREATE
        on its schema.
    type: bool
    default: false
  test:
    description:
      - V(nextval) draws one id from every sequence that was set and checks that it lies beyond the data. No row will
        have that id.
    type: str
    choices: [none, nextval]
    default: none
notes:
  - O(confirm), O(batch) and O(host) are required together.
seealso:
  - module: pgops.rollback.sequence_info
"""

EXAMPLES = r"""
- name: Repair every sequence of the user schemas
  pgops.rollback.sequence_reset:
    login_db: app

- name: See what would be done
  pgops.rollback.sequence_reset:
    login_db: app
  check_mode: true
  diff: true

- name: Repair one table under heavy writing, rows that are not committed yet included
  pgops.rollback.sequence_reset:
    login_db: app
    tables: [public.orders]
    lock_healthy: true

- name: Give a table that lost its identity a new one
  pgops.rollback.sequence_reset:
    login_db: app
    tables: [public.orders]
    repair_defaults: true

- name: See which ids would come again if sequences were set back to their data
  pgops.rollback.sequence_reset:
    login_db: app
    tables: [public.orders]
    policy: exact
  register: exact

- name: Do it, if that is what was confirmed
  pgops.rollback.sequence_reset:
    login_db: app
    tables: [public.orders]
    policy: exact
    plan: "{{ exact.plan }}"
    host: "{{ inventory_hostname }}"
    batch: "{{ {inventory_hostname: exact.token} }}"
    confirm: "{{ rollback_confirm }}"
"""

RETURN = r"""
summary:
  description: What was done, in one sentence.
  returned: when the database was read
  type: str
  sample: "12 sequences: 2 reset, 10 healthy."
status:
  description:
    - V(ok), V(changed) (in check mode, would change), or V(failed) if anything could not be done.
    - V(refused) if something is to be set back and nothing was confirmed. Then nothing was done.
  returned: when the database was read
  type: str
counts:
  description: Number of sequences in each state before the repair (states as in M(pgops.rollback.sequence_info)).
  returned: when the database was read
  type: dict
  sample: {ok: 9, behind: 1}
sequences:
  description: Every sequence that was set, could not be set, or is neither V(ok) nor V(ahead).
  returned: when the database was read
  type: list
  elements: dict
  contains:
    name:
      description: Schema and name as SQL writes them.
      type: str
      sample: public.orders_id_seq
    state:
      description: State before, as in M(pgops.rollback.sequence_info).
      type: str
    action:
      description: V(reset), V(would_reset) (check mode), V(none), V(refused) (no repair is possible) or V(failed).
      type: str
    message:
      description: The reason, where there is one.
      type: str
    before:
      description: Where it stood, with C(last_value), C(is_called) and C(next_value). Null if it could not be read.
      type: dict
    after:
      description: Where it was set, or would be, likewise. Null if it was not set.
      type: dict
    extreme:
      description: Highest value in the data, lowest for a descending sequence. Null without rows or comparison.
      type: int
    percent_used:
      description: Percent used of the smaller of its own and its columns' range. Null without comparison.
      type: float
    columns:
      description: The columns it feeds, as in M(pgops.rollback.sequence_info).
      type: list
      elements: dict
    undo:
      description: The SQL statement that puts it back where it stood. Null if it was not set.
      type: str
      sample: SELECT pg_catalog.setval('"public"."orders_id_seq"', 41, true);
    tested_value:
      description: The id that O(test=nextval) drew.
      type: int
      returned: with O(test=nextval), where the sequence was set
    warnings:
      description: What makes it slow to read or what the repair cannot help.
      type: list
      elements: str
columns_without_default:
  description: As in M(pgops.rollback.sequence_info). One whose status is V(failed) in the end fails the module.
  returned: when the database was read
  type: list
  elements: dict
  contains:
    column:
      description: Schema, table and column.
      type: str
    table:
      description: Schema and table.
      type: str
    status:
      description: V(failed), V(warned), V(repaired) or V(would_repair) (check mode).
      type: str
    sequence:
      description: The sequence that still existed, or null.
      type: str
    message:
      description: The finding, or what was done.
      type: str
    before:
      description: Where its sequence stood, as in RV(sequences[].before). Null if it was not set.
      type: dict
    after:
      description: Where its sequence was set. Null if it was not set.
      type: dict
    undo:
      description: The SQL statements that take the repair back, or null.
      type: str
plan:
  description: What O(policy=exact) sets back. It has no OID and no time in it, and is in a fixed order.
  returned: with O(policy=exact), when the database was read
  type: dict
  contains:
    database:
      description: Name of the database.
      type: str
    sequences:
      description:
        - Each with C(name), the value it would give next (C(from)), the one it is to give next (C(to)), C(increment),
          and C(ids_again), the C(first) and C(last) id that comes again and their number (C(count)).
      type: list
      elements: dict
token:
  description: Confirms this plan of this database.
  returned: with O(policy=exact), when the database was read
  type: str
  sample: rb-1f2e3d4c5b6a
code:
  description:
    - Stable code of the error, as in M(pgops.rollback.sequence_info), or V(lock_timeout_invalid), V(standby),
      V(confirmation_invalid), V(confirmation_stale) or V(confirmation_foreign).
  returned: failure before anything was attempted
  type: str
  sample: selection_empty
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.pgops.rollback.plugins.module_utils.connection import ServerInfo, require_primary
from ansible_collections.pgops.rollback.plugins.module_utils.connections import Connections
from ansible_collections.pgops.rollback.plugins.module_utils.database_module import run_database_module
from ansible_collections.pgops.rollback.plugins.module_utils.locks import parse_lock_timeout
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_lowering import reset_exactly
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_reset import difference, reset
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_selection import SELECTION_ARGUMENTS
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_survey import survey

ARGUMENTS: dict[str, dict[str, Any]] = {
    **SELECTION_ARGUMENTS,
    "policy": {"type": "str", "choices": ["forward", "exact"], "default": "forward"},
    "confirm": {"type": "str"},
    "batch": {"type": "dict"},
    "host": {"type": "str"},
    "plan": {"type": "dict"},
    "lock_timeout": {"type": "str", "default": "500ms"},
    "lock_healthy": {"type": "bool", "default": False},
    "repair_defaults": {"type": "bool", "default": False},
    "test": {"type": "str", "choices": ["none", "nextval"], "default": "none"},
}


def sequence_reset(connections: Connections, server: ServerInfo, module: AnsibleModule) -> dict[str, Any]:
    require_primary(server)
    lock_timeout_ms = parse_lock_timeout(module.params["lock_timeout"], server)
    found = survey(connections, module.params)
    for warning in found.warnings():
        module.warn(warning)
    if module.params["policy"] == "exact":
        result = reset_exactly(
            connections, server.database, found, module.params, lock_timeout_ms, module.check_mode
        )
    else:
        result = reset(connections, found, module.params, lock_timeout_ms, module.check_mode)
    if module._diff:
        result["diff"] = difference(result)
    return result


def main() -> None:
    run_database_module(ARGUMENTS, sequence_reset, required_together=[("confirm", "batch", "host")])


if __name__ == "__main__":
    main()
