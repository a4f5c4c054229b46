# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What was moved into quarantine is dropped from there, comes back into it, and from there home."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.connection import server_info
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_apply import Order, tear_down
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_cipher import Cipher
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_plan import PlanRequest, make_plan, summary
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_request import PURGE_ARGUMENTS, plan_or_purge
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_retention import expire
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_undo import UndoRequest, undo
from tests.support.database import OPERATOR, TestCluster, TestDatabase
from tests.support.quarantine import MANIFEST, assert_same, load_shapes, state
from tests.support.teardown import COACHING, load_application

VERSION = "20251125120000"
HISTORY = f"""
CREATE SCHEMA supabase_migrations;
CREATE TABLE supabase_migrations.schema_migrations (version text PRIMARY KEY, statements text[], name text);
INSERT INTO supabase_migrations.schema_migrations VALUES ('{VERSION}', '{{a,b}}', 'coaching')
"""


@pytest.fixture
def application(database: TestDatabase) -> TestDatabase:
    load_application(database)
    return database


class Host:
    """A database in the inventory, with what the modules do on it, within this process."""

    def __init__(self, database: TestDatabase, artifacts: Path, user: str = OPERATOR) -> None:
        self.artifacts, self.runs, self.retention = artifacts, 0, timedelta(days=30)
        self.connection = database.connect(user)
        self.server = server_info(self.connection)

    def plan(self, **options: Any) -> dict[str, Any]:
        made: dict[str, Any] = make_plan(self.connection, self.server, self._request(options)).plan
        return made

    def act(self, token: str = "", check: bool = False, **options: Any) -> dict[str, Any]:
        """:param token: that of the plan by default."""
        self.runs += 1
        token = token or self.plan(**options)["token"]
        order = Order(
            self._request(options), "db1", token, {"db1": token}, str(self.artifacts), f"run-{self.runs}", None, 10,
            120, False, self.retention, Cipher(),
        )  # fmt: skip
        done: dict[str, Any] = tear_down(self.connection, self.server, order, check)
        return done

    def quarantine(self, manifest: dict[str, Any] | None = None) -> dict[str, Any]:
        return self.act(manifest=manifest or COACHING, allow_unknown_provenance=True)

    def purge(self, **options: Any) -> dict[str, Any]:
        return self.act(mode="purge", **options)

    def undo(self, bundle: str | None = None) -> dict[str, Any]:
        request = UndoRequest(str(self.artifacts), "db1", bundle, "500ms", 120, Cipher())
        done: dict[str, Any] = undo(self.connection, self.server, request, False)
        return done

    def _request(self, options: dict[str, Any]) -> PlanRequest:
        defaults = {name: each.get("default") for name, each in PURGE_ARGUMENTS.items()}
        where = {"host": "db1", "artifacts_dir": str(self.artifacts), "require_backup": False}
        return plan_or_purge(self.connection, self.server, {**defaults, **where, **options})


def codes(plan: dict[str, Any]) -> list[str]:
    return [each["code"] for each in plan["blockers"]]


@contextmanager
def refused(code: str, *words: str) -> Iterator[None]:
    with pytest.raises(RollbackError) as error:
        yield
    assert error.value.code == code
    assert all(each in str(error.value) for each in words), str(error.value)


def schemas(database: TestDatabase) -> list[str]:
    return [name for (name,) in database.query("SELECT nspname FROM pg_namespace WHERE nspname ~ '^rollback_'")]


def test_purged_and_back_and_home(application: TestDatabase, tmp_path: Path) -> None:
    """Twice: what an undo has made again is another object by its OID."""
    application.query(HISTORY)
    host, at_home = Host(application, tmp_path), state(application)
    schema = host.quarantine({**COACHING, "history": {"value": VERSION}})["schema"]
    moved = state(application)
    assert codes(host.plan(mode="purge", require_backup=True)) == ["backup_unverified"]
    for bundles in (1, 2):
        plan = host.plan(mode="purge")
        assert {each["name"] for each in plan["objects"]} >= {f"{schema}.sponsor_connections"}
        assert ("schema", schema) in [(each["kind"], each["name"]) for each in plan["dependents"]]
        assert (plan["mode"], plan["blockers"], plan["history"], plan["drift"]) == ("purge", [], None, [])
        predicted = host.purge(check=True)
        assert "Would purge 8 objects" in predicted["msg"]
        assert_same(moved, state(application))

        done = host.purge()
        assert ("Purged 8 objects" in done["msg"], "schema" in done) == (True, False)
        assert schemas(application) == []
        broken = {each["what"].partition(" ")[0] for each in done["broken"]}
        assert ("view" in broken, "schema" in broken) == (True, False)
        assert host.plan(mode="purge")["objects"] == []
        # Its quarantine cannot be undone before the purge is.
        with refused("bundle_gone"):
            host.undo(str(tmp_path / "db1/run-1/bundle"))

        back = host.undo()
        assert (back["mode"], back["bundle"], back["notes"]) == ("purge", done["bundle"], []), bundles
        assert "8 objects are back in quarantine" in back["msg"]
        assert_same(moved, state(application))
        assert host.undo(done["bundle"])["msg"] == "Nothing to do: it was undone already."
    home = host.undo()
    assert (home["mode"], home["objects"], home["notes"]) == ("quarantine", 8, [])
    assert_same(at_home, state(application))
    assert host.undo(str(tmp_path / "db1/run-1/bundle"))["msg"] == "Nothing to do: it was undone already."
    with refused("bundle_none"):
        host.undo()


@pytest.mark.full
def test_objects_of_every_kind(application: TestDatabase, tmp_path: Path) -> None:
    load_shapes(application)
    host, at_home = Host(application, tmp_path, "postgres"), state(application)
    schema = host.quarantine(MANIFEST)["schema"]
    application.query(f"COMMENT ON SCHEMA {schema} IS 'Ask first'; GRANT USAGE ON SCHEMA {schema} TO anon",
                      user="postgres")  # fmt: skip
    moved = state(application)
    done = host.purge()
    assert done["status"] == "changed", done["msg"]
    assert schemas(application) == []
    # What everybody would get by default is not what the schema had.
    application.query("ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO authenticated", user="postgres")
    host.undo()
    application.query("ALTER DEFAULT PRIVILEGES REVOKE ALL ON SCHEMAS FROM authenticated", user="postgres")
    assert_same(moved, state(application))
    host.undo()
    assert_same(at_home, state(application))


def test_nothing_to_purge(application: TestDatabase, tmp_path: Path) -> None:
    host = Host(application, tmp_path)
    plan = host.plan(mode="purge")
    assert (plan["objects"], plan["blockers"], plan["warnings"]) == ([], [], [])
    assert summary(plan) == "Nothing to do: the database has nothing in a quarantine of this host."
    done = host.purge()
    assert (done["changed"], done["msg"]) == (False, summary(plan))
    host.quarantine()
    host.undo()
    assert host.plan(mode="purge")["objects"] == []
    assert host.plan(mode="purge", bundle=str(tmp_path / "db1/run-2/bundle"))["objects"] == []


def test_which_quarantine(application: TestDatabase, tmp_path: Path) -> None:
    """The newest, or the one that is named; and none of another host, and none that is a drop."""
    application.query("CREATE TABLE public.later (id int); CREATE TABLE public.last (id int)")
    host = Host(application, tmp_path)
    first = host.quarantine()
    second = host.quarantine({"tables": ["public.later"]})
    newest, named = host.plan(mode="purge"), host.plan(mode="purge", bundle=first["bundle"])
    assert [each["name"] for each in newest["objects"]] == [f"{second['schema']}.later"]
    assert f"{first['schema']}.sponsor_connections" in [each["name"] for each in named["objects"]]
    assert newest["token"] != named["token"]
    with refused("confirmation_stale"):
        host.act(named["token"], mode="purge")
    assert host.plan(mode="purge", host="db2")["objects"] == []

    dropped = host.act(mode="drop", manifest={"tables": ["public.last"]}, allow_unknown_provenance=True)
    with refused("bundle_unfit", "is of a drop", "nothing was done"):
        host.plan(mode="purge", bundle=dropped["bundle"])
    assert host.purge(bundle=first["bundle"])["status"] == "changed"
    assert host.purge()["status"] == "changed"
    assert host.plan(mode="purge")["objects"] == []
    assert schemas(application) == []


def test_what_was_not_moved_there(application: TestDatabase, tmp_path: Path) -> None:
    """It stays, and so does the schema then; what cannot but go with the rest is in its way."""
    application.query("CREATE TABLE public.parts (id int) PARTITION BY LIST (id)")
    host = Host(application, tmp_path)
    schema = host.quarantine({**COACHING, "tables": [*COACHING["tables"], "public.parts"]})["schema"]
    application.query(f"CREATE TABLE {schema}.stranger (id int); CREATE TYPE {schema}.mood AS ENUM ('good')")
    application.query(f"CREATE TABLE {schema}.part PARTITION OF {schema}.parts FOR VALUES IN (1)")
    blocked = host.plan(mode="purge")
    assert codes(blocked) == ["provenance_unknown"]
    assert f"{schema}.part: no teardown of this host moved them there" in blocked["blockers"][0]["message"]
    application.query(f"DROP TABLE {schema}.part")
    moved, plan = state(application), host.plan(mode="purge")
    assert "schema" not in {each["kind"] for each in plan["dependents"]}
    assert host.purge()["status"] == "changed"
    assert application.value(f"SELECT count(*) FROM {schema}.stranger") == 0
    host.undo()
    assert_same(moved, state(application))


def test_a_stale_token(application: TestDatabase, tmp_path: Path) -> None:
    host = Host(application, tmp_path)
    host.quarantine()
    schema, token = schemas(application)[0], host.plan(mode="purge")["token"]
    application.query(f"CREATE TABLE {schema}.stranger (id int)")
    before = state(application)
    with refused("confirmation_stale", "nothing was done"):
        host.act(token, mode="purge")
    assert_same(before, state(application), same_objects=True)


@pytest.mark.full
def test_a_killed_purge_is_told_by_the_objects(application: TestDatabase, tmp_path: Path) -> None:
    host = Host(application, tmp_path)
    host.quarantine()
    done = host.purge()
    (Path(done["bundle"]) / "committed.json").unlink()
    again = host.purge()
    assert (again["changed"], "was interrupted after it had done it all" in again["msg"]) == (False, True)


def test_the_schema_could_not_be_made_again(application: TestDatabase, tmp_path: Path) -> None:
    host = Host(application, tmp_path)
    host.quarantine()
    name = application.name
    application.query(f"ALTER DATABASE {name} OWNER TO postgres", user="postgres")
    application.query(f"REVOKE CREATE ON DATABASE {name} FROM operator, PUBLIC", user="postgres")
    assert codes(host.plan(mode="purge")) == ["privilege_missing"]


def test_the_bundle_of_what_was_purged_is_kept(application: TestDatabase, tmp_path: Path) -> None:
    """For as long as the purge can be undone, whatever its own retention was."""
    application.query("CREATE TABLE public.bare (id int); INSERT INTO public.bare VALUES (1)")
    host, at_home = Host(application, tmp_path), state(application)
    host.retention = timedelta(seconds=0)
    moved = host.quarantine({"tables": ["public.bare"]})
    host.retention = timedelta(days=30)
    purged = host.purge()
    expired = expire(host.connection, host.server, str(tmp_path), "db1", False)
    assert {each["bundle"]: each["fate"] for each in expired["bundles"]} == {
        moved["bundle"]: "kept", purged["bundle"]: "kept"
    }, expired["msg"]  # fmt: skip
    assert "The purge of its objects can be undone until" in expired["msg"]
    host.undo()
    host.undo()
    assert_same(at_home, state(application))


def test_an_unreadable_bundle_may_be_of_the_purge(application: TestDatabase, tmp_path: Path) -> None:
    """So nothing that its undo would need is removed."""
    application.query("CREATE TABLE public.bare (id int)")
    host = Host(application, tmp_path)
    host.retention = timedelta(seconds=0)
    moved = host.quarantine({"tables": ["public.bare"]})
    host.retention = timedelta(days=30)
    content = Path(host.purge()["bundle"], "bundle.json")
    content.write_text(content.read_text(encoding="utf-8").replace("bare", "bear"), encoding="utf-8")
    expired = expire(host.connection, host.server, str(tmp_path), "db1", False)
    assert {each["fate"] for each in expired["bundles"]} == {"left"}, expired["msg"]
    assert Path(moved["bundle"]).is_dir()


def test_an_undo_that_was_killed_before_its_note_is_not_followed_by_another(
    application: TestDatabase, tmp_path: Path
) -> None:
    """A rerun says that it was done, and leaves what was torn down before alone."""
    application.query("CREATE TABLE public.bare (id int)")
    host = Host(application, tmp_path)
    host.quarantine({"tables": ["public.bare"]})
    note = Path(host.purge()["bundle"], "undone.json")
    host.undo()
    note.unlink()
    moved = state(application)
    again = host.undo()
    assert (again["changed"], again["mode"], note.exists()) == (False, "purge", True), again["msg"]
    assert_same(moved, state(application), same_objects=True)
    assert host.undo()["mode"] == "quarantine"


def test_the_bundle_of_a_killed_drop_is_not_undone_after_the_next_one(
    application: TestDatabase, tmp_path: Path
) -> None:
    application.query("CREATE TABLE public.bare (id int)")
    host = Host(application, tmp_path)
    done = host.act(mode="drop", manifest={"tables": ["public.bare"]}, allow_unknown_provenance=True)
    # What a run leaves that is killed between its bundle and its commit.
    killed = tmp_path / "db1/run-0/bundle"
    shutil.copytree(done["bundle"], killed)
    (killed / "committed.json").unlink()
    os.utime(killed / "bundle.json", (1, 1))
    assert host.undo()["bundle"] == done["bundle"]
    with refused("bundle_none"):
        host.undo()


def test_check_mode_leaves_no_note_and_no_other_database_does(
    application: TestDatabase, cluster: TestCluster, tmp_path: Path
) -> None:
    application.query("CREATE TABLE public.bare (id int)")
    dropping: dict[str, Any] = {
        "mode": "drop", "manifest": {"tables": ["public.bare"]}, "allow_unknown_provenance": True
    }  # fmt: skip
    host, other = Host(application, tmp_path), TestDatabase(cluster)
    note = Path(host.act(**dropping)["bundle"], "committed.json")
    note.unlink()
    assert "was interrupted after it had done it all" in host.act(check=True, **dropping)["msg"]
    assert not note.exists()
    other.create()
    try:
        elsewhere = Host(other, tmp_path)
        assert elsewhere.act(**dropping)["msg"] == summary(elsewhere.plan(**dropping))
        elsewhere.connection.close()
    finally:
        other.drop()
    assert not note.exists()
