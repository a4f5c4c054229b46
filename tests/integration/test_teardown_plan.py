# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan as a whole: the same state gives the same plan and token, any other another, and nothing is touched."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.blast_radius import read_blast_radius
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_snapshot import read_snapshot
from ansible_collections.pgops.rollback.plugins.module_utils.connection import server_info
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_objects import describe_objects, read_contents
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_plan import PlanRequest, make_plan, reading
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_targets import resolve
from tests.support.database import TestCluster, TestDatabase
from tests.support.dumps import take_dump
from tests.support.modules import ModuleRun, run_module
from tests.support.teardown import COACHING, load_application, rolled_back


def plan_of(database: TestDatabase, manifest: Any = None, **options: Any) -> ModuleRun:
    """Of the coaching manifest, if not of another."""
    manifest = COACHING if manifest is None else manifest
    return run_module("teardown_plan", {**database.login(), "manifest": manifest, **options})


def token(database: TestDatabase, manifest: dict[str, Any] | None = None, mode: str = "drop") -> str:
    connection = database.connect()
    plan = make_plan(connection, server_info(connection), PlanRequest(manifest or COACHING, mode)).plan
    connection.close()
    made: str = plan["token"]
    return made


@pytest.fixture
def application(database: TestDatabase) -> TestDatabase:
    load_application(database)
    return database


def test_the_plan_of_the_sample_application(application: TestDatabase) -> None:
    run = plan_of(application, mode="drop")
    plan = run["plan"]
    assert set(plan) == {
        "token", "mode", "database", "manifest", "objects", "history", "dependents", "survivors", "drift", "rows",
        "disk", "backup", "blockers", "warnings", "overrides",
    }  # fmt: skip
    assert re.fullmatch(r"rb-[0-9a-f]{12}", plan["token"])
    assert (run["changed"], run["status"], run["nothing_to_do"]) == (False, "refused", False)
    assert {each["name"]: (each["rows"], each["rows_are"]) for each in plan["objects"] if each["kind"] == "table"} == {
        "public.sponsor_chat_messages": (2500, "exact"), "public.sponsor_connections": (200, "exact"),
        "public.sponsor_visible_memos": (600, "exact"),
    }  # fmt: skip
    assert [each["name"] for each in plan["objects"] if not each["named"]] == [
        "public.sponsor_chat_messages_id_seq", "public.sponsor_connections_id_seq",
        "public.sponsor_visible_memos_id_seq",
    ]  # fmt: skip
    assert plan["rows"] == {"total": 3300, "exact": True}
    assert plan["disk"]["bytes"] > 300_000
    assert [each["name"] for each in plan["dependents"]] == ["public.coach_overview"]
    assert {each["on"] for each in plan["survivors"]} == {
        "public.profiles", "public.sponsor_feedback", "public.user_virtue_stage_memos", "supabase_realtime",
    }  # fmt: skip
    assert plan["objects"][-1]["privileges"]["authenticated"] == ["DELETE", "INSERT", "SELECT", "UPDATE"]


def test_a_plan_touches_nothing_and_locks_nothing_that_others_need(application: TestDatabase) -> None:
    connection = application.superuser()
    before = read_snapshot(connection, "exact", checksums=True)
    operator = application.connect()
    server = server_info(operator)
    with reading(operator) as cursor:
        targets = resolve(cursor, COACHING)
        radius = read_blast_radius(cursor, server, targets, "drop")
        describe_objects(cursor, targets, radius, read_contents(cursor, targets, count=True))
        cursor.execute("SELECT mode FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation'")
        modes = {mode for (mode,) in cursor.fetchall()}
        cursor.execute("SHOW transaction_read_only")
        assert cursor.fetchone() == ("on",)
    assert modes == {"AccessShareLock"}
    make_plan(operator, server, PlanRequest(COACHING, "drop"))
    after = read_snapshot(connection, "exact", checksums=True)
    assert (after.fingerprint, after.rows, after.checksums) == (before.fingerprint, before.rows, before.checksums)


def test_a_table_that_is_locked_is_said_soon(application: TestDatabase) -> None:
    with rolled_back(application.connect()) as cursor:
        cursor.execute("LOCK TABLE public.sponsor_feedback")
        begun = time.monotonic()
        run = plan_of(application)
    assert run["code"] == "lock_timeout"
    assert "Another session keeps something locked" in run["msg"]
    # It gives up after the 500 ms, not when the other one ends; the rest is the process itself.
    assert time.monotonic() - begun < 20


def test_databases_that_were_made_the_same_way_have_the_same_plan(cluster: TestCluster) -> None:
    """With other OIDs and another history of the catalogs; the name is the same, for the plan names the database."""
    plans = []
    for filler in ("SELECT 1", "CREATE TABLE public.filler (a int, b text); DROP TABLE public.filler"):
        made = TestDatabase(cluster)
        made.name = "test_same_plan"
        made.create()
        try:
            made.query(filler)
            load_application(made)
            connection = made.connect()
            plans.append(make_plan(connection, server_info(connection), PlanRequest(COACHING, "drop")).plan)
        finally:
            made.drop()
    first, second = (json.dumps(plan) for plan in plans)
    # Autovacuum may have been at one of them, and what it leaves has a size.
    sizes = r'"(?:bytes|seconds)": \d+'
    assert re.sub(sizes, "", first) == re.sub(sizes, "", second)
    assert not re.search(r"\b(?:1[6-9]|[2-9]\d)\d{3}\b", re.sub(r'"(?:bytes|definition_sha256)": [^,]+', "", first))


def test_a_restored_copy_has_the_same_token(application: TestDatabase, tmp_path: Path) -> None:
    # A column that was dropped is no more in the copy, and a grant may be in another place.
    application.query(
        "ALTER TABLE public.sponsor_connections DROP COLUMN status CASCADE; ALTER TABLE public.sponsor_connections"
        " ADD status text DEFAULT 'active'; GRANT SELECT ON public.sponsor_connections TO anon;"
        "CREATE VIEW public.later AS SELECT status, id FROM public.sponsor_connections"
    )
    before = {mode: token(application, mode=mode) for mode in ("drop", "quarantine")}
    dump = take_dump(application, tmp_path, "custom")
    application.drop()
    application.create()
    cluster = application.cluster
    subprocess.run([
        cluster.bindir / "pg_restore", "-h", cluster.socket_directory, "-p", str(cluster.recipe.socket_port),
        "-U", "postgres", "-d", application.name, "--clean", "--if-exists", dump,
    ], check=True)  # fmt: skip
    assert {mode: token(application, mode=mode) for mode in ("drop", "quarantine")} == before


#: What makes another plan of it, or does not.
CHANGES = {
    "ALTER POLICY sponsor_reads ON public.profiles USING (id = auth.uid() AND EXISTS"
    " (SELECT FROM public.sponsor_connections))": True,
    "CREATE VIEW public.one_more AS SELECT id FROM public.sponsor_connections": True,
    "CREATE FUNCTION public.get_unread_memo_count(uuid) RETURNS int LANGUAGE sql AS 'SELECT 1'": True,
    "ALTER TABLE public.sponsor_connections ADD note text": True,
    "CREATE INDEX ON public.sponsor_connections (status)": True,
    "DROP POLICY own ON public.sponsor_chat_messages": True,
    "REVOKE DELETE ON public.sponsor_visible_memos FROM authenticated": True,
    "GRANT SELECT (id) ON public.sponsor_visible_memos TO anon": True,
    "ALTER SEQUENCE public.sponsor_connections_id_seq INCREMENT 2": True,
    "CREATE FUNCTION public.reads() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM public.sponsor_connections'":
        True,
    "INSERT INTO public.sponsor_connections (practitioner_user_id, sponsor_user_id)"
    " SELECT practitioner_user_id, (SELECT id FROM auth.users WHERE id <> practitioner_user_id OFFSET 200 LIMIT 1)"
    " FROM public.sponsor_connections LIMIT 1": False,
    "ANALYZE": False,
    "CREATE TABLE public.unrelated (id int)": False,
    "CREATE FUNCTION public.unrelated() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM public.profiles'": False,
}  # fmt: skip


def test_the_token_stands_for_the_plan(application: TestDatabase) -> None:
    application.query("GRANT CREATE ON SCHEMA public TO operator")
    wrong = []
    before = token(application)
    for statement, changes in CHANGES.items():
        application.query(statement)
        after = token(application)
        if (after != before) != changes:
            wrong.append(statement)
        before = after
    assert wrong == []
    assert token(application, mode="quarantine") != before
    assert token(application, {**COACHING, "name": "another"}) != before
    assert token(application, {**COACHING, "checks": ["other keys are ignored"]}) == before
    assert token(application, {**COACHING, "tables": COACHING["tables"][::-1]}) == before


def test_an_override_is_part_of_the_token(application: TestDatabase) -> None:
    plain = plan_of(application, mode="drop")
    tokens = {plain["token"]}
    for options, overrides in (
        ({"allow_unknown_provenance": True}, {"teardown_allow_unknown_provenance": True}),
        ({"require_backup": False}, {"teardown_require_backup": False}),
        ({"override_provenance": ["public.sponsor_connections"]},
         {"teardown_override_provenance": ["public.sponsor_connections"]}),
    ):  # fmt: skip
        run = plan_of(application, mode="drop", **options)
        assert run["plan"]["overrides"] == overrides
        tokens.add(run["token"])
    assert len(tokens) == 4
    # What only makes it quicker is none.
    assert plan_of(application, mode="drop", count_rows=False)["token"] == plain["token"]


def test_rows_are_counted_or_estimated_and_it_is_said_which(application: TestDatabase) -> None:
    def rows(**options: Any) -> dict[str, Any]:
        plan = plan_of(application, **options)["plan"]
        tables = {each["name"]: (each["rows"], each["rows_are"]) for each in plan["objects"] if each["kind"] == "table"}
        return {**tables, "total": plan["rows"]}

    assert rows(count_rows=False) == {
        **dict.fromkeys(COACHING["tables"], (None, "unknown")), "total": {"total": None, "exact": False},
    }  # fmt: skip
    application.query("ANALYZE public.sponsor_connections")
    assert rows(count_rows=False)["public.sponsor_connections"] == (200, "estimated")
    # Row level security would hide rows from the owner, who then is told the estimate, never a smaller number.
    application.query("ALTER TABLE public.sponsor_connections FORCE ROW LEVEL SECURITY")
    assert rows()["public.sponsor_connections"] == (200, "estimated")
    assert rows()["total"] == {"total": 3300, "exact": False}


def test_partitions_go_with_their_table(database: TestDatabase) -> None:
    database.query(
        "CREATE TABLE public.parted (id int, day date) PARTITION BY RANGE (day);"
        "CREATE TABLE public.parted_1 PARTITION OF public.parted FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');"
        "CREATE TABLE public.parted_2 PARTITION OF public.parted DEFAULT;"
        "INSERT INTO public.parted SELECT n, '2026-01-30'::date + n FROM generate_series(0, 4) n"
    )
    plan = plan_of(database, {"tables": ["parted"]})["plan"]
    assert [(each["name"], each["named"], each["through"], each["rows"]) for each in plan["objects"]] == [
        ("public.parted", True, "", 5), ("public.parted_1", False, "public.parted", 2),
        ("public.parted_2", False, "public.parted", 3),
    ]  # fmt: skip
    assert plan["rows"] == {"total": 5, "exact": True}
    database.query("ANALYZE public.parted_1")
    estimated = plan_of(database, {"tables": ["parted"]}, count_rows=False)["plan"]
    # One that nobody knows makes the whole unknown.
    assert [(each["rows"], each["rows_are"]) for each in estimated["objects"]] == [
        (None, "unknown"), (2, "estimated"), (None, "unknown"),
    ]  # fmt: skip
    named = plan_of(database, {"tables": ["parted", "parted_1", "parted_2"]})["plan"]
    assert [each["name"] for each in named["objects"]] == [each["name"] for each in plan["objects"]]


def test_nothing_to_do(database: TestDatabase) -> None:
    run = plan_of(database, mode="drop")
    assert (run["nothing_to_do"], run["status"], run["plan"]["objects"], run["plan"]["blockers"]) == (
        True, "ok", [], [],
    )  # fmt: skip
    assert {(each["problem"], each["name"]) for each in run["plan"]["drift"]} == {
        ("missing", name) for name in (*COACHING["tables"], *COACHING["functions"])
    }
    assert run["msg"].startswith("Nothing to do")


def test_names_that_are_missing_and_overloads_are_drift(application: TestDatabase) -> None:
    application.query(
        "CREATE FUNCTION public.create_coach_connection(uuid) RETURNS bigint LANGUAGE sql AS 'SELECT 1';"
        "DROP FUNCTION public.get_unread_memo_count(uuid, uuid);"
        "CREATE FUNCTION public.get_unread_memo_count(text) RETURNS bigint LANGUAGE sql AS 'SELECT 1'"
    )
    manifest = {**COACHING, "tables": [*COACHING["tables"], "public.nowhere"], "sequences": ["gone.seq"]}
    drift = plan_of(application, manifest)["plan"]["drift"]
    assert [(each["problem"], each["kind"], each["name"]) for each in drift] == [
        ("missing", "function", "public.get_unread_memo_count(uuid, uuid)"),
        ("missing", "sequence", "gone.seq"),
        ("missing", "table", "public.nowhere"),
        ("overload", "function", "public.create_coach_connection(uuid)"),
        ("overload", "function", "public.get_unread_memo_count(text)"),
    ]


def test_a_name_without_signature_is_taken_where_there_is_one(application: TestDatabase) -> None:
    manifest = {"functions": ["create_coach_connection"]}
    plan = plan_of(application, manifest)["plan"]
    assert [each["name"] for each in plan["objects"]] == ["public.create_coach_connection(uuid, uuid)"]
    application.query("CREATE FUNCTION public.create_coach_connection(uuid) RETURNS int LANGUAGE sql AS 'SELECT 1'")
    run = plan_of(application, manifest)
    assert run["code"] == "object_ambiguous"
    assert "public.create_coach_connection(uuid), public.create_coach_connection(uuid, uuid)" in run["msg"]


#: A manifest, the code of its error, and what the sentence has to say.
BAD: list[tuple[Any, str, str]] = [
    ({}, "manifest_empty", "names no table, no function and no sequence"),
    ({"name": "coaching", "tables": [], "functions": []}, "manifest_empty", "so there is nothing to plan"),
    ({"tables": "public.sponsor_connections"}, "manifest_invalid", "tables is no list"),
    ({"unreadable": "/x.yml: there is no such file"}, "manifest_unreadable", "/x.yml: there is no such file."),
    ({"functions": [{"name": "f"}]}, "manifest_invalid", "functions is no list"),
    ({"tables": ["public.spon sor"]}, "name_invalid", "'public.spon sor'"),
    ({"tables": [""]}, "name_invalid", "''"),
    ({"tables": ["app.public.sponsor_connections"]}, "name_invalid", "has 3 parts"),
    ({"functions": ["public.f(uuid"]}, "name_invalid", "'public.f(uuid'"),
    ({"functions": ["public.f(a b c d)"]}, "name_invalid", "signature"),
    ({"tables": ["pg_catalog.pg_class"]}, "system_schema", "pg_catalog"),
    ({"functions": ["pg_catalog.now()"]}, "system_schema", "pg_catalog"),
    ({"sequences": ["information_schema.x"]}, "system_schema", "information_schema"),
    ({"tables": ["public.virtues", "public.virtues"]}, "object_twice", "public.virtues twice"),
    ({"tables": ["public.virtues", '"virtues"']}, "object_twice", "public.virtues twice"),
    ({"functions": ["public.create_coach_connection", "public.create_coach_connection(uuid,uuid)"]}, "object_twice",
     "public.create_coach_connection(uuid, uuid) twice"),
    ({"tables": ["public.coach_overview"]}, "object_kind", "is a view"),
    ({"tables": ["public.virtues_id_seq"]}, "object_kind", "is a sequence"),
    ({"sequences": ["public.virtues"]}, "object_kind", "is a table"),
    ({"tables": ["double"]}, "object_ambiguous", "one.double, two.double"),
    ({"sequences": ["public.sponsor_connections_id_seq"]}, "object_required", "public.sponsor_connections.id"),
]  # fmt: skip


def test_bad_manifests_get_a_sentence_each(application: TestDatabase) -> None:
    application.query("CREATE SCHEMA one; CREATE TABLE one.double (); CREATE SCHEMA two; CREATE TABLE two.double ()")
    wrong = []
    sentences = set()
    for manifest, code, words in BAD:
        run = plan_of(application, manifest)
        sentences.add(run["msg"])
        if (run.failed, run.get("code")) != (True, code) or words not in run["msg"]:
            wrong.append((manifest, run.get("code"), run["msg"]))
    assert wrong == []
    # The two ways to name public.virtues twice are one fault; so are the two to name nothing.
    assert len(sentences) == len(BAD) - 2


def test_bad_options_get_a_sentence_each(application: TestDatabase) -> None:
    for options, code in (
        ({"lock_timeout": "soon"}, "lock_timeout_invalid"),
        ({"backup_max_age": "yesterday"}, "duration_invalid"),
        ({"pg_dump_version": "new", "mode": "drop"}, "version_invalid"),
    ):
        run = plan_of(application, **options)
        assert (run.failed, run.get("code")) == (True, code), options


@pytest.fixture
def crowded(application: TestDatabase) -> TestDatabase:
    """Beside the application 5,000 tables that have nothing to do with it."""
    application.query(
        "DO $$ BEGIN FOR n IN 1..5000 LOOP EXECUTE format('CREATE TABLE public.other_%s (id int)', n);"
        " IF n % 1000 = 0 THEN COMMIT; END IF; END LOOP; END $$"
    )
    return application


def test_five_thousand_other_tables_cost_next_to_nothing(crowded: TestDatabase) -> None:
    """Against reading the whole catalogs, which is what a plan would come to that looks at everything."""
    connection = crowded.connect()
    server = server_info(connection)
    plans, seconds = [], []
    for _attempt in range(2):
        begun = time.monotonic()
        plans.append(make_plan(connection, server, PlanRequest(COACHING, "quarantine")).plan)
        seconds.append(time.monotonic() - begun)
    begun = time.monotonic()
    read_snapshot(connection, "none")
    snapshot = time.monotonic() - begun
    print(f"plan: {min(seconds):.3f} s, catalog snapshot: {snapshot:.3f} s")
    assert len(plans[0]["objects"]) == 8
    assert min(seconds) < snapshot
