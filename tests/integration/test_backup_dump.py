# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Taking a dump with its manifest: one moment, whole or not at all, private, refused where it would not be whole."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.connection import ServerInfo, server_info
from ansible_collections.pgops.rollback.plugins.module_utils.connections import Connections
from ansible_collections.pgops.rollback.plugins.module_utils.content_manifest import (
    ContentManifest,
    compare,
    manifest_path,
    read_manifest,
    verify_file,
)
from ansible_collections.pgops.rollback.plugins.module_utils.disposable_states import Request
from ansible_collections.pgops.rollback.plugins.module_utils.dump import DumpRequest, take_dump
from ansible_collections.pgops.rollback.plugins.module_utils.dump_snapshot import require_session
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from tests.support.database import ROOT, TestCluster, TestDatabase, running_cluster
from tests.support.modules import ModuleRun, run_module
from tests.support.playbook import inventory, report, rollback, rollback_variables, steps
from tests.support.waiting import until

ORDERS = """
CREATE TABLE orders (id serial PRIMARY KEY, note text);
INSERT INTO orders (note) SELECT 'note ' || i FROM generate_series(1, 1000) AS i;
"""


@pytest.fixture
def shop(database: TestDatabase) -> TestDatabase:
    database.query(ORDERS)
    return database


def dump(database: TestDatabase, path: Path, user: str = "operator", check: bool = False, **options: Any) -> ModuleRun:
    return run_module("backup_dump", {**database.login(user), "path": str(path), **options}, check=check, diff=True)


def manifest(path: Path) -> ContentManifest:
    return read_manifest(manifest_path(path))


def told(_what: str, _fraction: float | None) -> None:
    """Progress that nobody watches."""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("form", ["custom", "directory"])
def test_a_dump_and_its_manifest_are_private_and_all_there_is(shop: TestDatabase, tmp_path: Path, form: str) -> None:
    path = tmp_path / "app.dump"
    foreseen = dump(shop, path, check=True, format=form)
    assert list(tmp_path.iterdir()) == []
    run = dump(shop, path, format=form, jobs=2 if form == "directory" else 1)
    assert not run.failed, run.output
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["app.dump", "app.dump.manifest.json"]
    assert (run["path"], run["manifest_path"]) == (str(path), f"{path}.manifest.json")
    assert {key: run[key] for key in ("changed", "path", "manifest_path", "tables", "diff")} == {
        key: foreseen[key] for key in ("changed", "path", "manifest_path", "tables", "diff")
    }
    assert (run["tables"], run["rows"]) == (1, 1000)
    files = list(path.iterdir()) if form == "directory" else [path]
    assert run["bytes"] == sum(file.stat().st_size for file in files)
    assert {mode(file) for file in [*files, manifest_path(path)]} == {0o600}
    if form == "directory":
        assert mode(path) == 0o700


def test_a_dump_is_never_replaced(shop: TestDatabase, tmp_path: Path) -> None:
    for name in ("app.dump", "app.dump.manifest.json"):
        (tmp_path / name).write_text("kept", encoding="utf-8")
        for check in (True, False):
            run = dump(shop, tmp_path / "app.dump", check=check)
            assert (run.failed, run["code"]) == (True, "dump_exists")
        assert [entry.read_text(encoding="utf-8") for entry in tmp_path.iterdir()] == ["kept"]
        (tmp_path / name).unlink()


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"path": "relative.dump"}, "dump_directory_missing"),
        ({"path": "/nonexistent/app.dump"}, "dump_directory_missing"),
        ({"jobs": 2}, "dump_jobs"),
        ({"timeout": "soon"}, "duration_invalid"),
        ({"lock_timeout": "5s"}, "lock_timeout_invalid"),
        ({"compress": "nonsense"}, "dump_failed"),
    ],
)
def test_what_cannot_be_done_leaves_nothing(
    shop: TestDatabase, tmp_path: Path, options: dict[str, Any], code: str
) -> None:
    run = run_module("backup_dump", {**shop.login(), "path": str(tmp_path / "app.dump"), **options})
    assert (run.failed, run["code"]) == (True, code)
    assert list(tmp_path.iterdir()) == []


def test_what_may_not_be_read_is_named(shop: TestDatabase, tmp_path: Path) -> None:
    shop.query("CREATE TABLE secret (id int); CREATE SEQUENCE hidden", user="postgres")
    run = dump(shop, tmp_path / "app.dump")
    assert run["code"] == "privilege_missing"
    assert "The role may not read public.secret. Grant it SELECT" in run["msg"]
    shop.query("DROP TABLE secret", user="postgres")
    assert "The role may not read public.hidden." in dump(shop, tmp_path / "app.dump", check=True)["msg"]


def test_a_transaction_mode_pooler_is_refused() -> None:
    server = ServerInfo("app", "owner", False, "15.1", 150001, False, 1000, through_pooler=True)
    with pytest.raises(RollbackError, match="which cannot serve pg_dump") as caught:
        require_session(server)
    assert caught.value.code == "pooler"


def test_a_standby_can_be_dumped(cluster: TestCluster, tmp_path: Path) -> None:
    with running_cluster(f"dumped-{os.getpid()}-{cluster.major}", Request(bindir=cluster.bindir)) as standby:
        database = TestDatabase(standby)
        database.create()
        database.query(f"{ORDERS} CREATE UNLOGGED TABLE unlogged AS SELECT 1 AS id")
        standby.cluster.stop(standby.recipe)
        (standby.cluster.data_directory / "standby.signal").touch()
        standby.cluster.start(standby.recipe)
        run = dump(database, tmp_path / "app.dump")
        assert not run.failed, run.output
    assert [(table.table, table.rows) for table in manifest(tmp_path / "app.dump").tables] == [("orders", 1000)]


def test_policies_that_hide_rows_are_refused(shop: TestDatabase, tmp_path: Path) -> None:
    shop.query("ALTER TABLE orders ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    run = dump(shop, tmp_path / "app.dump")
    assert run["code"] == "row_security"
    assert "would hide rows of public.orders from the role operator. Dump as a role with BYPASSRLS" in run["msg"]
    assert not dump(shop, tmp_path / "app.dump", user="postgres").failed


def test_a_locked_table_is_waited_for_and_its_holder_named(
    shop: TestDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ansible_collections.pgops.rollback.plugins.module_utils.dump_snapshot.ROUNDS", 2)
    session = shop.connect()
    session.cursor().execute("BEGIN; LOCK TABLE orders")
    connections = Connections(shop.login())
    request = DumpRequest(tmp_path / "app.dump", "custom", 1, None, lock_timeout_ms=20, timeout=60)
    with pytest.raises(RollbackError, match=rf"process {session.info.backend_pid} \(operator\)") as caught:
        take_dump(connections, server_info(connections.first), request)
    connections.close()
    assert caught.value.code == "lock_timeout"
    assert list(tmp_path.iterdir()) == []


def test_rows_written_meanwhile_are_in_neither(shop: TestDatabase, tmp_path: Path) -> None:
    stop = threading.Event()
    written = 0

    def write() -> None:
        nonlocal written
        with shop.connect().cursor() as cursor:
            while not stop.is_set():
                cursor.execute("INSERT INTO orders (note) VALUES ('new'); DELETE FROM orders WHERE random() < 0.001")
                written += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        until(lambda: written > 10, "the writer writes")
        run = dump(shop, tmp_path / "app.dump")
    finally:
        stop.set()
        writer.join()
    assert not run.failed, run.output
    (sequence,) = manifest(tmp_path / "app.dump").sequences
    assert sequence.later is not None
    copy = TestDatabase(shop.cluster)
    copy.create()
    try:
        copy.query("DROP SCHEMA public CASCADE; CREATE SCHEMA public", user="postgres")
        pg_restore(shop.cluster, copy, tmp_path / "app.dump")
        checks = compare(manifest(tmp_path / "app.dump"), [copy.superuser()], told)
    finally:
        copy.drop()
    assert {check.status for check in checks} == {"passed"}, checks


def pg_restore(cluster: TestCluster, into: TestDatabase, path: Path) -> None:
    subprocess.run(
        [cluster.bindir / "pg_restore", "-h", cluster.socket_directory, "-p", str(cluster.recipe.socket_port),
         "-U", "postgres", "-d", into.name, path],
        check=True,
    )  # fmt: skip


WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%pg_get_viewdef%'
"""


@pytest.fixture
def stuck(shop: TestDatabase) -> TestDatabase:
    """A database that pg_dump does not get through: it waits for the definition of a view, which nobody else does."""
    shop.query("CREATE VIEW shown AS SELECT * FROM orders")
    shop.connect().cursor().execute("BEGIN; ALTER VIEW shown ALTER COLUMN note SET DEFAULT 'x'")
    return shop


def begin(login: dict[str, Any], path: Path) -> subprocess.Popen[str]:
    """Start the module, and do not wait for it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ansible_collections.pgops.rollback.plugins.modules.backup_dump"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "collections")},
    )  # fmt: skip
    assert process.stdin
    process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": {**login, "path": str(path)}}))
    process.stdin.close()
    process.stdin = None
    return process


def pg_dumps(path: Path) -> list[Path]:
    """The processes of pg_dump that write this dump."""
    command = ["ps", "-A", "-ww", "-o", "pid=", "-o", "args="]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [Path("/proc", line.split()[0]) for line in listed.splitlines() if f"--file={path.parent}/" in line]


def test_pg_dump_is_ended_in_time(stuck: TestDatabase, tmp_path: Path) -> None:
    run = dump(stuck, tmp_path / "app.dump", timeout="1s")
    assert run["code"] == "program_timeout"
    assert pg_dumps(tmp_path / "app.dump") == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_pg_dump_ends_with_the_module(stuck: TestDatabase, tmp_path: Path, number: int) -> None:
    process = begin(stuck.login(), tmp_path / "app.dump")
    until(lambda: stuck.value(WAITING) == 1, "pg_dump waits")
    assert [entry.name for entry in tmp_path.iterdir()] == [".app.dump.partial"]
    assert len(pg_dumps(tmp_path / "app.dump")) == 1
    assert dump(stuck, tmp_path / "app.dump")["code"] == "dump_under_way"
    process.send_signal(number)
    assert process.wait(timeout=30) != 0
    assert pg_dumps(tmp_path / "app.dump") == []
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_taken_over(stuck: TestDatabase, tmp_path: Path) -> None:
    process = begin({**stuck.login(), "format": "directory"}, tmp_path / "app.dump")
    until(lambda: stuck.value(WAITING) == 1, "pg_dump waits")
    process.kill()
    process.wait()
    (orphan,) = pg_dumps(tmp_path / "app.dump")
    os.kill(int(orphan.name), signal.SIGKILL)
    left = tmp_path / ".app.dump.partial/app.dump"
    assert left.is_dir()
    (left / "1.dat.gz").touch()  # as if it had got further; pg_dump would refuse to go on from there
    stuck.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        " AND state = 'idle in transaction'", user="postgres",
    )  # fmt: skip
    run = dump(stuck, tmp_path / "app.dump", format="directory")
    assert not run.failed, run.output
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["app.dump", "app.dump.manifest.json"]


@pytest.fixture(scope="module")
def guarded(cluster: TestCluster) -> Iterator[TestCluster]:
    """A cluster that asks for a password, on a TCP port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with running_cluster(f"guarded-{os.getpid()}-{cluster.major}", Request(bindir=cluster.bindir, port=port)) as made:
        yield made


def test_the_password_is_neither_in_arguments_nor_in_the_environment(guarded: TestCluster, tmp_path: Path) -> None:
    password = f"se:cr\\et-{uuid.uuid4().hex}"
    database = TestDatabase(guarded)
    database.create()
    try:
        database.query(f"{ORDERS} CREATE VIEW shown AS SELECT * FROM orders")
        database.query("ALTER ROLE operator PASSWORD %s", (password,), user="postgres")
        session = database.connect()
        session.cursor().execute("BEGIN; ALTER VIEW shown ALTER COLUMN note SET DEFAULT 'x'")
        login = {**database.login(), "login_host": "127.0.0.1", "login_password": password}
        process = begin(login, tmp_path / "app.dump")
        until(lambda: database.value(WAITING) == 1, "pg_dump waits")
        (running,) = pg_dumps(tmp_path / "app.dump")
        environment = dict(
            each.split("=", 1) for each in (running / "environ").read_text(encoding="utf-8").split("\0") if "=" in each
        )
        assert (environment["PGHOST"], environment["PGUSER"]) == ("127.0.0.1", "operator")
        secret = password.split("-")[1]
        assert secret not in (running / "cmdline").read_text(encoding="utf-8")
        assert secret not in str(environment)
        passfile = Path(environment["PGPASSFILE"])
        assert secret in passfile.read_text(encoding="utf-8")
        assert (mode(passfile), mode(passfile.parent)) == (0o600, 0o700)
        session.cursor().execute("ROLLBACK")
        output = process.communicate(timeout=60)[0]
        assert process.returncode == 0, output
        assert not passfile.parent.exists()
        assert secret not in output + manifest_path(tmp_path / "app.dump").read_text(encoding="utf-8")
    finally:
        database.drop()


WRAPPER = [sys.executable, "-m", "ansible_collections.pgops.rollback.plugins.module_utils.dump_wrapper", "--"]


def wrapped(database: TestDatabase, directory: Path, *arguments: str, **environment: str) -> Any:
    """A pg_dump command of the user's own, run by the wrapper in a directory."""
    variables = {"PGHOST": database.cluster.socket_directory, "PGPORT": str(database.cluster.recipe.socket_port)}
    return subprocess.run(
        [*WRAPPER, str(database.cluster.bindir / "pg_dump"), *arguments], cwd=directory, capture_output=True, text=True,
        env={**os.environ, **variables, "PYTHONPATH": str(ROOT / "collections"), **environment}, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("form", ["custom", "directory", "plain", "tar"])
def test_a_users_own_command_gets_a_manifest_of_what_it_dumped(
    shop: TestDatabase, tmp_path: Path, form: str
) -> None:
    shop.query(
        "CREATE SCHEMA audit; CREATE TABLE audit.log (id serial); CREATE TABLE skipped (id int PRIMARY KEY);"
        "CREATE TABLE bare (id int); INSERT INTO bare VALUES (1); CREATE VIEW shown AS SELECT 1 AS one"
    )
    (tmp_path / "app.dump.manifest.json").write_text("of an older dump", encoding="utf-8")
    done = wrapped(shop, tmp_path, "-F", form[0], "-f", "app.dump", "-N", "audit", "-T", "skipped",
                   "--exclude-table-data=bare", "-U", "operator", shop.name)  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = manifest(tmp_path / "app.dump")
    assert [(table.schema, table.table, table.rows) for table in made.tables] == [("public", "orders", 1000)]
    assert [sequence.name for sequence in made.sequences] == ["public.orders_id_seq"]
    assert [each.text for each in made.objects] == [
        "public.bare", "public.orders", "public.shown", "orders_pkey on public.orders", "orders_pkey on public.orders",
    ]  # fmt: skip
    assert [check.status for check in verify_file(made, tmp_path / "app.dump", told)] == ["passed"]
    assert mode(manifest_path(tmp_path / "app.dump")) == 0o600


def test_a_command_that_fails_leaves_no_manifest(shop: TestDatabase, tmp_path: Path) -> None:
    (tmp_path / "app.dump.manifest.json").write_text("of an older dump", encoding="utf-8")
    done = wrapped(shop, tmp_path, "-f", "app.dump", "--section=nonsense", "-U", "operator", "-d", shop.name)
    assert (done.returncode, list(tmp_path.iterdir())) == (1, [])
    assert "nonsense" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "The dump goes to standard output"),
        (["-f", "x", "--snapshot=1"], "--snapshot cannot be used here: the snapshot is ours"),
        (["-f", "x", "--no-such"], "Option --no-such not recognized."),
        (["-f", "x", "-W"], "-W cannot be used here"),
        (["-f", "x", "-d", "postgresql://u:secret@h/d"], "login_db is a connection string"),
        (["-f", "x", "-d", "nosuch", "-U", "operator"], 'database "nosuch" does not exist'),
    ],
)
def test_a_command_that_cannot_have_a_manifest_is_refused(
    shop: TestDatabase, tmp_path: Path, arguments: list[str], reason: str
) -> None:
    done = wrapped(shop, tmp_path, *arguments)
    assert done.returncode == 1
    assert reason in done.stderr
    assert "secret" not in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


BASELINE = ROOT / "playbooks/baseline.yml"


def test_the_playbook_dumps_and_reports(shop: TestDatabase, tmp_path: Path) -> None:
    inventory(tmp_path, {"db1": rollback_variables(shop.login())})
    foreseen = rollback(tmp_path, "--tags", "dump", "--check", playbook=BASELINE)
    assert foreseen.returncode == 0, foreseen.stdout
    assert steps(report(tmp_path, "db1")) == {"preflight": "ok", "dump": "changed"}
    assert list((tmp_path / "artifacts/db1/dumps").iterdir()) == []
    done = rollback(tmp_path, "--tags", "dump", "-e", "rollback_run_id=before-42", playbook=BASELINE)
    assert done.returncode == 0, done.stdout
    path = tmp_path / "artifacts/db1/dumps/before-42.dump"
    assert manifest(path).rows == 1000
    assert mode(path.parent) == 0o700
    assert "1 tables, 1,000 rows" in done.stdout
    again = rollback(tmp_path, "--tags", "dump", "-e", "rollback_run_id=before-42", playbook=BASELINE)
    assert again.returncode == 2
    assert "exists already, and a dump never replaces another." in again.stdout


def test_without_tags_the_playbook_dumps_nothing(shop: TestDatabase, tmp_path: Path) -> None:
    inventory(tmp_path, {"db1": {**rollback_variables(shop.login()), "rollback_migration": "one"}})
    done = rollback(tmp_path, playbook=BASELINE)
    assert done.returncode == 0, done.stdout
    assert report(tmp_path, "db1")["verdict"] == "incomplete"  # no backup is configured
    assert not (tmp_path / "artifacts/db1/dumps").exists()
