# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The undo of a drop, in one transaction: everything is as it was, or nothing has happened.

What touches survivors comes last, since others wait for it from there to the commit.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.catalog_difference import compare
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_object import CatalogObject
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_snapshot import Snapshot
from ansible_collections.pgops.rollback.plugins.module_utils.connection import ServerInfo
from ansible_collections.pgops.rollback.plugins.module_utils.driver import pg_errors, psycopg2, sql
from ansible_collections.pgops.rollback.plugins.module_utils.dump import find_pg_dump
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError, server_message
from ansible_collections.pgops.rollback.plugins.module_utils.locks import LockNotObtainedError
from ansible_collections.pgops.rollback.plugins.module_utils.names import quote_name
from ansible_collections.pgops.rollback.plugins.module_utils.progress import untold
from ansible_collections.pgops.rollback.plugins.module_utils.table_content import list_tables, measure
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_archive import Archive, Late, Steps
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_attempts import (
    AGAIN,
    Acting,
    in_attempts,
    refused,
)
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_bundle import NOTE_RETURNED, Bundle
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_cipher import Cipher
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_export import sequence_states
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_history import history_conflicts, put_history
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_proof import catalog_now
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_quarantine import snapshot_of
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_targets import resolve
from ansible_collections.pgops.rollback.plugins.module_utils.wording import listed

#: How many names a message has.
_NAMED = 5

#: What pg_restore would set for a session, and we for a transaction.
_SETTINGS = (
    "SET LOCAL check_function_bodies = off; SET LOCAL client_min_messages = warning; SET LOCAL row_security = off;"
    " SET LOCAL standard_conforming_strings = on; SET LOCAL xmloption = content;"
    " SELECT pg_catalog.set_config('search_path', '', true)"
)
_SETTINGS_BACK = (
    "SET LOCAL search_path = pg_catalog; RESET default_tablespace; RESET default_table_access_method"
)

#: These share their names.
_RELATIONS = ("table", "foreign table", "view", "materialized view", "sequence")

_PRIVILEGES = """
SELECT o.kind, o.schema, o.name, g.step, g.grantee <> 0,
       CASE WHEN g.grantee <> 0 THEN pg_get_userbyid(g.grantee)::text END
FROM (
    SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind, n.nspname::text AS schema,
           c.relname::text AS name, c.relacl AS acl,
           acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner) AS initial
    FROM unnest(%(schemas)s::text[], %(names)s::text[]) AS w (schema, name)
    JOIN pg_namespace n ON n.nspname = w.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name
    WHERE c.relacl IS NOT NULL
    UNION ALL
    SELECT 'ROUTINE', '', p.oid::regprocedure::text, p.proacl, acldefault('f', p.proowner)
    FROM unnest(%(routines)s::text[]) AS w (name) JOIN pg_proc p ON p.oid = w.name::regprocedure
    WHERE p.proacl IS NOT NULL
    UNION ALL
    SELECT 'SCHEMA', '', quote_ident(n.nspname), n.nspacl, acldefault('n', n.nspowner) FROM pg_namespace n
    WHERE n.nspname = ANY (%(namespaces)s::text[]) AND n.nspacl IS NOT NULL
) AS o, LATERAL (
    SELECT 1 AS step, grantee FROM aclexplode(o.acl) UNION SELECT 2, grantee FROM aclexplode(o.initial)
) AS g ORDER BY g.step
"""


@dataclass(frozen=True)
class Scripts:
    """The SQL of an undo's definitions."""

    before_rows: str
    after_rows: str
    privileges: str


@dataclass(frozen=True)
class Restored:
    """:ivar attempts: how many it took.
    :ivar notes: what is not as it was and need not be, in sentences.
    """

    attempts: int
    notes: list[str]


def scripts_of(archive: Archive, steps: Steps) -> Scripts:
    """:raises RollbackError: ``archive_damaged``, ``program_timeout``."""
    return Scripts(
        archive.script(steps.early, "pre-data"),
        archive.script(steps.early, "post-data"),
        archive.script(steps.privileges),
    )


def make_whole(cursor: Any, steps: Steps, scripts: Scripts, archive: Archive | None) -> None:
    """Everything but what touches survivors.

    :param archive: with the rows; None to leave the tables empty.
    :raises psycopg2.Error: what the server will not do.
    """
    cursor.execute(_SETTINGS)
    _run(cursor, scripts.before_rows)
    if archive is not None:
        for rows in archive.rows(steps.data):
            cursor.copy_expert(rows.statement, rows)
    for statement in steps.sequences:
        cursor.execute(statement)
    _run(cursor, scripts.after_rows)
    _reset_privileges(cursor, steps)
    _run(cursor, scripts.privileges)
    for statement in steps.refresh if archive is not None else []:
        cursor.execute(statement)
    cursor.execute(_SETTINGS_BACK)


def attach(acting: Acting, late: list[Late]) -> None:
    """What touches survivors, without looking at their rows.

    :raises LockNotObtainedError: for another attempt.
    :raises psycopg2.Error: what the server will not do.
    """
    settings = sql.SQL(f"{_SETTINGS}; ")
    for each in late:
        acting.run(settings + sql.SQL(each.statement))
    acting.run(sql.SQL(_SETTINGS_BACK))


def restore_dropped(
    connection: Any, server: ServerInfo, bundle: Bundle, lock_timeout_ms: int, timeout: float, cipher: Cipher
) -> Restored:
    """Bring everything back that a drop took, prove that it is as it was, and commit.

    :param connection: in autocommit mode.
    :param bundle: of a drop in this database.
    :param timeout: seconds that one run of pg_restore may take, or of the command that decrypts.
    :raises RollbackError: ``undo_conflict``, ``undo_refused``, ``undo_unequal``, ``lock_timeout``,
        ``archive_damaged``, ``binaries_missing``, and those of Cipher.archive_of() and catalog_reading.told_why().
        Nothing has happened then.
    """
    content, steps = bundle.content, Steps.of(bundle)
    pg_restore = find_pg_dump(max(server.major, content["pg_dump_major"])).with_name("pg_restore")

    def work(cursor: Any) -> None:
        require_free(cursor, content)
        with refused(cursor, "undo_refused", "bring the objects back"):
            try:
                make_whole(cursor, steps, scripts, archive)
            except AGAIN as error:
                raise LockNotObtainedError from error
        # Nobody sees these rows yet, and nobody waits.
        _require_equal(_different_rows(cursor, content))
        with refused(cursor, "undo_refused", "bring the objects back"):
            acting = Acting(cursor, lock_timeout_ms)
            attach(acting, steps.late)
            put_history(cursor, acting, content["history"])
            acting.end()
            _validate(cursor, steps)
        _require_equal(_differences(cursor, content, catalog_now(cursor).objects))
        made = resolve(cursor, content["plan"]["manifest"]).objects
        with suppress(OSError):  # a rerun after a kill says less then
            bundle.note(NOTE_RETURNED, {each.label: [each.catalog, each.oid] for each in made})

    with cipher.archive_of(bundle, timeout) as path:
        archive = Archive(path, pg_restore, timeout)
        scripts = scripts_of(archive, steps)
        _none, attempts = in_attempts(connection, lock_timeout_ms, [], steps.survivors, work)
    return Restored(attempts, _analyzed(connection, content))


def _run(cursor: Any, script: str) -> None:
    if script.strip():
        cursor.execute(script)


def _reset_privileges(cursor: Any, steps: Steps) -> None:
    """To those that an object has when it is made: default privileges may have given it to anybody meanwhile."""
    cursor.execute(_PRIVILEGES, {
        "schemas": [each[0] for each in steps.relations], "names": [each[1] for each in steps.relations],
        "routines": steps.routines, "namespaces": steps.schemas,
    })  # fmt: skip
    statements = []
    for kind, schema, name, step, named, role in cursor.fetchall():
        what = sql.SQL(f"{kind} ") + (sql.Identifier(schema, name) if schema else sql.SQL(name))
        who = sql.Identifier(role) if named else sql.SQL("PUBLIC")
        template = "REVOKE ALL ON {} FROM {} CASCADE" if step == 1 else "GRANT ALL ON {} TO {}"
        statements.append(sql.SQL(template).format(what, who))
    if statements:
        cursor.execute(sql.SQL("; ").join(statements))


def _validate(cursor: Any, steps: Steps) -> None:
    for each in steps.late:
        if each.validate is None:
            continue
        *table, constraint = each.validate
        try:
            cursor.execute(
                sql.SQL("ALTER TABLE {} VALIDATE CONSTRAINT {}").format(
                    sql.Identifier(*table), sql.Identifier(constraint)
                )
            )
        except (pg_errors.ForeignKeyViolation, pg_errors.CheckViolation) as error:
            raise _conflict([
                f"rows of {quote_name(*table)} violate the constraint {quote_name(constraint)} by now"
                f" ({server_message(error)})"
            ]) from error  # fmt: skip


def require_free(cursor: Any, content: dict[str, Any]) -> None:
    """:raises RollbackError: ``undo_conflict`` when something has the name of what would come back."""

    def place(kind: str, name: str) -> tuple[str, str]:
        return ("relation" if kind in _RELATIONS else kind), name

    wanted = {place(each["kind"], each["name"]) for each in content["dropped"]}
    taken = sorted(each.label for each in catalog_now(cursor).objects.values() if place(*each.key) in wanted)
    problems = [f"{label} is there" for label in taken] + history_conflicts(cursor, content["history"])
    if problems:
        raise _conflict(problems)


def _different_rows(cursor: Any, content: dict[str, Any]) -> list[str]:
    """And sequences."""
    algorithm = content["contents"]["algorithm"]
    wanted = {(schema, table): (rows, total) for schema, table, rows, total in content["contents"]["tables"]}
    tables = [each for each in list_tables(cursor) if each.key in wanted]
    measured = {each.key: (each.rows, each.hash) for each in measure([cursor.connection], tables, algorithm, untold)}
    problems = [f"the rows of {quote_name(*key)} are others" for key in wanted if measured.get(key) != wanted[key]]
    states = [tuple(each) for each in content["contents"]["sequences"]]
    live = sequence_states(cursor, [each[:2] for each in states])
    problems += [
        f"the sequence {quote_name(*then[:2])} is at {now_[2]}; it was at {then[2]}"
        for then, now_ in zip(states, live, strict=True) if then != now_
    ]  # fmt: skip
    return problems


def _require_equal(problems: list[str]) -> None:
    """:raises RollbackError: ``undo_unequal``."""
    if problems:
        raise RollbackError(
            "undo_unequal",
            f"What came back is not what was dropped: {listed(problems, _NAMED, '; ')}.",
            "Everything was rolled back. Set that right first, or restore the archive of the bundle by hand.",
        )


def _differences(cursor: Any, content: dict[str, Any], now: dict[tuple[str, str], CatalogObject]) -> list[str]:
    dropped = [CatalogObject(**each) for each in content["dropped"]]
    before = snapshot_of(cursor, dropped)
    live: Snapshot = snapshot_of(cursor, [now[key] for key in before.objects if key in now])
    problems = compare(before, live).texts()
    for each in content["altered"]:
        found = now.get((each["kind"], each["name"]))
        label = f"{each['kind']} {each['name']}"
        if found is None:
            problems.append(f"{label} is gone")
        else:
            problems += [
                f"{name.replace('_', ' ')} of {label} is another one"
                for name, value in each["attributes"].items() if found.attributes.get(name) != value
            ]  # fmt: skip
    return problems


def _analyzed(connection: Any, content: dict[str, Any]) -> list[str]:
    """What the planner knows of the tables does not come back with them."""
    names = [sql.Identifier(*each[:2]) for each in content["contents"]["tables"]]
    if names:
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql.SQL("ANALYZE {}").format(sql.SQL(", ").join(names)))
        except psycopg2.Error as error:
            return [f"ANALYZE did not work ({server_message(error)}); run it on the tables."]
    return []


def _conflict(problems: list[str]) -> RollbackError:
    return RollbackError(
        "undo_conflict",
        f"The objects cannot come back as they were: {listed(problems, _NAMED, '; ')}.",
        "Set that right first (rename or remove what is in the way); nothing was done.",
    )
