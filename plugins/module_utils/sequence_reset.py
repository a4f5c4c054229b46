# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""sequence_reset's one call: survey, repair or predict, and say what happened."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.default_repair import (
    DefaultRepair,
    DefaultRepairer,
    why_not,
)
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_catalog import KeyWithoutDefault, Sequence
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_repair import (
    Repair,
    SequenceRepairer,
    undo_statement,
)
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_state import (
    Assessment,
    Position,
    describe,
    missing_privileges,
)
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_survey import Survey, describe_key

try:
    from psycopg2 import sql
except ImportError:
    # connect() says so before anything of psycopg2 is used.
    pass

#: States that need no repair; the result counts such sequences and does not list them.
HEALTHY = ("ok", "ahead")

_WORDS = {
    "reset": "reset",
    "would_reset": "would be reset",
    "refused": "refused",
    "failed": "failed",
}


def reset(connection: Any, found: Survey, options: dict[str, Any], lock_timeout_ms: int) -> dict[str, Any]:
    """Repair what the survey found behind.

    :param options: ``lock_healthy``, ``repair_defaults``, ``test`` as sequence_reset documents them.
    :returns: what sequence_reset returns, without the difference.
    """
    chosen = [(sequence, first) for sequence, first in found.sequences if _worth_a_lock(sequence, first, options)]
    repaired = dict(_by_oid(SequenceRepairer(connection, lock_timeout_ms).repair_all(chosen)))
    repairs = [
        (sequence, repaired.get(sequence.oid) or _left_alone(sequence, first)) for sequence, first in found.sequences
    ]
    keys = _keys_to_repair(found) if options["repair_defaults"] else []
    defaults = DefaultRepairer(connection, lock_timeout_ms).repair_all(keys)
    with connection.cursor() as cursor:
        listed = [_listed(cursor, sequence, repair) for sequence, repair in repairs if _is_news(sequence, repair)]
        if options["test"] == "nextval":
            for entry, (sequence, _repair) in zip(
                listed, [each for each in repairs if _is_news(*each)], strict=True
            ):
                if entry["action"] == "reset":
                    _test(cursor, sequence, entry)
    return _result(found, listed, _columns(found, defaults))


def predict(found: Survey, options: dict[str, Any], cursor: Any) -> dict[str, Any]:
    """What reset would return, from reading alone."""
    repairs = []
    for sequence, first in found.sequences:
        repair = _left_alone(sequence, first)
        if first.target is not None:
            missing = missing_privileges(sequence, repair=True)
            if missing:
                repair = Repair("failed", f"Missing privilege: {'; '.join(missing)}.", first)
            else:
                repair = Repair("would_reset", "", first, first.target)
        repairs.append((sequence, repair))
    keys = _keys_to_repair(found) if options["repair_defaults"] else []
    defaults = [
        (key, DefaultRepair("failed", why_not(key)) if why_not(key) else DefaultRepair("would_repair", ""))
        for key in keys
    ]
    listed = [_listed(cursor, sequence, repair) for sequence, repair in repairs if _is_news(sequence, repair)]
    return _result(found, listed, _columns(found, defaults))
