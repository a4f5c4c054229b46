# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A temporary Postgres cluster in one private directory.

The directory holds::

    DISPOSABLE        the marker: only a directory with it is ever removed
    cluster.json      what the cluster was made with; absent while it is being made
    postgresql.conf   written from cluster.json
    server.log
    data/  socket/    the server's own
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.system_user import SystemUser, private_ownership

#: The number in the socket's name when no port is asked for.
DEFAULT_PORT = 5432

#: A throwaway cluster need not survive a crash of the machine; `settings` may say otherwise.
FAST_SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

#: What the options of the cluster decide, so `settings` may not.
_RESERVED_SETTINGS = {"data_directory", "listen_addresses", "port", "unix_socket_directories"}

#: Seconds to wait for a start or a stop, unless a cluster is given others.
PATIENCE = 60

#: Bytes of a unix socket's path, without the closing zero.
_SOCKET_PATH_LIMIT = 103 if sys.platform == "darwin" else 107

#: Exit codes of pg_isready: it accepts connections; it is starting, recovering or shutting down.
_ACCEPTS, _BUSY = 0, 1

_MARKER = "DISPOSABLE"
_MARKER_TEXT = "Made by pgops.rollback.disposable_postgres: state=absent stops the server and removes this directory.\n"


@dataclass(frozen=True)
class Recipe:
    """What a cluster was made with, or is to be made with.

    :ivar user: the name of the user that the server runs as.
    :ivar port: TCP port on 127.0.0.1; None for the unix socket only.
    :ivar settings: server settings, as they stand in postgresql.conf.
    """

    bindir: str
    version: str
    user: str
    port: int | None = None
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def major(self) -> int:
        return int(self.version.partition(".")[0])

    @property
    def socket_port(self) -> int:
        return self.port or DEFAULT_PORT


@dataclass(frozen=True)
class Cluster:
    """The place of a cluster and the user it runs as, whether it exists or not.

    :ivar patience: seconds to wait for a start; one that has to recover first needs longer. A stop has its time, too,
        however little is left for a start.
    """

    directory: Path
    user: SystemUser
    patience: int = PATIENCE

    @property
    def data_directory(self) -> Path:
        return self.directory / "data"

    @property
    def socket_directory(self) -> Path:
        return self.directory / "socket"

    @property
    def log_file(self) -> Path:
        return self.directory / "server.log"

    @property
    def _config_file(self) -> Path:
        return self.directory / "postgresql.conf"

    @property
    def _recipe_file(self) -> Path:
        return self.directory / "cluster.json"

    def recipe(self) -> Recipe | None:
        """What the cluster was made with; None when there is no whole one.

        :raises RollbackError: ``directory_foreign``, ``directory_untrusted``, ``cluster_unreadable``.
        """
        if not os.path.lexists(self.directory):
            return None
        private_ownership(self.directory, "a disposable cluster", "disposable_postgres_directory to another one")
        if not (self.directory / _MARKER).exists() and any(self.directory.iterdir()):
            raise RollbackError(
                "directory_foreign",
                f"{self.directory} holds something that disposable_postgres did not make, so it was left alone.",
                "Choose another disposable_postgres_directory or disposable_postgres_name.",
            )
        try:
            return Recipe(**json.loads(self._recipe_file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise RollbackError(
                "cluster_unreadable",
                f"{self._recipe_file} cannot be understood; another release of pgops.rollback may have written it.",
                "End the server (its number is in data/postmaster.pid, if it runs) and remove the directory by hand.",
            ) from error

    def running(self, recipe: Recipe) -> bool:
        """Whether a server answers on the socket; a left-over postmaster.pid proves nothing."""
        return self._readiness(recipe) in (_ACCEPTS, _BUSY)

    def _readiness(self, recipe: Recipe) -> int:
        answer = self._tool(recipe, "pg_isready", "--quiet", "--host", str(self.socket_directory),
                            "--port", str(recipe.socket_port), "--timeout", "10")  # fmt: skip
        return int(answer.returncode)

    def make(self, recipe: Recipe, fill: Callable[[Path], None] | None = None) -> None:
        """Create the directories and run initdb.

        :param fill: puts a data directory's content into it in initdb's place.
        """
        for leftover in self.directory.iterdir():  # of an attempt that was killed
            if leftover.is_dir():
                shutil.rmtree(leftover)
            else:
                leftover.unlink()
        (self.directory / _MARKER).write_text(_MARKER_TEXT, encoding="utf-8")
        # Root owns the directory, so that the server cannot forge the marker; the server may only pass through.
        if self.user.dropped:
            os.chown(self.directory, -1, self.user.gid)
            self.directory.chmod(0o750)
        self.log_file.touch(mode=0o600)
        for path in (self.data_directory, self.socket_directory):
            path.mkdir(mode=0o700)
        if self.user.dropped:
            for path in (self.data_directory, self.socket_directory, self.log_file):
                os.chown(path, self.user.uid, self.user.gid)
        if fill:
            fill(self.data_directory)
        else:
            self._initdb(recipe)
        self.configure(recipe)

    def _initdb(self, recipe: Recipe) -> None:
        answer = self._tool(
            recipe, "initdb", "--pgdata", str(self.data_directory), "--username", "postgres", "--encoding", "UTF8",
            "--locale", "C", "--auth-local", "trust", "--auth-host", "scram-sha-256", "--no-sync", "--no-instructions",
        )  # fmt: skip
        if answer.returncode != 0:
            raise RollbackError(
                "initdb_failed",
                f"initdb in {self.data_directory} failed for user {self.user.name}: {_last_lines(answer.stderr)}",
                "Check that this user can reach the directory and that the disk is not full; nothing was left behind.",
            )

    def configure(self, recipe: Recipe) -> None:
        """Write the configuration and, last, the recipe that makes the cluster a whole one."""
        self._write(self._config_file, _configuration(recipe, self.socket_directory))
        self._write(self._recipe_file, json.dumps(asdict(recipe), indent=2) + "\n")

    def start(self, recipe: Recipe) -> None:
        """Start the server and wait until it answers.

        :raises RollbackError: ``start_failed``, with the end of the server's log.
        """
        self._forget_killed_server()
        log_start = self.log_file.stat().st_size
        options = f"-c config_file={shlex.quote(str(self._config_file))}"
        answer = self._pg_ctl(recipe, "start", "--log", str(self.log_file), "--options", options)
        if answer.returncode != 0 or not self._accepts(recipe):
            log = self.log_file.read_bytes()[log_start:].decode(errors="replace")
            raise RollbackError(
                "start_failed",
                f"Postgres {recipe.version} did not start in {self.directory}: {_last_lines(log or answer.stderr)}",
                "Correct the setting or the port that the log names and run it again; all is as it was before.",
            )

    def _accepts(self, recipe: Recipe) -> bool:
        """Wait until it accepts connections, where pg_ctl only waits until it recovers. False if it ended instead."""
        deadline = time.monotonic() + self.patience
        while self._readiness(recipe) != _ACCEPTS:
            if time.monotonic() > deadline or self._pg_ctl(recipe, "status").returncode != 0:
                return False
            time.sleep(0.1)
        return True

    def stop(self, recipe: Recipe, mode: str = "fast") -> None:
        """Stop the server and wait until it is gone.

        :raises RollbackError: ``stop_failed``.
        """
        answer = self._pg_ctl(recipe, "stop", "--mode", mode, patience=max(self.patience, PATIENCE))
        if answer.returncode != 0:
            raise RollbackError(
                "stop_failed",
                f"The server in {self.directory} did not stop: {_last_lines(answer.stderr)}",
                "Run it again; if it still does not stop, end the process named in data/postmaster.pid.",
            )

    def remove(self, recipe: Recipe | None) -> None:
        """Stop the server, if any, and remove the directory."""
        if recipe and (self.running(recipe) or self._begun()):
            self.stop(recipe, mode="immediate")
        self._forget_killed_server()
        shutil.rmtree(self.directory)

    def _begun(self) -> bool:
        """Whether a server is at work that does not answer, as one whose start was interrupted.

        Its lock file has the number; that of a killed server may meanwhile be another program's.
        """
        deadline = time.monotonic() + PATIENCE
        while (working := self.server_processes()) and time.monotonic() < deadline:
            with suppress(FileNotFoundError):
                if (self.data_directory / "postmaster.pid").read_text(encoding="utf-8").split("\n")[0] in working:
                    return True
            time.sleep(0.05)
        return False

    def _forget_killed_server(self) -> None:
        """Wait for the last processes of a killed server, and remove the lock files with its process number.

        The number may stay taken, by a zombie or by another program, and would keep the next server from starting.
        """
        if not Path("/proc/self/cwd").exists():
            return  # no Linux; the next server judges by the number alone
        deadline = time.monotonic() + max(self.patience, PATIENCE)
        while self.server_processes():
            if time.monotonic() > deadline:
                return  # alive without answering: the next server says so
            time.sleep(0.05)
        for lock in (self.data_directory / "postmaster.pid", *self.socket_directory.glob(".s.PGSQL.*.lock")):
            lock.unlink(missing_ok=True)

    def server_processes(self) -> list[str]:
        """The numbers of the processes that work in the data directory, which every process of a server does."""
        found = []
        data_directory = self.data_directory.resolve()
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # ended meanwhile, or another user's
                if (entry / "cwd").readlink() == data_directory:
                    found.append(entry.name)
        return found

    def _pg_ctl(self, recipe: Recipe, action: str, *arguments: str, patience: int | None = None) -> Any:
        return self._tool(recipe, "pg_ctl", action, "--pgdata", str(self.data_directory), "--wait",
                          "--timeout", str(patience or self.patience), *arguments)  # fmt: skip

    def _tool(self, recipe: Recipe, tool: str, *arguments: str) -> Any:
        try:
            # pg_ctl ends by itself, and says more than that it was ended.
            return self.user.run([str(Path(recipe.bindir) / tool), *arguments], self.directory, self.patience + 240)
        except OSError as error:
            raise RollbackError(
                "binaries_unusable",
                f"{tool} in {recipe.bindir}, which the cluster in {self.directory} was made with, cannot be run:"
                f" {error.strerror}.",
                f"Install Postgres {recipe.version} there again, or end the server by hand and remove the directory.",
            ) from error

    def check_socket_path(self, recipe: Recipe) -> None:
        """:raises RollbackError: ``socket_path_too_long``."""
        path = self.socket_directory / f".s.PGSQL.{recipe.socket_port}"
        length = len(os.fsencode(path))
        if length > _SOCKET_PATH_LIMIT:
            raise RollbackError(
                "socket_path_too_long",
                f"The unix socket {path} would have a path of {length} bytes; this system allows {_SOCKET_PATH_LIMIT}.",
                "Choose a shorter disposable_postgres_directory or disposable_postgres_name.",
            )

    def _write(self, path: Path, text: str) -> None:
        unfinished = path.with_name(f".{path.name}.new")
        unfinished.write_text(text, encoding="utf-8")
        unfinished.chmod(0o640)
        if self.user.dropped:
            os.chown(unfinished, -1, self.user.gid)
        unfinished.rename(path)


def default_base() -> Path:
    """Where named clusters are: short, because the paths of unix sockets are limited."""
    return Path(f"/tmp/pgops-{os.geteuid()}")


def default_directory(name: str) -> Path:
    """The directory of a named cluster.

    :raises RollbackError: ``name_invalid``.
    """
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name, re.ASCII):
        raise RollbackError(
            "name_invalid",
            f"{name!r} cannot be the name of a disposable cluster: it becomes the name of a directory.",
            "Use letters, digits, dots, hyphens and underscores, beginning with a letter or digit.",
        )
    return default_base() / name


def default_settings(settings: dict[str, Any]) -> dict[str, str]:
    """The fast settings, overridden by the given ones, as text.

    :raises RollbackError: ``setting_invalid``.
    """
    for name, value in settings.items():
        if name.lower() in _RESERVED_SETTINGS:
            raise _invalid_setting(name, "is decided by the port and the directory of the cluster")
        if not re.fullmatch(r"[A-Za-z_][\w$]*(\.[A-Za-z_][\w$]*)?", name):
            raise _invalid_setting(name, "is not a name of a server setting")
        if not isinstance(value, str | int | float) or "\n" in str(value):
            raise _invalid_setting(name, "must have a number, a boolean or one line of text as its value")
    return FAST_SETTINGS | {name.lower(): _setting_text(value) for name, value in settings.items()}


def _configuration(recipe: Recipe, socket_directory: Path) -> str:
    ours = {
        "listen_addresses": "127.0.0.1" if recipe.port else "",
        "port": str(recipe.socket_port),
        "unix_socket_directories": str(socket_directory),
    }
    return "".join(f"{name} = {_quoted(value)}\n" for name, value in (recipe.settings | ours).items())


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def _setting_text(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def _last_lines(text: str, count: int = 8) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (" / ".join(lines[-count:]) or "no reason given").rstrip(".") + "."


def _invalid_setting(name: str, reason: str) -> RollbackError:
    return RollbackError(
        "setting_invalid", f"The setting {name!r} {reason}.", "Correct disposable_postgres_settings; nothing was done."
    )
