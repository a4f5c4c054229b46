# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads what the advice is given by: rows written since, rows a teardown would take, the last restore drill.

A database that does not answer, a table that may not be read, a baseline that is missing: each is evidence and is said;
none of them is an error here.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from ansible_collections.pgops.rollback.plugins.module_utils.backup_records import latest_drill
from ansible_collections.pgops.rollback.plugins.module_utils.baseline import Baseline, read_baseline
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_reading import Catalog, Relation
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_rows import read_contents
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_snapshot import Snapshot
from ansible_collections.pgops.rollback.plugins.module_utils.connection import (
    cluster_identifier,
    connect,
    require_supported,
    server_info,
)
from ansible_collections.pgops.rollback.plugins.module_utils.driver import psycopg2, sql
from ansible_collections.pgops.rollback.plugins.module_utils.durations import parse_duration
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError, server_message
from ansible_collections.pgops.rollback.plugins.module_utils.names import parse_name, quote_name
from ansible_collections.pgops.rollback.plugins.module_utils.rollback_advice import (
    Evidence,
    Migration,
    ProvenBackup,
    Rows,
    Written,
    read_findings,
)
from ansible_collections.pgops.rollback.plugins.module_utils.table_content import begin_reading, end_reading
from ansible_collections.pgops.rollback.plugins.module_utils.table_writes import TableWrites, read_table_writes

#: Milliseconds for a lock that is in the way, and for one statement: whoever asks for advice is in a hurry.
_LOCK_TIMEOUT = 500
_STATEMENT_TIMEOUT = 10_000

#: Of a block of 8 KiB each. Where the server's counters are of no use, smaller tables are counted first, up to this.
_MOST_PAGES = 256 * 1024

_HEADING = """
SELECT pg_catalog.current_database(),
       pg_catalog.pg_database_size(pg_catalog.current_database())
"""

# The named tables, and the partitions of those that are partitioned.
_RELATIONS = """
WITH RECURSIVE family (oid) AS (
    SELECT c.oid FROM ROWS FROM (pg_catalog.unnest(%s::text[]), pg_catalog.unnest(%s::text[])) AS w (schema, name)
    JOIN pg_catalog.pg_namespace n ON n.nspname = w.schema
    JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = w.name AND c.relkind IN ('r', 'p', 'f')
    UNION
    SELECT c.oid FROM family f JOIN pg_catalog.pg_inherits i ON i.inhparent = f.oid
    JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid AND c.relispartition
)
SELECT c.oid, n.nspname, c.relname, c.relkind, c.reltuples, c.relpages,
       ARRAY (SELECT i.inhparent FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.oid)
FROM family f JOIN pg_catalog.pg_class c ON c.oid = f.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
ORDER BY c.relpages, n.nspname, c.relname
"""


class Baselines(NamedTuple):
    """:ivar notes: why one of them is of no use."""

    before: Baseline | None
    after: Baseline | None
    notes: list[str]


class Database(NamedTuple):
    """What the database itself tells.

    :ivar unreachable: why it told nothing; empty when it answered.
    """

    baselines: Baselines
    unreachable: str = ""
    writes: TableWrites | None = None
    size: int | None = None
    created_rows: Rows = Rows()
    counted: Rows = Rows()


def read_evidence(options: dict[str, Any], now: datetime) -> Evidence:
    """Everything the advice is given by.

    :param options: of the module rollback_advice.
    :param now: UTC.
    :raises RollbackError: for options that cannot be meant: ``manifest_invalid``, ``duration_invalid``,
        ``connection_string``; ``psycopg2_missing``, ``version_unsupported``.
    """
    max_age = parse_duration(options["max_age"], "backup_verification_max_age")
    migration = _migration(options["manifest"])
    baselines = _read_baselines(options)
    database = _ask_database(options, migration, baselines)
    migration = _with_protected(migration, options["manifest"], database.baselines.before)
    backup, no_backup = _proven_backup(options["records_dir"], max_age, now, database.size)
    least, most = _since_backup(backup, database)
    return Evidence(
        host=options["host"],
        manifest_path=options["manifest_path"],
        inventories=options["inventories"],
        variables={name: str(value) for name, value in options["variables"].items()},
        by_file=options["by_file"],
        operators_answer=options["application"],
        findings=read_findings(options["verification"]),
        unreachable=database.unreachable,
        migration=migration,
        created_rows=database.created_rows,
        since_migration=_since_migration(database),
        since_backup_least=least,
        since_backup_most=most,
        backup=backup,
        no_backup=no_backup,
        notes=database.baselines.notes,
    )


def _migration(manifest: dict[str, Any]) -> Migration:
    """:raises RollbackError: ``manifest_invalid``."""
    if not manifest:
        return Migration()
    names = {}
    for kind in ("tables", "functions", "sequences"):
        names[kind] = manifest.get(kind) or []
        if not isinstance(names[kind], list) or not all(isinstance(name, str) for name in names[kind]):
            raise RollbackError(
                "manifest_invalid", f"In the manifest, {kind} is not a list of names.", "Correct the manifest file."
            )
    return Migration(
        known=True,
        tables=list(dict.fromkeys(_canonical(name) for name in names["tables"])),
        others=[*names["functions"], *names["sequences"]],
    )


def _with_protected(migration: Migration, manifest: dict[str, Any], before: Baseline | None) -> Migration:
    """A manifest may be written by hand, and the tables may have been there before the migration was."""
    entries = manifest.get("protected") or []
    listed = {_canonical(str(each.get("name"))) for each in entries if isinstance(each, dict)}
    there = {name for kind, name in before.snapshot.objects if kind in ("table", "foreign table")} if before else set()
    return replace(
        migration,
        protected=[name for name in migration.tables if name in listed | there],
        provenance_known=before is not None or bool(manifest.get("before")),
    )


def _canonical(name: str) -> str:
    """As snapshots write it; what is no name stays as it is and will not be found."""
    try:
        return quote_name(*parse_name(name, "table"))
    except RollbackError:
        return name


def _read_baselines(options: dict[str, Any]) -> Baselines:
    found: list[Baseline | None] = []
    notes = []
    for moment, option in (("before", "baseline"), ("after", "after")):
        found.append(None)
        if not options[option]:
            notes.append(f"No baseline {moment} the migration was named (rollback_migration).")
            continue
        try:
            read = read_baseline(Path(options[option]))
        except RollbackError as error:
            notes.append(f"No baseline {moment} the migration: {error.message}")
            continue
        if read.moment == moment:
            found[-1] = read
        else:
            notes.append(f"No baseline {moment} the migration: {options[option]} is the one {read.moment} it.")
    return Baselines(found[0], found[1], notes)


def _ask_database(options: dict[str, Any], migration: Migration, baselines: Baselines) -> Database:
    try:
        connection = connect(options)
    except RollbackError as error:
        if error.code != "connection_failed":
            raise
        return _silent(baselines, migration, error.message)
    try:
        require_supported(server_info(connection))
        begin_reading(connection, lock_timeout_ms=_LOCK_TIMEOUT)
        try:
            return _read(connection, migration, baselines)
        finally:
            end_reading(connection)
    except psycopg2.OperationalError as error:
        return _silent(baselines, migration, f"It stopped answering: {server_message(error)}.")
    finally:
        connection.close()


def _silent(baselines: Baselines, migration: Migration, why: str) -> Database:
    unknown = dict.fromkeys(migration.tables, "the database does not answer")
    return Database(baselines, unreachable=why, created_rows=Rows(unknown=unknown))


def _read(connection: Any, migration: Migration, baselines: Baselines) -> Database:
    cursor = connection.cursor()
    cursor.execute(sql.SQL("SET LOCAL statement_timeout = {}").format(sql.Literal(_STATEMENT_TIMEOUT)))
    cursor.execute(_HEADING)
    name, size = cursor.fetchone()
    here = Snapshot(name, cluster_identifier(cursor), connection.server_version, role="", taken_at="", objects={})
    baselines = _of_this_database(baselines, here)
    writes = read_table_writes(cursor)
    after = baselines.after
    counted = Rows()
    if after and writes.since(after.writes) is None and after.snapshot.rows_are == "exact":
        counted = count_rows(connection, list(after.snapshot.rows), _MOST_PAGES)
    return Database(
        baselines,
        writes=writes,
        size=size,
        created_rows=count_rows(connection, list(migration.tables)),
        counted=counted,
    )


def _of_this_database(baselines: Baselines, here: Snapshot) -> Baselines:
    found: list[Baseline | None] = []
    notes = list(baselines.notes)
    for baseline in (baselines.before, baselines.after):
        found.append(baseline)
        try:
            if baseline:
                baseline.require_same_database(here)
        except RollbackError as error:
            found[-1] = None
            notes.append(f"The baseline {baseline.moment if baseline else ''} was not used: {error.message}")
    return Baselines(found[0], found[1], notes)


def count_rows(connection: Any, names: list[str], most_pages: int | None = None) -> Rows:
    """Exact rows of these tables, a partitioned one with its partitions.

    :param connection: in a transaction of begin_reading().
    :param most_pages: how much is read at the most, smaller tables first; None for everything.
    """
    wanted: dict[str, tuple[str, str]] = {}
    unknown: dict[str, str] = {}
    for name in names:
        try:
            schema, table = parse_name(name, "table")
            wanted[name] = schema, table
        except (RollbackError, ValueError):
            unknown[name] = "it is not named by its schema and name as SQL writes them"
    with connection.cursor() as cursor:
        cursor.execute(_RELATIONS, ([parts[0] for parts in wanted.values()], [parts[1] for parts in wanted.values()]))
        rows = cursor.fetchall()
    relations: dict[int, Relation] = {}
    pages_read = 0
    for oid, schema, table, relkind, reltuples, pages, parents in rows:
        quoted = quote_name(schema, table)
        pages_read += pages
        if most_pages is not None and pages_read > most_pages:
            unknown[quoted] = "it is too large to be counted in a hurry"
        else:
            relations[oid] = Relation(schema, table, quoted, relkind, reltuples, tuple(parents))
    unread: list[dict[str, str]] = []
    counts = read_contents(connection, Catalog(relations=relations), False, unread)[0]
    unknown |= {each["name"]: each["reason"].removeprefix("Its rows were not counted: ").rstrip(".") for each in unread}
    return _sorted_out(wanted, {quote_name(*row[1:3]) for row in rows}, counts, unknown)


def _sorted_out(
    wanted: dict[str, tuple[str, str]], there: set[str], counts: dict[str, int | None], unknown: dict[str, str]
) -> Rows:
    counted: dict[str, int] = {}
    unsure = {name: why for name, why in unknown.items() if name not in wanted and name not in there}
    absent = []
    for parts in wanted.values():
        quoted = quote_name(*parts)
        rows = counts.get(quoted)
        if quoted not in there:
            absent.append(quoted)
        elif rows is None:
            unsure[quoted] = unknown.get(quoted, "a partition of it was not counted")
        else:
            counted[quoted] = rows
    return Rows(counted, unsure, absent)


def _since_migration(database: Database) -> Written:
    after = database.baselines.after
    if database.writes is None:
        return Written(why_unknown="the database does not answer")
    if after is None:
        return Written(why_unknown="there is no baseline after the migration to compare with")
    written = database.writes.since(after.writes)
    if written is not None:
        return Written(written, since=after.taken_at)
    if after.snapshot.rows_are != "exact":
        return Written(
            why_unknown="the server's counters began anew since, and the baseline has no exact row counts to compare"
        )
    return _difference(after.snapshot, database.counted)


def _difference(then: Snapshot, now: Rows) -> Written:
    """Of row counts, which see neither an update nor a row that replaced another."""
    written: dict[str, int] = {}
    unknown = {name: why for name, why in now.unknown.items() if name in then.rows}
    for name, rows in then.rows.items():
        if rows is None:
            unknown[name] = "the baseline does not have its row count"
        elif name in now.counted and now.counted[name] != rows:
            written[name] = abs(now.counted[name] - rows)
    return Written(written, since=then.taken_at, at_least=True, unknown_tables=unknown)


def _since_backup(backup: ProvenBackup | None, database: Database) -> tuple[Written | None, Written | None]:
    """What was written since the backup at least and at the most: counters are only of the moments of the baselines."""
    if backup is None or database.writes is None:
        return None, None
    moments = []
    for baseline in (database.baselines.before, database.baselines.after):
        written = database.writes.since(baseline.writes) if baseline else None
        if baseline and written is not None:
            moments.append((_time(baseline.taken_at), Written(written, since=baseline.taken_at)))
    # Never of the same second: these times have no fractions.
    later = [each for moment, each in moments if moment > _time(backup.finished_at)]
    earlier = [each for moment, each in moments if backup.holds_until and moment < _time(backup.holds_until)]
    return (later[0] if later else None), (earlier[-1] if earlier else None)


def _proven_backup(
    records_dir: str | None, max_age: timedelta, now: datetime, size: int | None
) -> tuple[ProvenBackup | None, str]:
    if not records_dir:
        return None, "no directory with the records of backup verifications was named"
    try:
        record = latest_drill(Path(records_dir), max_age, now)
    except RollbackError as error:
        return None, error.message.rstrip(".")
    backup, restore = record["backup"], record["restore"]
    if not backup.get("finished_at"):
        return None, f"the record of the drill does not tell when the backup {backup['id']} was made"
    rate = restore.get("bytes_per_second")
    return ProvenBackup(
        id=backup["id"],
        source=record["source"],
        finished_at=backup["finished_at"],
        # A dump holds what was there when it began, a data directory what was there when it ended.
        holds_until=backup.get("started_at") if backup.get("kind") == "logical" else backup["finished_at"],
        drilled_at=record["finished"],
        age=now - _time(backup["finished_at"]),
        restore_seconds=size / rate if size and rate else restore.get("seconds"),
        restore_bytes=size if size and rate else None,
    ), ""


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
