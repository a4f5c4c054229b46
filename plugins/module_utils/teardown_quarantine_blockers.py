# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What stands in the way of a quarantine and of nothing else, and what it does not keep from being seen."""

from __future__ import annotations

from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.blast_radius import BlastRadius
from ansible_collections.pgops.rollback.plugins.module_utils.blocker import MOST_NAMED, Blocker
from ansible_collections.pgops.rollback.plugins.module_utils.names import quote_name
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_moves import read_names
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_targets import Targets
from ansible_collections.pgops.rollback.plugins.module_utils.wording import listed

# The sequence of a serial column that stays cannot leave its schema.
_OWNED = """
SELECT d.objid::bigint, n.nspname::text, c.relname::text, a.attname::text
FROM pg_depend d JOIN pg_class c ON c.oid = d.refobjid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid
WHERE d.classid = 'pg_class'::regclass AND d.objid = ANY (%(sequences)s::oid[]) AND d.refclassid = 'pg_class'::regclass
  AND d.deptype = 'a' AND d.refobjid <> ALL (%(relations)s::oid[])
"""

_PARENTS = """
SELECT i.inhrelid::bigint, n.nspname::text, p.relname::text
FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent JOIN pg_namespace n ON n.oid = p.relnamespace
WHERE i.inhrelid = ANY (%(relations)s::oid[]) AND i.inhparent <> ALL (%(relations)s::oid[])
"""

_PUBLICATIONS = """
SELECT p.pubname::text, NULL FROM pg_publication p WHERE p.puballtables
UNION ALL
SELECT p.pubname::text, n.nspname::text
FROM pg_publication_namespace m JOIN pg_publication p ON p.oid = m.pnpubid JOIN pg_namespace n ON n.oid = m.pnnspid
WHERE n.nspname = ANY (%(schemas)s::text[])
"""


def quarantine_blockers(cursor: Any, targets: Targets, radius: BlastRadius) -> list[Blocker]:
    """Names that are there twice, publications of other owners, and sequences that cannot leave their schema."""
    found = [*_names(cursor, targets), *_owned(cursor, targets)]
    for each in radius.dropped:
        if each.kind == "publication table" and not each.recreatable:
            found.append(Blocker(
                "publication_foreign",
                f"The {each.label} would have to go, and {radius.rights.role} could not put it back: {each.obstacle}.",
                "Let the publication's owner take the table out, or connect as a role that may.",
            ))  # fmt: skip
    return found


def quarantine_warnings(cursor: Any, targets: Targets) -> list[Blocker]:
    """Who goes on receiving or seeing the rows, and who does not."""
    tables = {each.oid: each for each in targets.tables}
    found = []
    cursor.execute(_PUBLICATIONS, {"schemas": sorted({each.schema for each in tables.values()})})
    for publication, schema in cursor.fetchall() if tables else ():
        if schema is None:
            found.append(Blocker(
                "publication_all_tables",
                f"The publication {quote_name(publication)} is FOR ALL TABLES: it goes on publishing what is in"
                " quarantine.",
                "Nothing, if its subscribers may go on receiving deletes that cascade; they look for the tables under"
                " their new names.",
            ))  # fmt: skip
        else:
            found.append(Blocker(
                "publication_schema",
                f"The publication {quote_name(publication)} publishes every table in the schema {quote_name(schema)}:"
                " while they are in quarantine it does not publish these.",
                "Nothing: it publishes them again when they are back. Its subscribers miss what happens meanwhile.",
            ))  # fmt: skip
    cursor.execute(_PARENTS, {"relations": targets.relations})
    for child, *parent in cursor.fetchall():
        each = tables[child]
        what = "is a partition of" if each.partition else "inherits from"
        found.append(Blocker(
            "quarantine_attached",
            f"The {each.label} {what} {quote_name(*parent)}, which stays: its rows are still read and written through"
            " that one.",
            f"Name {quote_name(*parent)} in the manifest, too, or take {each.name} off it first.",
        ))  # fmt: skip
    return found


def _names(cursor: Any, targets: Targets) -> list[Blocker]:
    """All of them go into one schema."""
    objects = {(each.catalog, each.oid): each for each in targets.objects}
    by_name: dict[tuple[str, str, str], dict[str, str]] = {}
    for what, name, oid, types in read_names(cursor, targets.relations, [each.oid for each in targets.routines]):
        owner = objects["pg_proc" if what == "routine" else "pg_class", oid]
        # A table and its row type have one name.
        by_name.setdefault(("routine" if what == "routine" else "", name, types), {})[owner.label] = owner.schema
    # Of two tables of one name the array types have one, too.
    contested: dict[tuple[str, ...], set[str]] = {}
    for (_what, name, _types), schemas in by_name.items():
        if len(set(schemas.values())) > 1:
            contested.setdefault(tuple(sorted(schemas)), set()).add(quote_name(name))
    return [
        Blocker(
            "quarantine_name_taken",
            f"{listed(labels, MOST_NAMED)} are in different schemas, and need the same name in the quarantine:"
            f" {listed(sorted(names), MOST_NAMED)}.",
            "Rename one of them, or make a manifest for each schema.",
        )
        for labels, names in contested.items()
    ]


def _owned(cursor: Any, targets: Targets) -> list[Blocker]:
    sequences = {each.oid: each for each in targets.objects if each.kind == "sequence"}
    cursor.execute(_OWNED, {"sequences": list(sequences), "relations": targets.relations})
    return [
        Blocker(
            "sequence_owned",
            f"The {sequences[sequence].label} belongs to the column {quote_name(*column)}, which stays, and cannot"
            " leave its schema.",
            "Take it out of the manifest, or end that first with ALTER SEQUENCE"
            f" {sequences[sequence].name} OWNED BY NONE.",
        )
        for sequence, *column in cursor.fetchall()
    ]
