# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Through a real transaction-mode pooler: PgBouncer with a single server connection."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.system_user import system_user
from tests.support.database import OPERATOR, TestDatabase
from tests.support.modules import run_module
from tests.support.waiting import until

PGBOUNCER = shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")

pytestmark = pytest.mark.skipif(PGBOUNCER is None, reason="PgBouncer is not installed (Debian package pgbouncer)")

PORT = 6432


@pytest.fixture
def pooled(database: TestDatabase) -> Iterator[dict[str, Any]]:
    """The login of the database, through the pooler."""
    user = system_user()
    # Short, as the path of a unix socket has to be.
    with tempfile.TemporaryDirectory(prefix="pgops-pooler-", dir="/tmp") as name:
        directory = Path(name)
        os.chown(directory, user.uid, user.gid)
        identity: dict[str, Any] = {"user": user.uid, "group": user.gid, "extra_groups": []} if user.dropped else {}
        server = database.cluster
        configuration = directory / "pgbouncer.ini"
        configuration.write_text(
            f"""
            [databases]
            * = host={server.socket_directory} port={server.recipe.socket_port} user={OPERATOR}
            [pgbouncer]
            listen_addr =
            listen_port = {PORT}
            unix_socket_dir = {directory}
            auth_type = any
            pool_mode = transaction
            default_pool_size = 1
            """.replace("            ", ""),
            encoding="utf-8",
        )
        configuration.chmod(0o644)
        process = subprocess.Popen(
            [str(PGBOUNCER), str(configuration)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **identity
        )
        login = {**database.login(), "login_host": str(directory), "login_port": PORT}
        try:
            until((directory / f".s.PGSQL.{PORT}").exists, "the pooler listens")
            yield login
        finally:
            process.terminate()
            process.wait(timeout=30)


def test_a_transaction_mode_pooler_is_recognised(database: TestDatabase, pooled: dict[str, Any]) -> None:
    assert run_module("database_info", pooled)["through_pooler"] is True
    assert run_module("database_info", database.login())["through_pooler"] is False


def test_sequences_are_repaired_and_no_setting_leaks_to_the_next_client(
    database: TestDatabase, pooled: dict[str, Any]
) -> None:
    database.query("CREATE TABLE t (id serial PRIMARY KEY); INSERT INTO t VALUES (7); CREATE TABLE u (id serial)")
    client = psycopg2.connect(
        host=pooled["login_host"], port=PORT, dbname=pooled["login_db"], user=pooled["login_user"]
    )
    client.autocommit = True
    cursor = client.cursor()
    # Only one server connection exists, so this is the one that the module uses, too.
    settings = "SELECT pg_backend_pid()::text, '' UNION ALL SELECT name, setting FROM pg_settings ORDER BY 1"
    cursor.execute(settings)
    before = [row for row in cursor.fetchall() if row[0] != "application_name"]
    run = run_module("sequence_reset", {**pooled, "lock_healthy": True})
    cursor.execute(settings)
    after = [row for row in cursor.fetchall() if row[0] != "application_name"]
    client.close()
    assert (run.failed, run["changed"]) == (False, True)
    assert after == before
    assert database.value("INSERT INTO t DEFAULT VALUES RETURNING id") == 8


def test_a_dump_refuses_the_pooler(pooled: dict[str, Any], tmp_path: Path) -> None:
    run = run_module("backup_dump", {**pooled, "path": str(tmp_path / "app.dump")})
    assert (run.failed, run["code"], list(tmp_path.iterdir())) == (True, "pooler", [])
