# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever is killed during a full restore, the live name stands for one whole database, and a rerun ends well.

And how long nobody could connect.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.disposable_states import (
    Request,
    ensure_started,
    exclusive,
)
from tests.support.database import ROOT, WHEELS, TestCluster, TestDatabase, running_cluster
from tests.support.dumps import take_dump_with_manifest
from tests.support.restores import act, asking_clients, beside, drop_beside, options, orders, plan
from tests.support.waiting import until

pytestmark = pytest.mark.full

#: Large enough that every step takes a while.
CONTENT = """
CREATE TABLE public.orders (id int PRIMARY KEY, what text NOT NULL);
INSERT INTO public.orders SELECT n, 'order ' || n FROM generate_series(1, 200000) AS n;
CREATE INDEX orders_what ON public.orders (what);
CREATE VIEW public.last_made AS SELECT max(id) AS id FROM public.orders;
"""
HARM = "UPDATE public.orders SET what = 'spoilt' WHERE id <= 1000; DELETE FROM public.orders WHERE id > 150000"
OLD, NEW = (150_000, 1000), (200_000, 0)
#: All that is made last: without any of it the database is not whole.
WHOLE = """
SELECT to_regclass('public.orders_what') IS NOT NULL AND to_regclass('public.last_made') IS NOT NULL
   AND EXISTS (SELECT FROM pg_constraint WHERE conname = 'orders_pkey')
"""

CLIENT, PROGRAM, SERVER = "client", "pg_restore", "server"
MOMENTS = [
    *((CLIENT, part / 8) for part in range(1, 9)),
    *((PROGRAM, part / 6) for part in range(6)),
    *((SERVER, part / 6) for part in range(1, 7)),
]  # fmt: skip


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[TestCluster]:
    """One that may be killed."""
    wanted = Request(wheels=WHEELS, settings={"max_connections": 150})
    with running_cluster(f"pytest-{os.getpid()}-killed", wanted) as running:
        yield running


@pytest.fixture(scope="module")
def dump(own_cluster: TestCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The name of the database that it is of, and the dump."""
    source = TestDatabase(own_cluster)
    source.create()
    source.query(CONTENT)
    yield source.name, take_dump_with_manifest(source, tmp_path_factory.mktemp("dump") / "dumps", "directory")
    source.drop()


@pytest.fixture
def spoilt(own_cluster: TestCluster) -> Iterator[TestDatabase]:
    made = TestDatabase(own_cluster)
    made.create()
    made.query(CONTENT + HARM)
    yield made
    drop_beside(made)
    made.drop()


@pytest.fixture(scope="module")
def usual(own_cluster: TestCluster, dump: tuple[str, Path]) -> tuple[float, float]:
    """Seconds that it takes when nobody is killed, and of them pg_restore."""
    made = TestDatabase(own_cluster)
    made.create()
    made.query(CONTENT + HARM)
    name, path = dump
    token = plan(made, path, database=name)["token"]
    begun = time.monotonic()
    process = started(made, path, token, "usual", database=name)
    result = json.loads(process.communicate()[0])
    took = time.monotonic() - begun
    assert result["changed"], result
    drop_beside(made)
    made.drop()
    return took, result["seconds"]["restoring"]


def started(
    live: TestDatabase, path: Path, token: str, run_id: str, **more: Any
) -> subprocess.Popen[str]:
    given = options(live, path, confirm=token, batch={"db1": token}, run_id=run_id, **more)
    process = subprocess.Popen(
        [sys.executable, "-m", "ansible_collections.pgops.rollback.plugins.modules.database_restore"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "collections")},
    )  # fmt: skip
    assert process.stdin
    process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": given}))
    process.stdin.close()
    process.stdin = None
    return process


def programs(path: Path) -> list[int]:
    """Process numbers of the pg_restore that reads the dump, its workers among them."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
            if words and words[0].endswith(b"pg_restore") and os.fsencode(path) in words:
                found.append(int(entry.name))
    return found


def kill(victim: str, part: float, process: subprocess.Popen[str], cluster: TestCluster, path: Path,
         usual: tuple[float, float]) -> None:  # fmt: skip
    whole, restoring = usual
    if victim == PROGRAM:
        until(lambda: bool(programs(path)) or process.poll() is not None, "pg_restore runs")
    time.sleep(part * (restoring if victim == PROGRAM else whole))  # any moment will do
    if victim == CLIENT:
        process.kill()
    elif victim == PROGRAM:
        for number in programs(path):
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
    else:
        cluster.cluster.stop(cluster.recipe, mode="immediate")
        with exclusive(cluster.cluster):
            ensure_started(cluster.cluster, Request(major=cluster.major, wheels=WHEELS,
                                                    settings={"max_connections": 150}))  # fmt: skip


@pytest.mark.parametrize(("victim", "part"), MOMENTS)
def test_the_live_name_always_stands_for_a_whole_database(
    own_cluster: TestCluster, spoilt: TestDatabase, dump: tuple[str, Path], usual: tuple[float, float], victim: str,
    part: float,
) -> None:  # fmt: skip
    name, path = dump
    token = plan(spoilt, path, database=name)["token"]
    process = started(spoilt, path, token, "killed", database=name)
    kill(victim, part, process, own_cluster, path, usual)
    output, errors = process.communicate(timeout=120)
    assert "Traceback" not in output + errors
    found = orders(spoilt)
    assert found in (OLD, NEW)
    assert spoilt.value(WHOLE, user="postgres")

    again = act(spoilt, path, token, run_id="again", database=name) if found == OLD else act(
        spoilt, path, run_id="again", database=name, check=process.returncode == 0
    )
    assert not again.get("failed"), again
    if found == NEW and process.returncode != 0:
        # It had done it all but for telling so.
        assert not again["changed"]
    assert (orders(spoilt), spoilt.value(WHOLE, user="postgres")) == (NEW, True)
    assert [(each.mark.role, each.mark.finished) for each in beside(spoilt)] == [("kept", True)]
    assert not programs(path)
    act(spoilt, path, run_id="undo", action="undo")
    assert orders(spoilt) == OLD


def test_whoever_ends_it_finds_nothing_left(
    own_cluster: TestCluster, spoilt: TestDatabase, dump: tuple[str, Path]
) -> None:
    """Ended, not killed: it removes what it has made, and the program that it has started."""
    name, path = dump
    process = started(spoilt, path, plan(spoilt, path, database=name)["token"], "ended", database=name)
    until(lambda: bool(programs(path)), "pg_restore runs")
    process.terminate()
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in output + errors) == (143, False)
    assert (programs(path), beside(spoilt), orders(spoilt)) == ([], [], OLD)


def test_fifty_clients_are_without_it_for_less_than_two_seconds(
    spoilt: TestDatabase, dump: tuple[str, Path], record_property: Any
) -> None:
    name, path = dump
    with asking_clients(spoilt, 50) as clients:
        done = act(spoilt, path, database=name)
        clients.await_answers()
    record_property("swap", done["downtime"])
    record_property("without an answer", clients.longest_gap)
    assert done["sessions_ended"] >= 50
    assert (done["downtime"] < 2, clients.longest_gap < 2) == (True, True), (done["downtime"], clients.longest_gap)
    assert all("does not exist" in each for each in clients.refused), clients.refused
    assert orders(spoilt) == NEW
