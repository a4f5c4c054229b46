# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Objects of every kind that a quarantine moves, and the move as the module does it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.catalog_difference import compare
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_snapshot import Snapshot, read_snapshot
from ansible_collections.pgops.rollback.plugins.module_utils.connection import server_info
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_attempts import Acting, in_attempts
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_plan import (
    Planned,
    PlanRequest,
    make_plan,
    read_plan,
)
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_provenance import Provenance
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_quarantine import (
    prepare_quarantine,
    quarantine_locks,
    quarantine_schema,
    taken_schemas,
)
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_return import Returned, return_from_quarantine
from tests.support.database import OPERATOR, TestDatabase
from tests.support.teardown import COACHING

#: Where what is moved goes, unless that name is taken.
SCHEMA = "rollback_quarantine_test"

#: Ends every session that keeps others from reading something.
END_WHO_LOCKS = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted"

#: Beside the coaching tables, as operator and as superuser.
SHAPES = """
SET search_path = public;
ALTER PUBLICATION supabase_realtime ADD TABLE sponsor_connections (id, status) WHERE (status <> 'ended');
CREATE TABLE events (id bigint GENERATED ALWAYS AS IDENTITY, at date NOT NULL, name text) PARTITION BY RANGE (at);
CREATE INDEX events_at ON events (at);
CREATE TABLE events_2025 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE "Events 2026" PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
INSERT INTO events (at, name) VALUES ('2025-05-05', 'a'), ('2026-06-06', 'b');
CREATE TABLE base (a int PRIMARY KEY, b text);
CREATE TABLE child (c int CHECK (c > 0)) INHERITS (base);
CREATE SCHEMA "Coach Data";
CREATE TABLE "Coach Data"."Session.Notes" ("Id" serial PRIMARY KEY, "select" text DEFAULT '{}%s',
                                           EXCLUDE ("select" WITH =));
CREATE TABLE "Coach Data"."order" ("user" int REFERENCES "Coach Data"."Session.Notes" ON DELETE CASCADE);
CREATE UNLOGGED TABLE "50% {0}" (a "char", b bit(3), doc jsonb);
CREATE FUNCTION "50% {0}"(VARIADIC parts "char"[]) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION fires() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER fires BEFORE INSERT ON virtues FOR EACH ROW EXECUTE FUNCTION fires();
CREATE STATISTICS told ON id, status FROM sponsor_connections;
COMMENT ON TABLE "Coach Data"."order" IS 'It''s all here';
COMMENT ON COLUMN sponsor_connections.status IS 'How far it is';
GRANT SELECT (id, status) ON sponsor_connections TO anon;
ALTER TABLE sponsor_chat_messages DISABLE TRIGGER set_updated_at;
ALTER TABLE "Coach Data"."order" ENABLE ROW LEVEL SECURITY; ALTER TABLE "Coach Data"."order" FORCE ROW LEVEL SECURITY;
CREATE SEQUENCE tickets START 5; SELECT nextval('tickets');
ALTER TABLE virtues ADD ticket bigint DEFAULT nextval('tickets');
CREATE FUNCTION pick(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION pick(text) RETURNS int LANGUAGE sql AS 'SELECT 2';
CREATE FUNCTION pick(numeric) RETURNS int LANGUAGE sql AS 'SELECT 3';
CREATE PROCEDURE tidy(INOUT n int, OUT m int) LANGUAGE sql AS 'SELECT 1, 2';
CREATE AGGREGATE joined(text) (SFUNC = textcat, STYPE = text);
CREATE FUNCTION "Coach Data"."label of"(sponsor_connections, sponsor_connections[], "Coach Data"."Session.Notes")
    RETURNS text LANGUAGE sql BEGIN ATOMIC SELECT ($1).status; END;
REVOKE EXECUTE ON FUNCTION "Coach Data"."label of"(sponsor_connections, sponsor_connections[],
                                                   "Coach Data"."Session.Notes") FROM PUBLIC;
CREATE PUBLICATION roots FOR TABLE events, ONLY base WITH (publish_via_partition_root);
CREATE VIEW labels AS SELECT "Coach Data"."label of"(c, ARRAY[c], NULL) AS label FROM sponsor_connections c;
CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS n FROM sponsor_connections;
"""
SUPERUSERS_SHAPES = """
CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing;
CREATE FOREIGN TABLE public.far (id int) SERVER nowhere; ALTER FOREIGN TABLE public.far OWNER TO operator;
CREATE PUBLICATION of_schema FOR TABLES IN SCHEMA "Coach Data";
ALTER DEFAULT PRIVILEGES FOR ROLE operator GRANT ALL ON SCHEMAS TO anon, PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE operator GRANT ALL ON TABLES TO anon, authenticated, service_role;
"""
MANIFEST: dict[str, Any] = {
    "name": "coaching",
    "tables": [
        *COACHING["tables"], "public.events", "public.base", "public.child", '"Coach Data"."Session.Notes"',
        '"Coach Data"."order"', 'public."50% {0}"', "public.far",
    ],
    "functions": [
        *COACHING["functions"], "public.pick(integer)", "public.pick(text)", "public.tidy(integer)",
        "public.joined(text)", 'public."50% {0}"("char"[])', "public.fires()",
        '"Coach Data"."label of"(public.sponsor_connections, public.sponsor_connections[],'
        ' "Coach Data"."Session.Notes")',
    ],
    "sequences": ["public.tickets"],
}  # fmt: skip

UNKNOWN = Provenance(allow_unknown=True)


def load_shapes(database: TestDatabase) -> None:
    """On top of the sample application."""
    database.query(SHAPES)
    database.query(SUPERUSERS_SHAPES, user="postgres")


def quarantine(
    database: TestDatabase,
    manifest: dict[str, Any] | None = None,
    user: str = OPERATOR,
    acting: type[Acting] = Acting,
    last: Callable[[], None] | None = None,
    committed: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Move what the manifest names.

    :param acting: runs the statements.
    :param last: is called before the commit, and ``committed`` right after it.
    :returns: what a bundle would hold of it.
    """
    connection = database.connect(user)
    server, request = server_info(connection), PlanRequest(manifest or COACHING, "quarantine", UNKNOWN)
    planned = make_plan(connection, server, request)
    assert planned.plan["blockers"] == []

    def work(cursor: Any) -> dict[str, Any]:
        again: Planned = read_plan(cursor, server, request, [])
        assert again.plan["token"] == planned.plan["token"]
        prepared = prepare_quarantine(cursor, again, quarantine_schema("test", taken_schemas(cursor)))
        limited = acting(cursor, 500)
        prepared.take_history(cursor, limited)
        prepared.move(cursor, limited)
        if last is not None:
            last()
        return prepared.content

    tables = [(each.schema, each.short) for each in planned.targets.tables if each.kind == "table"]
    try:
        content, _attempts = in_attempts(connection, 500, tables, planned.targets.relations, work)
        if committed is not None:
            committed()
    finally:
        connection.close()
    read: dict[str, Any] = json.loads(json.dumps(content))
    return read


def undo(
    database: TestDatabase, content: dict[str, Any], user: str = OPERATOR, last: Callable[[], None] | None = None
) -> Returned:
    """Move it back.

    :param last: is called before the commit.
    """
    connection = database.connect(user)

    def work(cursor: Any) -> Returned:
        returned = return_from_quarantine(cursor, content, 500)
        if last is not None:
            last()
        return returned

    try:
        return in_attempts(connection, 500, *quarantine_locks(content), work)[0]
    finally:
        connection.close()


def schema_text(database: TestDatabase) -> str:
    """What pg_dump says of it, but for the key that is another one each time."""
    login = database.login("postgres")
    done = subprocess.run(
        [database.cluster.bindir / "pg_dump", "-h", login["login_host"], "-p", str(login["login_port"]),
         "-U", "postgres", "-d", database.name, "--schema-only"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return "\n".join(line for line in done.stdout.splitlines() if not line.startswith(("\\restrict", "\\unrestrict")))


def state(database: TestDatabase) -> tuple[Snapshot, str]:
    """Everything about it: catalogs, rows, sequences, and what pg_dump says."""
    connection = database.superuser()
    snapshot = read_snapshot(connection, "exact", checksums=True)
    connection.close()
    return snapshot, schema_text(database)


def assert_same(before: tuple[Snapshot, str], after: tuple[Snapshot, str], same_objects: bool = False) -> None:
    """:param same_objects: by their OIDs, too."""
    assert compare(before[0], after[0]).texts() == []
    for part in ("fingerprint", "rows", "checksums", "sequences", *(["identities"] if same_objects else [])):
        assert getattr(after[0], part) == getattr(before[0], part), part
    assert after[1] == before[1]
