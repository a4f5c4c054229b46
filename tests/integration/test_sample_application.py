# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The sample application of demo/: it loads, its migration runs in both worlds, and its sequences break."""

from __future__ import annotations

from typing import Any

import psycopg2
import pytest
import yaml

from tests.support.database import ROOT, TestDatabase

INSERTS: list[dict[str, str]] = yaml.safe_load((ROOT / "demo/vars.yml").read_text(encoding="utf-8"))["demo_inserts"]
COACHING = ("sponsor_visible_memos", "sponsor_chat_messages", "sponsor_connections")


def script(name: str) -> str:
    return (ROOT / "demo" / name).read_text(encoding="utf-8")


@pytest.fixture
def application(database: TestDatabase) -> TestDatabase:
    database.query(script("sample_application.sql"), user="postgres")
    return database


def key_shape(database: TestDatabase, table: str) -> tuple[Any, ...]:
    return database.query(
        "SELECT format_type(atttypid, NULL), attidentity::text, atthasdef FROM pg_attribute"
        " WHERE attrelid = %s::regclass AND attname = 'id'",
        [table],
    )[0]


def test_the_operator_owns_it_and_is_no_superuser(application: TestDatabase) -> None:
    assert not application.value("SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user")
    assert application.query(
        "SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    ) == [("operator",)]
    assert application.value("SELECT count(*) FROM public.journal_entries") == 3000


def test_both_key_shapes_are_there(application: TestDatabase) -> None:
    assert {table: key_shape(application, table) for table in (*COACHING, "virtues", "journal_entries")} == {
        **dict.fromkeys(COACHING, ("bigint", "a", False)),
        "virtues": ("integer", "", True),
        "journal_entries": ("bigint", "", True),
    }


def test_policies_let_a_user_see_its_own(application: TestDatabase) -> None:
    as_user = "SET ROLE authenticated; SET request.jwt.claim.sub = '00000000-0000-4000-8000-000000000041';"
    assert application.value(f"{as_user} SELECT count(*) FROM public.profiles") == 1
    assert application.value(f"{as_user} SELECT count(DISTINCT connection_id) FROM public.sponsor_chat_messages") == 1
    assert application.value(
        f"{as_user} INSERT INTO public.journal_entries (user_id, entry_text) VALUES (auth.uid(), 'x') RETURNING id"
    ) == 3001


def test_the_migration_skips_older_tables(application: TestDatabase) -> None:
    for _run in range(2):
        application.query(script("coaching_migration.sql"))
    assert key_shape(application, "sponsor_connections") == ("bigint", "a", False)
    assert application.value("SELECT count(*) FROM public.sponsor_chat_messages") == 2500


def test_the_migration_makes_tables_with_serial_keys(application: TestDatabase) -> None:
    application.query(f"DROP TABLE {', '.join(COACHING)} CASCADE")
    for _run in range(2):
        application.query(script("coaching_migration.sql"))
    assert {key_shape(application, table) for table in COACHING} == {("integer", "", True)}
    pair = "(SELECT id FROM auth.users ORDER BY id LIMIT 1), (SELECT id FROM auth.users ORDER BY id DESC LIMIT 1)"
    assert application.value(f"SELECT public.create_coach_connection({pair})") == 1
    assert application.value(f"SELECT public.get_unread_memo_count({pair})") == 0


@pytest.mark.parametrize("insert", INSERTS, ids=lambda insert: insert["table"])
def test_broken_sequences_make_inserts_fail(application: TestDatabase, insert: dict[str, str]) -> None:
    assert application.value(insert["query"]) > 0
    application.query("DELETE FROM public.virtues WHERE id > 12")
    application.query(script("break_sequences.sql"))
    with pytest.raises(psycopg2.errors.UniqueViolation, match=f"{insert['table']}_pkey"):
        application.query(insert["query"])
