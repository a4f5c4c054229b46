# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""WAL-G, by a stand-in that speaks its documented answers and really fetches backups and WAL."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.backup import (
    COMPLETE,
    DEGRADED,
    FAULTY,
    PASSED,
    SKIPPED,
    Check,
    SourceSettings,
)
from ansible_collections.pgops.rollback.plugins.module_utils.backup_walg import WalG
from ansible_collections.pgops.rollback.plugins.module_utils.connection import connect
from ansible_collections.pgops.rollback.plugins.module_utils.disposable_states import Request
from ansible_collections.pgops.rollback.plugins.module_utils.drill_server import (
    ISOLATED,
    drill_directory,
    drill_server,
)
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.physical_restore import RECOVERY, make_safe
from ansible_collections.pgops.rollback.plugins.module_utils.system_user import system_user
from tests.support.base_backups import accepts, fill_table, take_base_backup
from tests.support.database import ROOT, WHEELS, TestCluster, TestDatabase
from tests.support.waiting import until

#: A backup as WAL-G 3.0 lists it.
LISTED: dict[str, Any] = {
    "backup_name": "base_00000001000000000000000D",
    "time": "2026-07-29T18:32:31.966944166Z",
    "wal_file_name": "00000001000000000000000D",
    "storage_name": "default",
    "start_time": "2026-07-29T18:32:30.695584Z",
    "finish_time": "2026-07-29T18:32:31.935202Z",
    "hostname": "source",
    "data_dir": "/var/lib/postgresql/data",
    "pg_version": 180004,
    "start_lsn": 218103848,
    "finish_lsn": 218104096,
    "is_permanent": False,
    "system_identifier": 7666231112345678901,
    "uncompressed_size": 41943040,
    "compressed_size": 5242880,
}


@dataclass(frozen=True)
class Storage:
    """:ivar directory: what the stand-in works on; any user may read it."""

    directory: Path

    def source(self, timeout: int = 60) -> WalG:
        return WalG(SourceSettings(system_user(), timeout, config=str(self.config)))

    @property
    def config(self) -> Path:
        return self.directory / "it's 100%p walg.json"

    def lists(self, *backups: dict[str, Any]) -> None:
        (self.directory / "backups.json").write_text(json.dumps(backups))

    def verifies(self, integrity: Any, timeline: str = "OK") -> None:
        (self.directory / "verify.json").write_text(
            json.dumps({"integrity": integrity, "timeline": {"status": timeline, "details": {}}})
        )

    def checked(self) -> dict[str, Check]:
        source = self.source()
        return {check.name: check for check in source.integrity(source.backups()[0], ignored)}


def ignored(_text: str, _fraction: float | None) -> None:
    """Progress nobody asks for."""


def span(first: str, last: str, status: str = "FOUND") -> dict[str, Any]:
    """A line of wal-verify: segments of timeline 1 below 256."""
    names = {f"{end}_segment": f"00000001{0:08X}{number:0>8}" for end, number in (("start", first), ("end", last))}
    return {"timeline_id": 1, **names, "segments_count": int(last, 16) - int(first, 16) + 1, "status": status}


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    with tempfile.TemporaryDirectory(prefix="pgops-walg-") as name:
        place = Path(name)
        place.chmod(0o755)
        (place / "bin").mkdir()
        program = place / "bin" / "wal-g"
        stand_in = (ROOT / "tests/support/wal_g").read_text(encoding="utf-8")
        program.write_text(f"#!/usr/bin/env python3\n{stand_in}", encoding="utf-8")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{place / 'bin'}:/usr/local/bin:/usr/bin:/bin")
        made = Storage(place)
        made.config.write_text(json.dumps({"WALG_FILE_PREFIX": name}))
        yield made


# Listing --------------------------------------------------------------------------------------------------------------


def test_a_backup_is_described(storage: Storage) -> None:
    storage.lists(LISTED)
    (found,) = storage.source().backups()
    assert (found.id, found.kind, found.status) == (LISTED["backup_name"], "physical", COMPLETE)
    assert found.started_at == datetime(2026, 7, 29, 18, 32, 30, 695584, UTC)
    assert found.finished_at == datetime(2026, 7, 29, 18, 32, 31, 935202, UTC)
    assert (found.server_major, found.system_id) == (18, "7666231112345678901")
    assert (found.size_bytes, found.database_bytes) == (5242880, 41943040)
    assert (found.wal_start, found.wal_stop) == (LISTED["wal_file_name"], LISTED["wal_file_name"])


def test_the_recorded_answer_is_understood(storage: Storage) -> None:
    """Without sizes and system identifier, as WAL-G before they were added."""
    storage.lists({name: value for name, value in LISTED.items()
                   if name not in ("system_identifier", "uncompressed_size", "compressed_size")})  # fmt: skip
    (found,) = storage.source().backups()
    assert (found.size_bytes, found.database_bytes, found.system_id) == (None, None, None)


def test_segments_of_another_size(storage: Storage) -> None:
    storage.lists({**LISTED, "wal_file_name": "000000010000000000000003", "start_lsn": (3 << 26) + 40,
                   "finish_lsn": 5 << 26})  # fmt: skip
    (found,) = storage.source().backups()
    assert found.wal_stop == "000000010000000000000004"


def test_no_backups_are_no_error(storage: Storage) -> None:
    assert storage.source().backups() == []
    (storage.directory / "backups.json").write_text("null\n")
    assert storage.source().backups() == []


@pytest.mark.parametrize("answer", ["<html>", "{}", '[{"backup_name": 1}]', "[1]"])
def test_an_unexpected_answer(storage: Storage, answer: str) -> None:
    (storage.directory / "backups.json").write_text(answer)
    with pytest.raises(RollbackError) as caught:
        storage.source().backups()
    assert caught.value.code == "walg_unexpected"


def test_wal_g_that_fails_is_quoted(storage: Storage) -> None:
    storage.config.write_text(json.dumps({"WALG_FILE_PREFIX": "/nowhere"}))
    with pytest.raises(RollbackError, match="Failed to configure storage") as caught:
        storage.source().backups()
    assert caught.value.code == "walg_failed"


def test_wal_g_that_is_not_there(storage: Storage) -> None:
    (storage.directory / "bin" / "wal-g").unlink()
    with pytest.raises(RollbackError) as caught:
        storage.source().backups()
    assert caught.value.code == "program_missing"


def test_wal_g_that_hangs_is_ended(storage: Storage) -> None:
    (storage.directory / "bin" / "wal-g").write_text("#!/bin/sh\nexec sleep 60\n")
    with pytest.raises(RollbackError) as caught:
        storage.source(timeout=1).backups()
    assert caught.value.code == "program_timeout"
    assert "give it more time with backup_verification_program_timeout" in str(caught.value)


def test_variables_of_libpq_do_not_reach_it(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "production")  # the stand-in refuses to run with it
    storage.lists(LISTED)
    assert len(storage.source().backups()) == 1


# Integrity ------------------------------------------------------------------------------------------------------------


def test_whole_wal_passes_and_files_are_not_called_checked(storage: Storage) -> None:
    storage.lists(LISTED)
    storage.verifies({"status": "OK", "details": [span("01", "12")]})
    found = storage.checked()
    assert {name: check.status for name, check in found.items()} == {
        "wal": PASSED, "wal_since": PASSED, "timeline": PASSED, "files": SKIPPED,
    }  # fmt: skip


@pytest.mark.parametrize("status", ["MISSING_LOST", "MISSING_DELAYED", "MISSING_UPLOADING"])
def test_needed_wal_that_is_not_there_fails(storage: Storage, status: str) -> None:
    storage.lists({**LISTED, "finish_lsn": 0x0F000100})
    details = [span("01", "0D"), span("0E", "0E", status), span("0F", "12")]
    storage.verifies({"status": "FAILURE", "details": details})
    found = storage.checked()["wal"]
    assert found.status == FAULTY
    assert f"1 of the 3 WAL segments it needs are not in the storage ({status})" in found.message
    assert "00000001000000000000000E" in found.message


def test_needed_wal_that_is_not_mentioned_fails(storage: Storage) -> None:
    storage.lists(LISTED)
    storage.verifies({"status": "OK", "details": None})
    assert storage.checked()["wal"].status == FAULTY


def test_wal_lost_before_it_does_not_matter(storage: Storage) -> None:
    storage.lists(LISTED)
    storage.verifies({"status": "FAILURE", "details": [span("01", "05", "MISSING_LOST"), span("06", "12")]})
    found = storage.checked()
    assert (found["wal"].status, found["wal_since"].status) == (PASSED, PASSED)


def test_wal_lost_after_it_lowers_the_verdict(storage: Storage) -> None:
    storage.lists(LISTED)
    details = [span("01", "0E"), span("0F", "0F", "MISSING_LOST"), span("10", "12")]
    storage.verifies({"status": "FAILURE", "details": details})
    found = storage.checked()
    assert (found["wal"].status, found["wal_since"].status) == (PASSED, DEGRADED)


def test_wal_under_way_is_normal(storage: Storage) -> None:
    storage.lists(LISTED)
    storage.verifies({"status": "WARNING", "details": [span("01", "10"), span("11", "12", "MISSING_UPLOADING")]})
    found = storage.checked()["wal_since"]
    assert found.status == PASSED
    assert "2 are still to be uploaded" in found.message


@pytest.mark.parametrize(("status", "expected"), [("WARNING", DEGRADED), ("FAILURE", FAULTY), ("NEW", FAULTY)])
def test_another_timeline(storage: Storage, status: str, expected: str) -> None:
    storage.lists(LISTED)
    storage.verifies({"status": "OK", "details": [span("01", "12")]}, timeline=status)
    assert storage.checked()["timeline"].status == expected


@pytest.mark.parametrize("answer", ["{}", "[]", '{"integrity": {"status": "OK", "details": [{}]}, "timeline": {}}'])
def test_an_unexpected_verification(storage: Storage, answer: str) -> None:
    storage.lists(LISTED)
    (storage.directory / "verify.json").write_text(answer)
    with pytest.raises(RollbackError) as caught:
        storage.checked()
    assert caught.value.code == "walg_unexpected"


# Restoring ------------------------------------------------------------------------------------------------------------


def taken(cluster: TestCluster, storage: Storage) -> str:
    """Put a real base backup and its WAL into the storage, and list it."""
    backup = take_base_backup(cluster, storage.directory / "taking", "plain", "")
    segment = backup.wal
    name = f"base_{segment}"
    (storage.directory / "wal").mkdir()
    for path in (backup.directory / "pg_wal").glob("0*"):
        path.rename(storage.directory / "wal" / path.name)
    backup.directory.rename(storage.directory / name)
    manifest = json.loads((storage.directory / name / "backup_manifest").read_text())["WAL-Ranges"][0]
    start, finish = (int(manifest[f"{end}-LSN"].partition("/")[2], 16) for end in ("Start", "End"))
    storage.lists({**LISTED, "backup_name": name, "wal_file_name": segment, "start_lsn": start, "finish_lsn": finish,
                   "pg_version": cluster.major * 10000})  # fmt: skip
    subprocess.run(["chmod", "-R", "a+rX", storage.directory], check=True)
    return segment


def test_a_backup_starts_elsewhere(cluster: TestCluster, database: TestDatabase, storage: Storage) -> None:
    fill_table(database, 1000)
    segment = taken(cluster, storage)
    source = storage.source()
    (backup,) = source.backups()
    user = system_user()

    def fill(data_directory: Path) -> None:
        source.materialise(backup, data_directory, ignored)
        assert (data_directory / "recovery.signal").exists()
        make_safe(data_directory, user)

    request = Request(major=backup.server_major, settings={**ISOLATED, **RECOVERY}, wheels=WHEELS, fill=fill)
    with drill_server(drill_directory(None), user, request, "postgres", 60, lambda _check: None) as server:
        until(lambda: accepts(server.login(database.name)), "the end of the recovery")
        connection = connect(server.login(database.name))
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM counted")
            assert cursor.fetchone() == (1000,)
        connection.close()
        log = server.cluster.log_file.read_text()
    assert f'restored log file "{segment}" from archive' in log


def test_without_its_wal_it_does_not_start(cluster: TestCluster, storage: Storage) -> None:
    segment = taken(cluster, storage)
    (storage.directory / "wal" / segment).unlink()
    source = storage.source()
    (backup,) = source.backups()
    user = system_user()

    def fill(data_directory: Path) -> None:
        source.materialise(backup, data_directory, ignored)
        make_safe(data_directory, user)

    request = Request(major=backup.server_major, settings={**ISOLATED, **RECOVERY}, wheels=WHEELS, fill=fill)
    cleaned: list[Check] = []
    with (
        pytest.raises(RollbackError, match="could not locate required checkpoint record"),
        drill_server(drill_directory(None), user, request, "postgres", 60, cleaned.append),
    ):
        pass
    assert [check.status for check in cleaned] == [PASSED]


def test_a_backup_that_is_gone_meanwhile(storage: Storage, tmp_path: Path) -> None:
    storage.lists(LISTED)
    source = storage.source()
    with pytest.raises(RollbackError, match=r"does not exist") as caught:
        source.materialise(source.backups()[0], tmp_path, ignored)
    assert caught.value.code == "restore_failed"
