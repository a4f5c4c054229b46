# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One moment of a database, held open while pg_dump dumps it, and the content manifest made of it afterwards."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.archive_toc import ArchiveDamagedError
from ansible_collections.pgops.rollback.plugins.module_utils.connection import ServerInfo
from ansible_collections.pgops.rollback.plugins.module_utils.connections import MUCH, Connections
from ansible_collections.pgops.rollback.plugins.module_utils.content_manifest import ContentManifest
from ansible_collections.pgops.rollback.plugins.module_utils.driver import pg_errors, psycopg2
from ansible_collections.pgops.rollback.plugins.module_utils.dump_contents import DumpContents
from ansible_collections.pgops.rollback.plugins.module_utils.dump_files import dump_format
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.file_sums import file_sums
from ansible_collections.pgops.rollback.plugins.module_utils.locks import LONGEST_PAUSE, ROUNDS
from ansible_collections.pgops.rollback.plugins.module_utils.object_inventory import (
    DatabaseObject,
    Extension,
    SequenceContent,
    read_extensions,
    read_objects,
    read_sequences,
)
from ansible_collections.pgops.rollback.plugins.module_utils.progress import untold
from ansible_collections.pgops.rollback.plugins.module_utils.table_content import (
    MUCH_DATA,
    Table,
    algorithm_for,
    begin_reading,
    end_reading,
    export_snapshot,
    join_reading,
    list_large_objects,
    list_tables,
    measure,
)
from ansible_collections.pgops.rollback.plugins.module_utils.wording import listed

#: How many names a message has.
_NAMED = 5

#: Seconds between two signs of life: firewalls forget connections that say nothing, some after six minutes.
_HEARTBEAT = 20.0

_BLOCKERS = """
SELECT DISTINCT l.pid, coalesce(a.usename, '?'), coalesce(a.application_name, '') FROM pg_catalog.pg_locks l
LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.relation = ANY (%s::oid[])
  AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
"""


@dataclass(frozen=True)
class Moment:
    """What the database was when its snapshot was taken.

    :ivar snapshot: its exported name, for ``pg_dump --snapshot``.
    :ivar codec: Python's name of the server's encoding.
    :ivar complete: the dump is to hold all of this.
    """

    snapshot: str
    taken_at: datetime
    database_bytes: int
    system: dict[str, str]
    codec: str
    lock_timeout_ms: int
    complete: bool
    tables: list[Table]
    sequences: list[SequenceContent]
    objects: list[DatabaseObject]
    extensions: list[Extension]


def require_session(server: ServerInfo) -> None:
    """:raises RollbackError: ``pooler``."""
    if server.through_pooler:
        raise RollbackError(
            "pooler",
            f"Database {server.database} is reached through a transaction-mode pooler, which cannot serve pg_dump.",
            "Connect to the server itself or to a session-mode pooler (rollback_login_host, rollback_login_port);"
            " nothing was done.",
        )


def require_readable(connection: Any) -> list[Table]:
    """What would be dumped, if the role may read all of it.

    :raises RollbackError: ``privilege_missing``, ``row_security``.
    """
    with connection.cursor() as cursor:
        tables = list_tables(cursor)
        closed = [table.name for table in tables if not table.readable]
        if closed:
            raise _not_readable(closed)
        filtered = [table.name for table in tables if table.row_security]
        if filtered:
            raise RollbackError(
                "row_security",
                f"Row-level security would hide rows of {listed(filtered, _NAMED)} from the role"
                f" {connection.info.user}.",
                "Dump as a role with BYPASSRLS, or as the tables' owner where FORCE ROW LEVEL SECURITY is not set.",
            )
        read_sequences(cursor, _refuse_hidden)
    return tables


def _refuse_hidden(names: list[str]) -> None:
    raise _not_readable(names)


def _not_readable(names: list[str]) -> RollbackError:
    return RollbackError(
        "privilege_missing",
        f"The role may not read {listed(names, _NAMED)}.",
        "Grant it SELECT on them and USAGE on their schemas (pg_read_all_data has both), or dump as another role.",
    )


@contextmanager
def moment_of(
    connection: Any, server: ServerInfo, lock_timeout_ms: int, complete: bool = True
) -> Iterator[Moment]:
    """Keep a snapshot, and the tables from being dropped or rewritten, for as long as the context lasts.

    Meanwhile the connection gives a sign of life now and then; only manifest_of() may use it.

    :param complete: the dump is to hold all there is. Else what the role cannot read is none of the dump's.
    :raises RollbackError: of require_session(), require_readable(), and ``lock_timeout``.
    """
    require_session(server)
    if complete:
        require_readable(connection)
    try:
        _begin(connection, lock_timeout_ms)
        moment = _moment(connection, lock_timeout_ms, complete)
        with kept_alive(connection):
            yield moment
    finally:
        end_reading(connection)


def _begin(connection: Any, lock_timeout_ms: int) -> None:
    for attempt in range(1, ROUNDS + 1):
        with connection.cursor() as cursor:
            tables = _open_tables(cursor)
        try:
            begin_reading(connection, locked=tables, lock_timeout_ms=lock_timeout_ms)
        except (pg_errors.LockNotAvailable, pg_errors.UndefinedTable) as error:
            end_reading(connection)
            if attempt == ROUNDS:
                raise _locked(connection, tables, lock_timeout_ms) from error
            time.sleep(min(LONGEST_PAUSE, 0.1 * 2**attempt) * random.uniform(0.5, 1.5))
        else:
            return


def _open_tables(cursor: Any) -> list[Table]:
    return [table for table in list_tables(cursor) if table.readable and not table.row_security]


def _locked(connection: Any, tables: list[Table], lock_timeout_ms: int) -> RollbackError:
    with connection.cursor() as cursor:
        cursor.execute(_BLOCKERS, ([table.oid for table in tables],))
        holders = [f"process {pid} ({user}{f', {name}' if name else ''})" for pid, user, name in cursor.fetchall()]
    return RollbackError(
        "lock_timeout",
        f"A table is locked against reading (ACCESS EXCLUSIVE) and stayed so in {ROUNDS} attempts of"
        f" {lock_timeout_ms} ms: {listed(holders, _NAMED) or 'the holder is gone by now'}.",
        "Run it again when that transaction has ended; nothing was dumped.",
    )


def _moment(connection: Any, lock_timeout_ms: int, complete: bool) -> Moment:
    with connection.cursor() as cursor:
        snapshot = export_snapshot(connection)
        cursor.execute(
            "SELECT pg_catalog.now(), pg_catalog.pg_database_size(pg_catalog.current_database()), pg_catalog.version(),"
            " pg_catalog.current_setting('server_encoding')"
        )
        taken_at, database_bytes, version, encoding = cursor.fetchone()
        return Moment(
            snapshot=snapshot,
            taken_at=taken_at.astimezone(UTC),
            database_bytes=database_bytes,
            system={"version": version, "encoding": encoding},
            codec=psycopg2.extensions.encodings[encoding],
            lock_timeout_ms=lock_timeout_ms,
            complete=complete,
            tables=[*_open_tables(cursor), *list_large_objects(cursor)],
            sequences=read_sequences(cursor),
            objects=read_objects(cursor),
            extensions=read_extensions(cursor),
        )


@contextmanager
def kept_alive(connection: Any) -> Iterator[None]:
    """The connection gives a sign of life now and then, while nobody else uses it."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(_HEARTBEAT):
            try:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT 1")
            except psycopg2.Error:
                return  # whoever needs the connection next is told

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def manifest_of(connections: Connections, server: ServerInfo, moment: Moment, dump: Path) -> ContentManifest:
    """The manifest of a dump that was taken in the moment's snapshot, which is still kept.

    Only what the dump itself says it holds is measured.

    :raises RollbackError: ``dump_incomplete``, ``dump_unreadable``, and of what reads the dump.
    """
    try:
        form = dump_format(dump)
        contents = DumpContents(dump, form or "", moment.codec)
    except (ArchiveDamagedError, OSError) as error:
        raise RollbackError(
            "dump_unreadable", f"The dump {dump.name} cannot be read: {error}.", "Take it again, with a file as target."
        ) from error  # fmt: skip
    tables = [table for table in moment.tables if contents.has_rows_of(table)]
    lacking = [table.name for table in moment.tables if table not in tables]
    if moment.complete and lacking:
        raise RollbackError(
            "dump_incomplete",
            f"pg_dump ended without an error, but the dump lacks the rows of {listed(lacking, _NAMED)}.",
            "Please report it, with the definition of that table; the dump was removed.",
        )
    connections.expect(MUCH if moment.database_bytes > MUCH_DATA else 0)
    first, *others = connections.every
    # Large objects cannot be locked.
    joined = join_reading(first, others, [table for table in tables if table.oid], moment.lock_timeout_ms)
    algorithm = algorithm_for(moment.system["encoding"])
    try:
        measured = measure(joined, tables, algorithm, untold)
    finally:
        for connection in joined[1:]:
            end_reading(connection)
    with first.cursor() as cursor:
        later = {sequence.key: (sequence.last_value, sequence.is_called) for sequence in read_sequences(cursor)}
    return ContentManifest(
        taken_at=moment.taken_at,
        database=server.database,
        database_bytes=moment.database_bytes,
        server_version_num=server.version_num,
        system=moment.system,
        algorithm=algorithm,
        format=form or "",
        files=file_sums(dump, untold),
        tables=tuple(measured),
        sequences=tuple(_moved(each, later) for each in moment.sequences if contents.has_value_of(each)),
        objects=tuple(contents.objects(moment.objects)),
        extensions=tuple(each for each in moment.extensions if contents.has_extension(each.name)),
    )


def _moved(sequence: SequenceContent, later: dict[tuple[str, str], tuple[int, bool]]) -> SequenceContent:
    moved = later[sequence.key]
    return sequence if moved == (sequence.last_value, sequence.is_called) else replace(sequence, later=moved)
