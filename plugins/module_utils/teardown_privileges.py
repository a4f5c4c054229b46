# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the connected role may not do: take the objects, or make again what goes with them."""

from __future__ import annotations

from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.blast_radius import BlastRadius
from ansible_collections.pgops.rollback.plugins.module_utils.blocker import MOST_NAMED, Blocker
from ansible_collections.pgops.rollback.plugins.module_utils.dependent import Dependent
from ansible_collections.pgops.rollback.plugins.module_utils.names import quote_name
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_targets import Targets
from ansible_collections.pgops.rollback.plugins.module_utils.wording import listed

# Of the objects' own foreign keys to survivors: whoever adds them again needs the right to refer to them.
_REFERENCES = """
SELECT k.conname, n.nspname, c.relname, fn.nspname, f.relname, has_schema_privilege(fn.oid, 'USAGE')
FROM pg_constraint k
JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_class f ON f.oid = k.confrelid JOIN pg_namespace fn ON fn.oid = f.relnamespace
WHERE k.contype = 'f' AND k.conparentid = 0
  AND k.conrelid = ANY (%(relations)s::oid[]) AND k.confrelid <> ALL (%(relations)s::oid[])
  AND NOT (has_schema_privilege(fn.oid, 'USAGE')
           AND (has_table_privilege(f.oid, 'REFERENCES')
                OR NOT EXISTS (SELECT FROM unnest(k.confkey) a
                               WHERE NOT has_column_privilege(f.oid, a, 'REFERENCES'))))
ORDER BY 2, 3, 1
"""

# A trigger of the objects that calls a function which this role may not execute could not be made again.
_EXECUTES = """
SELECT t.tgname, n.nspname, c.relname, t.tgfoid::regprocedure::text
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE t.tgrelid = ANY (%(relations)s::oid[]) AND NOT t.tgisinternal AND t.tgparentid = 0
  AND t.tgfoid <> ALL (%(routines)s::oid[]) AND NOT has_function_privilege(t.tgfoid, 'EXECUTE')
ORDER BY 2, 3, 1
"""

# Grants carry the name of whoever gave them.
_GRANTORS = """
SELECT DISTINCT o.name, pg_get_userbyid(g.grantor)::text
FROM (
    SELECT c.oid::regclass::text AS name, c.relowner AS owner, c.relacl AS acl FROM pg_class c
    WHERE c.oid = ANY (%(relations)s::oid[])
    UNION ALL
    SELECT a.attrelid::regclass::text, c.relowner, a.attacl FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    WHERE a.attrelid = ANY (%(relations)s::oid[]) AND a.attacl IS NOT NULL
    UNION ALL
    SELECT p.oid::regprocedure::text, p.proowner, p.proacl FROM pg_proc p WHERE p.oid = ANY (%(routines)s::oid[])
) o, LATERAL aclexplode(o.acl) g
WHERE g.grantor <> o.owner AND NOT (pg_has_role(g.grantor, 'USAGE') AND pg_has_role(g.grantor, %(able)s))
ORDER BY 1, 2
"""

_ALL_TABLES = """
SELECT p.pubname, pg_get_userbyid(p.pubowner)::text FROM pg_publication p
WHERE p.puballtables AND NOT pg_has_role(p.pubowner, 'USAGE') ORDER BY 1
"""

_MAY_MAKE_SCHEMAS = "SELECT has_database_privilege(current_database(), 'CREATE')"


def privilege_blockers(cursor: Any, targets: Targets, radius: BlastRadius, drop: bool) -> list[Blocker]:
    """What this role may not do. A superuser may do everything but bring back data."""
    found = [*_unnamed_children(targets), *(_lost(radius.dropped, _other_way(targets)) if drop else [])]
    if radius.rights.superuser or not targets.objects:
        return found
    found += [*_ownership(targets, radius), *_schemas(targets, radius)]
    if drop:
        found += _not_again(cursor, targets, radius)
    cursor.execute(_MAY_MAKE_SCHEMAS)
    if not cursor.fetchone()[0] and (not drop or radius.closure.whole("pg_namespace")):
        found.append(Blocker(
            "privilege_missing",
            f"{radius.rights.role} may not create a schema in this database, which"
            f" {'an undo' if drop else 'the quarantine'} needs.",
            "Grant it CREATE on the database.",
        ))  # fmt: skip
    return found


def _unnamed_children(targets: Targets) -> list[Blocker]:
    return [
        Blocker(
            "child_unnamed",
            f"The {each.label} inherits from {each.through} and would go with it, and the manifest does not name it.",
            f"Name it in the manifest, or end the inheritance first (ALTER TABLE {each.name} NO INHERIT"
            f" {each.through}).",
        )
        for each in targets.tables
        if each.through and not each.partition and not each.named
    ]


def _other_way(targets: Targets) -> str:
    """Instead of a drop."""
    return "leave it in quarantine" if targets.schema else "use teardown_mode quarantine"


def _lost(dropped: list[Dependent], other_way: str) -> list[Blocker]:
    """Whatever could not be made again, one by one."""
    found = []
    for each in dropped:
        if each.recreatable:
            continue
        code = "data_lost" if "lost" in each.obstacle else "not_recreatable"
        remedy = (
            f"Take it out of the way by hand and keep its data, or {other_way}, which leaves it alone."
            if code == "data_lost"
            else "Let its owner drop it, or connect as a role that may make it"
            # A quarantine takes its tables out of publications, too.
            + ("." if each.kind == "publication table" else f", or {other_way}.")
        )
        found.append(Blocker(
            code, f"The {each.label} would go, and could not be made again: {each.obstacle}.", remedy
        ))  # fmt: skip
    return found


def _ownership(targets: Targets, radius: BlastRadius) -> list[Blocker]:
    by_owner: dict[str, list[str]] = {}
    for each in targets.objects:
        if each.owner_oid not in radius.rights.usable:
            by_owner.setdefault(radius.rights.owner(each.owner_oid), []).append(each.name)
    return [
        Blocker(
            "privilege_missing",
            f"{listed(names, MOST_NAMED)} {'belongs' if len(names) == 1 else 'belong'} to {owner}, as which"
            f" {radius.rights.role} cannot act.",
            f"Connect as {owner}, or as a member of it.",
        )
        for owner, names in sorted(by_owner.items())
    ]


def _schemas(targets: Targets, radius: BlastRadius) -> list[Blocker]:
    closed = sorted({each.schema for each in targets.objects if not radius.rights.creates_in(each.schema)})
    return [
        Blocker(
            "privilege_missing",
            f"{radius.rights.role} may not use, or create in, the schema {quote_name(schema)}, so an undo could not"
            " bring the objects back there.",
            f"Grant it USAGE and CREATE on the schema {quote_name(schema)}.",
        )
        for schema in closed
    ]


def _not_again(cursor: Any, targets: Targets, radius: BlastRadius) -> list[Blocker]:
    role = radius.rights.role
    parameters = {
        "relations": targets.relations, "routines": [each.oid for each in targets.routines],
        "able": "SET" if cursor.connection.server_version >= 160000 else "MEMBER",
    }  # fmt: skip
    found = []
    cursor.execute(_REFERENCES, parameters)
    for key, schema, table, on_schema, on_table, usage in cursor.fetchall():
        right = "REFERENCES on it" if usage else "USAGE on its schema"
        found.append(Blocker(
            "references_missing",
            f"The foreign key {quote_name(key)} on {quote_name(schema, table)} could not be made again: {role} has no"
            f" {right} ({quote_name(on_schema, on_table)}).",
            f"Grant it REFERENCES on {quote_name(on_schema, on_table)} and USAGE on its schema.",
        ))  # fmt: skip
    cursor.execute(_EXECUTES, parameters)
    for trigger, schema, table, function in cursor.fetchall():
        found.append(Blocker(
            "not_recreatable",
            f"The trigger {quote_name(trigger)} on {quote_name(schema, table)} could not be made again: {role} may not"
            f" execute {function}.",
            f"Grant it EXECUTE on {function}.",
        ))  # fmt: skip
    everything = {
        **parameters,
        "relations": sorted({*targets.relations, *radius.closure.whole("pg_class")}),
        "routines": sorted({*parameters["routines"], *radius.closure.whole("pg_proc")}),
    }
    cursor.execute(_GRANTORS, everything)
    for name, grantor in cursor.fetchall():
        found.append(Blocker(
            "foreign_grantor",
            f"Grants on {name} were made by {grantor}, as which {role} cannot make them again.",
            f"Let {grantor} revoke them and the owner grant them, or connect as a role that can act as both.",
        ))  # fmt: skip
    if targets.tables:
        cursor.execute(_ALL_TABLES)
        for publication, owner in cursor.fetchall():
            found.append(Blocker(
                "publication_all_tables",
                f"The publication {quote_name(publication)} of {owner} is FOR ALL TABLES: its subscribers lose these"
                f" tables, and {role} could not give them back what they had.",
                f"Let its owner decide, or {_other_way(targets)}.",
            ))  # fmt: skip
    return found
