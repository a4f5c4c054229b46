# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The export that a drop makes beforehand: one archive with every definition, and the rows of what goes.

Whole schemas and not the tables alone: what hangs on them is elsewhere, and pg_dump finds it only when it dumps all.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.client_environment import client_environment
from ansible_collections.pgops.rollback.plugins.module_utils.driver import sql
from ansible_collections.pgops.rollback.plugins.module_utils.dump import ended_by_signals, run_pg_dump
from ansible_collections.pgops.rollback.plugins.module_utils.dump_snapshot import kept_alive
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError, certain
from ansible_collections.pgops.rollback.plugins.module_utils.names import quote_name
from ansible_collections.pgops.rollback.plugins.module_utils.progress import untold
from ansible_collections.pgops.rollback.plugins.module_utils.table_content import (
    Table,
    algorithm_for,
    export_snapshot,
    list_tables,
    measure,
)
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_attempts import Acting
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_bundle import unwritable
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_plan import Planned
from ansible_collections.pgops.rollback.plugins.module_utils.wording import listed

ARCHIVE = "archive.dump"

#: How many names a message has.
_NAMED = 5

#: Milliseconds that pg_dump waits for a lock on any of the tables.
_LOCK_WAIT = 2000

_HIDDEN = """
SELECT c.oid::bigint, n.nspname::text, c.relname::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'S', 'v', 'm', 'f') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT (has_schema_privilege(n.oid, 'USAGE')
           AND CASE WHEN c.relkind = 'S' THEN has_sequence_privilege(c.oid, 'SELECT')
                    ELSE has_table_privilege(c.oid, 'SELECT') END)
"""

_SEQUENCES = """
SELECT c.oid::bigint, n.nspname::text, c.relname::text, s.seqcache
FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = ANY (%s::oid[]) ORDER BY 2, 3
"""


@dataclass(frozen=True)
class Contents:
    """What the objects hold that go, at a moment when nobody can write to them.

    :ivar tables: schema, name, rows and hash.
    :ivar sequences: schema, name, last_value and is_called.
    """

    algorithm: str
    tables: list[tuple[str, str, int, str]]
    sequences: list[tuple[str, str, int, bool]]

    def as_json(self) -> dict[str, Any]:
        return {
            "algorithm": self.algorithm,
            "tables": [list(each) for each in self.tables],
            "sequences": [list(each) for each in self.sequences],
        }


def require_room(directory: Path, planned: Planned, archives: int) -> None:
    """:param archives: how many there are at once.
    :raises RollbackError: ``disk_full``, ``artifacts_unwritable``."""
    try:
        free = shutil.disk_usage(directory).free
    except OSError as error:
        raise unwritable(directory, error) from error
    needed = planned.plan["disk"]["bytes"] * archives
    if free < needed:
        raise RollbackError(
            "disk_full",
            f"The export may take {needed} bytes, and {directory} has room for {free}.",
            "Set rollback_artifacts_dir to a file system with more room; nothing was done.",
        )


def require_exportable(cursor: Any, planned: Planned) -> list[Table]:
    """The tables whose rows go, each readable completely.

    :raises RollbackError: ``privilege_missing``, ``row_security``, ``not_exportable``.
    """
    wanted = {each.oid: each.name for each in planned.targets.tables if each.relkind == "r"}
    tables = [each for each in list_tables(cursor) if each.oid in wanted]
    if missing := sorted(set(wanted.values()) - {each.name for each in tables}):
        raise RollbackError(
            "not_exportable",
            f"pg_dump does not dump the rows of {listed(missing, _NAMED)}: it is temporary, or part of an extension.",
            "Drop the extension, or take it out of the manifest; nothing was done.",
        )
    closed = [each.name for each in tables if not each.readable]
    gone = planned.radius.closure.whole("pg_class")
    cursor.execute(_HIDDEN)
    closed += [quote_name(*parts) for oid, *parts in cursor.fetchall() if oid in gone]
    if closed:
        raise RollbackError(
            "privilege_missing",
            f"The role may not read {listed(sorted(set(closed)), _NAMED)}, which would go.",
            "Grant it SELECT on them and USAGE on their schemas; nothing was done.",
        )
    if filtered := [each.name for each in tables if each.row_security]:
        raise RollbackError(
            "row_security",
            f"Row-level security would hide rows of {listed(filtered, _NAMED)} from the role.",
            "Connect as a role with BYPASSRLS, or as the tables' owner where FORCE ROW LEVEL SECURITY is not set;"
            " nothing was done.",
        )
    return tables


def freeze_sequences(cursor: Any, acting: Acting, planned: Planned) -> None:
    """Let nobody take a number from them until the end: it would be handed out twice after an undo.

    :raises LockNotObtainedError: for another attempt.
    """
    for _oid, schema, name, cache in _sequences(cursor, planned):
        acting.run(sql.SQL("ALTER SEQUENCE {} CACHE {}").format(sql.Identifier(schema, name), sql.Literal(cache)))


def read_doomed(cursor: Any, planned: Planned, tables: list[Table]) -> Contents:
    """:param tables: from require_exportable()."""
    algorithm = algorithm_for(cursor.connection.info.parameter_status("server_encoding"))
    measured = measure([cursor.connection], tables, algorithm, untold)
    return Contents(
        algorithm,
        [(each.schema, each.table, each.rows, each.hash) for each in measured],
        sequence_states(cursor, [(schema, name) for _oid, schema, name, _cache in _sequences(cursor, planned)]),
    )


def sequence_states(cursor: Any, names: list[tuple[str, str]]) -> list[tuple[str, str, int, bool]]:
    """Schema, name, last_value and is_called of each."""
    found = []
    for name in names:
        cursor.execute(sql.SQL("SELECT last_value, is_called FROM {}").format(sql.Identifier(*name)))
        found.append((*name, *cursor.fetchone()))
    return found


def export(connection: Any, pg_dump: Path, archive: Path, tables: list[Table], timeout: float) -> None:
    """Dump as of this transaction's moment.

    :param connection: in the transaction of in_attempts(), outside of every savepoint.
    :param tables: whose rows are wanted.
    :param timeout: seconds.
    :raises RollbackError: ``dump_failed``, ``program_timeout``.
    """
    wanted = {each.oid for each in tables}
    with connection.cursor() as cursor:
        cursor.execute(_HIDDEN)
        hidden = [(schema, name) for _oid, schema, name in cursor.fetchall()]
        others = [each.key for each in list_tables(cursor) if each.oid not in wanted]
    command = [
        str(pg_dump), "--no-password", "--format=custom", f"--file={archive}", "--encoding=UTF8", "--no-blobs",
        f"--snapshot={export_snapshot(connection)}", f"--lock-wait-timeout={_LOCK_WAIT}",
        *(f"--exclude-table={_pattern(*each)}" for each in hidden),
        *(f"--exclude-table-data={_pattern(*each)}" for each in others),
    ]  # fmt: skip
    try:
        archive.touch(mode=0o600)
        with ended_by_signals(), kept_alive(connection), client_environment(connection) as environment:
            run_pg_dump(command, timeout, environment)
    except OSError as error:
        raise RollbackError(
            "dump_failed",
            f"pg_dump cannot be run: {error.strerror}.",
            "Remove the reason (a database with tens of thousands of tables makes its arguments too long, which"
            " teardown_mode quarantine does not need); everything was rolled back.",
        ) from error


def _pattern(*parts: str) -> str:
    """That matches this very name: only within quotes nothing has a meaning of its own."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)


def _sequences(cursor: Any, planned: Planned) -> list[tuple[int, str, str, int]]:
    cursor.execute(_SEQUENCES, ([each.oid for each in planned.targets.objects if each.kind == "sequence"],))
    return certain(cursor.fetchall())
