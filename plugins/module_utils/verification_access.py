# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Row-level security: policies that nothing applies, and tables that no policy opens."""

from __future__ import annotations

from typing import NamedTuple

from ansible_collections.pgops.rollback.plugins.module_utils.names import quote_name
from ansible_collections.pgops.rollback.plugins.module_utils.verification import (
    WARNED,
    Context,
    Finding,
    Outcome,
    user_objects,
)

_POLICIES_UNUSED = f"""
SELECT n.nspname, c.relname, pg_catalog.count(*), pg_catalog.string_agg(p.polname, ', ' ORDER BY p.polname)
FROM pg_catalog.pg_policy p
JOIN pg_catalog.pg_class c ON c.oid = p.polrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE NOT c.relrowsecurity AND {user_objects("pg_class", "c.oid")}
GROUP BY 1, 2
"""  # noqa: S608

# A table that nobody but its owner and roles with BYPASSRLS was granted is closed on purpose.
_CLOSED = f"""
SELECT n.nspname, c.relname, EXISTS (SELECT FROM pg_catalog.pg_policy p WHERE p.polrelid = c.oid)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relrowsecurity AND {user_objects("pg_class", "c.oid")}
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_policy p WHERE p.polrelid = c.oid AND p.polpermissive)
  AND EXISTS (SELECT FROM pg_catalog.aclexplode(c.relacl) g LEFT JOIN pg_catalog.pg_roles r ON r.oid = g.grantee
              WHERE g.grantee <> c.relowner AND NOT coalesce(r.rolsuper OR r.rolbypassrls, false))
"""  # noqa: S608


class _Then(NamedTuple):
    """What the baseline says of a table; policies and ``permissive`` are numbers."""

    row_security: bool
    policies: int
    permissive: int


def disabled_security(context: Context) -> Outcome:
    outcome = Outcome(
        "Every table with policies applies them.",
        "Policies that are not applied, so that everybody sees all rows",
        "ALTER TABLE … ENABLE ROW LEVEL SECURITY, or drop policies that are no longer meant.",
    )
    with context.reading() as cursor:
        cursor.execute(_POLICIES_UNUSED)
        for schema, table, number, names in cursor.fetchall():
            then = _then(context, schema, table)
            if then and not then.row_security and then.policies:
                continue
            noun = "policy" if number == 1 else "policies"
            problem = f"row-level security is off, so its {noun} {names} hide nothing"
            outcome.findings.append(Finding(quote_name(schema, table), problem))
    return outcome


def no_policies(context: Context) -> Outcome:
    outcome = Outcome(
        "No table that others were granted is closed to them by row-level security.",
        "Tables whose rows nobody but the owner sees",
        "Create the policy that is missing, or revoke the grants if the table is closed on purpose.",
    )
    with context.reading() as cursor:
        cursor.execute(_CLOSED)
        for schema, table, restricted in cursor.fetchall():
            then = _then(context, schema, table)
            if then and then.row_security and not then.permissive:
                continue
            lacks = "restrictive policies only" if restricted else "no policy"
            problem = f"row-level security is on with {lacks}, though other roles were granted access"
            outcome.findings.append(Finding(quote_name(schema, table), problem, WARNED))
    return outcome


def _then(context: Context, schema: str, table: str) -> _Then | None:
    """None without a baseline, or where it does not know the table."""
    objects = context.baseline.snapshot.objects if context.baseline else {}
    known = objects.get(("table", quote_name(schema, table)))
    if known is None:
        return None
    policies = [
        each for each in objects.values()
        if each.kind == "policy" and (each.schema, each.relation) == (schema, table)
    ]  # fmt: skip
    permissive = sum(bool(each.attributes.get("permissive")) for each in policies)
    return _Then(bool(known.attributes.get("row_security")), len(policies), permissive)
