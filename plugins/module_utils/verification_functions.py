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

#: Undefined table, function, object, column, schema.
UNDEFINED = ("42P01", "42883", "42704", "42703", "3F000")
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
       p.prorettype = 'pg_catalog.trigger'::regtype
FROM pg_catalog.pg_proc p
JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace JOIN pg_catalog.pg_language l ON l.oid = p.prolang
WHERE p.prosqlbody IS NULL AND p.prokind <> 'a' AND l.lanname NOT IN ('c', 'internal')
  AND {user_objects("pg_proc", "p.oid")}
ORDER BY 2, 3, 4
"""  # noqa: S608

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

    @property
    def name(self) -> str:
        return f"{quote_name(self.schema, self.function)}({self.arguments})"


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


class Validation:
    """:ivar open_schemas: that the connected role may use, in any order; ``path`` its own search_path."""

    def __init__(self, cursor: Any, open_schemas: list[str], path: str) -> None:
        self._cursor, self._open, self._path = cursor, open_schemas, path
        cursor.execute("SET LOCAL check_function_bodies = on; SET LOCAL client_min_messages = error")

    def refused(self, functions: list[Function]) -> list[tuple[Function, Refusal]]:
        """Those that their language's validator refuses with every search_path there may be."""
        found = []
        for language, validator in _VALIDATORS.items():
            statement = sql.SQL("SELECT {}(o) FROM pg_catalog.unnest(%s::oid[]) AS o").format(
                sql.Identifier("pg_catalog", validator)
            )
            for function in self._suspects(statement, [each for each in functions if each.language == language]):
                refusal = self._ask_widely(statement, function)
                if refusal is not None:
                    found.append((function, refusal))
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
            elif self._ask(statement, group, None) is not None:
                pending += [group[: len(group) // 2], group[len(group) // 2 :]]
        return found

    def plpgsql_check(self, functions: list[Function], tables: dict[int, list[int]]) -> dict[int, Refusal | None]:
        """What the extension finds of each function, by OID; a function that it gave no answer for is left out.

        :param tables: OIDs of the tables that a trigger function is called for; it can only be checked for one.
        """
        self._cursor.execute(_PLPGSQL_CHECK)
        row = self._cursor.fetchone()
        answers: dict[int, Refusal | None] = {}
        for function in functions if row else []:
            for table in tables.get(function.oid, []) if function.trigger else [0]:
                statement = sql.SQL(
                    "SELECT c.sqlstate, c.message FROM unnest(%s::oid[]) AS o, {}(o::regprocedure, {}::oid::regclass,"
                    " fatal_errors => false) AS c WHERE c.level = 'error' AND c.sqlstate = ANY ({})"
                ).format(
                    sql.Identifier(row[0], "plpgsql_check_function_tb"),
                    sql.Literal(table),
                    sql.Literal(list(UNDEFINED)),
                )
                refusal = self._ask_widely(statement, function)
                if refusal is None or refusal.found:
                    answers[function.oid] = answers.get(function.oid) or refusal
        return answers

    def _ask_widely(self, statement: Any, function: Function) -> Refusal | None:
        """A second time with every schema in the search_path: whoever calls it may have another than this session."""
        refusal = self._ask(statement, [function], function.search_path)
        if refusal is None or function.search_path is not None or refusal.code in NOT_CHECKED:
            return refusal
        names = [function.schema, *(name for name in self._open if name != function.schema)]
        wide = ", ".join('"' + name.replace('"', '""') + '"' for name in names)
        refusal = self._ask(statement, [function], f"{self._path}, {wide}" if self._path else wide)
        return None if refusal is not None and refusal.code in _AMBIGUOUS else refusal

    def _ask(self, statement: Any, functions: list[Function], search_path: str | None) -> Refusal | None:
        self._cursor.execute("SAVEPOINT body")
        try:
            if search_path is not None:
                self._cursor.execute("SELECT pg_catalog.set_config('search_path', %s, true)", (search_path,))
            self._cursor.execute(statement, ([each.oid for each in functions],))
            # A validator's rows have one column, and plpgsql_check's two.
            faults = [row for row in self._cursor.fetchall() if len(row) > 1]
            refused = Refusal(faults[0][0], faults[0][1], found=True) if faults else None
        except psycopg2.Error as error:
            if not error.pgcode:
                raise
            refused = Refusal(error.pgcode, why(error) if error.pgcode in NOT_CHECKED else server_message(error))
        finally:
            if not self._cursor.connection.closed:
                self._cursor.execute("ROLLBACK TO SAVEPOINT body; RELEASE SAVEPOINT body")
        if refused is not None and refused.code == _LOCKED:
            # Many functions may use the locked table, and each would wait for it anew.
            self._cursor.execute("SET LOCAL lock_timeout = 10")
        return refused
