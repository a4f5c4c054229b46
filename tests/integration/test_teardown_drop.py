# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Dropped and brought back: everything is as it was, and whatever cannot be is refused before anything is dropped."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.catalog_snapshot import Snapshot
from ansible_collections.pgops.rollback.plugins.module_utils.connection import cluster_identifier, server_info
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_bundle import (
    BUNDLE,
    CONTENT,
    Bundle,
    read_bundle,
)
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_cipher import ENCRYPTED, Cipher
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_drop import Dropped, drop
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_export import ARCHIVE, require_room
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_outcome import (
    new_bundle,
    require_lasting,
    require_own,
    teardown_outcome,
)
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_plan import (
    Planned,
    PlanRequest,
    make_plan,
    read_plan,
    reading,
)
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_restore import Restored, restore_dropped
from tests.support.ciphers import openssl
from tests.support.database import OPERATOR, TestDatabase
from tests.support.quarantine import MANIFEST, UNKNOWN, assert_same, load_shapes, state
from tests.support.sessions import SURVIVING, at_work
from tests.support.small_disk import small_disk
from tests.support.teardown import COACHING, as_released, load_application, rolled_back
from tests.support.waiting import until

PLAIN = Cipher()


@pytest.fixture
def application(database: TestDatabase) -> TestDatabase:
    load_application(database)
    return database


def teardown(
    database: TestDatabase,
    directory: Path,
    manifest: dict[str, Any] | None = None,
    meanwhile: Callable[[Any], None] | None = None,
    user: str = OPERATOR,
    cipher: Cipher = PLAIN,
    lock_timeout_ms: int = 500,
) -> Dropped:
    """:param meanwhile: is called with the cursor when the plan was made again, before the export."""
    connection = database.connect(user)
    server = server_info(connection)
    request = PlanRequest(manifest or COACHING, "drop", UNKNOWN, require_backup=False)
    planned = make_plan(connection, server, request)
    assert planned.plan["blockers"] == []

    def again(cursor: Any) -> tuple[Planned, dict[str, Any]]:
        found: Planned = read_plan(cursor, server, request, [])
        assert found.plan["token"] == planned.plan["token"]
        if meanwhile is not None:
            meanwhile(cursor)
        return found, {
            "mode": "drop", "plan": found.plan, "database": server.database,
            "system_identifier": cluster_identifier(cursor),
        }  # fmt: skip

    try:
        with new_bundle(connection, str(directory), "db1", "run") as partial:
            return drop(connection, server, planned, again, lock_timeout_ms, partial, 120, cipher)
    finally:
        connection.close()


def undo(database: TestDatabase, bundle: Bundle, user: str = OPERATOR, cipher: Cipher = PLAIN) -> Restored:
    """From what is on disk."""
    connection = database.connect(user)
    try:
        return restore_dropped(connection, server_info(connection), read_bundle(bundle.directory), 500, 120, cipher)
    finally:
        connection.close()


def outcome(database: TestDatabase, bundle: Bundle) -> str:
    with reading(database.connect()) as cursor:
        return teardown_outcome(cursor, bundle)


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


#: Each lacks something that an undo does with others: rows, keys, sequences, tables at all.
BARE: dict[str, tuple[str, dict[str, Any]]] = {
    "no key": ("CREATE TABLE bare (body text); INSERT INTO bare VALUES ('dear diary')", {"tables": ["public.bare"]}),
    "no row": ("CREATE TABLE bare (id int PRIMARY KEY)", {"tables": ["public.bare"]}),
    "no column": ("CREATE TABLE bare (); INSERT INTO bare DEFAULT VALUES", {"tables": ["public.bare"]}),
    "no partition": ("CREATE TABLE bare (id int) PARTITION BY LIST (id)", {"tables": ["public.bare"]}),
    "a function": ("CREATE FUNCTION bare() RETURNS int LANGUAGE sql AS 'SELECT 1'", {"functions": ["public.bare()"]}),
    "a sequence": ("CREATE SEQUENCE bare; SELECT nextval('bare')", {"sequences": ["public.bare"]}),
}


@pytest.mark.parametrize("case", BARE)
def test_what_nothing_hangs_on(database: TestDatabase, tmp_path: Path, case: str) -> None:
    statements, manifest = BARE[case]
    database.query(statements)
    before = state(database)
    undo(database, teardown(database, tmp_path, manifest).bundle)
    assert_same(before, state(database))


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


@pytest.fixture
def three_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ansible_collections.pgops.rollback.plugins.module_utils.teardown_attempts.ATTEMPTS", 3)


WAITS = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted"


def somebody_waits(database: TestDatabase) -> None:
    until(lambda: bool(database.value(WAITS)), "the drop waits for its lock")


def refusal(database: TestDatabase, directory: Path, **how: Any) -> RollbackError:
    """Of a drop that leaves everything as it was, and nothing behind."""
    before = state(database)
    with pytest.raises(RollbackError) as refused:
        teardown(database, directory, **how)
    assert_same(before, state(database))
    assert nothing_left(directory)
    return refused.value


def test_a_long_reader_is_named(application: TestDatabase, tmp_path: Path, three_attempts: None) -> None:
    with rolled_back(application.connect()) as cursor:
        cursor.execute("SELECT pg_backend_pid() FROM public.sponsor_visible_memos LIMIT 1")
        (pid,) = cursor.fetchone()
        error = refusal(application, tmp_path)
    assert (error.code, f"process {pid} (user operator" in error.message) == ("lock_timeout", True), error.message


@pytest.mark.parametrize("inserted", [0, 1])
def test_another_attempt_exports_again_only_what_has_changed(
    application: TestDatabase, tmp_path: Path, inserted: int
) -> None:
    def let_go_on(reader: Any) -> tuple[Snapshot, str] | None:
        somebody_waits(application)
        if not inserted:
            until(lambda: not application.value(WAITS), "the attempt has ended")
            reader.execute("COMMIT")
            return None
        # It waits for the end of the attempt.
        application.query(
            "INSERT INTO public.sponsor_connections (practitioner_user_id, sponsor_user_id)"
            " SELECT sponsor_user_id, practitioner_user_id FROM public.sponsor_connections LIMIT 1"
        )
        found = state(application)
        reader.execute("COMMIT")
        return found

    before = state(application)
    with rolled_back(application.connect()) as reader, ThreadPoolExecutor(1) as beside:
        reader.execute("SELECT FROM public.sponsor_visible_memos")
        released = beside.submit(let_go_on, reader)
        done = teardown(application, tmp_path)
        before = released.result() or before
    assert done.attempts > 1
    assert done.exports == 1 + inserted
    undo(application, done.bundle)
    assert_same(before, state(application))


def test_no_number_is_taken_from_a_sequence_that_goes(application: TestDatabase, tmp_path: Path) -> None:
    """It would be handed out twice after the undo."""

    def take(reader: Any) -> None:
        try:
            somebody_waits(application)
            with pytest.raises(psycopg2.errors.LockNotAvailable):
                application.query("SET lock_timeout = '50ms'; SELECT nextval('public.sponsor_connections_id_seq')")
        finally:
            reader.execute("COMMIT")

    with rolled_back(application.connect()) as reader, ThreadPoolExecutor(1) as beside:
        reader.execute("SELECT FROM public.sponsor_visible_memos")
        taken = beside.submit(take, reader)
        teardown(application, tmp_path)
        taken.result()


def test_writers_of_what_refers_to_it_do_not_keep_it_from_being_dropped(
    application: TestDatabase, tmp_path: Path, three_attempts: None
) -> None:
    """They hold the lock on their table and wait for the check of its foreign key, from the first lock on."""
    with at_work(application, [each for each in SURVIVING if each.name == "writes feedback"] * 3):
        assert teardown(application, tmp_path).attempts <= 3


def test_who_waits_already_is_no_victim_of_a_deadlock(application: TestDatabase, tmp_path: Path) -> None:
    """An account is being deleted: it has locked what the drop has to lock, and waits for the rows that go."""
    deleting: list[Any] = []

    def delete(cursor: Any) -> None:
        if not deleting:
            deletion = "DELETE FROM auth.users WHERE email = 'user1@example.com'"
            deleting.append(beside.submit(application.query, deletion))
            behind = "SELECT count(*) FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))"
            us = (cursor.connection.info.backend_pid,)
            until(lambda: bool(application.value(behind, us)), "the deletion waits")

    with ThreadPoolExecutor(1) as beside:
        done = teardown(application, tmp_path, meanwhile=delete, lock_timeout_ms=950)
        deleting[0].result()
    assert (done.attempts, done.exports) == (2, 2)
    assert application.value("SELECT count(*) FROM auth.users WHERE email = 'user1@example.com'") == 0


def test_what_is_made_between_plan_and_drop_is_not_lost(application: TestDatabase, tmp_path: Path) -> None:
    def commit(maker: Any) -> None:
        somebody_waits(application)
        maker.execute("COMMIT")

    connection = application.connect()
    with connection.cursor() as maker, ThreadPoolExecutor(1) as beside:
        maker.execute("BEGIN; CREATE VIEW public.unplanned AS SELECT id FROM public.sponsor_visible_memos")
        beside.submit(commit, maker)
        with pytest.raises(RollbackError, match=r"view (public\.)?unplanned") as refused:
            teardown(application, tmp_path)
    assert refused.value.code == "drop_took_more"
    assert application.value("SELECT count(*) FROM public.unplanned") is not None
    assert nothing_left(tmp_path)


def test_a_drop_that_is_ended_leaves_everything(application: TestDatabase, tmp_path: Path) -> None:
    before = state(application)

    def kill(cursor: Any) -> None:
        application.query(
            "SELECT pg_terminate_backend(%s)", (cursor.connection.info.backend_pid,), user="postgres"
        )

    with pytest.raises(psycopg2.OperationalError):
        teardown(application, tmp_path, meanwhile=kill)
    assert_same(before, state(application))
    assert nothing_left(tmp_path)


def test_a_commit_that_fails_leaves_no_bundle(application: TestDatabase, tmp_path: Path) -> None:
    application.query(
        "CREATE TABLE public.kept (id int PRIMARY KEY, other int REFERENCES public.kept DEFERRABLE INITIALLY DEFERRED)"
    )
    before = state(application)
    with pytest.raises(psycopg2.IntegrityError):
        teardown(
            application, tmp_path, meanwhile=lambda cursor: cursor.execute("INSERT INTO public.kept VALUES (1, 2)")
        )
    assert_same(before, state(application))
    assert nothing_left(tmp_path)


REFUSALS = {
    "hidden rows": ("ALTER TABLE public.sponsor_connections FORCE ROW LEVEL SECURITY", "row_security", "hide rows"),
    "an event trigger": (
        "CREATE FUNCTION public.never() RETURNS event_trigger LANGUAGE plpgsql AS"
        " 'BEGIN RAISE EXCEPTION ''not on my watch''; END';"
        "CREATE EVENT TRIGGER never ON sql_drop EXECUTE FUNCTION public.never()", "drop_refused", "not on my watch"),
    "what no dump tells": (
        "ALTER TABLE public.sponsor_connections DISABLE TRIGGER ALL", "undo_impossible", "triggers disabled"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
def test_nothing_is_dropped_that_cannot_come_back(application: TestDatabase, tmp_path: Path, case: str) -> None:
    statement, code, words = REFUSALS[case]
    application.query(statement, user="postgres")
    error = refusal(application, tmp_path)
    assert (error.code, words in error.message) == (code, True), error.message


def test_a_full_disk_is_told_before_anything(application: TestDatabase, tmp_path: Path) -> None:
    connection = application.connect()
    planned = make_plan(
        connection, server_info(connection), PlanRequest(COACHING, "drop", UNKNOWN, require_backup=False)
    )
    require_room(tmp_path, planned, 1)
    with pytest.raises(RollbackError, match="has room for") as refused:
        require_room(tmp_path, replace(planned, plan={**planned.plan, "disk": {"bytes": 1 << 62}}), 1)
    assert refused.value.code == "disk_full"


def test_a_disk_that_fills_during_the_export_is_told(application: TestDatabase, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "4m") as disk:

        def fill(_cursor: Any) -> None:
            with suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass

        error = refusal(application, disk / "artifacts", meanwhile=fill)
        assert (error.code, "No space left on device" in error.message) == ("dump_failed", True), error.message


#: What is done after the drop, and how the undo refuses then.
CONFLICTS = {
    "a table of that name": ("CREATE TABLE public.sponsor_connections (id int)", "undo_conflict",
                             "table public.sponsor_connections is there"),
    "a sequence of that name": ("CREATE SEQUENCE public.sponsor_connections", "undo_conflict",
                                "sequence public.sponsor_connections is there"),
    "a policy of that name": ("CREATE POLICY sponsor_reads ON public.profiles USING (true)", "undo_conflict",
                              "policy sponsor_reads on public.profiles is there"),
    "a type of that name": ("CREATE TYPE public.sponsor_connections AS ENUM ('a')", "undo_refused",
                            "already exists"),
    "users who are gone": ("DELETE FROM auth.users WHERE email = 'user1@example.com'", "undo_conflict",
                           "rows of public.sponsor_"),
}  # fmt: skip


def test_what_came_into_the_way_is_named(application: TestDatabase, tmp_path: Path) -> None:
    bundle = teardown(application, tmp_path).bundle
    for statement, code, words in CONFLICTS.values():
        with rolled_back_after(application, statement):
            before = state(application)
            with pytest.raises(RollbackError) as refused:
                undo(application, bundle)
            assert (refused.value.code, words in refused.value.message) == (code, True), refused.value.message
            assert_same(before, state(application))


#: How each of them is taken back.
BACK = {
    "CREATE TABLE": "DROP TABLE public.sponsor_connections",
    "CREATE SEQUENCE": "DROP SEQUENCE public.sponsor_connections",
    "CREATE POLICY": "DROP POLICY sponsor_reads ON public.profiles",
    "CREATE TYPE": "DROP TYPE public.sponsor_connections",
}


@contextmanager
def rolled_back_after(database: TestDatabase, statement: str) -> Iterator[None]:
    database.query(statement, user="postgres")
    yield
    for begins, back in BACK.items():
        if statement.startswith(begins):
            database.query(back, user="postgres")


def test_who_keeps_the_undo_waiting_is_named(
    application: TestDatabase, tmp_path: Path, three_attempts: None
) -> None:
    bundle = teardown(application, tmp_path).bundle
    before = state(application)
    with rolled_back(application.superuser()) as cursor:
        cursor.execute("LOCK TABLE auth.users IN ROW EXCLUSIVE MODE; SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
        with pytest.raises(RollbackError, match=f"process {pid} ") as refused:
            undo(application, bundle)
    assert refused.value.code == "lock_timeout"
    assert_same(before, state(application))


def test_a_bundle_of_another_database_is_refused(application: TestDatabase, tmp_path: Path) -> None:
    bundle = teardown(application, tmp_path).bundle
    superuser = application.superuser()
    with reading(superuser) as cursor:
        identifier = cluster_identifier(cursor)
    server, content = server_info(superuser), {**bundle.content, "host": "db1"}
    require_own(server, identifier, "renamed", Bundle(bundle.directory, content))
    require_own(server, None, "db1", Bundle(bundle.directory, content))
    for name, changed, words in (
        (identifier, {"database": "other"}, "is of database other"),
        (identifier, {"system_identifier": "other"}, "on cluster other"),
        # Nobody knows the cluster, and another host has a database of that name.
        (None, {"host": "other"}, "of host other"),
    ):
        with pytest.raises(RollbackError, match=words) as refused:
            require_own(server, name, "db1", Bundle(bundle.directory, {**content, **changed}))
        assert refused.value.code == "bundle_foreign"


def test_what_came_back_otherwise_is_rolled_back(application: TestDatabase, tmp_path: Path) -> None:
    bundle = teardown(application, tmp_path).bundle
    before = state(application)
    content = json.loads(json.dumps(bundle.content))
    content["contents"]["tables"][0][3] = "1"
    content["contents"]["sequences"][0][2] += 1
    connection = application.connect()
    words = r"the rows of public\.sponsor_chat_messages are others; the sequence public\."
    with pytest.raises(RollbackError, match=words) as refused:
        restore_dropped(connection, server_info(connection), Bundle(bundle.directory, content), 500, 120, PLAIN)
    assert refused.value.code == "undo_unequal"
    assert_same(before, state(application))


def test_a_truncated_archive_is_refused(application: TestDatabase, tmp_path: Path) -> None:
    bundle = teardown(application, tmp_path).bundle
    before = state(application)
    archive = bundle.directory / ARCHIVE
    whole = archive.read_bytes()
    connection = application.connect()
    for kept in (len(whole) // 2, len(whole) - 400, 10):
        archive.write_bytes(whole[:kept])
        with pytest.raises(RollbackError, match="changed or cut off") as refused:
            undo(application, bundle)
        assert refused.value.code == "bundle_damaged"
        # And by what reads it, had nobody taken its sum.
        with pytest.raises(RollbackError) as refused:
            restore_dropped(connection, server_info(connection), bundle, 500, 120, PLAIN)
        assert refused.value.code == "archive_damaged"
    assert_same(before, state(application))
    archive.write_bytes(whole)
    undo(application, bundle)


def test_encrypted_there_and_back(application: TestDatabase, tmp_path: Path) -> None:
    cipher, artifacts, listing = openssl(tmp_path), tmp_path / "artifacts", tmp_path / "listing"
    before = state(application)
    message = application.value("SELECT max(message_text) FROM public.sponsor_chat_messages")
    # What is in the bundle's directory while it is encrypted.
    look = ("sh", "-c", f'ls -A {artifacts}/db1/run/.bundle.partial >> {listing}; exec "$@"', "sh")
    bundle = teardown(application, artifacts, cipher=Cipher((*look, *cipher.encrypt), cipher.decrypt)).bundle
    assert set(listing.read_text(encoding="utf-8").split()) == {ENCRYPTED}
    assert {path.name for path in bundle.directory.iterdir()} == {ENCRYPTED, CONTENT}
    assert bundle.content["encryption"]["proven"] is True
    assert message not in (bundle.directory / CONTENT).read_text(encoding="utf-8")
    gone = state(application)
    key = (tmp_path / "key").read_text(encoding="utf-8")
    for given, written, code in ((PLAIN, key, "decryption_missing"), (cipher, "another", "decryption_failed")):
        (tmp_path / "key").write_text(written, encoding="utf-8")
        with pytest.raises(RollbackError) as refused:
            undo(application, bundle, cipher=given)
        assert refused.value.code == code
    assert_same(gone, state(application))
    (tmp_path / "key").write_text(key, encoding="utf-8")
    undo(application, bundle, cipher=cipher)
    assert_same(before, state(application))
    assert [path.name for path in bundle.directory.parent.iterdir()] == [BUNDLE]


def test_what_cannot_be_encrypted_is_not_dropped(application: TestDatabase, tmp_path: Path) -> None:
    """Told before anybody waits; or it passes the trial with a few bytes, and the archive is too much for it."""
    reached: list[Any] = []
    with pytest.raises(RollbackError, match="false of teardown_bundle_encrypt ended with 1"):
        teardown(application, tmp_path, cipher=Cipher(("false",)), meanwhile=reached.append)
    assert reached == []
    few = ("sh", "-c", "head -c 5000 | gzip; if [ $(head -c 1 | wc -c) = 1 ]; then echo too much >&2; exit 4; fi")
    error = refusal(application, tmp_path, cipher=Cipher(few))
    assert (error.code, "sh of teardown_bundle_encrypt ended with 4: too much" in error.message) == (
        "encryption_failed", True,
    ), error.message  # fmt: skip


def test_what_became_of_it_is_told_by_the_objects(application: TestDatabase, tmp_path: Path) -> None:
    bundle = teardown(application, tmp_path).bundle
    assert outcome(application, bundle) == "committed"
    # OIDs come round again, once in four thousand million.
    there = {"table auth.users": ["pg_class", application.value("SELECT 'auth.users'::regclass::oid::bigint")]}
    for oids, told in ((there, "not_committed"), ({**bundle.content["oids"], **there}, "committed")):
        assert outcome(application, Bundle(bundle.directory, {**bundle.content, "oids": oids})) == told
    undo(application, bundle)
    assert outcome(application, bundle) == "undone"
    application.query("DROP TABLE public.sponsor_visible_memos CASCADE")
    assert outcome(application, bundle) == "committed"


def test_in_an_execution_environment_a_drop_needs_a_directory_that_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_lasting("/artifacts", False)
    monkeypatch.setattr("ansible_collections.pgops.rollback.plugins.module_utils.teardown_outcome.RUNNER", tmp_path)
    require_lasting("/artifacts", True)
    with pytest.raises(RollbackError, match="rollback_artifacts_persistent") as refused:
        require_lasting("/artifacts", False)
    assert refused.value.code == "artifacts_vanish"


def test_a_table_with_nothing_but_rows(database: TestDatabase, tmp_path: Path) -> None:
    """Its archive has no key, no index and no trigger: a section with nothing to be run."""
    database.query("CREATE TABLE public.bare (n int); INSERT INTO public.bare VALUES (1)")
    before = state(database)
    done = teardown(database, tmp_path, {"name": "bare", "tables": ["public.bare"]})
    undo(database, done.bundle)
    assert_same(before, state(database))
