# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""sequence_reset's one call: what the survey found behind is repaired or, in check mode, predicted; then said."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.connections import Connections
from ansible_collections.pgops.rollback.plugins.module_utils.default_repair import DefaultRepair, repair_defaults
from ansible_collections.pgops.rollback.plugins.module_utils.driver import sql
from ansible_collections.pgops.rollback.plugins.module_utils.locks import Session
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_catalog import KeyWithoutDefault, Sequence
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_repair import (
    Repair,
    repair_all,
    set_statement,
)
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_state import (
    NEAR_LIMIT_PERCENT,
    Assessment,
    Position,
    bounds,
    describe,
)
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_survey import Survey, describe_key

#: Such sequences are counted, not listed.
HEALTHY = ("ok", "ahead")

#: How many reasons a failure message spells out; the rest are in the result.
_REASONS = 3


def reset(
    connections: Connections,
    found: Survey,
    options: dict[str, Any],
    lock_timeout_ms: int,
    check_mode: bool,
    seen_to: dict[int, Repair] | None = None,
) -> dict[str, Any]:
    """Repair, or predict exactly what repairing would do from what was read.

    :param options: ``lock_healthy``, ``repair_defaults`` and ``test``, as sequence_reset documents them.
    :param seen_to: what was already done about sequences, by OID: they are left alone and are in the result.
    :returns: what sequence_reset documents.
    """
    keys = [key for key in found.keys_without_default if options["repair_defaults"] and _repairable(key, found)]
    # A sequence that a column gets back is set together with the default, and only then.
    given_back = {key.sequence.oid for key in keys if key.sequence}
    settled = given_back | (seen_to or {}).keys()
    chosen = [
        (sequence, first)
        for sequence, first in found.sequences
        if _worth_a_lock(sequence, first, options) and sequence.oid not in settled
    ]
    if check_mode:
        with connections.first.cursor() as cursor:
            repaired = [(sequence, _predict(cursor, sequence, first)) for sequence, first in chosen]
    else:
        repaired = repair_all(connections.every, lock_timeout_ms, chosen)
    session = connections.usable()
    defaults = repair_defaults(session, lock_timeout_ms, keys, check_mode) if session else []

    by_oid = {**{sequence.oid: repair for sequence, repair in repaired}, **(seen_to or {})}
    listed = []
    for sequence, first in found.sequences:
        repair = by_oid.get(sequence.oid) or _left_alone(sequence, first)
        if (repair.action != "none" or repair.before.state not in HEALTHY) and sequence.oid not in given_back:
            entry = _entry(sequence, repair)
            if options["test"] == "nextval" and repair.action == "reset":
                _draw_an_id(connections, sequence, entry, lock_timeout_ms)
            listed.append(entry)
    columns = _columns(found, {key.name: repair for key, repair in defaults})
    return _result(found, listed, columns, sum(sequence.oid in given_back for sequence, _first in found.sequences))


def _worth_a_lock(sequence: Sequence, first: Assessment, options: dict[str, Any]) -> bool:
    if sequence.missing_to_read or not sequence.compared_columns:
        return False
    if first.state in ("ok", "ahead", "near_limit"):
        return bool(options["lock_healthy"])
    # One that could not be read, for a lock perhaps, may well be behind.
    return first.target is not None or first.state == "unreadable"


def _left_alone(sequence: Sequence, first: Assessment) -> Repair:
    if first.state == "exhausted":
        return Repair("refused", first.message, first)
    if first.state == "unreadable" and sequence.missing_to_read:
        return Repair("failed", f"Missing privilege: {'; '.join(sequence.missing_to_repair)}.", first)
    return Repair("none", first.message, first)


def _predict(cursor: Any, sequence: Sequence, first: Assessment) -> Repair:
    missing = sequence.missing_to_repair
    if missing:
        return Repair("failed", f"Missing privilege: {'; '.join(missing)}.", first)
    if first.state == "unreadable":
        return Repair("failed", first.message, first)
    if first.position is not None and first.target is not None:
        undo = set_statement(cursor, sequence, first.position)
        return Repair("would_reset", "", first, first.target, undo)
    return _left_alone(sequence, first)


def _repairable(key: KeyWithoutDefault, found: Survey) -> bool:
    """A key without a sequence of its own may be as it should be, so it is repaired only where its table was named."""
    return key.lost or key.relation in found.named_tables


def _position(position: Position | None, sequence: Sequence | None) -> dict[str, Any] | None:
    if position is None or sequence is None:
        return None
    return {
        "last_value": position.last_value,
        "is_called": position.is_called,
        "next_value": position.next_value(sequence.increment),
    }


def _entry(sequence: Sequence, repair: Repair) -> dict[str, Any]:
    described = describe(sequence, repair.before)
    return {
        **{key: described[key] for key in ("name", "state", "columns", "extreme", "percent_used")},
        "warnings": [*described["warnings"], *_soon_exhausted(repair)],
        "action": repair.action,
        "message": repair.message,
        "before": _position(repair.before.position, sequence),
        "after": _position(repair.after, sequence),
        "undo": repair.undo,
    }


def _soon_exhausted(repair: Repair) -> list[str]:
    used = repair.before.percent_used
    if repair.after is None or used is None or used < NEAR_LIMIT_PERCENT:
        return []
    return [f"{used} % of its range is used: give its column and the sequence a larger type before it ends."]


def _draw_an_id(connections: Connections, sequence: Sequence, entry: dict[str, Any], lock_timeout_ms: int) -> None:
    """The test that burns an id: the next value must lie beyond the data."""
    low, high = bounds(sequence)
    if not low <= entry["after"]["next_value"] + sequence.increment <= high:
        entry["message"] = "It was not tested: the test would have taken the last id."
        return
    connection = connections.usable()
    if connection is None:
        entry.update(action="failed", message="It was set, but not tested: the connection was lost.")
        return
    session = Session(connection, lock_timeout_ms)

    def draw() -> tuple[int | None, str]:
        session.begin([])
        name = sql.Identifier(sequence.schema, sequence.sequence).as_string(session.cursor)
        session.cursor.execute("SELECT pg_catalog.nextval(%s::pg_catalog.regclass)", (name,))
        (value,) = session.cursor.fetchone()
        session.commit()
        return value, ""

    value, problem = session.guarded(draw, lambda reason: (None, reason))
    if value is None:
        entry.update(action="failed", message=f"It was set, but the test could not draw an id: {problem}")
        return
    entry["tested_value"] = value
    entry["after"] = _position(Position(value, True), sequence)
    entry["message"] = f"The test took the id {value}, which no row will have."
    if entry["extreme"] is not None and (value - entry["extreme"]) * sequence.increment <= 0:
        entry["action"] = "failed"
        entry["message"] = f"nextval gave {value}, which is not beyond the data ({entry['extreme']})."


def _columns(found: Survey, defaults: dict[str, DefaultRepair]) -> list[dict[str, Any]]:
    columns = []
    for key in found.keys_without_default:
        column = {**describe_key(key), "before": None, "after": None, "undo": None}
        repair = defaults.get(key.name)
        if repair is not None:
            column.update(status=repair.status, message=repair.message, undo=repair.undo)
            column["before"] = _position(repair.before, key.sequence)
            column["after"] = _position(repair.after, key.sequence)
        columns.append(column)
    return columns


def _result(
    found: Survey, listed: list[dict[str, Any]], columns: list[dict[str, Any]], given_back: int
) -> dict[str, Any]:
    actions = Counter(entry["action"] for entry in listed)
    statuses = Counter(column["status"] for column in columns)
    failures = [f"{entry['name']}: {entry['message']}" for entry in listed if entry["action"] in ("failed", "refused")]
    failures += [f"{column['column']}: {column['message']}" for column in columns if column["status"] == "failed"]
    healthy = len(found.sequences) - len(listed) - given_back
    summary = _summary(len(found.sequences), healthy, actions, statuses)
    changes = actions["reset"] + actions["would_reset"] + statuses["repaired"] + statuses["would_repair"]
    result: dict[str, Any] = {
        "status": "failed" if failures else "changed" if changes else "ok",
        "changed": bool(changes),
        "summary": summary,
        "msg": summary,
        "counts": found.counts(),
        "sequences": listed,
        "columns_without_default": columns,
    }
    if failures:
        more = f" … and {len(failures) - _REASONS} more." if len(failures) > _REASONS else ""
        result["failed"] = True
        result["msg"] = f"{summary} {' '.join(failures[:_REASONS])}{more}"
    return result


def _summary(total: int, healthy: int, actions: Counter[str], statuses: Counter[str]) -> str:
    parts = [
        f"{actions[action]} {words}"
        for action, words in (
            ("reset", "reset"),
            ("would_reset", "would be reset"),
            ("refused", "refused"),
            ("failed", "failed"),
        )
        if actions[action]
    ]
    if healthy:
        parts.append(f"{healthy} healthy")
    if actions["none"]:
        parts.append(f"{actions['none']} to look at")
    parts += [
        f"{statuses[status]} key column{'s' if statuses[status] > 1 else ''} {words}"
        for status, words in (
            ("failed", "without default"),
            ("warned", "perhaps without default"),
            ("repaired", "repaired"),
            ("would_repair", "would be repaired"),
        )
        if statuses[status]
    ]
    return f"{total} sequence{'s' if total != 1 else ''}: {', '.join(parts)}."


def difference(result: dict[str, Any]) -> dict[str, str]:
    """Before and after of what changed or would change, a line each, for Ansible's diff mode."""
    before, after = [], []
    for entry in result["sequences"]:
        if entry["after"]:
            before.append(f"{entry['name']}: next value {entry['before']['next_value']}\n")
            after.append(f"{entry['name']}: next value {entry['after']['next_value']}\n")
    for column in result["columns_without_default"]:
        if column["status"] in ("repaired", "would_repair"):
            before.append(f"{column['column']}: neither default nor identity\n")
            after.append(f"{column['column']}: {column['sequence'] or 'identity'}\n")
    return {"before": "".join(before), "after": "".join(after)}
