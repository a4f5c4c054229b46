# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A migration's manifest tells what it made from what it only gave another name; and nothing it made is forgotten."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.baseline import baseline_path, read_baseline
from ansible_collections.pgops.rollback.plugins.module_utils.rollback_manifest import make_manifest
from tests.support.database import TestDatabase
from tests.support.modules import ModuleRun, run_module
from tests.support.playbook import inventory, report, rollback, rollback_variables

#: What is there before each migration.
THERE = """
CREATE SCHEMA app; CREATE SCHEMA other;
CREATE TABLE customers (id serial PRIMARY KEY, name text UNIQUE, boss int REFERENCES customers);
CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer int REFERENCES customers);
CREATE INDEX by_boss ON customers (boss);
ALTER TABLE customers ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON customers USING (true);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
CREATE TRIGGER touched BEFORE UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION touch();
CREATE VIEW names AS SELECT name FROM customers;
CREATE SEQUENCE counter;
CREATE FUNCTION "f (x)"(integer) RETURNS integer LANGUAGE sql AS 'SELECT 1';
CREATE TYPE mood AS ENUM ('ok');
CREATE FUNCTION felt(mood) RETURNS integer LANGUAGE sql AS 'SELECT 1';
CREATE TABLE app.things (id serial PRIMARY KEY);
INSERT INTO customers (name) VALUES ('one'), ('two');
"""

Migrated = Callable[[str], dict[str, Any]]


def take(database: TestDatabase, directory: Path, moment: str) -> ModuleRun:
    kept = {"migration": "release", "artifacts_dir": str(directory), "host": "app", "moment": moment}
    run = run_module("migration_baseline", {**database.login("postgres"), **kept})
    assert not run.failed, run["msg"]
    return run


@pytest.fixture
def migrated(database: TestDatabase, tmp_path: Path) -> Migrated:
    """The manifest of a migration."""

    def manifest_of(statements: str) -> dict[str, Any]:
        database.query(THERE)
        take(database, tmp_path, "before")
        database.query(statements)
        take(database, tmp_path, "after")
        kept = {"migration": "release", "artifacts_dir": str(tmp_path), "host": "app"}
        made = run_module("rollback_manifest", kept)
        assert not made.failed, made["msg"]
        content: dict[str, Any] = json.loads(Path(made["path"]).read_text(encoding="utf-8"))
        return content

    return manifest_of


def names(entries: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(each["kind"], each["name"]) for each in entries}


def named(*renamed: tuple[str, str, str]) -> list[dict[str, str]]:
    return [{"kind": kind, "name": name, "before": before} for kind, name, before in renamed]


#: A migration that makes nothing, and what it renames: kind, name, name before.
RENAMING: dict[str, tuple[str, list[tuple[str, str, str]]]] = {
    "table": ("ALTER TABLE customers RENAME TO clients", [("table", "public.clients", "public.customers")]),
    "schema of a table": ("ALTER TABLE customers SET SCHEMA other", [
        ("sequence", "other.customers_id_seq", "public.customers_id_seq"),
        ("table", "other.customers", "public.customers"),
    ]),
    "schema": ("ALTER SCHEMA app RENAME TO application", [
        ("schema", "application", "app"), ("sequence", "application.things_id_seq", "app.things_id_seq"),
        ("table", "application.things", "app.things"),
    ]),
    "view": ("ALTER VIEW names RENAME TO all_names", [("view", "public.all_names", "public.names")]),
    "sequence": ("ALTER SEQUENCE counter RENAME TO total", [("sequence", "public.total", "public.counter")]),
    "sequence of a column": ("ALTER SEQUENCE customers_id_seq RENAME TO c_seq",
                             [("sequence", "public.c_seq", "public.customers_id_seq")]),
    "function": ('ALTER FUNCTION "f (x)" RENAME TO "g ((y"',
                 [("function", 'public."g ((y"(integer)', 'public."f (x)"(integer)')]),
    "function of a trigger": ("ALTER FUNCTION touch() SET SCHEMA other",
                              [("function", "other.touch()", "public.touch()")]),
    "type": ("ALTER TYPE mood RENAME TO feeling", [
        ("enum", "public.feeling", "public.mood"),
        ("function", "public.felt(public.feeling)", "public.felt(public.mood)"),
    ]),
    "swap": ("ALTER TABLE customers RENAME TO c; ALTER TABLE orders RENAME TO customers;"
             "ALTER TABLE c RENAME TO orders",
             [("table", "public.customers", "public.orders"), ("table", "public.orders", "public.customers")]),
}  # fmt: skip


@pytest.mark.parametrize(("statements", "renamed"), RENAMING.values(), ids=RENAMING)
def test_what_was_only_renamed_is_protected(
    migrated: Migrated, statements: str, renamed: list[tuple[str, str, str]]
) -> None:
    manifest = migrated(statements)
    assert manifest["renamed"] == named(*renamed)
    assert (manifest["created"], manifest["dropped"]) == ([], [])
    assert (manifest["tables"], manifest["functions"], manifest["sequences"]) == ([], [], [])
    assert {(kind, name) for kind, name, _before in renamed} <= names(manifest["protected"])


def test_a_table_that_takes_the_name_of_another_is_new(migrated: Migrated) -> None:
    """What makes a table anew beside its rows: the old one is only called otherwise."""
    manifest = migrated(
        "ALTER TABLE customers RENAME TO customers_old;"
        "CREATE TABLE customers (id int PRIMARY KEY, name text, more text); ALTER TABLE customers_old ADD added int"
    )
    assert manifest["renamed"] == named(("table", "public.customers_old", "public.customers"))
    assert manifest["tables"] == ["public.customers"]
    assert names(manifest["created"]) >= {("table", "public.customers"), ("column", "public.customers_old.added")}
    assert ("table", "public.customers_old") in names(manifest["protected"])
    assert ("table", "public.customers") not in names(manifest["protected"])
    assert manifest["dropped"] == []


def test_a_table_that_takes_the_place_of_a_dropped_one(migrated: Migrated) -> None:
    manifest = migrated("DROP TABLE orders; ALTER TABLE customers RENAME TO orders")
    assert manifest["renamed"] == named(("table", "public.orders", "public.customers"))
    assert manifest["created"] == []
    assert ("table", "public.orders") in names(manifest["dropped"])
    assert ("table", "public.orders") in names(manifest["protected"])


def test_only_what_else_is_different_of_a_renamed_table_is_altered(migrated: Migrated) -> None:
    manifest = migrated("ALTER TABLE customers RENAME TO clients; ALTER TABLE clients ALTER name SET NOT NULL")
    (name,) = [each for each in manifest["altered"] if each["kind"] == "column"]
    assert (name["name"], name["attributes"]) == (
        "public.clients.name", {"not_null": {"before": False, "after": True}}
    )  # fmt: skip
    # A view tells its table's name in its own way.
    assert names(manifest["altered"]) <= {("column", "public.clients.name"), ("view", "public.names")}


def test_in_another_database_the_same_number_is_another_table(migrated: Migrated, tmp_path: Path) -> None:
    """So it is in one that was dropped and made again, and where the role may not ask which cluster it is."""
    assert migrated("ALTER TABLE customers RENAME TO clients")["renamed"]
    before, after = (
        read_baseline(baseline_path(str(tmp_path), "app", "release", moment)) for moment in ("before", "after")
    )
    unknown = replace(before.snapshot, system_identifier=None)
    identities = before.snapshot.identities
    again = replace(before.snapshot, identities={**identities, "database": {before.snapshot.database: 1}})
    for snapshot in (unknown, again, replace(before.snapshot, identities={})):
        manifest = make_manifest(replace(before, snapshot=snapshot), after)
        assert (manifest["renamed"], manifest["tables"]) == ([], ["public.clients"])


def test_names_that_objects_of_several_kinds_share(migrated: Migrated) -> None:
    manifest = migrated(
        "CREATE TABLE foo (id int, other int); CREATE TEXT SEARCH CONFIGURATION foo (COPY = simple);"
        "CREATE STATISTICS foo ON id, other FROM foo; CREATE SEQUENCE sq; CREATE STATISTICS sq ON id, other FROM foo;"
        "CREATE FUNCTION bar() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE TABLE bar (id int)"
    )
    assert manifest["tables"] == ["public.bar", "public.foo"]
    assert (manifest["sequences"], manifest["functions"]) == (["public.sq"], ["public.bar()"])


#: Of every kind something that a migration made and its rollback may forget.
LEFT_BEHIND = """
CREATE VIEW made_view AS SELECT 1 AS one;
CREATE MATERIALIZED VIEW made_kept AS SELECT 1 AS one;
CREATE TYPE made_mood AS ENUM ('sad');
CREATE DOMAIN made_domain AS int;
CREATE SCHEMA made;
CREATE INDEX made_index ON customers (name, id);
ALTER TABLE customers ADD made_column int;
ALTER TABLE orders ADD CONSTRAINT made_check CHECK (id > 0);
CREATE POLICY made_policy ON customers USING (true);
CREATE TRIGGER made_trigger BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION touch();
CREATE STATISTICS made_statistics ON id, name FROM customers;
CREATE FUNCTION made_odd(integer) RETURNS integer LANGUAGE sql AS 'SELECT 1';
CREATE TABLE made_table (id serial);
"""

LEFT = {
    "public.made_view", "public.made_kept", "public.made_mood", "public.made_domain", "made",
    "made_index on public.customers", "public.customers.made_column", "made_check on public.orders",
    "made_policy on public.customers", "made_trigger on public.orders", "public.made_statistics",
    "public.made_odd(integer)", "public.made_table", "public.made_table_id_seq",
}  # fmt: skip


def test_whatever_was_made_and_is_left_is_found(database: TestDatabase, migrated: Migrated, tmp_path: Path) -> None:
    migrated(LEFT_BEHIND)
    path = tmp_path / "app/baselines/release-manifest.json"
    inventory(tmp_path, {"db1": {
        **rollback_variables(database.login()), "rollback_manifest": str(path),
        "post_rollback_verification_expect_gone": True,
    }})  # fmt: skip

    def found() -> dict[str, Any]:
        done = rollback(tmp_path, "--tags", "verify")
        (verified,) = [step for step in report(tmp_path, "db1")["steps"] if step["name"] == "verify"]
        (check,) = [each for each in verified["details"]["checks"] if each["name"] == "gone"]
        assert done.returncode == (0 if check["status"] == "passed" else 2), done.stdout
        return {"status": check["status"], "names": {each["name"] for each in check["objects"]}}

    assert found() == {"status": "failed", "names": LEFT}
    database.query("DROP FUNCTION made_odd; DROP TABLE made_table; DROP VIEW made_view")
    assert found()["names"] == LEFT - {
        "public.made_odd(integer)", "public.made_table", "public.made_table_id_seq", "public.made_view",
    }  # fmt: skip
    database.query(
        "DROP MATERIALIZED VIEW made_kept; DROP TYPE made_mood; DROP DOMAIN made_domain; DROP SCHEMA made;"
        "DROP INDEX made_index; DROP STATISTICS made_statistics; ALTER TABLE customers DROP made_column;"
        "ALTER TABLE orders DROP CONSTRAINT made_check; DROP POLICY made_policy ON customers;"
        "DROP TRIGGER made_trigger ON orders"
    )
    assert found() == {"status": "passed", "names": set()}


def test_a_function_whose_types_do_not_tell(database: TestDatabase) -> None:
    """Its name has a parenthesis of its own."""
    database.query("""CREATE FUNCTION "f (x)"(integer) RETURNS integer LANGUAGE sql AS 'SELECT 1'""")
    gone = [{"kind": "function", "name": f'public."{name}"(no_such_type)'} for name in ("f (x)", "g (x)")]
    run = run_module("rollback_verify", {**database.login(), "gone": gone})
    (check,) = [each for each in run["checks"] if each["name"] == "gone"]
    assert check["status"] == "skipped"
    assert 'public."f (x)"(no_such_type) (a type in it' in check["message"]
    assert '"g (x)"' not in check["message"]


@pytest.mark.parametrize("compared", [False, True])
def test_while_something_is_locked_the_rest_is_looked_at(
    database: TestDatabase, tmp_path: Path, compared: bool
) -> None:
    database.query("CREATE TABLE busy (id int); CREATE VIEW over_it AS SELECT id FROM busy; CREATE TABLE left_over ()")
    kept = {"migration": "release", "artifacts_dir": str(tmp_path), "host": "app"}
    baseline = run_module("migration_baseline", {**database.login(), **kept})["path"] if compared else None
    with database.connect().cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE busy")
        run = run_module("rollback_verify", {
            **database.login(), "gone": [{"kind": "table", "name": "public.left_over"}],
            "created": [{"kind": "enum", "name": "public.mood"}], "baseline": baseline,
        })  # fmt: skip
    (check,) = [each for each in run["checks"] if each["name"] == "gone"]
    assert [each["name"] for each in check["objects"]] == ["public.left_over"]
    assert "Not checked: 1 objects of other kinds" in check["message"]
