# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""After the role: what failed works, what was healthy is as it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import yaml
from psycopg2 import sql

#: What the application does all day, by table.
INSERTS = {
    insert["table"]: insert["query"]
    for insert in yaml.safe_load((Path(__file__).parents[3] / "demo/vars.yml").read_text(encoding="utf-8"))[
        "demo_inserts"
    ]
}


@pytest.fixture(scope="module")
def login(host: Any) -> dict[str, str]:
    """The scenario's connection, as its inventory has it."""
    wanted = "{'host': rollback_login_host, 'user': rollback_login_user, 'dbname': rollback_login_db}"
    return dict(host.ansible("debug", f'msg="{{{{ {wanted} }}}}"', check=False)["msg"])


@pytest.fixture
def database(login: dict[str, str]) -> Iterator[Any]:
    """A cursor of the role that the application's tables belong to; what it does is rolled back."""
    connection = psycopg2.connect(**login)
    with connection.cursor() as cursor:
        yield cursor
    connection.close()


@pytest.mark.parametrize("table", INSERTS)
def test_the_next_insert_gets_the_id_after_the_highest(database: Any, table: str) -> None:
    database.execute(sql.SQL("SELECT max(id) FROM {}").format(sql.Identifier(table)))
    (highest,) = database.fetchone()
    database.execute(INSERTS[table])
    assert database.fetchone() == (highest + 1,)


def test_a_gap_is_left_alone(database: Any) -> None:
    database.execute("SELECT last_value > (SELECT max(id) FROM sponsor_feedback) + 1 FROM sponsor_feedback_id_seq")
    assert database.fetchone() == (True,)


def test_a_healthy_sequence_is_left_alone(database: Any) -> None:
    database.execute("SELECT last_value = (SELECT max(id) FROM sponsor_connections) FROM sponsor_connections_id_seq")
    assert database.fetchone() == (True,)


def test_the_database_is_reachable_through_a_private_socket_only(host: Any, login: dict[str, str]) -> None:
    directory = host.file(login["host"])
    assert directory.is_directory
    assert directory.mode & 0o077 == 0
