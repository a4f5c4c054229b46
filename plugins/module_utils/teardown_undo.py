# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Undoing a teardown: which bundle, whether it was committed, and the way back in one transaction."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.connection import ServerInfo, cluster_identifier
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.locks import parse_lock_timeout
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_attempts import in_attempts
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_bundle import (
    UNDONE,
    Bundle,
    bundles_of,
    read_bundle,
)
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_plan import reading
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_quarantine import (
    COMMITTED,
    GONE,
    quarantine_locks,
    quarantine_outcome,
)
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_return import (
    require_returnable,
    return_from_quarantine,
    rows_since,
)


def undo(
    connection: Any, server: ServerInfo, artifacts_dir: str, host: str, path: str | None, lock_timeout: str,
    check_mode: bool,
) -> dict[str, Any]:  # fmt: skip
    """:param path: directory of the bundle; None for the newest committed one of the host.
    :returns: what the module ``teardown_undo`` returns.
    :raises RollbackError: of read_bundle(), require_returnable(), in_attempts(), return_from_quarantine(), and
        ``bundle_none``, ``bundle_foreign``, ``bundle_uncommitted``, ``bundle_gone``. Nothing has happened then.
    """
    lock_timeout_ms = parse_lock_timeout(lock_timeout, server)
    with reading(connection) as cursor:
        identifier = cluster_identifier(cursor)
        bundle = (
            _given(cursor, server, identifier, Path(path)) if path
            else _newest(cursor, server, identifier, artifacts_dir, host)
        )  # fmt: skip
        # As the plan counts them: the sequences of columns, which go along with their tables, among them.
        number = len(bundle.content["moves"])
        result = {"bundle": str(bundle.directory), "objects": number, "notes": []}
        if quarantine_outcome(cursor, bundle.content) != COMMITTED:
            return {**result, "changed": False, "status": "ok", "msg": "Nothing to do: it was undone already."}
        require_returnable(cursor, bundle.content)
    if check_mode:
        return {
            **result, "changed": True, "status": "changed",
            "msg": f"Would bring {number} objects back from {bundle.content['schema']}. Check mode does nothing.",
        }  # fmt: skip
    returned, attempts = in_attempts(
        connection, lock_timeout_ms, *quarantine_locks(bundle.content),
        lambda cursor: return_from_quarantine(cursor, bundle.content, lock_timeout_ms),
    )  # fmt: skip
    with suppress(OSError):  # the objects' places tell it, too
        bundle.note(UNDONE, {"objects": number})
    with reading(connection) as cursor:
        notes = [*returned.notes, *rows_since(cursor, bundle.content)]
    return {
        **result, "changed": True, "status": "changed", "attempts": attempts, "notes": notes,
        "msg": " ".join([f"{number} objects are back, proven to be as they were before the teardown.", *notes]),
    }  # fmt: skip


def _given(cursor: Any, server: ServerInfo, identifier: str | None, path: Path) -> Bundle:
    bundle = read_bundle(path)
    if not _of_this(server, identifier, bundle):
        content = bundle.content
        raise RollbackError(
            "bundle_foreign",
            f"The bundle {path} is of database {content['database']} on cluster"
            f" {content['system_identifier'] or 'unknown'}, not of {server.database} on {identifier or 'unknown'}.",
            "Correct rollback_bundle or the connection; nothing was done.",
        )
    outcome = quarantine_outcome(cursor, bundle.content)
    if outcome == GONE:
        raise RollbackError(
            "bundle_gone",
            f"Nothing of what the bundle {path} moved is in the database: it was dropped or purged since.",
            "Undo what dropped it first, or restore a backup; nothing was done.",
        )
    if outcome != COMMITTED and not (bundle.committed or bundle.undone):
        raise RollbackError(
            "bundle_uncommitted",
            f"The teardown of the bundle {path} was never committed: its objects are where they were.",
            "There is nothing to undo; nothing was done.",
        )
    return bundle


def _newest(cursor: Any, server: ServerInfo, identifier: str | None, artifacts_dir: str, host: str) -> Bundle:
    for path in bundles_of(artifacts_dir, host):
        bundle = read_bundle(path)
        of_this = not bundle.undone and _of_this(server, identifier, bundle)
        if of_this and quarantine_outcome(cursor, bundle.content) == COMMITTED:
            return bundle
    raise RollbackError(
        "bundle_none",
        f"There is no teardown of {host} under {artifacts_dir} that could be undone.",
        "Give rollback_bundle the directory that the teardown's report names, or set rollback_artifacts_dir;"
        " nothing was done.",
    )


def _of_this(server: ServerInfo, identifier: str | None, bundle: Bundle) -> bool:
    then = bundle.content["system_identifier"]
    return bundle.content["database"] == server.database and (None in (identifier, then) or identifier == then)
