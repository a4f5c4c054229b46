# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Disposable clusters and databases for tests."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import yaml
from psycopg2 import sql

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
from ansible_collections.pgops.rollback.plugins.module_utils.postgres_binaries import Wheel
from ansible_collections.pgops.rollback.plugins.module_utils.system_user import system_user

ROOT = Path(__file__).parents[2]

#: Owns the application's tables and is not a superuser.
OPERATOR = "operator"

_numbers = itertools.count(1)


#: The pinned wheels of the role, as the module's option takes them.
WHEEL_PINS: list[dict[str, Any]] = yaml.safe_load(
    (ROOT / "roles/disposable_postgres/vars/main.yml").read_text(encoding="utf-8")
)["__disposable_postgres_wheels"]

WHEELS = tuple(
    Wheel(pin["name"], pin["version"], tuple(pin["majors"]), tuple(pin["hashes"])) for pin in WHEEL_PINS
)


@dataclass(frozen=True)
class TestCluster:
    """A running cluster."""

    __test__ = False

    cluster: Cluster
    recipe: Recipe

    @property
    def socket_directory(self) -> str:
        return str(self.cluster.socket_directory)

    @property
    def bindir(self) -> Path:
        return Path(self.recipe.bindir)

    @property
    def major(self) -> int:
        return self.recipe.major

    def login(self, database: str = "postgres", user: str = "postgres") -> dict[str, Any]:
        """The connection options of our modules."""
        return {
            "login_host": self.socket_directory,
            "login_port": self.recipe.socket_port,
            "login_user": user,
            "login_db": database,
        }

    def connect(self, database: str = "postgres", user: str = "postgres") -> Any:
        """A psycopg2 connection in autocommit mode; the caller closes it."""
        connection = psycopg2.connect(
            host=self.socket_directory, port=self.recipe.socket_port, dbname=database, user=user
        )
        connection.autocommit = True
        return connection


class TestDatabase:
    """A database of its own, owned by the operator, who also owns schema public. Its connections end with it."""

    __test__ = False

    def __init__(self, cluster: TestCluster) -> None:
        self.cluster = cluster
        self.name = f"test_{os.getpid()}_{next(_numbers)}"
        self._connections: list[Any] = []

    def create(self) -> None:
        self._administrate("CREATE DATABASE {} OWNER {} TEMPLATE template0", OPERATOR)
        self.superuser().cursor().execute(f"ALTER SCHEMA public OWNER TO {OPERATOR}")

    def drop(self) -> None:
        for connection in self._connections:
            connection.close()
        self._administrate("DROP DATABASE {} WITH (FORCE)")

    def login(self, user: str = OPERATOR) -> dict[str, Any]:
        """The connection options of our modules (login_host, login_port, login_user, login_db)."""
        return self.cluster.login(self.name, user)

    def connect(self, user: str = OPERATOR) -> Any:
        """A new psycopg2 connection in autocommit mode; it is closed with the database at the latest."""
        connection = self.cluster.connect(self.name, user)
        self._connections.append(connection)
        return connection

    def superuser(self) -> Any:
        return self.connect("postgres")

    def query(self, statement: str, parameters: Any = None, user: str = OPERATOR) -> list[tuple[Any, ...]]:
        """Run one or more statements on a connection of their own; the rows of the last one."""
        connection = self.cluster.connect(self.name, user)
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement, parameters)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def value(self, statement: str, parameters: Any = None, user: str = OPERATOR) -> Any:
        """The first column of the first row."""
        return self.query(statement, parameters, user)[0][0]

    def _administrate(self, statement: str, *names: str) -> None:
        connection = self.cluster.connect()
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql.SQL(statement).format(*map(sql.Identifier, (self.name, *names))))
        finally:
            connection.close()


@contextmanager
def running_cluster(name: str, request: Request) -> Iterator[TestCluster]:
    """A cluster that is removed at the end, with the operator role."""
    cluster = Cluster(default_directory(name), system_user())
    with exclusive(cluster):
        recipe = ensure_started(cluster, request)[1]
    assert recipe
    running = TestCluster(cluster, recipe)
    try:
        connection = running.connect()
        connection.cursor().execute(f"CREATE ROLE {OPERATOR} LOGIN")
        connection.close()
        yield running
    finally:
        ensure_removed(cluster.directory)


def ensure_removed(directory: Path) -> None:
    """End the cluster in the directory, if there is one."""
    cluster = Cluster(directory, system_user())
    with exclusive(cluster):
        ensure_absent(as_made(cluster, None))
