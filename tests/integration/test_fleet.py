# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A fleet, as docs/FLEETS.md has it: one plan and one token, a canary first, and an end at the first failure."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.confirmation import batch_token
from ansible_collections.pgops.rollback.plugins.module_utils.disposable_states import Request
from tests.support.database import WHEELS, TestCluster, TestDatabase, running_cluster
from tests.support.playbook import inventory, report, rollback, rollback_variables, steps
from tests.support.teardown import load_application

pytestmark = [pytest.mark.full, pytest.mark.timeout(3600)]

#: The canary, then a tenth, then the rest.
SERIAL = json.dumps({"rollback_serial": [1, "10%", "100%"]})


class Fleet:
    """Copies of the sample application, spread over the clusters."""

    def __init__(self, directory: Path, clusters: list[TestCluster]) -> None:
        self.directory = directory
        self._originals = []
        for cluster in clusters:
            original = TestDatabase(cluster)
            original.create()
            load_application(original)
            self._originals.append(original)
        self.databases: dict[str, TestDatabase] = {}

    def of(self, size: int) -> Fleet:
        for number in range(1, size + 1):
            original = self._originals[number % len(self._originals)]
            made = TestDatabase(original.cluster)
            connection = original.cluster.connect()
            cursor = connection.cursor()
            # A template may have no sessions.
            cursor.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", (original.name,)
            )
            cursor.execute(f"CREATE DATABASE {made.name} TEMPLATE {original.name} OWNER operator")
            connection.close()
            self.databases[f"customer{number:03}"] = made
        inventory(self.directory, {
            host: {**rollback_variables(made.login()), "teardown_allow_unknown_provenance": True}
            for host, made in self.databases.items()
        })  # fmt: skip
        return self

    def token(self) -> str:
        """Of all their plans."""
        planned = rollback(self.directory, "--tags", "plan", "--forks", "10")
        assert planned.returncode == 0, planned.stdout
        return batch_token({host: self._plan(host)["token"] for host in self.databases})

    def _plan(self, host: str) -> dict[str, str]:
        found: dict[str, str] = json.loads((self.directory / "artifacts" / host / "latest/plan.json").read_text())
        return found

    def teardown(self, token: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        confirmed = ("-e", f"rollback_confirm={token}")
        return rollback(self.directory, "--tags", "teardown", "--forks", "10", *confirmed, *arguments)

    def gone(self) -> list[str]:
        """The hosts whose tables are in quarantine."""
        asked = "SELECT to_regclass('public.sponsor_connections') IS NULL"
        return [host for host, made in self.databases.items() if made.value(asked)]


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    wanted = Request(major=None, wheels=WHEELS, settings={"wal_level": "logical", "max_connections": 100})
    with ExitStack() as running:
        names = [f"fleet-{os.getpid()}-{number}" for number in range(3)]
        yield Fleet(tmp_path, [running.enter_context(running_cluster(name, wanted)) for name in names])


def held(database: TestDatabase) -> None:
    """Somebody reads, and does not end."""
    database.connect().cursor().execute("BEGIN; LOCK TABLE public.sponsor_connections IN ACCESS SHARE MODE")


def test_a_canary_that_fails_keeps_the_others_from_it(fleet: Fleet) -> None:
    fleet.of(3)
    held(fleet.databases["customer001"])
    done = fleet.teardown(fleet.token(), "-e", SERIAL)
    assert (done.returncode, fleet.gone()) == (2, []), done.stdout
    assert steps(report(fleet.directory, "customer001"))["teardown"] == "refused"
    assert "Planned, not done yet." in json.dumps(report(fleet.directory, "customer003"))


def test_a_batch_that_fails_is_the_last(fleet: Fleet) -> None:
    fleet.of(4)
    held(fleet.databases["customer002"])
    done = fleet.teardown(fleet.token(), "-e", json.dumps({"rollback_serial": [1, 2]}))
    assert (done.returncode, fleet.gone()) == (2, ["customer001", "customer003"]), done.stdout
    # Whoever was in the batch has its verification and its report.
    assert steps(report(fleet.directory, "customer003")) == {
        "preflight": "ok", "plan": "ok", "teardown": "changed", "verify": "ok",
    }  # fmt: skip


def test_a_hundred_databases(fleet: Fleet) -> None:
    fleet.of(100)
    done = fleet.teardown(fleet.token(), "-e", SERIAL)
    assert done.returncode == 0, done.stdout[-3000:]
    assert fleet.gone() == list(fleet.databases)
    assert done.stdout.count("PLAY [Tear down]") == 3
    assert {steps(report(fleet.directory, host))["teardown"] for host in fleet.databases} == {"changed"}
