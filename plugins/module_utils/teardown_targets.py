# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a rollback manifest means in this database: the tables, functions and sequences that a teardown takes.

A name of the manifest that does not exist is drift, not an error: half of a migration may never have arrived. What is
there and is something else than the manifest says is an error, since then the manifest is another database's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.names import parse_name, quote_name
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_routines import (
    Signature,
    parse_signature,
    resolve_routines,
)

#: The lists of a manifest that name what goes, and what each of their entries is called.
SECTIONS = {"tables": "table", "functions": "function", "sequences": "sequence"}

_TABLE_KINDS = {"r": "table", "p": "table", "f": "foreign table"}
_OTHER_KINDS = {"v": "view", "m": "materialized view", "S": "sequence", "c": "type", "i": "index", "I": "index"}

_RELATIONS = """
SELECT w.place::int, n.nspname, c.relname, c.oid::bigint, c.relkind::text
FROM unnest(%(schemas)s::text[], %(names)s::text[]) WITH ORDINALITY AS w (schema, name, place)
JOIN pg_class c ON c.relname = w.name JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relpersistence <> 't' AND c.relkind <> 't'
  AND (n.nspname = w.schema OR w.schema IS NULL AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema')
ORDER BY 1, 2
"""

# The tables that were named, what inherits from them or is a partition, and the sequences that belong to any of them.
_FAMILY = """
WITH RECURSIVE family (oid, parent) AS (
    SELECT o, NULL::oid FROM unnest(%(relations)s::oid[]) o
    UNION
    SELECT i.inhrelid, i.inhparent FROM family f JOIN pg_inherits i ON i.inhparent = f.oid
), taken (oid, parent) AS (
    SELECT oid, parent FROM family
    UNION
    SELECT d.objid, d.refobjid FROM family f
    JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = f.oid AND d.refobjsubid > 0
     AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
    JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
)
SELECT c.oid::bigint, n.nspname, c.relname, c.relkind::text, c.relowner::bigint, c.relispartition,
       ARRAY (SELECT ARRAY[pn.nspname, p.relname]::text[] FROM taken o JOIN pg_class p ON p.oid = o.parent
              JOIN pg_namespace pn ON pn.oid = p.relnamespace WHERE o.oid = c.oid ORDER BY 1)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid IN (SELECT oid FROM taken) ORDER BY n.nspname, c.relname
"""

# A sequence of an identity column cannot go without it.
_IDENTITIES = """
SELECT d.objid::bigint, d.refobjid::bigint, n.nspname, c.relname, a.attname
FROM pg_depend d JOIN pg_class c ON c.oid = d.refobjid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid
WHERE d.classid = 'pg_class'::regclass AND d.objid = ANY (%s::oid[]) AND d.refclassid = 'pg_class'::regclass
  AND d.deptype = 'i'
"""


@dataclass(frozen=True)
class Target:
    """An object that a teardown takes.

    :ivar catalog: ``pg_class`` or ``pg_proc``.
    :ivar kind: ``table``, ``foreign table``, ``sequence``, ``function``, ``procedure`` or ``aggregate``.
    :ivar name: as SQL writes it, of a function with the types of its arguments; as in a catalog snapshot.
    :ivar relkind: as in pg_class; empty for a function.
    :ivar named: the manifest names it.
    :ivar through: the table it is a partition or child of, or that its sequence belongs to; empty if there is none.
    :ivar partition: a partition, which cannot but go with its parent.
    """

    catalog: str
    oid: int
    kind: str
    name: str
    schema: str
    short: str
    owner_oid: int
    relkind: str = ""
    named: bool = True
    through: str = ""
    partition: bool = False

    @property
    def label(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass
class Targets:
    """:ivar objects: in the order of kind and name.
    :ivar missing: kind and name of what the manifest names and the database lacks.
    :ivar overloads: functions that have the name of one of the manifest and are not in it.
    :ivar manifest: the part of it that a plan is made of, in a fixed order.
    :ivar schema: that is dropped, too, when nothing is left in it; empty for none.
    """

    objects: list[Target]
    missing: list[tuple[str, str]] = field(default_factory=list)
    overloads: list[str] = field(default_factory=list)
    manifest: dict[str, Any] = field(default_factory=dict)
    schema: str = ""

    @property
    def relations(self) -> list[int]:
        return [each.oid for each in self.objects if each.catalog == "pg_class"]

    @property
    def tables(self) -> list[Target]:
        return [each for each in self.objects if each.kind in ("table", "foreign table")]

    @property
    def routines(self) -> list[Target]:
        return [each for each in self.objects if each.catalog == "pg_proc"]


def read_manifest(manifest: Any) -> dict[str, list[str]]:
    """The lists of what goes, each without blanks around its names.

    :raises RollbackError: ``manifest_invalid``, ``manifest_unreadable``, ``manifest_empty``.
    """
    if not isinstance(manifest, dict):
        raise _invalid("it is no dictionary")
    if manifest.get("unreadable"):
        raise RollbackError(
            "manifest_unreadable",
            f"The manifest's file cannot be read: {manifest['unreadable']}.",
            "Correct rollback_manifest or the file; nothing was done.",
        )
    found = {}
    for section, kind in SECTIONS.items():
        names = manifest.get(section) or []
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise _invalid(f"{section} is no list of {kind} names")
        found[section] = [name.strip() for name in names]
    if not any(found.values()):
        raise RollbackError(
            "manifest_empty",
            "The manifest names no table, no function and no sequence, so there is nothing to plan.",
            "Name what the migration created, or let manifest.yml write it from two baselines; nothing was done.",
        )
    return found


def no_targets() -> Targets:
    """Of a purge where nothing is in quarantine."""
    return Targets([], manifest={"name": "", **{section: [] for section in SECTIONS}})


def resolve(cursor: Any, manifest: Any) -> Targets:
    """:param cursor: in a transaction of table_content.begin_reading().
    :raises RollbackError: those of read_manifest(), ``name_invalid``, ``system_schema``, ``object_twice``,
        ``object_kind``, ``object_ambiguous``, ``object_required``.
    """
    lists = read_manifest(manifest)
    names = {
        section: [(text, _relation_name(text, SECTIONS[section])) for text in lists[section]]
        for section in ("tables", "sequences")
    }
    signatures = [(text, parse_signature(text)) for text in lists["functions"]]
    for text, signature in signatures:
        _no_system_schema(text, "function", signature.parts)
    for section, each in names.items():
        _once([parts for _text, parts in each], SECTIONS[section])
    _once([each for _text, each in signatures], "function")

    missing: list[tuple[str, str]] = []
    named = _named_relations(cursor, names, missing)
    routines = resolve_routines(cursor, [signature for _text, signature in signatures])
    missing += [("function", text) for text in routines.missing]
    objects = _family(cursor, named)
    objects += [Target("pg_proc", *each) for each in routines.found]
    _no_lone_identity(cursor, objects)
    return Targets(
        objects=sorted(objects, key=lambda each: (each.kind, each.name)),
        missing=sorted(missing),
        overloads=routines.overloads,
        manifest={
            "name": str(manifest.get("name") or ""),
            **{section: sorted(entries) for section, entries in lists.items()},
        },
    )


def _relation_name(text: str, kind: str) -> tuple[str, ...]:
    parts = parse_name(text, kind)
    if len(parts) > 2:
        raise RollbackError(
            "name_invalid",
            f"The {kind} name {text!r} has {len(parts)} parts.",
            "Write schema and name only, and double quotes around a part that has a dot in it; nothing was done.",
        )
    _no_system_schema(text, kind, parts)
    return parts


def _no_system_schema(text: str, kind: str, parts: tuple[str, ...]) -> None:
    if len(parts) == 2 and (parts[0].startswith("pg_") or parts[0] == "information_schema"):
        raise RollbackError(
            "system_schema",
            f"The {kind} {text} is in the schema {quote_name(parts[0])}, which belongs to Postgres itself.",
            "Take it out of the manifest: a migration cannot have created it; nothing was done.",
        )


def _once(names: list[Any], kind: str) -> None:
    for place, name in enumerate(names):
        if name in names[:place]:
            text = name.text if isinstance(name, Signature) else quote_name(*name)
            raise _twice(kind, text)


def _named_relations(
    cursor: Any, names: dict[str, list[tuple[str, tuple[str, ...]]]], missing: list[tuple[str, str]]
) -> list[int]:
    """OIDs of those that are there."""
    wanted = [(SECTIONS[section], text, parts) for section, each in names.items() for text, parts in each]
    cursor.execute(_RELATIONS, {
        "schemas": [parts[0] if len(parts) == 2 else None for _kind, _text, parts in wanted],
        "names": [parts[-1] for _kind, _text, parts in wanted],
    })  # fmt: skip
    by_place: dict[int, list[tuple[Any, ...]]] = {}
    for place, *row in cursor.fetchall():
        by_place.setdefault(place - 1, []).append(tuple(row))
    found: list[int] = []
    for place, (kind, text, _parts) in enumerate(wanted):
        rows = by_place.get(place, [])
        if len(rows) > 1:
            raise RollbackError(
                "object_ambiguous",
                f"The {kind} name {text} stands for several: {', '.join(quote_name(*row[:2]) for row in rows)}.",
                "Write the schema too; nothing was done.",
            )
        if not rows:
            missing.append((kind, text))
            continue
        schema, name, oid, relkind = rows[0]
        real = _TABLE_KINDS.get(relkind) or _OTHER_KINDS.get(relkind, "relation")
        if not (relkind in _TABLE_KINDS if kind == "table" else relkind == "S"):
            raise RollbackError(
                "object_kind",
                f"{quote_name(schema, name)} is a {real}, and the manifest lists it among its {kind}s.",
                "Correct the manifest; views are found on their own and need not be named; nothing was done.",
            )
        if oid in found:
            raise _twice(kind, quote_name(schema, name))
        found.append(oid)
    return found


def _family(cursor: Any, named: list[int]) -> list[Target]:
    cursor.execute(_FAMILY, {"relations": named})
    found = []
    for oid, schema, name, relkind, owner, partition, parents in cursor.fetchall():
        found.append(Target(
            "pg_class", oid, _TABLE_KINDS.get(relkind, "sequence"), quote_name(schema, name), schema, name, owner,
            relkind, oid in named, ", ".join(sorted(quote_name(*parent) for parent in parents)), partition,
        ))  # fmt: skip
    return found


def _no_lone_identity(cursor: Any, objects: list[Target]) -> None:
    taken = {each.oid for each in objects if each.catalog == "pg_class"}
    sequences = {each.oid: each.name for each in objects if each.kind == "sequence"}
    cursor.execute(_IDENTITIES, (list(sequences),))
    for sequence, table, *column in cursor.fetchall():
        if table not in taken:
            raise RollbackError(
                "object_required",
                f"The sequence {sequences[sequence]} is part of the identity column {quote_name(*column)}, which the"
                " manifest does not name, and cannot go alone.",
                "Take it out of the manifest, or name the table, too; nothing was done.",
            )


def _twice(kind: str, name: str) -> RollbackError:
    return RollbackError(
        "object_twice", f"The manifest names the {kind} {name} twice.", "Name it once; nothing was done."
    )


def _invalid(what: str) -> RollbackError:
    return RollbackError(
        "manifest_invalid",
        f"This is no rollback manifest: {what}.",
        "Correct the manifest file, or let manifest.yml write one; nothing was done.",
    )
