# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What sequence_reset repairs, what it leaves alone, and what it says when it cannot."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.connection import server_info
from ansible_collections.pgops.rollback.plugins.module_utils.connections import MUCH, Connections
from ansible_collections.pgops.rollback.plugins.module_utils.locks import (
    NO_WRITERS,
    NOT_TRIED,
    LockNotObtainedError,
    Session,
    gave_up,
)
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_reset import reset as reset_call
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_survey import survey
from tests.support.database import OPERATOR, TestDatabase
from tests.support.modules import ModuleRun, run_module
from tests.support.waiting import until

BEHIND = "CREATE TABLE t (id serial PRIMARY KEY); INSERT INTO t VALUES (7)"
DEFAULTS = {"lock_healthy": False, "repair_defaults": False, "test": "none"}
MANY_BEHIND = "".join(f"CREATE TABLE t{n} (id serial); INSERT INTO t{n} VALUES ({n});" for n in range(1, MUCH + 1))


def reset(
    database: TestDatabase, user: str = OPERATOR, check: bool = False, diff: bool = False, **options: Any
) -> ModuleRun:
    return run_module("sequence_reset", {**database.login(user), **options}, check=check, diff=diff)


def position(database: TestDatabase, sequence: str = "t_id_seq") -> tuple[int, bool]:
    return database.query(f"SELECT last_value, is_called FROM {sequence}", user="postgres")[0]


@contextmanager
def in_background(database: TestDatabase, **options: Any) -> Iterator[list[ModuleRun]]:
    """sequence_reset running beside the block; its run is in the list afterwards."""
    runs: list[ModuleRun] = []
    thread = threading.Thread(target=lambda: runs.append(reset(database, **options)))
    thread.start()
    try:
        yield runs
    finally:
        thread.join()


def waiting_process(database: TestDatabase) -> int | None:
    """The process of a run of ours that waits for a lock."""
    rows = database.query(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        " AND application_name = 'pgops.rollback'",
        user="postgres",
    )
    return rows[0][0] if rows else None


def test_inserts_work_again_and_a_second_run_changes_nothing(database: TestDatabase) -> None:
    database.query(f"{BEHIND}; CREATE TABLE healthy (id serial)")
    run = reset(database)
    assert not run.failed
    assert run["changed"] is True
    assert run["summary"] == "2 sequences: 1 reset, 1 healthy."
    assert [entry["name"] for entry in run["sequences"]] == ["public.t_id_seq"]
    entry = run["sequences"][0]
    assert entry["before"] == {"last_value": 1, "is_called": False, "next_value": 1}
    assert entry["after"] == {"last_value": 7, "is_called": True, "next_value": 8}
    assert (entry["state"], entry["action"], entry["extreme"]) == ("behind", "reset", 7)
    assert database.value("INSERT INTO t DEFAULT VALUES RETURNING id") == 8
    again = reset(database)
    assert (again["changed"], again.failed, again["sequences"]) == (False, False, [])


def test_the_undo_statement_puts_the_state_before_back(database: TestDatabase) -> None:
    database.query('CREATE TABLE "O\'Hara.t" (id serial); INSERT INTO "O\'Hara.t" VALUES (7)')
    undo = reset(database)["sequences"][0]["undo"]
    assert position(database, '"O\'Hara.t_id_seq"') == (7, True)
    database.query(undo)
    assert position(database, '"O\'Hara.t_id_seq"') == (1, False)


GRIDS = {
    "odd numbers stay odd": ("INCREMENT 2", 10, 11),
    "increment of ten from five": ("START 5 INCREMENT 10", 25, 35),
    "descending": ("INCREMENT -1", -40, -41),
    "descending by three": ("INCREMENT -3", -5, -7),
    "start below the data": ("START 100", 100, 101),
    "negative ids in an ascending sequence": ("MINVALUE -100 START -100", -50, -49),
}


@pytest.mark.parametrize("case", GRIDS)
def test_the_next_value_is_the_first_beyond_the_data_on_the_grid(database: TestDatabase, case: str) -> None:
    definition, extreme, expected = GRIDS[case]
    database.query(
        f"CREATE SEQUENCE t_id_seq {definition}; CREATE TABLE t (id int DEFAULT nextval('t_id_seq'));"
        f" INSERT INTO t VALUES ({extreme})"
    )
    assert reset(database)["sequences"][0]["after"]["next_value"] == expected
    assert database.value("INSERT INTO t DEFAULT VALUES RETURNING id") == expected
    assert reset(database)["changed"] is False


def test_both_key_shapes_shared_sequences_and_partitions(database: TestDatabase) -> None:
    database.query(
        """
        CREATE TABLE always (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text);
        INSERT INTO always OVERRIDING SYSTEM VALUE VALUES (500, 'copied');
        CREATE SEQUENCE shared; CREATE TABLE a (id bigint DEFAULT nextval('shared'));
        CREATE TABLE b (id bigint DEFAULT nextval('shared')); INSERT INTO a VALUES (3); INSERT INTO b VALUES (9);
        CREATE TABLE parted (id bigserial, at int) PARTITION BY RANGE (at);
        CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
        INSERT INTO parted_1 VALUES (60, 1);
        CREATE SEQUENCE text_seq; CREATE TABLE textual (id bigint DEFAULT nextval('text_seq'::text));
        INSERT INTO textual VALUES (70);
        """
    )
    run = reset(database)
    assert {entry["name"]: entry["after"]["next_value"] for entry in run["sequences"]} == {
        "public.always_id_seq": 501,
        "public.shared": 10,
        "public.parted_id_seq": 61,
        "public.text_seq": 71,
    }
    assert database.value("INSERT INTO always (v) VALUES ('x') RETURNING id") == 501


def test_check_mode_predicts_what_a_run_does_and_does_nothing(database: TestDatabase) -> None:
    database.query(
        f"""
        {BEHIND}; CREATE TABLE healthy (id serial); CREATE SEQUENCE unfed;
        CREATE TABLE full_up (id smallint GENERATED BY DEFAULT AS IDENTITY); INSERT INTO full_up VALUES (32767);
        CREATE TABLE lost (id serial PRIMARY KEY); INSERT INTO lost VALUES (4); ALTER TABLE lost ALTER id DROP DEFAULT;
        CREATE TABLE foreign_to_us (id serial); INSERT INTO foreign_to_us VALUES (5);
        """
    )
    database.query(
        "ALTER TABLE foreign_to_us OWNER TO postgres;"
        f" GRANT SELECT ON foreign_to_us, foreign_to_us_id_seq TO {OPERATOR}",
        user="postgres",
    )
    names = ("t_id_seq", "healthy_id_seq", "unfed", "full_up_id_seq", "lost_id_seq", "foreign_to_us_id_seq")
    before = {name: position(database, name) for name in names}
    catalogs = "SELECT md5(string_agg(c::text, '' ORDER BY oid)) FROM pg_class c"
    catalogs_before = database.value(catalogs)

    predicted = reset(database, check=True, diff=True, repair_defaults=True)
    assert {name: position(database, name) for name in names} == before
    assert database.value(catalogs) == catalogs_before

    done = reset(database, diff=True, repair_defaults=True)
    assert predicted["diff"]["before"] == done["diff"]["before"]
    assert "public.t_id_seq: next value 1\n" in done["diff"]["before"]
    assert "public.t_id_seq: next value 8\n" in done["diff"]["after"]
    assert predicted["diff"]["after"] == done["diff"]["after"]
    words = {"would_reset": "reset", "would_repair": "repaired"}
    for entry in predicted["sequences"]:
        entry["action"] = words.get(entry["action"], entry["action"])
    assert predicted["sequences"] == done["sequences"]
    for column in predicted["columns_without_default"]:
        column["status"] = words.get(column["status"], column["status"])
    assert predicted["columns_without_default"] == done["columns_without_default"]
    assert (predicted["changed"], predicted.failed) == (done["changed"], done.failed) == (True, True)


def test_a_sequence_is_never_lowered_and_healthy_ones_are_not_touched(database: TestDatabase) -> None:
    database.query(
        "CREATE TABLE ahead (id serial); INSERT INTO ahead VALUES (5); SELECT setval('ahead_id_seq', 90);"
        "CREATE TABLE ok (id serial); INSERT INTO ok DEFAULT VALUES;"
        "CREATE TABLE t (id serial); INSERT INTO t VALUES (3)"
    )
    rows = "SELECT 'ahead', ctid, xmin, l.* FROM ahead_id_seq l UNION ALL SELECT 'ok', ctid, xmin, l.* FROM ok_id_seq l"
    files = "SELECT relname, relfilenode FROM pg_class WHERE relname IN ('ahead_id_seq', 'ok_id_seq') ORDER BY 1"
    before = database.query(rows), database.query(files)
    # A writer with an open transaction would stop any lock on them.
    writer = database.connect()
    writer.cursor().execute("BEGIN; INSERT INTO ahead VALUES (6); INSERT INTO ok VALUES (1)")
    run = reset(database)
    assert [entry["name"] for entry in run["sequences"]] == ["public.t_id_seq"]
    assert (database.query(rows), database.query(files)) == before
    writer.cursor().execute("ROLLBACK")
    assert reset(database, lock_healthy=True)["changed"] is False
    assert (database.query(rows), database.query(files)) == before


def test_lock_healthy_waits_for_the_row_that_is_not_committed_yet(database: TestDatabase) -> None:
    database.query("CREATE TABLE t (id serial PRIMARY KEY)")
    writer = database.connect()
    writer.cursor().execute("BEGIN; INSERT INTO t VALUES (40)")
    assert reset(database)["changed"] is False
    with in_background(database, lock_healthy=True) as runs:
        until(lambda: waiting_process(database) is not None, "the reset waits for the writer")
        writer.cursor().execute("COMMIT")
    assert runs[0].entry("public.t_id_seq")["after"]["next_value"] == 41


def test_readers_and_pg_dump_do_not_stop_a_repair(database: TestDatabase) -> None:
    database.query(BEHIND)
    reader = database.connect()
    reader.cursor().execute(
        "BEGIN ISOLATION LEVEL REPEATABLE READ; LOCK TABLE t IN ACCESS SHARE MODE; SELECT * FROM t, t_id_seq"
    )
    assert reset(database)["changed"] is True


def test_a_lock_that_is_not_to_be_had_names_who_holds_it_and_spares_the_others(database: TestDatabase) -> None:
    database.query(f"{BEHIND}; CREATE TABLE u (id serial); INSERT INTO u VALUES (4)")
    holder = database.connect("postgres")
    holder.cursor().execute("SET application_name = 'billing job'; BEGIN; INSERT INTO t VALUES (8)")
    run = reset(database, user="postgres", lock_timeout="10ms")
    assert run.failed
    assert run["changed"] is True
    assert run.entry("public.u_id_seq")["action"] == "reset"
    entry = run.entry("public.t_id_seq")
    assert (entry["action"], entry["after"]) == ("failed", None)
    for words in (f"process {holder.info.backend_pid}", "billing job", "idle in transaction", "Run it again"):
        assert words in entry["message"]
        assert words in run["msg"]
    assert position(database) == (1, False)


def test_a_prepared_transaction_is_named(database: TestDatabase) -> None:
    database.query(BEHIND)
    database.query("BEGIN; INSERT INTO t VALUES (8); PREPARE TRANSACTION 'transfer-17'")
    try:
        run = reset(database, lock_timeout="10ms")
    finally:
        database.query("ROLLBACK PREPARED 'transfer-17'")
    assert run.failed
    assert "prepared transaction transfer-17" in run["msg"]


def test_a_table_that_cannot_be_read_for_a_lock_is_repaired_once_the_lock_is_gone(database: TestDatabase) -> None:
    database.query(BEHIND)
    holder = database.connect()
    holder.cursor().execute("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
    with in_background(database) as runs:
        until(lambda: waiting_process(database) is not None, "the reset waits for the table")
        until(lambda: waiting_process(database) is None, "its first attempt timed out")
        holder.cursor().execute("COMMIT")
    assert runs[0].entry("public.t_id_seq")["action"] == "reset"


def test_a_lost_connection_reports_what_was_done_and_what_was_not(database: TestDatabase) -> None:
    database.query(f"CREATE TABLE a (id serial); INSERT INTO a VALUES (5); {BEHIND}")
    holder = database.connect()
    holder.cursor().execute("BEGIN; INSERT INTO t VALUES (8)")
    with in_background(database) as runs:
        until(lambda: waiting_process(database) is not None, "the reset waits for the holder")
        database.query("SELECT pg_terminate_backend(%s)", (waiting_process(database),), user="postgres")
    run = runs[0]
    assert run.failed
    assert run.entry("public.a_id_seq")["action"] == "reset"
    assert "connection was lost" in run.entry("public.t_id_seq")["message"]
    assert position(database, "a_id_seq") == (5, True)


PRIVILEGES = {
    "sequence cannot be set": (
        f"REVOKE UPDATE ON SEQUENCE t_id_seq FROM {OPERATOR}",
        "UPDATE on sequence public.t_id_seq",
    ),
    "sequence cannot be read": (
        f"REVOKE SELECT ON SEQUENCE t_id_seq FROM {OPERATOR}",
        "SELECT on sequence public.t_id_seq",
    ),
    "table cannot be locked": (
        f"REVOKE ALL ON t FROM {OPERATOR}; GRANT SELECT ON t TO {OPERATOR}",
        "UPDATE on table public.t",
    ),
    "table cannot be read": (f"REVOKE SELECT ON t FROM {OPERATOR}", "SELECT on table public.t"),
    "sequence of another owner": (
        f"ALTER TABLE t OWNER TO postgres; GRANT ALL ON t, t_id_seq TO {OPERATOR}",
        "membership in the owner of sequence public.t_id_seq",
    ),
}


@pytest.mark.parametrize("case", PRIVILEGES)
def test_a_missing_privilege_on_one_of_many_is_reported_and_the_others_are_repaired(
    database: TestDatabase, case: str
) -> None:
    statement, missing = PRIVILEGES[case]
    database.query(
        f"{BEHIND}; CREATE TABLE u (id serial); INSERT INTO u VALUES (4); CREATE TABLE v (id serial);"
        " INSERT INTO v VALUES (2)"
    )
    database.query(statement, user="postgres")
    predicted = reset(database, check=True)
    run = reset(database)
    assert run.failed
    assert run["changed"] is True
    assert [run.entry(f"public.{name}_id_seq")["action"] for name in ("t", "u", "v")] == ["failed", "reset", "reset"]
    assert missing in run["msg"]
    assert predicted.entry("public.t_id_seq")["message"] == run.entry("public.t_id_seq")["message"]
    assert position(database) == (1, False)
    assert position(database, "u_id_seq") == (4, True)


def test_beyond_the_last_value_is_refused(database: TestDatabase) -> None:
    database.query("CREATE TABLE t (id smallint GENERATED BY DEFAULT AS IDENTITY); INSERT INTO t VALUES (32767)")
    run = reset(database)
    assert run.failed
    assert run["sequences"][0]["action"] == "refused"
    assert "32767" in run["msg"]
    assert position(database) == (1, False)


def test_cycling_unfed_and_computed_sequences_are_reported_not_repaired(database: TestDatabase) -> None:
    database.query(
        "CREATE SEQUENCE round MAXVALUE 10 CYCLE; CREATE TABLE r (id int DEFAULT nextval('round'));"
        " INSERT INTO r VALUES (9); CREATE SEQUENCE unfed; CREATE SEQUENCE invoices;"
        " CREATE TABLE i (no text DEFAULT 'I' || nextval('invoices'))"
    )
    run = reset(database)
    assert not run.failed
    assert {entry["name"]: (entry["state"], entry["action"]) for entry in run["sequences"]} == {
        "public.invoices": ("unreadable", "none"),
        "public.round": ("cycles", "none"),
        "public.unfed": ("unfed", "none"),
    }


@pytest.mark.parametrize("text", ["0", "0ms", "500", "1s", "1min", "soon", "-5ms", ""])
def test_a_lock_timeout_that_would_hurt_is_refused(database: TestDatabase, text: str) -> None:
    database.query(BEHIND)
    run = reset(database, lock_timeout=text)
    assert (run.failed, run["code"]) == (True, "lock_timeout_invalid")
    assert position(database) == (1, False)


def test_the_nextval_test_burns_one_id_and_says_so(database: TestDatabase) -> None:
    database.query(f"{BEHIND}; CREATE TABLE healthy (id serial)")
    run = reset(database, test="nextval")
    assert run["sequences"][0]["tested_value"] == 8
    assert run["sequences"][0]["after"]["next_value"] == 9
    assert "took the id 8" in run["sequences"][0]["message"]
    assert position(database) == (8, True)
    assert position(database, "healthy_id_seq") == (1, False)


def test_the_nextval_test_leaves_the_last_id(database: TestDatabase) -> None:
    database.query("CREATE TABLE t (id smallint GENERATED BY DEFAULT AS IDENTITY); INSERT INTO t VALUES (32766)")
    entry = reset(database, test="nextval")["sequences"][0]
    assert "not tested" in entry["message"]
    assert "100.0 % of its range" in entry["warnings"][-1]
    assert database.value("INSERT INTO t DEFAULT VALUES RETURNING id") == 32767


def test_the_digits_of_a_numeric_column_are_its_range(database: TestDatabase) -> None:
    database.query(
        "CREATE SEQUENCE t_id_seq; CREATE TABLE t (id numeric(6, 2) DEFAULT nextval('t_id_seq'));"
        " INSERT INTO t VALUES (9999)"
    )
    assert reset(database)["sequences"][0]["action"] == "refused"


def test_a_sequence_that_is_given_back_is_set_once_and_its_undo_is_whole(database: TestDatabase) -> None:
    database.query(
        "CREATE TABLE t (id serial PRIMARY KEY); INSERT INTO t VALUES (70); ALTER TABLE t ALTER id DROP DEFAULT;"
        " CREATE TABLE other (id int DEFAULT nextval('t_id_seq')); INSERT INTO other VALUES (50)"
    )
    predicted = reset(database, check=True, repair_defaults=True)
    run = reset(database, repair_defaults=True)
    assert run["sequences"] == predicted["sequences"] == []
    assert run["summary"] == "1 sequence: 1 key column repaired."
    (column,) = run["columns_without_default"]
    assert {**predicted["columns_without_default"][0], "status": "repaired"} == column
    assert position(database) == (70, True)
    database.query(column["undo"])
    assert position(database) == (1, False)


def test_a_prediction_waits_for_no_lock(database: TestDatabase) -> None:
    database.query("CREATE TABLE t (id serial PRIMARY KEY); ALTER TABLE t ALTER id DROP DEFAULT")
    holder = database.connect()
    holder.cursor().execute("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
    begun = time.monotonic()
    run = reset(database, check=True, repair_defaults=True)
    assert run.failed
    assert "keeps it locked" in run["msg"]
    # One attempt of 500 ms, and the start of a process.
    assert time.monotonic() - begun < 6


def test_a_lost_default_fails_the_run_until_it_is_repaired(database: TestDatabase) -> None:
    database.query(
        "CREATE TABLE t (id serial PRIMARY KEY, v text); INSERT INTO t VALUES (7); ALTER TABLE t ALTER id DROP DEFAULT"
    )
    run = reset(database)
    assert run.failed
    assert "public.t.id" in run["msg"]
    assert "repair_defaults" in run["msg"]

    run = reset(database, repair_defaults=True)
    assert (run.failed, run["changed"]) == (False, True)
    column = run["columns_without_default"][0]
    assert column["status"] == "repaired"
    assert (column["before"]["next_value"], column["after"]["next_value"]) == (1, 8)
    assert database.value("INSERT INTO t (v) VALUES ('x') RETURNING id") == 8
    assert reset(database, repair_defaults=True)["changed"] is False
    database.query(column["undo"])
    assert position(database) == (1, False)
    assert reset(database).failed


def test_a_lost_identity_comes_back_only_where_its_table_is_named(database: TestDatabase) -> None:
    database.query(
        "CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text);"
        " INSERT INTO t (v) SELECT 'x' FROM generate_series(1, 9); ALTER TABLE t ALTER id DROP IDENTITY;"
        " CREATE TABLE natural_key (isbn bigint PRIMARY KEY); CREATE TABLE other (id serial)"
    )
    everything = reset(database, repair_defaults=True)
    assert (everything.failed, everything["changed"]) == (False, False)
    assert [column["status"] for column in everything["columns_without_default"]] == ["warned", "warned"]

    run = reset(database, repair_defaults=True, tables=["t"])
    assert run["columns_without_default"][0]["status"] == "repaired"
    assert database.value("INSERT INTO t (v) VALUES ('x') RETURNING id") == 10
    untouched = "SELECT attidentity = '' FROM pg_attribute WHERE attrelid = 'natural_key'::regclass AND attnum = 1"
    assert database.value(untouched)
    database.query(run["columns_without_default"][0]["undo"])
    assert reset(database, tables=["t"])["columns_without_default"][0]["status"] == "warned"


def test_a_sequence_of_the_right_name_is_used_again_only_where_its_table_is_named(database: TestDatabase) -> None:
    database.query(
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (7); CREATE SEQUENCE t_id_seq;"
        " CREATE TABLE other (id serial)"
    )
    assert reset(database, repair_defaults=True)["columns_without_default"][0]["status"] == "warned"
    assert reset(database, repair_defaults=True, tables=["t"])["columns_without_default"][0]["status"] == "repaired"
    assert database.value("INSERT INTO t (v) VALUES ('x') RETURNING id") == 8
    assert database.value("SELECT last_value FROM t_id_seq") == 8


def test_a_default_is_not_repaired_by_who_does_not_own_the_table(database: TestDatabase) -> None:
    database.query(
        "CREATE TABLE t (id serial PRIMARY KEY); ALTER TABLE t ALTER id DROP DEFAULT; ALTER TABLE t OWNER TO postgres;"
        f" GRANT ALL ON t, t_id_seq TO {OPERATOR}",
        user="postgres",
    )
    run = reset(database, repair_defaults=True)
    assert run.failed
    assert "ownership of table public.t" in run["msg"]


UNREPAIRABLE = {
    "its sequence is at its end": (
        "CREATE TABLE t (id smallserial PRIMARY KEY); INSERT INTO t VALUES (32767);"
        " ALTER TABLE t ALTER id DROP DEFAULT",
        "cannot serve it",
    ),
    "its type is at its end": (
        "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (2147483647)",
        "last one that integer can hold",
    ),
    "its sequence starts over": (
        "CREATE TABLE t (id serial PRIMARY KEY); ALTER SEQUENCE t_id_seq CYCLE; ALTER TABLE t ALTER id DROP DEFAULT",
        "cannot serve it",
    ),
    "its sequence feeds a value that is no number": (
        "CREATE TABLE t (id serial PRIMARY KEY); CREATE TABLE u (x numeric DEFAULT nextval('t_id_seq'));"
        " INSERT INTO u VALUES ('NaN'); ALTER TABLE t ALTER id DROP DEFAULT",
        "not a finite number",
    ),
}


@pytest.mark.parametrize("case", UNREPAIRABLE)
def test_a_default_that_cannot_come_back_is_foreseen(database: TestDatabase, case: str) -> None:
    statements, reason = UNREPAIRABLE[case]
    database.query(statements)
    for check in (True, False):
        run = reset(database, check=check, repair_defaults=True, tables=["t"])
        assert run.failed
        assert reason in run["columns_without_default"][0]["message"]
    assert database.value("SELECT NOT atthasdef FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'id'")


def test_a_new_identity_needs_the_right_to_create_its_sequence(database: TestDatabase) -> None:
    database.query("CREATE TABLE t (id int PRIMARY KEY)")
    rights = f"ALTER SCHEMA public OWNER TO postgres; GRANT USAGE ON SCHEMA public TO {OPERATOR}"
    database.query(rights, user="postgres")
    for check in (True, False):
        run = reset(database, check=check, repair_defaults=True, tables=["t"])
        assert "CREATE on schema public" in run["msg"]


def test_who_drew_an_id_and_inserts_it_later_is_not_a_deadlocks_victim(database: TestDatabase) -> None:
    """As Hibernate does: nextval first, the insert later in the same transaction."""
    database.query(BEHIND)
    application = database.connect().cursor()
    application.execute("BEGIN; SELECT nextval('t_id_seq')")
    with in_background(database, lock_timeout="900ms") as runs:
        until(lambda: waiting_process(database) is not None, "the reset waits for the application")
        application.execute("INSERT INTO t VALUES (100); COMMIT")
    assert runs[0].entry("public.t_id_seq")["after"]["next_value"] == 101


def test_who_writes_to_a_partition_is_named(database: TestDatabase) -> None:
    database.query(
        "CREATE TABLE t (id int GENERATED BY DEFAULT AS IDENTITY, at int) PARTITION BY LIST (at);"
        " CREATE TABLE t_1 PARTITION OF t FOR VALUES IN (1); INSERT INTO t VALUES (7, 1)"
    )
    holder = database.connect()
    holder.cursor().execute("BEGIN; INSERT INTO t_1 VALUES (8, 1)")
    run = reset(database, lock_timeout="10ms")
    assert f"process {holder.info.backend_pid}" in run["msg"]


def test_an_event_trigger_that_relies_on_the_search_path_works(database: TestDatabase) -> None:
    database.query(f"{BEHIND}; CREATE TABLE ddl_log (tag text)")
    database.query(
        "CREATE FUNCTION public.log_ddl() RETURNS event_trigger LANGUAGE plpgsql AS"
        " $$ BEGIN INSERT INTO ddl_log VALUES (tg_tag); END $$;"
        " CREATE EVENT TRIGGER log_ddl ON ddl_command_end EXECUTE FUNCTION public.log_ddl()",
        user="postgres",
    )
    run = reset(database)
    assert not run.failed, run["msg"]
    assert database.value("SELECT tag FROM ddl_log") == "ALTER SEQUENCE"


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE t RENAME TO gone; ALTER TABLE other RENAME TO t",
        "ALTER SEQUENCE t_id_seq RENAME TO gone; CREATE SEQUENCE t_id_seq",
        "DROP TABLE t CASCADE",
    ],
)
def test_what_is_replaced_or_dropped_meanwhile_is_left_alone(database: TestDatabase, statement: str) -> None:
    database.query(
        f"{BEHIND}; CREATE TABLE other (id int); INSERT INTO other VALUES (1999); CREATE TABLE u (id serial);"
        " INSERT INTO u VALUES (4)"
    )
    connections = Connections(database.login())
    found = survey(connections, {})
    database.query(statement)
    result = reset_call(connections, found, DEFAULTS, 500, False)
    connections.close()
    assert [(entry["name"], entry["action"]) for entry in result["sequences"]] == [
        ("public.t_id_seq", "failed"),
        ("public.u_id_seq", "reset"),
    ]
    assert "meanwhile" in result["sequences"][0]["message"]
    if "RENAME" in statement:
        assert position(database) == (1, False)


def test_what_a_lost_session_had_left_is_done_by_the_other(database: TestDatabase) -> None:
    database.query(MANY_BEHIND)
    connections = Connections(database.login())
    found = survey(connections, {})
    database.query("SELECT pg_terminate_backend(%s)", (connections.every[1].info.backend_pid,), user="postgres")
    result = reset_call(connections, found, DEFAULTS, 500, False)
    connections.close()
    failed = [entry["message"] for entry in result["sequences"] if entry["action"] != "reset"]
    assert len(failed) == 1
    assert "connection was lost" in failed[0]


def test_a_lost_session_gives_up_in_words(database: TestDatabase) -> None:
    connection = database.connect()
    session = Session(connection, 500)
    connection.close()
    assert gave_up(session, [1], NO_WRITERS, 8) == NOT_TRIED


def test_a_read_that_is_ended_is_not_taken_for_a_lock(database: TestDatabase) -> None:
    session = Session(database.connect(), 500)

    def read() -> str:
        session.begin([])
        session.cursor.execute("SET LOCAL statement_timeout = 10; SELECT pg_sleep(30)")
        return "read"

    assert "statement_timeout" in session.guarded(read, lambda reason: reason)
    assert session.cursor.connection.info.transaction_status == 0


def test_the_locks_of_an_attempt_share_one_timeout(database: TestDatabase) -> None:
    database.query("CREATE TABLE t (id serial); CREATE TABLE u (id int)")
    holders = [database.connect(), database.connect()]
    holders[0].cursor().execute("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
    holders[1].cursor().execute("BEGIN; LOCK TABLE u IN ACCESS EXCLUSIVE MODE")
    threading.Timer(0.3, holders[0].cursor().execute, ["ROLLBACK"]).start()
    session = Session(database.connect(), 400)
    begun = time.monotonic()
    with pytest.raises(LockNotObtainedError):
        session.begin([(NO_WRITERS, [("public", "t")]), (NO_WRITERS, [("public", "u")])])
    assert 0.35 < time.monotonic() - begun < 0.6


@pytest.mark.parametrize("name", ["postgresql://operator:s3cret@db/app", "host=db password=s3cret"])
def test_a_connection_string_is_refused_and_not_shown(database: TestDatabase, name: str) -> None:
    run = run_module("sequence_reset", {**database.login(), "login_db": name})
    assert run["code"] == "connection_string"
    assert "s3cret" not in run["msg"]


def test_nothing_is_left_set_in_the_session_of_a_pooler(database: TestDatabase) -> None:
    """What a transaction-mode pooler would hand to the next client: every setting is as it was."""
    database.query(f"{BEHIND}; CREATE TABLE lost (id serial PRIMARY KEY); ALTER TABLE lost ALTER id DROP DEFAULT")
    connections = Connections(database.login())
    cursor = connections.first.cursor()

    def settings() -> list[tuple[str, str]]:
        cursor.execute("SELECT name, setting FROM pg_settings ORDER BY name")
        return list(cursor.fetchall())

    before = settings()
    server_info(connections.first)
    found = survey(connections, {})
    options = {"lock_healthy": True, "repair_defaults": True, "test": "none"}
    assert reset_call(connections, found, options, 500, False)["changed"] is True
    assert settings() == before
    assert connections.first.info.transaction_status == 0
    connections.close()


def test_many_sequences_are_shared_out_over_two_sessions(database: TestDatabase) -> None:
    database.query(MANY_BEHIND)
    connections = Connections(database.login())
    found = survey(connections, {})
    assert len(connections.every) == 2
    result = reset(database)
    assert (result.failed, result["summary"]) == (False, f"{MUCH} sequences: {MUCH} reset.")
    assert {entry["name"]: entry["after"]["last_value"] for entry in result["sequences"]} == {
        f"public.t{n}_id_seq": n for n in range(1, MUCH + 1)
    }
    assert [sequence.name for sequence, _assessment in found.sequences] == [
        entry["name"] for entry in result["sequences"]
    ]
    connections.close()


def test_a_server_without_room_for_a_second_session_is_repaired_over_one(database: TestDatabase) -> None:
    database.query(MANY_BEHIND)
    database.query(f"ALTER ROLE {OPERATOR} CONNECTION LIMIT 1", user="postgres")
    try:
        run = reset(database)
    finally:
        database.query(f"ALTER ROLE {OPERATOR} CONNECTION LIMIT -1", user="postgres")
    assert (run.failed, run["summary"]) == (False, f"{MUCH} sequences: {MUCH} reset.")


def test_a_role_with_hostile_settings_does_not_mislead_it(database: TestDatabase) -> None:
    database.query(
        f"{BEHIND}; CREATE SCHEMA trap; CREATE FUNCTION trap.max(int) RETURNS int LANGUAGE sql AS 'SELECT 1';"
        " CREATE TABLE trap.pg_class (oid int)"
    )
    database.query(
        f"ALTER ROLE {OPERATOR} IN DATABASE {database.name} SET default_transaction_isolation = 'serializable';"
        f" ALTER ROLE {OPERATOR} IN DATABASE {database.name} SET default_transaction_read_only = on;"
        f" ALTER ROLE {OPERATOR} IN DATABASE {database.name} SET search_path = trap, pg_catalog, public;"
        f" ALTER ROLE {OPERATOR} IN DATABASE {database.name} SET lock_timeout = 0;",
        user="postgres",
    )
    run = reset(database)
    assert not run.failed, run["msg"]
    assert position(database) == (7, True)
