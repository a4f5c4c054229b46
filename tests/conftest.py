# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures over disposable clusters: every test of a database has one of its own, on every version asked for."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.disposable_states import Request
from tests.support.database import WHEELS, TestCluster, TestDatabase, running_cluster

# What a shell runs in the background ignores Ctrl-C, and so would all that the tests start to see it end by that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--postgres-versions",
        default=os.environ.get("PGOPS_TEST_POSTGRES", "any"),
        help="majors that every database test runs on, such as 15,16,17,18 (default: PGOPS_TEST_POSTGRES, or the newest"
        " found on this machine)",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "cluster" in metafunc.fixturenames:
        versions = metafunc.config.getoption("--postgres-versions").split(",")
        metafunc.parametrize("cluster", versions, indirect=True, scope="session", ids=[f"pg-{v}" for v in versions])


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[TestCluster]:
    """A running cluster, removed at the end of the session."""
    major = None if request.param == "any" else int(request.param)
    settings = {"max_connections": 200, "wal_level": "logical", "max_prepared_transactions": 4}
    wanted = Request(major=major, wheels=WHEELS, settings=settings)
    with running_cluster(f"pytest-{os.getpid()}-{request.param}", wanted) as running:
        yield running


@pytest.fixture
def database(cluster: TestCluster) -> Iterator[TestDatabase]:
    """An empty database owned by the role `operator`, dropped afterwards."""
    made = TestDatabase(cluster)
    made.create()
    yield made
    made.drop()
