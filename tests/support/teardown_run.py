# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The modules of a teardown as a role calls them: planned, confirmed, carried out, undone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.catalog_snapshot import read_snapshot
from tests.support.database import TestDatabase
from tests.support.modules import ModuleRun, run_module
from tests.support.teardown import COACHING


def options(database: TestDatabase, **more: Any) -> dict[str, Any]:
    return {**database.login(), "manifest": COACHING, "allow_unknown_provenance": True, **more}


def token_of(database: TestDatabase, **more: Any) -> str:
    """Of a plan that nothing stands in the way of."""
    run = run_module("teardown_plan", options(database, **more))
    assert run["plan"]["blockers"] == []
    token: str = run["token"]
    return token


def tear_down(
    database: TestDatabase, artifacts: Path, token: str, run_id: str = "run-1", check: bool = False, **more: Any
) -> ModuleRun:
    return run_module("teardown", tear_down_options(database, artifacts, token, run_id, **more), check=check)


def tear_down_options(
    database: TestDatabase, artifacts: Path, token: str, run_id: str = "run-1", **more: Any
) -> dict[str, Any]:
    return options(database, **{
        "confirm": token, "batch": {"db1": token}, "host": "db1", "artifacts_dir": str(artifacts), "run_id": run_id,
        **more,
    })  # fmt: skip


def undo(database: TestDatabase, artifacts: Path, **more: Any) -> ModuleRun:
    return run_module("teardown_undo", undo_options(database, artifacts, **more))


def undo_options(database: TestDatabase, artifacts: Path, **more: Any) -> dict[str, Any]:
    return {**database.login(), "host": "db1", "artifacts_dir": str(artifacts), **more}


def state(database: TestDatabase) -> tuple[Any, ...]:
    """Catalogs, rows, their sums, and sequences."""
    connection = database.superuser()
    snapshot = read_snapshot(connection, "exact", checksums=True)
    connection.close()
    return snapshot.fingerprint, snapshot.rows, snapshot.checksums, snapshot.sequences
