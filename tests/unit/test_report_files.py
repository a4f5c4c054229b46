# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reports on disk: private, whole or not at all, and only where they belong."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.report_files import (
    read_latest,
    run_directory,
    write_file,
    write_report,
)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_everything_is_private(tmp_path: Path) -> None:
    directory = run_directory(str(tmp_path / "artifacts"), "db1", "run-1")
    write_report(directory, {"report.json": "{}", "report.md": "x"})
    assert [mode(path) for path in (directory, directory.parent, directory.parent.parent)] == [0o700] * 3
    assert {path.name: mode(path) for path in directory.iterdir()} == {"report.json": 0o600, "report.md": 0o600}


def test_latest_is_a_relative_link_to_the_newest_run(tmp_path: Path) -> None:
    for run_id in ("run-2", "run-1"):
        write_report(run_directory(str(tmp_path), "db1", run_id), {"report.json": f'{{"run_id": "{run_id}"}}'})
    assert (tmp_path / "db1" / "latest").readlink() == Path("run-1")
    assert read_latest(str(tmp_path), "db1")[1] == {"run_id": "run-1"}
    assert {path.name for path in (tmp_path / "db1").iterdir()} == {"run-1", "run-2", "latest"}


def test_a_failed_write_leaves_the_report_before_and_no_rubbish(tmp_path: Path) -> None:
    write_report(run_directory(str(tmp_path), "db1", "run-1"), {"report.json": "{}"})
    directory = run_directory(str(tmp_path), "db1", "run-2")
    # A directory in the way of the second file: root is stopped by it too.
    (directory / "report.md").mkdir(parents=True)
    with pytest.raises(RollbackError) as error:
        write_report(directory, {"report.json": "{}", "report.md": "x"})
    assert error.value.code == "artifacts_unwritable"
    assert (tmp_path / "db1" / "latest").readlink() == Path("run-1")
    assert {path.name for path in directory.iterdir()} == {"report.json", "report.md"}


def test_a_run_id_used_again_replaces_its_report(tmp_path: Path) -> None:
    directory = run_directory(str(tmp_path), "db1", "run-1")
    for text in ("old and longer", "new"):
        write_report(directory, {"report.md": text})
    assert (directory / "report.md").read_text(encoding="utf-8") == "new"


def test_a_file_for_others_gets_its_mode_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write_file(tmp_path / "x.prom", "x", mode=0o644)
    finally:
        os.umask(before)
    assert mode(tmp_path / "x.prom") == 0o644


@pytest.mark.parametrize("host", ["", ".", "..", "../x", "a/b", "/etc", ".hidden", "a\nb", "a\0b"])
def test_a_host_name_cannot_lead_elsewhere(host: str) -> None:
    with pytest.raises(RollbackError) as error:
        run_directory("/artifacts", host, "run-1")
    assert error.value.code == "unsafe_name"


@pytest.mark.parametrize(
    "run_id", ["", ".", "..", "../x", "a/b", "-x", ".x", "a b", "a\n", "x" * 129, "latest", "baselines", "backup"]
)
def test_a_run_id_cannot_lead_elsewhere(run_id: str) -> None:
    with pytest.raises(RollbackError) as error:
        run_directory("/artifacts", "db1", run_id)
    assert error.value.code == "unsafe_name"


@pytest.mark.parametrize("host", ["db1", "db-1.example.com", "kunde_ü", "10.0.0.1", "fe80::1"])
def test_ordinary_host_names_are_taken(host: str) -> None:
    run_id = "20260101T000000Z-1a2b"
    assert run_directory("/artifacts", host, run_id) == Path("/artifacts", host, run_id)


def test_a_relative_directory_is_refused() -> None:
    with pytest.raises(RollbackError) as error:
        run_directory("artifacts", "db1", "run-1")
    assert error.value.code == "artifacts_dir_relative"


@pytest.mark.parametrize(("text", "code"), [(None, "report_missing"), ("{", "report_unreadable")])
def test_no_report_to_show_is_said(tmp_path: Path, text: str | None, code: str) -> None:
    if text:
        write_report(run_directory(str(tmp_path), "db1", "run-1"), {"report.json": text})
    with pytest.raises(RollbackError) as error:
        read_latest(str(tmp_path), "db1")
    assert error.value.code == code
