# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Carrying out a confirmed plan: made once more under its locks, in one transaction, with the bundle for the undo."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.confirmation import require_confirmed
from ansible_collections.pgops.rollback.plugins.module_utils.connection import ServerInfo, cluster_identifier
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.locks import parse_lock_timeout
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_aftermath import broken_now
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_attempts import Acting, in_attempts
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_bundle import (
    COMMITTED,
    Bundle,
    begin_bundle,
    bundles_of,
    discard_bundle,
    finish_bundle,
    read_bundle,
    withdraw_bundle,
)
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_plan import (
    Planned,
    PlanRequest,
    make_plan,
    read_plan,
    reading,
)
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_quarantine import COMMITTED as QUARANTINED
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_quarantine import (
    prepare_quarantine,
    quarantine_outcome,
    quarantine_schema,
    taken_schemas,
)

_NOW = """SELECT pg_catalog.to_char(pg_catalog.now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')"""


@dataclass(frozen=True)
class Order:
    """A plan, and who confirmed it how.

    :ivar host: the database's name in the inventory.
    :ivar batch: the tokens that were shown, by host.
    :ivar planned_rows: of all tables when it was planned; None when nobody knew.
    :ivar max_row_growth: percent that there may be more of them by now.
    """

    request: PlanRequest
    host: str
    confirm: str
    batch: dict[str, str]
    artifacts_dir: str
    run_id: str
    planned_rows: int | None
    max_row_growth: int

    def require(self, planned: Planned) -> None:
        """Refuse unless this very plan was confirmed and nothing stands in its way.

        :raises RollbackError: those of require_confirmed(), ``teardown_blocked``, ``rows_grown``.
        """
        plan = planned.plan
        require_confirmed(self.host, plan["token"], self.confirm, self.batch)
        if plan["blockers"]:
            first = plan["blockers"][0]
            raise RollbackError(
                "teardown_blocked",
                f"The plan is blocked ({', '.join(sorted({each['code'] for each in plan['blockers']}))}):"
                f" {first['message']}",
                f"{first['remedy']} Nothing was done.",
            )
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
    :raises RollbackError: those of make_plan(), Order.require(), begin_bundle(), in_attempts(), prepare_quarantine(),
        Quarantine.move(). Nothing has happened then.
    """
    if order.request.drop:
        raise RollbackError(
            "mode_not_built",
            "This release can plan a drop, and not carry it out yet.",
            "Leave teardown_mode at quarantine, which takes the objects out of the way and keeps every row; nothing was"
            " done.",
        )
    planned = make_plan(connection, server, order.request)
    plan = planned.plan
    result = {"changed": False, "status": "ok", "token": plan["token"], "plan": plan, "broken": []}
    if not plan["objects"]:
        return {**result, **_nothing_to_do(connection, order)}
    order.require(planned)
    result |= {"changed": True, "status": "changed", "broken": broken_now(plan)}
    if check_mode:
        return {**result, "msg": f"Would move {_count(plan)} into quarantine. Check mode does nothing."}
    partial = begin_bundle(order.artifacts_dir, order.host, order.run_id)
    try:
        bundle, attempts = _quarantined(connection, server, order, planned, partial)
    except BaseException:
        # With the connection lost in the middle of the commit nobody knows yet what came of it: the bundle stays, and
        # the next run tells by its OIDs.
        if not connection.closed:
            discard_bundle(partial)
        raise
    note = _noted(bundle)
    return {
        **result,
        "bundle": str(bundle.directory),
        "schema": bundle.content["schema"],
        "attempts": attempts,
        "msg": f"Moved {_count(plan)} into the schema {bundle.content['schema']}; every row is there.{note}",
    }


def _quarantined(
    connection: Any, server: ServerInfo, order: Order, planned: Planned, partial: Path
) -> tuple[Bundle, int]:
    lock_timeout_ms = parse_lock_timeout(order.request.lock_timeout, server)

    def attempt(cursor: Any) -> Bundle:
        withdraw_bundle(partial)
        again = read_plan(cursor, server, order.request, [])
        order.require(again)
        schema = quarantine_schema(order.run_id, taken_schemas(cursor))
        prepared = prepare_quarantine(cursor, again, schema)
        acting = Acting(cursor, lock_timeout_ms)
        prepared.take_history(cursor, acting)
        cursor.execute(_NOW)
        (now,) = cursor.fetchone()
        heading = {
            "mode": again.plan["mode"], "host": order.host, "run_id": order.run_id, "created": now,
            "database": server.database, "system_identifier": cluster_identifier(cursor),
            "server_version_num": server.version_num, "role": server.user, "plan": again.plan,
        }  # fmt: skip
        bundle = finish_bundle(partial, {**heading, **prepared.content})
        prepared.move(cursor, acting)
        return bundle

    tables = [(each.schema, each.short) for each in planned.targets.tables if each.kind == "table"]
    return in_attempts(connection, lock_timeout_ms, tables, planned.targets.relations, attempt)


def _nothing_to_do(connection: Any, order: Order) -> dict[str, Any]:
    """Also the end of a run that was killed after its commit: its bundle gets the note it lacks."""
    for path in bundles_of(order.artifacts_dir, order.host):
        try:
            bundle = read_bundle(path)
        except RollbackError:
            break  # an undo would say what is wrong with it
        if bundle.committed or bundle.undone:
            break
        with reading(connection) as cursor:
            outcome = quarantine_outcome(cursor, bundle.content)
        if outcome == QUARANTINED:
            return {
                "bundle": str(path),
                "msg": f"Nothing to do: the run {bundle.content['run_id']} was interrupted after it had done it all."
                f"{_noted(bundle)}",
            }
    return {"msg": "Nothing to do: the database has nothing of what the manifest names."}


def _noted(bundle: Bundle) -> str:
    """:returns: what to say of a note that could not be written; the teardown itself stands."""
    with suppress(OSError):
        bundle.note(COMMITTED, {"token": bundle.content["plan"]["token"], "run_id": bundle.content["run_id"]})
        return ""
    return f" The note {COMMITTED} could not be written into {bundle.directory}; an undo does without it."


def _count(plan: dict[str, Any]) -> str:
    number = len(plan["objects"])
    return f"{number} object{'s' if number > 1 else ''}"
