# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module disposable_postgres, on real servers: what it makes, and that it leaves nothing when something fails."""

from __future__ import annotations

import itertools
import os
import pwd
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.disposable_cluster import PATIENCE, Cluster, default_base
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.system_user import system_user
from ansible_collections.pgops.rollback.plugins.modules.disposable_postgres import run
from tests.support.database import WHEEL_PINS
from tests.support.processes import Forked

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

Module = Callable[..., dict[str, Any]]
_numbers = itertools.count(1)


def module(name: str, state: str = "started", check_mode: bool = False, **options: Any) -> dict[str, Any]:
    """One call of the module, with the options a task would give."""
    unset = dict.fromkeys(["directory", "version", "bindir", "port", "user"])
    given = {"settings": {}, "wheels": WHEEL_PINS, **options}
    return run({**unset, **given, "name": name, "state": state}, check_mode)


@pytest.fixture
def name() -> Iterator[str]:
    """A name of its own, whose cluster is removed if the test left it."""
    chosen = f"test-{os.getpid()}-{next(_numbers)}"
    yield chosen
    directory = default_base() / chosen
    if directory.exists():
        module(chosen, "absent")


def connect(cluster: dict[str, Any], **options: Any) -> Any:
    return psycopg2.connect(
        **{"host": cluster["socket_directory"], "port": cluster["port"], "user": "postgres", **options}
    )


def query(cluster: dict[str, Any], statement: str) -> Any:
    connection = connect(cluster)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchone()[0] if cursor.description else None
    finally:
        connection.close()


def server_pid(cluster: dict[str, Any]) -> int:
    return int(Path(cluster["data_directory"], "postmaster.pid").read_text(encoding="utf-8").split()[0])


def servers_in(directory: Path) -> list[str]:
    """Command lines of the processes that have something to do with this directory."""
    listed = subprocess.run(["ps", "-A", "-o", "args="], check=True, capture_output=True, text=True).stdout
    return [line for line in listed.splitlines() if f"{directory}/" in line]


def assert_nothing_left(name: str) -> None:
    directory = default_base() / name
    assert not os.path.lexists(directory)
    assert servers_in(directory) == []


def life(name: str) -> None:
    """Every state, twice."""
    foreseen = module(name, check_mode=True)
    assert foreseen["changed"]
    assert not Path(foreseen["directory"]).exists()

    started = module(name)
    assert started["changed"]
    assert started["created"]
    assert {key: value for key, value in started.items() if foreseen[key] != value} == {}
    assert started["diff"]["before"] == {"state": "absent"}
    assert started["diff"]["after"]["state"] == "started"
    query(started, "CREATE TABLE kept (id int)")
    again = module(name)
    assert not again["changed"]
    assert not again["created"]
    assert not module(name, check_mode=True)["changed"]

    directory = Path(started["directory"])
    foreseen = module(name, "stopped", check_mode=True)
    assert foreseen["changed"]
    assert [side["state"] for side in foreseen["diff"].values()] == ["started", "stopped"]
    assert len(servers_in(directory)) == 1
    assert module(name, "stopped")["changed"]
    assert not module(name, "stopped")["changed"]
    assert servers_in(directory) == []

    assert module(name)["changed"]
    assert query(started, "SELECT count(*) FROM kept") == 0

    assert module(name, "absent", check_mode=True)["changed"]
    assert query(started, "SELECT count(*) FROM kept") == 0
    assert module(name, "absent")["changed"]
    assert not module(name, "absent")["changed"]
    assert not module(name, "stopped")["changed"]
    assert_nothing_left(name)


def test_life(name: str) -> None:
    life(name)


@AS_ROOT
def test_life_of_an_ordinary_users_cluster(name: str) -> None:
    Forked(lambda: life(name), user="nobody").result()


def test_two_side_by_side(name: str) -> None:
    first, second = module(name), module(f"{name}-b")
    try:
        query(first, "CREATE TABLE only_here (id int)")
        assert query(second, "SELECT to_regclass('only_here')") is None
        module(name, "absent")
        assert query(second, "SELECT 1") == 1
    finally:
        module(f"{name}-b", "absent")
    assert_nothing_left(f"{name}-b")


def test_one_made_by_several_processes_at_once(name: str) -> None:
    results = [process.result() for process in [Forked(lambda: module(name)) for _process in range(4)]]
    assert sorted(result["created"] for result in results) == [False, False, False, True]
    assert query(results[0], "SELECT 1") == 1


def test_it_is_private(name: str) -> None:
    made = module(name)
    for key in ("socket_directory", "data_directory"):
        status = os.stat(made[key])
        assert stat.S_IMODE(status.st_mode) & 0o077 == 0
        assert status.st_uid == system_user().uid != 0
    assert query(made, "SHOW listen_addresses") == ""
    assert query(made, "SHOW server_encoding") == "UTF8"
    assert query(made, "SELECT datcollate FROM pg_database WHERE datname = 'postgres'") == "C"


@AS_ROOT
def test_other_users_stay_outside(name: str) -> None:
    made = module(name)
    with pytest.raises(psycopg2.OperationalError, match="Permission denied"):
        Forked(lambda: query(made, "SELECT 1"), user="nobody").result()


def test_a_port_is_local_and_wants_a_password(name: str, free_port: int) -> None:
    made = module(name, port=free_port)
    assert made["port"] == free_port
    assert query(made, "SHOW listen_addresses") == "127.0.0.1"
    with pytest.raises(psycopg2.OperationalError, match="no password supplied"):
        connect(made, host="127.0.0.1")
    query(made, "ALTER ROLE postgres PASSWORD 'secret'")
    connect(made, host="127.0.0.1", password="secret").close()


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def test_settings_win_over_the_fast_ones_and_restart(name: str) -> None:
    made = module(name)
    assert query(made, "SHOW fsync") == "off"
    quoted = {"fsync": True, "work_mem": "7MB", "my.text": r"it's a \ line"}
    foreseen = module(name, settings=quoted, check_mode=True)
    assert foreseen["changed"]
    assert foreseen["diff"]["before"]["settings"]["fsync"] == "off"
    assert foreseen["diff"]["after"]["settings"]["fsync"] == "on"
    assert query(made, "SHOW fsync") == "off"
    assert module(name, settings=quoted)["changed"]
    assert not module(name, settings=quoted)["changed"]
    assert [query(made, f"SHOW {setting}") for setting in quoted] == ["on", "7MB", r"it's a \ line"]


@pytest.mark.parametrize("setting", ["port", "Listen_Addresses", "a b", "x = 1\ny"])
def test_a_setting_that_is_not_one_is_refused(name: str, setting: str) -> None:
    with pytest.raises(RollbackError) as caught:
        module(name, settings={setting: "1"})
    assert caught.value.code == "setting_invalid"
    assert_nothing_left(name)


def test_a_bad_setting_leaves_nothing(name: str) -> None:
    with pytest.raises(RollbackError, match=r'invalid value for parameter "shared_buffers": "nonsense"') as caught:
        module(name, settings={"shared_buffers": "nonsense"})
    assert caught.value.code == "start_failed"
    assert_nothing_left(name)


def test_a_taken_port_leaves_nothing(name: str) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        pytest.raises(RollbackError, match="Address already in use") as caught,
    ):
        module(name, port=listener.getsockname()[1])
    assert caught.value.code == "start_failed"
    assert_nothing_left(name)


def test_a_bad_setting_of_a_running_cluster_changes_nothing(name: str) -> None:
    made = module(name, settings={"work_mem": "7MB"})
    query(made, "CREATE TABLE kept (id int)")
    with pytest.raises(RollbackError, match="shared_buffers"):
        module(name, settings={"shared_buffers": "nonsense"})
    assert query(made, "SELECT count(*) FROM kept") == 0
    assert query(made, "SHOW work_mem") == "7MB"
    assert not module(name, settings={"work_mem": "7MB"})["changed"]


def test_a_killed_server_is_started_again(name: str) -> None:
    made = module(name, settings={"synchronous_commit": True})
    query(made, "CREATE TABLE kept (id int)")
    os.kill(server_pid(made), signal.SIGKILL)
    assert module(name, settings={"synchronous_commit": True})["changed"]
    assert query(made, "SELECT count(*) FROM kept") == 0


def test_a_killed_server_is_removed(name: str) -> None:
    made = module(name)
    os.kill(server_pid(made), signal.SIGKILL)
    assert module(name, "absent")["changed"]
    assert not Path(made["directory"]).exists()


def test_a_server_that_does_not_answer_is_removed(name: str) -> None:
    """As one does whose start was interrupted before it had a socket."""
    Path(module(name)["socket_directory"], ".s.PGSQL.5432").unlink()
    begun = time.monotonic()
    assert module(name, "absent")["changed"]
    assert time.monotonic() - begun < PATIENCE
    assert_nothing_left(name)


def test_an_interrupted_making_is_made_again(name: str) -> None:
    made = module(name)
    module(name, "stopped")
    Path(made["directory"], "cluster.json").unlink()  # written last
    Path(made["data_directory"], "PG_VERSION").unlink()
    assert module(name)["created"]
    assert query(made, "SELECT 1") == 1


@pytest.mark.parametrize("state", ["started", "stopped", "absent"])
def test_a_foreign_directory_is_refused(tmp_path: Path, state: str) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(RollbackError) as caught:
        module("any", state, directory=str(tmp_path))
    assert caught.value.code == "directory_foreign"
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize("state", ["started", "absent"])
def test_a_link_is_refused(tmp_path: Path, state: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RollbackError) as caught:
        module("any", state, directory=str(tmp_path / "link"))
    assert caught.value.code == "directory_unusable"
    assert (tmp_path / "elsewhere").exists()


@AS_ROOT
def test_what_another_user_made_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "cluster"
    directory.mkdir()
    os.chown(directory, 12345, -1)
    with pytest.raises(RollbackError, match="belongs to uid 12345") as caught:
        module("any", directory=str(directory))
    assert caught.value.code == "directory_untrusted"


def test_a_base_that_others_may_write_to_is_refused(name: str) -> None:
    module(name)
    mode = stat.S_IMODE(default_base().stat().st_mode)
    default_base().chmod(0o777)
    try:
        with pytest.raises(RollbackError, match="other users may write to it") as caught:
            module(name)
    finally:
        default_base().chmod(mode)
    assert caught.value.code == "directory_untrusted"


@pytest.mark.parametrize("bad", ["", ".", "..", "a/b", "-x", "a b"])
def test_a_name_that_is_no_directory_is_refused(bad: str) -> None:
    with pytest.raises(RollbackError) as caught:
        module(bad, "absent")
    assert caught.value.code == "name_invalid"


def test_a_path_too_long_for_a_socket_is_said_at_once() -> None:
    long = "x" * 100
    with pytest.raises(RollbackError, match=r"bytes; this system allows 10[37]") as caught:
        module(long)
    assert caught.value.code == "socket_path_too_long"
    assert_nothing_left(long)


def test_a_missing_parent_is_said(tmp_path: Path) -> None:
    with pytest.raises(RollbackError, match="No such file") as caught:
        module("any", directory=str(tmp_path / "missing/cluster"))
    assert caught.value.code == "directory_unusable"


@AS_ROOT
def test_a_directory_the_server_cannot_reach_leaves_nothing(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(RollbackError, match="Permission denied") as caught:
        module("any", directory=str(closed / "c"))
    assert caught.value.code == "initdb_failed"
    assert list(closed.iterdir()) == []


def test_another_version_than_the_clusters_is_refused(name: str) -> None:
    made = module(name)
    other = 15 if made["version"].startswith("18") else 18
    with pytest.raises(RollbackError) as caught:
        module(name, version=other)
    assert caught.value.code == "version_mismatch"
    assert query(made, "SELECT 1") == 1


def test_a_record_that_is_of_no_use_is_said(name: str) -> None:
    made = module(name)
    recipe = Path(made["directory"], "cluster.json")
    whole = recipe.read_text(encoding="utf-8")
    recipe.write_text(whole.replace(made["bindir"], "/gone"), encoding="utf-8")
    with pytest.raises(RollbackError, match="pg_isready in /gone") as caught:
        module(name, "absent")
    assert caught.value.code == "binaries_unusable"
    for broken in ("{", '{"other": 1}'):
        recipe.write_text(broken, encoding="utf-8")
        with pytest.raises(RollbackError) as caught:
            module(name, "absent")
        assert caught.value.code == "cluster_unreadable"
    recipe.write_text(whole, encoding="utf-8")


@AS_ROOT
def test_the_server_never_runs_as_root(name: str) -> None:
    with pytest.raises(RollbackError) as caught:
        module(name, user="root")
    assert caught.value.code == "user_unusable"
    made = module(name, user="nobody")
    assert made["user"] == "nobody"
    assert os.stat(f"/proc/{server_pid(made)}").st_uid == pwd.getpwnam("nobody").pw_uid
    assert not module(name)["changed"]
    with pytest.raises(RollbackError) as caught:
        module(name, user="daemon")
    assert caught.value.code == "user_mismatch"
    assert module(name, "absent")["changed"]
    assert_nothing_left(name)


@AS_ROOT
def test_only_root_can_name_another_user(name: str) -> None:
    with pytest.raises(RollbackError, match="Only root") as caught:
        Forked(lambda: module(name, user="daemon"), user="nobody").result()
    assert caught.value.code == "user_unusable"


def test_an_unknown_user_is_said(name: str) -> None:
    with pytest.raises(RollbackError, match="no user nobody-of-that-name"):
        module(name, user="nobody-of-that-name")


def test_the_callers_pg_variables_do_not_reach_the_server(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("PGDATA", "PGHOST", "PGPORT", "PGOPTIONS", "PGSERVICE", "PGUSER", "PGDATABASE"):
        monkeypatch.setenv(variable, "wrong")
    module(name)
    assert not module(name)["changed"]
    assert module(name, "absent")["changed"]


def test_the_default_directory_is_where_the_demos_inventory_looks() -> None:
    cluster = Cluster(default_base() / "demo", system_user())
    assert str(cluster.socket_directory) == f"/tmp/pgops-{os.geteuid()}/demo/socket"
