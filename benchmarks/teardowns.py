# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The teardown beside the script that it replaces: how long others wait for it, and for the quarantine's locks."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any

import psycopg2

from benchmarks.measuring import AT_MOST, Bound, Comparison, interleaved
from benchmarks.ways import module_process
from tests.support.database import TestCluster, TestDatabase
from tests.support.quarantine import Acting, quarantine, undo
from tests.support.sessions import OLD, SURVIVING, Activity, at_work, reading
from tests.support.teardown import COACHING, add_messages, drop_statements, load_application

#: Seconds: the default of teardown_lock_timeout, and how much longer than that a session may have waited.
LOCK_TIMEOUT = 0.5
AT_MOST_LONGER = 1.2

#: What the naive script locks, one after another: each of the readers is gone before a lock_timeout would end the wait.
_STAGGERED = (
    "public.sponsor_connections", "public.sponsor_chat_messages", "public.sponsor_visible_memos",
    "public.sponsor_feedback", "public.user_virtue_stage_memos", "public.profiles", "auth.users",
)  # fmt: skip
_STAGE = 0.4


@dataclass
class Situation:
    """What stands in the way of a teardown, and who else is at work.

    :ivar readers: tables that a transaction has read which stays open, and for how many seconds.
    :ivar deadlocks: how many transactions of the application were the victims of one, by way: ``ours`` or ``theirs``.
    :ivar doomed: longest wait of a session that writes to what goes, by way.
    :ivar attempts: most that ours took.
    """

    name: str
    cluster: TestCluster
    readers: list[tuple[str, float]]
    activities: list[Activity]
    messages: int
    deadlocks: dict[str, int] = field(default_factory=lambda: {"ours": 0, "theirs": 0})
    doomed: dict[str, float] = field(default_factory=lambda: {"ours": 0.0, "theirs": 0.0})
    attempts: int = 0

    def longest_wait(self, way: str, tear_down: Callable[[TestDatabase], int]) -> float:
        """Seconds that a session waited at most while the coaching tables were torn down.

        :raises RuntimeError: when they were not, or a session of the application failed.
        """
        database = TestDatabase(self.cluster)
        database.create()
        load_application(database)
        add_messages(database, self.messages)
        database.query("VACUUM ANALYZE", user="postgres")
        with at_work(database, self.activities) as sessions, reading(database, self.readers):
            attempts = tear_down(database)
        if way == "ours" and database.value("SELECT to_regclass('public.sponsor_connections')") is not None:
            raise RuntimeError("Nothing was torn down: the figures would mean nothing.")
        database.drop()
        self.attempts = max(self.attempts, attempts)
        self.deadlocks[way] += sum(each.deadlocks for each in sessions)
        waited = [each.longest for each in sessions if each.activity.doomed]
        self.doomed[way] = max([self.doomed[way], *waited])
        return max(each.longest for each in sessions if not each.activity.doomed)


def naive(database: TestDatabase) -> int:
    """What the script of SCENARIO.md has to be un-commented by hand. A deadlock may end it."""
    objects = [{"kind": "table", "name": name} for name in COACHING["tables"]]
    objects += [{"kind": "function", "name": name} for name in COACHING["functions"]]
    with suppress(psycopg2.errors.DeadlockDetected):
        database.query(drop_statements(objects))
    return 1


def by_module(database: TestDatabase, mode: str) -> int:
    """:returns: how many attempts it took."""
    options = {
        **database.login(), "manifest": COACHING, "mode": mode, "allow_unknown_provenance": True,
        "require_backup": False,
    }  # fmt: skip
    token = json.loads(module_process("teardown_plan", options).output)["token"]
    with tempfile.TemporaryDirectory(prefix="pgops-bench-") as artifacts:
        done = json.loads(module_process("teardown", {
            **options, "confirm": token, "batch": {"bench": token}, "host": "bench", "artifacts_dir": artifacts,
            "run_id": "bench",
        }).output)  # fmt: skip
    attempts: int = done["attempts"]
    return attempts


def beside_naive_drop(cluster: TestCluster, mode: str, messages: int, stays: float, runs: int) -> list[Comparison]:
    """Longest wait of any session: beside the naive script, and beside the timeout that is to bound it."""
    situations = [
        Situation(f"a reader of {stays:g} s is in the way", cluster, [("public.sponsor_visible_memos", stays)],
                  SURVIVING, messages),
        Situation("staggered readers, and writers of feedback, chat and accounts", cluster,
                  [(table, _STAGE * (number + 1)) for number, table in enumerate(_STAGGERED)], [*SURVIVING, *OLD],
                  messages),
    ]  # fmt: skip
    found = []
    for situation in situations:
        ours, theirs = interleaved(
            runs,
            partial(situation.longest_wait, "ours", partial(by_module, mode=mode)),
            partial(situation.longest_wait, "theirs", naive),
            lambda: None,
        )
        details: dict[str, Any] = {"attempts": situation.attempts}
        details |= {f"deadlock_victims_{way}": number for way, number in situation.deadlocks.items()}
        if situation.activities != SURVIVING:
            details |= {f"writers_to_what_goes_wait_{way}": longest for way, longest in situation.doomed.items()}
        subject = f"{mode}, {situation.name}: longest wait of a session"
        failure = f"{situation.deadlocks['ours']} deadlock victims" if situation.deadlocks["ours"] else ""
        found += [
            Comparison(subject, "one DROP … CASCADE without a lock_timeout", ours, theirs, details=details),
            Comparison(
                f"{subject} in all runs", "teardown_lock_timeout", [max(ours)], [LOCK_TIMEOUT],
                bound=Bound(AT_MOST, AT_MOST_LONGER), failure=failure,
            ),
        ]  # fmt: skip
    return found


def beside_bare_move(cluster: TestCluster, messages: int, runs: int) -> Comparison:
    """How long readers are kept out: from the first statement that does to the end of the commit."""
    database = TestDatabase(cluster)
    database.create()
    load_application(database)
    add_messages(database, messages)
    database.query("VACUUM ANALYZE", user="postgres")
    connection = database.connect()
    begun = 0.0

    class Timed(Acting):
        """Notes when its last statements were sent: those that keep readers out."""

        def run(self, statement: Any) -> None:
            nonlocal begun
            begun = time.perf_counter()
            super().run(statement)

    def ours() -> float:
        taken: list[float] = []
        content = quarantine(database, acting=Timed, committed=lambda: taken.append(time.perf_counter() - begun))
        undo(database, content)
        return taken[0]

    def theirs() -> float:
        with connection.cursor() as cursor:
            cursor.execute("BEGIN; CREATE SCHEMA bare")
            script = "; ".join(f"ALTER TABLE {name} SET SCHEMA bare" for name in COACHING["tables"])
            started = time.perf_counter()
            cursor.execute(script)
            cursor.execute("COMMIT")
            taken = time.perf_counter() - started
            names = [name.split(".")[1] for name in COACHING["tables"]]
            cursor.execute("; ".join(f"ALTER TABLE bare.{name} SET SCHEMA public" for name in names))
            cursor.execute("DROP SCHEMA bare")
        return taken

    times = interleaved(runs, ours, theirs, lambda: None)
    database.drop()
    return Comparison(
        f"quarantine of {messages:,} rows: how long readers are kept out", "bare ALTER TABLE … SET SCHEMA", *times,
        bound=Bound(AT_MOST, 2.0),
        details={"ours_ms": 1000 * median(times[0]), "theirs_ms": 1000 * median(times[1])},
    )  # fmt: skip
