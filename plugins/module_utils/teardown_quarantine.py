# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The quarantine: what goes is moved into a schema of its own, with its rows and grants, and comes back from there.

Nobody may use the schema but whoever moved the objects and the owners of the tables among them: the server checks and
cascades foreign keys in their names. Everything that does not keep readers out comes first, so that the last script,
which does, is as short as the bare statements.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.catalog_object import (
    PART_OF_RELATION,
    CatalogObject,
    digest,
)
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_reading import read_catalog, told_why
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_snapshot import Snapshot
from ansible_collections.pgops.rollback.plugins.module_utils.driver import sql
from ansible_collections.pgops.rollback.plugins.module_utils.names import QUARANTINE
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_attempts import (
    Acting,
    refused,
    require_no_ring,
)
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_history import (
    History,
    history_by_hand,
    take_history,
)
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_moves import (
    Membership,
    Move,
    read_memberships,
    read_moves,
)
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_plan import Planned

#: Bytes of a name.
_LONGEST = 63

_GRANTEES = """
SELECT DISTINCT g.grantee <> 0, CASE WHEN g.grantee <> 0 THEN pg_get_userbyid(g.grantee)::text END
FROM pg_namespace n, aclexplode(n.nspacl) g WHERE n.nspname = %s AND g.grantee <> n.nspowner
"""

_PLACES = """
SELECT 'pg_class', c.oid::bigint, n.nspname::text, c.relname::text, ''
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY (%(relations)s::oid[])
UNION ALL
SELECT 'pg_proc', p.oid::bigint, n.nspname::text, p.proname::text, array_to_string(ARRAY (
           SELECT format_type(a.type, NULL) FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY AS a (type, place)
           ORDER BY a.place), ', ')
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.oid = ANY (%(routines)s::oid[])
"""

_IN_SCHEMA = """
SELECT 'pg_class', c.oid::bigint,
       CASE c.relkind WHEN 'f' THEN 'foreign table' WHEN 'S' THEN 'sequence' ELSE 'table' END, c.relname::text, ''
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relkind IN ('r', 'p', 'f', 'S')
UNION ALL
SELECT 'pg_proc', p.oid::bigint, CASE p.prokind WHEN 'a' THEN 'aggregate' WHEN 'p' THEN 'procedure' ELSE 'function' END,
       p.proname::text, array_to_string(ARRAY (
           SELECT format_type(a.type, NULL) FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY AS a (type, place)
           ORDER BY a.place), ', ')
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = %(schema)s
"""

#: Schema, name, and the types of a routine's arguments.
Place = tuple[str, str, str]


@dataclass(frozen=True)
class Quarantine:
    """A move that is prepared: nothing has been written yet.

    :ivar content: JSON values for the bundle, complete when the history row was taken.
    """

    schema: str
    moves: list[Move]
    memberships: list[Membership]
    owners: list[str]
    history: History | None
    content: dict[str, Any]

    def take_history(self, cursor: Any, acting: Acting) -> None:
        """:raises RollbackError: and LockNotObtainedError as teardown_history.take_history() does."""
        kept = take_history(cursor, acting, self.history)
        self.content["history"] = kept
        self.content["by_hand"] += history_by_hand(kept)

    def move(self, cursor: Any, acting: Acting) -> None:
        """Right before the commit, for readers wait from here on.

        :raises LockNotObtainedError: for another attempt.
        :raises RollbackError: ``quarantine_refused``.
        :raises psycopg2.Error: when the connection is lost.
        """
        schema = sql.Identifier(self.schema)
        with refused(cursor, "quarantine_refused", "move the objects into quarantine"):
            acting.run(sql.SQL("CREATE SCHEMA {}").format(schema))
            cursor.execute(_GRANTEES, (self.schema,))
            # Default privileges may have given it to anybody.
            closing = [
                sql.SQL("REVOKE ALL ON SCHEMA {} FROM {} CASCADE").format(
                    schema, sql.Identifier(role) if named else sql.SQL("PUBLIC")
                )
                for named, role in cursor.fetchall()
            ]
            closing += [
                sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(schema, sql.Identifier(owner))
                for owner in self.owners
            ]
            closing += [each.there(self.schema) for each in self.moves if each.routine]
            closing += [each.drop() for each in self.memberships]
            if closing:
                acting.run(sql.SQL("; ").join(closing))
            require_no_ring(cursor, [each.oid for each in self.moves if not each.routine])
            if relations := [each.there(self.schema) for each in self.moves if not each.routine and not each.along]:
                acting.run(sql.SQL("; ").join(relations))


def quarantine_schema(run_id: str, taken: Collection[str]) -> str:
    """A name that tells of the run, such as ``rollback_quarantine_20261125t120000z_1a2b``.

    :param taken: from taken_schemas().
    """
    name = QUARANTINE + re.sub(r"[^a-z0-9_]", "_", run_id.lower())
    # A run's id may be longer, and differ only in what was cut off or replaced.
    if len(name) > _LONGEST or name in taken:
        name = f"{name[: _LONGEST - 9]}_{digest(run_id)[:8]}"
    number = 2
    while name in taken:
        name = f"{name[: _LONGEST - 4]}_{number:03}"
        number += 1
    return name


def prepare_quarantine(cursor: Any, planned: Planned, schema: str) -> Quarantine:
    """Read everything that the move and the way back need. Only reads.

    :param cursor: in the transaction of in_attempts(), with the plan made again in it.
    :param schema: from quarantine_schema().
    :raises RollbackError: ``lock_timeout``, ``statement_timeout``, ``catalog_changed``, ``privilege_missing``.
    """
    # Ours are locked already: it is another table that another session keeps from being described.
    with told_why():
        targets = planned.targets
        moves = read_moves(cursor, targets, schema)
        memberships = read_memberships(cursor, moves)
        cursor.execute("SELECT current_user::text")
        (me,) = cursor.fetchone()
        owners = {planned.radius.rights.owner(each.owner_oid) for each in targets.tables} - {me}
        objects = read_catalog(cursor.connection, None).objects
    # A default is an attribute of its column.
    reached = {("column" if each.kind == "default" else each.kind, each.name) for each in planned.radius.dependents}
    survivors = [each for each in objects if each.key in reached]
    rows = {each["name"]: each["rows"] for each in planned.plan["objects"] if each["rows_are"] == "exact"}
    content = {
        "schema": schema,
        "name": targets.manifest["name"],
        "moves": [asdict(each) for each in moves],
        "publications": [asdict(each) for each in memberships],
        "oids": {each.label: [each.catalog, each.oid] for each in moves},
        "rows": rows,
        "entries": snapshot_of(cursor, entries_of(objects, moves)).as_json(),
        "survivors": snapshot_of(cursor, survivors).as_json(),
        "by_hand": [
            f"{each.as_string(cursor)};"
            for each in (*way_back(schema, moves, memberships), drop_schema(schema))
        ],
    }
    return Quarantine(schema, moves, memberships, sorted(owners), planned.history, content)


def found_again(cursor: Any, content: dict[str, Any]) -> dict[str, Any]:
    """The content with the OIDs of today: the undo of a purge has made the objects again.

    By their OIDs they are found wherever they were moved since. Where none of them is at either place under its OID,
    their names in the quarantine tell: nobody else may use that schema, and the way back proves all that they are.

    :param cursor: in a transaction with the settings of table_content.measuring_settings().
    :param content: of the bundle.
    """
    moves = moves_of(content)
    places = read_places(cursor, moves)
    if any(places.get(each.key, ("",))[:2] in ((content["schema"], each.short), each.home) for each in moves):
        return content
    cursor.execute(_IN_SCHEMA, {"schema": content["schema"]})
    there = {(kind, name, types): (catalog, oid) for catalog, oid, kind, name, types in cursor.fetchall()}
    again = [
        replace(each, oid=there.get((each.kind, each.short, each.types_there), each.key)[1]) for each in moves
    ]
    return {**content, "moves": [asdict(each) for each in again]}


def quarantine_locks(content: dict[str, Any]) -> tuple[list[tuple[str, str]], list[int]]:
    """What in_attempts() needs for the way back: tables to lock by schema and name, and OIDs of all that is locked."""
    moves = moves_of(content)
    tables = [(content["schema"], each.short) for each in moves if each.kind == "table"]
    return tables, [each.oid for each in moves if not each.routine]


def purge_manifest(content: dict[str, Any]) -> dict[str, Any]:
    """The manifest of what is in the quarantine, to plan its drop with."""
    moves = [each for each in moves_of(content) if not each.along]
    kinds = {"tables": ("table", "foreign table"), "sequences": ("sequence",)}
    return {
        "name": content["name"],
        **{section: [each.moved_to for each in moves if each.kind in words] for section, words in kinds.items()},
        "functions": [each.moved_to for each in moves if each.routine],
    }


def origins_of(content: dict[str, Any]) -> dict[tuple[str, int], tuple[str, str]]:
    """Where everything was, for the provenance of what is purged."""
    return {each.key: (each.schema, each.name) for each in moves_of(content)}


def taken_schemas(cursor: Any) -> set[str]:
    cursor.execute("SELECT nspname::text FROM pg_catalog.pg_namespace")
    return {name for (name,) in cursor.fetchall()}


def moves_of(content: dict[str, Any]) -> list[Move]:
    return [Move(**each) for each in content["moves"]]


def memberships_of(content: dict[str, Any]) -> list[Membership]:
    return [Membership(**each) for each in content["publications"]]


def read_places(cursor: Any, moves: Iterable[Move]) -> dict[tuple[str, int], Place]:
    """Where the objects are now, by catalog and OID."""
    every = list(moves)
    cursor.execute(_PLACES, {
        "relations": [each.oid for each in every if not each.routine],
        "routines": [each.oid for each in every if each.routine],
    })  # fmt: skip
    return {(catalog, oid): (schema, name, types) for catalog, oid, schema, name, types in cursor.fetchall()}


def entries_of(objects: Iterable[CatalogObject], moves: Iterable[Move]) -> list[CatalogObject]:
    """What of the catalog is a moved object, where it belongs, or a part of one."""
    keys = {(each.kind, each.name) for each in moves}
    tables = {(each.schema, each.short) for each in moves if not each.routine}
    return [
        each for each in objects
        if each.key in keys or (each.kind in PART_OF_RELATION and (each.schema, each.relation) in tables)
    ]  # fmt: skip


def snapshot_of(cursor: Any, objects: list[CatalogObject]) -> Snapshot:
    """For compare() and as_json(): of these objects only."""
    snapshot = Snapshot("", None, cursor.connection.server_version, "", "", objects={})
    snapshot.arrange(objects)
    return snapshot


def way_back(schema: str, moves: list[Move], memberships: list[Membership]) -> list[Any]:
    """All statements, in an order that works: types are called as they are while the tables are in the quarantine."""
    return [
        *(each.back(schema) for each in moves if each.routine),
        *(each.add(schema) for each in memberships),
        *(each.back(schema) for each in moves if not each.routine and not each.along),
    ]


def drop_schema(schema: str) -> Any:
    """RESTRICT: nothing of anybody's goes with it."""
    return sql.SQL("DROP SCHEMA {}").format(sql.Identifier(schema))
