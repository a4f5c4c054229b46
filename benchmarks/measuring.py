# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Interleaved runs, their medians and ratios, and the machine they were taken on."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

#: Kinds of bounds: the ratio has to stay below, or to get above.
AT_MOST, AT_LEAST = "at most", "at least"


@dataclass(frozen=True)
class Bound:
    """What a ratio has to measure up to."""

    kind: str
    value: float

    def holds(self, ratio: float) -> bool:
        return ratio <= self.value if self.kind == AT_MOST else ratio >= self.value


@dataclass
class Comparison:
    """Two ways beside each other.

    :ivar ours: seconds of each run; ``theirs`` likewise, run by run in turn with ours.
    :ivar inverse: the ratio says how many times faster ours is, instead of which part of their time it takes.
    :ivar failure: what else makes the bound missed, or nothing.
    :ivar note: what a reader has to know to take the figures for what they are.
    """

    subject: str
    beside: str
    ours: list[float]
    theirs: list[float]
    bound: Bound | None = None
    inverse: bool = False
    note: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    failure: str = ""

    @property
    def ratio(self) -> float:
        """The median of the ratios of neighbouring runs: what disturbs the machine for a while disturbs both."""
        pairs = zip(self.ours, self.theirs, strict=True)
        return median(theirs / ours if self.inverse else ours / theirs for ours, theirs in pairs)

    @property
    def missed(self) -> bool:
        return bool(self.failure) or (self.bound is not None and not self.bound.holds(self.ratio))

    def as_result(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "median_ours": median(self.ours),
            "median_theirs": median(self.theirs),
            "ratio": self.ratio,
            "missed": self.missed,
        }


def interleaved(
    runs: int, ours: Callable[[], float], theirs: Callable[[], float], before_each: Callable[[], None]
) -> tuple[list[float], list[float]]:
    """Seconds that each way took, run in turn; who begins changes from pair to pair.

    :param before_each: brings about the same state before every single run; it is not measured.
    """
    taken: dict[Callable[[], float], list[float]] = {ours: [], theirs: []}
    for number in range(runs):
        for way in (ours, theirs) if number % 2 == 0 else (theirs, ours):
            before_each()
            taken[way].append(way())
    return taken[ours], taken[theirs]


def seconds(action: Callable[[], Any]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


@dataclass(frozen=True)
class ProcessRun:
    """:ivar peak_kb: the largest resident set that the process ever had."""

    seconds: float
    peak_kb: int
    output: str


def run_process(command: Sequence[str | Path], stdin: str = "", **options: Any) -> ProcessRun:
    """Run a program that has to succeed.

    :raises RuntimeError: when it does not, with what it wrote.
    """
    start = time.perf_counter()
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(stdin)
        process.stdin.close()
        output = process.stdout.read()
        # wait4 tells of this one child, where resource.getrusage would tell of the largest so far.
        _pid, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    taken = time.perf_counter() - start
    if process.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}:\n{output[-4000:]}")
    # macOS counts bytes.
    peak_kb = usage.ru_maxrss // 1024 if platform.system() == "Darwin" else usage.ru_maxrss
    return ProcessRun(taken, peak_kb, output)


def machine() -> dict[str, Any]:
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load": [round(load, 2) for load in os.getloadavg()],
    }
