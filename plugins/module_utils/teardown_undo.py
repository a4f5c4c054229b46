# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Undoing a teardown: which bundle, whether it was committed, and the way back in one transaction."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.blast_radius import PURGE, QUARANTINE
from ansible_collections.pgops.rollback.plugins.module_utils.connection import ServerInfo, cluster_identifier
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.locks import parse_lock_timeout
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_attempts import in_attempts
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_bundle import (
    NOTE_UNDONE,
    Bundle,
    bundles_of,
    read_bundle,
)
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_cipher import Cipher
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_outcome import (
    COMMITTED,
    GONE,
    NOT_COMMITTED,
    UNDONE,
    is_own,
    oids_of,
    require_own,
    teardown_outcome,
)
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_plan import reading
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_quarantine import (
    found_again,
    quarantine_locks,
)
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_restore import require_free, restore_dropped
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_return import (
    require_returnable,
    return_from_quarantine,
    rows_since,
)


@dataclass(frozen=True)
class UndoRequest:
    """What is to be undone.

    :ivar host: the database's name in the inventory.
    :ivar bundle: its directory; None for the newest committed one of the host.
    :ivar lock_timeout: of one attempt, as parse_lock_timeout() takes it.
    :ivar timeout: seconds that one run of pg_restore may take, or the command that decrypts.
    """

    artifacts_dir: str
    host: str
    bundle: str | None
    lock_timeout: str
    timeout: float
    cipher: Cipher


def undo(connection: Any, server: ServerInfo, request: UndoRequest, check_mode: bool) -> dict[str, Any]:
    """:returns: what the module ``teardown_undo`` returns.
    :raises RollbackError: of read_bundle(), Cipher.require_key(), require_returnable(), return_from_quarantine(),
        restore_dropped(), in_attempts(), and ``bundle_none``, ``bundle_foreign``, ``bundle_uncommitted``,
        ``bundle_gone``. Nothing has happened then.
    """
    lock_timeout_ms = parse_lock_timeout(request.lock_timeout, server)
    with reading(connection) as cursor:
        identifier = cluster_identifier(cursor)
        bundle, outcome = (
            _given(cursor, server, identifier, request.host, Path(request.bundle)) if request.bundle
            else _newest(cursor, server, identifier, request)
        )  # fmt: skip
        mode = bundle.content["mode"]
        dropped = mode != QUARANTINE
        # As the plan counts them: the sequences of columns, which go along with their tables, among them.
        number = len(bundle.content["oids"])
        result = {"bundle": str(bundle.directory), "objects": number, "notes": [], "mode": mode}
        if outcome != COMMITTED:
            if not check_mode and not bundle.undone:
                _note(bundle, number)
            return {**result, "changed": False, "status": "ok", "msg": "Nothing to do: it was undone already."}
        request.cipher.require_key(bundle)
        if not dropped:
            bundle = replace(bundle, content=found_again(cursor, bundle.content))
        (require_free if dropped else require_returnable)(cursor, bundle.content)
    result |= {"changed": True, "status": "changed"}
    if check_mode:
        return {**result, "msg": f"Would bring {number} objects back. Check mode does nothing."}
    if dropped:
        restored = restore_dropped(connection, server, bundle, lock_timeout_ms, request.timeout, request.cipher)
        attempts, notes = restored.attempts, restored.notes
    else:
        attempts, notes = _returned(connection, bundle, lock_timeout_ms)
    _note(bundle, number)
    where = " in quarantine" if mode == PURGE else ""
    said = [f"{number} objects are back{where}, proven to be as they were before the {_called(mode)}.", *notes]
    return {**result, "attempts": attempts, "notes": notes, "msg": " ".join(said)}


def _note(bundle: Bundle, number: int) -> None:
    with suppress(OSError):  # the objects tell it, too
        bundle.note(NOTE_UNDONE, {"objects": number})


def _returned(connection: Any, bundle: Bundle, lock_timeout_ms: int) -> tuple[int, list[str]]:
    """Out of quarantine. How many attempts it took, and what is not as it was and need not be."""
    returned, attempts = in_attempts(
        connection, lock_timeout_ms, *quarantine_locks(bundle.content),
        lambda cursor: return_from_quarantine(cursor, bundle.content, lock_timeout_ms),
    )  # fmt: skip
    with reading(connection) as cursor:
        return attempts, [*returned.notes, *rows_since(cursor, bundle.content)]


def _given(cursor: Any, server: ServerInfo, identifier: str | None, host: str, path: Path) -> tuple[Bundle, str]:
    """And what became of it."""
    bundle = read_bundle(path)
    require_own(server, identifier, host, bundle)
    outcome = teardown_outcome(cursor, bundle)
    if outcome == GONE and not bundle.undone:
        raise RollbackError(
            "bundle_gone",
            f"Nothing of what the bundle {path} moved is in the database: it was dropped or purged since.",
            "Undo what dropped it first, or restore a backup; nothing was done.",
        )
    if outcome not in (COMMITTED, UNDONE) and not (bundle.committed or bundle.undone):
        raise RollbackError(
            "bundle_uncommitted",
            f"The teardown of the bundle {path} was never committed: its objects are where they were.",
            "There is nothing to undo; nothing was done.",
        )
    return bundle, outcome


def _called(mode: str) -> str:
    return mode if mode == PURGE else "teardown"


def _newest(cursor: Any, server: ServerInfo, identifier: str | None, request: UndoRequest) -> tuple[Bundle, str]:
    """And what became of it. Also that of an undo that was killed after its commit, so that a rerun does not take the
    one before it.
    """
    gone: set[tuple[str, int]] = set()
    for path in bundles_of(request.artifacts_dir, request.host):
        bundle = read_bundle(path)
        if not is_own(server, identifier, request.host, bundle):
            continue
        # An object is dropped once: where a newer one dropped it, this one was never committed, or was undone.
        oids = oids_of(bundle) if bundle.content["mode"] != QUARANTINE else set()
        if not bundle.undone and gone.isdisjoint(oids):
            outcome = teardown_outcome(cursor, bundle)
            if outcome in (COMMITTED, UNDONE) or (outcome == NOT_COMMITTED and bundle.committed):
                return bundle, outcome
        if bundle.committed or bundle.undone:
            gone |= oids
    raise RollbackError(
        "bundle_none",
        f"There is no teardown of {request.host} under {request.artifacts_dir} that could be undone.",
        "Give rollback_bundle the directory that the teardown's report names, or set rollback_artifacts_dir;"
        " nothing was done.",
    )
