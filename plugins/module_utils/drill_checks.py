# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is looked at in a restored database: its pages, its indexes, and whether it holds what it should."""

from __future__ import annotations

import csv
import glob
from pathlib import Path
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.backup import (
    DEGRADED,
    FAULTY,
    PASSED,
    SKIPPED,
    Check,
)
from ansible_collections.pgops.rollback.plugins.module_utils.baseline import Baseline
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_snapshot import read_snapshot
from ansible_collections.pgops.rollback.plugins.module_utils.connection import connect
from ansible_collections.pgops.rollback.plugins.module_utils.drill_server import DrillServer
from ansible_collections.pgops.rollback.plugins.module_utils.driver import pg_errors, sql
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.names import quote_name
from ansible_collections.pgops.rollback.plugins.module_utils.system_user import own_user
from ansible_collections.pgops.rollback.plugins.module_utils.wording import some

#: Kinds of objects that every dump and every data directory holds. Roles and the privileges of the database are in no
#: dump, and in a disposable cluster roles are stand-ins that cannot log in.
_DUMPED = frozenset(
    {"table", "view", "materialized view", "sequence", "function", "procedure", "aggregate", "column", "constraint",
     "index", "trigger", "policy", "rule", "type", "enum", "domain", "range"}
)  # fmt: skip

_NOT_COMPARED = "roles and the database's own privileges were not compared"

#: A table of fewer rows may well change by more than any tolerance within a day.
_SMALL = 1000

_USER_TABLES = """
SELECT n.nspname, c.relname, c.reltuples::bigint
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e
                  WHERE e.classid = 'pg_catalog.pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')
ORDER BY 1, 2
"""
_MISSING_TABLES = """
SELECT given FROM pg_catalog.unnest(%s::text[]) AS given
WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class
                  WHERE oid = pg_catalog.to_regclass(given) AND relkind IN ('r', 'p', 'f'))
"""
_PRELOADED = """
SELECT DISTINCT pg_catalog.regexp_replace(set, '^[^=]+=', '')
FROM pg_catalog.pg_db_role_setting s, pg_catalog.unnest(s.setconfig) AS set
WHERE set ~ '^(session|local)_preload_libraries='
  AND s.setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()))
"""
_INVALID_INDEXES = """
SELECT n.nspname, c.relname
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE NOT i.indisvalid AND c.relkind = 'i' ORDER BY 1, 2
"""
_CONSTRAINTS = """
SELECT k.oid::bigint, n.nspname, c.relname, k.conname
FROM pg_catalog.pg_constraint k
JOIN pg_catalog.pg_class c ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_class f ON f.oid = k.confrelid
WHERE k.contype IN ('f', 'c') AND k.convalidated AND k.conparentid = 0 AND k.coninhcount = 0
  AND c.relkind = 'r' AND coalesce(f.relkind, 'r') = 'r'
  AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
ORDER BY 2, 3, 4
"""


def amcheck(server: DrillServer, databases: list[str], jobs: int, timeout: float, heapallindexed: bool) -> Check:
    """Tables and B-tree indexes, page by page.

    :param heapallindexed: also that every row is found in its index; worth its time where indexes were copied, not
        where they were just built.
    """
    if not (server.bindir / "pg_amcheck").exists() or not _available(server, "amcheck"):
        return Check("amcheck", SKIPPED, f"Postgres {server.recipe.version} here has no amcheck.")
    options = ["--install-missing", f"--jobs={jobs}", *(["--heapallindexed"] if heapallindexed else [])]
    command = server.program("pg_amcheck", "--no-password", *options)
    # It takes patterns; in double quotes a name is only itself.
    command += ['--database="' + name.replace('"', '""') + '"' for name in databases]
    answer = own_user().run(command, Path("/"), timeout, server.environment())
    if answer.returncode == 0:
        return Check("amcheck", PASSED, "amcheck finds no damaged page in tables and indexes.")
    said = " ".join((answer.stdout or answer.stderr).split())
    return Check("amcheck", FAULTY, f"amcheck finds damage: {said[:300].rstrip('.')}.")


def _available(server: DrillServer, extension: str) -> bool:
    connection = server.connect("template1")
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_catalog.pg_available_extensions WHERE name = %s", (extension,))
            return cursor.fetchone() is not None
    finally:
        connection.close()


def checksums(server: DrillServer, timeout: float) -> Check:
    """Every page's checksum, of a stopped physical cluster."""
    answer = server.cluster.user.run(
        [str(server.bindir / "pg_checksums"), "--check", "-D", str(server.cluster.data_directory)],
        server.cluster.directory,
        timeout,
    )
    said = " ".join((answer.stderr or answer.stdout).split())
    if answer.returncode == 0:
        return Check("checksums", PASSED, "Every page has the checksum it was written with.")
    if "not enabled" in said:
        return Check("checksums", SKIPPED, "The cluster has no data checksums.")
    return Check("checksums", FAULTY, f"Pages have wrong checksums: {said[:300].rstrip('.')}.")


def preloaded_libraries(connection: Any) -> list[Check]:
    """Of the libraries that production's sessions load, those that are not here are like extensions that are not."""
    with connection.cursor() as cursor:
        cursor.execute(_PRELOADED)
        names = {name.strip() for row in csv.reader(value for (value,) in cursor.fetchall()) for name in row}
        cursor.execute("SELECT setting FROM pg_catalog.pg_config WHERE name = 'PKGLIBDIR'")
        directory = Path(cursor.fetchone()[0])
    missing = [
        name for name in sorted(names)
        if name and not list(directory.glob(f"{glob.escape(name.removeprefix('$libdir/').lstrip('/'))}*"))
    ]  # fmt: skip
    if not missing:
        return []
    message = f"Sessions of the database load {some(missing)}, which is not installed here."
    return [Check("libraries", DEGRADED, message)]


def valid_indexes(connection: Any) -> Check:
    """An index that is not valid serves nobody; a dump leaves none behind, a physical backup brings production's."""
    with connection.cursor() as cursor:
        cursor.execute(_INVALID_INDEXES)
        names = [quote_name(*row) for row in cursor.fetchall()]
    if names:
        return Check("indexes", DEGRADED, f"Not valid: {some(names)}. Production has them so, too, or lost a build.")
    return Check("indexes", PASSED, "Every index is valid.")


def valid_constraints(connection: Any, copied: bool) -> Check:
    """Every row keeps the foreign keys and CHECK constraints that are said to be valid: the server checks them again.

    A restore that copies files, or loads data with triggers off, has checked none. The catalogs of the drill's database
    are set to "not yet validated" for it.

    :param copied: as files, and so with whatever production itself had let happen.
    """
    broken = []
    with connection.cursor() as cursor:
        cursor.execute(_CONSTRAINTS)
        constraints = cursor.fetchall()
        cursor.execute(
            "BEGIN; SET LOCAL allow_system_table_mods = on;"
            " UPDATE pg_catalog.pg_constraint SET convalidated = false WHERE oid = ANY (%s::oid[]); COMMIT",
            ([oid for oid, *_name in constraints],),
        )
        for _oid, schema, table, name in constraints:
            statement = sql.SQL("ALTER TABLE {} VALIDATE CONSTRAINT {}")
            try:
                cursor.execute(statement.format(sql.Identifier(schema, table), sql.Identifier(name)))
            except (pg_errors.ForeignKeyViolation, pg_errors.CheckViolation):
                broken.append(f"{quote_name(name)} of {quote_name(schema, table)}")
    if broken:
        what = f"Rows break constraints: {some(broken)}."
        return Check("constraints", DEGRADED if copied else FAULTY,
                     f"{what} Production may have them so, too." if copied else what)  # fmt: skip
    return Check("constraints", PASSED, f"Every row keeps the {len(constraints)} foreign keys and checks.")


def count_rows(connection: Any) -> dict[str, int]:
    """Exact row counts of all ordinary user tables, as SQL writes their names."""
    with connection.cursor() as cursor:
        cursor.execute(_USER_TABLES)
        tables = [(schema, table) for schema, table, _estimate in cursor.fetchall()]
        counts = {}
        for schema, table in tables:
            cursor.execute(sql.SQL("SELECT pg_catalog.count(*) FROM ONLY {}").format(sql.Identifier(schema, table)))
            counts[quote_name(schema, table)] = cursor.fetchone()[0]
    return counts


def beside_live(counts: dict[str, int], live: dict[str, Any], tolerance: int, system_id: str | None) -> Check:
    """Restored row counts beside the planner's estimates of the live database, which costs it nothing.

    :param live: connection options.
    :param tolerance: percent by which a table may differ.
    :param system_id: of the cluster in a physical backup; None of a dump, which may be of any.
    """
    try:
        connection = connect(live)
    except RollbackError as error:
        return Check("live", DEGRADED, f"The live database could not be asked: {error.message}")
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT system_identifier::text FROM pg_catalog.pg_control_system()")
            live_id = cursor.fetchone()[0]
            cursor.execute(_USER_TABLES)
            estimates = {quote_name(schema, table): number for schema, table, number in cursor.fetchall()}
    finally:
        connection.close()
    if system_id not in (None, live_id):
        which = f"system identifier {system_id}, the live database's is {live_id}"
        return Check("live", FAULTY, f"It is a backup of another cluster ({which}).")
    missing = [name for name in estimates if name not in counts]
    emptied = [name for name, number in estimates.items() if number > _SMALL and counts.get(name) == 0]
    if missing or emptied:
        return Check("live", FAULTY, f"Tables of the live database are missing or empty: {some(missing + emptied)}.")
    apart = [
        f"{name} ({counts[name]:,} restored, about {number:,} live)" for name, number in estimates.items()
        if number > _SMALL and abs(counts[name] - number) * 100 > tolerance * number
    ]  # fmt: skip
    if apart:
        return Check("live", DEGRADED, f"More than {tolerance} % apart from the live database: {some(apart)}.")
    compared = sum(number > _SMALL for number in estimates.values())
    small = len(estimates) - compared
    left_out = f"{small} of up to {_SMALL:,} rows, or never analyzed, were not compared" if small else ""
    if not compared:
        # Somebody asked for it, and it did not come about.
        return Check("live", DEGRADED, f"Every table of the live database is there, but {left_out or 'it has none'}.")
    return Check(
        "live",
        PASSED,
        f"{compared} tables have as many rows as live, within {tolerance} % (an estimate)"
        + (f"; {left_out}." if left_out else "."),
    )


def beside_baseline(connection: Any, baseline: Baseline, tolerance: int) -> Check:
    """The restored database beside a baseline of the migration, which is of another moment than the backup.

    So rows that are others are a reservation and no fault; with checksums in the baseline not one of them goes unseen.

    :param connection: in autocommit mode.
    :param tolerance: percent by which the rows of a table may differ where the baseline has no checksums.
    :raises RollbackError: of read_snapshot().
    """
    then = baseline.snapshot
    now = read_snapshot(connection, "exact", bool(then.checksums), then.schemas)
    missing = [each.label for key, each in then.objects.items() if each.kind in _DUMPED and key not in now.objects]
    emptied = [name for name, rows in then.rows.items() if rows and not now.rows.get(name, rows)]
    if missing or emptied:
        return Check("baseline", FAULTY, f"Of the baseline are missing or empty: {some(missing + emptied)}.")
    if then.checksums:
        changed = [name for name, found in then.checksums.items() if now.checksums.get(name) != found]
        how = "hold other rows than the baseline"
    else:
        changed = [
            name for name, rows in then.rows.items()
            if rows is not None and abs((now.rows.get(name) or 0) - rows) * 100 > tolerance * rows
        ]  # fmt: skip
        how = f"have more than {tolerance} % more or less rows than the baseline"
    if changed:
        return Check(
            "baseline", DEGRADED,
            f"{len(changed)} of {len(then.rows)} tables {how} of {then.taken_at}, changed meanwhile or damaged:"
            f" {some(changed)}.",
        )  # fmt: skip
    if not then.checksums and then.rows_are != "exact":
        return Check(
            "baseline",
            SKIPPED,
            f"Every object of the baseline is there; it has no row counts to compare, and {_NOT_COMPARED}.",
        )
    held = "every row" if then.checksums else f"as many rows, within {tolerance} %,"
    return Check(
        "baseline",
        PASSED,
        f"Every object of the baseline ({then.taken_at}) is there, and {held} of each; {_NOT_COMPARED}.",
    )


def expected_tables(connection: Any, tables: list[str]) -> Check:
    """The tables that the rollback manifest names are there.

    :param tables: as SQL writes them.
    """
    with connection.cursor() as cursor:
        cursor.execute(_MISSING_TABLES, (tables,))
        missing = [name for (name,) in cursor.fetchall()]
    if missing:
        return Check("manifest_tables", FAULTY, f"Tables of the rollback manifest are missing: {some(missing)}.")
    return Check("manifest_tables", PASSED, f"The {len(tables)} tables of the rollback manifest are there.")
