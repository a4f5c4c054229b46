# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A selection's sequences and keys without one, judged: for sequence_info, and for sequence_reset to plan by."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.connections import Connections
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_catalog import (
    KeyWithoutDefault,
    Sequence,
    read_catalog,
)
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_selection import select
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_state import Assessment, describe
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_values import read_assessments


@dataclass
class Survey:
    """:ivar named_tables: OIDs of tables that were named one by one."""

    sequences: list[tuple[Sequence, Assessment]]
    keys_without_default: list[KeyWithoutDefault]
    named_tables: list[int]
    idle_tables: list[str]

    def as_result(self) -> dict[str, Any]:
        """As sequence_info returns it."""
        return {
            "changed": False,
            "sequences": [describe(sequence, assessment) for sequence, assessment in self.sequences],
            "columns_without_default": [describe_key(key) for key in self.keys_without_default],
            "counts": self.counts(),
        }

    def warnings(self) -> list[str]:
        """What Ansible shows as warnings."""
        return [f"No sequence feeds the table {name}, so nothing was looked at for it." for name in self.idle_tables]

    def counts(self) -> dict[str, int]:
        """How many sequences are in each state that occurs."""
        return dict(Counter(assessment.state for _sequence, assessment in self.sequences))


def survey(connections: Connections, options: dict[str, Any]) -> Survey:
    """Read and judge the selection. Errors are those of sequence_selection.select."""
    catalog = read_catalog(connections)
    with connections.first.cursor() as cursor:
        selection = select(cursor, catalog, options)
    assessments = read_assessments(connections, selection.sequences)
    return Survey(
        list(zip(selection.sequences, assessments, strict=True)),
        selection.keys_without_default,
        selection.named_tables,
        selection.idle_tables,
    )


def describe_key(key: KeyWithoutDefault) -> dict[str, Any]:
    """As in ``columns_without_default`` of sequence_info."""
    if key.sequence is not None and key.lost:
        status = "failed"
        message = (
            f"It has neither default nor identity, though its sequence {key.sequence.name} still exists;"
            " sequence_reset_repair_defaults gives it back."
        )
    elif key.filled_by_trigger:
        status = "warned"
        message = "It has neither default nor identity; a BEFORE INSERT trigger may fill it."
    elif key.sequence is not None:
        status = "warned"
        message = (
            f"It has neither default nor identity. {key.sequence.name} has the name of its sequence but does not belong"
            " to it: a lost default, or the application calls nextval itself."
        )
    else:
        status = "warned"
        message = "It has neither default nor identity, and no sequence: a dropped identity, or a natural key."
    return {
        "column": key.name,
        "table": key.table_name,
        "status": status,
        "sequence": key.sequence.name if key.sequence else None,
        "message": message,
    }
