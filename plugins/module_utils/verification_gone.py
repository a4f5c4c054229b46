# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Nothing is left of what was to go."""

from __future__ import annotations

from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.catalog_snapshot import Snapshot, read_snapshot
from ansible_collections.pgops.rollback.plugins.module_utils.driver import pg_errors
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.names import parse_name, quote_name, split_signature
from ansible_collections.pgops.rollback.plugins.module_utils.verification import (
    Context,
    Finding,
    Outcome,
    UnreadError,
    reading_catalogs,
)

#: What a kind may be in pg_class; functions are found by their signature.
RELATION_KINDS = {"table": "rpf", "view": "v", "materialized_view": "m", "sequence": "S"}
FUNCTION = "function"
KINDS = (*RELATION_KINDS, FUNCTION)

# A name without a schema may be left in any.
_RELATIONS = """
SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = %(name)s AND (n.nspname = %(schema)s OR %(schema)s IS NULL AND n.nspname !~ '^pg_')
  AND pg_catalog.strpos(%(kinds)s, c.relkind::text) > 0
"""
_NAMESAKES = """
SELECT EXISTS (SELECT FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
               WHERE p.proname = %(name)s AND coalesce(n.nspname = %(schema)s, true))
"""
#: Undefined function, schema, type.
_NO_FUNCTION, _NO_SCHEMA, _NO_TYPE = "42883", "3F000", "42704"


def gone(context: Context) -> Outcome:
    outcome = Outcome(
        f"Nothing is left of {len(context.options['gone']) + len(context.options['created'])} objects.",
        "Still there",
        "Run the teardown again, or take them out of the manifest if they are to stay.",
    )
    _look_for_named(context, outcome)
    if context.options["created"]:
        _look_for_created(context, outcome)
    return outcome


def _look_for_named(context: Context, outcome: Outcome) -> None:
    for entry in context.options["gone"]:
        kind, text = entry["kind"], entry["name"]
        if kind != FUNCTION:
            with context.reading() as cursor:
                for name in relations_left(cursor, kind, text):
                    outcome.findings.append(Finding(name, f"the {kind.replace('_', ' ')} is still there"))
            continue
        try:
            with context.reading() as cursor:
                there = function_left(cursor, text)
        except pg_errors.InsufficientPrivilege:
            outcome.unchecked.append(f"{text} (its schema may not be used by this role)")
            continue
        if there is None:
            outcome.unchecked.append(f"{text} (a type in it does not exist, and a function of that name is there)")
        elif there:
            outcome.findings.append(Finding(text, "the function is still there"))


def _look_for_created(context: Context, outcome: Outcome) -> None:
    """Objects of any kind, by the names that a snapshot gives them."""
    try:
        now = _snapshot(context)
    except UnreadError as error:
        outcome.unchecked.append(f"{len(context.options['created'])} objects of other kinds ({error})")
        return
    unread = {each["kind"] for each in now.unreadable if each["name"] == "*"}
    for entry in context.options["created"]:
        kind, name = entry["kind"], entry["name"]
        if kind in unread:
            outcome.unchecked.append(f"{kind} {name} (the role may not read of any {kind})")
        elif (kind, name) in now.objects:
            outcome.findings.append(Finding(name, f"the {kind} is still there"))


def _snapshot(context: Context) -> Snapshot:
    """Of all schemas; the one beside the baseline does where it is."""
    if context.options["baseline"] and context.comparison.now.schemas is None:
        return context.comparison.now
    with reading_catalogs():
        return read_snapshot(context.connections.first, "none")


def relations_left(cursor: Any, kind: str, text: str) -> list[str]:
    """:raises RollbackError: ``name_invalid``."""
    *schema, name = parse_name(text, kind)
    parameters = {"name": name, "schema": schema[-1] if schema else None, "kinds": RELATION_KINDS[kind]}
    cursor.execute(_RELATIONS, parameters)
    return [quote_name(*row) for row in cursor.fetchall()]


def function_left(cursor: Any, signature: str) -> bool | None:
    """Whether the function of exactly this signature is there; None when its types do not tell.

    to_regprocedure() would call a misspelt signature gone, from Postgres 16 on.

    :raises RollbackError: ``name_invalid``.
    """
    cursor.execute("SAVEPOINT signature")
    try:
        cursor.execute("SELECT %s::pg_catalog.regprocedure", (signature,))
    except (pg_errors.SyntaxError, pg_errors.InvalidName, pg_errors.DataError) as error:
        raise RollbackError(
            "name_invalid",
            f"{signature} is not the signature of a function.",
            "Write it with the types of its arguments, such as public.total(bigint, text).",
        ) from error
    except pg_errors.ProgrammingError as error:
        if error.pgcode not in (_NO_FUNCTION, _NO_SCHEMA, _NO_TYPE):
            raise
        cursor.execute("ROLLBACK TO SAVEPOINT signature")
        *schema, name = parse_name(split_signature(signature)[0], FUNCTION)
        cursor.execute(_NAMESAKES, {"name": name, "schema": schema[-1] if schema else None})
        return None if cursor.fetchone()[0] and error.pgcode != _NO_FUNCTION else False
    return True
