# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a DROP … CASCADE would take, asked of pg_depend without dropping anything.

The walk is that of Postgres itself (findDependentObjects in dependency.c): from what goes to all that depends on it,
and from an internal part, such as the rule of a view or the expression of a generated column, to the whole that it is
part of. A column goes alone; whatever depends on a table depends on one of its columns or on the whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.blast_descriptions import COLUMNS, DESCRIPTIONS, OTHERS
from ansible_collections.pgops.rollback.plugins.module_utils.names import quote_name

_CLOSURE = """
WITH RECURSIVE gone (classid, objid, objsubid, fromclass, fromid, fromsub) AS (
    SELECT s.class::regclass::oid, s.oid, 0, 0::oid, 0::oid, 0
    FROM unnest(%(classes)s::text[], %(oids)s::oid[]) AS s (class, oid)
    UNION
    SELECT e.* FROM gone g, LATERAL (
        SELECT d.classid, d.objid, d.objsubid, g.classid, g.objid, g.objsubid
        FROM pg_depend d
        WHERE d.refclassid = g.classid AND d.refobjid = g.objid AND (g.objsubid = 0 OR d.refobjsubid = g.objsubid)
          AND d.deptype IN ('n', 'a', 'i', 'P', 'S')
        UNION ALL
        SELECT d.refclassid, d.refobjid, d.refobjsubid, g.classid, g.objid, g.objsubid
        FROM pg_depend d
        WHERE d.classid = g.classid AND d.objid = g.objid AND (g.objsubid = 0 OR d.objsubid = g.objsubid)
          AND d.deptype = 'i' AND (d.refclassid, d.refobjid) <> (g.classid, g.objid)
    ) AS e
)
SELECT classid::regclass::text, objid::bigint, objsubid, fromclass::regclass::text, fromid::bigint, fromsub FROM gone
"""

_RELATION_NAMES = """
SELECT c.oid::bigint, n.nspname, c.relname, c.relkind::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY (%(oids)s::oid[])
UNION ALL
SELECT -t.oid::bigint, n.nspname, t.typname, '' FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE t.oid = ANY (%(types)s::oid[])
"""

# Membership of a role with all its rights is what the owner's commands take; to give something to another owner one has
# to be able to become that role.
_ROLES = """
SELECT r.oid::bigint, r.rolname::text, pg_has_role(r.oid, 'USAGE') AND pg_has_role(r.oid, %(able)s)
FROM pg_roles r WHERE r.oid = ANY (%(owners)s::oid[])
"""

_OWNERS = "SELECT oid::bigint, rolname::text FROM pg_roles WHERE oid = ANY (%s::oid[])"

_SCHEMAS = """
SELECT nspname::text, has_schema_privilege(oid, 'USAGE'), has_schema_privilege(oid, 'CREATE')
FROM pg_namespace WHERE nspname = ANY (%s::text[])
"""

_IN_SCHEMA = """
SELECT n.oid::bigint, d.classid::regclass::text, d.objid::bigint
FROM pg_namespace n LEFT JOIN pg_depend d ON d.refclassid = 'pg_namespace'::regclass AND d.refobjid = n.oid
WHERE n.nspname = %s
"""

#: Catalog, OID, column number.
Address = tuple[str, int, int]


@dataclass(frozen=True)
class Described:
    """An object that goes, as the catalogs describe it.

    :ivar kind: as in a catalog snapshot; also ``default`` and ``attribute``. Empty for what is a part of something else
        and has no name of its own, such as a row type.
    :ivar name: as in a catalog snapshot.
    :ivar schema: unquoted; empty for what is in none.
    :ivar on_oid: the relation that it is on, a domain's OID below zero, 0 for what stands alone.
    :ivar on: that one's name.
    :ivar facts: what the sentence about it is made of.
    """

    address: Address
    kind: str
    name: str
    schema: str
    on_oid: int
    on: str
    owner_oid: int
    owner: str
    definition: str | None
    facts: dict[str, Any]

    @property
    def label(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass
class Closure:
    """:ivar objects: everything that goes, by its address, with the addresses it was reached from.
    :ivar described: those of it that the catalogs describe.
    """

    objects: dict[Address, set[Address]] = field(default_factory=dict)
    described: dict[Address, Described] = field(default_factory=dict)

    def whole(self, catalog: str) -> set[int]:
        """OIDs of the objects of a catalog that go as a whole."""
        return {oid for name, oid, part in self.objects if name == catalog and not part}


@dataclass
class Rights:
    """What the connected role may do.

    :ivar owners: name by OID; ``usable`` the OIDs of those it can act as, and make things of.
    :ivar schemas: whether it may use them, and create in them, by name.
    """

    role: str
    superuser: bool
    owners: dict[int, str] = field(default_factory=dict)
    usable: set[int] = field(default_factory=set)
    schemas: dict[str, tuple[bool, bool]] = field(default_factory=dict)

    def owner(self, oid: int) -> str:
        return self.owners.get(oid, "")

    def creates_in(self, schema: str) -> bool:
        return self.superuser or not schema or all(self.schemas.get(schema, (False, False)))


def read_closure(cursor: Any, seeds: Iterable[tuple[str, int]]) -> Closure:
    """:param cursor: in a transaction of table_content.begin_reading().
    :param seeds: catalog and OID of what is dropped.
    """
    wanted = list(seeds)
    cursor.execute(_CLOSURE, {"classes": [each[0] for each in wanted], "oids": [each[1] for each in wanted]})
    closure = Closure()
    for *reached, from_catalog, from_oid, from_part in cursor.fetchall():
        sources = closure.objects.setdefault(_address(*reached), set())
        if from_oid:
            sources.add((from_catalog, from_oid, from_part))
    _describe(cursor, closure)
    return closure


def emptied_schema(cursor: Any, name: str, closure: Closure) -> tuple[str, int] | None:
    """Catalog and OID of the schema, where nothing is left in it when all of the closure is gone.

    :param name: empty for none.
    """
    cursor.execute(_IN_SCHEMA, (name,))
    rows = cursor.fetchall()
    stays = [oid for _schema, catalog, oid in rows if oid and (catalog, oid, 0) not in closure.objects]
    return ("pg_namespace", rows[0][0]) if rows and not stays else None


def read_rights(cursor: Any, role: str, superuser: bool, owners: Iterable[int], schemas: Iterable[str]) -> Rights:
    rights = Rights(role, superuser)
    able = "SET" if cursor.connection.server_version >= 160000 else "MEMBER"
    cursor.execute(_ROLES, {"owners": sorted(set(owners)), "able": able})
    for oid, name, usable in cursor.fetchall():
        rights.owners[oid] = name
        if usable:
            rights.usable.add(oid)
    cursor.execute(_SCHEMAS, (sorted(set(schemas)),))
    rights.schemas = {name: (usage, create) for name, usage, create in cursor.fetchall()}
    return rights


def _address(catalog: str, oid: int, part: int) -> Address:
    return catalog, oid, part


def _describe(cursor: Any, closure: Closure) -> None:
    by_catalog: dict[str, list[int]] = {}
    columns: list[Address] = []
    for catalog, oid, part in closure.objects:
        if part:
            columns.append((catalog, oid, part))
        else:
            by_catalog.setdefault(catalog, []).append(oid)
    rows: list[tuple[str, tuple[Any, ...]]] = []
    for catalog, oids in sorted(by_catalog.items()):
        cursor.execute(DESCRIPTIONS.get(catalog, OTHERS), {"oids": oids, "catalog": catalog})
        rows += [(catalog, row) for row in cursor.fetchall()]
    if columns:
        cursor.execute(COLUMNS, {"oids": [each[1] for each in columns], "parts": [each[2] for each in columns]})
        rows += [("pg_class", row) for row in cursor.fetchall()]
    names = _names(cursor, {row[5] for _catalog, row in rows})
    cursor.execute(_OWNERS, (sorted({row[6] for _catalog, row in rows}),))
    owners = dict(cursor.fetchall())
    for catalog, (oid, part, kind, parts, suffix, on_oid, owner, definition, facts) in rows:
        on = names.get(on_oid, "")
        # Text is a name as SQL writes it already.
        name = quote_name(*parts) + suffix if isinstance(parts, list) else parts
        if isinstance(parts, list) and len(parts) == 1 and on:
            name = f"{name} on {on}"
        address = (catalog, oid, part)
        schema = parts[0] if isinstance(parts, list) and len(parts) > 1 else ""
        closure.described[address] = Described(
            address, kind, name, schema, on_oid, on, owner, owners.get(owner, ""), definition, facts or {}
        )


def _names(cursor: Any, oids: set[int]) -> dict[int, str]:
    """Of relations, and of domains by their OID below zero."""
    cursor.execute(
        _RELATION_NAMES, {"oids": [oid for oid in oids if oid > 0], "types": [-oid for oid in oids if oid < 0]}
    )
    return {oid: quote_name(schema, name) for oid, schema, name, _kind in cursor.fetchall()}
