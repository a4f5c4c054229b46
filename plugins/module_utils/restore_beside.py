# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A dump restored into a new database beside the live one, on the same server, and looked at there.

Nothing of the live database is touched: what goes wrong here costs nothing but time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.backup import (
    DEGRADED,
    FAULTY,
    PASSED,
    SKIPPED,
    Backup,
    Check,
    Progress,
)
from ansible_collections.pgops.rollback.plugins.module_utils.baseline import Baseline
from ansible_collections.pgops.rollback.plugins.module_utils.client_environment import client_environment
from ansible_collections.pgops.rollback.plugins.module_utils.connection import connect
from ansible_collections.pgops.rollback.plugins.module_utils.connections import Connections, share_out
from ansible_collections.pgops.rollback.plugins.module_utils.content_manifest import (
    compare,
    manifest_path,
    read_manifest,
)
from ansible_collections.pgops.rollback.plugins.module_utils.drill_checks import beside_baseline, count_rows
from ansible_collections.pgops.rollback.plugins.module_utils.driver import sql
from ansible_collections.pgops.rollback.plugins.module_utils.dump_files import ARCHIVES
from ansible_collections.pgops.rollback.plugins.module_utils.dump_loading import Loading, shown_errors
from ansible_collections.pgops.rollback.plugins.module_utils.dump_needs import needs
from ansible_collections.pgops.rollback.plugins.module_utils.manifest_checks import run_checks as run_own_checks
from ansible_collections.pgops.rollback.plugins.module_utils.restore_space import Space
from ansible_collections.pgops.rollback.plugins.module_utils.system_user import own_user
from ansible_collections.pgops.rollback.plugins.module_utils.verification import FAILED, WARNED, Context
from ansible_collections.pgops.rollback.plugins.module_utils.verification import PASSED as SOUND
from ansible_collections.pgops.rollback.plugins.module_utils.verification_checks import run_checks

#: What production set for its roles is not for the session that restores.
_SESSION = {
    "default_transaction_read_only": "off",
    "idle_in_transaction_session_timeout": "0",
    "lock_timeout": "0",
    "statement_timeout": "0",
}

#: Milliseconds for a statement of a check.
_CHECK_TIMEOUT = 60_000
#: Percent by which rows may differ from a baseline without checksums before it is said.
_TOLERANCE = 20

#: The checks that follow a rollback, where nothing else is known of the database: options without which the others
#: have nothing to look at.
_NOTHING_KNOWN: dict[str, Any] = {
    "gone": [], "created": [], "checks": [], "pairs": [], "endpoints": [], "explained": [], "count_rows": False,
    "baseline": None, "activity_before": None,
}  # fmt: skip

_STATISTICS = """
SELECT n.nspname::text, c.relname::text FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm', 'p') AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
ORDER BY c.relpages DESC, 1, 2
"""


@dataclass
class Restoring:
    """A database that is being restored.

    :ivar login: connection options of the live database; its name is replaced.
    :ivar bindir: of the client programs.
    :ivar jobs: sessions that restore and look at once.
    :ivar timeout: seconds for a client program.
    :ivar checks: what was found so far.
    :ivar seconds: what each step took, in order.
    """

    name: str
    backup: Backup
    login: dict[str, Any]
    bindir: Path
    space: Space
    jobs: int
    timeout: int
    progress: Progress
    checks: list[Check] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def faults(self) -> list[Check]:
        return [check for check in self.checks if check.status == FAULTY]

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        begun = time.monotonic()
        try:
            yield
        finally:
            self.seconds[step] = round(time.monotonic() - begun, 3)

    def connect(self, database: str | None = None) -> Any:
        """:raises RollbackError: those of connect()."""
        settings = " ".join(f"-c {name}={value}" for name, value in _SESSION.items())
        return connect({**self.login, "login_db": database or self.name}, settings)

    @contextmanager
    def _sessions(self, number: int) -> Iterator[list[Any]]:
        connections: list[Any] = []
        try:
            for _number in range(number):
                connections.append(self.connect())
            yield connections
        finally:
            for connection in connections:
                connection.close()

    def load(self, session: Any) -> None:
        """Restore into the empty database.

        :param session: to a third database of the server.
        :raises RollbackError: ``program_timeout``, ``disk_full`` and what reading the dump raises.
        """
        path, form = Path(self.backup.location), self.backup.details["format"]
        needed = needs(path, form)
        if needed.makes_public:
            self._execute("DROP SCHEMA public")
        with client_environment(session) as variables:
            environment = {**variables, "PGOPTIONS": " ".join(f"-c {n}={value}" for n, value in _SESSION.items())}
            loading = Loading(
                _Server(self, session), self.name, path, form, self.timeout, environment, own_user(), self.progress,
                self.backup.database_bytes,
            )  # fmt: skip
            if form in ARCHIVES:
                # One that writes is the live database's; what it would bring is in the plan.
                errors = loading.archive(self.jobs, options=["--no-subscriptions"])
            else:
                errors = loading.text([path], [] if needed.adapting else None)
        message = f"It does not restore: {shown_errors(errors)}." if errors else "Restored without an error."
        self.checks.append(Check("restore", FAULTY if errors else PASSED, message))

    def _execute(self, statement: str) -> None:
        with self._sessions(1) as connections, connections[0].cursor() as cursor:
            cursor.execute(statement)

    def analyze(self) -> None:
        """Without statistics the first queries after the swap would be the slowest ever."""
        self.progress("collecting statistics", None)
        with self._sessions(self.jobs) as connections:
            with connections[0].cursor() as cursor:
                cursor.execute(_STATISTICS)
                tables = cursor.fetchall()
            share_out(connections, tables, _analyze)

    def verify(self, baseline: Baseline | None, own_checks: list[dict[str, Any]]) -> None:
        """Compare with the content manifest, or else with the baseline, and look for what is broken.

        :param baseline: from before the migration.
        :param own_checks: of the rollback manifest, validated.
        """
        with self._sessions(self.jobs) as connections:
            manifest = manifest_path(Path(self.backup.location))
            if manifest.exists():
                self.progress("comparing with the content manifest", None)
                self.checks += compare(read_manifest(manifest), connections, self.progress)
            elif baseline is not None:
                self.progress("comparing with the baseline", None)
                self.checks.append(beside_baseline(connections[0], baseline, _TOLERANCE))
            else:
                self.progress("counting rows", None)
                self.checks.append(_counted(connections[0]))
            self.checks += run_own_checks(connections[0], own_checks)
        self.progress("looking for what is broken", None)
        self.checks += self._post_rollback_checks()

    def _post_rollback_checks(self) -> list[Check]:
        """What they find may have been so when the backup was taken, so it is a reservation and no fault."""
        connections = Connections({**self.login, "login_db": self.name})
        try:
            results, _not_configured = run_checks(
                Context(connections, dict(_NOTHING_KNOWN), _CHECK_TIMEOUT), "immediate"
            )
        finally:
            connections.close()
        statuses = {SOUND: PASSED, FAILED: DEGRADED, WARNED: DEGRADED}
        return [
            Check(f"verify: {each.name}", statuses.get(each.status, SKIPPED), each.message, each.seconds)
            for each in results
        ]


@dataclass(frozen=True)
class _Server:
    """The live server, as dump_loading takes it."""

    restoring: Restoring
    session: Any

    def program(self, name: str, *arguments: str) -> list[str]:
        return [str(self.restoring.bindir / name), *arguments]

    def watch(self) -> Any:
        return self.restoring.connect(self.session.info.dbname)

    def require_reserve(self) -> None:
        self.restoring.space.require_reserve()

    def abort(self) -> None:
        drop_database(self.session, self.restoring.name)


def drop_database(session: Any, name: str) -> None:
    """With all sessions in it.

    :param session: in autocommit mode, to another database.
    """
    with session.cursor() as cursor:
        cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _analyze(connection: Any, table: tuple[str, str]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(*table)))


def _counted(connection: Any) -> Check:
    """Where nothing else tells what should be in it."""
    counts = count_rows(connection)
    rows = sum(counts.values())
    if not rows:
        return Check("rows", FAULTY, "There is not a single row in it.")
    missing = "there is no content manifest and no baseline to compare it with"
    return Check("rows", SKIPPED, f"{rows:,} rows in {len(counts)} tables; {missing}.")
