# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How often the database's transactions fail, as the server counts them."""

from __future__ import annotations

from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.verification import WARNED, Context, Finding, Outcome

#: Fewer transactions, or failed ones, than these tell nothing.
_ENOUGH_TRANSACTIONS = 100
_ENOUGH_ROLLBACKS = 20

#: How many times as often as before is more often.
_TIMES = 2

_COUNTERS = """
SELECT pg_catalog.to_char(pg_catalog.now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
       xact_commit, xact_rollback, deadlocks,
       pg_catalog.to_char(stats_reset AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
FROM pg_catalog.pg_stat_database WHERE datname = pg_catalog.current_database()
"""
_COUNTED = ("xact_commit", "xact_rollback", "deadlocks")


def read_activity(cursor: Any) -> dict[str, Any]:
    """``at`` and ``stats_reset`` (UTC in ISO 8601; None when never reset), and the counters since then."""
    cursor.execute(_COUNTERS)
    names = ("at", *_COUNTED, "stats_reset")
    return dict(zip(names, cursor.fetchone(), strict=True))


def error_rate(context: Context) -> Outcome:
    """Since ``activity_since``, which is read when a rollback has ended, against all up to ``activity_before``.

    In between lies what made the rollback necessary; without ``activity_since`` it counts, too.
    """
    before = context.options["activity_before"]
    begun = context.options["activity_since"] or before
    then, start = _counters(before, "activity_before"), _counters(begun, "activity_since")
    with context.reading() as cursor:
        now = read_activity(cursor)
    since = {name: now[name] - start[name] for name in _COUNTED}
    transactions = since["xact_commit"] + since["xact_rollback"]
    when = begun.get("at") or "the baseline"
    outcome = Outcome(
        f"Of {transactions:,} transactions since {when}, {since['xact_rollback']:,} were rolled back, with"
        f" {since['deadlocks']:,} deadlocks: no more often than before.",
        "More often than before",
        "Look for the errors in the server's log and the application's.",
    )
    reset = any("stats_reset" in each and each["stats_reset"] != now["stats_reset"] for each in (before, begun))
    if reset or min(since.values()) < 0:
        outcome.unchecked.append(f"the server's statistics were reset after {when}")
    elif transactions < _ENOUGH_TRANSACTIONS:
        outcome.unchecked.append(f"only {transactions} transactions since {when}, too few to tell")
    else:
        outcome.findings += _more_often(then, since)
    return outcome


def _counters(given: dict[str, Any], option: str) -> dict[str, int]:
    try:
        return {name: int(given[name]) for name in _COUNTED}
    except (KeyError, TypeError, ValueError):
        raise RollbackError(
            "activity_invalid",
            f"{option} lacks a counter.",
            "Give what a baseline or a verification has read: xact_commit, xact_rollback, deadlocks and at.",
        ) from None


def _more_often(then: dict[str, int], since: dict[str, int]) -> list[Finding]:
    def share(counters: dict[str, int], name: str) -> float:
        return counters[name] / max(counters["xact_commit"] + counters["xact_rollback"], 1)

    found = []
    failed, failed_then = share(since, "xact_rollback"), share(then, "xact_rollback")
    if since["xact_rollback"] >= _ENOUGH_ROLLBACKS and failed > max(_TIMES * failed_then, failed_then + 0.01):
        problem = f"{failed:.1%} of the transactions were rolled back, {failed_then:.1%} before"
        found.append(Finding("rollbacks", problem, WARNED))
    if since["deadlocks"] and share(since, "deadlocks") > _TIMES * share(then, "deadlocks"):
        found.append(Finding("deadlocks", f"{since['deadlocks']:,} since, {then['deadlocks']:,} before", WARNED))
    return found
