# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The databases that a full restore makes or sets aside, told by a mark in their comment.

The mark is set in the transaction that renames, so it never says anything else than the names do; and it is in the
cluster, where a run that was killed, or one from another machine, finds it.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.driver import sql

#: What a marked database is: being restored; restored and not yet swapped; the old one of a restore; the one that an
#: undo has set aside.
BUILDING, READY, KEPT, UNDONE = "building", "ready", "kept", "undone"

_PREFIX = "pgops.rollback restore "

#: What their names say of them.
MADE, SET_ASIDE, TAKEN_BACK = "restoring", "before_restore", "undone_restore"

#: Bytes that the name of a database may have.
_LONGEST = 63

_OTHERS = """
SELECT d.oid::bigint, d.datname::text, r.rolname::text,
       CASE WHEN pg_catalog.pg_has_role(d.datdba, 'USAGE')
                 OR pg_catalog.has_database_privilege(d.oid, 'CONNECT')
            THEN pg_catalog.pg_database_size(d.oid) END,
       pg_catalog.shobj_description(d.oid, 'pg_database')
FROM pg_catalog.pg_database d JOIN pg_catalog.pg_roles r ON r.oid = d.datdba
WHERE d.oid <> %s
"""


@dataclass(frozen=True)
class Mark:
    """:ivar role: one of BUILDING, READY, KEPT, UNDONE.
    :ivar live: name of the database that it was made beside, or that it was.
    :ivar run_id: of the run that marked it.
    :ivar since: when, UTC in ISO 8601.
    :ivar backup: what is restored into it, or into the one that took its place, as backup_identity() tells.
    :ivar comment: that it had before.
    :ivar successor: OID of the database that took its name; None while none has.
    :ivar finished: the run that swapped got to its end.
    """

    role: str
    live: str
    run_id: str
    since: str
    backup: str
    comment: str | None = None
    successor: int | None = None
    finished: bool = False

    def text(self) -> str:
        return _PREFIX + json.dumps(asdict(self), ensure_ascii=False)


@dataclass(frozen=True)
class Marked:
    """A database with a mark.

    :ivar bytes: None where this role may not ask.
    """

    oid: int
    name: str
    owner: str
    bytes: int | None
    mark: Mark


def marked_databases(cursor: Any, live: str, oid: int, owner: str) -> list[Marked]:
    """Of this live database, the newest first. A mark counts only on a database of the same owner: anybody who has a
    database may comment on it.

    :param oid: of the live database, which may have been renamed since.
    """
    cursor.execute(_OTHERS, (oid,))
    found = []
    for number, name, whose, size, comment in cursor.fetchall():
        mark = _mark(name, comment, live)
        if mark and whose == owner and (mark.live == live or mark.successor == oid):
            found.append(Marked(number, name, whose, size, mark))
    return sorted(found, key=lambda each: (each.mark.since, each.name), reverse=True)


def _mark(name: str, comment: str | None, live: str) -> Mark | None:
    if comment is None:
        # Of a run that was killed between making it and marking it.
        ending = re.search(rf"_{MADE}_\d{{8}}_\d{{6}}(_\d+)?\Z", name)
        return Mark(BUILDING, live, "", "", "") if ending and name == _with_ending(live, ending[0]) else None
    if not comment.startswith(_PREFIX):
        return None
    try:
        return Mark(**json.loads(comment[len(_PREFIX) :]))
    except (ValueError, TypeError):
        return None  # somebody has written into it: it is no longer ours


def set_comment(cursor: Any, name: str, comment: str | None) -> None:
    cursor.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), sql.Literal(comment)))


def name_beside(cursor: Any, live: str, what: str) -> str:
    """A name that no database has: the live one's, what it is, and the server's time.

    :param what: MADE, SET_ASIDE or TAKEN_BACK.
    """
    cursor.execute(
        "SELECT pg_catalog.to_char(pg_catalog.clock_timestamp() AT TIME ZONE 'UTC', 'YYYYMMDD_HH24MISS'),"
        " ARRAY (SELECT datname::text FROM pg_catalog.pg_database)"
    )
    time, taken = cursor.fetchone()
    number = 1
    while True:
        ending = f"_{what}_{time}" + (f"_{number}" if number > 1 else "")
        name = _with_ending(live, ending)
        if name not in taken:
            return name
        number += 1


def _with_ending(live: str, ending: str) -> str:
    return live.encode()[: _LONGEST - len(ending)].decode("utf-8", "ignore") + ending


def server_time(cursor: Any) -> str:
    """UTC in ISO 8601."""
    cursor.execute(
        """SELECT pg_catalog.to_char(pg_catalog.clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')"""
    )
    found: str = cursor.fetchone()[0]
    return found
