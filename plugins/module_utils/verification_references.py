# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Functions that refer to something gone, and the triggers, views and policies that call them.

The catalogs know what views, policies, rules and defaults refer to, and let nothing of it go; a function's body is text
to them. What the server itself says of a body is certain. Of PL/pgSQL it says much only where plpgsql_check is
installed; else the text is read, which yields what is possible.
"""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.defaults_by_name import read_defaults_by_name
from ansible_collections.pgops.rollback.plugins.module_utils.names import parse_name, quote_name
from ansible_collections.pgops.rollback.plugins.module_utils.verification import (
    FAILED,
    WARNED,
    Context,
    Finding,
    Outcome,
)
from ansible_collections.pgops.rollback.plugins.module_utils.verification_bodies import (
    FUNCTION_NAME,
    RELATION_NAME,
    KnownNames,
    Named,
    created,
    minds,
    missing,
)
from ansible_collections.pgops.rollback.plugins.module_utils.verification_functions import (
    NOT_CHECKED,
    UNDEFINED,
    Function,
    Refusal,
    Trigger,
    Validation,
    read_functions,
    read_triggers,
)
from ansible_collections.pgops.rollback.plugins.module_utils.verification_gone import FUNCTION

_SCHEMAS = """
SELECT nspname, pg_catalog.has_schema_privilege(oid, 'USAGE'), pg_catalog.current_setting('search_path')
FROM pg_catalog.pg_namespace WHERE nspname !~ '^pg_' ORDER BY nspname
"""
_RELATIONS = """
SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm', 'S')
"""
# A type may be followed by a parenthesis, too.
_FUNCTION_NAMES = """
SELECT n.nspname, p.proname FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
UNION SELECT n.nspname, t.typname FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
"""
_CALLERS = """
SELECT d.refobjid::bigint, pg_catalog.pg_describe_object(d.classid, d.objid, 0)
FROM pg_catalog.pg_depend d
WHERE d.refclassid = 'pg_catalog.pg_proc'::regclass AND d.refobjid = ANY (%s::oid[])
  AND d.classid <> 'pg_catalog.pg_trigger'::regclass AND d.deptype = 'n'
GROUP BY 1, 2 ORDER BY 2
"""
_NO_PRIVILEGE = "42501"
_MISSING_NAME = re.compile(r'"([^"]+)"|function ([^\s(]+)\(')


def references(context: Context) -> Outcome:
    outcome = Outcome(
        "No function refers to something that is gone.",
        "Refer to something that is gone",
        "Replace the function without it, drop what is not needed any more, or restore what is missing.",
    )
    with context.reading() as cursor:
        _Search(cursor, outcome, context.options.get("gone") or []).run()
    return outcome


class _Search:
    """:ivar _faults: by a function's OID what is wrong with it, and how certain that is."""

    def __init__(self, cursor: Any, outcome: Outcome, gone: list[dict[str, str]]) -> None:
        self._cursor, self._outcome, self._gone = cursor, outcome, gone
        self._functions = read_functions(cursor)
        self._passing = {name for function in self._functions for name in created(function.body)}
        self._faults: dict[int, tuple[str, str]] = {}

    def run(self) -> None:
        self._cursor.execute(_SCHEMAS)
        rows = self._cursor.fetchall()
        self._schemas = [name for name, _usage, _path in rows]
        self._closed = [name for name, usage, _path in rows if not usage]
        validation = Validation(self._cursor, [name for name, usage, _path in rows if usage], rows[0][2])
        for function, refusal in validation.refused(self._functions):
            self._weigh(function, refusal)
        triggers = read_triggers(self._cursor, self._functions)
        called = {trigger.function_oid for trigger in triggers}
        unsettled = [each for each in self._functions if each.oid not in self._faults]
        answers = validation.plpgsql_check([each for each in unsettled if each.language == "plpgsql"], triggers)
        for function in unsettled:
            for answer in answers.get(function.oid, []):
                self._weigh(function, answer)
        # Nobody calls a trigger function without a trigger, and which transition tables it has is not known.
        self._read_bodies([
            each for each in unsettled if each.oid not in answers and (each.oid in called or not each.trigger)
        ], {name for trigger in triggers for name in (trigger.old_rows, trigger.new_rows) if name})  # fmt: skip
        self._report(triggers)
        self._defaults()

    def _weigh(self, function: Function, refusal: Refusal) -> None:
        """Whether what the server says is a fault, or tells more of the role that asks."""
        if refusal.code == _NO_PRIVILEGE and function.language == "plpgsql":
            # Its text may be read by everybody, and the validator would have told little more.
            return
        if refusal.code in NOT_CHECKED:
            self._outcome.unchecked.append(f"{function.name} ({refusal.message})")
            return
        match = _MISSING_NAME.search(refusal.message)
        if refusal.code in UNDEFINED and self._excused(function, refusal, (match[1] or match[2]) if match else ""):
            return
        self._faults.setdefault(function.oid, (FAILED, refusal.message))

    def _excused(self, function: Function, refusal: Refusal, name: str) -> bool:
        """:param name: of what the server misses; empty when it does not say."""
        first, _dot, last = name.rpartition(".")
        unknown = {first or last} - set(self._schemas)
        if {each.lower() for each in unknown} & self._passing:
            return True
        if refusal.found and minds(function.body, {name, last, *unknown} - {""}):
            return True
        if first or not self._closed:
            return False
        schemas = ", ".join(map(quote_name, self._closed))
        self._outcome.unchecked.append(
            f"{function.name} ({refusal.message}, unless it is in a schema closed to this role: {schemas})"
        )
        return True

    def _read_bodies(self, functions: list[Function], transition_tables: set[str]) -> None:
        """The text of those of which the server says nothing certain."""
        chosen = [f for f in functions if f.language == "plpgsql" or (f.language == "sql" and f.polymorphic)]
        if not chosen:
            return
        known = self._known_names(transition_tables)
        for function in chosen:
            names = missing(function.body, known)
            if names:
                self._faults[function.oid] = (WARNED, f"possibly: its text names {', '.join(names)}")

    def _known_names(self, transition_tables: set[str]) -> KnownNames:
        self._cursor.execute(_RELATIONS)
        relations = frozenset(self._cursor.fetchall())
        self._cursor.execute(_FUNCTION_NAMES)
        functions = frozenset(self._cursor.fetchall())
        there = {RELATION_NAME: relations, FUNCTION_NAME: functions}
        gone = set()
        for entry in self._gone:
            what = FUNCTION_NAME if entry["kind"] == FUNCTION else RELATION_NAME
            parts = parse_name(entry["name"].partition("(")[0], entry["kind"])
            # What is still there is the finding of another check.
            if len(parts) == 2 and (parts[0], parts[1]) not in there[what]:
                gone.add(Named(parts, what))
        return KnownNames(relations, functions, frozenset(self._schemas), frozenset(self._passing | transition_tables),
                          frozenset(gone))

    def _report(self, triggers: list[Trigger]) -> None:
        """Each function, and after it whatever runs into it."""
        names = {}
        for function in self._functions:
            if function.oid in self._faults:
                names[function.oid] = function.name
                status, problem = self._faults[function.oid]
                self._outcome.findings.append(Finding(function.name, problem, status))
        if not names:
            return
        self._cursor.execute(_CALLERS, (list(names),))
        callers = [(oid, text.replace("rule _RETURN on ", "")) for oid, text in self._cursor.fetchall()]
        callers += [(trigger.function_oid, trigger.name) for trigger in triggers if trigger.function_oid in names]
        for oid, text in callers:
            status, problem = self._faults[oid]
            self._outcome.findings.append(Finding(text, f"calls {names[oid]}: {problem}", status))

    def _defaults(self) -> None:
        """Defaults that look their sequence up by name, which the catalogs let go."""
        for default in read_defaults_by_name(self._cursor):
            if not self._sequence_there(default.sequence):
                problem = f"its default draws from {quote_name(*default.sequence)}"
                self._outcome.findings.append(Finding(default.column, problem))

    def _sequence_there(self, parts: tuple[str, ...]) -> bool:
        *schema, name = parts
        self._cursor.execute(
            "SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind = 'S' AND c.relname = %(name)s AND coalesce(n.nspname = %(schema)s, true)",
            {"name": name, "schema": schema[-1] if schema else None},
        )
        return bool(self._cursor.rowcount)
