# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The coaching tables went into quarantine, and came back with every row."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest
from psycopg2 import sql


@pytest.fixture(scope="module")
def artifacts(host: Any) -> str:
    return str(host.ansible("debug", 'msg="{{ rollback_artifacts_dir }}"', check=False)["msg"])


@pytest.fixture
def database(host: Any) -> Iterator[Any]:
    """A cursor of the role that the tables belong to."""
    wanted = "{'host': rollback_login_host, 'user': rollback_login_user, 'dbname': rollback_login_db}"
    connection = psycopg2.connect(**host.ansible("debug", f'msg="{{{{ {wanted} }}}}"', check=False)["msg"])
    with connection.cursor() as cursor:
        yield cursor
    connection.close()


def content(host: Any, path: str) -> Any:
    return json.loads(host.file(path).content_string)


def test_they_were_set_aside_and_the_rest_went_on(host: Any, artifacts: str) -> None:
    found = content(host, f"{artifacts}/teardown.json")
    assert found == {"tables": {"in_use": 0, "aside": 3}, "verdict": "ok"}


@pytest.mark.parametrize(
    ("table", "rows"),
    [("sponsor_connections", 200), ("sponsor_chat_messages", 2500), ("sponsor_visible_memos", 600)],
)
def test_they_are_back_with_every_row(database: Any, table: str, rows: int) -> None:
    database.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier("public", table)))
    assert database.fetchone() == (rows,)


def test_the_report_has_every_step(host: Any, artifacts: str) -> None:
    report = content(host, f"{artifacts}/coaching-teardown/molecule/report.json")
    assert {step["name"]: step["status"] for step in report["steps"]} == {
        "plan": "ok", "teardown": "changed", "undo": "changed", "verify": "ok",
    }  # fmt: skip
    assert report["token"].startswith("rb-")


def test_what_brought_them_back_is_private(host: Any, artifacts: str) -> None:
    assert host.file(f"{artifacts}/coaching-teardown/molecule/bundle").mode & 0o077 == 0
