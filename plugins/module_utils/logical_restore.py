# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restoring a dump into an empty database of a drill, and judging what the client programs said."""

from __future__ import annotations

import re
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.archive_toc import read_toc
from ansible_collections.pgops.rollback.plugins.module_utils.backup import (
    DEGRADED,
    FAULTY,
    PASSED,
    Backup,
    Check,
    Progress,
)
from ansible_collections.pgops.rollback.plugins.module_utils.drill_server import DrillServer
from ansible_collections.pgops.rollback.plugins.module_utils.driver import sql
from ansible_collections.pgops.rollback.plugins.module_utils.dump_files import (
    ARCHIVES,
    SUPABASE,
    SUPABASE_FILES,
    TAR,
    plain_stream,
)
from ansible_collections.pgops.rollback.plugins.module_utils.dump_needs import needs
from ansible_collections.pgops.rollback.plugins.module_utils.names import quote_name
from ansible_collections.pgops.rollback.plugins.module_utils.supabase_stubs import stubs
from ansible_collections.pgops.rollback.plugins.module_utils.system_user import own_user

#: The database that a dump is restored into.
DATABASE = "drill"

#: Seconds between two looks at how large the database has become.
_LOOK = 2.0

#: How many errors a message names.
_NAMED = 3

_TOC_ENTRY = re.compile(r"from TOC entry (\d+);")
_RESTORE_ERROR = re.compile(r"pg_restore: error: (.*)")
_PSQL_ERROR = re.compile(r"psql:.*?:(\d+): (?:ERROR|FATAL): +(.*)")
_UNDEFINED = re.compile(r"does not exist|is not available")


@dataclass
class Restored:
    """:ivar missing_extensions: needed and not to be had on this machine.
    :ivar left_out: tables that could not be restored for want of an extension, as SQL writes them.
    """

    check: Check
    seconds: float
    missing_extensions: list[str] = field(default_factory=list)
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
            cursor.execute("SELECT name FROM pg_catalog.pg_available_extensions")
            missing = sorted(needed.extensions - {name for (name,) in cursor.fetchall()})
            cursor.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(DATABASE)))
    finally:
        connection.close()
    begun = time.monotonic()
    if form in ARCHIVES:
        errors = _pg_restore(server, path, form, missing, jobs, timeout, _sized(progress, backup))
    elif missing:
        # Behind a COPY that fails psql would take the table's rows for commands.
        why = f"It needs the extensions {', '.join(missing)}, which cannot be installed here; plain SQL stops there."
        return Restored(Check("restore", FAULTY, f"{why} Install them, or dump in the custom format."), 0.0, missing)
    else:
        errors = _psql(server, path, form, timeout, _sized(progress, backup))
    check = _judged(errors, missing)
    left_out = {error.table for error in errors if error.table} if missing else set()
    return Restored(check, time.monotonic() - begun, missing, left_out)


@dataclass(frozen=True)
class _Error:
    """:ivar table: the table that is missing, or without its data, because of it; empty for others."""

    message: str
    table: str = ""


def _make_roles(cursor: Any, roles: set[str]) -> None:
    cursor.execute("SELECT rolname FROM pg_catalog.pg_roles")
    there = {name for (name,) in cursor.fetchall()}
    for role in sorted(roles - there):
        if not role.startswith("pg_"):
            cursor.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(role)))


def _judged(errors: list[_Error], missing: list[str]) -> Check:
    faults = [error for error in errors if not (missing and _UNDEFINED.search(error.message))]
    if faults:
        named = "; ".join(error.message for error in faults[:_NAMED])
        more = f" … and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
        return Check("restore", FAULTY, f"It does not restore: {named}{more}.")
    if missing:
        extensions = ", ".join(missing)
        return Check(
            "restore",
            DEGRADED,
            f"Restored without the extensions {extensions}, which cannot be installed here; {len(errors)} objects that"
            " need them are missing.",
        )
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
            while not wait([running], _LOOK).done:
                cursor.execute("SELECT pg_catalog.pg_database_size(%s)", (DATABASE,))
                progress(what, cursor.fetchone()[0])
            result: CompletedProcess[str] = running.result()
            return result
    except BaseException:
        # Without its server the program ends; else whoever ended us would wait for it.
        server.cluster.stop(server.recipe, mode="immediate")
        raise
    finally:
        connection.close()


def _pg_restore(
    server: DrillServer, path: Path, form: str, missing: list[str], jobs: int, timeout: float, progress: Progress
) -> list[_Error]:
    _head, entries = read_toc(path)
    by_id = {entry.dump_id: entry for entry in entries}
    command = server.program("pg_restore", "--dbname", DATABASE, "--no-password")
    if form != TAR:
        command.append(f"--jobs={jobs}")  # a tar file is read from its beginning to its end
    with tempfile.TemporaryDirectory(prefix="pgops-") as directory:
        if missing:
            omitted = {entry.dump_id for entry in entries if entry.kind == "EXTENSION" and entry.name in missing}
            omitted |= {
                entry.dump_id for entry in entries
                if entry.kind == "COMMENT" and entry.name.removeprefix("EXTENSION ").strip('"') in missing
            }  # fmt: skip
            chosen = Path(directory, "list")
            chosen.write_text("".join(f"{number};\n" for number in by_id if number not in omitted), encoding="utf-8")
            command.append(f"--use-list={chosen}")
        answer = _watched(
            server, f"restoring {path.name}",
            lambda: own_user().run([*command, str(path)], Path("/"), timeout), progress,
        )  # fmt: skip
    errors: list[_Error] = []
    entry = None
    for line in answer.stderr.splitlines():
        if number := _TOC_ENTRY.search(line):
            entry = by_id.get(int(number.group(1)))
        elif message := _RESTORE_ERROR.match(line):
            # Of the table's own entry and of its data's.
            is_table = entry is not None and entry.kind in ("TABLE", "TABLE DATA")
            table = quote_name(entry.schema, entry.name) if entry and is_table else ""
            errors.append(_Error(message.group(1).removeprefix("could not execute query: ").rstrip("."), table))
    if answer.returncode != 0 and not errors:
        errors.append(_Error(f"pg_restore ended with {answer.returncode}: {' '.join(answer.stderr.split())[-300:]}"))
    return errors


def _psql(server: DrillServer, path: Path, form: str, timeout: float, progress: Progress) -> list[_Error]:
    """The first error ends it: behind a COPY that fails, psql would take the table's rows for commands."""
    errors: list[_Error] = []
    files = [path]
    if form == SUPABASE:
        files = [path / name for name in SUPABASE_FILES if (path / name).exists()]
        _run_script(server, stubs(path))
    command = server.program("psql", "--dbname", DATABASE, "--no-psqlrc", "--quiet", "--no-password",
                             "--set=VERBOSITY=terse", "--set=ON_ERROR_STOP=1", "--output=/dev/null",
                             "--file=-")  # fmt: skip
    for file in files:
        with plain_stream(file) as stream:
            answer = _watched(
                server, f"restoring {file.name}",
                # Not as root, whatever the dump holds.
                lambda stream=stream: server.cluster.user.run(command, Path("/"), timeout, stdin=stream), progress,
            )  # fmt: skip
        errors += [_Error(message.rstrip(".")) for _line, message in _PSQL_ERROR.findall(answer.stderr)]
        if answer.returncode != 0 and not errors:
            errors.append(_Error(f"psql ended with {answer.returncode}: {' '.join(answer.stderr.split())[-300:]}"))
    return errors


def _run_script(server: DrillServer, statements: str) -> None:
    connection = server.connect(DATABASE)
    try:
        with connection.cursor() as cursor:
            cursor.execute(statements)
    finally:
        connection.close()
