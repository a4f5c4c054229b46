# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How often the database's transactions fail, as the server counts them."""

from __future__ import annotations

from typing import Any

_COUNTERS = """
SELECT pg_catalog.to_char(pg_catalog.now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
       xact_commit, xact_rollback, deadlocks,
       pg_catalog.to_char(stats_reset AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
FROM pg_catalog.pg_stat_database WHERE datname = pg_catalog.current_database()
"""


def read_activity(cursor: Any) -> dict[str, Any]:
    """``at`` and ``stats_reset`` (UTC in ISO 8601; None when never reset), and the counters since then."""
    cursor.execute(_COUNTERS)
    names = ("at", "xact_commit", "xact_rollback", "deadlocks", "stats_reset")
    return dict(zip(names, cursor.fetchone(), strict=True))
