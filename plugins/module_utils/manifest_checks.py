# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The extra checks of a rollback manifest: a name, a query, and what to expect of it.

``expect`` is ``empty``, or one of ``{value: …}`` (the first column of the only row), ``{rows: N}`` and ``{minimum: N}``
(the first column of the only row is a number that is not lower).
"""

from __future__ import annotations

from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.backup import FAULTY, PASSED, Check
from ansible_collections.pgops.rollback.plugins.module_utils.driver import psycopg2
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError, server_message

_EXPECTATIONS = ("value", "rows", "minimum")

#: Rows that are fetched at the most: enough to tell that there are others than expected.
_MOST_ROWS = 10_000

#: A minute, or what the connection was given if that is less.
_OPENING = """
BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY;
SELECT pg_catalog.set_config('statement_timeout', LEAST(60000, NULLIF(setting::int, 0))::text, true)
FROM pg_catalog.pg_settings WHERE name = 'statement_timeout'
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
    return [_run(connection, check) for check in checks]


def _run(connection: Any, check: dict[str, Any]) -> Check:
    name = f"manifest: {check['name']}"
    with connection.cursor() as cursor:
        cursor.execute(_OPENING)
        try:
            cursor.execute(check["query"])
            rows = cursor.fetchmany(_MOST_ROWS) if cursor.description else []
        except psycopg2.Error as error:
            return Check(name, FAULTY, f"Its query failed: {server_message(error)}.")
        finally:
            if not connection.closed:
                cursor.execute("ROLLBACK")
    problem = _difference(check["expect"], rows)
    return Check(name, FAULTY, problem) if problem else Check(name, PASSED, "As expected.")


def _difference(expect: Any, rows: list[tuple[Any, ...]]) -> str:
    count = len(rows)
    if expect == "empty":
        return f"{count} rows came back where none was expected." if rows else ""
    ((kind, wanted),) = expect.items()
    if kind == "rows":
        return "" if count == wanted else f"{count} rows came back where {wanted} were expected."
    if count != 1:
        return f"{count} rows came back where one was expected."
    found = rows[0][0]
    if kind == "value":
        return "" if str(found) == str(wanted) else f"It gave {found!s:.100} where {wanted!s:.100} was expected."
    try:
        return "" if found is not None and float(found) >= float(wanted) else f"It gave {found}, less than {wanted}."
    except (TypeError, ValueError):
        return f"It gave {found!s:.100}, which is no number."


def _invalid(what: str) -> RollbackError:
    return RollbackError(
        "manifest_invalid",
        f"The rollback manifest cannot be used: {what}.",
        "expect is empty, or one of value, rows and minimum with what it is to be; nothing was done.",
    )
