# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The drop: export, DROP … CASCADE, the proofs that it took what was planned and can be undone, bundle, commit.

All of it is one transaction. Until the DROP readers go on, and the export takes its time while writers of these tables
wait; from the DROP to the commit everybody waits who needs what it locks.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.archive_toc import ArchiveDamagedError, read_head
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_difference import compare
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_snapshot import Snapshot
from ansible_collections.pgops.rollback.plugins.module_utils.connection import ServerInfo
from ansible_collections.pgops.rollback.plugins.module_utils.driver import pg_errors, psycopg2, sql
from ansible_collections.pgops.rollback.plugins.module_utils.dump import find_pg_dump
from ansible_collections.pgops.rollback.plugins.module_utils.dump_snapshot import kept_alive, require_session
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError, certain
from ansible_collections.pgops.rollback.plugins.module_utils.file_sums import file_sums
from ansible_collections.pgops.rollback.plugins.module_utils.locks import LockNotObtainedError
from ansible_collections.pgops.rollback.plugins.module_utils.names import quote_name
from ansible_collections.pgops.rollback.plugins.module_utils.progress import untold
from ansible_collections.pgops.rollback.plugins.module_utils.report_files import sync
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_archive import Archive, Steps, choose
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_attempts import (
    AGAIN,
    Acting,
    in_attempts,
    refused,
    require_no_ring,
)
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_bundle import Bundle, finish_bundle, unwritable
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_cipher import Cipher, Encryption
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_export import (
    Contents,
    export,
    freeze_sequences,
    read_doomed,
    require_exportable,
    require_room,
    sequence_states,
)
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_history import take_history
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_plan import Planned
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_proof import (
    catalog_now,
    more_than,
    not_made_again,
    read_addresses,
    refused_rehearsal,
    took_more,
    undo_impossible,
)
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_restore import (
    Scripts,
    attach,
    make_whole,
    scripts_of,
)
from ansible_collections.pgops.rollback.plugins.module_utils.wording import listed

#: How many names a message has.
_NAMED = 5

_ROUTINES = "SELECT oid::regprocedure::text FROM pg_proc WHERE oid = ANY (%s::oid[]) ORDER BY 1"

#: How many times the reading of the catalogs the proofs take: they read them twice, and make everything again.
_PROOFS = 3.5

# But for those that the role may not lock by itself: the DROP does.
_LOCKABLE = """
SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = ANY (%s::oid[]) AND c.relkind IN ('r', 'p') AND has_schema_privilege(n.oid, 'USAGE')
  AND has_table_privilege(c.oid, 'UPDATE, DELETE, TRUNCATE') ORDER BY 1, 2
"""

_MAJOR = re.compile(r"\d+")


@dataclass(frozen=True)
class Dropped:
    """:ivar exports: how often the database was exported: again when something had changed between two attempts.
    :ivar held_ms: from the first statement that keeps readers out to the commit.
    """

    bundle: Bundle
    attempts: int
    exports: int
    held_ms: int


@dataclass(frozen=True)
class _Export:
    """:ivar state: what it is an export of; another one needs another export."""

    state: Any
    steps: Steps
    scripts: Scripts
    sums: dict[str, str]
    pg_dump_major: int
    encryption: Encryption | None


def drop(
    connection: Any,
    server: ServerInfo,
    planned: Planned,
    recheck: Callable[[Any], tuple[Planned, dict[str, Any]]],
    lock_timeout_ms: int,
    partial: Path,
    timeout: float,
    cipher: Cipher,
) -> Dropped:
    """Export what the plan names, drop it, and leave a bundle that brings it back.

    :param connection: in autocommit mode, not through a transaction-mode pooler.
    :param recheck: reads the plan again with the cursor that it is given, and what a bundle begins with; it raises
        RollbackError unless that is the plan that was confirmed.
    :param partial: of teardown_outcome.new_bundle().
    :param timeout: seconds that pg_dump may take, and each command of the cipher.
    :raises RollbackError: ``disk_full``, ``pooler``, ``binaries_missing``, ``privilege_missing``, ``row_security``,
        ``not_exportable``, ``dump_failed``, ``archive_damaged``, ``export_differs``, ``drop_refused``,
        ``drop_took_more``, ``undo_impossible``, ``lock_timeout``, ``artifacts_unwritable``, those of ``recheck`` and of
        Cipher.require(), Cipher.seal() and catalog_reading.told_why(). Nothing has happened then.
    :raises psycopg2.Error: when the connection is lost. If that was at the commit, the bundle is there, and
        teardown_outcome() tells whether it was committed.
    """
    require_session(server)
    # Of what is encrypted there are two for a while.
    require_room(partial, planned, 2 if cipher.encrypt else 1)
    cipher.require(partial)
    pg_dump = find_pg_dump(server.major)
    attempts = _Drop(connection, recheck, lock_timeout_ms, partial, pg_dump, timeout, cipher)
    tables = [(each.schema, each.short) for each in planned.targets.tables if each.kind == "table"]
    bundle, number = in_attempts(connection, lock_timeout_ms, tables, planned.targets.relations, attempts.attempt)
    return Dropped(bundle, number, attempts.exports, int((time.monotonic() - attempts.held_since) * 1000))


class _Drop:
    """:ivar held_since: of time.monotonic(), when readers began to be kept out."""

    def __init__(
        self, connection: Any, recheck: Callable[[Any], tuple[Planned, dict[str, Any]]], lock_timeout_ms: int,
        partial: Path, pg_dump: Path, timeout: float, cipher: Cipher,
    ) -> None:  # fmt: skip
        self.exports = 0
        self.held_since = 0.0
        self._connection = connection
        self._recheck = recheck
        self._lock_timeout_ms = lock_timeout_ms
        self._partial = partial
        self._pg_dump = pg_dump
        self._timeout = timeout
        self._cipher = cipher
        self._export: _Export | None = None

    def attempt(self, cursor: Any) -> Bundle:
        with _savepoint(cursor):
            planned, heading = self._recheck(cursor)
        tables = require_exportable(cursor, planned)
        acting = Acting(cursor, self._lock_timeout_ms)
        freeze_sequences(cursor, acting, planned)
        acting.end()
        contents = read_doomed(cursor, planned, tables)
        before = _catalog(cursor)
        state = (before.fingerprint, contents, frozenset(planned.radius.closure.objects))
        if self._export is None or self._export.state != state:
            self.exports += 1
            with self._cipher.place(self._partial) as path:
                export(self._connection, self._pg_dump, path, tables, self._timeout)
                archive = Archive(path, self._pg_dump.with_name("pg_restore"), self._timeout)
                self._export = self._read_export(cursor, planned, contents, state, archive)
        begun = time.monotonic()
        before = _catalog(cursor)
        history = self._act(cursor, planned, _PROOFS * (time.monotonic() - begun))
        after = _catalog(cursor)
        self._rehearse(cursor, before, contents)
        difference = compare(before, after)
        content = {
            **heading,
            "oids": {each.label: [each.catalog, each.oid] for each in planned.targets.objects},
            "pg_dump_major": self._export.pg_dump_major,
            "encryption": self._export.encryption and self._export.encryption.as_json(),
            "steps": self._export.steps.as_json(),
            "contents": contents.as_json(),
            "history": history,
            "fingerprint": before.fingerprint,
            "dropped": [asdict(each.object) for each in difference.dropped],
            "altered": [
                {"kind": each.before.kind, "name": each.before.name,
                 "attributes": {name: old for name, (old, _new) in each.attributes.items()}}
                for each in difference.altered
            ],
        }  # fmt: skip
        return finish_bundle(self._partial, content, self._export.sums)

    def _read_export(
        self, cursor: Any, planned: Planned, contents: Contents, state: Any, archive: Archive
    ) -> _Export:
        """See that it holds every row, put in order what an undo takes of it, and encrypt it.

        :raises RollbackError: ``archive_damaged``, ``export_differs``, and those of Cipher.seal().
        """
        steps = choose(cursor, planned.radius.closure, archive.entries())
        exported = dict(zip(steps.tables, _counted(archive, steps), strict=True))
        expected = {(schema, table): rows for schema, table, rows, _hash in contents.tables}
        if different := sorted(key for key in expected if exported.get(key) != expected[key]):
            raise RollbackError(
                "export_differs",
                f"The archive does not hold the rows of {listed([quote_name(*key) for key in different], _NAMED)}: "
                f"{exported.get(different[0])} instead of {expected[different[0]]} of the first.",
                "Please report it; everything was rolled back.",
            )
        scripts = scripts_of(archive, steps)
        try:
            major = int(certain(_MAJOR.match(read_head(archive.path).dump_version)).group())
        except (ArchiveDamagedError, OSError) as error:
            raise undo_impossible(f"the head of the archive cannot be read ({error})") from error
        with kept_alive(self._connection):
            encryption = self._cipher.seal(archive.path, self._partial, self._timeout)
        try:
            # Now, for nobody is kept out yet.
            for path in self._partial.iterdir():
                sync(path)
            sums = {each.path: each.sha256 for each in file_sums(self._partial, untold)}
        except OSError as error:
            raise unwritable(self._partial, error) from error
        return _Export(state, steps, scripts, sums, major, encryption)

    def _act(self, cursor: Any, planned: Planned, proofs: float) -> dict[str, Any] | None:
        """:param proofs: seconds that they will take afterwards.
        :returns: what the bundle keeps of the history row.
        :raises LockNotObtainedError: for another attempt.
        :raises RollbackError: ``drop_refused``, ``drop_took_more``, those of take_history().
        """
        targets = planned.targets
        tables = [sql.Identifier(each.schema, each.short) for each in targets.tables if each.kind == "table"]
        cursor.execute(_ROUTINES, ([each.oid for each in targets.routines],))
        routines = [sql.SQL(name) for (name,) in cursor.fetchall()]
        foreign = [sql.Identifier(each.schema, each.short) for each in targets.tables if each.kind != "table"]
        sequences = [
            sql.Identifier(each.schema, each.short)
            for each in targets.objects if each.kind == "sequence" and not each.through
        ]  # fmt: skip
        statements = [
            sql.SQL("DROP {} {} CASCADE").format(sql.SQL(what), sql.SQL(", ").join(names))
            for what, names in (
                ("TABLE", tables), ("FOREIGN TABLE IF EXISTS", foreign), ("ROUTINE IF EXISTS", routines),
                ("SEQUENCE IF EXISTS", sequences),
            ) if names
        ]  # fmt: skip
        statements += [
            sql.SQL("DROP SCHEMA {}").format(sql.Identifier(targets.schema))
            for _oid in planned.radius.closure.whole("pg_namespace")
        ]
        cursor.execute("SAVEPOINT before_drop")
        staying = self._staying(planned)
        require_no_ring(cursor, {*staying, *targets.relations})
        acting = Acting(cursor, self._lock_timeout_ms, proofs)
        history = take_history(cursor, acting, planned.history)
        self.held_since = acting.begun
        with refused(cursor, "drop_refused", "drop the objects"):
            # First, for whoever makes something that uses them is done then, and it is among what was there. All in
            # one statement, those that stay before those that go: whoever writes to one of them checks its foreign key
            # or policy against the others, and would hold the one and wait for the other for ever.
            cursor.execute(_LOCKABLE, (sorted(staying),))
            locked = [sql.SQL("ONLY {}").format(sql.Identifier(*name)) for name in cursor.fetchall()] + tables
            if locked:
                acting.run(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(sql.SQL(", ").join(locked)))
            there = read_addresses(cursor)
            acting.run(sql.SQL("; ").join(statements))
        acting.end()
        if more := more_than(cursor, planned.radius.closure, there):
            cursor.execute("ROLLBACK TO SAVEPOINT before_drop")
            raise took_more(cursor, more)
        cursor.execute("RELEASE SAVEPOINT before_drop")
        return history

    @staticmethod
    def _staying(planned: Planned) -> set[int]:
        """OIDs of relations that stay, and that the DROP locks."""
        closure = planned.radius.closure
        touched = {each.on_oid for each in closure.described.values()} - closure.whole("pg_class")
        return {oid for oid in touched if oid > 0}

    def _rehearse(self, cursor: Any, before: Snapshot, contents: Contents) -> None:
        """Make everything again, but for the rows, and let it be gone again.

        :raises LockNotObtainedError: for another attempt.
        :raises RollbackError: ``undo_impossible``.
        """
        ready = certain(self._export)
        cursor.execute("SAVEPOINT rehearsal")
        try:
            make_whole(cursor, ready.steps, ready.scripts, None)
            acting = Acting(cursor, self._lock_timeout_ms)
            attach(acting, ready.steps.late)
            acting.end()
        except AGAIN as error:
            raise LockNotObtainedError from error
        except LockNotObtainedError as error:
            # The DROP has every lock already.
            if isinstance(error.__cause__, pg_errors.QueryCanceled):
                raise undo_impossible(
                    "it takes longer than the lock timeout on tables that stay, an index for instance"
                ) from error
            raise
        except psycopg2.Error as error:
            if self._connection.closed:
                raise
            raise refused_rehearsal(error) from error
        problems = not_made_again(before, catalog_now(cursor))
        states = sequence_states(cursor, [each[:2] for each in contents.sequences])
        problems += [f"sequence {quote_name(*each[:2])} is elsewhere" for each in set(contents.sequences) - set(states)]
        if problems:
            raise undo_impossible(listed(problems, _NAMED, "; "))
        cursor.execute("ROLLBACK TO SAVEPOINT rehearsal")


def _counted(archive: Archive, steps: Steps) -> Iterator[int]:
    for rows in archive.rows(steps.data):
        rows.skip()
        yield rows.number


def _catalog(cursor: Any) -> Snapshot:
    with _savepoint(cursor):
        return catalog_now(cursor)


@contextmanager
def _savepoint(cursor: Any) -> Iterator[None]:
    """Reading leaves savepoints of its own, within which no snapshot can be exported."""
    cursor.execute("SAVEPOINT reading")
    yield
    cursor.execute("RELEASE SAVEPOINT reading")
