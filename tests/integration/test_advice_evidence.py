# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The advice about real databases: what it counts, what it cannot find out and says so, and the role around it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.pgops.rollback.plugins.module_utils.advice_evidence import count_rows
from ansible_collections.pgops.rollback.plugins.module_utils.backup_records import write_record
from ansible_collections.pgops.rollback.plugins.module_utils.baseline import Baseline, write_baseline
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_snapshot import read_snapshot
from ansible_collections.pgops.rollback.plugins.module_utils.durations import show_duration
from ansible_collections.pgops.rollback.plugins.module_utils.table_content import begin_reading, end_reading
from ansible_collections.pgops.rollback.plugins.module_utils.table_writes import TableWrites, read_table_writes
from tests.support.database import TestCluster, TestDatabase
from tests.support.modules import ModuleRun, run_module
from tests.support.playbook import inventory, rollback, rollback_variables
from tests.support.waiting import until

BEFORE = """
CREATE TABLE profiles (id int PRIMARY KEY);
INSERT INTO profiles SELECT generate_series(1, 100);
"""
MIGRATION = """
CREATE SCHEMA "Sales";
CREATE TABLE "Sales"."Order.""Items"" é" (id int PRIMARY KEY, note text);
INSERT INTO "Sales"."Order.""Items"" é" SELECT generate_series(1, 10);
CREATE TABLE events (id int, kind int) PARTITION BY LIST (kind);
CREATE TABLE events_1 PARTITION OF events FOR VALUES IN (1);
CREATE TABLE events_2 PARTITION OF events FOR VALUES IN (2);
INSERT INTO events SELECT n, 1 + n % 2 FROM generate_series(1, 20) n;
"""
ODD = '"Sales"."Order.""Items"" é"'
MANIFEST = {"name": "coaching", "tables": [ODD, "public.events"], "functions": [], "sequences": []}

#: Inserts 3, updates 2 and deletes 1 in a created table, and inserts 5 in one that was there before.
WRITES = f"""
INSERT INTO {ODD} SELECT generate_series(11, 13);
UPDATE {ODD} SET note = 'x' WHERE id IN (1, 2);
DELETE FROM {ODD} WHERE id = 3;
INSERT INTO profiles SELECT generate_series(101, 105);
"""

CORRUPTED = {"checks": [
    {"name": "sequences", "status": "passed", "severity": "critical", "message": ""},
    {"name": "orphans", "status": "failed", "severity": "critical", "message": "2 rows have no parent.",
     "objects": [{"name": "public.profiles", "problem": "2 orphans"}]},
]}  # fmt: skip
SOUND = {"checks": CORRUPTED["checks"][:1]}
NOW = datetime.now(UTC).replace(microsecond=0)


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


class Story:
    """A database before and after its migration, with both baselines; the first is said to be an hour older."""

    def __init__(self, database: TestDatabase, directory: Path) -> None:
        self.database, self.directory = database, directory
        database.query(BEFORE)
        self.before = self.keep("before")
        database.query(MIGRATION)
        self.after = self.keep("after")

    def path(self, moment: str) -> Path:
        return self.directory / "artifacts/db1/baselines" / f"coaching-{moment}.json"

    def keep(self, moment: str, rows: str = "exact", database: TestDatabase | None = None) -> Baseline:
        self.settle()
        connection = (database or self.database).connect()
        with connection.cursor() as cursor:
            writes = read_table_writes(cursor)
        snapshot = read_snapshot(connection, rows)
        if moment == "before":
            snapshot.taken_at = stamp(NOW - timedelta(hours=1))
        baseline = Baseline("coaching", moment, "db1", "me", snapshot, writes)
        self.path(moment).unlink(missing_ok=True)
        write_baseline(self.path(moment), baseline)
        connection.close()
        return baseline

    def counters(self) -> TableWrites:
        connection = self.database.connect()
        with connection.cursor() as cursor:
            found = read_table_writes(cursor)
        connection.close()
        return found

    def settle(self) -> None:
        """Wait until every session that wrote is gone, which hands in what it counted."""
        others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename <> 'postgres'"
        until(lambda: self.database.value(others, user="postgres") == 0, "sessions are over")

    def write(self) -> None:
        """WRITES, and the server's counters have them."""
        self.database.query(WRITES)
        self.settle()
        assert self.counters().since(self.after.writes) == {ODD: 6, "public.profiles": 5}

    def record(self, finished: datetime, **backup: Any) -> None:
        """The record of a drill of a backup that was complete then."""
        made = {"id": "app of monday.dump", "kind": "logical", "finished_at": stamp(finished), "size_bytes": 1000}
        write_record(self.directory / "artifacts/db1/backup", {
            "schema_version": 1, "run_id": "r1", "host": "db1", "source": "pg_dump", "database": "app",
            "started": stamp(NOW - timedelta(minutes=2)), "finished": stamp(NOW - timedelta(minutes=1)),
            "verdict": "ok", "backup": {**made, **backup}, "age_seconds": 60,
            "rungs": [{"name": "drill", "status": "ok", "changed": False, "message": "", "details": {"seconds": 9.0}}],
            "restore": {"seconds": 9.0, "bytes": 5000, "bytes_per_second": 1000, "rows": 42},
            "missing_extensions": [], "versions": {},
        })  # fmt: skip

    def advice(self, application: str = "down", user: str = "operator", **options: Any) -> ModuleRun:
        run = run_module("rollback_advice", {
            **self.database.login(user),
            "application": application,
            "verification": CORRUPTED,
            "baseline": str(self.path("before")),
            "after": str(self.path("after")),
            "manifest": MANIFEST,
            "manifest_path": "coaching.yml",
            "records_dir": str(self.directory / "artifacts/db1/backup"),
            "host": "db1",
            **options,
        })  # fmt: skip
        assert not run.failed, run.output
        return run


@pytest.fixture
def story(database: TestDatabase, tmp_path: Path) -> Story:
    return Story(database, tmp_path)


def option(run: ModuleRun, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in run["options"] if each["name"] == name)
    return found


def line(run: ModuleRun, question: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in run["evidence"] if question in each["question"])
    return found


def test_the_rows_at_stake_are_counted(story: Story) -> None:
    """The backup was complete before the migration, so both baselines are later."""
    story.record(NOW - timedelta(hours=3), started_at=stamp(NOW - timedelta(hours=4)))
    story.write()
    run = story.advice()
    assert (run["recommendation"], run["confidence"], run["status"]) == ("full_restore", "high", "ok"), run["msg"]
    teardown, restore = option(run, "teardown"), option(run, "full_restore")
    assert teardown["rows_lost"] == 12 + 20
    assert "6 rows of them written since" in teardown["loses"]
    assert (teardown["possible"], restore["possible"]) == (True, True)
    assert restore["rows_lost"] is None
    # 10 and 20 of the migration itself, then 11.
    assert "at least 41 rows (since " in restore["loses"]
    assert "database_restore_backup_id" in restore["command"]
    assert "app of monday.dump" in restore["command"]
    assert run["next_command"] == restore["command"]
    written = line(run, "written since the migration")
    assert written["details"] == [f"{ODD}: 6", "public.profiles: 5"]
    assert line(run, "that it created")["details"] == [f"{ODD}: 12", "public.events: 20"]
    assert line(run, "baselines")["answer"] == "both"
    size = story.database.value("SELECT pg_database_size(current_database())")
    # The drill restored 1,000 bytes in a second.
    span = show_duration(timedelta(seconds=size / 1000))
    assert line(run, "restore take?")["answer"] == f"about {span}: {size / 1e6:,.0f} MB at the speed of the drill"


@pytest.mark.parametrize(
    ("backup", "rows"),
    [
        ({"started_at": stamp(NOW - timedelta(minutes=30))}, 41),
        # A dump holds what was there when it began, a copy of the data directory what was there when it ended.
        ({"started_at": stamp(NOW - timedelta(hours=2))}, None),
        ({"started_at": stamp(NOW - timedelta(hours=2)), "kind": "physical"}, 41),
        ({}, None),
        # Of the baseline's own second.
        ({"started_at": stamp(NOW - timedelta(hours=1))}, None),
    ],
)
def test_a_backup_after_the_baseline_bounds_the_loss(story: Story, backup: dict[str, Any], rows: int | None) -> None:
    story.record(NOW - timedelta(minutes=20), **backup)
    story.write()
    restore = option(story.advice(), "full_restore")
    assert restore["rows_lost"] == rows
    assert ("at most 41 rows (all since " in restore["loses"]) == (rows == 41)
    assert "at least 11 rows (since " in restore["loses"]


def test_counters_that_began_anew_are_replaced_by_row_counts(story: Story) -> None:
    story.record(NOW - timedelta(hours=3))
    story.write()
    story.database.query("SELECT pg_stat_reset()", user="postgres")
    until(lambda: story.counters().reset_at != story.after.writes.reset_at, "the statistics are reset")
    run = story.advice()
    written = line(run, "written since the migration")
    assert written["answer"].startswith("at least 7 since ")
    assert written["details"] == ["public.profiles: 5", f"{ODD}: 2"]
    assert "at least 2 rows of them written" in option(run, "teardown")["loses"]
    restore = option(run, "full_restore")
    assert restore["rows_lost"] is None
    assert "unknown how much" in restore["loses"]


def test_estimates_are_not_compared(story: Story) -> None:
    story.keep("after", "estimated")
    story.database.query("SELECT pg_stat_reset()", user="postgres")
    until(lambda: story.counters().reset_at != story.after.writes.reset_at, "the statistics are reset")
    assert line(story.advice(), "written since the migration")["answer"] == (
        "unknown, because the server's counters began anew since, and the baseline has no exact row counts to compare"
    )


def test_what_is_too_large_to_be_counted_in_a_hurry_is_unknown(story: Story) -> None:
    story.database.query("VACUUM profiles")
    connection = story.database.connect()
    begin_reading(connection)
    rows = count_rows(connection, ["public.profiles", "public.events"], most_pages=0)
    end_reading(connection)
    assert rows.counted == {"public.events": 20}
    assert rows.unknown == {"public.profiles": "it is too large to be counted in a hurry"}


@pytest.fixture
def reader(database: TestDatabase) -> Iterator[str]:
    name = f"reader of {database.name}"
    database.query(f'CREATE ROLE "{name}" LOGIN', user="postgres")
    yield name
    database.query(f'DROP OWNED BY "{name}"; DROP ROLE "{name}"', user="postgres")


def test_a_table_that_may_not_be_read_is_unknown(story: Story, reader: str) -> None:
    story.database.query(f'GRANT SELECT ON events, events_1, events_2 TO "{reader}"')
    run = story.advice(user=reader)
    teardown = option(run, "teardown")
    assert teardown["rows_lost"] is None
    assert teardown["loses"].startswith("at least 20 rows in 1 table ")
    assert line(run, "that it created")["details"] == [
        "public.events: 20", f"{ODD}: unknown, the role lacks SELECT on it or USAGE on its schema"
    ]  # fmt: skip


def test_a_partition_that_may_not_be_read_makes_the_whole_unknown(story: Story, reader: str) -> None:
    story.database.query(
        f'GRANT SELECT ON events, events_1, {ODD} TO "{reader}"; GRANT USAGE ON SCHEMA "Sales" TO "{reader}"'
    )
    details = line(story.advice(user=reader), "that it created")["details"]
    assert details == [f"{ODD}: 10", "public.events: unknown, a partition of it was not counted"]


def test_rows_that_policies_hide_are_unknown(story: Story) -> None:
    story.database.query(f"ALTER TABLE {ODD} ENABLE ROW LEVEL SECURITY; ALTER TABLE {ODD} FORCE ROW LEVEL SECURITY")
    run = story.advice()
    assert option(run, "teardown")["rows_lost"] is None
    assert "row-level security would hide some" in option(run, "teardown")["loses"]


def test_a_table_that_is_locked_is_unknown(story: Story) -> None:
    holder = story.database.connect()
    holder.cursor().execute(f"BEGIN; LOCK TABLE {ODD}")
    run = story.advice()
    holder.cursor().execute("ROLLBACK")
    assert option(run, "teardown")["loses"].startswith("at least 20 rows in 1 table ")
    assert "lock timeout" in option(run, "teardown")["loses"]


def test_names_that_are_none_and_tables_that_are_gone(story: Story) -> None:
    names = ["public.events", "no.such.name", "unqualified", "public.'; DROP TABLE events", "public.gone"]
    run = story.advice(manifest={"tables": names})
    teardown = option(run, "teardown")
    assert teardown["rows_lost"] is None
    assert "no longer there: public.gone" in teardown["loses"]
    assert [text.partition(":")[0] for text in line(run, "that it created")["details"]] == [
        "public.events", "no.such.name", "public.'; DROP TABLE events", "unqualified", "public.gone"
    ]  # fmt: skip
    assert story.database.value("SELECT count(*) FROM events") == 20


@pytest.mark.parametrize("told_by", ["baseline", "manifest"])
def test_what_was_there_before_is_never_torn_down(story: Story, told_by: str) -> None:
    manifest: dict[str, Any] = {**MANIFEST, "tables": [ODD, "PUBLIC.profiles"]}
    other: dict[str, Any] = {}
    if told_by == "manifest":
        manifest["protected"] = [{"kind": "table", "name": "public.profiles"}]
        other["baseline"] = None
    run = story.advice(manifest=manifest, verification={"checks": [{"name": "orphans", "status": "passed"}]}, **other)
    assert run["recommendation"] == "fix_forward"
    teardown = option(run, "teardown")
    assert (teardown["possible"], teardown["command"]) == (False, "")
    assert teardown["blocked_by"] == "the manifest names tables that were there before the migration: public.profiles"


def test_a_baseline_of_another_database_is_not_used(story: Story, cluster: TestCluster) -> None:
    other = TestDatabase(cluster)
    other.create()
    try:
        story.keep("after", database=other)
    finally:
        other.drop()
    run = story.advice()
    assert "of database" in line(run, "baselines")["details"][0]
    assert line(run, "written since the migration")["answer"].startswith("unknown, because there is no baseline after")


@pytest.mark.parametrize(
    ("arrange", "reason"),
    [
        (lambda _story: None, "There is no record of a successful restore drill"),
        (lambda story: story.record(NOW), "The last successful restore drill was"),
    ],
    ids=["missing", "stale"],
)
def test_without_a_drill_of_late_there_is_no_verified_backup(story: Story, arrange: Any, reason: str) -> None:
    arrange(story)
    run = story.advice(max_age="1s")
    assert (run["recommendation"], run["status"]) == ("full_restore", "degraded")
    restore = option(run, "full_restore")
    assert (restore["possible"], restore["rows_lost"]) == (False, None)
    assert restore["blocked_by"].startswith(f"no verified backup: {reason}")
    assert run["next_command"] == "ansible-playbook playbooks/verify_backup.yml --limit db1"


def test_nothing_is_written_and_a_second_answer_is_the_same(story: Story) -> None:
    story.write()
    before = story.counters()
    first, second = story.advice(), story.advice()
    assert first.result == second.result
    assert story.counters() == before


SECRET = "do-not-show-me"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_a_database_that_does_not_answer_is_evidence(story: Story) -> None:
    story.record(NOW - timedelta(hours=3))
    nowhere: dict[str, Any] = {"login_host": "127.0.0.1", "login_port": free_port(), "login_password": SECRET}
    run = story.advice("unknown", verification={}, **nowhere)
    assert (run["recommendation"], run["status"]) == ("undecided", "degraded")
    said = "No advice yet. The database does not answer, so nothing in it could be checked. Cannot connect"
    assert run["msg"].startswith(said)
    assert run["next_command"].startswith("ansible-playbook rollback.yml --tags verify,advise --limit db1")
    # The drill's own time, since nobody can ask for the database's size.
    assert line(run, "restore take?")["answer"] == "about 9 s, as the drill did"
    assert option(run, "full_restore")["rows_lost"] is None
    for name in ("teardown", "sequence_reset"):
        assert option(run, name)["blocked_by"] == "the database does not answer"
    assert option(run, "teardown")["rows_lost"] is None
    assert SECRET not in run.output


def test_a_server_that_accepts_and_says_nothing_is_given_up(story: Story) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        nowhere = {**story.database.login(), "login_host": "127.0.0.1", "login_port": mute.getsockname()[1]}
        run = run_module("rollback_advice", nowhere, env={"PGCONNECT_TIMEOUT": "2"})
    assert (run["recommendation"], line(run, "answer?")["answer"]) == ("undecided", "no")
    assert "timeout expired" in run["msg"]


def test_nothing_configured_is_no_error(database: TestDatabase) -> None:
    run = run_module("rollback_advice", database.login())
    assert (run["recommendation"], run["confidence"], run["status"]) == ("undecided", "low", "skipped")
    assert run["next_command"] == (
        "ansible-playbook rollback.yml --tags verify,advise -e rollback_advice_application=down"
    )


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"manifest": {"tables": "public.a"}}, "manifest_invalid"),
        ({"max_age": "soon"}, "duration_invalid"),
        ({"login_db": "postgres://me:do-not-show-me@host/app"}, "connection_string"),
    ],
)
def test_options_that_cannot_be_meant(database: TestDatabase, options: dict[str, Any], code: str) -> None:
    run = run_module("rollback_advice", {**database.login(), **options})
    assert (run.failed, run.get("code")) == (True, code)
    assert SECRET not in run["msg"]


def play(story: Story, login: dict[str, Any], **variables: Any) -> dict[str, Any]:
    """What the role registers."""
    inventory(story.directory, {"db1": rollback_variables(login)})
    result = story.directory / "result.json"
    (story.directory / "play.yml").write_text(yaml.safe_dump([{
        "hosts": "databases",
        "gather_facts": False,
        "tasks": [
            {"ansible.builtin.include_role": {"name": "pgops.rollback.rollback_advice"}},
            {"ansible.builtin.copy": {"content": "{{ rollback_advice_result }}", "dest": str(result), "mode": "0600"}},
        ],
    }]), encoding="utf-8")  # fmt: skip
    done = rollback(story.directory, "-e", json.dumps(variables), playbook=story.directory / "play.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return found


def test_the_role_finds_baselines_manifest_and_records(story: Story) -> None:
    story.record(NOW - timedelta(hours=3))
    story.write()
    (story.directory / "coaching.yml").write_text(yaml.safe_dump(MANIFEST), encoding="utf-8")
    found = play(
        story, story.database.login(), rollback_migration="coaching", rollback_manifest="coaching.yml",
        rollback_advice_application="down", post_rollback_verification_result=CORRUPTED,
    )  # fmt: skip
    assert found["recommendation"] == "full_restore"
    assert [each["rows_lost"] for each in found["options"]] == [0, 0, 32, None]
    assert "at least 41 rows" in found["options"][3]["loses"]
    assert found["options"][2]["command"] == (
        f"ansible-playbook -i {story.directory}/inventory.yml pgops.rollback.rollback --tags plan --limit db1"
        " -e rollback_migration=coaching -e rollback_manifest=coaching.yml -e teardown_mode=quarantine"
    )


def test_the_role_protects_whatever_the_verification_compares_with(story: Story) -> None:
    """rollback_baseline is about the verification; a manifest by hand names a table that the baseline has."""
    by_hand = {**MANIFEST, "tables": ["public.profiles"]}
    (story.directory / "coaching.yml").write_text(yaml.safe_dump(by_hand), encoding="utf-8")
    for given in ({}, {"rollback_baseline": "before"}, {"rollback_baseline": "after"}):
        found = play(
            story, story.database.login(), rollback_migration="coaching", rollback_manifest="coaching.yml",
            rollback_advice_application="down", post_rollback_verification_result=SOUND, **given,
        )  # fmt: skip
        assert "there before the migration: public.profiles" in found["options"][2]["blocked_by"]
        assert found["recommendation"] == "fix_forward"


def test_nothing_is_torn_down_when_nobody_knows_what_was_there_before(story: Story) -> None:
    story.path("before").unlink()
    (story.directory / "coaching.yml").write_text(yaml.safe_dump(MANIFEST), encoding="utf-8")
    found = play(
        story, story.database.login(), rollback_migration="coaching", rollback_manifest="coaching.yml",
        rollback_advice_application="down", post_rollback_verification_result=SOUND,
    )  # fmt: skip
    assert found["options"][2]["blocked_by"] == "no baseline says what was there before the migration"
    assert found["recommendation"] == "fix_forward"


def test_the_role_without_anything_and_without_a_database(story: Story) -> None:
    nowhere = {**story.database.login(), "login_host": str(story.directory / "no-such-socket")}
    found = play(story, nowhere, rollback_migration="another")
    assert (found["recommendation"], found["changed"]) == ("undecided", False)
    assert sum("There is no baseline" in text for each in found["evidence"] for text in each["details"]) == 2
