# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The database came back from its dump, went back to what was spoilt, and nothing beside it is left."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest


@pytest.fixture(scope="module")
def artifacts(host: Any) -> str:
    return str(host.ansible("debug", 'msg="{{ rollback_artifacts_dir }}"', check=False)["msg"])


@pytest.fixture(scope="module")
def found(host: Any, artifacts: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(host.file(f"{artifacts}/restore.json").content_string)
    return content


@pytest.fixture
def database(host: Any) -> Iterator[Any]:
    wanted = "{'host': rollback_login_host, 'user': rollback_login_user, 'dbname': rollback_login_db}"
    connection = psycopg2.connect(**host.ansible("debug", f'msg="{{{{ {wanted} }}}}"', check=False)["msg"])
    with connection.cursor() as cursor:
        yield cursor
    connection.close()


def test_it_was_what_the_dump_holds(found: dict[str, Any]) -> None:
    assert found["restored"] == {"messages": 2500, "made_since": False}
    assert found["proved"] == "Every row is what it was when the backup was taken"
    assert found["verdict"] in ("ok", "degraded")
    assert found["old_database"].startswith("app_before_restore_")


def test_the_undo_brought_back_what_came_after(found: dict[str, Any]) -> None:
    assert found["undone"] == {"messages": 0, "made_since": True}


def test_the_purge_left_nothing_beside_it(database: Any) -> None:
    database.execute("SELECT datname FROM pg_catalog.pg_database WHERE NOT datistemplate ORDER BY 1")
    assert database.fetchall() == [("app",), ("postgres",)]


def test_what_it_kept_is_private(host: Any, artifacts: str) -> None:
    assert host.file(f"{artifacts}/database-restore/molecule/restore.json").mode == 0o600
