# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Base backups of a real server: what is listed, which faults are found, and that they start elsewhere."""

from __future__ import annotations

import os
import random
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.backup import (
    COMPLETE,
    FAILED,
    FAULTY,
    PASSED,
    SKIPPED,
    UNFINISHED,
    Backup,
    Check,
    PhysicalSource,
    SourceSettings,
)
from ansible_collections.pgops.rollback.plugins.module_utils.backup_ladder import select
from ansible_collections.pgops.rollback.plugins.module_utils.backup_pg_basebackup import PgBasebackup
from ansible_collections.pgops.rollback.plugins.module_utils.base_backup_integrity import BaseBackup, Tools, verify
from ansible_collections.pgops.rollback.plugins.module_utils.connection import connect
from ansible_collections.pgops.rollback.plugins.module_utils.disposable_states import Request
from ansible_collections.pgops.rollback.plugins.module_utils.drill_server import (
    ISOLATED,
    drill_directory,
    drill_server,
)
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.physical_restore import RECOVERY, make_safe
from ansible_collections.pgops.rollback.plugins.module_utils.system_user import own_user, system_user
from tests.support.base_backups import (
    COMPRESSED_FAULTS,
    FORMS,
    PLAIN_FAULTS,
    TAR_FAULTS,
    TakenBackup,
    accepts,
    fill_table,
    resealed,
    take_base_backup,
)
from tests.support.database import WHEELS, TestCluster, TestDatabase
from tests.support.waiting import until

ROWS = 20_000

Taken = Callable[[str], TakenBackup]


def ignored(_text: str, _fraction: float | None) -> None:
    """Progress nobody asks for."""


def source(path: Path | str) -> PgBasebackup:
    return PgBasebackup(SourceSettings(system_user(), timeout=120, path=str(path), wheels=WHEELS))


def only(path: Path | str) -> Backup:
    (backup,) = source(path).backups()
    return backup


def checked(path: Path) -> dict[str, Check]:
    found = source(path)
    return {check.name: check for check in found.integrity(found.inspect(only(path)), ignored)}


@pytest.fixture(scope="module")
def filled(cluster: TestCluster) -> Iterator[tuple[TestDatabase, str]]:
    """A database with a table, and the path of the table's file."""
    made = TestDatabase(cluster)
    made.create()
    yield made, fill_table(made, ROWS)
    made.drop()


@pytest.fixture(scope="module")
def taken(
    cluster: TestCluster, filled: tuple[TestDatabase, str], tmp_path_factory: pytest.TempPathFactory
) -> Taken:
    """A base backup of the given form, taken once. It is not to be changed."""
    directory = tmp_path_factory.mktemp("base-backups")
    made: dict[str, TakenBackup] = {}

    def take(form: str) -> TakenBackup:
        if form not in made:
            made[form] = take_base_backup(cluster, directory / form, form, filled[1])
        return made[form]

    return take


# Listing --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["plain", "plain-fetch", "tar", "tar-fetch", "tar-gzip"])
def test_a_backup_is_described(cluster: TestCluster, taken: Taken, form: str) -> None:
    begun = datetime.now(UTC)
    backup = taken(form)
    found = source(backup.directory)
    described = found.inspect(only(backup.directory))
    connection = cluster.connect()
    with connection.cursor() as cursor:
        cursor.execute("SELECT system_identifier::text FROM pg_control_system()")
        (system_id,) = cursor.fetchone()
    connection.close()

    assert (described.id, described.location, described.kind) == (form, str(backup.directory), "physical")
    assert (described.status, described.problem) == (COMPLETE, "")
    assert described.server_major == cluster.major
    if form != "tar-fetch":  # its WAL is deep in the archive
        assert described.system_id == system_id
    assert described.started_at
    assert described.finished_at
    assert abs(described.started_at - begun) < timedelta(minutes=5)
    assert described.started_at <= described.finished_at <= datetime.now(UTC)
    assert described.wal_start
    assert described.wal_start == described.wal_stop
    if form.startswith("plain"):
        assert described.wal_start == backup.wal
    stored = sum(path.stat().st_size for path in backup.directory.rglob("*") if path.is_file())
    assert described.size_bytes
    assert stored // 4 < described.size_bytes <= stored
    assert described.database_bytes
    assert described.database_bytes > 20 << 20


def test_a_copy_does_not_look_fresh(taken: Taken, tmp_path: Path) -> None:
    copy = taken("plain").copied(tmp_path / "copy")
    future = datetime.now(UTC) + timedelta(days=3)
    for path in (*copy.directory.rglob("*"), copy.directory):
        os.utime(path, (future.timestamp(), future.timestamp()))
    assert only(copy.directory).finished_at == only(taken("plain").directory).finished_at


def test_the_time_zone_of_the_host_does_not_matter(taken: Taken, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = only(taken("plain").directory)
    with monkeypatch.context() as changed:
        changed.setenv("TZ", "Pacific/Kiritimati")
        time.tzset()
        found = only(taken("plain").directory)
    time.tzset()
    assert (found.started_at, found.finished_at) == (expected.started_at, expected.finished_at)


def test_a_directory_of_backups_and_a_glob(taken: Taken, tmp_path: Path) -> None:
    for name in ("monday", "tuesday"):
        taken("tar-gzip").copied(tmp_path / name)
    (tmp_path / "tuesday" / "backup_manifest").unlink()
    (tmp_path / "notes").mkdir()
    taken("tar-gzip").copied(tmp_path / ".hidden")
    (tmp_path / "notes.txt").write_text("no backup")
    expected = {"monday": COMPLETE, "tuesday": UNFINISHED}
    assert {found.id: found.status for found in source(tmp_path).backups()} == expected
    assert {found.id: found.status for found in source(tmp_path / "*day").backups()} == expected
    assert source(tmp_path / "*.none").backups() == []
    assert source(tmp_path / "notes").backups() == []
    # What looks like a glob and is a name.
    (tmp_path / "monday").rename(tmp_path / "[mon] day*")
    assert [found.id for found in source(tmp_path / "[mon] day*").backups()] == ["[mon] day*"]


def test_a_newer_unfinished_one_is_named_but_not_selected(taken: Taken, tmp_path: Path) -> None:
    taken("plain").copied(tmp_path / "whole")
    (taken("plain").copied(tmp_path / "broken").directory / "backup_manifest").unlink()
    found = source(tmp_path)
    chosen, rung = select(found, found.backups())
    assert chosen
    assert chosen.id == "whole"
    assert "broken: It has no backup_manifest, which pg_basebackup writes last" in rung.message


@pytest.mark.parametrize("what", ["missing", "file"])
def test_a_path_that_is_no_directory(tmp_path: Path, what: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RollbackError) as caught:
        source(tmp_path / what).backups()
    assert caught.value.code == "backup_path_missing"


def test_a_data_directory_in_use_is_no_backup(taken: Taken, tmp_path: Path) -> None:
    copy = taken("plain").copied(tmp_path / "copy")
    (copy.directory / "postmaster.pid").write_text("1\n")
    found = only(copy.directory)
    assert found.status == FAILED
    assert "no backup any more" in found.problem


def test_an_incremental_backup_is_not_selected(taken: Taken, tmp_path: Path) -> None:
    copy = taken("plain").copied(tmp_path / "copy")
    manifest = copy.directory / "backup_manifest"
    name = f'"{copy.heap}"'.encode()
    text = manifest.read_bytes()
    assert name in text
    incremental = name.replace(b"base/", b"base/", 1).rpartition(b"/")
    resealed(manifest, text.replace(name, incremental[0] + b"/INCREMENTAL." + incremental[2]))
    found = only(copy.directory)
    assert found.status == FAILED
    assert "pg_combinebackup" in found.problem


def test_listing_reads_no_data(taken: Taken, tmp_path: Path) -> None:
    """Many backups whose data are not even there are listed all the same."""
    for number in range(200):
        directory = tmp_path / f"backup-{number:03}"
        directory.mkdir()
        for name in ("backup_manifest", "PG_VERSION"):
            shutil.copy2(taken("plain").directory / name, directory)
    listed = source(tmp_path).backups()
    assert [found.status for found in listed] == [COMPLETE] * 200
    assert {found.server_major for found in listed} == {only(taken("plain").directory).server_major}


# Integrity ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", sorted(set(FORMS) - {"plain-none"}))
def test_an_intact_backup_passes(taken: Taken, form: str) -> None:
    found = checked(taken(form).directory)
    by = {"pg_verifybackup"} if form.startswith("plain") else {"files", "wal_records"}
    assert set(found) == {"wal", *by}
    assert {check.status for check in found.values()} == {PASSED}, found


@pytest.mark.parametrize("form", ["plain", "plain-sha256"])
def test_an_intact_backup_passes_without_pg_verifybackup(taken: Taken, form: str) -> None:
    found = verified_here(taken(form))
    assert {name: check.status for name, check in found.items()} == {
        "files": PASSED, "wal": PASSED, "wal_records": SKIPPED,
    }  # fmt: skip
    assert "is not installed" in found["wal_records"].message


def test_without_checksums_they_are_not_called_checked(taken: Taken) -> None:
    assert checked(taken("plain-none").directory)["checksums"].status == SKIPPED
    assert verified_here(taken("plain-none"))["checksums"].status == SKIPPED


def verified_here(backup: TakenBackup) -> dict[str, Check]:
    """Read by us, as where no programs of Postgres are."""
    described = only(backup.directory)
    what = BaseBackup(backup.directory, backup.form, described.details["segment_bytes"], described.server_major)
    return {check.name: check for check in verify(what, Tools(None, own_user(), 120), ignored)}


#: The check that has to fail, and a word of its message. Those of the manifest are not even selected.
PLAIN_FINDINGS = {
    "heap flipped": ("pg_verifybackup", "checksum mismatch"),
    "heap cut at a page": ("pg_verifybackup", "has size"),
    "heap deleted": ("pg_verifybackup", "is present in the manifest but not on disk"),
    "file added": ("pg_verifybackup", "is present on disk but not in the manifest"),
    "WAL deleted": ("wal", "is missing"),
    "WAL cut": ("wal", "bytes, not"),
    "WAL flipped": ("pg_verifybackup", "WAL"),
    "half copied": ("pg_verifybackup", "and"),
}

OWN_FINDINGS = {
    "heap flipped": ("files", "does not have its CRC32C checksum"),
    "heap cut at a page": ("files", "bytes, not"),
    "file added": ("files", "is not in the manifest"),
    "WAL deleted": ("wal", "is missing"),
    "half copied": ("files", "more"),
}

TAR_FINDINGS = {
    "archive flipped": ("files", ""),
    "heap flipped in the archive": ("files", "does not have its CRC32C checksum"),
    "heap deleted in the archive": ("files", "is missing"),
    "archive cut": ("files", ""),
    "archive deleted": ("files", "is missing"),
    "WAL archive deleted": ("wal", "is missing"),
    "WAL flipped in the archive": ("wal_records", "pg_waldump cannot read"),
}

UNSELECTABLE = {
    "manifest deleted": (UNFINISHED, "has no backup_manifest"),
    "manifest cut": (FAILED, "is cut short"),
    "manifest edited": (FAILED, "does not have the checksum"),
}


def test_every_fault_has_its_finding() -> None:
    assert set(PLAIN_FAULTS) == {*PLAIN_FINDINGS, *UNSELECTABLE}
    assert set(TAR_FAULTS) == {*TAR_FINDINGS, *UNSELECTABLE}


@pytest.mark.parametrize("fault", PLAIN_FINDINGS)
def test_a_fault_of_a_plain_backup_is_found(taken: Taken, tmp_path: Path, fault: str) -> None:
    copy = taken("plain").copied(tmp_path / "copy")
    PLAIN_FAULTS[fault](copy, random.Random(fault))
    assert_found(checked(copy.directory), *PLAIN_FINDINGS[fault])


@pytest.mark.parametrize("fault", OWN_FINDINGS)
def test_a_fault_is_found_without_pg_verifybackup(taken: Taken, tmp_path: Path, fault: str) -> None:
    copy = taken("plain").copied(tmp_path / "copy")
    PLAIN_FAULTS[fault](copy, random.Random(fault))
    assert_found(verified_here(copy), *OWN_FINDINGS[fault])


@pytest.mark.parametrize(
    ("form", "fault"),
    [*(("tar", fault) for fault in TAR_FINDINGS), ("tar-gzip", "archive flipped"), ("tar-gzip", "archive cut")],
)
def test_a_fault_of_archives_is_found(taken: Taken, tmp_path: Path, form: str, fault: str) -> None:
    copy = taken(form).copied(tmp_path / "copy")
    TAR_FAULTS[fault](copy, random.Random(fault))
    assert_found(checked(copy.directory), *TAR_FINDINGS[fault])


@pytest.mark.parametrize("form", ["plain", "tar-gzip"])
@pytest.mark.parametrize("fault", UNSELECTABLE)
def test_a_backup_with_a_bad_manifest_is_not_selected(taken: Taken, tmp_path: Path, form: str, fault: str) -> None:
    copy = taken(form).copied(tmp_path / "copy")
    TAR_FAULTS[fault](copy, random.Random(fault))
    found = only(copy.directory)
    status, word = UNSELECTABLE[fault]
    assert found.status == status
    assert word in found.problem
    chosen, rung = select(source(copy.directory), [found])
    assert (chosen, rung.status) == (None, "failed")


@pytest.mark.parametrize("fault", COMPRESSED_FAULTS)
def test_a_fault_of_the_compression_is_found(taken: Taken, tmp_path: Path, fault: str) -> None:
    copy = taken("tar-gzip").copied(tmp_path / "copy")
    COMPRESSED_FAULTS[fault](copy, random.Random(fault))
    assert_found(checked(copy.directory), "files", "base.tar.gz cannot be decompressed to its end")


def assert_found(checks: dict[str, Check], name: str, word: str) -> None:
    assert checks[name].status == FAULTY, checks
    assert word in checks[name].message
    assert "\n" not in checks[name].message


def test_a_file_that_leaves_its_archive_is_refused(taken: Taken, tmp_path: Path) -> None:
    copy = taken("tar").copied(tmp_path / "copy")
    with tarfile.open(copy.directory / "base.tar", "a") as contents:
        contents.addfile(tarfile.TarInfo("base/../../escaped"))
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(RollbackError, match="outside of itself") as caught:
        source(copy.directory).materialise(only(copy.directory), target, ignored)
    assert caught.value.code == "restore_failed"
    assert not (tmp_path / "escaped").exists()


# Restoring ------------------------------------------------------------------------------------------------------------


def rows_of(
    found: PhysicalSource, backup: Backup, database: TestDatabase, drill: Path
) -> tuple[int, str]:
    """Start it as a drill does; the rows of the table, and where its tablespace lies."""
    user = system_user()

    def fill(data_directory: Path) -> None:
        found.materialise(backup, data_directory, ignored)
        make_safe(data_directory, user)

    request = Request(major=backup.server_major, settings={**ISOLATED, **RECOVERY}, wheels=WHEELS, fill=fill)
    cleaned: list[Check] = []
    with drill_server(drill, user, request, "postgres", 60, cleaned.append) as server:
        until(lambda: accepts(server.login(database.name)), "the end of the recovery")
        connection = connect(server.login(database.name))
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*), sum(id) FROM counted")
            rows, total = cursor.fetchone()
            cursor.execute(
                "SELECT coalesce(max(pg_tablespace_location(oid)), '') FROM pg_tablespace WHERE spcname = 'elsewhere'"
            )
            (place,) = cursor.fetchone()
        connection.close()
    assert total == rows * (rows + 1) // 2
    assert [check.status for check in cleaned] == [PASSED]
    return rows, place


@pytest.mark.parametrize("form", ["plain", "tar-fetch", "tar-gzip"])
def test_a_backup_starts_elsewhere(filled: tuple[TestDatabase, str], taken: Taken, form: str) -> None:
    found = source(taken(form).directory)
    backup = found.inspect(only(taken(form).directory))
    assert rows_of(found, backup, filled[0], drill_directory(None)) == (ROWS, "")
    assert (taken(form).directory / "backup_manifest").exists()


@pytest.mark.parametrize("form", ["plain", "tar"])
def test_tablespaces_get_places_of_their_own(
    cluster: TestCluster, database: TestDatabase, tmp_path: Path, form: str
) -> None:
    with tempfile.TemporaryDirectory(prefix="pgops-tablespace-") as name:
        place = Path(name)
        shutil.chown(place, cluster.recipe.user)
        database.query(f"CREATE TABLESPACE elsewhere LOCATION '{place}'", user="postgres")
        try:
            heap = fill_table(database, 1000, "TABLESPACE elsewhere")
            mapping = [f"--tablespace-mapping={place}={tmp_path / 'mapped'}"] if form == "plain" else []
            backup = take_base_backup(cluster, tmp_path / "backup", form, heap, *mapping)
            assert {check.status for check in checked(backup.directory).values()} == {PASSED}
            found = source(backup.directory)
            drill = drill_directory(None)
            rows, location = rows_of(found, only(backup.directory), database, drill)
            assert rows == 1000
            assert location.startswith(f"{drill}/data/tablespaces/")
        finally:
            database.query("DROP TABLE IF EXISTS counted", user="postgres")
            database.query("DROP TABLESPACE elsewhere", user="postgres")


def test_a_missing_file_is_said_before_the_start(taken: Taken, tmp_path: Path) -> None:
    copy = taken("plain").copied(tmp_path / "copy")
    PLAIN_FAULTS["heap deleted"](copy, random.Random(1))
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(RollbackError, match=f"1 of its files are not there, such as {copy.heap}") as caught:
        source(copy.directory).materialise(only(copy.directory), target, ignored)
    assert caught.value.code == "restore_failed"
