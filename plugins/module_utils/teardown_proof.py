# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is proved before a drop is committed: it took what was planned and no more, and all of it can be made again."""

from __future__ import annotations

from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.blast_closure import Address, Closure
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_difference import (
    Alteration,
    Difference,
    compare,
)
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_reading import read_catalog, told_why
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_snapshot import Snapshot
from ansible_collections.pgops.rollback.plugins.module_utils.driver import psycopg2
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError, server_message
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_quarantine import snapshot_of
from ansible_collections.pgops.rollback.plugins.module_utils.wording import listed

#: How many names a message has.
_NAMED = 5

# Everything that anything depends on, or that depends on anything, and the columns, which may go alone.
_ADDRESSES = """
SELECT classid::regclass::text, objid::bigint, 0 FROM (
    SELECT classid, objid FROM pg_depend UNION SELECT refclassid, refobjid FROM pg_depend
) AS d WHERE objid >= 16384
UNION ALL
SELECT 'pg_class', attrelid::bigint, attnum FROM pg_attribute
WHERE attnum > 0 AND NOT attisdropped AND attrelid >= 16384
"""

_DESCRIBE = """
SELECT DISTINCT coalesce(pg_describe_object(a.catalog::regclass, a.oid, a.part), a.catalog || ' ' || a.oid)
FROM unnest(%s::text[], %s::oid[], %s::int[]) AS a (catalog, oid, part) ORDER BY 1
"""

_STILL_THERE = """
SELECT a.catalog, a.oid::bigint, a.part FROM unnest(%s::text[], %s::oid[], %s::int[]) AS a (catalog, oid, part)
WHERE pg_describe_object(a.catalog::regclass, a.oid, a.part) IS NOT NULL
"""


def read_addresses(cursor: Any) -> set[Address]:
    cursor.execute(_ADDRESSES)
    return set(cursor.fetchall())


def catalog_now(cursor: Any) -> Snapshot:
    """The whole catalog, without rows.

    :raises RollbackError: those of catalog_reading.told_why().
    """
    with told_why():
        return snapshot_of(cursor, read_catalog(cursor.connection, None).objects)


def more_than(cursor: Any, closure: Closure, before: set[Address]) -> list[Address]:
    """What is gone and was not going to.

    :param before: from read_addresses(), before the drop.
    """
    relations = closure.whole("pg_class")
    candidates = [
        each for each in before - read_addresses(cursor)
        if each not in closure.objects and not (each[2] and each[0] == "pg_class" and each[1] in relations)
    ]  # fmt: skip
    if not candidates:
        return []
    # What nothing depends on any more, nor it on anything, is no longer named by a dependency, and is there.
    cursor.execute(_STILL_THERE, _columns(candidates))
    return sorted(set(candidates) - set(cursor.fetchall()))


def took_more(cursor: Any, addresses: list[Address]) -> RollbackError:
    """:param cursor: where they are there again."""
    cursor.execute(_DESCRIBE, _columns(addresses))
    names = [name for (name,) in cursor.fetchall()]
    return RollbackError(
        "drop_took_more",
        f"The DROP would have taken what the plan did not name: {listed(names, _NAMED)}.",
        "Somebody made it meanwhile: plan again; everything was rolled back.",
    )


def not_made_again(before: Snapshot, rehearsed: Snapshot) -> list[str]:
    """How the catalog differs after a rehearsal of the undo, but for what only rows are needed for: sentences."""
    found = compare(before, rehearsed)
    kept = [each for each in found.altered if not _for_rows_alone(each)]
    return Difference(found.created, found.dropped, kept).texts()


def undo_impossible(what: str) -> RollbackError:
    return RollbackError(
        "undo_impossible",
        f"What the DROP takes could not be made again as it was: {what}.",
        "Take it out of the way by hand, or use teardown_mode quarantine; everything was rolled back.",
    )


def refused_rehearsal(error: psycopg2.Error) -> RollbackError:
    return undo_impossible(server_message(error))


def _columns(addresses: list[Address]) -> tuple[list[str], list[int], list[int]]:
    return [each[0] for each in addresses], [each[1] for each in addresses], [each[2] for each in addresses]


def _for_rows_alone(each: Alteration) -> bool:
    """A constraint that was added without looking at rows, and a materialized view that is empty."""
    return each.attributes in ({"validated": (True, False)}, {"populated": (None, False)})
