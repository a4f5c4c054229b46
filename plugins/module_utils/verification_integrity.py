# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What of the catalogs is there and does not work: constraints, indexes, triggers and rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.driver import sql
from ansible_collections.pgops.rollback.plugins.module_utils.names import quote_name
from ansible_collections.pgops.rollback.plugins.module_utils.verification import (
    FAILED,
    UNCHECKED,
    WARNED,
    Context,
    Finding,
    Outcome,
    user_objects,
    why,
)

#: Orphans are counted up to here; there being more would change nothing.
MOST_ORPHANS = 10_000

# Constraints that partitions and children inherit are their parent's. conenforced exists from 18 on; what is NOT
# ENFORCED is never valid, on purpose.
_NOT_VALID = f"""
SELECT k.contype, k.conname, n.nspname, c.relname, fn.nspname, f.relname,
       ARRAY (SELECT a.attname::text FROM pg_catalog.unnest(k.conkey) WITH ORDINALITY AS u (attnum, place)
              JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.attnum ORDER BY place),
       ARRAY (SELECT a.attname::text FROM pg_catalog.unnest(k.confkey) WITH ORDINALITY AS u (attnum, place)
              JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.attnum ORDER BY place)
FROM pg_catalog.pg_constraint k
JOIN pg_catalog.pg_class c ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN (pg_catalog.pg_class f JOIN pg_catalog.pg_namespace fn ON fn.oid = f.relnamespace) ON f.oid = k.confrelid
WHERE NOT k.convalidated AND k.conparentid = 0 AND k.conislocal
  AND coalesce((pg_catalog.to_jsonb(k) ->> 'conenforced')::boolean, true) AND {user_objects("pg_class", "c.oid")}
UNION ALL
SELECT 'd', k.conname, n.nspname, t.typname, NULL, NULL, NULL, NULL
FROM pg_catalog.pg_constraint k
JOIN pg_catalog.pg_type t ON t.oid = k.contypid JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
WHERE NOT k.convalidated AND {user_objects("pg_type", "t.oid")}
"""  # noqa: S608

# Whoever may not see another role's activity is shown the row of a build, without its index.
_INDEXES = f"""
WITH building AS MATERIALIZED (
    SELECT index_relid FROM pg_catalog.pg_stat_progress_create_index WHERE datname = pg_catalog.current_database())
SELECT n.nspname, c.relname, r.relname, c.relkind = 'I', i.indisready,
       EXISTS (SELECT FROM building b WHERE b.index_relid = c.oid),
       EXISTS (SELECT FROM building b WHERE b.index_relid IS NULL)
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_class r ON r.oid = i.indrelid
WHERE NOT (i.indisvalid AND i.indisready AND i.indislive) AND {user_objects("pg_class", "r.oid")}
"""  # noqa: S608

_TRIGGERS = f"""
SELECT 'constraint', k.conname, n.nspname, c.relname
FROM pg_catalog.pg_trigger t
JOIN pg_catalog.pg_constraint k ON k.oid = t.tgconstraint AND k.contype = 'f' AND k.conrelid = t.tgrelid
JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE t.tgenabled = 'D' AND t.tgisinternal AND {user_objects("pg_class", "c.oid")}
UNION
SELECT 'referenced', k.conname, n.nspname, c.relname
FROM pg_catalog.pg_trigger t
JOIN pg_catalog.pg_constraint k ON k.oid = t.tgconstraint AND k.contype = 'f' AND k.confrelid = t.tgrelid
JOIN pg_catalog.pg_class c ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE t.tgenabled = 'D' AND t.tgisinternal AND {user_objects("pg_class", "c.oid")}
UNION
SELECT 'trigger', t.tgname, n.nspname, c.relname
FROM pg_catalog.pg_trigger t
JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE t.tgenabled = 'D' AND NOT t.tgisinternal AND {user_objects("pg_class", "c.oid")}
UNION
SELECT 'rule', r.rulename, n.nspname, c.relname
FROM pg_catalog.pg_rewrite r
JOIN pg_catalog.pg_class c ON c.oid = r.ev_class JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE r.ev_enabled = 'D' AND {user_objects("pg_class", "c.oid")}
ORDER BY 1, 3, 4, 2
"""  # noqa: S608

_DISABLED = {
    "trigger": ("the trigger is disabled", WARNED),
    "rule": ("the rule is disabled", WARNED),
    "constraint": ("the foreign key is not enforced: its triggers are disabled", FAILED),
    "referenced": ("the foreign key is not enforced: the triggers of the table it refers to are disabled", FAILED),
}

#: What a snapshot says of those that are off.
_OFF: dict[str, tuple[str, dict[str, Any]]] = {
    "trigger": ("trigger", {"enabled": "no"}), "rule": ("rule", {"enabled": "no"}),
}  # fmt: skip
_FOREIGN_KEY_OFF: tuple[str, dict[str, Any]] = ("constraint", {"triggers_disabled": True})


def count_orphans(
    connection: Any,
    child: Sequence[str],
    columns: Sequence[str],
    parent: Sequence[str],
    parent_columns: Sequence[str],
) -> int:
    """How many rows of the child have no partner in the parent, up to MOST_ORPHANS. Rows with a NULL need none.

    Rows of tables that inherit count with both; of a partitioned table they are its own.

    :param child: its schema and name; ``parent`` likewise.
    """
    statement = sql.SQL(
        "SELECT pg_catalog.count(*) FROM (SELECT FROM {child} AS c"
        " WHERE {present} AND NOT EXISTS (SELECT FROM {parent} AS p WHERE {same}) LIMIT {most}) AS orphans"
    ).format(
        child=sql.Identifier(*child),
        parent=sql.Identifier(*parent),
        present=sql.SQL(" AND ").join(sql.SQL("{} IS NOT NULL").format(sql.Identifier("c", name)) for name in columns),
        same=sql.SQL(" AND ").join(
            sql.SQL("{} = {}").format(sql.Identifier("p", there), sql.Identifier("c", here))
            for here, there in zip(columns, parent_columns, strict=True)
        ),
        most=sql.Literal(MOST_ORPHANS),
    )
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return int(cursor.fetchone()[0])


def orphans_in_words(number: int) -> str:
    rows = "1 row has" if number == 1 else f"{number:,} rows have"
    return f"at least {rows}" if number >= MOST_ORPHANS else rows


def constraints(context: Context) -> Outcome:
    outcome = Outcome(
        "Every foreign key and CHECK constraint is valid.",
        "Not valid, so that older rows may break them",
        "ALTER TABLE … VALIDATE CONSTRAINT (ALTER DOMAIN for a domain's), once no row breaks it.",
    )
    with context.reading() as cursor:
        for kind, name, schema, relation, *_rest in _not_valid(cursor):
            constraint = f"{quote_name(name)} on {quote_name(schema, relation)}"
            if not context.already("constraint", constraint, validated=False):
                problem = "NOT VALID: rows older than it were never checked"
                shown = constraint.replace(" on ", " on domain ") if kind == "d" else constraint
                outcome.findings.append(Finding(shown, problem, WARNED))
    return outcome


def orphans(context: Context) -> Outcome:
    """Behind foreign keys that are NOT VALID; those behind one that is missing take a baseline to find."""
    outcome = Outcome(
        "No row lacks the row that a foreign key says it refers to.",
        "Rows that refer to nothing",
        "Restore the rows they refer to, or delete or repair them, then VALIDATE the constraint.",
    )
    with context.reading() as cursor:
        keys = [row for row in _not_valid(cursor) if row[0] == "f"]
    for _kind, name, schema, table, parent_schema, parent, columns, parent_columns in keys:
        text = quote_name(schema, table)
        try:
            with context.reading() as cursor:
                number = count_orphans(
                    cursor.connection, (schema, table), columns, (parent_schema, parent), parent_columns
                )
        except UNCHECKED as error:
            outcome.unchecked.append(f"{text} behind {quote_name(name)} ({why(error)})")
            continue
        if number:
            there = f"{orphans_in_words(number)} no partner in {quote_name(parent_schema, parent)}"
            # They may have been there all along, and nobody counted them then.
            old = context.already("constraint", f"{quote_name(name)} on {text}", validated=False)
            more = ", which was NOT VALID in the baseline, too" if old else ""
            outcome.findings.append(
                Finding(text, f"{there} ({quote_name(name)}{more})", WARNED if old else FAILED)
            )
    return outcome


def _not_valid(cursor: Any) -> list[tuple[Any, ...]]:
    cursor.execute(_NOT_VALID)
    return list(cursor.fetchall())


def indexes(context: Context) -> Outcome:
    outcome = Outcome(
        "Every index is valid and ready.",
        "Indexes that queries cannot use",
        "REINDEX INDEX CONCURRENTLY, or drop it if it was a failed CREATE INDEX CONCURRENTLY.",
    )
    with context.reading() as cursor:
        cursor.execute(_INDEXES)
        for schema, name, table, partitioned, ready, building, hidden in cursor.fetchall():
            text = quote_name(schema, name)
            if context.already("index", f"{quote_name(name)} on {quote_name(schema, table)}", valid=False):
                continue
            if building:
                outcome.findings.append(Finding(text, f"is being built on {quote_name(schema, table)} now", WARNED))
            elif partitioned:
                problem = f"a partition of {quote_name(schema, table)} has no index attached to it"
                outcome.findings.append(Finding(text, problem, WARNED))
            elif hidden:
                problem = "not valid; another role builds an index now, which may be this one"
                outcome.findings.append(Finding(text, problem, WARNED))
            else:
                problem = "not valid" if ready else "neither valid nor kept up to date"
                outcome.findings.append(Finding(text, f"{problem}, left behind on {quote_name(schema, table)}"))
    return outcome


def triggers(context: Context) -> Outcome:
    outcome = Outcome(
        "No trigger or rule is disabled.",
        "Disabled",
        "ALTER TABLE … ENABLE TRIGGER (ENABLE RULE for a rule), unless it is meant to be off.",
    )
    with context.reading() as cursor:
        cursor.execute(_TRIGGERS)
        seen = set()
        for kind, name, schema, table in cursor.fetchall():
            text = f"{quote_name(name)} on {quote_name(schema, table)}"
            # Of one foreign key both sides may be off.
            if kind == "referenced" and text in seen:
                continue
            seen.add(text)
            known_as, attributes = _OFF.get(kind, _FOREIGN_KEY_OFF)
            if context.already(known_as, text, **attributes):
                continue
            outcome.findings.append(Finding(text, *_DISABLED[kind]))
    return outcome


def event_triggers(context: Context) -> Outcome:
    outcome = Outcome(
        "No event trigger is disabled.",
        "Disabled event triggers",
        "ALTER EVENT TRIGGER … ENABLE, unless it is meant to be off.",
    )
    with context.reading() as cursor:
        cursor.execute("SELECT evtname FROM pg_catalog.pg_event_trigger WHERE evtenabled = 'D' ORDER BY 1")
        names = [quote_name(name) for (name,) in cursor.fetchall()]
    outcome.findings += [
        Finding(name, "disabled", WARNED) for name in names
        if not context.already("event trigger", name, enabled="no")
    ]  # fmt: skip
    return outcome
