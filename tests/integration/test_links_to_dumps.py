# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A link such as latest.dump is the dump it leads to, with all that lies beside that."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.integration.test_backup_verify import checks, verify
from tests.support.database import TestDatabase
from tests.support.dumps import take_dump_with_manifest


def with_one_row_changed(database: TestDatabase, directory: Path) -> Path:
    """A dump whose manifest and sum would tell, at the time it had."""
    database.query("CREATE TABLE people (name text); INSERT INTO people VALUES ('alice')")
    dump = take_dump_with_manifest(database, directory, "custom-z0")
    written = dump.stat().st_mtime
    dump.write_bytes(dump.read_bytes().replace(b"alice\n", b"alicf\n"))
    os.utime(dump, (written, written))
    return dump


@pytest.mark.parametrize("given", ["", "latest.dump", "*.dump"])
def test_a_link_does_not_switch_the_manifest_off(database: TestDatabase, tmp_path: Path, given: str) -> None:
    """However it is found: in a directory, by its own name, by a glob."""
    dump = with_one_row_changed(database, tmp_path / "dumps")
    link = dump.with_name("latest.dump")
    link.symlink_to(dump.name)
    run = verify(dump.parent / given, "integrity")
    assert (run.failed, checks(run)["manifest_sha256"]) == (True, "failed")
    assert run["backup"]["id"] == dump.name
    assert given == "latest.dump" or "the newest of 1" in run["steps"][0]["message"]


def test_what_lies_beside_the_link_alone_counts(database: TestDatabase, tmp_path: Path) -> None:
    dump = with_one_row_changed(database, tmp_path / "dumps")
    link = tmp_path / "latest.dump"
    link.symlink_to(dump)
    link.with_name("latest.dump.sha256").write_text(f"{'0' * 64}  latest.dump\n")
    found = checks(verify(link, "integrity"))
    assert (found["sha256"], found["manifest_sha256"]) == ("failed", "failed")


def test_a_link_that_leads_to_itself(tmp_path: Path) -> None:
    (tmp_path / "latest.dump").symlink_to("latest.dump")
    run = verify(tmp_path, "exists")
    assert "There is no backup." in run["msg"]
    assert verify(tmp_path / "latest.dump", "exists").failed
