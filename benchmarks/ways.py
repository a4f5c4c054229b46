# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ways that are compared: our module as a process, a playbook, and the module's work without a process."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.pgops.rollback.plugins.module_utils.connection import server_info
from ansible_collections.pgops.rollback.plugins.module_utils.connections import Connections
from ansible_collections.pgops.rollback.plugins.module_utils.locks import parse_lock_timeout
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_reset import reset
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_survey import Survey, survey
from benchmarks.measuring import ProcessRun, run_process, seconds
from tests.support.database import ROOT

_MODULES = "ansible_collections.pgops.rollback.plugins.modules"
_OPTIONS = {"lock_healthy": False, "repair_defaults": False, "test": "none"}


def module_environment() -> dict[str, str]:
    """The environment of a module's or a playbook's process, without what would change what it does."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PG"))}
    return {**inherited, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"), "PYTHONPATH": str(ROOT / "collections")}


def module_process(name: str, options: dict[str, Any]) -> ProcessRun:
    """A module as Ansible runs it: a Python process, JSON in, JSON out."""
    arguments = json.dumps({"ANSIBLE_MODULE_ARGS": options})
    return run_process([sys.executable, "-m", f"{_MODULES}.{name}"], arguments, cwd=ROOT, env=module_environment())


def module_call(login: dict[str, Any]) -> dict[str, float]:
    """Seconds of the module's call in this process: to connect and survey, and to repair."""
    connections: list[Connections] = []
    found: list[Survey] = []

    def connect_and_survey() -> None:
        connections.append(Connections(login))
        found.append(survey(connections[0], {}))

    surveying = seconds(connect_and_survey)
    timeout = parse_lock_timeout("500ms", server_info(connections[0].first))
    repairing = seconds(lambda: reset(connections[0], found[0], _OPTIONS, timeout, check_mode=False))
    connections[0].close()
    return {"survey": surveying, "repair": repairing}


class Playbooks:
    """Runs playbooks over one connection. Artifacts go to a directory that is removed with this object."""

    def __init__(self, login: dict[str, Any]) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="pgops-bench-")
        host = {
            "ansible_connection": "local",
            "ansible_python_interpreter": "{{ ansible_playbook_python }}",
            "rollback_artifacts_dir": f"{self._directory.name}/artifacts",
            **{f"rollback_{option}": value for option, value in login.items()},
        }
        self._inventory = Path(self._directory.name) / "hosts.yml"
        self._inventory.write_text(yaml.safe_dump({"databases": {"hosts": {"bench": host}}}), encoding="utf-8")

    def run(self, playbook: str, *options: str, **variables: Any) -> float:
        """Seconds that a playbook took; its path is relative to the repository."""
        program = Path(sys.executable).with_name("ansible-playbook")
        command: list[str | Path] = [program, "-i", self._inventory, playbook, *options, "-e", json.dumps(variables)]
        return run_process(command, cwd=ROOT, env=module_environment()).seconds
