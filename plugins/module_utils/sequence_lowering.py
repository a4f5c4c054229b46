# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""sequence_reset with the policy exact: plans what is to be set back, and once that is confirmed does it in one piece.

ALTER SEQUENCE … RESTART and not setval, which no ROLLBACK takes back: of several sequences all are set back with the
commit, or none. It asks for no more than the repair forward does, which holds a sequence by an ALTER, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.confirmation import batch_token, require_confirmed
from ansible_collections.pgops.rollback.plugins.module_utils.connections import Connections
from ansible_collections.pgops.rollback.plugins.module_utils.driver import sql
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.locks import NO_WRITERS, Session, gave_up, in_rounds
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_catalog import Sequence
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_exact import (
    Lowering,
    lowering_of,
    make_plan,
    plan_token,
    require_within,
)
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_repair import (
    Repair,
    assess_locked,
    hold_still,
    set_statement,
    tables_fed,
)
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_reset import reset
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_state import Assessment, Position
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_survey import Survey
from ansible_collections.pgops.rollback.plugins.module_utils.wording import some

#: By the sequence's OID, as sequence_reset.reset takes what was already seen to.
Repairs = dict[int, Repair]


@dataclass(frozen=True)
class _Planned:
    """:ivar chosen: what is to be set back, and by how much.
    :ivar left: what would have to be and cannot, with the reason.
    """

    database: str
    chosen: list[tuple[Sequence, Assessment, Lowering]]
    left: Repairs

    @property
    def lowerings(self) -> list[Lowering]:
        return [lowering for _sequence, _first, lowering in self.chosen]

    def as_dict(self) -> dict[str, Any]:
        return make_plan(self.database, self.lowerings)


def reset_exactly(
    connections: Connections,
    database: str,
    found: Survey,
    options: dict[str, Any],
    lock_timeout_ms: int,
    check_mode: bool,
) -> dict[str, Any]:
    """Set back what was confirmed, and repair the rest like the policy forward.

    While something is to be set back and nothing was confirmed, nothing at all is done: the result is a prediction.

    :param options: those of sequence_reset.
    :returns: what sequence_reset documents.
    :raises RollbackError: ``confirmation_invalid``, ``confirmation_foreign``, ``confirmation_stale``; nothing was done.
    """
    planned = _plan(database, found)
    plan = planned.as_dict()
    token = plan_token(plan)
    waits = bool(planned.chosen) and not (options["confirm"] or "").strip()
    seen_to = dict(planned.left)
    if waits or check_mode:
        if not waits:
            confirmed, _sequences = _confirmed(planned, found, options)
            require_within(planned.lowerings, confirmed)
        seen_to.update(_predictions(connections, planned))
    else:
        seen_to.update(_apply(connections, planned, found, options, lock_timeout_ms))
    result = reset(connections, found, options, lock_timeout_ms, check_mode or waits, seen_to)
    result.update(plan=plan, token=token)
    if waits:
        question = _question(planned.lowerings, token, options["batch"] or {})
        result.update(status="refused", changed=False, summary=question, msg=f"{question} {result['msg']}")
    return result


def _plan(database: str, found: Survey) -> _Planned:
    chosen, left = [], {}
    for sequence, first in found.sequences:
        lowering = lowering_of(sequence, first)
        if lowering is None:
            continue
        obstacle = _obstacle(sequence, found)
        if sequence.missing_to_repair:
            left[sequence.oid] = Repair("failed", f"Missing privilege: {'; '.join(sequence.missing_to_repair)}.", first)
        elif obstacle:
            left[sequence.oid] = Repair("refused", f"It is not set back: {obstacle}", first)
        else:
            chosen.append((sequence, first, lowering))
    return _Planned(database, chosen, left)


def _obstacle(sequence: Sequence, found: Survey) -> str:
    """Why nobody can know that an id is free; empty where it can be known. Forward that is no danger."""
    for column in sequence.columns:
        if column.covered:
            continue
        if not column.comparable:
            return f"the values of {column.name} cannot be compared with it."
        if column.kind == "text_default":
            return f"{column.name} looks it up by name, so another search_path may mean another sequence."
    for key in found.keys_without_default:
        if key.sequence is not None and key.sequence.oid == sequence.oid:
            return f"{key.name} does not use it any more, and may hold ids of it."
    return ""


def _confirmed(planned: _Planned, found: Survey, options: dict[str, Any]) -> tuple[dict[str, Any], list[Sequence]]:
    """The plan that was confirmed, and the sequences to lock and to compare with it: all that either plan has.

    Without a plan of the caller's, the one of now is what has to have been confirmed. What is too far without locks may
    not be under them: its row is being written.
    """
    now = planned.as_dict()
    confirmed = options["plan"] or now
    names = {entry["name"] for entry in now["sequences"]}
    if names:
        host, confirm, batch = options["host"] or "", options["confirm"] or "", options["batch"] or {}
        require_confirmed(host, plan_token(confirmed), confirm, batch)
        names |= {entry["name"] for entry in confirmed["sequences"]}
    sequences = [sequence for sequence, _first in found.sequences if sequence.name in names]
    for sequence in sequences:
        if sequence.oid in planned.left:
            raise RollbackError(
                "confirmation_stale",
                f"{sequence.name} can no longer be set back. {planned.left[sequence.oid].message}",
                "Remove the reason, or repeat the same command without rollback_confirm and read the new plan; nothing"
                " was done.",
            )
    return confirmed, sequences


def _predictions(connections: Connections, planned: _Planned) -> Repairs:
    with connections.first.cursor() as cursor:
        return {
            sequence.oid: _lowered("would_reset", cursor, sequence, first, lowering)
            for sequence, first, lowering in planned.chosen
        }


def _lowered(action: str, cursor: Any, sequence: Sequence, before: Assessment, lowering: Lowering) -> Repair:
    position = before.position
    undo = set_statement(cursor, sequence, position) if position else None
    message = f"{'Set back' if action == 'reset' else 'To be set back'}: {lowering.ids}."
    return Repair(action, message, before, Position(lowering.target, False), undo)


def _question(lowerings: list[Lowering], token: str, batch: dict[str, str]) -> str:
    """What whoever confirms has to know."""
    number = len(lowerings)
    together = f" (the token of {len(batch)} databases together)" if len(batch) > 1 else ""
    return (
        f"{number} sequence{'s are' if number > 1 else ' is'} to be set back, after which ids come again that may live"
        " on in logs, caches, other systems and what an application took and has not inserted yet: "
        + some((f"of {each.name} {each.ids}" for each in lowerings), separator="; ")
        + ". Nothing was done. If that is what you want, repeat the same command with"
        f" -e rollback_confirm={batch_token(batch or {'': token})}{together}."
    )


def _apply(
    connections: Connections, planned: _Planned, found: Survey, options: dict[str, Any], lock_timeout_ms: int
) -> Repairs:
    """All of the confirmed plan, or none of it."""
    confirmed, sequences = _confirmed(planned, found, options)
    if not sequences:
        return {}
    firsts = {sequence.oid: first for sequence, first in found.sequences}

    def failed(reason: str) -> Repairs:
        together = " None of those that were confirmed was set back." if len(sequences) > 1 else ""
        return {each.oid: Repair("failed", f"{reason}{together}", firsts[each.oid]) for each in sequences}

    def attempt(session: Session, work: list[Sequence]) -> Repairs:
        return session.guarded(lambda: _lower(session, work, confirmed), failed)

    def give_up(session: Session, work: list[Sequence], attempts: int) -> Repairs:
        relations = [each.oid for each in work] + [column.relation for each in work for column in each.columns]
        return failed(gave_up(session, relations, NO_WRITERS, attempts))

    ((_work, outcome),) = in_rounds([Session(connections.first, lock_timeout_ms)], [sequences], attempt, give_up)
    return outcome


def _lower(session: Session, sequences: list[Sequence], confirmed: dict[str, Any]) -> Repairs:
    """Lock everything, read again, compare with what was confirmed, set back, commit."""
    tables = sorted({table for sequence in sequences for table in tables_fed(sequence)})
    session.begin([(NO_WRITERS, tables)] if tables else [], *map(hold_still, sequences))
    befores = [(sequence, assess_locked(session.cursor, sequence)) for sequence in sequences]
    lowerings = [(sequence, before, lowering_of(sequence, before)) for sequence, before in befores]
    due = [(sequence, before, lowering) for sequence, before, lowering in lowerings if lowering is not None]
    try:
        require_within((lowering for _sequence, _before, lowering in due), confirmed)
    except RollbackError:
        session.rollback()
        raise
    done = {
        sequence.oid: _lowered("reset", session.cursor, sequence, before, lowering)
        for sequence, before, lowering in due
    }
    restarts = [
        sql.SQL("ALTER SEQUENCE {} RESTART WITH {};").format(
            sql.Identifier(sequence.schema, sequence.sequence), sql.Literal(lowering.target)
        )
        for sequence, _before, lowering in due
    ]
    session.cursor.execute(sql.Composed([*restarts, sql.SQL("COMMIT")]))
    return done
