# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The three files of `supabase db dump`, made as the CLI makes them: pg_dump, and its text edited."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.integration.test_backup_verify import checks, statuses, verify
from tests.support.database import ROOT, TestDatabase

#: How the CLI edits the schema, so that it can be run on a project that has some of it.
EDITS = [
    (r"^CREATE SCHEMA ", "CREATE SCHEMA IF NOT EXISTS "),
    (r"^CREATE TABLE ", "CREATE TABLE IF NOT EXISTS "),
    (r"^CREATE SEQUENCE ", "CREATE SEQUENCE IF NOT EXISTS "),
    (r"^CREATE VIEW ", "CREATE OR REPLACE VIEW "),
    (r"^CREATE FUNCTION ", "CREATE OR REPLACE FUNCTION "),
    (r"^CREATE TRIGGER ", "CREATE OR REPLACE TRIGGER "),
    (r'^CREATE PUBLICATION "supabase_realtime', '-- CREATE PUBLICATION "supabase_realtime'),
    (r"^--.*\n", ""),
]


@pytest.fixture
def app(database: TestDatabase) -> TestDatabase:
    database.query((ROOT / "demo/sample_application.sql").read_text(encoding="utf-8"), user="postgres")
    database.query(
        "ALTER TABLE auth.users ADD raw_user_meta_data jsonb;"
        " UPDATE auth.users SET raw_user_meta_data = '{\"name\": \"x\"}';"
        " CREATE TABLE auth.sessions (id uuid PRIMARY KEY, user_id uuid REFERENCES auth.users);"
        " INSERT INTO auth.sessions SELECT id, id FROM auth.users LIMIT 3;"
        " CREATE VIEW public.names AS SELECT id, raw_user_meta_data ->> 'name' AS name FROM auth.users;"
        " CREATE TABLE public.visits (id int PRIMARY KEY, session uuid REFERENCES auth.sessions);"
        " ALTER PUBLICATION supabase_realtime ADD TABLE public.visits",
        user="postgres",
    )
    return database


def pg_dump(database: TestDatabase, *options: str) -> str:
    login = database.login("postgres")
    command = [database.cluster.bindir / "pg_dump", "-h", login["login_host"], "-p", str(login["login_port"]),
               "-U", "postgres", "--quote-all-identifiers", *options, database.name]  # fmt: skip
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def supabase_db_dump(database: TestDatabase, directory: Path, *data_options: str) -> Path:
    directory.mkdir()
    schema = pg_dump(database, "--schema-only", "--exclude-schema=auth")
    for pattern, replacement in EDITS:
        schema = re.sub(pattern, replacement, schema, flags=re.MULTILINE)
    (directory / "schema.sql").write_text(schema + "RESET ALL;\n", encoding="utf-8")
    data = "SET session_replication_role = replica;\n\n" + pg_dump(database, "--data-only", *data_options)
    (directory / "data.sql").write_text(data + "RESET ALL;\n", encoding="utf-8")
    (directory / "roles.sql").write_text(
        'SET statement_timeout = 0;\nCREATE ROLE "app_reader";\nALTER ROLE "app_reader" WITH NOLOGIN;\n'
        'ALTER ROLE "authenticator" SET "statement_timeout" TO \'8s\';\nRESET ALL;\n',
        encoding="utf-8",
    )
    return directory


@pytest.mark.parametrize("data_options", [(), ("--column-inserts", "--rows-per-insert=999")], ids=["copy", "inserts"])
def test_it_restores_with_auth_stubbed(app: TestDatabase, tmp_path: Path, data_options: tuple[str, ...]) -> None:
    supabase_db_dump(app, tmp_path / "dump", *data_options)
    run = verify(tmp_path / "dump")
    assert statuses(run) == {"exists": "ok", "freshness": "ok", "integrity": "ok", "drill": "ok"}, run["msg"]
    assert checks(run)["constraints"] == "passed"
    tables = app.query(
        "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname IN ('auth', 'public')"
    )
    assert run["restore"]["rows"] == sum(
        app.value(f"SELECT count(*) FROM {table}", user="postgres") for (table,) in tables
    )


def test_an_account_that_is_missing(app: TestDatabase, tmp_path: Path) -> None:
    """Its data are loaded with the foreign keys off: only the drill notices that a profile has lost its user."""
    directory = supabase_db_dump(app, tmp_path / "dump")
    data = (directory / "data.sql").read_text(encoding="utf-8")
    account = re.search(r"^00000000-0000-4000-8000-000000000007\tuser7@.*\n", data, flags=re.MULTILINE)
    assert account
    (directory / "data.sql").write_text(data.replace(account[0], "", 1), encoding="utf-8")
    run = verify(directory)
    assert (run.failed, checks(run)["constraints"]) == (True, "failed")


def test_data_cut_short(app: TestDatabase, tmp_path: Path) -> None:
    directory = supabase_db_dump(app, tmp_path / "dump")
    data = (directory / "data.sql").read_bytes()
    (directory / "data.sql").write_bytes(data[: len(data) // 2])
    run = verify(directory)
    assert (statuses(run)["exists"], "end marker" in run["msg"]) == ("failed", True)
