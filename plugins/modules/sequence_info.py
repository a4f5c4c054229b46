#!/usr/bin/python
# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sequence_info
short_description: Find sequences that are behind their data, at their limit, or lost
version_added: 0.1.0
description:
  - Reads, in one call, any number of sequences, the columns they feed and the extreme in the data, and judges each.
  - Finds also integer primary keys that have neither default nor identity, the cause of
    "null value in column id violates not-null constraint".
  - Changes nothing and waits for no lock longer than 500 ms.
author:
  - The pgops.rollback authors (@pgops)
extends_documentation_fragment:
  - pgops.rollback.connection
  - pgops.rollback.attributes.read_only
  - pgops.rollback.sequence_selection
seealso:
  - module: pgops.rollback.sequence_reset
"""

EXAMPLES = r"""
- name: Look at every sequence of the user schemas
  pgops.rollback.sequence_info:
    login_db: app
  register: all_sequences

- name: Look at the sequences that feed one table
  pgops.rollback.sequence_info:
    login_db: app
    tables:
      - public.orders
      - '"Sales"."Order.Items"'

- name: Show those whose next insert collides
  ansible.builtin.debug:
    msg: "{{ all_sequences.sequences | selectattr('state', 'eq', 'behind') | map(attribute='name') }}"
"""

RETURN = r"""
sequences:
  description: Every selected sequence, by schema and name.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Schema and name as SQL writes them, quoted where needed.
      type: str
      sample: public.orders_id_seq
    schema:
      description: Its schema, unquoted.
      type: str
    sequence:
      description: Its name, unquoted.
      type: str
    state:
      description:
        - V(ok) and V(ahead) (a gap, harmless) need nothing.
        - V(behind), the next insert collides with a row that is there or will.
        - V(near_limit), 80 percent or more of the range is used.
        - V(exhausted), no next value lies within the range.
        - V(cycles), it starts over at its limit, which is reported and not repaired.
        - V(unfed), no column's default uses it.
        - V(unreadable), it or its data could not be read or compared; RV(sequences[].message) says why.
      type: str
    message:
      description: The reason for the state; empty for V(ok) and V(ahead).
      type: str
    columns:
      description: The columns that take their values from it.
      type: list
      elements: dict
      contains:
        column:
          description: Schema, table and column.
          type: str
        table:
          description: Schema and table.
          type: str
        kind:
          description:
            - V(serial) (the column owns the sequence), V(identity_always), V(identity_by_default), V(default).
            - V(text_default) is C(nextval('name'::text)), which leaves no dependency in the catalogs.
            - V(expression) computes more than C(nextval), so its values cannot be compared.
          type: str
        data_type:
          description: The column's type, below any domain.
          type: str
        indexed:
          description: Whether an index finds its extreme without reading the whole table.
          type: bool
    shared:
      description: Whether it feeds more than one column (partitions count with their parent).
      type: bool
    data_type:
      description: The sequence's own type.
      type: str
    start:
      description: START value.
      type: int
    increment:
      description: INCREMENT; negative for a descending sequence.
      type: int
    min_value:
      description: MINVALUE.
      type: int
    max_value:
      description: MAXVALUE.
      type: int
    cache_size:
      description: Values each session takes in advance (CACHE).
      type: int
    cycle:
      description: Whether it starts over at its limit.
      type: bool
    last_value:
      description: C(last_value) of the sequence relation. Null if it could not be read.
      type: int
    is_called:
      description: Whether RV(sequences[].last_value) has been given out. Null if it could not be read.
      type: bool
    next_value:
      description: What C(nextval) gives now. Null if that would be an error, or it could not be read.
      type: int
    extreme:
      description:
        - Highest value in all columns it feeds, lowest for a descending sequence. Rows of partitions and inheritance
          children count.
        - Null without rows, or if it could not be read.
      type: int
    percent_used:
      description: Percent used of the smaller of its own and its columns' range. Null if that does not apply.
      type: float
    missing_privileges:
      description: What the connected role lacks to read it.
      type: list
      elements: str
    warnings:
      description: What makes it slow to read or what a repair cannot help.
      type: list
      elements: str
columns_without_default:
  description: NOT NULL integer columns of primary keys with neither default nor identity. Partitions are left out.
  returned: success
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
      description:
        - V(failed), the column still owns a sequence, so inserts without an id fail that once worked.
        - V(warned), it owns none. Dropping an identity drops its sequence; but such a key may also be a natural one, or
          the application may call C(nextval) itself.
      type: str
    sequence:
      description: The sequence that it owns, or one that is named like its sequence and feeds nothing, or null.
      type: str
    message:
      description: The finding in words.
      type: str
code:
  description:
    - Stable code of the error. V(connection_failed), V(connection_string), V(psycopg2_missing), V(version_unsupported),
      V(name_invalid), V(object_unknown), V(object_ambiguous), V(extension_member), V(manifest_invalid),
      V(selection_empty), V(database_error), V(defect).
  returned: failure
  type: str
counts:
  description: Number of sequences in each state that occurs.
  returned: success
  type: dict
  sample: {ok: 9, behind: 1}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.pgops.rollback.plugins.module_utils.connection import ServerInfo
from ansible_collections.pgops.rollback.plugins.module_utils.connections import Connections
from ansible_collections.pgops.rollback.plugins.module_utils.database_module import run_database_module
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_selection import SELECTION_ARGUMENTS
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_survey import survey


def sequence_info(connections: Connections, server: ServerInfo, module: AnsibleModule) -> dict[str, Any]:
    found = survey(connections, module.params)
    for warning in found.warnings():
        module.warn(warning)
    return found.as_result()


def main() -> None:
    run_database_module(SELECTION_ARGUMENTS, sequence_info)


if __name__ == "__main__":
    main()
