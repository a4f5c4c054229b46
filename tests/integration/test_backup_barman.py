# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Barman itself: what it lists, which faults the integrity check sees, and that a restored backup starts."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.backup import Backup
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.system_user import system_user
from tests.support.backup_tools import (
    BARMAN_FAULTS,
    ROWS,
    USER,
    BarmanStore,
    barman_store,
    faulty,
    needs_barman,
    replace,
    rows_after_restore,
    silent,
    tool_directory,
)
from tests.support.processes import Forked

pytestmark = needs_barman

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture(scope="module")
def intact() -> Iterator[BarmanStore]:
    with barman_store() as store:
        yield store


@pytest.fixture
def store(intact: BarmanStore) -> Iterator[BarmanStore]:
    """A copy to be damaged."""
    with tool_directory() as directory:
        yield intact.copy(directory)


def code_of_listing(store: BarmanStore, **settings: object) -> str:
    with pytest.raises(RollbackError) as caught:
        store.source(**settings).backups()
    return caught.value.code


def set_status(store: BarmanStore, backup: Backup, status: str) -> None:
    """As Barman itself notes it."""
    info = store.info(backup)
    replace(info, re.sub(r"(?m)^status=.*", f"status={status}", info.read_text(encoding="utf-8")).encode())


def test_what_is_listed(intact: BarmanStore) -> None:
    _source, backup = intact.newest()
    assert intact.pg
    assert (backup.status, backup.kind, backup.server_major) == ("complete", "physical", intact.pg.major)
    assert backup.started_at
    assert backup.finished_at
    assert backup.started_at <= backup.finished_at
    assert timedelta(0) <= datetime.now(UTC) - backup.finished_at < timedelta(minutes=10)
    assert backup.size_bytes
    assert backup.database_bytes
    assert 10 << 20 < backup.database_bytes < backup.size_bytes < 200 << 20
    assert backup.wal_start
    assert backup.wal_stop
    assert backup.wal_start <= backup.wal_stop
    assert backup.details["tablespaces"] == ["fast"]


def test_an_intact_one_passes(intact: BarmanStore) -> None:
    source, backup = intact.newest()
    checks = {check.name: check.status for check in source.integrity(backup, silent)}
    assert checks == dict.fromkeys(("status", "wal", "wal_records", "verify"), "passed")


@pytest.mark.parametrize("name", BARMAN_FAULTS)
def test_every_fault_is_caught(store: BarmanStore, name: str) -> None:
    source, backup = store.newest()
    fault, caught_by = BARMAN_FAULTS[name]
    fault(store, backup)
    found = faulty(source.integrity(backup, silent))
    assert caught_by <= set(found)
    for message in found.values():
        assert message.endswith(".")
        assert "understood" not in message


def test_what_does_not_count(store: BarmanStore) -> None:
    _source, backup = store.newest()
    for status, expected, problem in (
        ("WAITING_FOR_WALS", "unfinished", "has not arrived"),
        ("STARTED", "unfinished", "interrupted"),
        ("EMPTY", "unfinished", "interrupted"),
        ("SYNCING", "unfinished", "another Barman"),
        ("FAILED", "failed", "taking it failed"),
    ):
        set_status(store, backup, status)
        (listed,) = store.source().backups()
        assert listed.status == expected
        assert problem in listed.problem


def test_no_backup_yet_is_an_empty_list(store: BarmanStore) -> None:
    _source, backup = store.newest()
    store.info(backup).unlink()
    assert store.source().backups() == []


def test_other_servers_and_configurations(
    intact: BarmanStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert code_of_listing(intact, server="other") == "server_missing"
    assert code_of_listing(intact, config=str(tmp_path / "none.conf")) == "barman_failed"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert code_of_listing(intact) == "program_missing"


def test_without_a_manifest_nothing_is_passed_or_written(store: BarmanStore) -> None:
    source, backup = store.newest()
    manifest = store.backup_directory(backup) / "data" / "backup_manifest"
    manifest.unlink()
    checks = {check.name: check for check in source.integrity(backup, silent)}
    assert checks["verify"].status == "skipped"
    assert "no backup_manifest" in checks["verify"].message
    assert not manifest.exists()


def test_it_starts_and_has_the_rows_it_was_taken_with(intact: BarmanStore) -> None:
    """The rows were deleted since: the way leads to the end of the backup and no further."""
    source, backup = intact.newest()
    assert rows_after_restore(source, backup) == (ROWS, 2)


def test_a_restore_that_fails_says_why(store: BarmanStore) -> None:
    source, backup = store.newest()
    BARMAN_FAULTS["needed WAL deleted"][0](store, backup)
    target = store.directory / "target"
    target.mkdir()
    shutil.chown(target, USER.uid, USER.gid)
    with pytest.raises(RollbackError, match="barman recover failed: Failure copying WAL files") as caught:
        source.materialise(backup, target, silent)
    assert caught.value.code == "restore_failed"


@AS_ROOT
def test_as_an_ordinary_user(intact: BarmanStore) -> None:
    def look() -> set[str]:
        source, backup = intact.newest(user=system_user())
        return {check.status for check in source.integrity(backup, silent)}

    assert Forked(look, user=USER.name).result() == {"passed"}


@pytest.mark.full
def test_a_compressed_one_is_not_verified_but_starts(intact: BarmanStore) -> None:
    """The rows were deleted by then."""
    text = intact.config.read_text(encoding="utf-8")
    replace(intact.config, f"{text}backup_compression = gzip\ncompression = gzip\n".encode())
    try:
        intact.take()
        source, backup = intact.newest()
        checks = {check.name: check.status for check in source.integrity(backup, silent)}
        assert checks == {"status": "passed", "wal": "passed", "wal_records": "skipped", "verify": "skipped"}
        assert rows_after_restore(source, backup) == (0, 2)
    finally:
        replace(intact.config, text.encode())
