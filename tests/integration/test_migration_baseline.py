# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Baselines are kept once and trusted only as they were written; two of them give the manifest of the migration."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.teardown_history import History, read_history
from tests.support.database import ROOT, TestCluster, TestDatabase
from tests.support.modules import ModuleRun, run_module

TABLES = ["public.sponsor_chat_messages", "public.sponsor_connections", "public.sponsor_visible_memos"]
FUNCTIONS = ["public.create_coach_connection(uuid, uuid)", "public.get_unread_memo_count(uuid, uuid)"]

Take = Callable[..., ModuleRun]


@pytest.fixture
def app(database: TestDatabase) -> TestDatabase:
    database.query((ROOT / "demo/sample_application.sql").read_text(encoding="utf-8"), user="postgres")
    return database


@pytest.fixture
def take(app: TestDatabase, tmp_path: Path) -> Take:
    def taken(moment: str, check: bool = False, **options: Any) -> ModuleRun:
        given = {"migration": "coaching", "moment": moment, "artifacts_dir": str(tmp_path), "host": "app"}
        return run_module("migration_baseline", {**app.login(), **given, "operator": "me", **options}, check=check)

    return taken


def make_manifest(directory: Path, **options: Any) -> ModuleRun:
    given = {"migration": "coaching", "artifacts_dir": str(directory), "host": "app"}
    return run_module("rollback_manifest", {**given, **options})


def migrate(database: TestDatabase) -> None:
    database.query((ROOT / "demo/coaching_migration.sql").read_text(encoding="utf-8"))


def baseline_file(directory: Path, moment: str = "before") -> Path:
    return directory / "app/baselines" / f"coaching-{moment}.json"


def test_a_baseline_is_written_once(app: TestDatabase, take: Take, tmp_path: Path) -> None:
    foreseen = take("before", check=True)
    assert "would be kept" in foreseen["msg"]
    assert list(tmp_path.iterdir()) == []

    run = take("before")
    assert (run.failed, run["changed"], run["status"]) == (False, False, "ok"), run["msg"]
    path = baseline_file(tmp_path)
    assert (run["path"], stat.S_IMODE(path.stat().st_mode)) == (str(path), 0o600)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    content = json.loads(path.read_text(encoding="utf-8"))
    assert (content["operator"], content["migration"], content["snapshot"]["rows_are"]) == ("me", "coaching", "exact")
    assert content["snapshot"]["rows"]["public.profiles"] == app.value("SELECT count(*) FROM profiles", user="postgres")
    assert content["activity"]["xact_commit"] > 0

    again = take("before")
    assert (again.failed, again["code"]) == (True, "baseline_exists")
    assert f"taken {run['taken_at']} by me" in again["msg"]
    assert json.loads(path.read_text(encoding="utf-8")) == content
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_missing_proof_of_backup_is_said(take: Take, tmp_path: Path) -> None:
    run = take("before", records_dir=str(tmp_path / "records"))
    assert (run["status"], run["backup"]) == ("degraded", None)
    assert "No verified backup: There is no record of a successful restore drill" in run["msg"]


def test_a_name_that_is_no_file_name(take: Take) -> None:
    assert take("before", migration="../x")["code"] == "unsafe_name"


def test_the_migration_on_an_empty_database(app: TestDatabase, take: Take, tmp_path: Path) -> None:
    """It made the tables, so a rollback may take them."""
    app.query("DROP TABLE sponsor_connections, sponsor_chat_messages, sponsor_visible_memos CASCADE")
    app.query("DROP FUNCTION create_coach_connection(uuid, uuid), get_unread_memo_count(uuid, uuid)")
    take("before")
    migrate(app)
    take("after")
    run = make_manifest(tmp_path)
    assert not run.failed, run["msg"]
    manifest = json.loads(Path(run["path"]).read_text(encoding="utf-8"))
    assert (manifest["tables"], manifest["functions"]) == (TABLES, FUNCTIONS)
    assert {f"{table}_id_seq" for table in TABLES} == set(manifest["sequences"])
    assert {(each["kind"], each["name"]) for each in manifest["created"]} == {
        *(("table", name) for name in TABLES), *(("function", name) for name in FUNCTIONS),
    }  # fmt: skip
    protected = {(each["kind"], each["name"]) for each in manifest["protected"]}
    assert {("table", "public.profiles"), ("function", "public.set_updated_at()")} <= protected
    assert not {name for _kind, name in protected} & {*TABLES, *FUNCTIONS}


def test_the_migration_where_the_tables_were_there_already(app: TestDatabase, take: Take, tmp_path: Path) -> None:
    """IF NOT EXISTS skipped them: the rollback that would drop them destroys data that the migration never made."""
    app.query("DROP FUNCTION create_coach_connection(uuid, uuid)")
    take("before")
    migrate(app)
    take("after")
    manifest = json.loads(Path(make_manifest(tmp_path)["path"]).read_text(encoding="utf-8"))
    assert (manifest["tables"], manifest["functions"]) == ([], FUNCTIONS[:1])
    assert {("table", name) for name in TABLES} <= {(each["kind"], each["name"]) for each in manifest["protected"]}


def test_the_history_row_that_came_with_it(app: TestDatabase, take: Take, tmp_path: Path) -> None:
    """As the teardown takes it; of several nobody knows which is the migration's."""
    applied = "supabase_migrations.schema_migrations"
    app.query(f"CREATE SCHEMA supabase_migrations; CREATE TABLE {applied} (version text PRIMARY KEY, name text);"
              f"INSERT INTO {applied} VALUES ('20250101000000', 'first')")  # fmt: skip
    take("before")
    app.query(f"CREATE TABLE public.notes (id int); INSERT INTO {applied} VALUES ('20251125120000', 'coaching')")
    take("after")
    manifest = make_manifest(tmp_path)["manifest"]
    assert manifest["history"] == {"value": "20251125120000"}
    assert read_history(manifest) == History(("supabase_migrations", "schema_migrations"), "version", "20251125120000")
    assert make_manifest(tmp_path)["manifest"] == manifest

    app.query(f"INSERT INTO {applied} VALUES ('20251125130000', 'another')")
    baseline_file(tmp_path, "after").unlink()
    take("after")
    baseline_file(tmp_path, "manifest").unlink()
    assert "history" not in make_manifest(tmp_path)["manifest"]


def test_what_it_altered_is_shown_as_it_was(app: TestDatabase, take: Take, tmp_path: Path) -> None:
    take("before")
    app.query(
        "CREATE OR REPLACE FUNCTION set_updated_at() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';"
        "DROP VIEW IF EXISTS nothing; ALTER TABLE virtues ADD weight int; DROP INDEX sponsor_connections_sponsor"
    )
    take("after")
    manifest = make_manifest(tmp_path)["manifest"]
    (altered,) = manifest["altered"]
    assert altered["name"] == "public.set_updated_at()"
    assert "updated_at" in altered["attributes"]["definition"]["before"]
    assert manifest["created"] == [{"kind": "column", "name": "public.virtues.weight"}]
    (dropped,) = manifest["dropped"]
    assert dropped["before"]["definition"].startswith("CREATE INDEX sponsor_connections_sponsor ON")


def test_a_manifest_that_was_edited_stays(app: TestDatabase, take: Take, tmp_path: Path) -> None:
    take("before")
    take("after")
    path = Path(make_manifest(tmp_path)["path"])
    assert not make_manifest(tmp_path).failed
    content = json.loads(path.read_text(encoding="utf-8"))
    content["checks"].append({"name": "mine", "query": "SELECT 1", "expect": {"value": 1}})
    path.write_text(json.dumps(content), encoding="utf-8")
    assert make_manifest(tmp_path)["code"] == "manifest_exists"
    assert json.loads(path.read_text(encoding="utf-8")) == content


EDITS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "operator": lambda content: content.update(operator="you"),
    "writes": lambda content: content["writes"]["tables"].clear(),
    "object": lambda content: content["snapshot"]["objects"].pop(),
    "rows": lambda content: content["snapshot"]["rows"].update({"public.profiles": 0}),
    "format": lambda content: content.update(format_version=0),
    "not a mapping": lambda content: content.pop("snapshot"),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_a_baseline_that_was_edited_is_refused(
    take: Take, tmp_path: Path, edit: Callable[[dict[str, Any]], Any]
) -> None:
    take("before", rows="none")
    take("after", rows="none")
    path = baseline_file(tmp_path)
    content = json.loads(path.read_text(encoding="utf-8"))
    edit(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    run = make_manifest(tmp_path)
    assert (run.failed, run["code"]) == (True, "baseline_invalid")
    assert str(path) in run["msg"]


def test_baselines_that_do_not_belong_together(take: Take, tmp_path: Path) -> None:
    assert make_manifest(tmp_path)["code"] == "baseline_missing"
    take("after", rows="none")
    take("before", rows="none", migration="other")
    # The later one, under the name of the earlier.
    baseline_file(tmp_path).write_bytes(baseline_file(tmp_path, "after").read_bytes())
    assert make_manifest(tmp_path)["code"] == "baselines_unfit"
    for moment in ("before", "after"):
        baseline_file(tmp_path, moment).unlink()
    take("before", rows="none", login_db="postgres")
    take("after", rows="none")
    run = make_manifest(tmp_path)
    assert run["code"] == "baseline_foreign"
    assert "of database postgres" in run["msg"]


def test_half_a_file_is_no_baseline(take: Take, tmp_path: Path) -> None:
    take("before", rows="none")
    take("after", rows="none")
    path = baseline_file(tmp_path)
    path.write_bytes(path.read_bytes()[:1000])
    assert make_manifest(tmp_path)["code"] == "baseline_invalid"


def test_a_deeply_nested_file_is_no_baseline(take: Take, tmp_path: Path) -> None:
    take("before", rows="none")
    take("after", rows="none")
    for depth in (500, 200_000):
        for text in ("[" * depth, '{"format_version": 1, "sum": "", "operator": ' + "[" * depth + "]" * depth + "}"):
            baseline_file(tmp_path).write_text(text, encoding="utf-8")
            assert make_manifest(tmp_path)["code"] == "baseline_invalid"


def test_a_database_that_knows_no_encoding(cluster: TestCluster, tmp_path: Path) -> None:
    """Its bytes may be anything; what is no UTF-8 is shown as its bytes."""
    plain = f"plain_{os.getpid()}"
    login = cluster.login(plain)
    with closing(cluster.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {plain} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    try:
        with closing(cluster.connect(plain)) as connection, connection.cursor() as cursor:
            connection.set_client_encoding("LATIN1")
            cursor.execute(
                "CREATE TABLE public.caf\xe9 (id serial, note text DEFAULT 'caf\xe9');"
                "COMMENT ON TABLE caf\xe9 IS '\xe9';"
                "CREATE TABLE public.m\xc3\xa4rz (id int); INSERT INTO public.m\xc3\xa4rz VALUES (1), (2);"
                "CREATE TABLE public.t (note text); INSERT INTO public.t VALUES ('caf\xe9');"
                "CREATE FUNCTION public.f() RETURNS text LANGUAGE sql AS 'SELECT ''caf\xe9''::text';"
                f"ALTER DATABASE {plain} SET app.name = 'caf\xe9'"
            )
        given = {"migration": "x", "artifacts_dir": str(tmp_path), "host": "app", "checksums": True, "rows": "exact"}
        run = run_module("migration_baseline", {**login, **given})
        assert not run.failed, run["msg"]
        snapshot = json.loads(Path(run["path"]).read_text(encoding="utf-8"))["snapshot"]
        comments = {each["name"]: each["attributes"].get("comment") for each in snapshot["objects"]
                    if each["kind"] == "table"}  # fmt: skip
        assert comments == {'public."caf\\xe9"': "\\xe9", 'public."märz"': None, "public.t": None}
        assert (snapshot["rows"]['public."märz"'], snapshot["rows"]["public.t"]) == (2, 1)
        # A name of which the bytes are lost cannot be asked for.
        assert {each["name"] for each in snapshot["unreadable"]} <= {
            'public."caf\\xe9"', 'public."caf\\xe9_id_seq"',
        }  # fmt: skip
        assert ("table", 'public."caf\\xe9"') in {(each["kind"], each["name"]) for each in snapshot["unreadable"]}
        verified = run_module("rollback_verify", {**login, "baseline": run["path"]})
        assert verified["verdict"] in ("ok", "incomplete"), verified["msg"]
    finally:
        with closing(cluster.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE {plain} WITH (FORCE)")
