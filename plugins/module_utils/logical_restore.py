# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restoring a dump into an empty database of a drill, and judging what the client programs said."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.archive_toc import ArchiveEntry, read_toc
from ansible_collections.pgops.rollback.plugins.module_utils.backup import (
    DEGRADED,
    FAULTY,
    PASSED,
    SKIPPED,
    Backup,
    Check,
    Progress,
)
from ansible_collections.pgops.rollback.plugins.module_utils.drill_lacks import Lacks, lacked
from ansible_collections.pgops.rollback.plugins.module_utils.drill_lacks import lacking as find_lacks
from ansible_collections.pgops.rollback.plugins.module_utils.drill_server import DrillServer
from ansible_collections.pgops.rollback.plugins.module_utils.driver import DATABASE_ERRORS, sql
from ansible_collections.pgops.rollback.plugins.module_utils.dump_files import ARCHIVES, SUPABASE, SUPABASE_FILES
from ansible_collections.pgops.rollback.plugins.module_utils.dump_loading import Loading, shown_errors
from ansible_collections.pgops.rollback.plugins.module_utils.dump_needs import needs
from ansible_collections.pgops.rollback.plugins.module_utils.names import quote_name
from ansible_collections.pgops.rollback.plugins.module_utils.supabase_stubs import stubs

#: The database that a dump is restored into.
DATABASE = "drill"

#: Entries of an archive that are looked for by their names afterwards.
_RELATIONS = ("TABLE", "FOREIGN TABLE", "VIEW", "MATERIALIZED VIEW", "SEQUENCE")

#: How many errors a message names.
_NAMED = 3


@dataclass
class Restored:
    """:ivar missing_extensions: needed and not to be had on this machine.
    :ivar lacking: what else is not to be had here, in words.
    :ivar left_out: relations that could not be restored for want of any of it, as SQL writes them.
    """

    check: Check
    seconds: float
    missing_extensions: list[str] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)
    left_out: set[str] = field(default_factory=set)


def restore_dump(server: DrillServer, backup: Backup, jobs: int, timeout: float, progress: Progress) -> Restored:
    """Restore into the database DATABASE, which is made here.

    :param timeout: seconds for the client program.
    :raises RollbackError: ``program_timeout`` and what reading the dump raises.
    """
    path, form = Path(backup.location), backup.details["format"]
    progress(f"looking at what {path.name} needs", None)
    needed = needs(path, form)
    connection = server.connect("template1")
    try:
        with connection.cursor() as cursor:
            _make_roles(cursor, needed.roles)
            _make_tablespaces(cursor, needed.tablespaces)
            cursor.execute("SELECT name FROM pg_catalog.pg_available_extensions")
            missing = sorted(needed.extensions - {name for (name,) in cursor.fetchall()})
            _make_database(cursor, needed.locale)
    finally:
        connection.close()
    if needed.makes_public:
        _run_script(server, "DROP SCHEMA public")
    begun = time.monotonic()
    omitted: list[ArchiveEntry] = []
    # Made before the last refresh of a materialized view, they would fire at it.
    environment = server.environment(triggers=not needed.event_triggers)
    # psql not as root, whatever the dump holds.
    loading = Loading(
        server, DATABASE, path, form, timeout, environment, server.cluster.user, progress, backup.database_bytes
    )
    lacking = [f"the security labels of {', '.join(sorted(needed.label_providers))}"] if needed.label_providers else []
    if form in ARCHIVES:
        _head, entries = read_toc(path)
        lacks = _lacks(server, entries)
        lacking += [f"the collations {', '.join(sorted(lacks.collations))}"] if lacks.collations else []
        omitted = _depending_on(missing, lacks.entries, entries)
        kept = [entry.dump_id for entry in entries if entry not in omitted] if omitted else []
        errors = loading.archive(jobs, kept)
    else:
        adapt = needed.adapting or bool(missing) or bool(needed.label_providers)
        files = [path]
        if form == SUPABASE:
            files = [path / name for name in SUPABASE_FILES if (path / name).exists()]
            _run_script(server, stubs(path))
        errors = loading.text(files, missing if adapt else None)
    tables = sorted(quote_name(entry.schema, entry.name) for entry in omitted if entry.kind == "TABLE")
    left_out = {quote_name(entry.schema, entry.name) for entry in omitted if entry.kind in _RELATIONS}
    check = _judged(errors, missing, lacking, tables)
    return Restored(check, time.monotonic() - begun, missing, lacking, left_out)


def _lacks(server: DrillServer, entries: list[ArchiveEntry]) -> Lacks:
    connection = server.connect(DATABASE)
    try:
        return find_lacks(connection, entries)
    finally:
        connection.close()


def _depending_on(
    extensions: list[str], lacked_ones: list[ArchiveEntry], entries: list[ArchiveEntry]
) -> list[ArchiveEntry]:
    """The extensions' own entries, those that cannot be made here, and all that cannot be made without one of them."""
    omitted = {entry.dump_id for entry in entries if entry.kind == "EXTENSION" and entry.name in extensions}
    omitted |= {entry.dump_id for entry in lacked_ones}
    before = 0
    while len(omitted) > before:
        before = len(omitted)
        omitted |= {entry.dump_id for entry in entries if not omitted.isdisjoint(entry.depends_on)}
    return [entry for entry in entries if entry.dump_id in omitted]


def _make_database(cursor: Any, locale: dict[str, str]) -> None:
    """With the locale of the dumped database, where this machine has it."""
    options = [
        sql.SQL("{} = {}").format(sql.SQL(name), sql.SQL(value) if name == "LOCALE_PROVIDER" else sql.Literal(value))
        for name, value in locale.items()
    ]
    create = sql.SQL("CREATE DATABASE {} TEMPLATE template0 ").format(sql.Identifier(DATABASE))
    try:
        cursor.execute(create + sql.SQL(" ").join(options))
    except DATABASE_ERRORS:
        cursor.execute(create)


def _make_roles(cursor: Any, roles: set[str]) -> None:
    cursor.execute("SELECT rolname FROM pg_catalog.pg_roles")
    there = {name for (name,) in cursor.fetchall()}
    for role in sorted(roles - there):
        if not role.startswith("pg_"):
            cursor.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(role)))


def _make_tablespaces(cursor: Any, tablespaces: set[str]) -> None:
    """Within the data directory: where production's lie is nothing to a drill."""
    cursor.execute("SET allow_in_place_tablespaces = on")
    for tablespace in sorted(tablespaces - {"pg_default", "pg_global"}):
        cursor.execute(sql.SQL("CREATE TABLESPACE {} LOCATION ''").format(sql.Identifier(tablespace)))


def _judged(errors: list[str], missing: list[str], lacking: list[str], tables: list[str]) -> Check:
    if errors and all(map(lacked, errors)):
        return Check("restore", SKIPPED, f"It cannot be restored here: {'; '.join(errors[:_NAMED])}.")
    if errors:
        without = f" The extensions {', '.join(missing)} cannot be installed here." if missing else ""
        return Check("restore", FAULTY, f"It does not restore: {shown_errors(errors)}.{without}")
    lacks = [f"the extensions {', '.join(missing)}, which cannot be installed here"] if missing else []
    lacks += [f"{what}, which this host does not provide" for what in lacking]
    if lacks:
        left_out = f", nor the tables that need them ({', '.join(tables[:_NAMED])})" if tables else ""
        return Check("restore", DEGRADED, f"Restored without {', without '.join(lacks)}{left_out}.")
    return Check("restore", PASSED, "Restored without an error.")


def _run_script(server: DrillServer, statements: str) -> None:
    connection = server.connect(DATABASE)
    try:
        with connection.cursor() as cursor:
            cursor.execute(statements)
    finally:
        connection.close()
