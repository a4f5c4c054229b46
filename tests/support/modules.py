# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Running our modules the way Ansible does: a Python process, JSON in, JSON out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from tests.support.database import ROOT

_MODULES = "ansible_collections.pgops.rollback.plugins.modules"


@dataclass(frozen=True)
class ModuleRun:
    """:ivar output: everything the process wrote, for looking for what must not be in it."""

    result: dict[str, Any]
    output: str

    def __getitem__(self, key: str) -> Any:
        return self.result[key]

    def get(self, key: str, default: Any = None) -> Any:
        return self.result.get(key, default)

    @property
    def failed(self) -> bool:
        return bool(self.result.get("failed"))

    def entry(self, name: str) -> dict[str, Any]:
        """The sequence of that name in the result."""
        return next(entry for entry in self.result["sequences"] if entry["name"] == name)

    def states(self) -> dict[str, str]:
        """State by name of every sequence in the result."""
        return {entry["name"]: entry["state"] for entry in self.result["sequences"]}


def run_module(
    name: str,
    options: dict[str, Any],
    check: bool = False,
    diff: bool = False,
    env: dict[str, str] | None = None,
    patience: int = 120,
) -> ModuleRun:
    """Run a module of ours; failing the test when it shows a traceback, or its exit code and result disagree.

    :param patience: seconds it may take.
    """
    arguments = {**options, "_ansible_check_mode": check, "_ansible_diff": diff, "_ansible_verbosity": 3}
    process = subprocess.run(
        [sys.executable, "-m", f"{_MODULES}.{name}"],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        capture_output=True,
        text=True,
        timeout=patience,
        check=False,
        cwd=ROOT,
        env={**os.environ, **(env or {}), "PYTHONPATH": str(ROOT / "collections")},
    )
    output = process.stdout + process.stderr
    assert "Traceback" not in output, output
    result = json.loads(process.stdout)
    assert bool(process.returncode) == bool(result.get("failed")), output
    return ModuleRun(result, output)
