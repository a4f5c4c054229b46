# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way back from the quarantine: the very objects, by their OIDs, to where they were, and proof of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.blocker import MOST_NAMED
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_difference import compare
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_reading import read_catalog, told_why
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_snapshot import Snapshot
from ansible_collections.pgops.rollback.plugins.module_utils.driver import sql
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.names import quote_name
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_attempts import Acting, refused
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_history import history_conflicts, put_history
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_moves import (
    Membership,
    Move,
    read_memberships,
    read_names,
)
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_objects import EXACT, read_contents
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_quarantine import (
    drop_schema,
    entries_of,
    memberships_of,
    moves_of,
    read_places,
    snapshot_of,
    way_back,
)
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_targets import resolve
from ansible_collections.pgops.rollback.plugins.module_utils.wording import listed

_TAKEN = """
SELECT w.what, w.schema, w.name
FROM unnest(%(whats)s::text[], %(schemas)s::text[], %(names)s::text[], %(types)s::text[])
     AS w (what, schema, name, types)
JOIN pg_namespace n ON n.nspname = w.schema
WHERE CASE w.what
      WHEN 'relation' THEN EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = n.oid AND c.relname = w.name)
      WHEN 'type' THEN EXISTS (SELECT FROM pg_type t WHERE t.typnamespace = n.oid AND t.typname = w.name)
      ELSE EXISTS (SELECT FROM pg_proc p WHERE p.pronamespace = n.oid AND p.proname = w.name
                                           AND p.proargtypes::text = w.types) END
ORDER BY 1, 2, 3
"""

_SCHEMAS = "SELECT nspname::text FROM pg_namespace WHERE nspname = ANY (%s::text[])"
_PUBLICATIONS = "SELECT oid::bigint, pubname::text FROM pg_publication WHERE oid = ANY (%s::oid[])"

# What keeps a schema from being dropped, or would go with it.
_OTHERS = """
SELECT i.type || ' ' || i.identity
FROM pg_depend d JOIN pg_namespace n ON n.oid = d.refobjid, LATERAL pg_identify_object(d.classid, d.objid, 0) i
WHERE d.refclassid = 'pg_namespace'::regclass AND n.nspname = %s ORDER BY 1
"""


@dataclass(frozen=True)
class Returned:
    """:ivar moved: how many objects are back, sequences of columns not counted.
    :ivar notes: what is not as it was, and need not be: sentences.
    """

    moved: int
    notes: list[str] = field(default_factory=list)


def require_returnable(cursor: Any, content: dict[str, Any]) -> None:
    """Everything is in the quarantine as it was left there, and where it was nothing else has its name.

    :param cursor: in a transaction with the settings of table_content.measuring_settings().
    :param content: of the bundle.
    :raises RollbackError: ``undo_conflict``.
    """
    moves, memberships = moves_of(content), memberships_of(content)
    # What is not in its place would be in its own way.
    problems = _not_in_place(cursor, content["schema"], moves) or [
        *_names_taken(cursor, moves),
        *_publications_changed(cursor, moves, memberships),
        *history_conflicts(cursor, content["history"]),
    ]
    if problems:
        raise _conflict(problems)


def return_from_quarantine(cursor: Any, content: dict[str, Any], lock_timeout_ms: int) -> Returned:
    """Move everything back, into its publications too, drop the schema, and prove it, all before the commit.

    :param cursor: in the transaction of in_attempts(), with what quarantine_locks() names.
    :param content: of the bundle.
    :raises LockNotObtainedError: for another attempt.
    :raises RollbackError: ``undo_conflict``, ``undo_refused``, ``lock_timeout``, ``statement_timeout``,
        ``catalog_changed``.
    :raises psycopg2.Error: when the connection is lost.
    """
    schema, moves, memberships = content["schema"], moves_of(content), memberships_of(content)
    require_returnable(cursor, content)
    acting = Acting(cursor, lock_timeout_ms)
    notes = []
    put_history(cursor, acting, content["history"])
    with refused(cursor, "undo_refused", "move the objects back"):
        acting.run(sql.SQL("; ").join(way_back(schema, moves, memberships)))
        cursor.execute(_OTHERS, (schema,))
        if others := [what for (what,) in cursor.fetchall()]:
            notes.append(
                f"The schema {quote_name(schema)} stays, because something else is in it: {listed(others, MOST_NAMED)}."
            )
        else:
            acting.run(drop_schema(schema))
    acting.end()
    notes += _prove(cursor, content, moves)
    return Returned(sum(not each.along for each in moves), notes)


def rows_since(cursor: Any, content: dict[str, Any]) -> list[str]:
    """Of tables that are back, those with fewer or more rows than at the time of the move, in sentences.

    Counting takes its time: it is for after the commit.

    :param cursor: of teardown_plan.reading().
    :raises RollbackError: those of teardown_targets.resolve().
    """
    then = content["rows"]
    tables = [each.name for each in moves_of(content) if each.name in then]
    if not tables:
        return []
    targets = resolve(cursor, {"tables": tables})
    contents = read_contents(cursor, targets, count=True)
    return [
        f"{each.name} has {contents[each.oid].rows} rows; it had {then[each.name]} when it went into quarantine, where"
        " deletes that cascade still reached it."
        for each in targets.tables
        if each.name in then and contents[each.oid].rows_are == EXACT and contents[each.oid].rows != then[each.name]
    ]


def _not_in_place(cursor: Any, schema: str, moves: list[Move]) -> list[str]:
    places = read_places(cursor, moves)
    problems = []
    for each in moves:
        place = places.get(each.key)
        if place is None:
            problems.append(f"{each.kind} {each.moved_to} is gone")
        elif place != (schema, each.short, each.types_there):
            now = quote_name(*place[:2]) + (f"({place[2]})" if each.routine else "")
            problems.append(f"{each.kind} {each.moved_to} is called {now} now")
    wanted = {each.schema for each in moves}
    cursor.execute(_SCHEMAS, (sorted(wanted),))
    gone = wanted - {name for (name,) in cursor.fetchall()}
    return problems + [f"schema {quote_name(name)} is gone" for name in sorted(gone)]


def _names_taken(cursor: Any, moves: list[Move]) -> list[str]:
    schemas = {each.key: each.schema for each in moves}
    names = [
        (what, schemas["pg_proc" if what == "routine" else "pg_class", oid], name, types)
        for what, name, oid, types in read_names(
            cursor, [each.oid for each in moves if not each.routine], [each.oid for each in moves if each.routine]
        )
    ]
    whats, in_schemas, called, types = zip(*names, strict=True) if names else ((), (), (), ())
    cursor.execute(
        _TAKEN, {"whats": list(whats), "schemas": list(in_schemas), "names": list(called), "types": list(types)}
    )
    # A table and its row type have one name.
    taken = {(schema, name) for _what, schema, name in cursor.fetchall()}
    return [f"the name {quote_name(*each)} is taken" for each in sorted(taken)]


def _publications_changed(cursor: Any, moves: list[Move], memberships: list[Membership]) -> list[str]:
    cursor.execute(_PUBLICATIONS, ([each.publication_oid for each in memberships],))
    names = dict(cursor.fetchall())
    problems = sorted({
        f"publication {quote_name(each.publication)} is gone" if each.publication_oid not in names
        else f"publication {quote_name(each.publication)} is called {quote_name(names[each.publication_oid])} now"
        for each in memberships
        if names.get(each.publication_oid) != each.publication
    })  # fmt: skip
    return problems + [f"publication {each.label} was made again" for each in read_memberships(cursor, moves)]


def _prove(cursor: Any, content: dict[str, Any], moves: list[Move]) -> list[str]:
    """:returns: how survivors that used the objects differ, in sentences.
    :raises RollbackError: ``undo_conflict`` when an object does.
    """
    with told_why():
        objects = read_catalog(cursor.connection, None).objects
    before = Snapshot.from_json(content["entries"])
    if different := compare(before, snapshot_of(cursor, entries_of(objects, moves))).texts():
        raise _conflict(different)
    used_them = Snapshot.from_json(content["survivors"])
    now = snapshot_of(cursor, [each for each in objects if each.key in used_them.objects])
    return [f"Since the teardown: {text}." for text in compare(used_them, now).texts()]


def _conflict(problems: list[str]) -> RollbackError:
    return RollbackError(
        "undo_conflict",
        f"The objects cannot come back as they were: {listed(problems, MOST_NAMED, '; ')}.",
        "Set that right first (rename or remove what is in the way, put back what was changed); nothing was done.",
    )
