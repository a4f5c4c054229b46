# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Evidence of verifications: only a drill that restored this backup leaves any, and none that was touched is taken."""

from __future__ import annotations

import json
import multiprocessing
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.backup_records import (
    latest_drill,
    read_history,
    write_record,
)
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError

NOW = datetime(2026, 1, 2, 3, 0, tzinfo=UTC)
DAY = timedelta(days=1)


def rung(name: str, status: str, seconds: float = 0.0) -> dict[str, Any]:
    return {"name": name, "status": status, "changed": False, "message": "", "details": {"seconds": seconds}}


def record(run_id: str = "r1", drill: str = "ok", verdict: str = "ok", **other: Any) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "run_id": run_id,
        "host": "db1",
        "source": "pg_dump",
        "database": "app",
        "started": "2026-01-02T01:00:00Z",
        "finished": "2026-01-02T02:00:00Z",
        "verdict": verdict,
        "backup": {"id": "a.dump", "finished_at": "2026-01-01T23:00:00Z", "size_bytes": 1000},
        "age_seconds": 7200,
        "rungs": [rung("exists", "ok"), rung("drill", drill, 12.5)],
        "restore": {"seconds": 9.0, "bytes": 5000, "bytes_per_second": 555, "rows": 42},
        "missing_extensions": [],
        "versions": {"postgres": "15.18"},
        **other,
    }


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "artifacts" / "db1" / "backup"


def refusal(directory: Path, max_age: timedelta = DAY, now: datetime = NOW) -> str:
    with pytest.raises(RollbackError) as error:
        latest_drill(directory, max_age, now)
    return error.value.code


@pytest.mark.parametrize("drill", ["ok", "degraded"])
def test_a_drill_that_succeeded_is_evidence(directory: Path, drill: str) -> None:
    made = record(drill=drill, verdict=drill)
    assert write_record(directory, made) == directory / "drill-r1.json"
    assert latest_drill(directory, DAY, NOW) == made
    assert (directory / "latest-drill.json").readlink() == Path("drill-r1.json")


@pytest.mark.parametrize(
    "other",
    [
        {"drill": "failed", "verdict": "failed"},
        {"drill": "skipped", "verdict": "incomplete"},
        {"drill": "refused", "verdict": "refused"},
        {"drill": "ok", "verdict": "failed"},
        {"rungs": [rung("exists", "ok"), rung("integrity", "ok")]},
        {"rungs": []},
        # A look at the record of an earlier drill: nothing was restored.
        {"restore": None},
        {"backup": None},
    ],
)
def test_nothing_else_is(directory: Path, other: dict[str, Any]) -> None:
    assert write_record(directory, record(**other)) == directory / "history.json"
    assert {path.name for path in directory.iterdir()} == {"history.json"}
    assert refusal(directory) == "drill_missing"


def test_everything_is_private_and_nothing_is_left_over(directory: Path) -> None:
    write_record(directory, record())
    for path in (directory, directory.parent, directory.parent.parent):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.lstat().st_mode) for path in directory.iterdir() if not path.is_symlink()}
    assert modes == {"history.json": 0o600, "drill-r1.json": 0o600}


def test_the_history_tells_the_last_fifty_runs_newest_first(directory: Path) -> None:
    for number in range(52):
        write_record(directory, record(f"r{number}"))
    history = read_history(directory)
    assert [run["run_id"] for run in history] == [f"r{number}" for number in range(51, 1, -1)]
    assert history[0] == {
        "run_id": "r51", "source": "pg_dump", "database": "app", "finished": "2026-01-02T02:00:00Z", "verdict": "ok",
        "backup_id": "a.dump",
        "backup_finished": "2026-01-01T23:00:00Z", "age_seconds": 7200, "size_bytes": 1000, "drill_seconds": 12.5,
    }  # fmt: skip


def test_a_run_without_a_backup_is_history_too(directory: Path) -> None:
    nothing = record(verdict="failed", backup=None, age_seconds=None, rungs=[rung("exists", "failed")], restore=None)
    write_record(directory, nothing)
    (run,) = read_history(directory)
    assert (run["verdict"], run["backup_id"], run["size_bytes"], run["drill_seconds"]) == ("failed", None, None, None)


def test_no_history_is_none(directory: Path) -> None:
    assert read_history(directory) == []


@pytest.mark.parametrize("text", ["", "{", '{"a": 1}', "[1]", '"x"'])
def test_a_damaged_history_is_said_and_put_aside_by_the_next_run(directory: Path, text: str) -> None:
    write_record(directory, record())
    (directory / "history.json").write_text(text, encoding="utf-8")
    with pytest.raises(RollbackError) as error:
        read_history(directory)
    assert error.value.code == "history_unreadable"
    assert refusal(directory) == "history_unreadable"
    write_record(directory, record("r2"))
    assert [run["run_id"] for run in read_history(directory)] == ["r2"]
    assert (directory / "history.json.damaged").read_text(encoding="utf-8") == text


def test_runs_that_end_at_once_are_all_recorded(directory: Path) -> None:
    fork = multiprocessing.get_context("fork")
    runs = [fork.Process(target=write_record, args=(directory, record(f"r{number}"))) for number in range(8)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert {run["run_id"] for run in read_history(directory)} == {f"r{number}" for number in range(8)}
    assert latest_drill(directory, DAY, NOW)["run_id"] == read_history(directory)[0]["run_id"]


@pytest.mark.parametrize(
    ("after", "code"),
    [
        (timedelta(hours=24), None),
        (timedelta(hours=24, seconds=1), "drill_stale"),
        (timedelta(minutes=-4), None),
        (timedelta(minutes=-6), "drill_unreadable"),
    ],
)
def test_a_drill_counts_for_its_time(directory: Path, after: timedelta, code: str | None) -> None:
    write_record(directory, record())
    now = datetime(2026, 1, 2, 2, 0, tzinfo=UTC) + after
    if code:
        assert refusal(directory, DAY, now) == code
    else:
        assert latest_drill(directory, DAY, now)["run_id"] == "r1"


@pytest.mark.parametrize("run_id", ["r2", "r1"])
def test_a_later_run_that_finds_fault_with_the_backup_voids_its_drill(directory: Path, run_id: str) -> None:
    write_record(directory, record())
    write_record(directory, record(run_id, "failed", "failed", finished="2026-01-02T02:30:00Z"))
    assert refusal(directory) == "drill_stale"


def test_a_later_run_that_finds_no_backup_voids_the_drill(directory: Path) -> None:
    write_record(directory, record())
    write_record(directory, record("r2", "skipped", "failed", backup=None))
    assert refusal(directory) == "drill_stale"


@pytest.mark.parametrize("failed", ["freshness", "integrity", "drill"])
def test_a_later_run_that_finds_fault_with_a_newer_backup_voids_the_drill(directory: Path, failed: str) -> None:
    write_record(directory, record())
    newer = {"id": "b.dump", "finished_at": "2026-01-02T02:10:00Z", "size_bytes": 1}
    write_record(directory, record("r2", verdict="failed", backup=newer, rungs=[rung(failed, "failed")]))
    with pytest.raises(RollbackError, match=r"the later run r2 found fault with b\.dump"):
        latest_drill(directory, DAY, NOW)


@pytest.mark.parametrize(
    "other",
    [
        {"verdict": "incomplete"},
        {"verdict": "failed", "source": "pgbackrest"},
        {"verdict": "failed", "database": "other"},
    ],
)
def test_a_run_that_found_no_fault_or_looked_elsewhere_does_not(directory: Path, other: dict[str, Any]) -> None:
    write_record(directory, record())
    write_record(directory, record("r2", "skipped", **other))
    assert latest_drill(directory, DAY, NOW)["run_id"] == "r1"


@pytest.mark.parametrize("key", ["source", "database"])
def test_a_fault_that_does_not_say_where_counts(directory: Path, key: str) -> None:
    """A history of an earlier release does not, nor does a run that takes dumps of any database."""
    write_record(directory, record())
    write_record(directory, record("r2", "skipped", "failed", **{key: None}))
    assert refusal(directory) == "drill_stale"


def test_a_fault_before_the_drill_does_not(directory: Path) -> None:
    write_record(directory, record("r0", "failed", "failed"))
    write_record(directory, record())
    assert latest_drill(directory, DAY, NOW)["run_id"] == "r1"


def edited(key: str, value: Any) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        content = json.loads(path.read_text(encoding="utf-8"))
        content[key] = value
        path.write_text(json.dumps(content), encoding="utf-8")

    return edit


def without(key: str) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        content = json.loads(path.read_text(encoding="utf-8"))
        del content[key]
        path.write_text(json.dumps(content), encoding="utf-8")

    return edit


def replaced_by(text: bytes) -> Callable[[Path], None]:
    def replace(path: Path) -> None:
        path.write_bytes(text)

    return replace


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize(
    "tamper",
    [
        edited("finished", "2026-01-02T02:59:00Z"),
        edited("backup", {"id": "other.dump"}),
        edited("missing_extensions", ["postgis"]),
        edited("schema_version", 2),
        edited("sha256", "0" * 64),
        edited("extra", 1),
        without("sha256"),
        without("restore"),
        truncated,
        replaced_by(b""),
        replaced_by(b"[]"),
        replaced_by(b"null"),
        replaced_by(b"\xff\xfe"),
    ],
)
def test_a_record_that_was_touched_is_not_taken(directory: Path, tamper: Callable[[Path], None]) -> None:
    tamper(write_record(directory, record()))
    assert refusal(directory) == "drill_unreadable"


@pytest.mark.parametrize("target", ["../../../elsewhere.json", "history.json", "drill-../x.json", "/etc/passwd"])
def test_a_link_that_leads_elsewhere_is_not_followed(directory: Path, target: str) -> None:
    write_record(directory, record())
    link = directory / "latest-drill.json"
    link.unlink()
    link.symlink_to(target)
    assert refusal(directory) == "drill_unreadable"


def test_a_file_in_place_of_the_link_is_not_taken(directory: Path) -> None:
    path = write_record(directory, record())
    path.replace(directory / "latest-drill.json")
    assert refusal(directory) == "drill_unreadable"


def test_a_record_that_was_removed_is_missing(directory: Path) -> None:
    write_record(directory, record()).unlink()
    assert refusal(directory) == "drill_missing"


def test_a_run_id_cannot_lead_elsewhere(directory: Path) -> None:
    with pytest.raises(RollbackError) as error:
        write_record(directory, record("../x"))
    assert error.value.code == "unsafe_name"


def test_a_directory_that_cannot_be_written_is_said(directory: Path) -> None:
    directory.parent.mkdir(parents=True)
    directory.write_text("in the way", encoding="utf-8")
    with pytest.raises(RollbackError) as error:
        write_record(directory, record())
    assert error.value.code == "records_unwritable"
