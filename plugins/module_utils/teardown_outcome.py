# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What became of a teardown, by the objects that its bundle records: the one witness that no kill can silence."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.connection import ServerInfo
from ansible_collections.pgops.rollback.plugins.module_utils.driver import psycopg2
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_bundle import (
    BUNDLE,
    CONTENT,
    Bundle,
    begin_bundle,
    read_bundle,
)
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_quarantine import (
    found_again,
    moves_of,
    read_places,
)

COMMITTED, NOT_COMMITTED, GONE, UNDONE = "committed", "not_committed", "gone", "undone"

RUNNER = Path("/runner")

_PRESENT = """
SELECT 'pg_class', oid::bigint FROM pg_catalog.pg_class WHERE oid = ANY (%(pg_class)s::oid[])
UNION ALL SELECT 'pg_proc', oid::bigint FROM pg_catalog.pg_proc WHERE oid = ANY (%(pg_proc)s::oid[])
"""


def teardown_outcome(cursor: Any, bundle: Bundle) -> str:
    """Whether a teardown was committed, and whether it was undone.

    :returns: COMMITTED; NOT_COMMITTED when the objects are where they were, which for a quarantine is so after an undo,
        too; UNDONE when a drop's objects have come back; GONE when those of a quarantine are nowhere.
    """
    return (_quarantine_outcome if bundle.content["mode"] == "quarantine" else _drop_outcome)(cursor, bundle)


def oids_of(bundle: Bundle) -> set[tuple[str, int]]:
    """What it took, and what its last undo made again, by catalog and OID."""
    return {(catalog, oid) for each in (bundle.content["oids"], bundle.returned) for catalog, oid in each.values()}


def require_lasting(artifacts_dir: str, declared: bool) -> None:
    """What a drop took is in its bundle alone: it must not vanish with the container that wrote it.

    :param declared: that the directory outlives it.
    :raises RollbackError: ``artifacts_vanish``.
    """
    # Where ansible-runner, and so AWX and ansible-navigator, put an execution environment to work.
    if RUNNER.is_dir() and not declared:
        raise RollbackError(
            "artifacts_vanish",
            f"This runs in an execution environment, and with it {artifacts_dir} may vanish, the bundle in it.",
            "Mount a directory that stays, name it in rollback_artifacts_dir, and set rollback_artifacts_persistent;"
            " nothing was done.",
        )


@contextmanager
def new_bundle(connection: Any, artifacts_dir: str, host: str, run_id: str) -> Iterator[Path]:
    """A directory for a bundle. Whatever is raised within, none is left but of what was, or may have been, committed.

    :param connection: that acts; in autocommit mode.
    :raises RollbackError: those of begin_bundle().
    """
    partial = begin_bundle(artifacts_dir, host, run_id)
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        bundle = partial.with_name(BUNDLE)
        # With the connection lost in the middle of the commit nobody knows yet what came of it: the next run tells.
        if (bundle / CONTENT).exists() and not connection.closed and _never_committed(connection, bundle):
            shutil.rmtree(bundle, ignore_errors=True)
        raise


def require_own(server: ServerInfo, identifier: str | None, host: str, bundle: Bundle) -> None:
    """:param identifier: from cluster_identifier().
    :param host: the database's name in the inventory.
    :raises RollbackError: ``bundle_foreign``.
    """
    if not is_own(server, identifier, host, bundle):
        content = bundle.content
        raise RollbackError(
            "bundle_foreign",
            f"The bundle {bundle.directory} is of database {content['database']} of host {content['host']} on cluster"
            f" {content['system_identifier'] or 'unknown'}, not of {server.database} of {host} on"
            f" {identifier or 'unknown'}.",
            "Correct rollback_bundle or the connection; nothing was done.",
        )


def is_own(server: ServerInfo, identifier: str | None, host: str, bundle: Bundle) -> bool:
    """Most roles may not ask for the cluster's identifier: then it is the inventory's name that tells."""
    content = bundle.content
    then = content["system_identifier"]
    same = content["host"] == host if None in (identifier, then) else identifier == then
    return content["database"] == server.database and same


def _never_committed(connection: Any, bundle: Path) -> bool:
    """Whether that is certain."""
    try:
        with connection.cursor() as cursor:
            return teardown_outcome(cursor, read_bundle(bundle)) == NOT_COMMITTED
    except (psycopg2.Error, RollbackError):
        return False


def _quarantine_outcome(cursor: Any, bundle: Bundle) -> str:
    moves = moves_of(found_again(cursor, bundle.content))
    places = read_places(cursor, moves)
    if any(places.get(each.key, ("",))[:2] == (bundle.content["schema"], each.short) for each in moves):
        return COMMITTED
    if any(places.get(each.key, ("",))[:2] == each.home for each in moves):
        return NOT_COMMITTED
    return GONE


def _drop_outcome(cursor: Any, bundle: Bundle) -> str:
    # All or nothing, so one that is missing is enough.
    if not _all_present(cursor, bundle.content["oids"]):
        returned = bundle.returned
        return UNDONE if returned and _all_present(cursor, returned) else COMMITTED
    return NOT_COMMITTED


def _all_present(cursor: Any, oids: dict[str, list[Any]]) -> bool:
    wanted = set(map(tuple, oids.values()))
    cursor.execute(_PRESENT, {
        name: [oid for catalog, oid in wanted if catalog == name] for name in ("pg_class", "pg_proc")
    })  # fmt: skip
    return set(cursor.fetchall()) == wanted
