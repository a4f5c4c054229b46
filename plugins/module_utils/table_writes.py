# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How many rows were written to each table, as the server counts them: what a rollback would lose is told by them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.names import quote_name

_COUNTERS = """
SELECT schemaname, relname, n_tup_ins, n_tup_upd, n_tup_del FROM pg_catalog.pg_stat_user_tables
ORDER BY schemaname, relname
"""
_RESET = """
SELECT pg_catalog.to_char(stats_reset AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
FROM pg_catalog.pg_stat_database WHERE datname = pg_catalog.current_database()
"""


@dataclass(frozen=True)
class TableWrites:
    """:ivar tables: rows inserted, updated and deleted by table, as SQL writes its name, since the statistics began.
    :ivar reset_at: when the statistics were last reset, UTC in ISO 8601; None when never.
    """

    tables: dict[str, list[int]] = field(default_factory=dict)
    reset_at: str | None = None

    def since(self, before: TableWrites) -> dict[str, int] | None:
        """Rows written to each table that has any, between the two; None when the counters began anew meanwhile."""
        if self.reset_at != before.reset_at:
            return None
        written: dict[str, int] = {}
        for name, counters in self.tables.items():
            earlier = before.tables.get(name, [0, 0, 0])
            if any(now < then for now, then in zip(counters, earlier, strict=True)):
                return None  # a crash discards the counters without a word
            if number := sum(counters) - sum(earlier):
                written[name] = number
        return written


def read_table_writes(cursor: Any) -> TableWrites:
    cursor.execute(_RESET)
    reset_at = cursor.fetchone()[0]
    cursor.execute(_COUNTERS)
    return TableWrites({quote_name(*row[:2]): list(row[2:]) for row in cursor.fetchall()}, reset_at)
