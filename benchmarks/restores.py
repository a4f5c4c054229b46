# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A full restore beside the classic one: drop the database, and restore the same file into an empty one of its name."""

from __future__ import annotations

import subprocess
from typing import Any

from psycopg2 import sql

from benchmarks.backups import BOUND_FROM, DumpedDatabase
from benchmarks.measuring import AT_MOST, Bound, Comparison, interleaved, seconds
from tests.support.database import TestDatabase
from tests.support.restores import act, asking_clients, drop_beside

CLIENTS = 20


def beside_drop_and_restore(dumped: DumpedDatabase, runs: int) -> list[Comparison]:
    """How long the restoring takes, and how long clients that keep asking get no answer."""
    live, classic = TestDatabase(dumped.cluster), TestDatabase(dumped.cluster)
    for database in (live, classic):
        database.create()
    results: list[dict[str, Any]] = []

    def ours() -> float:
        with asking_clients(live, CLIENTS) as clients:
            results.append(act(live, dumped.dump, database=dumped.database, run_id=f"bench-{len(results)}"))
            clients.await_answers()
        drop_beside(live)
        return clients.longest_gap

    def theirs() -> float:
        return seconds(lambda: _drop_and_restore(dumped, classic))

    gaps, classics = interleaved(runs, ours, theirs, lambda: None)
    restoring = [each["seconds"]["making the database"] + each["seconds"]["restoring"] for each in results]
    size, beside = f"a database of {dumped.megabytes:,} MB", "DROP DATABASE, CREATE DATABASE, pg_restore -j 2"

    def bound(value: float) -> Bound | None:
        """A small one is all start-up."""
        return Bound(AT_MOST, value) if dumped.megabytes >= BOUND_FROM else None

    return [
        Comparison(f"{size}: restoring it beside the live one", beside, restoring, classics, bound=bound(1.2)),
        Comparison(
            f"{size}: {CLIENTS} clients without an answer", beside, gaps, classics, bound=bound(0.1),
            details={"longest_seconds": max(gaps), "swap_seconds": max(each["downtime"] for each in results)},
        ),
    ]  # fmt: skip


def _drop_and_restore(dumped: DumpedDatabase, database: TestDatabase) -> None:
    connection = dumped.cluster.connect()
    try:
        with connection.cursor() as cursor:
            for statement in ("DROP DATABASE {} WITH (FORCE)", "CREATE DATABASE {} TEMPLATE template0"):
                cursor.execute(sql.SQL(statement).format(sql.Identifier(database.name)))
    finally:
        connection.close()
    login = database.login("postgres")
    subprocess.run(
        [dumped.cluster.bindir / "pg_restore", "-h", login["login_host"], "-p", str(login["login_port"]), "-U",
         "postgres", "-d", database.name, "-j", "2", dumped.dump], check=True, capture_output=True,
    )  # fmt: skip
