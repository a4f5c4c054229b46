# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Backup verification beside the least that does the same: initdb and pg_restore, and `ls`."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.pgops.rollback.plugins.module_utils.system_user import system_user
from benchmarks.measuring import AT_MOST, Bound, Comparison, interleaved, run_process, seconds
from benchmarks.ways import Playbooks, module_environment
from tests.support.database import OPERATOR, ROOT, TestCluster, TestDatabase
from tests.support.modules import run_module

#: Rows of about 250 bytes, indexes included.
ROWS_A_MEGABYTE = 4_000

#: Megabytes from which on a bound holds.
BOUND_FROM = 1_000

_TABLES = """
CREATE TABLE entry_{n} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, author int NOT NULL,
                        made timestamptz NOT NULL, note text NOT NULL);
INSERT INTO entry_{n} (author, made, note)
SELECT n % 1000, timestamptz '2025-01-01 00:00+00' + n * interval '1 second', repeat(md5(n::text), 3)
FROM generate_series(1, {rows}) n;
CREATE INDEX ON entry_{n} (author, made);
"""


@dataclass
class DumpedDatabase:
    """A database of a given size and its dump with a content manifest.

    :ivar database: its name; it is gone.
    """

    cluster: TestCluster
    megabytes: int
    dump: Path
    database: str

    @classmethod
    def made(cls, cluster: TestCluster, megabytes: int, directory: Path) -> DumpedDatabase:
        database = TestDatabase(cluster)
        database.create()
        for number in range(4):
            database.query(_TABLES.format(n=number, rows=megabytes * ROWS_A_MEGABYTE // 4))
        dump = directory / f"{megabytes}.dump"
        options = {**database.login("postgres"), "path": str(dump), "format": "custom", "compress": "1"}
        taken = run_module("backup_dump", options, patience=900)
        if taken.failed:
            raise RuntimeError(taken["msg"])
        database.drop()
        return cls(cluster, megabytes, dump, database.name)

    def drill(self) -> tuple[dict[str, float], int]:
        """Seconds by check of a drill that has to pass, ``whole`` for the process; and its peak memory in KiB."""
        arguments = json.dumps({"ANSIBLE_MODULE_ARGS": {"source": "pg_dump", "path": str(self.dump), "drill_jobs": 2}})
        module = "ansible_collections.pgops.rollback.plugins.modules.backup_verify"
        run = run_process([sys.executable, "-m", module], arguments, cwd=ROOT, env=module_environment())
        result = json.loads(run.output)
        drilled = next(step for step in result["steps"] if step["name"] == "drill")
        if result["verdict"] != "ok":
            raise RuntimeError(f"The drill did not pass: {result['msg']}")
        taken = {check["name"]: check["seconds"] for check in drilled["details"]["checks"]}
        return {**taken, "whole": drilled["details"]["seconds"]}, run.peak_kb

    def restore_bare(self) -> float:
        """initdb, start, createuser, createdb, pg_restore -j 2."""
        user = system_user()
        bindir = self.cluster.bindir
        with tempfile.TemporaryDirectory(prefix="pgops-bench-") as directory:
            place = Path(directory)
            shutil.copy(self.dump, place / "dump")
            os.chown(place / "dump", user.uid, user.gid)
            os.chown(place, user.uid, user.gid)

            def run(program: str, *arguments: str) -> None:
                answer = user.run([str(bindir / program), *arguments], place, 900)
                if answer.returncode != 0:
                    raise RuntimeError(f"{program}: {answer.stderr[-2000:]}")

            def restore() -> None:
                options = f"-c listen_addresses='' -c unix_socket_directories={place}"
                run("initdb", "-D", f"{place}/data", "-U", "postgres", "--auth=trust", "--no-instructions")
                run("pg_ctl", "-D", f"{place}/data", "-w", "-l", f"{place}/log", "-o", options, "start")
                run("createuser", "-h", directory, "-U", "postgres", OPERATOR)
                run("createdb", "-h", directory, "-U", "postgres", "-T", "template0", "drill")
                run("pg_restore", "-h", directory, "-U", "postgres", "-j", "2", "-d", "drill", f"{place}/dump")

            try:
                return seconds(restore)
            finally:
                run("pg_ctl", "-D", f"{place}/data", "-m", "immediate", "stop")


def beside_bare_restore(dumped: DumpedDatabase, runs: int) -> list[Comparison]:
    """The drill's restoring, and all of the drill, beside a bare restore of the same file."""
    drills: list[dict[str, float]] = []
    peaks: list[int] = []

    def ours() -> float:
        taken, peak = dumped.drill()
        drills.append(taken)
        peaks.append(peak)
        return taken["whole"]

    whole, bare = interleaved(runs, ours, dumped.restore_bare, lambda: None)
    restoring = [taken["isolated"] + taken["restore"] for taken in drills]
    beside = "initdb and pg_restore -j 2 of the same file"
    size = f"a database of {dumped.megabytes:,} MB"

    def bound(value: float) -> Bound | None:
        """A small one is all start-up."""
        return Bound(AT_MOST, value) if dumped.megabytes >= BOUND_FROM else None

    return [
        Comparison(f"{size}: the drill's restoring", beside, restoring, bare, bound=bound(1.1)),
        Comparison(
            f"{size}: the whole drill, with counts and hashes",
            beside,
            whole,
            bare,
            bound=bound(1.6),
            details={"peak_memory_mb": max(peaks) / 1024},
        ),
    ]


def beside_ls(cluster: TestCluster, directory: Path, files: int, runs: int) -> Comparison:
    """Freshness of a directory full of dumps beside a task that lists it."""
    database = TestDatabase(cluster)
    database.create()
    place = directory / "dumps"
    place.mkdir()
    first = place / "0.dump"
    if run_module("backup_dump", {**database.login("postgres"), "path": str(first)}).failed:
        raise RuntimeError("The dump for the benchmark could not be taken.")
    content = first.read_bytes()
    for number in range(1, files):
        path = place / f"{number}.dump"
        path.write_bytes(content)
        os.utime(path, (first.stat().st_mtime - number, first.stat().st_mtime - number))
    playbooks = Playbooks(database.login())
    variables = {"backup_verification_source": "pg_dump", "backup_verification_path": str(place)}
    times = interleaved(
        runs,
        lambda: playbooks.run("playbooks/verify_backup.yml", "--tags", "freshness", **variables),
        lambda: playbooks.run("benchmarks/playbooks/ls.yml", benchmark_directory=str(place)),
        lambda: None,
    )
    return Comparison(
        f"verify_backup.yml --tags freshness, {files:,} files", "a playbook of one `ls -l`", *times,
        bound=Bound(AT_MOST, 2.0),
    )  # fmt: skip
