# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A row that is written to the live database now, and looked for in the backups that are taken later.

A physical backup has no content manifest; with a canary it is certain that it is of this database and as recent as it
says. It is asked for, never a default: it writes to production.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.backup import FAULTY, PASSED, SKIPPED, Backup, Check
from ansible_collections.pgops.rollback.plugins.module_utils.connection import connect
from ansible_collections.pgops.rollback.plugins.module_utils.driver import DATABASE_ERRORS, pg_errors
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError, server_message

#: In the search_path's first schema of the role that connects. A few dozen rows are kept.
_MAKE = "CREATE TABLE IF NOT EXISTS pgops_rollback_canary (written_at timestamptz PRIMARY KEY)"
_WRITE = "INSERT INTO pgops_rollback_canary VALUES (clock_timestamp()) ON CONFLICT DO NOTHING"
_FORGET = """
DELETE FROM pgops_rollback_canary
WHERE written_at < (SELECT written_at FROM pgops_rollback_canary ORDER BY written_at DESC OFFSET 50 LIMIT 1)
"""
_NEWEST_BEFORE = "SELECT max(written_at) FROM pgops_rollback_canary WHERE written_at < %s"
_HAS = "SELECT 1 FROM pgops_rollback_canary WHERE written_at = %s"


def expected_canary(live: dict[str, Any], backup: Backup) -> datetime | None:
    """The newest row that was there when the backup began, asked of the live database; None where there was none.

    Then a new row is written, for the backups to come.

    :param live: connection options.
    :raises RollbackError: ``canary_failed`` and those of connect().
    """
    connection = connect(live)
    try:
        with connection.cursor() as cursor:
            cursor.execute("BEGIN; SET LOCAL lock_timeout = '5s'; SET LOCAL statement_timeout = '30s'")
            cursor.execute(_MAKE)
            cursor.execute(_NEWEST_BEFORE, (backup.started_at,))
            (newest,) = cursor.fetchone()
            cursor.execute(f"{_WRITE}; {_FORGET}; COMMIT")
    except DATABASE_ERRORS as error:
        raise RollbackError(
            "canary_failed",
            f"The canary row could not be written to the live database: {server_message(error)}.",
            "Let the role that connects create a table in its schema, or turn backup_verification_canary off.",
        ) from error
    finally:
        connection.close()
    found: datetime | None = newest
    return found


def look_for(connection: Any, written_at: datetime | None) -> Check:
    """Whether the row is in the restored database."""
    if written_at is None:
        return Check("canary", SKIPPED, "No canary row was there yet when the backup began; one is now.")
    shown = f"{written_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    with connection.cursor() as cursor:
        try:
            cursor.execute(_HAS, (written_at,))
            there = cursor.fetchone() is not None
        except pg_errors.UndefinedTable:
            there = False
    if there:
        return Check("canary", PASSED, f"The canary row of {shown} is in it.")
    return Check("canary", FAULTY, f"The canary row of {shown}, from before the backup began, is not in it.")
