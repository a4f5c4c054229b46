# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The modules teardown and teardown_undo: confirmed, all or nothing, told by the bundle, and back."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.confirmation import batch_token
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_bundle import CONTENT, PARTIAL, read_bundle
from tests.support.database import TestDatabase
from tests.support.modules import run_module
from tests.support.small_disk import make_read_only, small_disk
from tests.support.teardown import load_application
from tests.support.teardown_run import options, state, tear_down, token_of, undo, undo_options
from tests.support.waiting import until

OTHER = "rb-000000000000"


@pytest.fixture
def application(database: TestDatabase) -> TestDatabase:
    load_application(database)
    return database


def test_there_and_back(application: TestDatabase, tmp_path: Path) -> None:
    before, token = state(application), token_of(application)
    # A prediction asks for the token, too, and touches nothing.
    predicted = tear_down(application, tmp_path, token, check=True)
    assert (predicted["changed"], "Would quarantine" in predicted["msg"], list(tmp_path.iterdir())) == (True, True, [])
    assert state(application) == before

    done = tear_down(application, tmp_path, token)
    assert (done["changed"], done["status"], done["attempts"]) == (True, "changed", 1)
    assert application.value("SELECT to_regclass('public.sponsor_connections')") is None
    bundle = Path(done["bundle"])
    assert (bundle, bundle.stat().st_mode & 0o777) == (tmp_path / "db1/run-1/bundle", 0o700)
    assert {path.stat().st_mode & 0o777 for path in bundle.iterdir()} == {0o600}
    assert (read_bundle(bundle).committed, read_bundle(bundle).content["plan"]["token"]) == (True, token)
    assert application.value(f"SELECT count(*) FROM {done['schema']}.sponsor_chat_messages") == 2500

    # Nothing is left to do; that it was committed is told without the note, which a killed run would lack.
    (bundle / "committed.json").unlink()
    again = tear_down(application, tmp_path, token, run_id="run-2")
    assert (again["changed"], "run-1 was interrupted after it had done it all" in again["msg"]) == (False, True)
    assert read_bundle(bundle).committed

    back = undo(application, tmp_path)
    assert (back["changed"], back["notes"], back["bundle"]) == (True, [], str(bundle))
    # What is told to have gone is told to be back.
    assert back["objects"] == len(done["plan"]["objects"]) == 8
    assert state(application) == before
    assert token_of(application) == token
    assert "There is no teardown of db1" in undo(application, tmp_path)["msg"]
    twice = undo(application, tmp_path, bundle=str(bundle))
    assert (twice["changed"], twice["msg"]) == (False, "Nothing to do: it was undone already.")


def test_a_drop_and_back(application: TestDatabase, tmp_path: Path) -> None:
    drop: dict[str, Any] = {"mode": "drop", "require_backup": False}
    before, token = state(application), run_module("teardown_plan", options(application, **drop))["token"]
    predicted = tear_down(application, tmp_path, token, check=True, **drop)
    assert (predicted["changed"], "Would drop 8 objects" in predicted["msg"], list(tmp_path.iterdir())) == (
        True, True, []
    )  # fmt: skip
    done = tear_down(application, tmp_path, token, **drop)
    assert (done["status"], done["attempts"], done["exports"], "schema" in done.result) == ("changed", 1, 1, False)
    assert application.value("SELECT to_regclass('public.sponsor_connections')") is None
    bundle = Path(done["bundle"])
    (bundle / "committed.json").unlink()
    again = tear_down(application, tmp_path, token, run_id="run-2", **drop)
    assert (again["changed"], "run-1 was interrupted after it had done it all" in again["msg"]) == (False, True)

    predicted = run_module("teardown_undo", undo_options(application, tmp_path), check=True)
    assert (predicted["changed"], predicted["msg"]) == (True, "Would bring 8 objects back. Check mode does nothing.")
    back = undo(application, tmp_path)
    assert (back["changed"], back["notes"], back["objects"], back["bundle"]) == (True, [], 8, str(bundle))
    assert state(application) == before
    statistics = "SELECT count(*) > 0 FROM pg_stats WHERE tablename = 'sponsor_chat_messages'"
    assert application.query(statistics, user="postgres") == [(True,)]
    # That it is done is told without the note, which a killed undo would lack.
    (bundle / "undone.json").unlink()
    twice = undo(application, tmp_path, bundle=str(bundle))
    assert (twice["changed"], twice["msg"]) == (False, "Nothing to do: it was undone already.")
    assert "There is no teardown of db1" in undo(application, tmp_path)["msg"]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"confirm": ""}, "confirmation_invalid"),
        ({"confirm": "123456789012"}, "confirmation_invalid"),
        ({"confirm": OTHER}, "confirmation_foreign"),
        ({"confirm": OTHER, "batch": {"db1": OTHER}}, "confirmation_stale"),
        ({"host": "db2"}, "confirmation_foreign"),
        ({"batch": {}}, "confirmation_foreign"),
        ({"allow_unknown_provenance": False}, "confirmation_stale"),
        ({"mode": "drop", "require_backup": False}, "confirmation_stale"),
        ({"planned_rows": 1000}, "rows_grown"),
        ({"run_id": "../elsewhere"}, "unsafe_name"),
        ({"artifacts_dir": "/proc/rollback"}, "artifacts_unwritable"),
    ],
)
def test_what_is_not_confirmed_is_not_done(
    application: TestDatabase, tmp_path: Path, given: dict[str, Any], code: str
) -> None:
    before, token = state(application), token_of(application)
    run = tear_down(application, tmp_path, token, **given)
    assert (run.failed, run["code"]) == (True, code)
    assert state(application) == before
    assert list(tmp_path.rglob("bundle*")) == []


def test_a_batch_is_confirmed_by_its_own_token(application: TestDatabase, tmp_path: Path) -> None:
    batch = {"db1": token_of(application), "db2": OTHER}
    assert tear_down(application, tmp_path, batch["db1"], batch=batch)["code"] == "confirmation_foreign"
    assert tear_down(application, tmp_path, batch_token(batch), batch=batch)["changed"]


@pytest.mark.full
def test_a_lock_in_the_way_leaves_everything_and_no_bundle(application: TestDatabase, tmp_path: Path) -> None:
    before, token = state(application), token_of(application)
    holder = application.connect()
    holder.cursor().execute("BEGIN; SELECT count(*) FROM public.sponsor_connections")
    run = tear_down(application, tmp_path, token, lock_timeout="20ms")
    assert run["code"] == "lock_timeout"
    assert f"process {holder.info.backend_pid} (user operator" in run["msg"]
    holder.cursor().execute("ROLLBACK")
    assert state(application) == before
    assert [path.name for path in (tmp_path / "db1/run-1").iterdir()] == []


def test_the_plan_is_made_again_under_the_locks(application: TestDatabase, tmp_path: Path) -> None:
    token, holder, observer = token_of(application), application.connect(), application.superuser()
    holder.cursor().execute(
        "BEGIN; LOCK TABLE public.sponsor_connections IN ROW EXCLUSIVE MODE;"
        "CREATE VIEW public.made_meanwhile AS SELECT id FROM public.sponsor_connections"
    )
    waiting = (
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'ShareRowExclusiveLock'"
        f" AND {holder.info.backend_pid} = ANY (pg_blocking_pids(pid))"
    )
    cursor = observer.cursor()

    def is_waiting() -> bool:
        cursor.execute(waiting)
        return bool(cursor.fetchone()[0])

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(tear_down, application, tmp_path, token)
        until(is_waiting, "the teardown waits for the lock")
        holder.cursor().execute("COMMIT")
        run = running.result()
    assert (run.get("code"), list(tmp_path.rglob("bundle*"))) == ("confirmation_stale", [])
    assert application.value("SELECT count(*) FROM public.made_meanwhile") == 200


def test_a_bundle_that_is_not_what_was_written_is_refused(application: TestDatabase, tmp_path: Path) -> None:
    done = tear_down(application, tmp_path, token_of(application))
    content = Path(done["bundle"], CONTENT)
    whole = content.read_text(encoding="utf-8")
    elsewhere = json.loads(whole)
    for text, code in (
        (whole[:-200], "bundle_damaged"),
        (whole.replace('"public"', '"auth"', 1), "bundle_damaged"),
        ("[]", "bundle_damaged"),
        (json.dumps({**elsewhere, "format_version": 99}), "bundle_unknown"),
    ):
        content.write_text(text, encoding="utf-8")
        assert undo(application, tmp_path, bundle=done["bundle"])["code"] == code
    content.unlink()
    assert undo(application, tmp_path, bundle=done["bundle"])["code"] == "bundle_incomplete"
    assert undo(application, tmp_path, bundle=str(tmp_path / "nowhere"))["code"] == "bundle_missing"
    content.write_text(whole, encoding="utf-8")
    assert application.value("SELECT to_regclass('public.sponsor_connections')") is None

    other = TestDatabase(application.cluster)
    other.create()
    try:
        foreign = run_module("teardown_undo", {
            **other.login(), "host": "db1", "artifacts_dir": str(tmp_path), "bundle": done["bundle"],
        })  # fmt: skip
        assert foreign["code"] == "bundle_foreign"
    finally:
        other.drop()
    assert undo(application, tmp_path)["changed"]


@pytest.mark.full
def test_killed_at_any_moment_it_is_all_or_nothing(application: TestDatabase, tmp_path: Path) -> None:
    """The server ends the session at the statement; what is on disk by then is told from the objects' places."""
    before, token = state(application), token_of(application)
    superuser = application.superuser()
    for number, tag in enumerate(("CREATE SCHEMA", "ALTER PUBLICATION", "ALTER ROUTINE", "ALTER TABLE")):
        superuser.cursor().execute(
            "CREATE FUNCTION public.die() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS"
            " 'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); END';"
            f"CREATE EVENT TRIGGER die ON ddl_command_end WHEN TAG IN ('{tag}') EXECUTE FUNCTION public.die()"
        )
        run = tear_down(application, tmp_path, token_of(application), run_id=f"killed-{number}")
        superuser.cursor().execute("DROP EVENT TRIGGER die; DROP FUNCTION public.die()")
        assert run.failed
        assert "run it again" in run["msg"]
        assert state(application) == before
        # What it may have left is no teardown that could be undone.
        assert undo(application, tmp_path)["code"] == "bundle_none"
    assert tear_down(application, tmp_path, token, run_id="whole")["changed"]
    assert undo(application, tmp_path)["changed"]
    assert state(application) == before


def test_a_role_that_may_not_ask_for_the_identifier_does_without(application: TestDatabase, tmp_path: Path) -> None:
    application.query("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC", user="postgres")
    assert run_module("catalog_snapshot", application.login())["snapshot"]["system_identifier"] is None
    done = tear_down(application, tmp_path, token_of(application))
    assert (done["changed"], read_bundle(Path(done["bundle"])).content["system_identifier"]) == (True, None)
    assert undo(application, tmp_path)["changed"]


def test_verification_looks_past_what_is_in_quarantine(database: TestDatabase, tmp_path: Path) -> None:
    """Its functions cannot find its tables, its sequences are behind, its keys are bare: nobody uses it."""
    database.query("CREATE TABLE kept (id int PRIMARY KEY)")
    kept = {
        "migration": "m", "moment": "before", "artifacts_dir": str(tmp_path), "host": "db1", "operator": "me",
    }  # fmt: skip
    baseline = run_module("migration_baseline", {**database.login(), **kept})["path"]
    database.query(
        "CREATE TABLE made (id serial PRIMARY KEY, k int); INSERT INTO made VALUES (7, 1);"
        "ALTER TABLE made ADD CONSTRAINT late CHECK (k > 0) NOT VALID;"
        "CREATE TABLE bare (id serial PRIMARY KEY); ALTER TABLE bare ALTER id DROP DEFAULT;"
        "CREATE FUNCTION reads() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM public.made'"
    )
    manifest = {"tables": ["public.made", "public.bare"], "functions": ["public.reads()"]}
    planned = {"manifest": manifest, "baseline_before": baseline}
    token = run_module("teardown_plan", {**database.login(), **planned})["token"]
    verified = {**database.login(), "baseline": baseline}
    found = {each["name"] for each in run_module("rollback_verify", verified)["checks"] if each["status"] == "failed"}
    assert found >= {"sequences", "keys_without_default"}
    assert tear_down(database, tmp_path, token, **planned, allow_unknown_provenance=False)["changed"]
    after = run_module("rollback_verify", verified)
    assert [each for each in after["checks"] if each["status"] in ("failed", "warned")] == []


def test_an_unfinished_bundle_is_none(application: TestDatabase, tmp_path: Path) -> None:
    (tmp_path / "db1/run-0" / PARTIAL).mkdir(parents=True)
    assert undo(application, tmp_path)["code"] == "bundle_none"
    assert undo(application, tmp_path, bundle=str(tmp_path / "db1/run-0" / PARTIAL))["code"] == "bundle_incomplete"


@pytest.mark.parametrize(("mode", "code", "words"), [
    ("quarantine", "artifacts_unwritable", "No space left"), ("drop", "disk_full", "has room for"),
])  # fmt: skip
def test_a_full_disk_is_said_and_nothing_is_done(
    application: TestDatabase, tmp_path: Path, mode: str, code: str, words: str
) -> None:
    before = state(application)
    given: dict[str, Any] = {"mode": mode, "require_backup": False}
    token = run_module("teardown_plan", options(application, **given))["token"]
    with small_disk(tmp_path / "full", "8k") as full:
        run = tear_down(application, full, token, **given)
        assert (run["code"], words in run["msg"]) == (code, True)
        assert list(full.rglob("bundle*")) == []
        make_read_only(full)
        run = tear_down(application, full, token, run_id="run-2", **given)
        assert (run["code"], "Read-only file system" in run["msg"]) == ("artifacts_unwritable", True)
    assert state(application) == before
