# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is no object of a schema: the database itself, roles, privileges on the system's objects, foreign servers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.catalog_difference import compare
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_snapshot import Snapshot, read_snapshot
from tests.support.database import TestDatabase
from tests.support.modules import run_module

SCHEMA = """
CREATE ROLE {anon} PASSWORD 'pass-secret' VALID UNTIL '2031-01-01';
CREATE ROLE {service};
CREATE TYPE pair AS (a int, b text);
CREATE OPERATOR FAMILY family USING btree;
CREATE FOREIGN DATA WRAPPER wrapper OPTIONS (key 'fdw-secret');
CREATE SERVER elsewhere FOREIGN DATA WRAPPER wrapper OPTIONS (host 'h', password 'server-secret');
CREATE USER MAPPING FOR {anon} SERVER elsewhere OPTIONS (user 'u', password 'mapping-secret');
"""

#: A statement, and every sentence that the difference says of it.
CHANGES: list[tuple[str, list[str]]] = [
    ("REVOKE CONNECT ON DATABASE {db} FROM public", ["public lost CONNECT on database {db}"]),
    ("GRANT CREATE ON DATABASE {db} TO {anon}", ["{anon} gained CREATE on database {db}"]),
    ("ALTER DATABASE {db} OWNER TO {service}", ["database {db} belongs to {service}; it belonged to operator"]),
    ("COMMENT ON DATABASE {db} IS 'mine'", ["database {db} has comment mine; it had none"]),
    ("ALTER DATABASE {db} CONNECTION LIMIT 50", ["database {db} has connection limit 50; it had none"]),
    ("ALTER ROLE {anon} BYPASSRLS", ["role {anon} bypasses row level security; it did not"]),
    ("ALTER ROLE {anon} NOBYPASSRLS", ["role {anon} does not bypass row level security; it did"]),
    ("ALTER ROLE {anon} SUPERUSER", ["role {anon} is a superuser; it was not"]),
    ("ALTER ROLE {anon} NOSUPERUSER LOGIN",
     ["role {anon} can log in; it could not", "role {anon} is not a superuser; it was"]),
    ("ALTER ROLE {anon} CREATEROLE CREATEDB REPLICATION",
     ["role {anon} can create databases; it could not", "role {anon} can create roles; it could not",
      "role {anon} can replicate; it could not"]),
    ("ALTER ROLE {anon} NOINHERIT",
     ["role {anon} does not inherit the privileges of what it is a member of; it did"]),
    ("GRANT {service} TO {anon}", ["role {anon} is a member of {service}; it was not"]),
    ("GRANT {service} TO {anon} WITH ADMIN OPTION",
     ["role {anon} is a member of {service} WITH ADMIN OPTION; it was not",
      "role {anon} is not a member of {service}; it was"]),
    ("COMMENT ON ROLE {anon} IS 'anybody'", ["role {anon} has comment anybody; it had none"]),
    ("ALTER ROLE {anon} SET statement_timeout = '3s'", ["role setting statement_timeout of role {anon} is new"]),
    ("ALTER ROLE {anon} SET statement_timeout = '4s'",
     ["value of role setting statement_timeout of role {anon} is 4s; it was 3s"]),
    ("ALTER ROLE {anon} SET app.token = 'setting-secret'", ["role setting app.token of role {anon} is new"]),
    ("ALTER ROLE {anon} PASSWORD 'other'", []),
    ("COMMENT ON COLUMN pair.a IS 'first'", ["type public.pair has column comments a: first; it had none"]),
    ("COMMENT ON OPERATOR FAMILY family USING btree IS 'kin'",
     ["operator family public.family USING btree has comment kin; it had none"]),
    ("COMMENT ON LANGUAGE plpgsql IS 'spoken'",
     ["comment of language plpgsql is spoken; it was PL/pgSQL procedural language"]),
    ("REVOKE USAGE ON LANGUAGE plpgsql FROM public", ["public lost USAGE on language plpgsql"]),
    ("COMMENT ON EXTENSION plpgsql IS 'ours'",
     ["comment of extension plpgsql is ours; it was PL/pgSQL procedural language"]),
    ("GRANT SELECT ON pg_catalog.pg_authid TO {anon}",
     ["{anon} gained SELECT on system table pg_catalog.pg_authid"]),
    ("REVOKE SELECT ON pg_catalog.pg_authid FROM {anon}", ["{anon} lost SELECT on system table pg_catalog.pg_authid"]),
    ("GRANT SELECT (rolpassword) ON pg_catalog.pg_authid TO {anon}",
     ["{anon} gained SELECT on system column pg_catalog.pg_authid.rolpassword"]),
    ("GRANT EXECUTE ON FUNCTION pg_read_file(text) TO {anon}",
     ["{anon} gained EXECUTE on system function pg_catalog.pg_read_file(text)"]),
    ("REVOKE SELECT ON information_schema.tables FROM public",
     ["public lost SELECT on system view information_schema.tables"]),
    ("GRANT SELECT ON information_schema.tables TO public",
     ["public gained SELECT on system view information_schema.tables"]),
    ("GRANT CREATE ON SCHEMA pg_catalog TO {anon}", ["{anon} gained CREATE on system schema pg_catalog"]),
    ("REVOKE USAGE ON TYPE pg_catalog.int4 FROM public", ["public lost USAGE on system type pg_catalog.int4"]),
    ("REVOKE USAGE ON LANGUAGE sql FROM public", ["public lost USAGE on system language sql"]),
    ("DROP USER MAPPING FOR {anon} SERVER elsewhere", ["user mapping of {anon} on elsewhere is gone"]),
    ("DROP OWNED BY {anon}", [
        "{anon} lost CREATE on database {db}",
        "{anon} lost SELECT on system column pg_catalog.pg_authid.rolpassword",
        "{anon} lost EXECUTE on system function pg_catalog.pg_read_file(text)",
        "{anon} lost CREATE on system schema pg_catalog",
    ]),
    ("DROP ROLE {anon}",
     ["role {anon} is gone", "role setting app.token of role {anon} is gone",
      "role setting statement_timeout of role {anon} is gone"]),
]  # fmt: skip

#: Whose options were changed is told by their sum.
OPTIONS = [
    ("ALTER FOREIGN DATA WRAPPER wrapper OPTIONS (SET key 'fdw-other')", "foreign data wrapper wrapper"),
    ("ALTER SERVER elsewhere OPTIONS (SET password 'server-other')", "foreign server elsewhere"),
    ("ALTER USER MAPPING FOR {anon} SERVER elsewhere OPTIONS (SET password 'mapping-other')",
     "user mapping of {anon} on elsewhere"),
]  # fmt: skip


class Place:
    """A database with two roles of its own."""

    def __init__(self, database: TestDatabase) -> None:
        self.database = database
        self.connection = database.superuser()
        self.roles = {"anon": f"{database.name}_anon", "service": f"{database.name}_service"}

    def words(self, text: str) -> str:
        return text.replace("{db}", self.database.name).replace("{anon}", self.roles["anon"]).replace(
            "{service}", self.roles["service"])  # fmt: skip

    def run(self, statement: str) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(self.words(statement))

    def snapshot(self) -> Snapshot:
        return read_snapshot(self.connection, "none")


@pytest.fixture
def place(database: TestDatabase) -> Iterator[Place]:
    made = Place(database)
    made.run(SCHEMA)
    yield made
    made.run("ALTER DATABASE {db} OWNER TO operator")
    with made.connection.cursor() as cursor:
        cursor.execute("SELECT rolname FROM pg_roles WHERE rolname = ANY (%s)", (list(made.roles.values()),))
        for (role,) in cursor.fetchall():
            cursor.execute(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


def test_every_change_is_named(place: Place) -> None:
    wrong = []
    before = place.snapshot()
    for statement, expected in CHANGES:
        place.run(statement)
        after = place.snapshot()
        found = compare(before, after).texts()
        if sorted(found) != sorted(map(place.words, expected)):
            wrong.append((statement, found))
        before = after
    assert wrong == []


def test_options_are_told_by_their_sum_and_no_secret_gets_in(place: Place) -> None:
    place.run("ALTER ROLE {anon} SET app.token = 'setting-secret'")
    before = place.snapshot()
    for statement, label in OPTIONS:
        place.run(statement)
        after = place.snapshot()
        (text,) = compare(before, after).texts()
        assert text.startswith(f"options sha256 of {place.words(label)} is ")
        before = after
    written = json.dumps(place.snapshot().as_json())
    assert not any(word in written for word in ("-secret", "-other", "2031-01", "SCRAM", "md5"))
    assert json.dumps(place.snapshot().objects["foreign server", "elsewhere"].attributes["option_names"]) in written


def test_options_that_the_role_may_not_see_are_not_compared(place: Place) -> None:
    seen, unseen = place.snapshot(), read_snapshot(place.database.connect(), "none")
    name = place.words("of {anon} on elsewhere")
    assert "options_sha256" in seen.objects["user mapping", name].attributes
    assert [each["name"] for each in unseen.unreadable if each["kind"] == "user mapping"] == [name]
    assert compare(seen, unseen).texts() == compare(unseen, seen).texts() == []


def test_nothing_of_the_cluster_is_in_a_snapshot_of_some_schemas(place: Place) -> None:
    place.run("GRANT SELECT ON pg_catalog.pg_authid TO {anon}; ALTER ROLE {anon} SET statement_timeout = '3s'")
    kinds = set(read_snapshot(place.connection, "none", schemas=["public"]).counts())
    assert not kinds & {"database", "role", "role setting", "system privileges", "language", "foreign server"}
    everything = place.snapshot().counts()
    assert (everything["database"], everything["role"] >= 4, everything["system privileges"] >= 1) == (1, True, True)


def test_verification_tells_of_them(place: Place, tmp_path: Path) -> None:
    login = place.database.login("postgres")
    kept = {"migration": "release", "artifacts_dir": str(tmp_path), "host": "app"}
    baseline = run_module("migration_baseline", {**login, **kept})["path"]
    assert run_module("rollback_verify", {**login, "baseline": baseline})["verdict"] == "ok"
    place.run(
        "REVOKE CONNECT ON DATABASE {db} FROM public; ALTER ROLE {anon} BYPASSRLS; GRANT {service} TO {anon};"
        "GRANT SELECT ON pg_catalog.pg_authid TO {anon}"
    )
    run = run_module("rollback_verify", {**login, "baseline": baseline})
    found = {check["name"]: sorted(each["problem"] for each in check["objects"])
             for check in run["checks"] if check["objects"]}  # fmt: skip
    assert found == {
        "row_security_kept": [place.words("role {anon} bypasses row level security; it did not")],
        "grants_kept": sorted(map(place.words, (
            "public lost CONNECT on database {db}", "role {anon} is a member of {service}; it was not",
            "{anon} gained SELECT on system table pg_catalog.pg_authid",
        ))),
    }  # fmt: skip
