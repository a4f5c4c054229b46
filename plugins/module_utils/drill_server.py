# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The disposable server of a restore drill: reachable by its unix socket only, cut off, and always removed."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.backup import FAULTY, PASSED, Check
from ansible_collections.pgops.rollback.plugins.module_utils.connection import connect
from ansible_collections.pgops.rollback.plugins.module_utils.disposable_cluster import (
    Cluster,
    Recipe,
    default_directory,
)
from ansible_collections.pgops.rollback.plugins.module_utils.disposable_states import (
    Request,
    as_made,
    ensure_absent,
    ensure_started,
    exclusive,
)
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError, certain
from ansible_collections.pgops.rollback.plugins.module_utils.system_user import SystemUser, system_user

#: Nothing leaves the server, and nothing comes in but through its socket; what it keeps is lost with it anyway.
ISOLATED = {
    "archive_mode": "off",
    "max_logical_replication_workers": 0,
    "max_wal_senders": 0,
    "shared_preload_libraries": "",
    "session_preload_libraries": "",
    "primary_conninfo": "",
    "autovacuum": "off",
    "jit": "off",
}

#: What production set for its databases and roles is not for the drill's sessions, nor do its event triggers fire.
_SESSION = {
    "default_transaction_read_only": "off",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "local_preload_libraries": "",
    "lock_timeout": "0",
    "role": "none",
    "session_preload_libraries": "",
    "statement_timeout": "0",
}
_SESSION_FROM_17 = {"event_triggers": "off", "transaction_timeout": "0"}
#: Before 17 it takes this, with which no other trigger fires either.
_NO_TRIGGERS = {"session_replication_role": "replica"}

#: Bytes a drill leaves free on the disk it works on, as far as can be told before it starts.
_RESERVE = 512 << 20

#: With less it is ended: how much a compressed backup becomes is an estimate.
_LEAST = 256 << 20


@dataclass(frozen=True)
class DrillServer:
    """A running drill server.

    :ivar superuser: the bootstrap superuser; of a physical backup, production's.
    """

    cluster: Cluster
    recipe: Recipe
    superuser: str

    @property
    def bindir(self) -> Path:
        return Path(self.recipe.bindir)

    def login(self, database: str) -> dict[str, Any]:
        """Connection options, as connect() takes them."""
        return {
            "login_host": str(self.cluster.socket_directory),
            "login_port": self.recipe.socket_port,
            "login_user": self.superuser,
            "login_db": database,
        }

    def connect(self, database: str) -> Any:
        """A connection to this server, whatever the environment says: PGHOSTADDR or PGSERVICE lead elsewhere.

        :raises RollbackError: those of connect().
        """
        with without_libpq_variables():
            return connect(self.login(database), self._session(triggers=False))

    def program(self, name: str, *arguments: str) -> list[str]:
        """The command line of a client program that connects to it."""
        return [
            str(self.bindir / name), "--host", str(self.cluster.socket_directory),
            "--port", str(self.recipe.socket_port), "--username", self.superuser, *arguments,
        ]  # fmt: skip

    def environment(self, triggers: bool = False) -> dict[str, str]:
        """What a client program is given besides.

        :param triggers: let triggers do their work; those of events fire then, too, before Postgres 17.
        """
        return {"PGOPTIONS": self._session(triggers)}

    def _session(self, triggers: bool) -> str:
        settings = dict(_SESSION)
        if self.recipe.major >= 17:
            settings |= _SESSION_FROM_17
        elif not triggers:
            settings |= _NO_TRIGGERS
        return " ".join(f"-c {name}={value}" for name, value in settings.items())

    def watch(self) -> Any:
        """A connection from which the size of any database can be asked.

        :raises RollbackError: those of connect().
        """
        return self.connect("template1")

    def abort(self) -> None:
        """End the server, and so whatever loads into it."""
        self.cluster.stop(self.recipe, mode="immediate")

    def require_reserve(self) -> None:
        """:raises RollbackError: ``disk_full``, when others would soon miss what the drill takes."""
        free = shutil.disk_usage(self.cluster.directory).free
        if free < _LEAST:
            raise RollbackError(
                "disk_full",
                f"The drill was ended: it needs more room than expected, and only {_gigabytes(free)} are free in"
                f" {self.cluster.directory.parent}.",
                "Free some, or set backup_verification_drill_directory to a directory with more room.",
            )

    def isolated(self) -> Check:
        """That what keeps it apart from production is really in force, asked of the running server.

        :raises RollbackError: ``drill_not_isolated``, before anything is written.
        """
        connection = self.connect("template1")
        try:
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT name, setting FROM pg_catalog.pg_settings WHERE name = ANY (%s)",
                    (["archive_mode", "archive_command", "archive_library", "primary_conninfo", "listen_addresses",
                      "max_logical_replication_workers", "data_directory"],),
                )  # fmt: skip
                settings = dict(cursor.fetchall())
        finally:
            connection.close()
        wrong = [
            f"{name} is {settings[name]!r}" for name, wanted in
            {"archive_mode": "off", "primary_conninfo": "", "listen_addresses": "",
             "max_logical_replication_workers": "0",
             "data_directory": str(self.cluster.data_directory)}.items() if settings[name] != wanted
        ]  # fmt: skip
        if wrong:
            raise RollbackError(
                "drill_not_isolated",
                f"The drill's server is not cut off from everything else: {', '.join(wrong)}. Nothing was restored.",
                "Please report it, with -vvv.",
            )
        return Check("isolated", PASSED, "Archiving is off, and the server listens on its own unix socket only.")


@contextmanager
def without_libpq_variables() -> Iterator[None]:
    """PGHOSTADDR or PGSERVICE would lead a connection elsewhere, whatever its options say."""
    kept = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("PG")}
    try:
        yield
    finally:
        os.environ.update(kept)


def require_room(parent: Path, needed: int) -> None:
    """:raises RollbackError: ``disk_full``, before anything is written."""
    free = shutil.disk_usage(parent).free
    if free < needed + _RESERVE:
        raise RollbackError(
            "disk_full",
            f"The drill would need about {_gigabytes(needed)} in {parent}, where {_gigabytes(free)} are free (it leaves"
            f" {_gigabytes(_RESERVE)} alone).",
            "Free some, or set backup_verification_drill_directory to a directory with more room.",
        )


def drill_directory(parent: str | None) -> Path:
    """A fresh name below the given directory, or where disposable clusters are."""
    name = f"drill-{os.getpid()}-{secrets.token_hex(2)}"
    if parent is None:
        return default_directory(name)
    directory = Path(parent)
    if not directory.is_dir():
        raise RollbackError(
            "drill_directory_missing",
            f"{parent}, where the drill is to work, is not a directory.",
            "Make it, or set backup_verification_drill_directory to another one.",
        )
    return directory / name


def remove_abandoned(parent: Path) -> None:
    """Remove the drills that were killed: those whose process is gone."""
    for directory in parent.glob("drill-*-*"):
        number = directory.name.split("-")[1]
        if number.isdigit() and not Path("/proc", number).exists() and Path("/proc/self").exists():
            with suppress(RollbackError, OSError):  # another user's, or somebody removes it, too
                cluster = as_made(Cluster(directory, system_user()), None)
                with exclusive(cluster):
                    ensure_absent(cluster)


def has_room_at(directory: Path) -> Path:
    """The nearest parent that exists already."""
    return next(parent for parent in directory.parents if parent.exists())


@contextmanager
def drill_server(
    directory: Path, user: SystemUser, request: Request, superuser: str, patience: int,
    cleaned: Callable[[Check], None],
) -> Iterator[DrillServer]:  # fmt: skip
    """A drill server that is gone afterwards, whatever happens.

    :param patience: seconds that its start may take, recovery included.
    :param cleaned: is told whether it is really gone.
    """
    cluster = Cluster(directory, user, patience)
    try:
        with exclusive(cluster):
            _changed, recipe = ensure_started(cluster, request)
        yield DrillServer(cluster, certain(recipe), superuser)
    finally:
        cleaned(_removed(cluster))


def _removed(cluster: Cluster) -> Check:
    try:
        with exclusive(cluster):
            ensure_absent(cluster)
    except (RollbackError, OSError) as error:
        return Check("cleanup", FAULTY, f"The drill's directory {cluster.directory} could not be removed: {error}")
    left = cluster.server_processes()
    if left or cluster.directory.exists():
        return Check("cleanup", FAULTY, f"{cluster.directory} or a process in it ({', '.join(left)}) is still there.")
    return Check("cleanup", PASSED, "The drill's server and its directory are gone.")


def _gigabytes(number: int) -> str:
    return f"{number / (1 << 30):.1f} GiB"
