# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A module's process that is killed at a given moment, or its server, or the program that it runs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import psycopg2

from tests.support.database import ROOT, TestDatabase
from tests.support.waiting import until

#: Who is killed: the module, the program it runs, its server process, the whole server.
CLIENT, PROGRAM, BACKEND, SERVER = "client", "program", "backend", "server"

#: What is waited for before that, of a teardown and of an undo, by mode. Of these tables the one stays and the other
#: goes, or comes back.
_LOCKED = """
SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
WHERE l.granted AND l.mode = %s AND c.relname IN ('profiles', 'sponsor_connections') AND l.pid <> pg_backend_pid()
"""
_OTHERS = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
ORDER BY backend_start
"""
POINTS = {
    ("teardown", "quarantine"): ("connected", "locked", "bundle.json", "exclusive", "committed.json"),
    ("teardown", "drop"): ("connected", "locked", "program", "archive", "exclusive", "bundle.json", "committed.json"),
    ("undo", "quarantine"): ("connected", "locked", "exclusive", "undone.json"),
    ("undo", "drop"): ("connected", "program", "exclusive", "returned.json", "undone.json"),
}

#: A pg_dump that dumps, a pg_restore that restores.
_WORKS = re.compile(rb"pg_dump\0.*--snapshot|pg_restore\0.*--use-list")

#: Seconds between that and the kill.
_DELAYS = (0.0, 0.004, 0.02, 0.08, 0.2, 0.4)


@dataclass(frozen=True)
class Moment:
    """:ivar point: what is waited for; ``delay`` seconds after that ``whom`` is killed."""

    point: str
    delay: float
    whom: str


def moments(act: str, mode: str, number: int) -> list[Moment]:
    """So many, spread over the points, the delays after them, and who is killed."""
    points = POINTS[act, mode]
    whom = [CLIENT, BACKEND, SERVER]
    found = [Moment("program", delay, PROGRAM) for delay in (0.0, 0.02) if "program" in points]
    every = product(range(len(_DELAYS)), points)
    found += [
        Moment(point, _DELAYS[delay], whom[(place + delay) % len(whom)]) for place, (delay, point) in enumerate(every)
    ]
    return found[:number]


class Killed:
    """A module that is begun, and killed in the middle of it. Afterwards the database can be looked at again.

    :ivar in_time: it was still at work.
    :ivar output: of the module; empty when it was killed itself.
    """

    def __init__(
        self, database: TestDatabase, module: str, options: dict[str, Any], directory: Path, moment: Moment
    ) -> None:
        self._database = database
        self._directory = directory
        self._observer = database.superuser().cursor()
        self._known: set[int] = set()
        self._known = set(self._others())
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"ansible_collections.pgops.rollback.plugins.modules.{module}"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT / "collections")},
        )  # fmt: skip
        with self._process as process:
            if process.stdin is None:  # it was asked for
                raise AssertionError
            process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": options}))
            process.stdin.close()
            process.stdin = None
            while process.poll() is None and not self._reached(moment.point):
                time.sleep(0.001)
            time.sleep(moment.delay)
            self.in_time = process.poll() is None and self._kill(moment.whom)
            self.output, _none = process.communicate(timeout=120)
        self._observer.connection.close()
        self._recover(moment.whom)

    def _reached(self, point: str) -> bool:
        if point == "program":
            return bool(self._programs())
        if point == "archive":
            return any(path.stat().st_size for path in self._files("archive.dump"))
        if point.endswith(".json"):
            return bool(self._files(point))
        if point == "connected":
            return bool(self._others())
        mode = "ShareRowExclusiveLock" if point == "locked" else "AccessExclusiveLock"
        self._observer.execute(_LOCKED, (mode,))
        return bool(self._observer.fetchone()[0])

    def _kill(self, whom: str) -> bool:
        """:returns: whether there was somebody to kill."""
        pid_file = self._database.cluster.cluster.data_directory / "postmaster.pid"
        number = signal.SIGQUIT if whom == SERVER else signal.SIGKILL
        victims = {
            CLIENT: lambda: [self._process.pid],
            PROGRAM: self._programs,
            BACKEND: lambda: self._others()[:1],
            SERVER: lambda: [int(pid_file.read_text(encoding="utf-8").split("\n")[0])],
        }[whom]()
        for pid in victims:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        return bool(victims)

    def _recover(self, whom: str) -> None:
        """The server answers, and nobody is at work in the database any more."""
        cluster = self._database.cluster
        if self.in_time and whom == SERVER:
            cluster.cluster.start(cluster.recipe)
        until(self._alone, "the server is there, and nobody else", seconds=60)

    def _alone(self) -> bool:
        with suppress(psycopg2.OperationalError, psycopg2.InterfaceError):
            return {pid for (pid,) in self._database.query(_OTHERS, user="postgres")} <= self._known
        return False

    def _others(self) -> list[int]:
        self._observer.execute(_OTHERS)
        return [pid for (pid,) in self._observer.fetchall() if pid not in self._known]

    def _programs(self) -> list[int]:
        with suppress(FileNotFoundError, ProcessLookupError):  # one that has just ended
            children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text(encoding="ascii")
            # Not those that are only asked for their version.
            pids = map(int, children.split())
            return [pid for pid in pids if _WORKS.search(Path(f"/proc/{pid}/cmdline").read_bytes())]
        return []

    def _files(self, name: str) -> list[Path]:
        with suppress(FileNotFoundError):
            return [*self._directory.glob(f"db1/run/{name}"), *self._directory.glob(f"db1/run/*bundle*/{name}")]
        return []
