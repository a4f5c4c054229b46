# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Functions whose body is text, and what the server itself says of them without running or writing anything.

A language's validator is what CREATE FUNCTION calls: for SQL it parses the body and resolves every name in it, for
PL/pgSQL it parses the body and resolves the types of variables. It may be called by whoever may execute the function.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.driver import psycopg2, sql
from ansible_collections.pgops.rollback.plugins.module_utils.errors import server_message
from ansible_collections.pgops.rollback.plugins.module_utils.names import quote_name
from ansible_collections.pgops.rollback.plugins.module_utils.verification import user_objects, why

#: Undefined table, schema; function, object, column.
UNDEFINED_RELATION = ("42P01", "3F000")
UNDEFINED = (*UNDEFINED_RELATION, "42883", "42704", "42703")
#: Privileges, locks, time limits: they say nothing about the function.
NOT_CHECKED = ("42501", "55P03", "57014", "40P01")
_LOCKED = "55P03"
#: A search_path of all schemas brings it about.
_AMBIGUOUS = ("42725", "42702")

_VALIDATORS = {"sql": "fmgr_sql_validator", "plpgsql": "plpgsql_validator"}

_FUNCTIONS = f"""
SELECT p.oid::bigint, n.nspname, p.proname, pg_catalog.array_to_string(ARRAY (
           SELECT pg_catalog.format_type(a.type, NULL)
           FROM pg_catalog.unnest(p.proargtypes::oid[]) WITH ORDINALITY AS a (type, place) ORDER BY a.place), ', '),
       l.lanname, p.prosrc,
       (SELECT pg_catalog.substr(setting, 13) FROM pg_catalog.unnest(p.proconfig) AS setting
        WHERE pg_catalog.starts_with(setting, 'search_path=')),
       EXISTS (SELECT FROM pg_catalog.unnest(p.proargtypes::oid[]) AS a (type)
               JOIN pg_catalog.pg_type t ON t.oid = a.type WHERE t.typtype = 'p'),
       p.prorettype = 'pg_catalog.trigger'::regtype, coalesce(p.proargnames, '{{}}')
FROM pg_catalog.pg_proc p
JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace JOIN pg_catalog.pg_language l ON l.oid = p.prolang
WHERE p.prosqlbody IS NULL AND p.prokind <> 'a' AND l.lanname NOT IN ('c', 'internal')
  AND {user_objects("pg_proc", "p.oid")}
ORDER BY 2, 3, 4
"""  # noqa: S608

_TRIGGERS = """
SELECT t.tgfoid::bigint, t.tgname, n.nspname, c.relname, c.oid::bigint, t.tgoldtable, t.tgnewtable
FROM pg_catalog.pg_trigger t
JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE t.tgfoid = ANY (%s::oid[]) AND NOT t.tgisinternal AND t.tgparentid = 0 ORDER BY 3, 4, 2
"""

_PLPGSQL_CHECK = """
SELECT n.nspname FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
WHERE e.extname = 'plpgsql_check'
"""


@dataclass(frozen=True)
class Function:
    """:ivar search_path: that it sets itself, or None.
    :ivar polymorphic: the validator resolves nothing in a body whose arguments have no certain type.
    """

    oid: int
    schema: str
    function: str
    arguments: str
    language: str
    body: str
    search_path: str | None
    polymorphic: bool
    trigger: bool
    argument_names: list[str]

    @property
    def name(self) -> str:
        return f"{quote_name(self.schema, self.function)}({self.arguments})"


@dataclass(frozen=True)
class Trigger:
    """:ivar old_rows: its transition table, or None; ``new_rows`` likewise."""

    function_oid: int
    trigger: str
    schema: str
    table: str
    table_oid: int
    old_rows: str | None
    new_rows: str | None

    @property
    def name(self) -> str:
        return f"trigger {quote_name(self.trigger)} on {quote_name(self.schema, self.table)}"


@dataclass(frozen=True)
class Refusal:
    """What the server has against a function.

    :ivar code: an SQLSTATE.
    :ivar message: without a full stop.
    :ivar found: plpgsql_check found it; else calling the checker failed with it.
    """

    code: str
    message: str
    found: bool = False


def read_functions(cursor: Any) -> list[Function]:
    """Those with a body of text that a person made."""
    cursor.execute(_FUNCTIONS)
    return [Function(*row) for row in cursor.fetchall()]


def read_triggers(cursor: Any, functions: list[Function]) -> list[Trigger]:
    """Those that call one of the functions."""
    cursor.execute(_TRIGGERS, ([each.oid for each in functions],))
    return [Trigger(*row) for row in cursor.fetchall()]


class Validation:
    """:ivar open_schemas: that the connected role may use, in any order; ``path`` its own search_path.
    :ivar elsewhere: by OID what the server has against functions with the role's own search_path alone, though with
        another they may work.
    """

    def __init__(self, cursor: Any, open_schemas: list[str], path: str) -> None:
        self._cursor, self._open, self._path = cursor, open_schemas, path
        self.elsewhere: dict[int, list[Refusal]] = {}
        cursor.execute("SET LOCAL check_function_bodies = on; SET LOCAL client_min_messages = error")

    def refused(self, functions: list[Function]) -> list[tuple[Function, Refusal]]:
        """Those that their language's validator refuses with every search_path there may be."""
        found = []
        for language, validator in _VALIDATORS.items():
            statement = sql.SQL("SELECT {}(o) FROM pg_catalog.unnest(%s::oid[]) AS o").format(
                sql.Identifier("pg_catalog", validator)
            )
            for function in self._suspects(statement, [each for each in functions if each.language == language]):
                found += [(function, refusal) for refusal in self._ask_widely(statement, function)]
        return found

    def _suspects(self, statement: Any, functions: list[Function]) -> list[Function]:
        """All are asked about at once, and by halves where one of them is refused."""
        plain = [each for each in functions if each.search_path is None]
        pending = [plain] if plain else []
        found = [each for each in functions if each.search_path is not None]
        while pending:
            group = pending.pop()
            if len(group) == 1:
                found += group
            elif self._ask(statement, group, None):
                pending += [group[: len(group) // 2], group[len(group) // 2 :]]
        return found

    def plpgsql_check(self, functions: list[Function], triggers: list[Trigger]) -> dict[int, list[Refusal]]:
        """What the extension finds of each function, by OID; a function that it gave no answer for is left out.

        Of a trigger function that is what it finds for each of its triggers: in between it may tell its tables apart.
        """
        self._cursor.execute(_PLPGSQL_CHECK)
        row = self._cursor.fetchone()
        answers: dict[int, list[Refusal]] = {}
        for function in functions if row else []:
            calls = [each for each in triggers if each.function_oid == function.oid] if function.trigger else [None]
            found = [self._ask_widely(_plpgsql_check_of(row[0], function, call), function) for call in calls]
            if found and all(refusal.found for refusals in found for refusal in refusals):
                everywhere = set(found[0]).intersection(*found[1:])
                answers[function.oid] = [refusal for refusal in found[0] if refusal in everywhere]
        return answers

    def _ask_widely(self, statement: Any, function: Function) -> list[Refusal]:
        """A second time with every schema in the search_path: whoever calls it may have another than this session."""
        refusals = self._ask(statement, [function], function.search_path)
        if not refusals or function.search_path is not None or refusals[0].code in NOT_CHECKED:
            return refusals
        names = [function.schema, *(name for name in self._open if name != function.schema)]
        wide = ", ".join('"' + name.replace('"', '""') + '"' for name in names)
        self.elsewhere[function.oid] = refusals
        refusals = self._ask(statement, [function], f"{self._path}, {wide}" if self._path else wide)
        return [each for each in refusals if each.code not in _AMBIGUOUS]

    def _ask(self, statement: Any, functions: list[Function], search_path: str | None) -> list[Refusal]:
        self._cursor.execute("SAVEPOINT body")
        try:
            if search_path is not None:
                self._cursor.execute("SELECT pg_catalog.set_config('search_path', %s, true)", (search_path,))
            self._cursor.execute(statement, ([each.oid for each in functions],))
            # A validator's rows have one column, and plpgsql_check's two.
            refusals = [Refusal(row[0], row[1], found=True) for row in self._cursor.fetchall() if len(row) > 1]
        except psycopg2.Error as error:
            if not error.pgcode:
                raise
            said = why(error) if error.pgcode in NOT_CHECKED else server_message(error)
            refusals = [Refusal(error.pgcode, said)]
        finally:
            if not self._cursor.connection.closed:
                self._cursor.execute("ROLLBACK TO SAVEPOINT body; RELEASE SAVEPOINT body")
        if refusals and refusals[0].code == _LOCKED:
            # Many functions may use the locked table, and each would wait for it anew.
            self._cursor.execute("SET LOCAL lock_timeout = 10")
        return refusals


def _plpgsql_check_of(schema: str, function: Function, trigger: Trigger | None) -> Any:
    # For arguments of any type it assumes one, and then misses the operators of others.
    codes = UNDEFINED_RELATION if function.polymorphic else UNDEFINED
    return sql.SQL(
        "SELECT c.sqlstate, c.message FROM pg_catalog.unnest(%s::oid[]) AS o, {}(o::regprocedure, {}::oid::regclass,"
        " fatal_errors => false, oldtable => {}, newtable => {}) AS c WHERE c.level = 'error' AND c.sqlstate = ANY ({})"
    ).format(
        sql.Identifier(schema, "plpgsql_check_function_tb"),
        sql.Literal(trigger.table_oid if trigger else 0),
        sql.Literal(trigger.old_rows if trigger else None),
        sql.Literal(trigger.new_rows if trigger else None),
        sql.Literal(list(codes)),
    )
