# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The policy exact: a sequence is set back only if its plan was confirmed, and then exactly as the plan says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.confirmation import batch_token
from tests.support.database import OPERATOR, TestCluster, TestDatabase
from tests.support.fire import SEQUENCE, TABLE, writing
from tests.support.modules import ModuleRun, run_module
from tests.support.playbook import inventory, report, rollback, rollback_variables, steps
from tests.support.waiting import until

#: Fifty rows are left of a thousand.
AHEAD = "CREATE TABLE {0} (id serial PRIMARY KEY, note text); INSERT INTO {0} SELECT generate_series(1, 50);"
AHEAD_BY_950 = AHEAD + "SELECT setval('{0}_id_seq', 1000);"
BEHIND = "CREATE TABLE late (id serial PRIMARY KEY); INSERT INTO late VALUES (7);"
HOST = "db1"


def exact(database: TestDatabase, check: bool = False, user: str = OPERATOR, **options: Any) -> ModuleRun:
    return run_module("sequence_reset", {**database.login(user), "policy": "exact", **options}, check=check)


def confirmed(planned: ModuleRun, with_plan: bool = True) -> dict[str, Any]:
    """The options that confirm what was planned."""
    given: dict[str, Any] = {"host": HOST, "batch": {HOST: planned["token"]}, "confirm": planned["token"]}
    return {**given, "plan": planned["plan"]} if with_plan else given


def position(database: TestDatabase, name: str = "t") -> tuple[int, bool]:
    return database.query(f"SELECT last_value, is_called FROM {name}_id_seq", user="postgres")[0]


def planned_sequence(run: ModuleRun) -> tuple[int, int, dict[str, int]]:
    (entry,) = run["plan"]["sequences"]
    return entry["from"], entry["to"], entry["ids_again"]


@pytest.fixture
def ahead(database: TestDatabase) -> TestDatabase:
    database.query(AHEAD_BY_950.format("t"))
    return database


@pytest.fixture
def two(ahead: TestDatabase) -> Iterator[TestDatabase]:
    """A second sequence that is ahead, too."""
    ahead.query(AHEAD_BY_950.format("u"))
    yield ahead
    if ahead.query("SELECT gid FROM pg_prepared_xacts WHERE gid = 'held'"):
        ahead.query("ROLLBACK PREPARED 'held'")


def test_without_a_token_nothing_is_done_and_the_plan_names_the_ids(ahead: TestDatabase) -> None:
    ahead.query(BEHIND)
    run = exact(ahead)
    assert (run["status"], run["changed"], run.failed) == ("refused", False, False)
    assert run["plan"] == {
        "database": ahead.name,
        "sequences": [
            {"name": "public.t_id_seq", "from": 1001, "to": 51, "increment": 1,
             "ids_again": {"first": 51, "last": 1000, "count": 950}}
        ],
    }  # fmt: skip
    assert "the ids 51 to 1000 (950) come again" in run["msg"]
    assert f"-e rollback_confirm={run['token']}" in run["msg"]
    assert {entry["name"]: entry["action"] for entry in run["sequences"]} == {
        "public.late_id_seq": "would_reset", "public.t_id_seq": "would_reset"
    }  # fmt: skip
    assert (position(ahead), position(ahead, "late")) == ((1000, True), (1, False))
    assert (exact(ahead)["plan"], exact(ahead)["token"]) == (run["plan"], run["token"])


def test_the_ids_that_come_again_are_those_of_the_plan(ahead: TestDatabase) -> None:
    ahead.query(BEHIND)
    run = exact(ahead, **confirmed(exact(ahead)))
    assert (run["status"], run["changed"]) == ("changed", True)
    entry = run.entry("public.t_id_seq")
    assert (entry["action"], entry["before"]["next_value"], entry["after"]["next_value"]) == ("reset", 1001, 51)
    assert position(ahead, "late") == (7, True)
    rows = ahead.query("INSERT INTO t (note) SELECT 'again' FROM generate_series(1, 951) RETURNING id")
    assert [row[0] for row in rows] == list(range(51, 1002))


def test_a_second_run_has_nothing_to_do_and_needs_no_token(ahead: TestDatabase) -> None:
    confirmation = confirmed(exact(ahead))
    exact(ahead, **confirmation)
    for options in ({}, confirmation):
        again = exact(ahead, **options)
        assert (again["status"], again["changed"], again["plan"]["sequences"]) == ("ok", False, [])


def test_the_undo_statement_puts_the_state_before_back(ahead: TestDatabase) -> None:
    undo = exact(ahead, **confirmed(exact(ahead))).entry("public.t_id_seq")["undo"]
    assert position(ahead) == (51, False)
    ahead.query(undo)
    assert position(ahead) == (1000, True)


def test_what_is_behind_needs_no_token(database: TestDatabase) -> None:
    database.query(BEHIND)
    run = exact(database)
    assert (run["status"], run["plan"]["sequences"]) == ("changed", [])
    assert position(database, "late") == (7, True)


def test_check_mode_does_nothing(ahead: TestDatabase) -> None:
    planned = exact(ahead, check=True)
    assert planned["status"] == "refused"
    run = exact(ahead, check=True, **confirmed(planned))
    assert (run["status"], run["changed"]) == ("changed", True)
    assert run.entry("public.t_id_seq")["action"] == "would_reset"
    assert exact(ahead, check=True, **{**confirmed(planned), "confirm": "rb-000000000000"}).failed
    assert position(ahead) == (1000, True)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "another token": ({"confirm": "rb-000000000000"}, "confirmation_foreign"),
    "no token": ({"confirm": "yes"}, "confirmation_invalid"),
    "another host's": ({"host": "db2"}, "confirmation_foreign"),
    "one of two hosts": ({"batch": {HOST: "", "db2": "rb-000000000000"}}, "confirmation_foreign"),
    "made up": ({"batch": {HOST: "rb-000000000000"}, "confirm": "rb-000000000000"}, "confirmation_stale"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_token_leaves_everything(ahead: TestDatabase, case: str) -> None:
    ahead.query(BEHIND)
    changes, code = WRONG[case]
    planned = exact(ahead)
    given = {**confirmed(planned), **changes}
    given["batch"] = {host: token or planned["token"] for host, token in given["batch"].items()}
    run = exact(ahead, **given)
    assert (run.failed, run["code"]) == (True, code)
    assert (position(ahead), position(ahead, "late")) == ((1000, True), (1, False))


def test_a_plan_that_was_not_confirmed_is_no_plan(ahead: TestDatabase) -> None:
    """The token is of a plan with fewer ids; the plan that comes with it is another one."""
    planned = exact(ahead)
    ahead.query("SELECT setval('t_id_seq', 2000)")
    run = exact(ahead, **{**confirmed(planned), "plan": exact(ahead)["plan"]})
    assert (run["code"], position(ahead)) == ("confirmation_stale", (2000, True))


GROWTH = {
    "an id was handed out": ("SELECT nextval('t_id_seq')", (1001, True)),
    "a row went": ("DELETE FROM t WHERE id = 50", (1000, True)),
    "another sequence": (AHEAD_BY_950.format("u"), (1000, True)),
    "another grid": ("ALTER SEQUENCE t_id_seq INCREMENT 2", (1000, True)),
}


@pytest.mark.parametrize("case", GROWTH)
def test_an_id_more_than_confirmed_is_refused(ahead: TestDatabase, case: str) -> None:
    statement, expected = GROWTH[case]
    confirmation = confirmed(exact(ahead))
    ahead.query(statement)
    run = exact(ahead, **confirmation)
    assert (run.failed, run["code"]) == (True, "confirmation_stale")
    assert position(ahead) == expected


def test_a_finer_grid_has_more_ids_between_the_same_two(ahead: TestDatabase) -> None:
    ahead.query("ALTER SEQUENCE t_id_seq INCREMENT 2; SELECT setval('t_id_seq', 1001)")
    confirmation = confirmed(exact(ahead))
    ahead.query("ALTER SEQUENCE t_id_seq INCREMENT 1")
    assert exact(ahead, **confirmation)["code"] == "confirmation_stale"
    assert position(ahead) == (1001, True)


def test_what_can_no_longer_be_set_back_keeps_the_others_from_it(two: TestDatabase) -> None:
    confirmation = confirmed(exact(two))
    two.query("ALTER TABLE u OWNER TO postgres; GRANT ALL ON u, u_id_seq TO operator", user="postgres")
    run = exact(two, **confirmation)
    assert (run["code"], position(two), position(two, "u")) == ("confirmation_stale", (1000, True), (1000, True))
    assert "public.u_id_seq can no longer be set back. Missing privilege" in run["msg"]


def test_fewer_ids_than_confirmed_are_fine_where_the_plan_is_known(ahead: TestDatabase) -> None:
    planned = exact(ahead)
    ahead.query("INSERT INTO t (id) VALUES (300)")
    strict = exact(ahead, **confirmed(planned, with_plan=False))
    assert (strict["code"], position(ahead)) == ("confirmation_stale", (1000, True))
    assert not exact(ahead, **confirmed(planned)).failed
    assert ahead.value("INSERT INTO t DEFAULT VALUES RETURNING id") == 301


def test_a_row_at_the_end_of_what_was_confirmed_leaves_nothing_to_do(ahead: TestDatabase) -> None:
    planned = exact(ahead)
    assert ahead.value("INSERT INTO t DEFAULT VALUES RETURNING id") == 1001
    assert exact(ahead, **confirmed(planned))["status"] == "ok"
    assert position(ahead) == (1001, True)


SHAPES = {
    "descending": ("INCREMENT -1", "SELECT -generate_series(1, 5)", -100, (-101, -6, {"first": -6, "last": -100})),
    "odd numbers": ("INCREMENT 2", "VALUES (5)", 99, (101, 7, {"first": 7, "last": 99})),
    "a row off the grid": ("INCREMENT 2", "VALUES (6)", 99, (101, 7, {"first": 7, "last": 99})),
    "empty": ("START 20", "SELECT 1 WHERE false", 99, (100, 20, {"first": 20, "last": 99})),
    "empty, descending": ("INCREMENT -5 START -10", "SELECT 1 WHERE false", -100, (-105, -10, {"last": -100})),
    "no row since the start": ("START 20", "VALUES (3)", 99, (100, 20, {"first": 20, "last": 99})),
    "at its end by mistake": ("MAXVALUE 500", "VALUES (3)", 500, (501, 4, {"first": 4, "last": 500})),
    "a jump to another grid": ("INCREMENT 10 START 5", "SELECT 1 WHERE false", 43, (53, 5, {"last": 45, "count": 5})),
}


@pytest.mark.parametrize("case", SHAPES)
def test_the_target(database: TestDatabase, case: str) -> None:
    definition, rows, last, (current, target, ids) = SHAPES[case]
    database.query(
        f"CREATE SEQUENCE t_id_seq {definition}; CREATE TABLE t (id int PRIMARY KEY DEFAULT nextval('t_id_seq'));"
        f"INSERT INTO t {rows}; SELECT setval('t_id_seq', {last})"
    )
    planned = exact(database)
    assert planned_sequence(planned)[:2] == (current, target)
    assert ids.items() <= planned_sequence(planned)[2].items()
    assert exact(database, test="nextval", **confirmed(planned)).entry("public.t_id_seq")["tested_value"] == target
    assert exact(database)["status"] in ("ok", "refused")
    given = database.query("INSERT INTO t SELECT FROM generate_series(1, 3) RETURNING id")
    assert len(set(given)) == 3


UNTOUCHED = {
    "starts over": "CREATE SEQUENCE t_id_seq CYCLE; CREATE TABLE t (id int DEFAULT nextval('t_id_seq'))",
    "feeds nothing": "CREATE SEQUENCE t_id_seq",
    "in step": "CREATE TABLE t (id serial); INSERT INTO t VALUES (1000)",
    "before its start": "CREATE TABLE t (id serial); ALTER SEQUENCE t_id_seq START 5000",
}


@pytest.mark.parametrize("case", UNTOUCHED)
def test_what_is_left_alone(database: TestDatabase, case: str) -> None:
    database.query(f"{UNTOUCHED[case]}; SELECT setval('t_id_seq', 1000)")
    run = exact(database)
    assert (run["status"], run["plan"]["sequences"]) == ("ok", [])
    assert position(database) == (1000, True)


UNKNOWABLE = {
    "a text column beside": "CREATE TABLE t (id serial, code text DEFAULT 'A' || nextval('t_id_seq'))",
    "looked up by name": "CREATE SEQUENCE t_id_seq; CREATE TABLE t (id int DEFAULT nextval('t_id_seq'::text))",
    "a lost default": "CREATE TABLE t (id serial PRIMARY KEY); ALTER TABLE t ALTER id DROP DEFAULT;"
                      "CREATE TABLE u (id int DEFAULT nextval('t_id_seq'))",
}  # fmt: skip


@pytest.mark.parametrize("case", UNKNOWABLE)
def test_where_nobody_can_know_that_an_id_is_free_it_is_refused(database: TestDatabase, case: str) -> None:
    database.query(f"{UNKNOWABLE[case]}; SELECT setval('t_id_seq', 1000)")
    run = exact(database)
    assert (run["status"], run["plan"]["sequences"]) == ("failed", [])
    assert run.entry("public.t_id_seq")["action"] == "refused"
    assert "It is not set back: " in run["msg"]
    assert position(database) == (1000, True)


def test_what_this_role_may_not_set_is_in_no_plan(ahead: TestDatabase) -> None:
    ahead.query("CREATE TABLE own (id serial); ALTER TABLE own OWNER TO postgres", user="postgres")
    ahead.query("GRANT ALL ON own, own_id_seq TO operator; SELECT setval('own_id_seq', 9)", user="postgres")
    planned = exact(ahead)
    assert [entry["name"] for entry in planned["plan"]["sequences"]] == ["public.t_id_seq"]
    assert "membership in the owner" in planned.entry("public.own_id_seq")["message"]
    run = exact(ahead, **confirmed(planned))
    assert (run["status"], position(ahead), position(ahead, "own")) == ("failed", (51, False), (9, True))


def test_shared_sequences_partitions_and_hidden_rows(database: TestDatabase) -> None:
    database.query(
        """
        CREATE SEQUENCE shared_id_seq; CREATE TABLE a (id bigint DEFAULT nextval('shared_id_seq'));
        CREATE TABLE b (id bigint DEFAULT nextval('shared_id_seq'));
        INSERT INTO a VALUES (5); INSERT INTO b VALUES (90);
        CREATE TABLE p (id bigint GENERATED ALWAYS AS IDENTITY, k int) PARTITION BY LIST (k);
        CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1); CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2);
        INSERT INTO p OVERRIDING SYSTEM VALUE VALUES (7, 1), (30, 2);
        CREATE TABLE hidden (id serial); INSERT INTO hidden VALUES (3); ALTER TABLE hidden FORCE ROW LEVEL SECURITY;
        ALTER TABLE hidden ENABLE ROW LEVEL SECURITY;
        SELECT setval('shared_id_seq', 200), setval('p_id_seq', 200), setval('hidden_id_seq', 200)
        """
    )
    planned = exact(database)
    assert {entry["name"]: entry["to"] for entry in planned["plan"]["sequences"]} == {
        "public.shared_id_seq": 91, "public.p_id_seq": 31
    }  # fmt: skip
    assert "row-level security" in planned.entry("public.hidden_id_seq")["message"]
    exact(database, **confirmed(planned))
    assert [position(database, name) for name in ("shared", "p", "hidden")] == [(91, False), (31, False), (200, True)]


HOLDERS = [
    pytest.param("BEGIN; INSERT INTO u (note) VALUES ('not committed')", id="a writer"),
    pytest.param("BEGIN; LOCK TABLE u", id="a locked table"),
    pytest.param("BEGIN; SELECT nextval('u_id_seq')", id="an id taken", marks=pytest.mark.full),
    pytest.param(
        "BEGIN; INSERT INTO u (id) VALUES (51); PREPARE TRANSACTION 'held'", id="prepared", marks=pytest.mark.full
    ),
]


@pytest.mark.parametrize("statement", HOLDERS)
def test_of_two_sequences_both_are_set_back_or_none(two: TestDatabase, statement: str) -> None:
    planned = exact(two)
    assert len(planned["plan"]["sequences"]) == 2
    with two.connect().cursor() as session:
        session.execute(statement)
        before = position(two, "u")
        run = exact(two, lock_timeout="50ms", **confirmed(planned))
        assert run["status"] == "failed"
        assert "No lock in 8 attempts" in run["msg"]
        assert (position(two), position(two, "u")) == ((1000, True), before)
        if "PREPARE" not in statement:
            session.execute("ROLLBACK")


def test_a_session_gives_up_the_ids_it_took_in_advance(database: TestDatabase) -> None:
    database.query("CREATE TABLE t (id int GENERATED BY DEFAULT AS IDENTITY (CACHE 10) PRIMARY KEY)")
    with database.connect().cursor() as session:
        session.execute("INSERT INTO t DEFAULT VALUES RETURNING id")
        assert session.fetchone() == (1,)
        planned = exact(database)
        assert planned_sequence(planned)[:2] == (11, 2)
        exact(database, **confirmed(planned))
        database.query("INSERT INTO t DEFAULT VALUES")
        session.execute("INSERT INTO t DEFAULT VALUES RETURNING id")
        assert session.fetchone() == (12,)


def test_a_row_that_is_not_committed_counts(ahead: TestDatabase) -> None:
    planned = exact(ahead)
    with ahead.connect().cursor() as session, ThreadPoolExecutor(1) as pool:
        session.execute("BEGIN; INSERT INTO t (id) VALUES (400)")
        running = pool.submit(exact, ahead, **confirmed(planned))
        until(lambda: bool(ahead.value("SELECT count(*) FROM pg_locks WHERE NOT granted")), "the module waits")
        session.execute("COMMIT")
        assert running.result()["status"] == "changed"
    assert ahead.value("INSERT INTO t DEFAULT VALUES RETURNING id") == 401


def insert(database: TestDatabase) -> int:
    return int(database.value("INSERT INTO t (note) VALUES ('writer') RETURNING id"))


def lock_waiters(database: TestDatabase) -> int:
    return int(database.value("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 't'::regclass"))


@pytest.mark.parametrize("first", ["module", "writers"])
def test_writers_and_the_apply_in_either_order(ahead: TestDatabase, first: str) -> None:
    """All wait for the table, and the server serves them in the order in which they came."""
    planned = exact(ahead)
    options = {**confirmed(planned), "lock_timeout": "900ms"}
    with ahead.connect().cursor() as session, ThreadPoolExecutor(5) as pool:
        session.execute("BEGIN; LOCK TABLE t IN SHARE MODE")

        def begin_writers() -> list[Future[int]]:
            before = lock_waiters(ahead)
            begun = [pool.submit(insert, ahead) for _writer in range(4)]
            until(lambda: lock_waiters(ahead) >= before + 4, "the writers wait")
            return begun

        writers = begin_writers() if first == "writers" else []
        running = pool.submit(exact, ahead, **options)
        until(lambda: lock_waiters(ahead) == len(writers) + 1, "the module waits")
        writers = writers or begin_writers()
        session.execute("COMMIT")
        ids = sorted(writer.result() for writer in writers)
        status = running.result()["status"]
    expected = {"module": ("changed", [51, 52, 53, 54]), "writers": ("ok", [1001, 1002, 1003, 1004])}
    assert (status, ids) == expected[first]


def test_writers_without_pause_get_no_id_twice(database: TestDatabase) -> None:
    """Jumps forward are to be taken back, while the writers insert and an explicit row comes in between."""
    database.query(f"CREATE TABLE {TABLE} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text)")
    with writing(database) as writers:
        for _round in range(5):
            database.query(f"SELECT setval('{SEQUENCE}', (SELECT last_value FROM {SEQUENCE}) + 100000)")
            planned = exact(database)
            database.query(
                f"INSERT INTO {TABLE} (id, note) OVERRIDING SYSTEM VALUE"
                f" SELECT last_value + 50000, 'explicit' FROM {SEQUENCE}"
            )
            run = exact(database, **confirmed(planned))
            assert run.get("status") in ("ok", "changed") or run["code"] == "confirmation_stale"
    given = list(chain.from_iterable(writers.ids))
    assert writers.duplicates == 0
    assert len(given) == len(set(given)) == writers.rows
    assert database.value(f"SELECT count(*) FROM {TABLE}") == writers.rows + 5


EXACT = ("--tags", "sequence", "-e", "sequence_reset_policy=exact")


def shown_token(output: str) -> str:
    """The one token that all hosts were told to repeat, however the lines wrap."""
    (token,) = set(re.findall(r"rollback_confirm=\s*(rb-[0-9a-f]{12})", output))
    return token


def test_the_playbook_asks_for_the_token_and_then_does_it(ahead: TestDatabase, tmp_path: Path) -> None:
    inventory(tmp_path, {"db1": rollback_variables(ahead.login())})
    ahead.query(BEHIND)
    for options in ((), ("--check",)):
        asked = rollback(tmp_path, *EXACT, *options)
        assert asked.returncode == 2, asked.stdout
        written = report(tmp_path, "db1")
        assert (written["verdict"], steps(written)["sequence"]) == ("refused", "refused")
        assert (position(ahead), position(ahead, "late")) == ((1000, True), (1, False))
    (details,) = (step["details"] for step in written["steps"] if step["name"] == "sequence")
    assert [entry["to"] for entry in details["plan"]["sequences"]] == [51]
    token = shown_token(asked.stdout)
    assert "1001 → 51" in asked.stdout

    wrong = rollback(tmp_path, *EXACT, "-e", "rollback_confirm=rb-000000000000")
    assert (wrong.returncode, position(ahead)) == (2, (1000, True))
    done = rollback(tmp_path, *EXACT, "-e", f"rollback_confirm={token}")
    assert done.returncode == 0, done.stdout
    assert (position(ahead), position(ahead, "late")) == ((51, False), (7, True))
    assert report(tmp_path, "db1")["verdict"] == "changed"
    assert "changed=0" in rollback(tmp_path, *EXACT, "-e", f"rollback_confirm={token}").stdout


@pytest.mark.full
def test_several_hosts_are_confirmed_together(ahead: TestDatabase, cluster: TestCluster, tmp_path: Path) -> None:
    """One host has nothing to set back; the token of one of the others does not do for both."""
    other, third = TestDatabase(cluster), TestDatabase(cluster)
    try:
        for database, tables in ((other, AHEAD_BY_950.format("t")), (third, BEHIND)):
            database.create()
            database.query(tables)
        inventory(tmp_path, {
            host: rollback_variables(database.login())
            for host, database in (("db1", ahead), ("db2", other), ("db3", third))
        })  # fmt: skip
        asked = rollback(tmp_path, *EXACT)
        assert asked.returncode == 2
        assert position(third, "late") == (7, True)
        tokens = {host: exact(database)["token"] for host, database in (("db1", ahead), ("db2", other))}
        assert shown_token(asked.stdout) == batch_token(tokens)

        assert rollback(tmp_path, *EXACT, "-e", f"rollback_confirm={tokens['db1']}").returncode == 2
        assert position(ahead) == position(other) == (1000, True)
        done = rollback(tmp_path, *EXACT, "-e", f"rollback_confirm={batch_token(tokens)}")
        assert done.returncode == 0, done.stdout
        assert position(ahead) == position(other) == (51, False)
    finally:
        other.drop()
        third.drop()


def test_the_repair_forward_takes_no_task_more(database: TestDatabase, tmp_path: Path) -> None:
    inventory(tmp_path, {"db1": rollback_variables(database.login())})
    database.query(BEHIND)
    done = rollback(tmp_path, "--tags", "sequence")
    tasks = [line for line in done.stdout.splitlines() if "pgops.rollback.sequence_reset : " in line]
    assert len(tasks) == 3, tasks
