# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Dropped and brought back: everything is as it was, and whatever cannot be is refused before anything is dropped."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.catalog_difference import compare
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_snapshot import Snapshot, read_snapshot
from ansible_collections.pgops.rollback.plugins.module_utils.connection import server_info
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_bundle import (
    BUNDLE,
    Bundle,
    begin_bundle,
    read_bundle,
)
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_drop import Dropped, drop, drop_outcome
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_plan import (
    Planned,
    PlanRequest,
    make_plan,
    read_plan,
    reading,
)
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_restore import Restored, restore_dropped
from tests.support.database import OPERATOR, ROOT, TestDatabase
from tests.support.quarantine import MANIFEST, UNKNOWN, load_shapes, schema_text
from tests.support.teardown import COACHING, load_application, rolled_back
from tests.support.waiting import until

MIGRATION = (ROOT / "demo" / "coaching_migration.sql").read_text(encoding="utf-8")


@pytest.fixture
def application(database: TestDatabase) -> TestDatabase:
    load_application(database)
    return database


def as_released(database: TestDatabase) -> None:
    """The tables as the migration makes them where they are not there yet: with serial keys, and some rows."""
    database.query(f"DROP TABLE {', '.join(COACHING['tables'])} CASCADE")
    database.query(MIGRATION)
    database.query(
        "INSERT INTO public.sponsor_connections (practitioner_user_id, sponsor_user_id)"
        " SELECT p.id, s.id FROM auth.users p JOIN auth.users s ON s.id < p.id ORDER BY p.id, s.id LIMIT 50;"
        "DELETE FROM public.sponsor_connections WHERE id > 47"
    )


def state(database: TestDatabase) -> tuple[Snapshot, str]:
    connection = database.superuser()
    snapshot = read_snapshot(connection, "exact", checksums=True)
    connection.close()
    return snapshot, schema_text(database)


def assert_same(before: tuple[Snapshot, str], after: tuple[Snapshot, str]) -> None:
    assert compare(before[0], after[0]).texts() == []
    for part in ("fingerprint", "rows", "checksums", "sequences"):
        assert getattr(after[0], part) == getattr(before[0], part), part
    assert after[1] == before[1]


def teardown(
    database: TestDatabase,
    directory: Path,
    manifest: dict[str, Any] | None = None,
    meanwhile: Callable[[], None] | None = None,
    user: str = OPERATOR,
) -> Dropped:
    """:param meanwhile: is called when the plan was made again, before the export."""
    connection = database.connect(user)
    server = server_info(connection)
    request = PlanRequest(manifest or COACHING, "drop", UNKNOWN, require_backup=False)
    planned = make_plan(connection, server, request)
    assert planned.plan["blockers"] == []

    def again(cursor: Any) -> Planned:
        found: Planned = read_plan(cursor, server, request, [])
        assert found.plan["token"] == planned.plan["token"]
        if meanwhile is not None:
            meanwhile()
        return found

    try:
        return drop(connection, server, planned, again, 500, begin_bundle(str(directory), "db1", "run"), {}, 120)
    finally:
        connection.close()


def undo(database: TestDatabase, bundle: Bundle, user: str = OPERATOR) -> Restored:
    """From what is on disk."""
    connection = database.connect(user)
    try:
        return restore_dropped(connection, server_info(connection), read_bundle(bundle.directory), 500)
    finally:
        connection.close()


def outcome(database: TestDatabase, bundle: Bundle) -> str:
    with reading(database.connect()) as cursor:
        return drop_outcome(cursor, bundle.content)


def nothing_left(directory: Path) -> bool:
    return not [path for path in directory.rglob("*") if path.is_file()]


@pytest.mark.parametrize("shape", ["identity", "serial"])
def test_there_and_back(application: TestDatabase, tmp_path: Path, shape: str) -> None:
    if shape == "serial":
        as_released(application)
    before = state(application)
    done = teardown(application, tmp_path)
    print(f"{shape}: held {done.held_ms} ms")
    assert (done.attempts, done.exports) == (1, 1)
    assert done.bundle.directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in done.bundle.directory.iterdir()} == {0o600}
    gone = state(application)
    assert not [name for name in COACHING["tables"] if ("table", name) in gone[0].objects]
    assert outcome(application, done.bundle) == "committed"
    assert undo(application, done.bundle).attempts == 1
    assert_same(before, state(application))


def test_objects_of_every_kind(application: TestDatabase, tmp_path: Path) -> None:
    load_shapes(application)
    before = state(application)
    done = teardown(application, tmp_path, MANIFEST, user="postgres")
    undo(application, done.bundle, user="postgres")
    assert_same(before, state(application))


#: On survivors, and used by nothing but what goes.
ON_SURVIVORS = """
SET search_path = public;
CREATE FUNCTION doubled(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 2';
CREATE FUNCTION fires() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TABLE kept (id int PRIMARY KEY, n int DEFAULT doubled(4), CHECK (doubled(n) > 0),
                   "select" int, CONSTRAINT "odd ""one" CHECK (doubled("select") <> 5) NOT VALID);
INSERT INTO kept SELECT n FROM generate_series(1, 5) n;
CREATE INDEX kept_doubled ON kept (doubled(n));
CREATE TRIGGER fires BEFORE UPDATE ON kept FOR EACH ROW EXECUTE FUNCTION fires();
COMMENT ON TRIGGER fires ON kept IS 'It''s one';
CREATE TABLE gone (id int PRIMARY KEY, kept int REFERENCES kept, UNIQUE (id, kept));
INSERT INTO gone SELECT n, n FROM generate_series(1, 5) n;
CREATE TABLE refers (a int REFERENCES gone, b int, CONSTRAINT later FOREIGN KEY (b) REFERENCES gone NOT VALID);
INSERT INTO refers SELECT n FROM generate_series(1, 5) n;
COMMENT ON CONSTRAINT later ON refers IS 'Not yet';
ALTER TABLE kept ENABLE ROW LEVEL SECURITY;
CREATE POLICY sees ON kept USING (EXISTS (SELECT FROM gone WHERE gone.kept = kept.id));
COMMENT ON POLICY sees ON kept IS 'By what goes';
CREATE RULE noted AS ON UPDATE TO refers DO ALSO DELETE FROM gone WHERE id = OLD.b;
CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS n FROM gone;
CREATE MATERIALIZED VIEW never AS SELECT count(*) AS n FROM gone WITH NO DATA;
CREATE VIEW sums AS SELECT sum(n) FROM counted;
GRANT SELECT (id) ON gone TO anon; GRANT SELECT ON sums TO authenticated;
REVOKE EXECUTE ON FUNCTION doubled(int) FROM PUBLIC;
"""
LOOSE: dict[str, Any] = {
    "name": "loose", "tables": ["public.gone"], "functions": ["public.doubled(integer)", "public.fires()"],
}  # fmt: skip


def test_what_it_was_on_survivors_comes_back(application: TestDatabase, tmp_path: Path) -> None:
    application.query(ON_SURVIVORS)
    before = state(application)
    done = teardown(application, tmp_path, LOOSE)
    # Whatever is made in the meantime is given to everybody.
    application.query("ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO anon; "
                      "ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO anon")
    undo(application, done.bundle)
    application.query("ALTER DEFAULT PRIVILEGES REVOKE ALL ON TABLES FROM anon; "
                      "ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM anon")
    assert_same(before, state(application))
