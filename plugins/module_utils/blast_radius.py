# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The blast radius of a teardown: what goes with it or breaks elsewhere, on objects that survive.

Nothing is dropped to find it out. What pg_depend knows is walked as Postgres would walk it; what it does not know, the
functions whose bodies are text, is read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.blast_closure import (
    Address,
    Closure,
    Described,
    Rights,
    emptied_schema,
    read_closure,
    read_rights,
)
from ansible_collections.pgops.rollback.plugins.module_utils.blast_events import event_triggers
from ansible_collections.pgops.rollback.plugins.module_utils.blast_functions import broken_functions
from ansible_collections.pgops.rollback.plugins.module_utils.blast_quarantine import quarantined, reaching_keys
from ansible_collections.pgops.rollback.plugins.module_utils.blast_sentences import dropped_sentence, why_not_again
from ansible_collections.pgops.rollback.plugins.module_utils.connection import ServerInfo
from ansible_collections.pgops.rollback.plugins.module_utils.dependent import DROPPED, Dependent
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_targets import Targets

#: What a teardown can do with the objects: move them out of everybody's way, or drop them; and drop what was moved.
QUARANTINE, DROP, PURGE = "quarantine", "drop", "purge"
MODES = (QUARANTINE, DROP, PURGE)

#: Of a relation that goes as a whole these are not told one by one.
_TOLD_WITH_THE_WHOLE = ("column", "attribute", "default")

#: On a table, and no part of it: the one belongs to a publication, which survives, and the other has an owner and a
#: schema of its own.
_NO_PARTS = ("publication table", "statistics")


@dataclass
class BlastRadius:
    """:ivar dependents: in the order of kind and name.
    :ivar closure: everything that a DROP would take, the objects themselves among it.
    """

    dependents: list[Dependent] = field(default_factory=list)
    closure: Closure = field(default_factory=Closure)
    rights: Rights = field(default_factory=lambda: Rights("", False))

    @property
    def dropped(self) -> list[Dependent]:
        return [each for each in self.dependents if each.effect == DROPPED]


def read_blast_radius(cursor: Any, server: ServerInfo, targets: Targets, mode: str) -> BlastRadius:
    """:param cursor: in a transaction of table_content.begin_reading().
    :param mode: one of MODES.
    """
    seeds = [(each.catalog, each.oid) for each in targets.objects]
    closure = read_closure(cursor, seeds)
    if schema := emptied_schema(cursor, targets.schema, closure):
        closure = read_closure(cursor, [*seeds, schema])
    reached = reached_elsewhere(closure, targets)
    owners = {each.owner_oid for each in closure.described.values()} | {each.owner_oid for each in targets.objects}
    schemas = {each.facts.get("schema") or each.schema for each in closure.described.values()}
    rights = read_rights(cursor, server.user, server.superuser, owners, schemas - {""})
    labels = _Labels(closure, targets, reached)
    found = [_dependent(each, labels.uses(each), closure, rights) for each in reached]
    if mode == QUARANTINE:
        found = [quarantined(each) for each in found]
        found += reaching_keys(cursor, targets.relations)
    dropped = [each for each in found if each.effect == DROPPED]
    broken = broken_functions(cursor, targets, closure, dropped, drop=mode != QUARANTINE)
    # What would go on working but for the function that it calls, does not.
    breaking = {each.label for each in broken}
    found = [each for each in found if each.effect == DROPPED or each.label not in breaking]
    found += broken + event_triggers(cursor, targets, drop=mode != QUARANTINE)
    return BlastRadius(sorted(found, key=lambda each: (each.kind, each.name, each.effect)), closure, rights)


def reached_elsewhere(closure: Closure, targets: Targets) -> list[Described]:
    """What of the closure is neither an object of the manifest nor a part of one."""
    relations, routines = set(targets.relations), {each.oid for each in targets.routines}
    whole = closure.whole("pg_class")
    columns = {each.name for each in closure.described.values() if each.kind == "column"}

    def told(each: Described) -> bool:
        catalog, oid, _part = each.address
        if not each.kind or (catalog == "pg_class" and oid in relations) or (catalog == "pg_proc" and oid in routines):
            return False
        if each.on_oid in relations:
            return each.kind in _NO_PARTS
        if each.kind in _TOLD_WITH_THE_WHOLE and each.on_oid in whole:
            return False
        return not (each.kind == "default" and each.name in columns)

    return [each for each in closure.described.values() if told(each)]


def _dependent(each: Described, uses: list[str], closure: Closure, rights: Rights) -> Dependent:
    gone = closure.whole("pg_policy")
    on = each.facts["publication"] if each.kind == "publication table" else each.on
    obstacle = why_not_again(each, rights)
    return Dependent(
        kind=each.kind,
        name=each.name,
        on=on if each.on_oid else "",
        effect=DROPPED,
        owner=each.owner,
        detail=dropped_sentence(each, uses, gone),
        recreatable=not obstacle,
        obstacle=obstacle,
        definition=each.definition or "",
        uses=tuple(uses),
    )


class _Labels:
    """What everything that goes is a part of, in words."""

    def __init__(self, closure: Closure, targets: Targets, reached: list[Described]) -> None:
        self._closure = closure
        self._listed = {each.address: each.label for each in reached}
        self._relations = {each.oid: each.label for each in targets.objects if each.catalog == "pg_class"}
        self._routines = {each.oid: each.label for each in targets.routines}
        self._addresses: dict[str, list[Address]] = {}
        for address in closure.objects:
            self._addresses.setdefault(self._label(address) or "", []).append(address)

    def uses(self, each: Described) -> list[str]:
        """What of all that goes it depends on directly."""
        own, found = each.label, set()
        seen: set[Address] = set()
        pending = list(self._addresses[own])
        while pending:
            address = pending.pop()
            if address in seen:
                continue
            seen.add(address)
            for source in self._closure.objects.get(address, ()):
                label = self._label(source)
                if label is None:
                    pending.append(source)
                elif label != own:
                    found.add(label)
        return sorted(found)

    def _label(self, address: Address) -> str | None:
        """None for what has no name of its own, and belongs to nothing that has."""
        catalog, oid, part = address
        if address in self._listed:
            return self._listed[address]
        if catalog == "pg_class" and oid in self._relations:
            return self._relations[oid]
        if catalog == "pg_proc" and oid in self._routines:
            return self._routines[oid]
        described = self._closure.described.get(address)
        if described is not None and described.on_oid in self._relations:
            return self._relations[described.on_oid]
        if described is not None and described.on_oid:
            return self._listed.get(("pg_class", described.on_oid, 0))
        return self._listed.get(("pg_class", oid, 0)) if catalog == "pg_class" and part else None
