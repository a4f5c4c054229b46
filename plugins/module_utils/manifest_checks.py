# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The extra checks of a rollback manifest: a name, a query, and what to expect of it.

``expect`` is ``empty``, or one of ``{value: …}`` (the first column of the only row), ``{rows: N}`` and ``{minimum: N}``
(the first column of the only row is a number that is not lower).
"""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.backup import FAULTY, PASSED, SKIPPED, Check
from ansible_collections.pgops.rollback.plugins.module_utils.driver import pg_errors, psycopg2
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError, server_message

_EXPECTATIONS = ("value", "rows", "minimum")

#: Rows that are counted at the most: enough to tell that there are others than expected.
_MOST_ROWS = 10_000

#: Characters of a value that are read; a longer one is another than anybody writes into a manifest.
_MOST_CHARACTERS = 10_000

#: Milliseconds a check may take.
TIMEOUT_MS = 60_000
_LOCK_TIMEOUT_MS = 500

#: The given time, or what the connection was given if that is less.
_OPENING = """
BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; SET LOCAL row_security = off;
SELECT pg_catalog.set_config('lock_timeout', %(lock)s, true), pg_catalog.set_config('pgops.check', %(query)s, true),
       pg_catalog.set_config('pgops.most', %(most)s, true), pg_catalog.set_config('pgops.found', '', true),
       pg_catalog.set_config('statement_timeout', LEAST(%(timeout)s, NULLIF(setting::int, 0))::text, true)
FROM pg_catalog.pg_settings WHERE name = 'statement_timeout'
"""

# A cursor takes one statement, which returns rows: the server refuses a list of statements, COMMIT among them, before
# it runs any. Rows are counted where they are, and of the first one no more than the beginning of its first column is
# read, so that ten million rows, a thousand columns or a value of a gigabyte cost this process nothing.
_RUN = f"""
DO $run$
DECLARE
    rows_of_check refcursor;
    first_value text;
    number bigint;
BEGIN
    OPEN rows_of_check NO SCROLL FOR EXECUTE pg_catalog.current_setting('pgops.check');
    FETCH rows_of_check INTO first_value;
    number := CASE WHEN FOUND THEN 1 ELSE 0 END;
    IF number = 1 THEN
        MOVE FORWARD pg_catalog.current_setting('pgops.most')::int FROM rows_of_check;
        GET DIAGNOSTICS number = ROW_COUNT;
        number := number + 1;
    END IF;
    PERFORM pg_catalog.set_config('pgops.found', pg_catalog.json_build_object(
        'count', number, 'value', pg_catalog.left(first_value, {_MOST_CHARACTERS}))::text, true);
END
$run$
"""


def validate_checks(checks: Any) -> list[dict[str, Any]]:
    """The checks of a manifest, or the first thing that is wrong with them.

    :raises RollbackError: ``manifest_invalid``.
    """
    if not isinstance(checks, list):
        raise _invalid("its checks are no list")
    for check in checks:
        if not isinstance(check, dict) or not {"name", "query", "expect"} <= check.keys():
            raise _invalid("each of its checks needs a name, a query and what to expect")
        expect = check["expect"]
        known = isinstance(expect, dict) and len(expect) == 1 and next(iter(expect)) in _EXPECTATIONS
        if expect != "empty" and not known:
            raise _invalid(f"the check {check['name']!r} expects {expect!r}")
    return checks


def run_checks(connection: Any, checks: list[dict[str, Any]]) -> list[Check]:
    """Each in a read-only transaction of its own that is rolled back, with a time limit.

    :param connection: in autocommit mode.
    :param checks: from validate_checks().
    """
    return [run_check(connection, check) for check in checks]


def run_check(connection: Any, check: dict[str, Any], timeout_ms: int = TIMEOUT_MS) -> Check:
    """One of them: FAULTY when it is not as expected or its query is wrong, SKIPPED when it could not be looked at.

    READ ONLY refuses nextval and setval, too, and large objects from Postgres 16 on. It does not refuse a function
    that acts outside of the transaction (pg_terminate_backend, dblink, pg_advisory_lock): so far a manifest is
    trusted.
    """
    name, expect = f"manifest: {check['name']}", check["expect"]
    most = _MOST_ROWS
    if isinstance(expect, dict) and isinstance(expect.get("rows"), int):
        most = max(most, expect["rows"] + 1)
    parameters = {
        "query": check["query"], "most": str(most), "lock": str(_LOCK_TIMEOUT_MS), "timeout": timeout_ms,
    }  # fmt: skip
    with connection.cursor() as cursor:
        try:
            cursor.execute(_OPENING, parameters)
            cursor.execute(_RUN)
            cursor.execute("SELECT pg_catalog.current_setting('pgops.found')")
            found = json.loads(cursor.fetchone()[0])
        except (pg_errors.InsufficientPrivilege, pg_errors.LockNotAvailable) as error:
            return Check(name, SKIPPED, f"Its query could not be run: {server_message(error)}.")
        except psycopg2.Error as error:
            return Check(name, FAULTY, f"Its query failed: {_said(error)}.")
        finally:
            if not connection.closed:
                cursor.execute("ROLLBACK")
    problem = _difference(expect, found["count"], found["value"], most)
    return Check(name, FAULTY, problem) if problem else Check(name, PASSED, "As expected.")


def _said(error: Exception) -> str:
    """The server's words, but for those that speak of our cursor."""
    if isinstance(error, pg_errors.InvalidCursorDefinition):
        return "it has to be one statement that only returns rows"
    return server_message(error)


def _difference(expect: Any, count: int, value: str | None, most: int) -> str:
    """:param value: of the first column of the first row, as text."""
    rows = f"{count} row{'' if count == 1 else 's'} came back" if count < most else f"At least {most} rows came back"
    if expect == "empty":
        return f"{rows} where none was expected." if count else ""
    ((kind, wanted),) = expect.items()
    if kind == "rows":
        return "" if count == wanted else f"{rows} where {wanted} were expected."
    if count != 1:
        return f"{rows} where one was expected."
    if kind == "value":
        return "" if _same(value, wanted) else f"It gave {value!s:.100} where {wanted!s:.100} was expected."
    try:
        return "" if value is not None and Decimal(value) >= Decimal(str(wanted)) else (
            f"It gave {value!s:.100}, less than {wanted}."
        )
    except InvalidOperation:
        return f"It gave {value!s:.100}, which is no number."


def _same(value: str | None, wanted: Any) -> bool:
    """Whether the text that the server gave is what YAML says: there 1.0 is 1, and true is a boolean."""
    if value is None or wanted is None:
        return value is None and wanted is None
    if isinstance(wanted, bool):
        return value == str(wanted).lower()
    if isinstance(wanted, int | float):
        try:
            return Decimal(value) == Decimal(str(wanted))
        except InvalidOperation:
            return False
    return value == str(wanted)


def _invalid(what: str) -> RollbackError:
    return RollbackError(
        "manifest_invalid",
        f"The rollback manifest cannot be used: {what}.",
        "expect is empty, or one of value, rows and minimum with what it is to be; nothing was done.",
    )
