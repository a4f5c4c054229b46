# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Killed at 20 moments (client, pg_dump, server process, server): all or nothing, and a rerun tells which."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.teardown_bundle import BUNDLE, read_bundle
from tests.support.database import TestDatabase
from tests.support.killing import Killed, Moment, moments
from tests.support.teardown import add_messages, load_application
from tests.support.teardown_run import state, tear_down, tear_down_options, token_of, undo, undo_options

MOMENTS = 20
MESSAGES = 10_000

#: With the module's own start-up, and the server's, for each moment.
pytestmark = [pytest.mark.full, pytest.mark.timeout(3000)]


@pytest.fixture
def application(database: TestDatabase) -> TestDatabase:
    load_application(database)
    add_messages(database, MESSAGES)
    # Else a server that is killed counts its sequences on from what it has reserved.
    database.query("CHECKPOINT", user="postgres")
    return database


class Kills:
    """Counts what became of it.

    :ivar wholly: how often it was as before the teardown, as after it, or neither.
    """

    def __init__(self, database: TestDatabase, mode: str, directory: Path) -> None:
        self.database = database
        self.how: dict[str, Any] = {"mode": mode, "require_backup": False}
        self.token = token_of(database, **self.how)
        self.wholly: Counter[str] = Counter()
        self.in_time = 0
        self.before = state(database)
        self.torn_down(directory)
        self.after = state(database)
        assert undo(database, directory)["changed"]
        assert state(database) == self.before != self.after

    def torn_down(self, directory: Path, run_id: str = "run") -> Path:
        """:returns: the bundle."""
        done = tear_down(self.database, directory, self.token, run_id, **self.how)
        assert not done.failed, done["msg"]
        return Path(done["bundle"])

    def found(self, killed: Killed, moment: Moment) -> str:
        """How the database is after that."""
        assert "Traceback" not in killed.output
        self.in_time += killed.in_time
        now = state(self.database)
        found = "before" if now == self.before else "after" if now == self.after else "neither"
        print(f"{moment.whom} at {moment.point} + {moment.delay}: in time {killed.in_time}, then {found}")
        self.wholly[found] += 1
        assert found != "neither"
        return found


@pytest.mark.parametrize("mode", ["quarantine", "drop"])
def test_a_teardown(application: TestDatabase, tmp_path: Path, mode: str) -> None:
    kills = Kills(application, mode, tmp_path / "whole")
    for number, moment in enumerate(moments("teardown", mode, MOMENTS)):
        directory = tmp_path / str(number)
        options = tear_down_options(application, directory, kills.token, "run", **kills.how)
        if kills.found(Killed(application, "teardown", options, directory, moment), moment) == "before":
            # Nothing that is there now can be taken for a teardown.
            assert undo(application, directory)["code"] == "bundle_none"
            for path in directory.glob("db1/run/*bundle*"):
                assert undo(application, directory, bundle=str(path))["code"] in (
                    "bundle_incomplete", "bundle_uncommitted",
                )  # fmt: skip
            kills.torn_down(directory, "again")
        else:
            again = tear_down(application, directory, options["confirm"], "again", **kills.how)
            assert (again["changed"], "Nothing to do" in again["msg"]) == (False, True)
            assert read_bundle(directory / "db1/run" / BUNDLE).committed
        assert undo(application, directory)["changed"]
        assert state(application) == kills.before
    print(f"{mode} on {application.cluster.major}: {kills.in_time} of {MOMENTS} in time, {dict(kills.wholly)}")
    assert kills.in_time >= MOMENTS / 2


@pytest.mark.parametrize("mode", ["quarantine", "drop"])
def test_an_undo(application: TestDatabase, tmp_path: Path, mode: str) -> None:
    kills = Kills(application, mode, tmp_path / "whole")
    for number, moment in enumerate(moments("undo", mode, MOMENTS)):
        directory = tmp_path / str(number)
        bundle = str(kills.torn_down(directory))
        options = undo_options(application, directory)
        found = kills.found(Killed(application, "teardown_undo", options, directory, moment), moment)
        again = undo(application, directory, bundle=bundle)
        assert not again.failed, again["msg"]
        assert (again["changed"], "undone already" in again["msg"]) == (found == "after", found == "before")
        assert state(application) == kills.before
    print(f"undo of {mode} on {application.cluster.major}: {kills.in_time} of {MOMENTS} in time, {dict(kills.wholly)}")
    assert kills.in_time >= MOMENTS / 2
