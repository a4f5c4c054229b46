# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""pgBackRest itself: what it lists, which faults the integrity check sees, and that a restored backup starts."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.system_user import system_user
from tests.support.backup_tools import (
    NAME,
    PGBACKREST_FAULTS,
    ROWS,
    USER,
    PgBackRestStore,
    faulty,
    flip,
    needs_pgbackrest,
    pgbackrest_store,
    replace,
    rows_after_restore,
    silent,
    tool_directory,
)
from tests.support.processes import Forked

pytestmark = needs_pgbackrest

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture(scope="module")
def intact() -> Iterator[PgBackRestStore]:
    with pgbackrest_store() as store:
        yield store


@pytest.fixture
def store(intact: PgBackRestStore) -> Iterator[PgBackRestStore]:
    """A copy to be damaged."""
    with tool_directory() as directory:
        yield intact.copy(directory)


def code_of_listing(store: PgBackRestStore, **settings: object) -> str:
    with pytest.raises(RollbackError) as caught:
        store.source(**settings).backups()
    return caught.value.code


def test_what_is_listed(intact: PgBackRestStore) -> None:
    source, newest = intact.newest()
    full, incremental = sorted(source.backups(), key=lambda backup: backup.id)
    assert newest == incremental
    assert full.id.endswith("F")
    assert incremental.details["built_on"] == [full.id]
    assert intact.pg
    control = USER.run(
        [str(intact.pg.bindir / "pg_controldata"), str(intact.pg.cluster.data_directory)], Path("/")
    ).stdout
    for backup in (full, incremental):
        assert (backup.status, backup.kind, backup.server_major) == ("complete", "physical", intact.pg.major)
        assert backup.system_id
        assert f"{backup.system_id}\n" in control
        assert backup.started_at
        assert backup.finished_at
        assert backup.started_at <= backup.finished_at
        assert timedelta(0) <= datetime.now(UTC) - backup.finished_at < timedelta(minutes=10)
        assert backup.size_bytes
        assert backup.database_bytes
        assert 10 << 20 < backup.database_bytes < 100 << 20
        assert backup.wal_start
        assert backup.wal_stop
        assert backup.wal_start <= backup.wal_stop


def test_an_intact_one_passes(intact: PgBackRestStore) -> None:
    source = intact.source()
    before = tree(intact.repository)
    for backup in source.backups():
        checks = source.integrity(backup, silent)
        assert {check.name: check.status for check in checks} == dict.fromkeys(
            ("status", "manifest", "wal", "verify"), "passed"
        )
    assert tree(intact.repository) == before


def tree(directory: Path) -> dict[str, tuple[int, float]]:
    return {str(path): (path.stat().st_size, path.stat().st_mtime) for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", PGBACKREST_FAULTS)
def test_every_fault_is_caught(store: PgBackRestStore, name: str) -> None:
    source, backup = store.newest()
    fault, caught_by = PGBACKREST_FAULTS[name]
    fault(store, backup)
    found = faulty(source.integrity(backup, silent))
    assert set(found) == caught_by
    for message in found.values():
        assert message.endswith(".")
        assert "understood" not in message


@pytest.mark.parametrize(
    ("fault", "code"),
    [("both backup.info deleted", "stanza_incomplete"), ("archive deleted", "repository_unreadable"),
     ("stanza deleted", "stanza_missing")],
)  # fmt: skip
def test_a_broken_stanza_is_not_an_empty_one(store: PgBackRestStore, fault: str, code: str) -> None:
    _source, backup = store.newest()
    PGBACKREST_FAULTS[fault][0](store, backup)
    assert code_of_listing(store) == code


def test_no_backup_yet_is_an_empty_list(store: PgBackRestStore) -> None:
    shutil.rmtree(store.repository)
    store.tool(f"--stanza={NAME}", "stanza-create")
    assert store.source().backups() == []


def test_other_stanzas_configurations_and_users(
    intact: PgBackRestStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert code_of_listing(intact, stanza="other") == "stanza_missing"
    assert code_of_listing(intact, config=str(tmp_path / "none.conf")) == "pgbackrest_failed"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert code_of_listing(intact) == "program_missing"


@AS_ROOT
def test_a_user_who_may_not_read_the_repository(store: PgBackRestStore) -> None:
    store.directory.chmod(0o755)
    assert code_of_listing(store, user=system_user("nobody")) == "repository_unreadable"


def test_a_second_repository_that_is_gone(store: PgBackRestStore) -> None:
    lines = store.config.read_text(encoding="utf-8").replace(
        "log-path", f"repo2-path={store.directory}/second\nrepo2-retention-full=9\nlog-path"
    )
    replace(store.config, lines.encode())
    source, backup = store.newest()
    checks = {check.name: check for check in source.integrity(backup, silent)}
    assert {check.status for check in checks.values()} == {"passed", "degraded"}
    assert checks["status"].status == "degraded"
    assert "Repository 2 of pgBackRest has no stanza app." in checks["status"].message


def test_damage_that_the_backup_does_not_need(store: PgBackRestStore) -> None:
    source = store.source()
    full, incremental = sorted(source.backups(), key=lambda backup: backup.id)
    later = sorted(path.name[:24] for path in (store.archive / "0000000100000000").glob("*-*"))[-1]
    assert incremental.wal_stop
    assert later > incremental.wal_stop
    flip(store.wal(later), 48)
    PGBACKREST_FAULTS["data file flipped"][0](store, incremental)
    checks = {check.name: check for check in source.integrity(full, silent)}
    assert {name for name, check in checks.items() if check.status != "passed"} == {"verify"}
    assert checks["verify"].status == "degraded"
    assert f"other WAL is damaged ({later})" in checks["verify"].message
    assert f"backup {incremental.id} is damaged" in checks["verify"].message


def test_one_copy_of_the_manifest(store: PgBackRestStore) -> None:
    source, backup = store.newest()
    (store.backup_directory(backup) / "backup.manifest").unlink()
    checks = {check.name: check.status for check in source.integrity(backup, silent)}
    assert checks == {"status": "passed", "manifest": "degraded", "wal": "passed", "verify": "passed"}


def test_both_start_and_have_the_rows_they_were_taken_with(intact: PgBackRestStore) -> None:
    """The rows were deleted since: the way leads to the end of the backup and no further."""
    source = intact.source()
    before = tree(intact.repository)
    for backup in source.backups():
        assert rows_after_restore(source, backup) == (ROWS, 2)
    assert tree(intact.repository) == before


def test_a_restore_that_fails_says_why(store: PgBackRestStore, tmp_path: Path) -> None:
    source, backup = store.newest()
    PGBACKREST_FAULTS["both manifests deleted"][0](store, backup)
    target = store.directory / "target"
    target.mkdir()
    with pytest.raises(RollbackError, match="unable to load backup manifest file") as caught:
        source.materialise(backup, target, silent)
    assert caught.value.code == "restore_failed"


@AS_ROOT
def test_as_an_ordinary_user(intact: PgBackRestStore) -> None:
    def look() -> tuple[set[str], tuple[int, int]]:
        source = intact.source(user=system_user())
        backup = source.backups()[0]
        return {check.status for check in source.integrity(backup, silent)}, rows_after_restore(
            source, backup, system_user()
        )

    assert Forked(look, user=USER.name).result() == ({"passed"}, (ROWS, 2))


@pytest.mark.full
def test_a_backup_of_damaged_pages_is_a_failed_one() -> None:
    with pgbackrest_store("damaged") as store:
        assert store.pg
        pg = store.pg
        connection = pg.connect("app")
        cursor = connection.cursor()
        cursor.execute("CREATE TABLE victim AS SELECT id FROM generate_series(1, 10000) AS id")
        cursor.execute("SELECT pg_relation_filepath('victim')")
        victim = pg.cluster.data_directory / cursor.fetchone()[0]
        connection.close()
        pg.cluster.stop(pg.recipe)
        enabled = USER.run([str(pg.bindir / "pg_checksums"), "--enable", "-D", str(victim.parents[2])], Path("/"))
        assert enabled.returncode == 0, enabled.stderr
        flip(victim, 9000)
        pg.cluster.start(pg.recipe)
        store.take()
        newest = max(store.source().backups(), key=lambda backup: backup.id)
        assert newest.status == "failed"
        assert "already damaged" in newest.problem
        assert store.newest()[1].id != newest.id
