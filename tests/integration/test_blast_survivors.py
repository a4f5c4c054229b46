# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What survives a teardown and fails afterwards, or still works in a quarantine: each is tried, after the deed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.dependent import BREAKS, DROPPED, POSSIBLE, REMAINS
from tests.support.database import TestDatabase
from tests.support.teardown import COACHING, drop_statements, load_application, read_radius, rolled_back

#: Functions with a text, by name: their definition after the name, the effect and the line that the plan has to tell.
FUNCTIONS: dict[str, tuple[str, str | None, int | None]] = {
    "qualified": ("RETURNS bigint LANGUAGE sql AS $$\nSELECT count(*)\nFROM public.sponsor_connections $$", BREAKS, 3),
    "by_path": ("RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN"
                " RETURN (SELECT max(id) FROM sponsor_visible_memos); END $$", BREAKS, 1),
    "own_path": ("RETURNS bigint LANGUAGE plpgsql SET search_path = '' AS $$ BEGIN\n"
                 "RETURN (SELECT max(id) FROM public.sponsor_visible_memos); END $$", BREAKS, 2),
    "row_type": ("RETURNS bigint LANGUAGE plpgsql AS $$ DECLARE r public.sponsor_connections%ROWTYPE;"
                 " BEGIN RETURN 1; END $$", BREAKS, 1),
    "calls": ("RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN\n\nRETURN public.get_unread_memo_count(NULL, NULL); END $$",
              BREAKS, 3),
    "calls_a_caller": ("RETURNS bigint LANGUAGE sql AS 'SELECT public.calls()'", BREAKS, 1),
    "reads_a_view": ("RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT count(*) FROM public.coach_overview);"
                     " END $$", BREAKS, 1),
    "draws": ("RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN"
              " RETURN nextval('public.sponsor_visible_memos_id_seq'); END $$", BREAKS, 1),
    "dynamic": ("RETURNS bigint LANGUAGE plpgsql AS $$ DECLARE n bigint; BEGIN\n"
                "EXECUTE format('SELECT count(*) FROM %I', 'sponsor_connections') INTO n; RETURN n; END $$",
                POSSIBLE, 2),
    "bears_it": ("RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT count(*) FROM public.sponsor_connections);"
                 " EXCEPTION WHEN undefined_table THEN RETURN 0; END $$", POSSIBLE, 1),
    "looks_first": ("RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN IF to_regclass('public.sponsor_connections') IS NULL"
                    " THEN RETURN 0; END IF; RETURN (SELECT count(*) FROM public.sponsor_connections); END $$",
                    POSSIBLE, 1),
    "innocent": ("RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN -- FROM public.sponsor_connections\n"
                 "RETURN (SELECT count(*) FROM public.profiles); END $$", None, None),
    "homonym": ("RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM other.sponsor_connections'", None, None),
    "atomic_caller": ("RETURNS bigint BEGIN ATOMIC SELECT public.qualified(); END", BREAKS, None),
}  # fmt: skip

SURVIVORS = """
SET search_path = public;
CREATE FUNCTION on_write() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM public.sponsor_visible_memos WHERE id = -1;
    RETURN NEW;
END $$;
CREATE TRIGGER fires BEFORE INSERT ON virtues FOR EACH ROW EXECUTE FUNCTION on_write();
CREATE VIEW calling AS SELECT qualified() AS n;
CREATE VIEW over_it AS SELECT n FROM calling;
ALTER TABLE journal_entries ADD counted bigint DEFAULT qualified();
CREATE POLICY counted ON journal_entries FOR SELECT TO authenticated USING (qualified() > 0);
"""


@pytest.fixture
def application(database: TestDatabase) -> TestDatabase:
    load_application(database)
    return database


@pytest.fixture
def functions(application: TestDatabase) -> TestDatabase:
    # Of the name there is another one, but never in the search_path.
    application.query("CREATE SCHEMA other; CREATE TABLE other.sponsor_connections (id int)")
    for name, (definition, _effect, _line) in FUNCTIONS.items():
        application.query(f"CREATE FUNCTION public.{name}() {definition}")
    application.query(SURVIVORS)
    return application


def error_of(cursor: Any, statement: str) -> str:
    """The SQLSTATE that it fails with; empty if it does not."""
    cursor.execute("SAVEPOINT trial")
    try:
        cursor.execute(statement)
        return ""
    except psycopg2.Error as error:
        return str(error.pgcode)
    finally:
        cursor.execute("ROLLBACK TO SAVEPOINT trial")


@pytest.mark.parametrize("mode", ["drop", "quarantine"])
def test_the_plan_tells_which_functions_fail_afterwards(functions: TestDatabase, mode: str) -> None:
    """``certain`` ones fail when they are called, and what is not in the plan does not."""
    connection = functions.connect()
    targets, radius = read_radius(connection, COACHING, mode)
    told = {each.name: each for each in radius.dependents if each.kind == "function"}
    deed = drop_statements([{"kind": each.kind, "name": each.name} for each in targets.objects])
    with rolled_back(connection) as cursor:
        cursor.execute(deed if mode == "drop" else quarantine(targets))
        failed = {name: error_of(cursor, f"SELECT public.{name}()") for name in FUNCTIONS}
    for name, (_definition, effect, line) in FUNCTIONS.items():
        entry = told.get(f"public.{name}()")
        if mode == "quarantine" and name == "reads_a_view":
            # The view goes on working.
            assert (entry, failed[name]) == (None, ""), name
            continue
        assert (entry.effect if entry else None, entry.line if entry else None) == (effect, line), name
        if effect != POSSIBLE:
            assert bool(failed[name]) == (effect == BREAKS), (name, failed[name])
    assert failed["dynamic"]
    assert not failed["bears_it"]


def test_the_plan_tells_what_fails_with_them(functions: TestDatabase) -> None:
    connection = functions.connect()
    targets, radius = read_radius(connection, COACHING)
    broken = {each.label for each in radius.dependents if each.effect == BREAKS and each.kind != "function"}
    assert broken == {
        "trigger fires on public.virtues", "view public.calling", "view public.over_it",
        "default public.journal_entries.counted", "policy counted on public.journal_entries",
    }  # fmt: skip
    by_label = {each.label: each for each in radius.dependents}
    assert by_label["trigger fires on public.virtues"].uses == ("function public.on_write()",)
    tries = {
        "trigger": "INSERT INTO public.virtues (name) VALUES ('new')",
        "view": "TABLE public.over_it",
        "default": "INSERT INTO public.journal_entries (user_id, entry_text) SELECT id, 'x' FROM public.profiles",
        "policy": "SET ROLE authenticated; SELECT count(*) FROM public.journal_entries",
    }
    with rolled_back(connection) as cursor:
        assert {kind: error_of(cursor, statement) for kind, statement in tries.items()} == dict.fromkeys(tries, "")
        cursor.execute(drop_statements([{"kind": each.kind, "name": each.name} for each in targets.objects]))
        assert {kind: error_of(cursor, statement) for kind, statement in tries.items()} == dict.fromkeys(tries, "42P01")


def test_defaults_that_look_their_sequence_up_are_told(application: TestDatabase) -> None:
    application.query(
        "ALTER TABLE public.virtues ADD n bigint, ALTER n SET DEFAULT"
        " nextval('public.sponsor_visible_memos_id_seq'::text), ADD m bigint, ALTER m SET DEFAULT"
        " nextval('sponsor_visible_memos_id_seq'::text), ADD other bigint,"
        " ALTER other SET DEFAULT nextval('public.virtues_id_seq'::text)"
    )
    connection = application.connect()
    for mode in ("drop", "quarantine"):
        targets, radius = read_radius(connection, COACHING, mode)
        told = {each.name: each.effect for each in radius.dependents if each.kind == "default"}
        assert told == {"public.virtues.n": BREAKS, "public.virtues.m": POSSIBLE}
        deed = drop_statements([{"kind": each.kind, "name": each.name} for each in targets.objects])
        with rolled_back(connection) as cursor:
            cursor.execute(deed if mode == "drop" else quarantine(targets))
            assert error_of(cursor, "INSERT INTO public.virtues (name, m) VALUES ('a', 1)") == "42P01"
            assert error_of(cursor, "INSERT INTO public.virtues (name, n) VALUES ('a', 1)") == "42P01"
            assert error_of(cursor, "INSERT INTO public.virtues (name, n, m) VALUES ('a', 1, 1)") == ""


def quarantine(targets: Any) -> str:
    """As the trial did it: the grants stay, and nobody may use the schema."""
    statements = ["CREATE SCHEMA quarantined"]
    for each in targets.objects:
        if each.kind != "sequence" or not each.through:
            statements.append(f"ALTER {each.kind.upper()} {each.name} SET SCHEMA quarantined")
    statements.append("ALTER PUBLICATION supabase_realtime DROP TABLE quarantined.sponsor_chat_messages")
    return "; ".join(statements)


@contextmanager
def in_quarantine(connection: Any, targets: Any) -> Iterator[Any]:
    with rolled_back(connection) as cursor:
        cursor.execute(quarantine(targets))
        yield cursor


def test_a_quarantine_leaves_the_survivors_working(application: TestDatabase) -> None:
    application.query(
        "SET search_path = public; CREATE TABLE archive (id int, was sponsor_connections);"
        "CREATE VIEW of_all AS SELECT count(*) AS n FROM sponsor_connections;"
        "CREATE POLICY calls ON virtues USING (get_unread_memo_count(auth.uid(), auth.uid()) >= 0);"
        "ALTER TABLE virtues ENABLE ROW LEVEL SECURITY; ALTER TABLE virtues FORCE ROW LEVEL SECURITY"
    )
    connection = application.connect()
    targets, radius = read_radius(connection, COACHING, "quarantine")
    effects = {each.label: each.effect for each in radius.dependents}
    assert {label for label, effect in effects.items() if effect == DROPPED} == {
        "publication table supabase_realtime on public.sponsor_chat_messages",
    }
    # The function itself is moved, and its text does not find the tables there.
    assert {label for label, effect in effects.items() if effect == BREAKS} == {"policy calls on public.virtues"}
    remaining = {label for label, effect in effects.items() if effect == REMAINS}
    assert remaining >= {
        "policy sponsor_reads on public.profiles", "view public.of_all", "column public.archive.was",
        "constraint sponsor_feedback_connection_id_fkey on public.sponsor_feedback",
        "constraint sponsor_connections_sponsor_user_id_fkey on public.sponsor_connections",
    }  # fmt: skip
    with in_quarantine(connection, targets) as cursor:
        assert error_of(cursor, "SET ROLE authenticated; SELECT count(*) FROM public.profiles") == ""
        assert error_of(cursor, "SET ROLE authenticated; TABLE quarantined.sponsor_connections") == "42501"
        assert error_of(cursor, "TABLE public.archive") == ""
        assert error_of(cursor, "SELECT count(*) FROM public.virtues") == "42P01"
        cursor.execute("SELECT n FROM public.of_all")
        assert cursor.fetchone() == (200,)
        cursor.execute("SELECT sponsor_user_id FROM quarantined.sponsor_connections LIMIT 1")
        sponsor = cursor.fetchone()[0]
        assert error_of(cursor, "INSERT INTO public.sponsor_feedback (connection_id, rating, feedback_text)"
                                " VALUES (-1, 1, 'x')") == "23503"  # fmt: skip
        cursor.execute("DELETE FROM auth.users WHERE id = %s", (sponsor,))
        cursor.execute("SELECT n FROM public.of_all")
        assert cursor.fetchone()[0] < 200


def test_what_losing_a_policy_means_is_told_and_true(application: TestDatabase) -> None:
    application.query(
        "ALTER TABLE public.virtues ENABLE ROW LEVEL SECURITY;"
        "CREATE POLICY everything ON public.virtues FOR SELECT TO authenticated USING (true);"
        "CREATE POLICY narrow ON public.virtues AS RESTRICTIVE FOR SELECT TO authenticated"
        " USING (id IN (SELECT c.id FROM public.sponsor_connections c WHERE c.id = 1));"
        "CREATE POLICY off ON public.user_virtue_stage_memos FOR INSERT TO anon"
        " WITH CHECK (id IN (SELECT id FROM public.sponsor_visible_memos));"
        "CREATE POLICY also ON public.sponsor_feedback FOR SELECT TO authenticated"
        " USING (connection_id IN (SELECT id FROM public.sponsor_connections));"
        "CREATE TABLE public.plain (id int);"
        "CREATE POLICY idle ON public.plain USING (id IN (SELECT id FROM public.sponsor_visible_memos))"
    )
    connection = application.connect()
    targets, radius = read_radius(connection, COACHING)
    details = {each.name: each.detail for each in radius.dropped if each.kind == "policy"}
    assert details["narrow on public.virtues"] == (
        "A restrictive policy: without it authenticated can read MORE rows of public.virtues than now."
    )
    assert details["sponsor_reads on public.profiles"].startswith("A permissive policy: rows of public.profiles")
    assert details["party on public.sponsor_feedback"] == (
        "The last permissive policy of its kind: authenticated can read or write no row of public.sponsor_feedback any"
        " more."
    )
    # The other one goes, too.
    assert details["also on public.sponsor_feedback"].startswith("The last permissive policy")
    assert details["idle on public.plain"].startswith("Row level security is off for public.plain")

    def seen(cursor: Any, table: str) -> int:
        cursor.execute("SET LOCAL ROLE authenticated")
        cursor.execute(f"SELECT count(*) FROM public.{table}")
        number: int = cursor.fetchone()[0]
        cursor.execute("RESET ROLE")
        return number

    user = application.value("SELECT sponsor_user_id::text FROM public.sponsor_connections WHERE id = 1")
    with rolled_back(connection) as cursor:
        cursor.execute("SELECT set_config('request.jwt.claim.sub', %s, true)", (user,))
        tables = ("virtues", "profiles", "sponsor_feedback")
        before = [seen(cursor, table) for table in tables]
        cursor.execute(drop_statements([{"kind": each.kind, "name": each.name} for each in targets.objects]))
        after = [seen(cursor, table) for table in tables]
    assert (before[0], after[0]) == (1, 12)
    assert after[1] < before[1]
    assert after[2] == 0 < before[2]


def test_event_triggers_that_can_refuse_are_told(application: TestDatabase) -> None:
    application.query(
        "CREATE FUNCTION public.veto() RETURNS event_trigger LANGUAGE plpgsql"
        " AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;"
        "CREATE EVENT TRIGGER dropping ON sql_drop EXECUTE FUNCTION public.veto();"
        "CREATE EVENT TRIGGER views ON ddl_command_end WHEN TAG IN ('CREATE VIEW') EXECUTE FUNCTION public.veto();"
        "CREATE EVENT TRIGGER starting ON ddl_command_start WHEN TAG IN ('DROP TABLE', 'ALTER TABLE')"
        " EXECUTE FUNCTION public.veto();"
        "CREATE EVENT TRIGGER disabled ON sql_drop EXECUTE FUNCTION public.veto();"
        "ALTER EVENT TRIGGER disabled DISABLE",
        user="postgres",
    )
    told = {}
    for mode in ("drop", "quarantine"):
        _targets, radius = read_radius(application.connect(), COACHING, mode)
        told[mode] = {each.name for each in radius.dependents if each.kind == "event trigger"}
        assert all(each.effect == POSSIBLE for each in radius.dependents if each.kind == "event trigger")
    assert told == {"drop": {"dropping", "starting"}, "quarantine": {"starting"}}
