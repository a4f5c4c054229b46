# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`make bench`: how fast it is, beside the alternatives. Ends with 1 when a bound is missed."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "collections")]

from ansible_collections.pgops.rollback.plugins.module_utils.disposable_states import Request
from benchmarks.backups import DumpedDatabase, beside_bare_restore, beside_ls
from benchmarks.databases import DURABLE, ManySequences
from benchmarks.measuring import Comparison, machine
from benchmarks.restores import beside_drop_and_restore
from benchmarks.snapshots import beside_pg_dump
from benchmarks.subjects import beside_hand_written, beside_ping, beside_task_loop
from benchmarks.teardowns import beside_bare_move, beside_naive_drop
from tests.support.database import WHEELS, TestCluster, running_cluster

#: Sequences, and how many pairs of runs: the small one takes half a second, and its ratio lies near its bound.
SIZES = {1_000: 15, 10_000: 5}
#: A playbook takes two seconds, and its ratio lies near its bound.
PLAYBOOK_RUNS = 9
QUICK_SIZE = 100

#: Megabytes of the databases that are drilled; the first shows that memory does not grow with them.
DRILLED = (100, 1_000)
DUMP_FILES = 10_000
TABLES = 5_000

#: Chat messages that are torn down while others are at work, and that are moved while they wait; how long the reader
#: stays that is in the way, in seconds.
MESSAGES, MOVED = 100_000, 1_000_000
READER_STAYS = 10.0
TEARDOWN_RUNS = 3


def measure(cluster: TestCluster, quick: bool) -> list[Comparison]:
    found = []
    for mode in ("quarantine", "drop"):
        small = (3_000, 1.0, 1)
        compared = beside_naive_drop(cluster, mode, *(small if quick else (MESSAGES, READER_STAYS, TEARDOWN_RUNS)))
        found += [_shown(comparison) for comparison in compared]
    found.append(_shown(beside_bare_move(cluster, *((3_000, 1) if quick else (MOVED, PLAYBOOK_RUNS)))))
    for size, runs in {QUICK_SIZE: 2}.items() if quick else SIZES.items():
        many = ManySequences(cluster, size)
        found += [_shown(comparison) for comparison in beside_hand_written(many, runs)]
    found.append(_shown(beside_task_loop(many, 1 if quick else 3)))
    found += [_shown(comparison) for comparison in beside_ping(cluster, runs if quick else PLAYBOOK_RUNS)]
    with tempfile.TemporaryDirectory(prefix="pgops-bench-") as directory:
        place = Path(directory)
        for megabytes in (5,) if quick else DRILLED:
            dumped = DumpedDatabase.made(cluster, megabytes, place)
            found += [_shown(comparison) for comparison in beside_bare_restore(dumped, 1 if quick else 3)]
        found += [_shown(comparison) for comparison in beside_drop_and_restore(dumped, 1 if quick else 3)]
        tables = QUICK_SIZE if quick else TABLES
        found.append(_shown(beside_pg_dump(cluster, tables, directory, runs if quick else 5)))
        files = QUICK_SIZE if quick else DUMP_FILES
        found.append(_shown(beside_ls(cluster, place, files, runs if quick else PLAYBOOK_RUNS)))
    return found


def _shown(comparison: Comparison) -> Comparison:
    ours, theirs = median(comparison.ours), median(comparison.theirs)
    ratio = f"{comparison.ratio:.0f} times faster" if comparison.inverse else f"{comparison.ratio:.2f} of its time"
    print(f"\n{comparison.subject}\n  beside {comparison.beside}")
    print(f"  {ours:.2f} s beside {theirs:.2f} s (medians of {len(comparison.ours)}): {ratio}", end="")
    if comparison.bound:
        verdict = f"MISSED {comparison.failure}".strip() if comparison.missed else "held"
        print(f"; the bound, {comparison.bound.kind} {comparison.bound.value:g}, is {verdict}")
    for name, value in comparison.details.items():
        print(f"    {name.replace('_', ' ')}: {value:.2f}")
    if comparison.note:
        print(f"    {comparison.note}")
    sys.stdout.flush()
    return comparison


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke test: one small size, bounds not asserted")
    parser.add_argument("--output", type=Path, default=ROOT / "artifacts/benchmarks", help="directory of the JSON file")
    arguments = parser.parse_args()

    facts = machine()
    request = Request(wheels=WHEELS, settings=DURABLE)
    with running_cluster(f"bench-{os.getpid()}", request) as cluster:
        facts["postgres"] = cluster.recipe.version
        facts["settings"] = DURABLE
        print(", ".join(f"{name} {value}" for name, value in facts.items()))
        found = measure(cluster, arguments.quick)

    arguments.output.mkdir(parents=True, exist_ok=True)
    path = arguments.output / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    results = {"machine": facts, "quick": arguments.quick, "comparisons": [each.as_result() for each in found]}
    path.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(f"\nAll runs: {path}")

    missed = [each.subject for each in found if each.missed and not arguments.quick]
    for subject in missed:
        print(f"MISSED: {subject}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
