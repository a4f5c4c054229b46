# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pairs of tables whose rows belong together without a foreign key, such as ``auth.users`` and ``public.profiles``."""

from __future__ import annotations

from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.driver import pg_errors
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.names import parse_name, quote_name
from ansible_collections.pgops.rollback.plugins.module_utils.verification import (
    UNCHECKED,
    Context,
    Finding,
    Outcome,
    why,
)
from ansible_collections.pgops.rollback.plugins.module_utils.verification_integrity import (
    count_orphans,
    orphans_in_words,
)

#: Of the option ``pairs``.
PAIR_ARGUMENTS: dict[str, dict[str, Any]] = {
    "left": {"type": "str", "required": True},
    "right": {"type": "str", "required": True},
    "both": {"type": "bool", "default": False},
}

_COLUMN = """
SELECT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
               WHERE n.nspname = %(schema)s AND c.relname = %(table)s),
       EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
               JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
               WHERE n.nspname = %(schema)s AND c.relname = %(table)s AND a.attname = %(column)s)
"""


def pairs(context: Context) -> Outcome:
    """Counts; no key is shown, for a key of a person may be personal data."""
    outcome = Outcome(
        "Every row has its partner.",
        "Rows without their partner",
        "Create the missing rows, or delete those left alone: SELECT … WHERE NOT EXISTS lists them.",
    )
    for pair in context.options["pairs"]:
        left, right = _column(pair["left"]), _column(pair["right"])
        with context.reading() as cursor:
            missing = [fault for side in (left, right) if (fault := _missing(cursor, side))]
        if missing:
            # Whether it was ever there, the comparison with the baseline knows.
            outcome.unchecked += missing
            continue
        directions = [(right, left)] + ([(left, right)] if pair.get("both") else [])
        for child, parent in directions:
            name = quote_name(*child)
            try:
                with context.reading() as cursor:
                    number = count_orphans(cursor.connection, child[:2], child[2:], parent[:2], parent[2:])
            except UNCHECKED as error:
                outcome.unchecked.append(f"{name} beside {quote_name(*parent)} ({why(error)})")
                continue
            except pg_errors.UndefinedFunction:
                outcome.findings.append(Finding(name, f"cannot be compared with {quote_name(*parent)}"))
                continue
            if number:
                problem = f"{orphans_in_words(number)} no partner in {quote_name(*parent[:2])}"
                outcome.findings.append(Finding(name, problem))
    return outcome


def _column(text: Any) -> tuple[str, ...]:
    parts = parse_name(str(text), "column")
    if len(parts) != 3:
        raise RollbackError(
            "pairs_invalid",
            f"{text} in the pairs is not a column with its table and schema.",
            "Write schema.table.column, such as auth.users.id.",
        )
    return parts


def _missing(cursor: Any, column: tuple[str, ...]) -> str:
    schema, table, name = column
    cursor.execute(_COLUMN, {"schema": schema, "table": table, "column": name})
    table_there, column_there = cursor.fetchone()
    if not table_there:
        return f"{quote_name(schema, table)}, since there is no such table"
    return "" if column_there else f"{quote_name(*column)}, since there is no such column"
