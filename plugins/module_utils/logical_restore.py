# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restoring a dump into an empty database of a drill, and judging what the client programs said."""

from __future__ import annotations

import re
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CompletedProcess
from typing import IO, Any

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
from ansible_collections.pgops.rollback.plugins.module_utils.dump_files import (
    ARCHIVES,
    SUPABASE,
    SUPABASE_FILES,
    TAR,
    plain_stream,
)
from ansible_collections.pgops.rollback.plugins.module_utils.dump_needs import needs
from ansible_collections.pgops.rollback.plugins.module_utils.names import quote_name
from ansible_collections.pgops.rollback.plugins.module_utils.plain_sql import adapted, as_file
from ansible_collections.pgops.rollback.plugins.module_utils.supabase_stubs import stubs
from ansible_collections.pgops.rollback.plugins.module_utils.system_user import own_user

#: The database that a dump is restored into.
DATABASE = "drill"

#: Seconds between two looks at how large the database has become.
_LOOK = 2.0

#: Entries of an archive that are looked for by their names afterwards.
_RELATIONS = ("TABLE", "FOREIGN TABLE", "VIEW", "MATERIALIZED VIEW", "SEQUENCE")

#: How many errors a message names.
_NAMED = 3

_RESTORE_ERROR = re.compile(r"^pg_restore: error: (.*)", re.MULTILINE)
#: A value that the server could not read, and the lines that show one: a row's, and so nobody's business.
_VALUE = re.compile(r'(?<=: )".*|(?<=\bvalue )".*"(?= is )')
_SHOWS_ROWS = ("DETAIL:", "CONTEXT:", "LINE ", " ", "\t")

_PSQL_ERROR = re.compile(r"^psql:.*?:\d+: (?:ERROR|FATAL): +(.*)", re.MULTILINE)


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
    lacking = [f"the security labels of {', '.join(sorted(needed.label_providers))}"] if needed.label_providers else []
    if form in ARCHIVES:
        _head, entries = read_toc(path)
        lacks = _lacks(server, entries)
        lacking += [f"the collations {', '.join(sorted(lacks.collations))}"] if lacks.collations else []
        omitted = _depending_on(missing, lacks.entries, entries)
        kept = [entry.dump_id for entry in entries if entry not in omitted] if omitted else []
        errors = _pg_restore(server, path, form, kept, jobs, timeout, environment, _sized(progress, backup))
    else:
        adapt = needed.adapting or bool(missing) or bool(needed.label_providers)
        errors = _psql(server, path, form, missing if adapt else None, timeout, environment,
                       _sized(progress, backup))  # fmt: skip
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
        named = "; ".join(_VALUE.sub('"…"', error) for error in errors[:_NAMED])
        more = f" … and {len(errors) - _NAMED} more" if len(errors) > _NAMED else ""
        without = f" The extensions {', '.join(missing)} cannot be installed here." if missing else ""
        return Check("restore", FAULTY, f"It does not restore: {named}{more}.{without}")
    lacks = [f"the extensions {', '.join(missing)}, which cannot be installed here"] if missing else []
    lacks += [f"{what}, which this host does not provide" for what in lacking]
    if lacks:
        left_out = f", nor the tables that need them ({', '.join(tables[:_NAMED])})" if tables else ""
        return Check("restore", DEGRADED, f"Restored without {', without '.join(lacks)}{left_out}.")
    return Check("restore", PASSED, "Restored without an error.")


def _sized(progress: Progress, backup: Backup) -> Progress:
    """Say how large the restored database is, beside what it will be where that is known."""
    whole = backup.database_bytes

    def told(text: str, size: float | None) -> None:
        fraction = min(size / whole, 1.0) if size is not None and whole else None
        progress(text if size is None else f"{text}: {size / 1e6:,.0f} MB so far", fraction)

    return told


def _watched(server: DrillServer, what: str, run: Any, progress: Progress) -> CompletedProcess[str]:
    """Wait for a program and tell how large the database has become meanwhile."""
    connection = server.connect("template1")
    try:
        with ThreadPoolExecutor(1) as pool, connection.cursor() as cursor:
            running = pool.submit(run)
            try:
                while not wait([running], _LOOK).done:
                    server.require_reserve()
                    cursor.execute("SELECT pg_catalog.pg_database_size(%s)", (DATABASE,))
                    progress(what, cursor.fetchone()[0])
            except BaseException:
                # Without its server the program ends; the pool, and whoever ended us, would wait for it.
                server.cluster.stop(server.recipe, mode="immediate")
                raise
            result: CompletedProcess[str] = running.result()
            return result
    finally:
        connection.close()


def _pg_restore(
    server: DrillServer, path: Path, form: str, kept: list[int], jobs: int, timeout: float,
    environment: dict[str, str], progress: Progress,
) -> list[str]:  # fmt: skip
    """:param kept: numbers of the entries to restore; none for all of them."""
    command = server.program("pg_restore", "--dbname", DATABASE, "--no-password")
    if form != TAR:
        command.append(f"--jobs={jobs}")  # a tar file is read from its beginning to its end
    with tempfile.TemporaryDirectory(prefix="pgops-") as directory:
        if kept:
            chosen = Path(directory, "list")
            chosen.write_text("".join(f"{number};\n" for number in kept), encoding="utf-8")
            command.append(f"--use-list={chosen}")
        answer = _watched(
            server, f"restoring {path.name}",
            lambda: own_user().run([*command, str(path)], Path("/"), timeout, environment), progress,
        )  # fmt: skip
    said = _RESTORE_ERROR.findall(answer.stderr)
    errors = [message.removeprefix("could not execute query: ").rstrip(".") for message in said]
    return errors or _ended_badly("pg_restore", answer)


def _ended_badly(program: str, answer: CompletedProcess[str]) -> list[str]:
    if answer.returncode == 0:
        return []
    said = [line for line in answer.stderr.splitlines() if line and not line.startswith(_SHOWS_ROWS)]
    return [f"{program} ended with {answer.returncode}: {' '.join(said)[-300:]}"]


def _psql(
    server: DrillServer, path: Path, form: str, missing: list[str] | None, timeout: float,
    environment: dict[str, str], progress: Progress,
) -> list[str]:  # fmt: skip
    """The first error ends it: behind a COPY that fails, psql would take the table's rows for commands.

    :param missing: extensions to leave out; None when the SQL can be taken as it is.
    """
    files = [path]
    if form == SUPABASE:
        files = [path / name for name in SUPABASE_FILES if (path / name).exists()]
        _run_script(server, stubs(path))
    command = server.program("psql", "--dbname", DATABASE, "--no-psqlrc", "--quiet", "--no-password",
                             "--set=VERBOSITY=terse", "--set=ON_ERROR_STOP=1", "--output=/dev/null",
                             "--file=-")  # fmt: skip
    for file in files:
        with plain_stream(file) as given, _adapted(given, missing) as stream:
            answer = _watched(
                server, f"restoring {file.name}",
                # Not as root, whatever the dump holds.
                lambda stream=stream: server.cluster.user.run(command, Path("/"), timeout, environment, stream),
                progress,
            )  # fmt: skip
        errors = [message.rstrip(".") for message in _PSQL_ERROR.findall(answer.stderr)]
        if errors := errors or _ended_badly("psql", answer):
            return errors
    return []


def _adapted(stream: IO[bytes], missing: list[str] | None) -> AbstractContextManager[IO[bytes]]:
    return nullcontext(stream) if missing is None else as_file(adapted(stream, missing))


def _run_script(server: DrillServer, statements: str) -> None:
    connection = server.connect(DATABASE)
    try:
        with connection.cursor() as cursor:
            cursor.execute(statements)
    finally:
        connection.close()
