# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Physical backups bring along what production set for its sessions, which is nothing to the drill's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.test_physical_drill import base_backups, checks, climb, statuses
from tests.support.base_backups import fill_table, take_base_backup
from tests.support.database import TestCluster, TestDatabase

#: Each would keep the drill from its work.
SETTINGS = ("statement_timeout = 1", "default_transaction_read_only = on", "role = 'pg_monitor'",
            "idle_in_transaction_session_timeout = 1", "lock_timeout = 1")  # fmt: skip

NO_DDL = """
CREATE FUNCTION no_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
CREATE EVENT TRIGGER no_ddl ON ddl_command_start EXECUTE FUNCTION no_ddl()
"""


@pytest.mark.parametrize("library", [False, True])
def test_settings_of_production_s_sessions(
    database: TestDatabase, cluster: TestCluster, tmp_path: Path, library: bool
) -> None:
    """A table large enough for a check of it to take longer than production allows."""
    heap = fill_table(database)
    database.query(NO_DDL, user="postgres")
    elsewhere = cluster.connect("postgres").cursor()
    settings = ("session_preload_libraries = nowhere, auto_explain",) if library else SETTINGS
    for setting in settings:
        elsewhere.execute(f'ALTER DATABASE "{database.name}" SET {setting}')
    try:
        taken = take_base_backup(cluster, tmp_path / "base", "plain", heap)
    finally:
        elsewhere.execute(f'ALTER DATABASE "{database.name}" RESET ALL')
    result = climb(base_backups(taken.directory), database.name)
    assert statuses(result)["drill"] == ("degraded" if library else "ok"), result["msg"]
    found = checks(result)
    assert [found[name] for name in ("recovery", "constraints", "amcheck", "cleanup")] == ["passed"] * 4
    assert found.get("libraries") == ("degraded" if library else None)
    assert not library or "load nowhere, which is not installed here" in result["msg"]
