# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Survivors that fail at run time: functions whose text names what goes, and whatever calls them.

The catalogs let a function's text go unharmed, so the drop says nothing of it, and the next insert fails.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.blast_closure import Closure, read_closure
from ansible_collections.pgops.rollback.plugins.module_utils.defaults_by_name import read_defaults_by_name
from ansible_collections.pgops.rollback.plugins.module_utils.dependent import BREAKS, POSSIBLE, Dependent
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_bodies import Gone, Wanted, mentions, path_of
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_targets import Targets
from ansible_collections.pgops.rollback.plugins.module_utils.verification_functions import Function, read_functions
from ansible_collections.pgops.rollback.plugins.module_utils.verification_names import (
    FUNCTION_NAME,
    RELATION_NAME,
    Named,
    named_by,
)

_RELATION_KINDS = ("table", "foreign table", "view", "materialized view", "sequence")

_NAMESAKES = """
SELECT 'relation', n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = ANY (%(relations)s::text[]) AND c.relkind IN ('r', 'p', 'f', 'v', 'm', 'S')
  AND c.oid <> ALL (%(gone_relations)s::oid[])
UNION
SELECT 'function', n.nspname, p.proname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE p.proname = ANY (%(functions)s::text[]) AND p.oid <> ALL (%(gone_functions)s::oid[])
"""
_OWNERS = """
SELECT p.oid::bigint, CASE p.prokind WHEN 'p' THEN 'procedure' ELSE 'function' END, pg_get_userbyid(p.proowner)::text,
       pg_get_functiondef(p.oid)
FROM pg_proc p WHERE p.oid = ANY (%s::oid[])
"""

#: What runs a function: it fails when that does.
_CALLS = {
    "trigger": "Writes to {on} that fire it fail: it calls {calls}.",
    "policy": "Queries on {on} that it applies to fail: it calls {calls}.",
    "view": "Queries on it fail: it calls {calls}.",
    "materialized view": "Refreshing it fails: it calls {calls}.",
    "default": "Rows of {on} that bring no value for it fail: it calls {calls}.",
    "constraint": "Writes to {on} fail: it calls {calls}.",
    "column": "Writes to {on} fail: it is computed with {calls}.",
    "index": "Writes to {on} fail: it calls {calls}.",
    "rule": "Commands on {on} that it rewrites fail: it calls {calls}.",
    "event trigger": "Commands that set it off fail: it calls {calls}.",
    "function": "It calls {calls}.",
    "procedure": "It calls {calls}.",
    "aggregate": "It calls {calls}.",
}


@dataclass(frozen=True)
class _Fault:
    function: Function
    certain: bool
    line: int
    labels: tuple[str, ...]


def broken_functions(
    cursor: Any, targets: Targets, closure: Closure, dropped: list[Dependent], drop: bool
) -> list[Dependent]:
    """Functions with a text that names what goes, and the triggers, policies, views and so on that call them.

    A function that is moved to the quarantine is still called by whatever knows its OID, and its text finds the tables
    no more.

    :param dropped: what goes besides the objects of the manifest.
    """
    wholes = {(each.kind, each.name) for each in dropped}
    gone_relations, gone_functions = set(targets.relations), {each.oid for each in targets.routines}
    for (catalog, oid, _part), each in closure.described.items():
        if (each.kind, each.name) in wholes:
            if catalog == "pg_class" and each.kind in _RELATION_KINDS:
                gone_relations.add(oid)
            elif catalog == "pg_proc":
                gone_functions.add(oid)
    named = {each.label: named_by(each.kind, each.name) for each in targets.objects}
    named |= {each.label: named_by(each.kind, each.name) for each in dropped}
    gone = [Gone(each, label) for label, each in named.items() if each and each.what in (RELATION_NAME, FUNCTION_NAME)]
    functions = [each for each in read_functions(cursor) if not (drop and each.oid in gone_functions)]
    faults = _Search(cursor, functions, gone_relations, gone_functions).run(gone)
    surviving = [each for each in faults if each.function.oid not in gone_functions]
    callers = _callers(cursor, faults, targets, closure if drop else Closure())
    return [*_functions(cursor, surviving), *callers, *_defaults(cursor, gone_relations, gone)]


class _Search:
    """Round after round: a function that calls one that fails, fails too."""

    def __init__(
        self, cursor: Any, functions: list[Function], gone_relations: set[int], gone_functions: set[int]
    ) -> None:
        self._cursor, self._functions = cursor, functions
        self._gone_relations, self._gone_functions = gone_relations, set(gone_functions)

    def run(self, gone: list[Gone]) -> list[_Fault]:
        faults: dict[int, _Fault] = {}
        while gone:
            known = Wanted(self._with_namesakes(gone))
            gone = []
            for function in self._functions:
                if function.oid in faults:
                    continue
                found = mentions(function.body, function.language, path_of(function.search_path), known)
                if found:
                    labels = tuple(dict.fromkeys(each.gone.label for each in found))
                    faults[function.oid] = _Fault(function, found[0].certain, found[0].line, labels)
                    named = Named((function.schema, function.function), FUNCTION_NAME)
                    gone.append(Gone(named, f"function {function.name}", certain=found[0].certain))
                    self._gone_functions.add(function.oid)
        return list(faults.values())

    def _with_namesakes(self, gone: list[Gone]) -> list[Gone]:
        self._cursor.execute(_NAMESAKES, {
            "relations": [each.name for each in gone if each.named.what == RELATION_NAME],
            "functions": [each.name for each in gone if each.named.what == FUNCTION_NAME],
            "gone_relations": list(self._gone_relations), "gone_functions": list(self._gone_functions),
        })  # fmt: skip
        namesakes: dict[tuple[str, str], set[str]] = {}
        for what, schema, name in self._cursor.fetchall():
            namesakes.setdefault((what, name), set()).add(schema)
        found = []
        for each in gone:
            schemas = namesakes.get((each.named.what, each.name), set())
            # An overload that stays may be the one that is called.
            certain = each.certain and each.named.parts[0] not in schemas
            found.append(Gone(each.named, each.label, frozenset(schemas), certain))
        return found


def _functions(cursor: Any, faults: list[_Fault]) -> list[Dependent]:
    cursor.execute(_OWNERS, ([each.function.oid for each in faults],))
    more = {oid: row for oid, *row in cursor.fetchall()}
    found = []
    for fault in faults:
        kind, owner, definition = more[fault.function.oid]
        names = ", ".join(fault.labels)
        detail = (
            f"Line {fault.line} of its body names {names}: it fails when it gets there." if fault.certain
            else f"Line {fault.line} of its body may mean {names}."
        )  # fmt: skip
        found.append(Dependent(
            kind, fault.function.name, fault.function.name, BREAKS if fault.certain else POSSIBLE, owner, detail,
            definition=definition, uses=fault.labels, line=fault.line,
        ))  # fmt: skip
    return found


def _callers(cursor: Any, faults: list[_Fault], targets: Targets, closure: Closure) -> list[Dependent]:
    """What pg_depend knows to call them.

    :param closure: what goes, and so does not call anything any more.
    """
    found: dict[tuple[str, str], Dependent] = {}
    relations = set(targets.relations)
    faulty, routines = {each.function.oid for each in faults}, {each.oid for each in targets.routines}
    for certain in (True, False):
        chosen = {each.function.oid: each.function.name for each in faults if each.certain == certain}
        calling = read_closure(cursor, [("pg_proc", oid) for oid in chosen])
        for address, each in calling.described.items():
            if address in closure.objects or each.on_oid in relations or each.kind not in _CALLS:
                continue
            if (address[0] == "pg_proc" and address[1] in faulty | routines) or (each.kind, each.name) in found:
                continue
            calls = _called(calling.objects, address, chosen)
            found[each.kind, each.name] = Dependent(
                each.kind, each.name, each.on or each.name, BREAKS if certain else POSSIBLE,
                each.owner, _CALLS[each.kind].format(on=each.on, calls=", ".join(calls)),
                definition=each.definition or "", uses=tuple(calls),
            )  # fmt: skip
    return list(found.values())


def _defaults(cursor: Any, relations: set[int], gone: list[Gone]) -> list[Dependent]:
    """Defaults that look a sequence up by its name, of which the catalogs know nothing."""
    labels = {each.named.parts: each.label for each in gone if each.named.what == RELATION_NAME}
    names = {parts[-1:]: label for parts, label in labels.items()}
    found = []
    for each in read_defaults_by_name(cursor):
        label = labels.get(each.sequence) or names.get(each.sequence)
        if label is None or each.table_oid in relations:
            continue
        effect = BREAKS if each.sequence in labels else POSSIBLE
        found.append(Dependent(
            "default", each.column, each.table, effect, each.owner,
            f"It looks up {label} by name: rows of {each.table} that bring no value for it fail.",
            definition=each.expression, uses=(label,),
        ))  # fmt: skip
    return found


def _called(objects: dict[Any, set[Any]], address: Any, chosen: dict[int, str]) -> list[str]:
    """Labels of the faulty functions that it was reached from, over whatever lies between."""
    seen, pending, found = set(), [address], set()
    while pending:
        current = pending.pop()
        if current in seen:
            continue
        seen.add(current)
        if current[0] == "pg_proc" and current[1] in chosen:
            found.add(f"function {chosen[current[1]]}")
            continue
        pending += objects.get(current, ())
    return sorted(found)
