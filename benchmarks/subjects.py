# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is compared with what, and what it has to measure up to."""

from __future__ import annotations

from statistics import median
from typing import Any

from benchmarks.databases import ManySequences, SampleApplication
from benchmarks.measuring import AT_LEAST, AT_MOST, Bound, Comparison, interleaved, seconds
from benchmarks.ways import Playbooks, module_call, module_process
from tests.support.database import TestCluster, TestDatabase

#: Sequences that the loop of tasks is really run on.
LOOPED = 20


def beside_hand_written(many: ManySequences, runs: int) -> list[Comparison]:
    """One module call beside the procedure that treats every sequence alike; both from connecting to the last commit.

    Once the call alone, as the procedure's client is running already, and once as a process with its start-up.
    """
    peaks: list[int] = []
    parts: list[dict[str, float]] = []

    def call() -> float:
        parts.append(module_call(many.database.login()))
        many.require_repaired()
        return sum(parts[-1].values())

    def process() -> float:
        run = module_process("sequence_reset", many.database.login())
        peaks.append(run.peak_kb)
        many.require_repaired()
        return run.seconds

    def theirs() -> float:
        taken = seconds(lambda: many.database.query("CALL hand_written()"))
        many.require_repaired()
        return taken

    procedure = "PL/pgSQL: lock, maximum, setval, commit, one by one"
    calls = interleaved(runs, call, theirs, many.put_behind)
    processes = interleaved(runs, process, theirs, many.put_behind)
    size = f"{many.number:,} sequences, 10 % behind"
    details: dict[str, Any] = {part: median(taken[part] for taken in parts) for part in ("survey", "repair")}
    return [
        Comparison(f"{size}: the module's call", procedure, *calls, bound=Bound(AT_MOST, 0.6), details=details),
        Comparison(
            f"{size}: the module as a process",
            procedure,
            *processes,
            details={"peak_memory_mb": max(peaks) / 1024},
        ),
    ]


def beside_task_loop(many: ManySequences, runs: int) -> Comparison:
    """A playbook with one call beside a playbook with a task for each sequence."""
    playbooks = Playbooks(many.database.login())
    tables = many.behind[:LOOPED]
    empty: list[float] = []

    def ours() -> float:
        taken = playbooks.run("benchmarks/playbooks/one_call.yml")
        many.require_repaired()
        return taken

    def theirs() -> float:
        """The looped tasks are scaled; what the playbook costs without any is not."""
        empty.append(playbooks.run("benchmarks/playbooks/task_loop.yml", benchmark_tables=[]))
        looped = playbooks.run("benchmarks/playbooks/task_loop.yml", benchmark_tables=tables)
        return empty[-1] + (looped - empty[-1]) / len(tables) * many.number

    times = interleaved(runs, ours, theirs, many.put_behind)
    return Comparison(
        f"{many.number:,} sequences, 10 % behind: a playbook with one call",
        "a playbook with a community.postgresql task for each",
        *times,
        bound=Bound(AT_LEAST, 500),
        inverse=True,
        note=f"theirs is scaled: measured on {len(tables)} sequences",
        details={"theirs_a_sequence": median((t - e) / many.number for t, e in zip(times[1], empty, strict=True))},
    )


def beside_ping(cluster: TestCluster, runs: int) -> list[Comparison]:
    """The whole 3 a.m. command beside the least a playbook can do."""
    small = TestDatabase(cluster)
    small.create()
    small.query("CREATE TABLE memo (id serial PRIMARY KEY, note text); INSERT INTO memo (note) VALUES ('one')")
    sample = SampleApplication(cluster)
    return [
        _beside_ping("sequence", "a small healthy database", small.login(), lambda: None, runs, 2.0),
        _beside_ping("sequence", "the demo's database, three sequences behind", sample.database.login(),
                     sample.put_behind, runs, 2.0),
        _beside_ping("verify", "the demo's database, repaired, beside a baseline", sample.database.login(),
                     lambda: None, runs, 3.0, baseline=True),
    ]  # fmt: skip


def _beside_ping(
    tag: str, what: str, login: dict[str, Any], before_each: Any, runs: int, at_most: float, baseline: bool = False
) -> Comparison:
    playbooks = Playbooks(login)
    variables = {"rollback_migration": "benchmark"} if baseline else {}
    if baseline:
        playbooks.run("rollback.yml", "--tags", "sequence", **variables)
        playbooks.run("playbooks/baseline.yml", **variables)
    times = interleaved(
        runs,
        lambda: playbooks.run("rollback.yml", "--tags", tag, **variables),
        lambda: playbooks.run("benchmarks/playbooks/ping.yml"),
        before_each,
    )
    return Comparison(
        f"rollback.yml --tags {tag}, {what}", "a playbook of one ping task", *times, bound=Bound(AT_MOST, at_most)
    )
