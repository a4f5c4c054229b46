# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sums as sha256sum itself records them, of one file, of several, and of a directory."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_backup_verify import checks, verify
from tests.support.database import TestDatabase
from tests.support.dumps import take_dump
from tests.support.modules import ModuleRun


def record(directory: Path, name: str, *files: str) -> None:
    summed = subprocess.run(["sha256sum", *files], cwd=directory, check=True, capture_output=True, text=True)
    (directory / name).write_text(summed.stdout)


def set_system(path: Path) -> None:
    """Say that the file was packed on another system, which nobody but its sum tells of."""
    content = bytearray(path.read_bytes())
    content[9] ^= 1
    path.write_bytes(content)


def sha256(run: ModuleRun) -> str:
    return checks(run).get("sha256", "none")


def test_the_line_of_the_dump_counts(database: TestDatabase, tmp_path: Path) -> None:
    path = take_dump(database, tmp_path, "custom")
    (tmp_path / "another.sql").write_text("-- of the same job")
    record(tmp_path, "app.dump.sha256", "another.sql", "app.dump")
    assert sha256(verify(path, "integrity")) == "passed"

    record(tmp_path, "app.dump.sha256", "another.sql", "app.dump.sha256")
    run = verify(path, "integrity")
    assert (run["verdict"], sha256(run)) == ("ok", "skipped")
    # The one line of a dump that was renamed is of it nevertheless.
    record(tmp_path, "app.dump.sha256", "another.sql")
    assert sha256(verify(path, "integrity")) == "failed"


@pytest.mark.parametrize(
    ("spoil", "status", "said"),
    [
        (lambda path: None, "passed", "is whole"),
        (lambda path: set_system(next(path.glob("*.dat.gz"))), "failed", "dat.gz): changed since"),
        (lambda path: (path / "note.txt").write_text("x"), "degraded", "no sum of note.txt"),
        (lambda path: next(path.glob("*.dat.gz")).unlink(), "failed", "is missing"),
    ],
)
def test_the_files_of_a_directory(
    database: TestDatabase, tmp_path: Path, spoil: Callable[[Path], Any], status: str, said: str
) -> None:
    database.query("CREATE TABLE people (name text); INSERT INTO people VALUES ('alice')")
    path = take_dump(database, tmp_path, "directory")
    record(tmp_path, "app.dir.sha256", *(str(file.relative_to(tmp_path)) for file in path.iterdir()))
    spoil(path)
    run = verify(path, "integrity")
    assert sha256(run) == status, run["steps"]
    assert said in str(run["steps"])
