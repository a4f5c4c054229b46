# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""psycopg2, or None where it is not installed: connection.connect says so before anything of it is used."""

from __future__ import annotations

from typing import Any

__all__ = ["DATABASE_ERRORS", "pg_errors", "psycopg2", "sql"]

psycopg2: Any
sql: Any
pg_errors: Any

try:
    import psycopg2
    from psycopg2 import errors as pg_errors
    from psycopg2 import sql
except ImportError:
    psycopg2 = sql = pg_errors = None

#: For an ``except`` that may be reached without psycopg2.
DATABASE_ERRORS: tuple[type[Exception], ...] = (psycopg2.Error,) if psycopg2 else ()
