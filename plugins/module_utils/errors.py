# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one exception family of this collection, and the wording of what Postgres reports."""

from __future__ import annotations

from typing import TypeVar


class RollbackError(Exception):
    """What happened and why, the way out, and a short stable code that the runbook explains.

    :param code: e.g. ``connection_failed``; a word of the interface, so never renamed.
    :param message: what happened and why, one sentence with its full stop.
    :param remedy: what to do now, one sentence with its full stop.
    """

    def __init__(self, code: str, message: str, remedy: str) -> None:
        super().__init__(f"{message} {remedy}")
        self.code = code
        self.message = message
        self.remedy = remedy


Value = TypeVar("Value")


def certain(value: Value | None) -> Value:
    """A value that cannot be missing where it is asked for; that it is would be a defect.

    :raises AssertionError: when it is.
    """
    if value is None:
        raise AssertionError("a value that cannot be missing is missing")
    return value


def server_message(error: Exception) -> str:
    """The primary message of a database error on one line, without the position, hint or traceback.

    :param error: a ``psycopg2.Error``; one that never reached the server carries only its text.
    """
    diagnostics = getattr(error, "diag", None)
    primary = getattr(diagnostics, "message_primary", None)
    # libpq's own text has a line for each address it tried, and indented lines with hints.
    lines = [line for line in str(primary or error).splitlines() if line.strip() and not line[0].isspace()]
    return "; ".join(" ".join(line.split()) for line in lines).rstrip(".")
