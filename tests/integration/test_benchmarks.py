# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The benchmarks run, take turns, and say no when a bound is missed. How fast anything is, is not tested here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.measuring import AT_LEAST, AT_MOST, Bound, Comparison, interleaved
from tests.support.database import ROOT


@pytest.mark.full
def test_quick_run(tmp_path: Path) -> None:
    command: list[str | Path] = [sys.executable, ROOT / "benchmarks/run.py", "--quick", "--output", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

    (path,) = tmp_path.iterdir()
    results = json.loads(path.read_text(encoding="utf-8"))
    assert results["machine"]["settings"]["fsync"] == "on"
    assert len(results["comparisons"]) == 17
    for comparison in results["comparisons"]:
        assert len(comparison["ours"]) == len(comparison["theirs"]) > 0
        assert min(comparison["ours"] + comparison["theirs"]) > 0
    assert results["comparisons"][6]["details"]["peak_memory_mb"] > 10


def test_runs_take_turns_from_the_same_state() -> None:
    seen: list[str] = []

    def way(name: str, taken: float) -> float:
        seen.append(name)
        return taken

    times = interleaved(3, lambda: way("ours", 1.0), lambda: way("theirs", 2.0), lambda: seen.append("state"))

    assert times == ([1.0] * 3, [2.0] * 3)
    assert seen[1::2] == ["ours", "theirs", "theirs", "ours", "ours", "theirs"]
    assert set(seen[::2]) == {"state"}


@pytest.mark.parametrize(
    ("inverse", "bound", "ratio", "missed"),
    [
        (False, Bound(AT_MOST, 0.6), 0.5, False),
        (False, Bound(AT_MOST, 0.4), 0.5, True),
        (True, Bound(AT_LEAST, 2), 2.0, False),
        (True, Bound(AT_LEAST, 3), 2.0, True),
    ],
)
def test_a_ratio_is_that_of_neighbours(inverse: bool, bound: Bound, ratio: float, missed: bool) -> None:
    """The last pair was disturbed, both of it; medians taken apart would make more of it."""
    comparison = Comparison("a", "b", [1.0, 2.0, 10.0], [2.0, 4.0, 20.0], bound, inverse)
    assert (comparison.ratio, comparison.missed) == (ratio, missed)
