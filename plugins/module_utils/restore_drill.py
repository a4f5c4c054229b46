# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The restore drill: a backup is restored into a disposable server, looked at, compared, and removed again."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.backup import (
    DEGRADED,
    FAULTY,
    PASSED,
    SKIPPED,
    Backup,
    Check,
    PhysicalSource,
    Progress,
    Source,
)
from ansible_collections.pgops.rollback.plugins.module_utils.backup_ladder import Rung, judged
from ansible_collections.pgops.rollback.plugins.module_utils.canary import expected_canary, look_for
from ansible_collections.pgops.rollback.plugins.module_utils.content_manifest import (
    compare,
    manifest_path,
    read_manifest,
)
from ansible_collections.pgops.rollback.plugins.module_utils.drill_checks import (
    amcheck,
    beside_baseline,
    beside_live,
    checksums,
    count_rows,
    expected_tables,
    preloaded_libraries,
    valid_constraints,
    valid_indexes,
)
from ansible_collections.pgops.rollback.plugins.module_utils.drill_options import Drilled, DrillOptions
from ansible_collections.pgops.rollback.plugins.module_utils.drill_server import DrillServer
from ansible_collections.pgops.rollback.plugins.module_utils.driver import DATABASE_ERRORS
from ansible_collections.pgops.rollback.plugins.module_utils.dump_files import SUPABASE
from ansible_collections.pgops.rollback.plugins.module_utils.durations import show_duration
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError, server_message
from ansible_collections.pgops.rollback.plugins.module_utils.logical_restore import DATABASE, restore_dump
from ansible_collections.pgops.rollback.plugins.module_utils.manifest_checks import run_checks
from ansible_collections.pgops.rollback.plugins.module_utils.names import quote_name
from ansible_collections.pgops.rollback.plugins.module_utils.restored_server import server_for

#: Errors of what is not given more time than the drill has left.
_CUT_SHORT = ("program_timeout", "start_failed")


def drill(source: Source, backup: Backup, options: DrillOptions, progress: Progress) -> Drilled:
    """Restore the backup, look at it, compare it, remove it. Faults of the backup are in the rung, as are errors."""
    return _Drill(source, backup, options, progress).run()


class _Drill:
    def __init__(self, source: Source, backup: Backup, options: DrillOptions, progress: Progress) -> None:
        self._source, self._backup, self._options, self._progress = source, backup, options, progress
        self._checks: list[Check] = []
        self._found = Drilled(Rung("drill", "failed", ""))
        self._begun = self._looked = time.monotonic()

    def run(self) -> Drilled:
        problem = ""
        try:
            self._climb()
        except RollbackError as error:
            problem = self._timely(str(error)) if error.code in _CUT_SHORT else str(error)
        except DATABASE_ERRORS as error:
            problem = self._timely(f"The restored database reported: {server_message(error)}.")
        seconds = time.monotonic() - self._begun
        rung = judged("drill", self._checks, self._said(), self._proved(), self._left_open(), seconds)
        if problem:
            rung = Rung("drill", "failed", problem, "", rung.not_proved, self._checks, seconds)
        elif self._found.restore is None and rung.status == "ok":
            # What was not restored is not proved, however well all else went.
            said = next(check.message for check in self._checks if check.status == SKIPPED)
            rung = replace(rung, status="skipped", message=said, proved="")
        self._found.rung = rung
        return self._found

    def _timely(self, problem: str) -> str:
        """The problem, or what is behind it: that there is no time left."""
        try:
            self._left()
        except RollbackError as late:
            return str(late)
        return problem

    def _add(self, *checks: Check) -> None:
        """Note what was found; a check that did not time itself took the time since the one before."""
        now = time.monotonic()
        self._checks += [check if check.seconds else replace(check, seconds=now - self._looked) for check in checks]
        self._looked = now

    def _left(self) -> float:
        """Seconds of the time limit that are left.

        :raises RollbackError: ``drill_timeout``.
        """
        left = self._options.timeout - (time.monotonic() - self._begun)
        if left <= 0:
            raise RollbackError(
                "drill_timeout",
                f"The drill took longer than {show_duration(timedelta(seconds=self._options.timeout))} and was ended.",
                "Give it more time with backup_verification_drill_timeout.",
            )
        return left

    def _connected(self, server: DrillServer, database: str) -> Any:
        """A connection on which no statement lasts longer than the time that is left."""
        connection = server.connect(database)
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = %s", (int(self._left() * 1000),))
        return connection

    def _climb(self) -> None:
        with server_for(
            self._source, self._backup, self._options, {}, self._left, self._progress, self._add
        ) as server:
            self._found.postgres = server.recipe.version
            if isinstance(self._source, PhysicalSource):
                self._look_at_cluster(server)
            else:
                self._look_at_dump(server)

    # Logical ----------------------------------------------------------------------------------------------------------

    def _look_at_dump(self, server: DrillServer) -> None:
        restored = restore_dump(server, self._backup, self._options.jobs, self._left(), self._progress)
        self._add(restored.check)
        self._found.missing_extensions = restored.missing_extensions
        if restored.check.status in (FAULTY, SKIPPED):
            return
        connections = [self._connected(server, DATABASE) for _job in range(self._options.jobs)]
        try:
            manifest = manifest_path(Path(self._backup.location))
            if manifest.exists():
                self._progress("comparing with the content manifest", None)
                known = read_manifest(manifest)
                self._add(*compare(known, connections, self._progress, restored.left_out, restored.lacking))
                counts = {quote_name(table.schema, table.table): table.rows for table in known.tables}
            else:
                self._progress("counting rows", None)
                counts = count_rows(connections[0])
                self._compare_counts(connections[0], counts, None)
            self._add(valid_indexes(connections[0]))
            self._own_checks(connections[0])
            self._measured(connections[0], DATABASE, restored.seconds, counts)
            if self._backup.details["format"] == SUPABASE:
                # Its data are loaded with the triggers that check foreign keys off.
                self._add(valid_constraints(connections[0], copied=False))
        finally:
            for connection in connections:
                connection.close()
        self._progress("checking pages and indexes", None)
        self._add(amcheck(server, [DATABASE], self._options.jobs, self._left(), heapallindexed=False))

    # Physical ---------------------------------------------------------------------------------------------------------

    def _look_at_cluster(self, server: DrillServer) -> None:
        restored = time.monotonic() - self._begun
        connection = server.connect("template1")
        try:
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT pg_catalog.pg_is_in_recovery(), system_identifier::text FROM pg_catalog.pg_control_system()"
                )
                recovering, system_id = cursor.fetchone()
                cursor.execute("SELECT datname FROM pg_catalog.pg_database WHERE datallowconn ORDER BY datname")
                databases = [name for (name,) in cursor.fetchall()]
        finally:
            connection.close()
        if recovering:
            self._add(Check("recovery", FAULTY, "The server is a standby still; it did not recover."))
            return
        self._add(Check("recovery", PASSED, "It recovered to the end of the backup."))
        wanted = self._options.database
        if wanted is not None and wanted not in databases:
            self._add(Check("database", FAULTY, f"There is no database {wanted} in it."))
            return
        database = wanted or next((name for name in databases if name not in ("postgres", "template1")), "postgres")
        self._progress(f"counting the rows of {database}", None)
        connection = self._connected(server, database)
        try:
            counts = count_rows(connection)
            self._compare_counts(connection, counts, system_id)
            self._add(*self._canary(connection), *preloaded_libraries(connection), valid_indexes(connection))
            self._own_checks(connection)
            self._measured(connection, database, restored, counts)
            self._progress("checking constraints", None)
            self._add(valid_constraints(connection, copied=True))
        finally:
            connection.close()
        self._progress("checking pages and indexes", None)
        self._add(amcheck(server, databases, self._options.jobs, self._left(), heapallindexed=True))
        server.cluster.stop(server.recipe)
        self._add(checksums(server, self._left()))

    def _canary(self, connection: Any) -> list[Check]:
        if self._options.canary is None:
            return []
        if self._backup.started_at is None:
            return [Check("canary", SKIPPED, "When the backup began is not known.")]
        return [look_for(connection, expected_canary(self._options.canary, self._backup))]

    # Both -------------------------------------------------------------------------------------------------------------

    def _compare_counts(self, connection: Any, counts: dict[str, int], system_id: str | None) -> None:
        """:param system_id: of the restored cluster; None of a dump, which may be restored into any."""
        baseline, tolerance = self._options.baseline, self._options.tolerance
        if not sum(counts.values()):
            self._add(Check("comparison", DEGRADED, "There is not a single row in it."))
        elif baseline is not None:
            self._add(beside_baseline(connection, baseline, tolerance))
        elif self._options.live is not None:
            self._add(beside_live(counts, self._options.live, tolerance, system_id))
        else:
            reason = "There is no content manifest, baseline or live database to compare it with."
            self._add(Check("comparison", SKIPPED, reason))

    def _own_checks(self, connection: Any) -> None:
        if self._options.tables:
            self._add(expected_tables(connection, self._options.tables))
        self._progress("running the rollback manifest's checks", None)
        self._add(*run_checks(connection, self._options.checks))

    def _measured(self, connection: Any, database: str, seconds: float, counts: dict[str, int]) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_catalog.pg_database_size(%s)", (database,))
            size = cursor.fetchone()[0]
        self._found.restore = {
            "seconds": round(seconds, 3),
            "bytes": size,
            "bytes_per_second": round(size / max(seconds, 0.001)),
            "rows": sum(counts.values()),
        }

    def _said(self) -> str:
        restore = self._found.restore
        if restore is None:
            return "It was restored."
        return (
            f"{self._backup.id} was restored into Postgres {self._found.postgres} in {restore['seconds']:.0f} s"
            f" ({restore['bytes'] / 1e6:,.0f} MB), and {sum(c.status == PASSED for c in self._checks)} checks passed."
        )

    def _proved(self) -> str:
        compared = {check.name for check in self._checks if check.status == PASSED}
        if "hashes" in compared:
            return "It restores, and every row is what it was when the backup was taken"
        if "baseline" in compared:
            exact = self._options.baseline is not None and self._options.baseline.snapshot.checksums
            return "It restores, with " + ("what the baseline says" if exact else "about as many rows as the baseline")
        return "It restores" + (", with about as many rows as the live database" if "live" in compared else "")

    def _left_open(self) -> str:
        if any(check.status == FAULTY for check in self._checks) or self._found.restore is None:
            return "whether it can be restored"
        if any(check.name == "hashes" and check.status == PASSED for check in self._checks):
            return "the rows of materialized views and of extensions, which are not compared"
        return "whether every row is what it was: that takes a content manifest (playbooks/baseline.yml --tags dump)"
