# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A catalog snapshot beside `pg_dump --schema-only` of the same database."""

from __future__ import annotations

from ansible_collections.pgops.rollback.plugins.module_utils.catalog_snapshot import Snapshot, read_snapshot
from ansible_collections.pgops.rollback.plugins.module_utils.connections import Connections
from benchmarks.measuring import AT_MOST, Bound, Comparison, interleaved, run_process, seconds
from benchmarks.ways import module_environment, module_process
from tests.support.database import ROOT, TestCluster, TestDatabase


def beside_pg_dump(cluster: TestCluster, tables: int, directory: str, runs: int) -> Comparison:
    """The module's call, from connecting to the fingerprint: pg_dump starts without an interpreter of its own."""
    database = TestDatabase(cluster)
    database.create()
    database.query((ROOT / "benchmarks/many_tables.sql").read_text(encoding="utf-8"))
    database.query("CALL make_catalog(%s)", (tables,))
    database.query("VACUUM ANALYZE", user="postgres")
    login = database.login()
    seen: list[Snapshot] = []

    def call() -> None:
        connections = Connections(login)
        seen[:] = [read_snapshot(connections.first)]  # takes the fingerprint too
        connections.close()

    def ours() -> float:
        taken = seconds(call)
        if seen[0].counts()["table"] != tables:
            raise RuntimeError("Not every table is in the snapshot: the figures would mean nothing.")
        return taken

    dump = [
        str(cluster.bindir / "pg_dump"), "--schema-only", "-h", login["login_host"], "-p", str(login["login_port"]),
        "-U", login["login_user"], "-f", f"{directory}/schema.sql", database.name,
    ]  # fmt: skip
    times = interleaved(runs, ours, lambda: run_process(dump, env=module_environment()).seconds, lambda: None)
    process = module_process("catalog_snapshot", login)
    database.drop()
    return Comparison(
        f"catalog snapshot of {tables:,} tables: the module's call", "pg_dump --schema-only", *times,
        bound=Bound(AT_MOST, 0.5),
        details={"module_as_a_process": process.seconds, "peak_memory_mb": process.peak_kb / 1024},
    )  # fmt: skip
