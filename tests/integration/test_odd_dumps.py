# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Intact dumps that a plain pg_restore into an empty database would stumble over."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.integration.test_backup_verify import verify
from tests.support.database import TestDatabase

ENDINGS = {"custom": "dump", "plain": "sql"}


def dumped(database: TestDatabase, directory: Path, form: str, *options: str) -> Path:
    path = directory / f"odd.{ENDINGS[form]}"
    login = database.login("postgres")
    subprocess.run(
        [database.cluster.bindir / "pg_dump", "-h", login["login_host"], "-p", str(login["login_port"]), "-U",
         "postgres", "-d", database.name, f"--format={form}", "-f", path, *options], check=True, capture_output=True,
    )  # fmt: skip
    return path


@pytest.mark.parametrize("form", ENDINGS)
@pytest.mark.parametrize("options", [["-n", "public"], ["-n", "public", "--clean"]])
def test_a_dump_of_schema_public_alone(
    database: TestDatabase, tmp_path: Path, form: str, options: list[str]
) -> None:
    """It makes the schema, which every new database has already."""
    database.query("CREATE TABLE people (name text); INSERT INTO people VALUES ('alice')")
    run = verify(dumped(database, tmp_path, form, *options))
    assert (run["verdict"], run["restore"]["rows"]) == ("ok", 1), run["msg"]
