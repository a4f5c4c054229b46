# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What stands in the way of a teardown on the server and on this machine, whatever the plan takes."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.blast_radius import BlastRadius
from ansible_collections.pgops.rollback.plugins.module_utils.blocker import MOST_NAMED, Blocker
from ansible_collections.pgops.rollback.plugins.module_utils.connection import ServerInfo
from ansible_collections.pgops.rollback.plugins.module_utils.dump import find_pg_dump
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.locks import parse_lock_timeout
from ansible_collections.pgops.rollback.plugins.module_utils.names import quote_name
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_targets import Targets
from ansible_collections.pgops.rollback.plugins.module_utils.wording import listed

#: Longer than any deadlock_timeout.
_FOR_EVER = 2**31

_MEMBERS = """
SELECT DISTINCT d.classid::regclass::text, d.objid::bigint, e.extname::text
FROM unnest(%(classes)s::text[], %(oids)s::oid[]) AS s (class, oid)
JOIN pg_depend d ON d.classid = s.class::regclass AND d.objid = s.oid AND d.deptype = 'e'
JOIN pg_extension e ON e.oid = d.refobjid
"""

# A prepared transaction has no process; the lock on its own transaction id leads to its name. A table
# that the objects refer to is locked, too.
_PREPARED = """
SELECT p.gid::text, p.owner::text, array_agg(DISTINCT ARRAY[n.nspname, c.relname]::text[])
FROM pg_prepared_xacts p
JOIN pg_locks x ON x.locktype = 'transactionid' AND x.transactionid = p.transaction AND x.pid IS NULL
JOIN pg_locks l ON l.virtualtransaction = x.virtualtransaction AND l.locktype = 'relation' AND l.pid IS NULL
JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE p.database = current_database()
  AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
  AND l.relation IN (
      SELECT unnest(%(relations)s::oid[])
      UNION
      SELECT k.confrelid FROM pg_constraint k WHERE k.contype = 'f' AND k.conrelid = ANY (%(objects)s::oid[]))
GROUP BY 1, 2 ORDER BY 1
"""


def situation_blockers(
    cursor: Any, server: ServerInfo, targets: Targets, radius: BlastRadius, drop: bool
) -> list[Blocker]:
    """Extension members, prepared transactions, and what kind of server answers."""
    found = [*_members(cursor, targets, radius, drop), *_prepared(cursor, targets, radius, drop)]
    if server.in_recovery:
        found.append(Blocker(
            "standby",
            f"Database {server.database} is on a standby (in recovery) and cannot be written.",
            "Point rollback_login_host at the primary.",
        ))  # fmt: skip
    if server.through_pooler and drop:
        found.append(Blocker(
            "pooler",
            "The connection leads through a transaction-mode pooler, and pg_dump through one harms its other clients.",
            "Point rollback_login_host and rollback_login_port at the server itself.",
        ))  # fmt: skip
    return found


def lock_timeout_blockers(text: str, server: ServerInfo) -> list[Blocker]:
    """:raises RollbackError: ``lock_timeout_invalid`` for what is no time at all."""
    milliseconds = parse_lock_timeout(text, replace(server, deadlock_timeout_ms=_FOR_EVER))
    if milliseconds < server.deadlock_timeout_ms:
        return []
    return [Blocker(
        "lock_timeout_invalid",
        f"teardown_lock_timeout ({text}) is not below the server's deadlock_timeout ({server.deadlock_timeout_ms} ms):"
        " Postgres might then end the application's transaction instead of ours.",
        "Set teardown_lock_timeout lower, for example to 500ms.",
    )]  # fmt: skip


def pg_dump_blockers(version: str | None, server: ServerInfo) -> list[Blocker]:
    """:param version: of the pg_dump that will be used; None to look for one.
    :raises RollbackError: ``version_invalid``.
    """
    if version is None:
        try:
            find_pg_dump(server.major)
        except RollbackError as error:
            return [Blocker(error.code, error.message, error.remedy.replace("; nothing was done", ""))]
        return []
    match = re.search(r"\d+", version)
    if match is None:
        raise RollbackError(
            "version_invalid",
            f"{version!r} is no version of pg_dump.",
            "Give what pg_dump --version shows, such as 17.4; nothing was done.",
        )
    if int(match.group()) >= server.major:
        return []
    return [Blocker(
        "pg_dump_old",
        f"pg_dump is of version {match.group()}, and the server of {server.major}: it would refuse to export.",
        f"Install the client programs of Postgres {server.major}.",
    )]  # fmt: skip


def _members(cursor: Any, targets: Targets, radius: BlastRadius, drop: bool) -> list[Blocker]:
    labels = {(each.catalog, each.oid): each.label for each in targets.objects}
    if drop:
        for (catalog, oid, part), each in radius.closure.described.items():
            if not part and each.kind:
                labels.setdefault((catalog, oid), each.label)
    cursor.execute(_MEMBERS, {"classes": [each[0] for each in labels], "oids": [each[1] for each in labels]})
    return [
        Blocker(
            "extension_member",
            f"The {labels[catalog, oid]} belongs to the extension {quote_name(extension)}, which does not let it go.",
            "Take it out of the manifest; an extension is dropped as a whole, and by hand.",
        )
        for catalog, oid, extension in cursor.fetchall()
    ]


def _prepared(cursor: Any, targets: Targets, radius: BlastRadius, drop: bool) -> list[Blocker]:
    relations = set(targets.relations)
    if drop:
        relations |= {each.on_oid for each in radius.closure.described.values() if each.on_oid > 0}
    cursor.execute(_PREPARED, {"relations": sorted(relations), "objects": targets.relations})
    return [
        Blocker(
            "prepared_transaction",
            f"The prepared transaction {gid} of {owner} holds locks on"
            f" {listed(sorted(quote_name(*name) for name in names), MOST_NAMED)}, and no session can end it by itself.",
            f"Have it ended: COMMIT PREPARED '{gid}' or ROLLBACK PREPARED '{gid}'.",
        )
        for gid, owner, names in cursor.fetchall()
    ]
