# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The oracle of the teardown's tests: what a DROP … CASCADE really takes, from a transaction that is rolled back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.blast_radius import BlastRadius, read_blast_radius
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_difference import Difference, compare
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_reading import read_catalog
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_snapshot import Snapshot
from ansible_collections.pgops.rollback.plugins.module_utils.connection import server_info
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_plan import reading
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_targets import Targets, resolve
from tests.support.database import ROOT, TestDatabase

#: As a rollback manifest names it, the coaching migration.
COACHING: dict[str, Any] = {
    "name": "coaching",
    "tables": ["public.sponsor_connections", "public.sponsor_chat_messages", "public.sponsor_visible_memos"],
    "functions": [
        "public.create_coach_connection(uuid, uuid)",
        "public.get_unread_memo_count(uuid, uuid)",
    ],
    "sequences": [],
}


def load_application(database: TestDatabase) -> None:
    """The sample application, with the migration on top, which finds its tables there already."""
    for name, user in (("sample_application.sql", "postgres"), ("coaching_migration.sql", "operator")):
        database.query((ROOT / "demo" / name).read_text(encoding="utf-8"), user=user)


def as_released(database: TestDatabase) -> None:
    """The tables as the migration makes them where they are not there yet: with serial keys, and some rows."""
    database.query(f"DROP TABLE {', '.join(COACHING['tables'])} CASCADE")
    database.query((ROOT / "demo" / "coaching_migration.sql").read_text(encoding="utf-8"))
    database.query(
        "INSERT INTO public.sponsor_connections (practitioner_user_id, sponsor_user_id)"
        " SELECT p.id, s.id FROM auth.users p JOIN auth.users s ON s.id < p.id ORDER BY p.id, s.id LIMIT 50;"
        "DELETE FROM public.sponsor_connections WHERE id > 47"
    )


def add_messages(database: TestDatabase, total: int) -> None:
    """So many chat messages in all, between those who have a connection already."""
    database.query(
        "INSERT INTO public.sponsor_chat_messages (connection_id, sender_id, receiver_id, message_text)"
        " SELECT c.id, c.sponsor_user_id, c.practitioner_user_id, 'Message ' || n"
        " FROM generate_series(1, %s - (SELECT count(*) FROM public.sponsor_chat_messages)) n"
        " JOIN (SELECT *, row_number() OVER (ORDER BY id) - 1 AS place, count(*) OVER () AS number"
        " FROM public.sponsor_connections) c ON c.place = n %% c.number",
        (total,),
    )
    assert database.value("SELECT count(*) FROM public.sponsor_chat_messages") == total


def read_radius(connection: Any, manifest: dict[str, Any], mode: str = "drop") -> tuple[Targets, BlastRadius]:
    with reading(connection) as cursor:
        targets = resolve(cursor, manifest)
        return targets, read_blast_radius(cursor, server_info(connection), targets, mode)


def really_dropped(connection: Any, objects: list[dict[str, Any]]) -> Difference:
    """What is different in the catalogs after the DROP; nothing of it stays.

    :param connection: in autocommit mode.
    :param objects: of a plan.
    """
    with connection.cursor() as cursor:
        cursor.execute("BEGIN; SET LOCAL search_path = pg_catalog; SET LOCAL client_min_messages = error")
        try:
            before = _snapshot(connection)
            cursor.execute(drop_statements(objects))
            return compare(before, _snapshot(connection))
        finally:
            cursor.execute("ROLLBACK")


def drop_statements(objects: list[dict[str, Any]]) -> str:
    """All relations in one statement, then all routines, then what sequences are left."""
    words = {"table": "TABLE", "foreign table": "FOREIGN TABLE IF EXISTS", "sequence": "SEQUENCE IF EXISTS"}
    routines = [each["name"] for each in objects if each["kind"] in ("function", "procedure", "aggregate")]
    statements = []
    for kind, word in words.items():
        names = [each["name"] for each in objects if each["kind"] == kind]
        statements += [f"DROP {word} {', '.join(names)} CASCADE"] if names else []
    statements += [f"DROP ROUTINE {', '.join(routines)} CASCADE"] if routines else []
    return "; ".join(statements)


@contextmanager
def rolled_back(connection: Any) -> Iterator[Any]:
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        try:
            yield cursor
        finally:
            cursor.execute("ROLLBACK")


def _snapshot(connection: Any) -> Snapshot:
    snapshot = Snapshot("app", None, connection.server_version, "", "", objects={})
    snapshot.arrange(read_catalog(connection, None).objects)
    return snapshot
