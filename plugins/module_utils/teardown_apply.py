# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Carrying out a confirmed plan: made once more under its locks, in one transaction, with the bundle for the undo."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.blast_radius import PURGE
from ansible_collections.pgops.rollback.plugins.module_utils.confirmation import require_confirmed, require_unblocked
from ansible_collections.pgops.rollback.plugins.module_utils.connection import ServerInfo, cluster_identifier
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.locks import parse_lock_timeout
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_aftermath import broken_now
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_attempts import Acting, in_attempts
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_bundle import (
    NOTE_COMMITTED,
    Bundle,
    bundles_of,
    finish_bundle,
    read_bundle,
    withdraw_bundle,
)
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_cipher import Cipher
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_drop import Dropped, drop
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_outcome import (
    COMMITTED,
    is_own,
    new_bundle,
    require_lasting,
    teardown_outcome,
)
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_plan import (
    Planned,
    PlanRequest,
    make_plan,
    nothing_to_do,
    read_plan,
    reading,
)
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_quarantine import (
    prepare_quarantine,
    quarantine_schema,
    taken_schemas,
)
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_retention import TIME, keep_until, server_now

#: Makes the plan again, with what the bundle begins with, or refuses.
Confirmed = Callable[[Any], tuple[Planned, dict[str, Any]]]


@dataclass(frozen=True)
class Order:
    """A plan, and who confirmed it how.

    :ivar host: the database's name in the inventory.
    :ivar batch: the tokens that were shown, by host.
    :ivar planned_rows: of all tables when it was planned; None when nobody knew.
    :ivar max_row_growth: percent that there may be more of them by now.
    :ivar timeout: seconds that one run of pg_dump or pg_restore may take, or a command of the cipher.
    :ivar artifacts_last: whether the directory is known to outlive the execution environment.
    :ivar retention: how long the bundle is to be kept.
    """

    request: PlanRequest
    host: str
    confirm: str
    batch: dict[str, str]
    artifacts_dir: str
    run_id: str
    planned_rows: int | None
    max_row_growth: int
    timeout: float
    artifacts_last: bool
    retention: timedelta
    cipher: Cipher

    def require(self, planned: Planned) -> None:
        """Refuse unless this very plan was confirmed and nothing stands in its way.

        :raises RollbackError: those of require_confirmed(), ``teardown_blocked``, ``rows_grown``.
        """
        plan = planned.plan
        require_confirmed(self.host, plan["token"], self.confirm, self.batch)
        require_unblocked(plan, "teardown_blocked")
        rows = plan["rows"]["total"]
        planned_rows = self.planned_rows
        if rows is not None and planned_rows is not None and rows > planned_rows * (1 + self.max_row_growth / 100):
            raise RollbackError(
                "rows_grown",
                f"There are {rows} rows in what would go, and there were {planned_rows} when it was planned.",
                "Somebody still writes there: stop that, plan again, or set teardown_max_row_growth; nothing was done.",
            )


def tear_down(connection: Any, server: ServerInfo, order: Order, check_mode: bool) -> dict[str, Any]:
    """:param connection: in autocommit mode.
    :returns: what the module ``teardown`` returns.
    :raises RollbackError: those of make_plan(), Order.require(), new_bundle(), in_attempts(), prepare_quarantine(),
        Quarantine.move(), drop(), and ``artifacts_vanish``. Nothing has happened then.
    """
    planned = make_plan(connection, server, order.request)
    plan = planned.plan
    result = {"changed": False, "status": "ok", "token": plan["token"], "plan": plan, "broken": []}
    if not plan["objects"]:
        return {**result, **_nothing_to_do(connection, server, order, plan, check_mode)}
    order.require(planned)
    result |= {"changed": True, "status": "changed", "broken": broken_now(plan)}
    if order.request.drop:
        require_lasting(order.artifacts_dir, order.artifacts_last)
    if check_mode:
        return {**result, "msg": f"Would {plan['mode']} {_count(plan)}. Check mode does nothing."}
    lock_timeout_ms = parse_lock_timeout(order.request.lock_timeout, server)

    def confirmed(cursor: Any) -> tuple[Planned, dict[str, Any]]:
        again = read_plan(cursor, server, order.request, [])
        order.require(again)
        return again, _heading(cursor, server, order, again)

    with new_bundle(connection, order.artifacts_dir, order.host, order.run_id) as partial:
        if order.request.drop:
            dropped = drop(
                connection, server, planned, confirmed, lock_timeout_ms, partial, order.timeout, order.cipher
            )
            bundle, done = dropped.bundle, _told(dropped, planned)
        else:
            bundle, done = _quarantined(connection, planned, confirmed, lock_timeout_ms, partial, order.run_id)
    return {
        **result,
        **done,
        "bundle": str(bundle.directory),
        "keep_until": bundle.content["keep_until"],
        "msg": done["msg"] + _noted(bundle),
    }


def _heading(cursor: Any, server: ServerInfo, order: Order, planned: Planned) -> dict[str, Any]:
    """What every bundle begins with."""
    now = server_now(cursor)
    return {
        "mode": planned.plan["mode"], "host": order.host, "run_id": order.run_id,
        "created": now.astimezone(UTC).strftime(TIME), "keep_until": keep_until(now, order.retention),
        "database": server.database, "system_identifier": cluster_identifier(cursor),
        "server_version_num": server.version_num, "role": server.user, "plan": planned.plan,
        "schema": order.request.quarantine,
    }  # fmt: skip


def _quarantined(
    connection: Any, planned: Planned, confirmed: Confirmed, lock_timeout_ms: int, partial: Path, run_id: str
) -> tuple[Bundle, dict[str, Any]]:
    def attempt(cursor: Any) -> Bundle:
        withdraw_bundle(partial)
        again, heading = confirmed(cursor)
        schema = quarantine_schema(run_id, taken_schemas(cursor))
        prepared = prepare_quarantine(cursor, again, schema)
        acting = Acting(cursor, lock_timeout_ms)
        prepared.take_history(cursor, acting)
        bundle = finish_bundle(partial, {**heading, **prepared.content})
        prepared.move(cursor, acting)
        return bundle

    tables = [(each.schema, each.short) for each in planned.targets.tables if each.kind == "table"]
    bundle, attempts = in_attempts(connection, lock_timeout_ms, tables, planned.targets.relations, attempt)
    schema = bundle.content["schema"]
    return bundle, {
        "schema": schema,
        "attempts": attempts,
        "msg": f"Moved {_count(planned.plan)} into the schema {schema}; every row is there.",
    }


def _told(done: Dropped, planned: Planned) -> dict[str, Any]:
    encryption = done.bundle.content["encryption"]
    did = "Purged" if planned.plan["mode"] == PURGE else "Dropped"
    said = [f"{did} {_count(planned.plan)}. The bundle has every row, and was seen to bring the objects back."]
    if encryption:
        said.append("It is encrypted.")
        said += [] if encryption["proven"] else [
            "That it can be decrypted could not be proven here, since teardown_bundle_decrypt is not set: try it where"
            " the key is."
        ]
    return {
        "attempts": done.attempts,
        "exports": done.exports,
        "held_ms": done.held_ms,
        "encryption": encryption,
        "msg": " ".join(said),
    }


def _nothing_to_do(
    connection: Any, server: ServerInfo, order: Order, plan: dict[str, Any], check_mode: bool
) -> dict[str, Any]:
    """Also the end of a run that was killed after its commit: its bundle gets the note it lacks."""
    for path in bundles_of(order.artifacts_dir, order.host):
        try:
            bundle = read_bundle(path)
        except RollbackError:
            break  # an undo would say what is wrong with it
        if bundle.committed or bundle.undone:
            break
        with reading(connection) as cursor:
            if not is_own(server, cluster_identifier(cursor), order.host, bundle):
                continue  # its objects cannot be here
            outcome = teardown_outcome(cursor, bundle)
        if outcome == COMMITTED:
            return {
                "bundle": str(path),
                "msg": f"Nothing to do: the run {bundle.content['run_id']} was interrupted after it had done it all."
                f"{'' if check_mode else _noted(bundle)}",
            }
    return {"msg": nothing_to_do(plan)}


def _noted(bundle: Bundle) -> str:
    """:returns: what to say of a note that could not be written; the teardown itself stands."""
    with suppress(OSError):
        bundle.note(NOTE_COMMITTED, {"token": bundle.content["plan"]["token"], "run_id": bundle.content["run_id"]})
        return ""
    return f" The note {NOTE_COMMITTED} could not be written into {bundle.directory}; an undo does without it."


def _count(plan: dict[str, Any]) -> str:
    number = len(plan["objects"])
    return f"{number} object{'s' if number > 1 else ''}"
