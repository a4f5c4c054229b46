# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A drill that is given too little time says so, and cleans up all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.test_backup_verify import app, checks, drill_place, statuses, verify  # noqa: F401
from tests.support.database import TestDatabase
from tests.support.dumps import take_dump


@pytest.mark.parametrize("seconds", [1, 3])
def test_it_cleans_up(app: TestDatabase, tmp_path: Path, drill_place: Path, seconds: int) -> None:  # noqa: F811
    """Whatever it was about to do: the time ends at another place each time, at the last while a program is at work."""
    path = take_dump(app, tmp_path, "plain")
    end = "--\n-- PostgreSQL database dump complete"
    path.write_text(path.read_text().replace(end, f"SELECT pg_catalog.pg_sleep(100);\n\n{end}"))
    run = verify(path, drill_timeout=f"{seconds}s", drill_directory=str(drill_place))
    assert statuses(run)["drill"] == "failed"
    assert checks(run).get("cleanup", "passed") == "passed", run["steps"][-1]
    assert f"took longer than {seconds} s and was ended" in run["msg"]
    assert "backup_verification_drill_timeout" in run["msg"]
    assert list(drill_place.iterdir()) == []
