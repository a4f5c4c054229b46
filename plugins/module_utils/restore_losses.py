# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a full restore takes away: rows written since the backup, and objects created since."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.advice_evidence import count_rows
from ansible_collections.pgops.rollback.plugins.module_utils.backup import Backup
from ansible_collections.pgops.rollback.plugins.module_utils.baseline import Baseline
from ansible_collections.pgops.rollback.plugins.module_utils.content_manifest import manifest_path, read_manifest
from ansible_collections.pgops.rollback.plugins.module_utils.driver import psycopg2, sql
from ansible_collections.pgops.rollback.plugins.module_utils.dump_contents import DumpContents
from ansible_collections.pgops.rollback.plugins.module_utils.names import parse_name, quote_name
from ansible_collections.pgops.rollback.plugins.module_utils.object_inventory import DatabaseObject, read_objects
from ansible_collections.pgops.rollback.plugins.module_utils.table_content import begin_reading, end_reading
from ansible_collections.pgops.rollback.plugins.module_utils.table_writes import read_table_writes

#: Milliseconds for a lock and for one statement.
_LOCK_TIMEOUT = 500
_STATEMENT_TIMEOUT = 60_000

#: Pages that are read at the most to count rows: 512 MiB.
_MOST_PAGES = 65_536


@dataclass(frozen=True)
class Losses:
    """:ivar objects: that are in the live database and not in the dump.
    :ivar absent: tables of the baseline that are not in the dump, as SQL writes them.
    :ivar of_migration: tables of the dump that the migration made.
    :ivar rows: of each table that has other rows than then, or was written to: ``name``, ``then`` and ``now`` (rows;
        None when not known), ``written`` (rows written since; None when not known).
    :ivar since: what ``then`` is of, in words; empty when nothing tells.
    :ivar counted_since: since when ``written`` is counted, UTC; empty when it is not.
    :ivar tables: how many the dump has.
    :ivar restored_rows: how many come back; None when nothing tells.
    """

    objects: list[DatabaseObject]
    absent: list[str]
    of_migration: list[str]
    rows: list[dict[str, Any]]
    since: str
    counted_since: str
    tables: int
    restored_rows: int | None


def read_losses(connection: Any, backup: Backup, before: Baseline | None, after: Baseline | None) -> Losses:
    """:param connection: to the live database, in autocommit mode.
    :raises ArchiveDamagedError, RollbackError, OSError: of what reads the dump.
    :raises psycopg2.Error: when the database cannot be read.
    """
    codec = psycopg2.extensions.encodings[connection.info.parameter_status("server_encoding")]
    contents = DumpContents(Path(backup.location), backup.details["format"], codec)
    then, moment = _rows_then(backup, before)
    begin_reading(connection, lock_timeout_ms=_LOCK_TIMEOUT)
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL("SET LOCAL statement_timeout = {}").format(sql.Literal(_STATEMENT_TIMEOUT)))
            live = read_objects(cursor)
            written = read_table_writes(cursor).since(before.writes) if before else None
        tables = [each.text for each in live if each.kind == "tables"]
        now = count_rows(connection, tables, _MOST_PAGES).counted
    finally:
        end_reading(connection)
    there = set(contents.objects(live))
    known, later = _tables_of(before), _tables_of(after) if before else []
    held = {each.text for each in contents.objects([_table(name) for name in {*known, *later}])}
    return Losses(
        # What belongs to a table goes with it.
        objects=[each for each in live if each not in there and not each.relation],
        absent=sorted(set(known) - held),
        of_migration=sorted((set(later) - set(known)) & held),
        rows=[row for row in (_row(name, then, now, written or {}) for name in tables) if row],
        since=moment,
        counted_since=before.taken_at if before and written is not None else "",
        tables=sum(each.kind == "tables" for each in there),
        restored_rows=sum(then.values()) if then else None,
    )


def _rows_then(backup: Backup, before: Baseline | None) -> tuple[dict[str, int], str]:
    """Rows by table, and what they are of: the backup itself, or about its time."""
    manifest = manifest_path(Path(backup.location))
    if manifest.exists():
        known = read_manifest(manifest)
        return {quote_name(table.schema, table.table): table.rows for table in known.tables}, "the backup"
    if before is not None and before.snapshot.rows_are == "exact":
        rows = {name: number for name, number in before.snapshot.rows.items() if number is not None}
        return rows, f"the baseline of {before.taken_at}"
    return {}, ""


def _row(name: str, then: dict[str, int], now: dict[str, int], written: dict[str, int]) -> dict[str, Any] | None:
    """None of a table of which nothing is lost, as far as anybody knows."""
    before, since = then.get(name), written.get(name)
    if not since and (before is None or before == now.get(name)):
        return None
    return {"name": name, "then": before, "now": now.get(name), "written": since}


def _tables_of(baseline: Baseline | None) -> list[str]:
    return [name for kind, name in baseline.snapshot.objects if kind == "table"] if baseline else []


def _table(name: str) -> DatabaseObject:
    schema, table = parse_name(name, "table")
    return DatabaseObject("tables", schema, table)
