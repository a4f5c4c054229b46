# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real pgBackRest repositories and Barman servers with backups in them, and what can happen to these."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.backup import (
    Backup,
    Check,
    PhysicalSource,
    SourceSettings,
)
from ansible_collections.pgops.rollback.plugins.module_utils.backup_barman import Barman
from ansible_collections.pgops.rollback.plugins.module_utils.backup_ladder import select
from ansible_collections.pgops.rollback.plugins.module_utils.backup_pgbackrest import PgBackRest
from ansible_collections.pgops.rollback.plugins.module_utils.connection import connect
from ansible_collections.pgops.rollback.plugins.module_utils.disposable_cluster import default_directory
from ansible_collections.pgops.rollback.plugins.module_utils.disposable_states import Request
from ansible_collections.pgops.rollback.plugins.module_utils.drill_server import ISOLATED, drill_server
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.physical_restore import RECOVERY, make_safe
from ansible_collections.pgops.rollback.plugins.module_utils.postgres_binaries import find_binaries
from ansible_collections.pgops.rollback.plugins.module_utils.system_user import SystemUser, system_user
from tests.support.database import WHEELS, TestCluster, running_cluster
from tests.support.waiting import until

#: The stanza of pgBackRest, and the server of Barman.
NAME = "app"

#: Rows of the table `orders` in each backup.
ROWS = 30_000

#: Cluster and tool run as the same user, who reaches neither pytest's directories nor, if not root, another user.
USER = system_user()

needs_pgbackrest = pytest.mark.skipif(not shutil.which("pgbackrest"), reason="pgbackrest is not installed here")
needs_barman = pytest.mark.skipif(not shutil.which("barman"), reason="barman is not installed here")


def silent(_text: str, _fraction: float | None) -> None:
    """Progress nobody looks at."""


@dataclass(frozen=True)
class Store:
    """Where a tool keeps its backups, with its configuration; it all lies in one directory.

    :ivar pg: the archived cluster's.
    """

    directory: Path
    pg: TestCluster | None = None

    program: ClassVar[str]
    kind: ClassVar[type[PhysicalSource]]

    @property
    def config(self) -> Path:
        return self.directory / f"{self.program}.conf"

    def settings(self, **other: Any) -> SourceSettings:
        given = {"stanza": NAME, "server": NAME, "config": str(self.config), "wheels": WHEELS, "user": USER, **other}
        return SourceSettings(timeout=120, **given)

    def source(self, **other: Any) -> PhysicalSource:
        return self.kind(self.settings(**other))

    def newest(self, **other: Any) -> tuple[PhysicalSource, Backup]:
        """As the rung `exists` finds it."""
        source = self.source(**other)
        backup, rung = select(source, source.backups())
        assert backup, rung.message
        return source, backup

    def copy(self, directory: Path) -> Self:
        """The same once more, to be damaged."""
        # Links to the same files save seconds; whoever damages one makes another in its place.
        subprocess.run(["cp", "-al", f"{self.directory}/.", directory], check=True)
        made = type(self)(directory)
        text = self.config.read_text(encoding="utf-8").replace(f"{self.directory}/", f"{directory}/")
        replace(made.config, text.encode())
        return made

    def tool(self, *arguments: str) -> str:
        """Run the tool with this configuration, as an administrator would."""
        separate = ["-c", str(self.config)] if self.program == "barman" else [f"--config={self.config}"]
        answer = USER.run([self.program, *separate, *arguments], Path("/"), 120)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        return answer.stdout


class PgBackRestStore(Store):
    program = "pgbackrest"
    kind = PgBackRest

    @property
    def repository(self) -> Path:
        return self.directory / "repo"

    @property
    def archive(self) -> Path:
        return next((self.repository / "archive" / NAME).glob("*-1"))

    def backup_directory(self, backup: Backup) -> Path:
        return self.repository / "backup" / NAME / backup.id

    def wal(self, name: str) -> Path:
        return next((self.archive / name[:16]).glob(f"{name}-*"))

    def take(self, kind: str = "full") -> None:
        self.tool(f"--stanza={NAME}", f"--type={kind}", "backup")


class BarmanStore(Store):
    program = "barman"
    kind = Barman

    def backup_directory(self, backup: Backup) -> Path:
        return self.directory / "home" / NAME / "base" / backup.id

    def info(self, backup: Backup) -> Path:
        """Where Barman notes the backup's status; newer releases apart from the backup."""
        home = self.directory / "home" / NAME
        return next(path for path in home.rglob("*backup.info") if backup.id in str(path))

    def wal(self, name: str) -> Path:
        return self.directory / "home" / NAME / "wals" / name[:16] / name

    def take(self) -> None:
        self.tool("backup", "--wait", NAME)


@contextmanager
def tool_directory() -> Iterator[Path]:
    """A directory of the user's own, removed at the end."""
    with tempfile.TemporaryDirectory(prefix="pgops-test-") as name:
        if USER.dropped:
            os.chown(name, USER.uid, USER.gid)
        yield Path(name)


@contextmanager
def pgbackrest_store(name: str = "pgbackrest") -> Iterator[PgBackRestStore]:
    """A stanza with a full backup and an incremental one on top of it, both of a running cluster.

    :param name: of the cluster, when there is a second one at the same time.
    """
    with tool_directory() as directory:
        command = f"pgbackrest --config={directory}/pgbackrest.conf --stanza={NAME} archive-push %p"
        with _archived(name, command, directory) as pg:
            store = PgBackRestStore(directory, pg)
            store.config.write_text(f"""\
[global]
repo1-path={directory}/repo
log-path={directory}/log
lock-path={directory}/lock
spool-path={directory}/spool
start-fast=y
compress-type=none
repo1-retention-full=9
[{NAME}]
pg1-path={pg.cluster.data_directory}
pg1-socket-path={pg.socket_directory}
pg1-port={pg.recipe.socket_port}
pg1-user=postgres
""")
            store.tool(f"--stanza={NAME}", "stanza-create")
            _fill(pg)
            store.take()
            _execute(pg, "app", "UPDATE orders SET note = 'seen' WHERE id < 100")
            store.take("incr")
            _execute(pg, "app", "DELETE FROM orders", "SELECT pg_catalog.pg_switch_wal()")
            store.tool(f"--stanza={NAME}", "check")  # waits until the archive has what was written
            yield store


@contextmanager
def barman_store() -> Iterator[BarmanStore]:
    """A server with one backup of a running cluster."""
    with tool_directory() as directory:
        incoming = directory / "home" / NAME / "incoming"
        with _archived("barman", f"mkdir -p {incoming} && cp %p {incoming}/%f", directory) as pg:
            store = BarmanStore(directory, pg)
            login = f"host={pg.socket_directory} port={pg.recipe.socket_port} user=postgres"
            store.config.write_text(f"""\
[barman]
barman_user = {USER.name}
barman_home = {directory}/home
barman_lock_directory = {directory}
configuration_files_directory = {directory}/conf.d
log_file = {directory}/barman.log
[{NAME}]
description = {NAME}
conninfo = {login} dbname=postgres
streaming_conninfo = {login}
backup_method = postgres
archiver = on
immediate_checkpoint = true
path_prefix = {pg.bindir}
""")
            _fill(pg)
            store.tool("switch-wal", "--force", "--archive", NAME)  # Barman wants to have seen WAL before a backup
            store.take()
            _execute(pg, "app", "DELETE FROM orders")
            yield store


@contextmanager
def _archived(name: str, archive_command: str, directory: Path) -> Iterator[TestCluster]:
    """Of the system's own Postgres: a packaged tool knows none that is newer. It has a tablespace of its own."""
    settings = {"archive_mode": "on", "archive_command": archive_command, "wal_level": "replica"}
    try:
        binaries = find_binaries(None, USER, cache=directory / "without")
    except RollbackError as error:
        pytest.skip(f"the tool fits the system's own Postgres only: {error.message}")
    assert binaries
    wanted = Request(bindir=binaries.bindir, settings=settings)
    with running_cluster(f"pytest-{os.getpid()}-{name}", wanted) as running:
        place = directory / "tablespace"
        place.mkdir()
        if USER.dropped:
            os.chown(place, USER.uid, USER.gid)
        _execute(running, "postgres", f"CREATE TABLESPACE fast LOCATION '{place}'")
        yield running


def _fill(pg: TestCluster) -> None:
    _execute(pg, "postgres", "CREATE DATABASE app")
    _execute(
        pg, "app",
        "CREATE TABLE orders (id int PRIMARY KEY, note text NOT NULL)",
        f"INSERT INTO orders SELECT id, repeat('x', 100) FROM generate_series(1, {ROWS}) AS id",
        "CREATE TABLE elsewhere (id int) TABLESPACE fast",
        "INSERT INTO elsewhere VALUES (1), (2)",
        "CHECKPOINT",
    )  # fmt: skip


def _execute(pg: TestCluster, database: str, *statements: str) -> None:
    connection = pg.connect(database)
    try:
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
    finally:
        connection.close()


# What comes of a backup ----------------------------------------------------------------------------------------------


def rows_after_restore(source: PhysicalSource, backup: Backup, user: SystemUser = USER) -> tuple[int, int]:
    """Restore the backup as a drill does, and count the rows of `orders` and of `elsewhere`."""
    cleaned: list[Check] = []

    def fill(data_directory: Path) -> None:
        source.materialise(backup, data_directory, silent)
        assert (data_directory / "recovery.signal").exists()
        make_safe(data_directory, user)

    wanted = Request(major=backup.server_major, wheels=WHEELS, settings={**ISOLATED, **RECOVERY}, fill=fill)
    directory = default_directory(f"pytest-{os.getpid()}-restored")
    with drill_server(directory, user, wanted, "postgres", 60, cleaned.append) as server:
        # pg_ctl waits for no recovery without a hot standby.
        ready = server.program("pg_isready", "--quiet")
        until(lambda: user.run(ready, Path("/")).returncode == 0, "recovered")
        assert server.isolated().status == "passed"
        connection = connect(server.login("app"))
        with connection.cursor() as cursor:
            cursor.execute("SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM elsewhere)")
            counts: tuple[int, int] = cursor.fetchone()
        connection.close()
    assert [check.status for check in cleaned] == ["passed"]
    assert not directory.exists()
    return counts


def faulty(checks: list[Check]) -> dict[str, str]:
    """Name to message of the failed checks."""
    return {check.name: check.message for check in checks if check.status == "failed"}


# What can happen to one ----------------------------------------------------------------------------------------------

Fault = Callable[[Any, Backup], None]


def _largest(directory: Path) -> Path:
    """A file of the database's content: a table or an index."""
    files = [path for path in directory.rglob("*") if path.is_file() and "/base/" in str(path)]
    return max(files, key=lambda path: (path.stat().st_size, str(path)))


def replace(path: Path, content: bytes) -> None:
    """Write it to another file of the same name and owner."""
    status = path.stat()
    path.unlink()
    path.write_bytes(content)
    path.chmod(status.st_mode & 0o777)
    if USER.dropped:
        os.chown(path, status.st_uid, status.st_gid)


def flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    replace(path, bytes(content))


def file_flipped(store: Any, backup: Backup) -> None:
    victim = _largest(store.backup_directory(backup))
    flip(victim, victim.stat().st_size // 2)


def file_cut_at_page(store: Any, backup: Backup) -> None:
    victim = _largest(store.backup_directory(backup))
    replace(victim, victim.read_bytes()[: victim.stat().st_size // 2 // 8192 * 8192])


def file_deleted(store: Any, backup: Backup) -> None:
    _largest(store.backup_directory(backup)).unlink()


def wal_flipped(store: Any, backup: Backup) -> None:
    flip(store.wal(backup.wal_start), 48)  # within the first record


def wal_deleted(store: Any, backup: Backup) -> None:
    store.wal(backup.wal_stop).unlink()


def directory_deleted(store: Any, backup: Backup) -> None:
    shutil.rmtree(store.backup_directory(backup))


def manifests_deleted(store: PgBackRestStore, backup: Backup) -> None:
    for path in store.backup_directory(backup).glob("backup.manifest*"):
        path.unlink()


def backup_info_deleted(store: PgBackRestStore, _backup: Backup) -> None:
    for path in (store.repository / "backup" / NAME).glob("backup.info*"):
        path.unlink()


def base_deleted(store: PgBackRestStore, backup: Backup) -> None:
    """The full backup that an incremental one stands on."""
    shutil.rmtree(store.repository / "backup" / NAME / backup.details["built_on"][0])


def archive_deleted(store: PgBackRestStore, _backup: Backup) -> None:
    shutil.rmtree(store.repository / "archive" / NAME)


def stanza_deleted(store: PgBackRestStore, _backup: Backup) -> None:
    shutil.rmtree(store.repository)


def label_deleted(store: BarmanStore, backup: Backup) -> None:
    (store.backup_directory(backup) / "data" / "backup_label").unlink()


#: By their names, with the checks that catch them, and in some releases of the tool others besides.
PGBACKREST_FAULTS: dict[str, tuple[Fault, set[str]]] = {
    "data file flipped": (file_flipped, {"verify"}),
    "data file cut at a page": (file_cut_at_page, {"verify"}),
    "data file deleted": (file_deleted, {"verify"}),
    "needed WAL flipped": (wal_flipped, {"verify"}),
    "needed WAL deleted": (wal_deleted, {"wal"}),
    "both manifests deleted": (manifests_deleted, {"manifest", "verify"}),
    "both backup.info deleted": (backup_info_deleted, {"status", "verify"}),
    "backup directory deleted": (directory_deleted, {"manifest", "verify"}),
    "full backup below it deleted": (base_deleted, {"manifest", "verify"}),
    "archive deleted": (archive_deleted, {"status", "wal", "verify"}),
    "stanza deleted": (stanza_deleted, {"status", "manifest", "wal", "verify"}),
}

BARMAN_FAULTS: dict[str, tuple[Fault, set[str]]] = {
    "data file flipped": (file_flipped, {"verify"}),
    "data file cut at a page": (file_cut_at_page, {"verify"}),
    "data file deleted": (file_deleted, {"verify"}),
    "needed WAL flipped": (wal_flipped, {"wal_records"}),
    "needed WAL deleted": (wal_deleted, {"status", "wal"}),
    "backup_label deleted": (label_deleted, {"verify"}),
    "backup directory deleted": (directory_deleted, {"verify"}),
}
