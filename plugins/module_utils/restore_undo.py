# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Undoing a full restore, by putting the old database back in its place, and removing what restores have set aside."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.blocker import Blocker, in_order
from ansible_collections.pgops.rollback.plugins.module_utils.connections import Connections
from ansible_collections.pgops.rollback.plugins.module_utils.driver import DATABASE_ERRORS, sql
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError, server_message
from ansible_collections.pgops.rollback.plugins.module_utils.report_content import size_text
from ansible_collections.pgops.rollback.plugins.module_utils.restore_apply import Order, finish, read_record
from ansible_collections.pgops.rollback.plugins.module_utils.restore_blockers import rights_blockers
from ansible_collections.pgops.rollback.plugins.module_utils.restore_live import Live, with_token
from ansible_collections.pgops.rollback.plugins.module_utils.restore_marks import (
    BUILDING,
    KEPT,
    READY,
    TAKEN_BACK,
    UNDONE,
    Marked,
    name_beside,
    server_time,
)
from ansible_collections.pgops.rollback.plugins.module_utils.restore_plan import other
from ansible_collections.pgops.rollback.plugins.module_utils.restore_swap import Renaming, swap
from ansible_collections.pgops.rollback.plugins.module_utils.table_writes import read_table_writes

UNDO, PURGE = "undo", "purge"

_SESSIONS = "SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE datid = %s"
_SUBSCRIPTIONS = "SELECT count(*) FROM pg_catalog.pg_subscription WHERE subdbid = %s"


def make_undo_plan(connection: Any, live: Live, artifacts_dir: str, host: str) -> tuple[dict[str, Any], Marked | None]:
    """:param connection: to the live database, which is the restored one.
    :returns: the plan, and the database that comes back; None when that was done already.
    :raises RollbackError: ``undo_none``.
    """
    marked = live.marked()
    successors = [each for each in marked if each.mark.successor == live.properties.oid]
    old = next((each for each in successors if each.mark.role == KEPT), None)
    if not successors:
        raise RollbackError(
            "undo_none",
            f"No database is kept that {live.name} took the place of: it was never restored, or that was purged.",
            "There is nothing to undo; nothing was done.",
        )
    with live.session.cursor() as cursor:
        blockers = rights_blockers(cursor, live.properties) if old else []
    plan = {
        "action": UNDO,
        "database": live.name,
        "comes_back": other(old) if old else None,
        "lost": {"rows": _written_since(connection, old, artifacts_dir, host) if old else []},
        "sessions": live.sessions(),
        "others": [other(each) for each in marked if each is not old and each.mark.role in (KEPT, UNDONE)],
        "blockers": in_order(blockers), "warnings": [], "overrides": {}, "nothing_to_do": old is None,
    }  # fmt: skip
    return with_token(plan), old


def _written_since(connection: Any, old: Marked, artifacts_dir: str, host: str) -> list[dict[str, Any]] | None:
    """Rows written to each table since the swap; None when nobody knows."""
    then = read_record(artifacts_dir, host, old.mark.run_id)
    if then is None:
        return None
    with connection.cursor() as cursor:
        written = read_table_writes(cursor).since(then)
    if written is None:
        return None
    return [{"name": name, "then": None, "now": None, "written": rows} for name, rows in sorted(written.items())]


def undo_summary(plan: dict[str, Any]) -> str:
    """One line for a person."""
    if plan["nothing_to_do"]:
        return "Nothing to do: it was undone already."
    old, rows = plan["comes_back"], plan["lost"]["rows"]
    lost = "How many rows were written since is not known" if rows is None else (
        f"{sum(each['written'] for each in rows):,} rows were written since"
    )
    blocked = f" {len(plan['blockers'])} blockers." if plan["blockers"] else f" Token {plan['token']}."
    return f"{old['name']}, kept {old['since']}, comes back as {plan['database']}. {lost}; they go.{blocked}"


def undo(connections: Connections, live: Live, order: Order, check_mode: bool) -> dict[str, Any]:
    """Put the old database back. The restored one is kept under another name, until it is purged.

    :param connections: to the live database; they are closed.
    :raises RollbackError: those of make_undo_plan(), Order.require(), Live.exclusively(), swap().
    """
    plan, old = make_undo_plan(connections.first, live, order.artifacts_dir, order.host)
    connections.close()
    result = {"changed": False, "status": "ok", "token": plan["token"], "plan": plan}
    if old is None:
        for each in live.marked():
            if each.mark.role == UNDONE and each.mark.successor == live.properties.oid and not each.mark.finished:
                finish(live, each)
        return {**result, "msg": undo_summary(plan)}
    order.require(plan)
    result |= {"changed": True, "status": "changed"}
    if check_mode:
        return {**result, "msg": f"Would put {old.name} back as {live.name}. Check mode does nothing."}
    with live.exclusively():
        with live.session.cursor() as cursor:
            aside = name_beside(cursor, live.name, TAKEN_BACK)
            mark = replace(
                old.mark, role=UNDONE, run_id=order.run_id, since=server_time(cursor), successor=old.oid,
                comment=live.properties.comment, finished=False,
            )  # fmt: skip
        swapped = swap(
            Renaming(live.properties.oid, live.name, aside, mark.text()),
            Renaming(old.oid, old.name, live.name, old.mark.comment),
            live.session, live.beside,
        )  # fmt: skip
        finish(live, Marked(live.properties.oid, aside, live.properties.owner, None, mark))
    return {
        **result, "old_database": aside, "downtime": round(swapped.seconds, 3), "sessions_ended": swapped.ended,
        "msg": f"{live.name} is what it was before the restore, in {swapped.seconds:.2f} s. What was written since the"
        f" restore is kept as {aside}.",
    }  # fmt: skip


def make_purge_plan(live: Live) -> tuple[dict[str, Any], list[Marked]]:
    """What goes for good."""
    marked = live.marked()
    blockers = []
    with live.session.cursor() as cursor:
        for each in marked:
            cursor.execute(_SESSIONS, (each.oid,))
            if each.mark.role in (KEPT, UNDONE) and cursor.fetchone()[0]:
                blockers.append(Blocker(
                    "database_in_use",
                    f"Somebody is connected to {each.name}.",
                    "Find out what they need it for, and end that.",
                ))  # fmt: skip
            cursor.execute(_SUBSCRIPTIONS, (each.oid,))
            if cursor.fetchone()[0]:
                blockers.append(Blocker(
                    "database_subscribes",
                    f"Subscriptions write to {each.name}.",
                    "Drop them there (DROP SUBSCRIPTION), and make them anew in the live database.",
                ))  # fmt: skip
    plan = {
        "action": PURGE,
        "database": live.name,
        "goes": [other(each) for each in marked],
        "blockers": in_order(blockers), "warnings": [], "overrides": {}, "nothing_to_do": not marked,
    }  # fmt: skip
    return with_token(plan), marked


def purge_summary(plan: dict[str, Any]) -> str:
    """One line for a person."""
    if plan["nothing_to_do"]:
        return "Nothing to do: no database is kept."
    number = len(plan["goes"])
    freed = size_text(sum(each["bytes"] or 0 for each in plan["goes"]))
    blocked = f" {len(plan['blockers'])} blockers." if plan["blockers"] else f" Token {plan['token']}."
    return f"{number} database{'s' if number > 1 else ''} of {plan['database']} go for good, {freed}.{blocked}"


def purge(live: Live, order: Order, check_mode: bool) -> dict[str, Any]:
    """Drop what restores of this database have set aside, or left behind.

    :raises RollbackError: those of Order.require(), Live.exclusively(); ``purge_incomplete``, with what was dropped.
    """
    plan, marked = make_purge_plan(live)
    result = {"changed": False, "status": "ok", "token": plan["token"], "plan": plan}
    if not marked:
        return {**result, "msg": purge_summary(plan)}
    order.require(plan)
    result |= {"changed": True, "status": "changed"}
    names = ", ".join(each.name for each in marked)
    if check_mode:
        return {**result, "msg": f"Would drop {names}. Check mode does nothing."}
    with live.exclusively(), live.session.cursor() as cursor:
        for each in marked:
            force = sql.SQL(" WITH (FORCE)" if each.mark.role in (BUILDING, READY) else "")
            try:
                cursor.execute(sql.SQL("DROP DATABASE {}{}").format(sql.Identifier(each.name), force))
            except DATABASE_ERRORS as error:
                raise RollbackError(
                    "purge_incomplete",
                    f"{each.name} could not be dropped: {server_message(error)}.",
                    "See to that, then purge again; what was dropped before it is gone.",
                ) from error
    return {**result, "msg": f"Dropped {names}."}
