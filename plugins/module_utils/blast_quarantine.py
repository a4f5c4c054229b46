# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a quarantine leaves working: what knows the tables by their OID goes on reaching them in their new schema."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.dependent import REMAINS, Dependent
from ansible_collections.pgops.rollback.plugins.module_utils.names import quote_name

# Of a partitioned table the key of the parent speaks for those of its partitions.
_REACHING_KEYS = """
SELECT k.conname, n.nspname, c.relname, fn.nspname, f.relname, k.confdeltype::text, pg_get_userbyid(c.relowner)::text,
       pg_get_constraintdef(k.oid)
FROM pg_constraint k
JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_class f ON f.oid = k.confrelid JOIN pg_namespace fn ON fn.oid = f.relnamespace
WHERE k.contype = 'f' AND k.conparentid = 0 AND k.confdeltype IN ('c', 'n', 'd')
  AND k.conrelid = ANY (%(relations)s::oid[]) AND k.confrelid <> ALL (%(relations)s::oid[])
"""
_ACTIONS = {"c": "deletes rows of", "n": "sets to NULL in", "d": "sets to the default in"}

_SENTENCES = {
    "policy": "Goes on reading {uses} in the quarantine, as long as the grants there stay.",
    "view": "Still shows the rows of {uses} to whoever may read it.",
    "materialized view": "Still shows, and refreshes from, the rows of {uses}.",
    "constraint": "Rows of {on} are still held to it, by what is in the quarantine.",
    "trigger": "Goes on firing on {on}, and calls what is in the quarantine.",
    "default": "Goes on using {uses} in the quarantine.",
    "column": "Keeps its data and its type, which is in the quarantine then.",
}


def quarantined(each: Dependent) -> Dependent:
    """What becomes of something that a drop would take. A publication loses its tables, all else goes on working."""
    if each.kind == "publication table":
        return each
    sentence = _SENTENCES.get(each.kind, "Goes on working, on {uses} in the quarantine.")
    detail = sentence.format(on=each.on, uses=", ".join(each.uses) or "what is")
    return replace(each, effect=REMAINS, detail=detail, recreatable=True, obstacle="")


def reaching_keys(cursor: Any, relations: list[int]) -> list[Dependent]:
    """Foreign keys by which a delete on a survivor still reaches what is in quarantine."""
    cursor.execute(_REACHING_KEYS, {"relations": relations})
    found = []
    for constraint, schema, table, on_schema, on_table, action, owner, definition in cursor.fetchall():
        name, on = quote_name(schema, table), quote_name(on_schema, on_table)
        found.append(Dependent(
            "constraint", f"{quote_name(constraint)} on {name}", on, REMAINS, owner,
            f"Deleting rows of {on} still {_ACTIONS[action]} {name} in the quarantine.", definition=definition,
            uses=(f"table {name}",),
        ))  # fmt: skip
    return found
