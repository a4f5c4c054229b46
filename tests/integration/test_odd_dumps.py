# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Intact dumps that a plain pg_restore into an empty database would stumble over."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.content_manifest import (
    manifest_path,
    read_manifest,
    write_manifest,
)
from ansible_collections.pgops.rollback.plugins.module_utils.table_content import list_tables, measure, reading
from tests.integration.test_backup_verify import checks, run_drill, verify
from tests.support.database import TestDatabase
from tests.support.modules import run_module

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


LOGGED_DDL = """
CREATE TABLE people (name text); INSERT INTO people VALUES ('alice');
CREATE MATERIALIZED VIEW names AS SELECT name FROM people;
CREATE TABLE ddl_log (id serial, tag text);
CREATE FUNCTION log_ddl() RETURNS event_trigger LANGUAGE plpgsql AS
$$ BEGIN INSERT INTO public.ddl_log (tag) VALUES (tg_tag); END $$;
CREATE EVENT TRIGGER log_ddl ON ddl_command_end EXECUTE FUNCTION log_ddl()
"""


@pytest.mark.parametrize("form", ENDINGS)
def test_event_triggers_do_not_fire_in_a_drill(database: TestDatabase, tmp_path: Path, form: str) -> None:
    """pg_dump has them made before the last refresh of a materialized view, which they would note."""
    database.query(LOGGED_DDL, user="postgres")
    path = tmp_path / "odd.dump"
    run = run_module("backup_dump", {**database.login("postgres"), "path": str(path), "format": form})
    assert not run.failed, run["msg"]
    run = verify(path)
    assert (run["verdict"], checks(run)["hashes"], checks(run)["sequences"]) == ("ok", "passed", "passed"), run["msg"]


SHOUTED = """
CREATE FUNCTION shout(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT pg_catalog.upper($1)';
CREATE TABLE people (name text, shouted text GENERATED ALWAYS AS (shout(name)) STORED);
INSERT INTO people VALUES ('alice')
"""


def test_generated_columns_are_generated_again(database: TestDatabase, tmp_path: Path) -> None:
    """They are not in the dump, and what they are may depend on more than the row: here, on a newer function."""
    database.query(SHOUTED)
    database.query("CREATE OR REPLACE FUNCTION shout(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1'")
    path = tmp_path / "odd.dump"
    run = run_module("backup_dump", {**database.login("postgres"), "path": str(path), "compress": "0"})
    assert not run.failed, run["msg"]
    run = verify(path)
    assert (run["verdict"], checks(run)["hashes"]) == ("ok", "passed"), run["msg"]


def test_a_manifest_of_an_earlier_release(database: TestDatabase, tmp_path: Path) -> None:
    """Its hashes are of all columns."""
    database.query(SHOUTED)
    path = tmp_path / "odd.dump"
    run_module("backup_dump", {**database.login("postgres"), "path": str(path)})
    known = read_manifest(manifest_path(path))
    connection = database.superuser()
    with reading([connection]):
        tables = list_tables(connection.cursor())
        earlier = known.algorithm.replace("-2", "-1")
        measured = measure([connection], tables, earlier, lambda _text, _fraction: None)
    assert measured != list(known.tables)
    write_manifest(replace(known, algorithm=earlier, tables=tuple(measured)), path)
    run = verify(path)
    assert (run["verdict"], checks(run)["hashes"]) == ("ok", "passed"), run["msg"]


@pytest.mark.parametrize("form", ENDINGS)
def test_labels_whose_provider_is_not_loaded(database: TestDatabase, tmp_path: Path, form: str) -> None:
    database.query("CREATE TABLE people (name text); INSERT INTO people VALUES ('alice')")
    database.superuser().cursor().execute(
        "SET allow_system_table_mods = on; INSERT INTO pg_catalog.pg_seclabel"
        " VALUES ('people'::regclass, 'pg_class'::regclass, 0, 'no where', E'two\\nlines')"
    )
    run = verify(dumped(database, tmp_path, form))
    assert (run["verdict"], run["restore"]["rows"]) == ("degraded", 1), run["msg"]
    assert "security labels of no where" in run["msg"]


COLLATED = """
CREATE COLLATION german (provider = libc, locale = 'C.utf8');
CREATE TABLE names (id int GENERATED ALWAYS AS IDENTITY, name text COLLATE german);
INSERT INTO names (name) VALUES ('bob');
CREATE VIEW shown AS SELECT * FROM names;
CREATE TABLE people (id serial PRIMARY KEY, name text);
INSERT INTO people (name) VALUES ('alice');
CREATE INDEX by_name ON people (name COLLATE german);
CREATE INDEX by_code ON people (name COLLATE pg_catalog.ucs_basic)
"""


def without_its_collations(path: Path) -> None:
    """As on a host that has neither the locale nor, for want of ICU, the collation that comes with Postgres."""
    content = path.read_bytes()
    path.write_bytes(content.replace(b"'C.utf8'", b"'X.utf8'").replace(b"ucs_basic", b"ucs_basix"))


@pytest.mark.parametrize("form", ENDINGS)
def test_collations_that_this_host_lacks(database: TestDatabase, tmp_path: Path, form: str) -> None:
    """All that needs them is left out of an archive; plain SQL, which ends at the first error, is not drilled here."""
    database.query(COLLATED, user="postgres")
    path = tmp_path / f"odd.{ENDINGS[form]}"
    options = {"path": str(path), "format": form, "compress": "0" if form == "custom" else None}
    run = run_module("backup_dump", {**database.login("postgres"), **options})
    assert not run.failed, run["msg"]
    without_its_collations(path)
    rung = run_drill(path)
    if form == "plain":
        assert (rung.status, "cannot be restored here" in rung.message) == ("skipped", True), rung
        return
    assert rung.status == "degraded", rung
    assert "without the collations pg_catalog.ucs_basix, public.german" in rung.message
    assert "public.names" in rung.message
    found = {check.name: check.status for check in rung.checks}
    assert [found[name] for name in ("counts", "hashes", "sequences")] == ["passed"] * 3
    assert found["inventory"] == "degraded"


def test_a_collation_that_is_damaged_is_no_host_s_fault(database: TestDatabase, tmp_path: Path) -> None:
    database.query(COLLATED, user="postgres")
    path = dumped(database, tmp_path, "plain")
    path.write_text(path.read_text().replace("COLLATE public.german", "COLLATE public.germam", 1))
    assert run_drill(path).status == "failed"
