# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writers that never pause, and resets in between while rows with explicit ids are not committed yet.

A round is: a session inserts a row with an id beyond what the writers reach and keeps its transaction open; a reset
begins; the session commits. A reset that locks is let run into that session's lock first, and the round counts as
blocked when pg_blocking_pids says so: nothing here is left to timing.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import psycopg2

from ansible_collections.pgops.rollback.plugins.module_utils.connection import server_info
from ansible_collections.pgops.rollback.plugins.module_utils.connections import Connections
from ansible_collections.pgops.rollback.plugins.module_utils.locks import parse_lock_timeout
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_reset import reset
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_survey import survey
from tests.support.database import OPERATOR, TestDatabase
from tests.support.modules import run_module
from tests.support.processes import Forked

WRITERS = 4

#: The table of the writers; the id column differs from test to test.
TABLE = "fire"
SEQUENCE = "fire_id_seq"

#: What a reset is told: the table alone, and to lock it although it looks healthy.
OPTIONS: dict[str, Any] = {"tables": [TABLE], "lock_healthy": True, "repair_defaults": False, "test": "none"}

#: How a writer gets its rows in: the table's default gives the id, or it is taken in advance, as some ORMs do.
INSERT = f"INSERT INTO {TABLE} (note) VALUES ('writer') RETURNING id"
NEXTVAL = f"SELECT nextval('{SEQUENCE}')"

#: Ids between the writers' last one and an explicit one: more than they insert until it is committed.
GAP = 100_000

_EXPLICIT = f"""
INSERT INTO {TABLE} (id, note) OVERRIDING SYSTEM VALUE SELECT last_value + %s, 'explicit' FROM {SEQUENCE} RETURNING id
"""

_LOCK_WAITERS = """
SELECT count(*) FROM pg_locks
WHERE NOT granted AND mode = 'ShareRowExclusiveLock' AND %s = ANY (pg_blocking_pids(pid))
"""

_FORK = multiprocessing.get_context("fork")


class Writers:
    """Processes that run one statement over and over until they are stopped.

    :ivar duplicates: duplicate-key errors, filled in by stop().
    :ivar ids: of each writer, the ids it got in the order it got them, filled in by stop().
    """

    def __init__(self, database: TestDatabase, statement: str) -> None:
        self._stop = _FORK.Event()
        self._counts = [_FORK.RawValue("Q", 0) for _number in range(WRITERS)]
        self._writers = [Forked(partial(_write, database, statement, count, self._stop)) for count in self._counts]
        self.duplicates = 0
        self.ids: list[list[int]] = []

    @property
    def rows(self) -> int:
        """Statements that succeeded so far."""
        return sum(count.value for count in self._counts)

    def stop(self) -> None:
        """Let them end; an error other than a duplicate key is raised here."""
        self._stop.set()
        for ids, duplicates in [writer.result() for writer in self._writers]:
            self.ids.append(ids)
            self.duplicates += duplicates


def _write(database: TestDatabase, statement: str, count: Any, stop: Any) -> tuple[list[int], int]:
    ids: list[int] = []
    duplicates = 0
    connection = database.cluster.connect(database.name, OPERATOR)
    with connection.cursor() as cursor:
        while not stop.is_set():
            try:
                cursor.execute(statement)
            except psycopg2.errors.UniqueViolation:
                duplicates += 1
            else:
                ids.append(cursor.fetchone()[0])
                count.value += 1
    connection.close()
    return ids, duplicates


@contextmanager
def writing(database: TestDatabase, statement: str = INSERT) -> Iterator[Writers]:
    """Writers at work; they are stopped at the end, whatever happens."""
    writers = Writers(database, statement)
    try:
        yield writers
    finally:
        writers.stop()


class Rounds:
    """Runs rounds against a database that is being written to, and counts what comes of them.

    :ivar blocked: rounds in which the reset was seen waiting for the uncommitted row's transaction.
    :ivar missed: results of resets that did not see that row.
    :ivar lowered: where the sequence stood before and after a round that set it back.
    :ivar explicit: ids of the rows with explicit ids.
    """

    def __init__(self, database: TestDatabase) -> None:
        self.resets = 0
        self.blocked = 0
        self.missed: list[Any] = []
        self.lowered: list[tuple[int, int]] = []
        self.explicit: list[int] = []
        self._database = database
        self._session = database.connect()
        self._observer = database.superuser()
        self._pool = ThreadPoolExecutor(1)

    def reset_by(self, repair: Callable[[TestDatabase], dict[str, Any]]) -> None:
        """A round with a reset that locks: it has to wait for the explicit row, and to see it."""
        before = self._position()
        explicit_id = self._insert_explicit()
        running = self._begin(repair)
        self._session.cursor().execute("COMMIT")
        result = running.result()
        if not _saw(result, explicit_id):
            self.missed.append(result)
        self._end_round(before)

    def race(self, repair: Callable[[TestDatabase], dict[str, Any]], gap: int) -> None:
        """A round whose explicit id is so near that callers of nextval() may pass it while the reset is at work."""
        before = self._position()
        cursor = self._session.cursor()
        cursor.execute(f"BEGIN; LOCK TABLE {TABLE} IN ROW EXCLUSIVE MODE")
        running = self._begin(repair)
        cursor.execute(f"{_EXPLICIT}; COMMIT", (gap,))
        running.result()
        self._end_round(before)

    def reset_naively(self) -> None:
        """The same round with the script that this collection replaces (SCENARIO: no lock, sets, tests, sets again)."""
        before = self._position()
        self._insert_explicit()
        naive_reset(self._database)
        self._session.cursor().execute("COMMIT")
        self._end_round(before)

    def _insert_explicit(self) -> int:
        with self._session.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute(_EXPLICIT, (GAP,))
            explicit_id = int(cursor.fetchone()[0])
        self.explicit.append(explicit_id)
        return explicit_id

    def _begin(self, repair: Callable[[TestDatabase], dict[str, Any]]) -> Future[dict[str, Any]]:
        """Let a reset run into the session's lock."""
        running = self._pool.submit(repair, self._database)
        self.blocked += self._await_blocked(running)
        return running

    def _await_blocked(self, running: Future[Any]) -> bool:
        """Whether the reset came to wait for the explicit row's transaction, instead of ending without."""
        with self._observer.cursor() as cursor:
            while not running.done():
                cursor.execute(_LOCK_WAITERS, (self._session.info.backend_pid,))
                if cursor.fetchone()[0]:
                    return True
                time.sleep(0.001)
        return False

    def _position(self) -> int:
        with self._observer.cursor() as cursor:
            cursor.execute(f"SELECT last_value FROM {SEQUENCE}")
            return int(cursor.fetchone()[0])

    def _end_round(self, before: int) -> None:
        after = self._position()
        self.resets += 1
        if after < before:
            self.lowered.append((before, after))


def _saw(result: dict[str, Any], explicit_id: int) -> bool:
    """Whether a reset went beyond the explicit id because it found it in the data."""
    (entry,) = result["sequences"] or [{"action": "none"}]
    return entry["action"] == "reset" and entry["extreme"] == explicit_id == entry["after"]["last_value"]


def repair_in_process(database: TestDatabase) -> dict[str, Any]:
    """What the module sequence_reset does, on a connection of its own, without what a process costs."""
    connections = Connections(database.login())
    timeout = parse_lock_timeout("500ms", server_info(connections.first))
    found = survey(connections, OPTIONS)
    result = reset(connections, found, OPTIONS, timeout, check_mode=False)
    connections.close()
    assert not result.get("failed"), result["msg"]
    return result


def repair_by_module(database: TestDatabase) -> dict[str, Any]:
    """The module itself, as Ansible runs it."""
    options = {key: OPTIONS[key] for key in ("tables", "lock_healthy")}
    run = run_module("sequence_reset", {**database.login(), **options})
    assert not run.failed, run.output
    return run.result


def naive_reset(database: TestDatabase) -> None:
    """The script of SCENARIO.md."""
    connection = database.connect()
    set_to_maximum = f"SELECT setval('{SEQUENCE}', (SELECT max(id) FROM {TABLE}) + 1, false)"
    with connection.cursor() as cursor:
        cursor.execute(set_to_maximum)
        cursor.execute(NEXTVAL)
        cursor.execute(set_to_maximum)
    connection.close()
