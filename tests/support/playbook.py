# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run rollback.yml of this checkout as a user types it, with an inventory of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]


def inventory(directory: Path, hosts: dict[str, dict[str, Any]]) -> Path:
    """Write an inventory with these hosts, and their variables, in the group databases."""
    common = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    path = directory / "inventory.yml"
    path.write_text(yaml.safe_dump({"databases": {"hosts": hosts, "vars": common}}), encoding="utf-8")
    return path


def rollback_variables(login: dict[str, Any]) -> dict[str, Any]:
    """The connection options of our modules as the variables of our roles."""
    return {f"rollback_{name}": value for name, value in login.items()}


def rollback(
    directory: Path, *arguments: str, playbook: Path = ROOT / "rollback.yml", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the playbook in a directory that holds inventory.yml; reports go to artifacts/ there."""
    return subprocess.run(
        command(directory, playbook, *arguments),
        cwd=directory,
        env={**surroundings(directory), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def command(directory: Path, playbook: Path, *arguments: str) -> list[str]:
    program = Path(sys.executable).with_name("ansible-playbook")
    return list(map(str, (program, playbook, "-i", directory / "inventory.yml", *arguments)))


def surroundings(directory: Path) -> dict[str, str]:
    """The environment of a run in the directory, with nothing of this process's that would change it."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PG"))}
    return {
        **inherited,
        "PWD": str(directory),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
    }


def report(directory: Path, host: str) -> dict[str, Any]:
    """The newest report.json of a host."""
    text = (directory / "artifacts" / host / "latest" / "report.json").read_text(encoding="utf-8")
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def steps(written: dict[str, Any]) -> dict[str, str]:
    """Step to status."""
    return {step["name"]: step["status"] for step in written["steps"]}
