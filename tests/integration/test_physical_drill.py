# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The whole ladder on data directories: pg_basebackup, pgBackRest and Barman themselves."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.backup import PhysicalSource, SourceSettings
from ansible_collections.pgops.rollback.plugins.module_utils.backup_pg_basebackup import PgBasebackup
from ansible_collections.pgops.rollback.plugins.module_utils.backup_records import latest_drill
from ansible_collections.pgops.rollback.plugins.module_utils.backup_verification import Verification, verify
from ansible_collections.pgops.rollback.plugins.module_utils.drill_options import Drilled, DrillOptions
from ansible_collections.pgops.rollback.plugins.module_utils.restore_drill import drill
from ansible_collections.pgops.rollback.plugins.module_utils.system_user import system_user
from tests.support.backup_tools import (
    Store,
    barman_store,
    needs_barman,
    needs_pgbackrest,
    pgbackrest_store,
    silent,
    tool_directory,
    wal_flipped,
)
from tests.support.base_backups import fill_table, flip, take_base_backup
from tests.support.database import WHEELS, TestCluster, TestDatabase

STORES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "pgbackrest": pgbackrest_store,
    "barman": barman_store,
}


@pytest.fixture(
    scope="module",
    params=[pytest.param("pgbackrest", marks=needs_pgbackrest), pytest.param("barman", marks=needs_barman)],
)
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    with STORES[request.param]() as made:
        yield made


def options(**given: Any) -> DrillOptions:
    return DrillOptions(user=system_user(), wheels=WHEELS, **given)


def climb(
    source: PhysicalSource, database: str, records: Path | None = None, live: dict[str, Any] | None = None
) -> dict[str, Any]:
    asked = Verification(
        run_id="one", host="here", source=source.name, database=database, up_to="drill", max_age=timedelta(hours=1),
        drill=options(database=database, live=live), records=records,
    )  # fmt: skip
    return verify(source, asked, silent)


def checks(result: dict[str, Any]) -> dict[str, str]:
    return {check["name"]: check["status"] for check in result["steps"][-1]["details"]["checks"]}


def statuses(result: dict[str, Any]) -> dict[str, str]:
    return {step["name"]: step["status"] for step in result["steps"]}


def message(drilled: Drilled) -> str:
    return f"{drilled.rung.status}: {drilled.rung.message}"


PASSED = {"exists": "ok", "freshness": "ok", "integrity": "ok", "drill": "ok"}


def test_the_ladder_on_a_tool_s_backup(store: Store, tmp_path: Path) -> None:
    source = store.source()
    result = climb(source, "app", records=tmp_path)
    assert statuses(result) == PASSED, result["msg"]
    found = checks(result)
    assert [found[name] for name in ("isolated", "recovery", "indexes", "amcheck", "cleanup")] == ["passed"] * 5
    # The rows of the moment of the backup: they were deleted since.
    assert result["restore"]["rows"] > 1000
    record = latest_drill(tmp_path, timedelta(hours=1), datetime.now(UTC))
    assert record["versions"].keys() == {source.name, "postgres"}
    assert re.fullmatch(r"\d+\.\d+(\.\d+)*", record["versions"][source.name])


def test_a_wal_segment_that_is_damaged_fails_the_drill(store: Store) -> None:
    """pgBackRest's and Barman's restore do not notice it: the server does."""
    with tool_directory() as directory:
        damaged = store.copy(directory)
        source, backup = damaged.newest()
        wal_flipped(damaged, backup)
        drilled = drill(source, backup, options(database="app"), silent)
    assert drilled.rung.status == "failed", message(drilled)
    assert "did not start" in drilled.rung.message
    assert not [check for check in drilled.rung.checks if check.name == "cleanup" and check.status != "passed"]


@pytest.mark.parametrize("form", ["plain", "tar-gzip"])
def test_the_ladder_on_a_base_backup(database: TestDatabase, cluster: TestCluster, tmp_path: Path, form: str) -> None:
    heap = fill_table(database)
    taken = take_base_backup(cluster, tmp_path / "base", form, heap)
    result = climb(base_backups(taken.directory), database.name)
    assert statuses(result) == PASSED, result["msg"]
    assert checks(result)["recovery"] == "passed"
    assert result["restore"]["rows"] >= 20_000


def test_beside_the_live_cluster(
    store: Store, database: TestDatabase, cluster: TestCluster, tmp_path: Path
) -> None:
    """Which cluster a data directory is of, its system identifier tells."""
    live = database.login("postgres")
    other = climb(store.source(), "app", live=live)
    assert (statuses(other)["drill"], checks(other)["live"]) == ("failed", "failed")
    assert "It is a backup of another cluster" in other["msg"]

    heap = fill_table(database)
    database.query("ANALYZE")
    taken = take_base_backup(cluster, tmp_path / "base", "plain", heap)
    own = climb(base_backups(taken.directory), database.name, live=live)
    assert (statuses(own), checks(own)["live"]) == (PASSED, "passed"), own["msg"]


def test_a_page_that_amcheck_sees(database: TestDatabase, cluster: TestCluster, tmp_path: Path) -> None:
    """Without the rung before it, which compares checksums: the drill alone finds a damaged page, too."""
    heap = fill_table(database)
    taken = take_base_backup(cluster, tmp_path / "base", "plain", heap)
    for offset in range(8192 * 3 + 8000, 8192 * 3 + 8192, 8):
        flip(taken.directory / heap, offset)
    for offset in range(8192 * 3 + 24, 8192 * 3 + 64, 4):
        flip(taken.directory / heap, offset)
    source = base_backups(taken.directory)
    (backup,) = source.backups()
    drilled = drill(source, source.inspect(backup), options(database=database.name), silent)
    assert drilled.rung.status == "failed", message(drilled)


def test_a_cluster_without_the_database(database: TestDatabase, cluster: TestCluster, tmp_path: Path) -> None:
    taken = take_base_backup(cluster, tmp_path / "base", "plain", fill_table(database, 100))
    result = climb(base_backups(taken.directory), "nowhere")
    assert statuses(result)["drill"] == "failed"
    assert "There is no database nowhere in it." in result["msg"]


def base_backups(path: Path) -> PgBasebackup:
    return PgBasebackup(SourceSettings(system_user(), timeout=120, path=str(path), wheels=WHEELS))


def test_the_canary(database: TestDatabase, cluster: TestCluster, tmp_path: Path) -> None:
    """The first run finds none and writes one; a backup taken then has it, unless somebody restored an older state."""
    heap = fill_table(database, 100)
    live = database.login("postgres")
    first = take_base_backup(cluster, tmp_path / "first", "plain", heap)
    assert canary(first.directory, database.name, live) == "skipped"
    assert database.value("SELECT count(*) FROM pgops_rollback_canary", user="postgres") == 1

    # The manifest tells when a backup began to the second.
    earlier = "UPDATE pgops_rollback_canary SET written_at = written_at - interval '1 minute'"
    database.query(earlier, user="postgres")
    second = take_base_backup(cluster, tmp_path / "second", "plain", heap)
    assert canary(second.directory, database.name, live) == "passed"

    database.query(earlier, user="postgres")
    assert canary(second.directory, database.name, live) == "failed"


def canary(directory: Path, database: str, live: dict[str, Any]) -> str:
    source = base_backups(directory)
    (backup,) = source.backups()
    found = drill(source, source.inspect(backup), options(database=database, canary=live), silent)
    return next(check.status for check in found.rung.checks if check.name == "canary")


def test_rows_that_break_a_constraint(database: TestDatabase, cluster: TestCluster, tmp_path: Path) -> None:
    """A copy of files brings them along; nobody checks them but the drill."""
    database.query(
        "CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (parent int REFERENCES parent);"
        " INSERT INTO parent VALUES (1); INSERT INTO child VALUES (1)",
        user="postgres",
    )
    database.query("SET session_replication_role = replica; DELETE FROM parent", user="postgres")
    taken = take_base_backup(cluster, tmp_path / "base", "plain", fill_table(database, 100))
    result = climb(base_backups(taken.directory), database.name)
    assert (result["verdict"], checks(result)["constraints"]) == ("degraded", "degraded")
    assert "child_parent_fkey of public.child" in result["msg"]
    assert "Production may have them so, too." in result["msg"]
