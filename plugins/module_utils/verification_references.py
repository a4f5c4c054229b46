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
from dataclasses import replace
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.defaults_by_name import read_defaults_by_name
from ansible_collections.pgops.rollback.plugins.module_utils.names import quote_name
from ansible_collections.pgops.rollback.plugins.module_utils.verification import (
    FAILED,
    WARNED,
    Context,
    Finding,
    Outcome,
    UnreadError,
)
from ansible_collections.pgops.rollback.plugins.module_utils.verification_bodies import created, minds, missing
from ansible_collections.pgops.rollback.plugins.module_utils.verification_columns import LostColumns
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
from ansible_collections.pgops.rollback.plugins.module_utils.verification_lost import dropped, listed
from ansible_collections.pgops.rollback.plugins.module_utils.verification_names import (
    COLUMN_NAME,
    FUNCTION_NAME,
    RELATION_NAME,
    TYPE_NAME,
    Arguments,
    KnownNames,
    Named,
)
from ansible_collections.pgops.rollback.plugins.module_utils.verification_paths import SearchPaths

_SCHEMAS = """
SELECT nspname, pg_catalog.has_schema_privilege(oid, 'USAGE'), pg_catalog.current_setting('search_path')
FROM pg_catalog.pg_namespace WHERE nspname !~ '^pg_' ORDER BY nspname
"""
_RELATIONS = """
SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm', 'S')
"""
# An aggregate's calls may look as if they gave fewer; those of a procedure give what it puts out, too.
_FUNCTION_NAMES = """
SELECT n.nspname, p.proname,
       CASE WHEN p.prokind = 'a' THEN 0 ELSE p.pronargs - p.pronargdefaults - (p.provariadic <> 0)::int END,
       CASE WHEN p.prokind = 'a' OR p.provariadic <> 0 THEN NULL
            ELSE greatest(p.pronargs, CASE WHEN p.prokind = 'p' THEN pg_catalog.cardinality(p.proallargtypes) END) END
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
"""
_TYPES = """
SELECT n.nspname, t.typname FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
"""
_COLUMNS = """
SELECT n.nspname, c.relname, a.attname FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE a.attname = ANY (%s) AND a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'f', 'v', 'm')
"""
_CALLERS = """
SELECT d.refobjid::bigint, pg_catalog.pg_describe_object(d.classid, d.objid, 0)
FROM pg_catalog.pg_depend d
WHERE d.refclassid = 'pg_catalog.pg_proc'::regclass AND d.refobjid = ANY (%s::oid[])
  AND d.classid <> 'pg_catalog.pg_trigger'::regclass AND d.deptype = 'n'
GROUP BY 1, 2 ORDER BY 2
"""
_NO_PRIVILEGE, _NO_RELATION = "42501", "42P01"
_MISSING_NAME = re.compile(r'"([^"]+)"|function ([^\s(]+)\(')


def references(context: Context) -> Outcome:
    outcome = Outcome(
        "No function refers to something that is gone.",
        "Refer to something that is gone",
        "Replace the function without it, drop what is not needed any more, or restore what is missing.",
    )
    lost = listed(context.options.get("gone") or [])
    with_baseline = bool(context.options.get("baseline"))
    if with_baseline:
        try:
            lost |= dropped(context.comparison)
        except UnreadError as error:
            outcome.unchecked.append(f"what the baseline has and the database has not ({error})")
    with context.reading() as cursor:
        _Search(cursor, outcome, lost, with_baseline).run()
    return outcome


class _Search:
    """:ivar _lost: what was there and is not any more.
    :ivar _with_baseline: whether that is all of it.
    :ivar _faults: by a function's OID what is wrong with it, and how certain that is.
    """

    def __init__(self, cursor: Any, outcome: Outcome, lost: set[Named], with_baseline: bool) -> None:
        self._cursor, self._outcome, self._lost, self._with_baseline = cursor, outcome, lost, with_baseline
        self._functions = read_functions(cursor)
        self._passing = {name for function in self._functions for name in created(function.body)}
        self._faults: dict[int, tuple[str, str]] = {}
        self._known_on: dict[tuple[frozenset[str] | None, bool], KnownNames] = {}

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
        chosen = [
            each for each in unsettled
            if each.oid not in answers and each.oid not in self._faults and (each.oid in called or not each.trigger)
            and (each.language == "plpgsql" or each.polymorphic or each.oid in validation.elsewhere)
        ]  # fmt: skip
        if chosen or validation.elsewhere:
            self._known = self._known_names({
                name for trigger in triggers for name in (trigger.old_rows, trigger.new_rows) if name
            })  # fmt: skip
            self._paths = SearchPaths(self._cursor, self._functions)
            self._elsewhere(unsettled, validation.elsewhere)
            self._read_bodies([each for each in chosen if each.oid not in self._faults], triggers)
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

    def _elsewhere(self, functions: list[Function], refusals: dict[int, list[Refusal]]) -> None:
        """Functions that work with a search_path that has all schemas, and not with the one there is.

        An application may set it at run time. So they are broken where what they miss is known to have been there; and
        where nothing tells, possibly so when it is in one schema only, and that is on nobody's path.
        """
        for function in functions:
            for refusal in refusals.get(function.oid, []):
                match = _MISSING_NAME.search(refusal.message)
                name = (match[1] or match[2]) if match else ""
                known = self._known_to(function)
                if function.oid in self._faults or refusal.code not in UNDEFINED or name in known.passing:
                    continue
                if refusal.found and minds(function.body, {name}):
                    continue
                if any(each.parts[-1] == name and known.misses(each) for each in known.gone):
                    self._faults[function.oid] = (FAILED, refusal.message)
                elif refusal.code == _NO_RELATION and not self._with_baseline and known.path is not None:
                    places = known.places(name)
                    if len(places) == 1 and not places & known.path:
                        where = f"it is in {quote_name(*places)}, which is on no search_path that is known"
                        self._faults[function.oid] = (WARNED, f"possibly: {refusal.message}; {where}")

    def _known_to(self, function: Function) -> KnownNames:
        """What there is, as the function may look for it."""
        key = self._paths.of(function)
        if key not in self._known_on:
            self._known_on[key] = replace(self._known, path=key[0], whole_path=key[1])
        return self._known_on[key]

    def _read_bodies(self, functions: list[Function], triggers: list[Trigger]) -> None:
        """The text of those of which the server says nothing certain."""
        columns = self._lost_columns()
        for function in functions:
            triggered = {(each.schema, each.table) for each in triggers if each.function_oid == function.oid}
            names = missing(function.body, self._known_to(function))
            names += columns.named(function.body, set(function.argument_names), triggered)
            if names:
                texts = sorted({each.text for each in names})
                self._faults[function.oid] = (WARNED, f"possibly: its text names {', '.join(texts)}")

    def _known_names(self, transition_tables: set[str]) -> KnownNames:
        relations, types = (frozenset(self._rows(query)) for query in (_RELATIONS, _TYPES))
        functions: dict[tuple[str, str], list[Arguments]] = {}
        for schema, name, least, most in self._rows(_FUNCTION_NAMES):
            functions.setdefault((schema, name), []).append((least, most))
        there = {RELATION_NAME: relations, TYPE_NAME: types, FUNCTION_NAME: functions.keys()}
        # What is still there is the finding of another check.
        gone = {each for each in self._lost if each.what in there and each.parts not in there[each.what]}
        keywords = {word for (word,) in self._rows("SELECT word FROM pg_catalog.pg_get_keywords()")}
        return KnownNames(relations, types, functions, frozenset(self._schemas), frozenset(keywords),
                          frozenset(self._passing | transition_tables), frozenset(gone))

    def _lost_columns(self) -> LostColumns:
        lost = [each for each in self._lost if each.what == COLUMN_NAME and each.parts[:2] in self._known.relations]
        tables: dict[tuple[str, str], set[str]] = {}
        for schema, table, column in self._rows(_COLUMNS, ([each.parts[2] for each in lost],)) if lost else []:
            tables.setdefault((schema, table), set()).add(column)
        lost = [each for each in lost if each.parts[2] not in tables.get((each.parts[0], each.parts[1]), ())]
        return LostColumns(lost, tables, self._known.keywords)

    def _rows(self, query: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        self._cursor.execute(query, parameters)
        return list(self._cursor.fetchall())

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
