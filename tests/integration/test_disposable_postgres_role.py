# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role disposable_postgres, run by ansible-playbook."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.disposable_cluster import default_base
from tests.support.database import ROOT, ensure_removed

PLAYBOOK = """
- hosts: localhost
  connection: local
  gather_facts: false
  vars:
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
  tasks:
    - ansible.builtin.include_role:
        name: pgops.rollback.disposable_postgres
    - ansible.builtin.copy:
        content: "{{ disposable_postgres_result | to_json }}"
        dest: "{{ result_file }}"
        mode: "0600"
      check_mode: false
      changed_when: false
"""


class Role:
    """Runs the role on a cluster of this test's."""

    def __init__(self, directory: Path) -> None:
        self.name = f"role-{os.getpid()}"
        self.directory = default_base() / self.name
        self._work = directory
        (directory / "play.yml").write_text(PLAYBOOK, encoding="utf-8")

    def __call__(self, *options: str, **variables: Any) -> subprocess.CompletedProcess[str]:
        given = {
            "result_file": str(self._work / "result.json"),
            "disposable_postgres_name": self.name,
            **{f"disposable_postgres_{key}": value for key, value in variables.items()},
        }
        command = [str(Path(sys.executable).with_name("ansible-playbook")), str(self._work / "play.yml"),
                   "-i", "localhost,", "-e", json.dumps(given), *options]  # fmt: skip
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    def result(self) -> dict[str, Any]:
        return json.loads((self._work / "result.json").read_text(encoding="utf-8"))


@pytest.fixture
def role(tmp_path: Path) -> Iterator[Role]:
    made = Role(tmp_path)
    yield made
    ensure_removed(made.directory)


def test_databases_are_created_once(role: Role) -> None:
    foreseen = role("--check", databases=["one", 'Two words ü'])
    assert "changed=1" in foreseen.stdout, foreseen.stdout
    assert not role.directory.exists()

    first = role(databases=["one", 'Two words ü'])
    assert first.returncode == 0, first.stdout
    result = role.result()
    listed = subprocess.run(
        [f"{result['bindir']}/psql", "-h", result["socket_directory"], "-U", "postgres", "-AtXc",
         "SELECT datname FROM pg_database WHERE NOT datistemplate ORDER BY datname COLLATE \"C\""],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert listed.stdout.splitlines() == ['Two words ü', "one", "postgres"]

    second = role(databases=["one", 'Two words ü'])
    assert "changed=0" in second.stdout, second.stdout
    assert role(state="absent").returncode == 0
    assert not role.directory.exists()


def test_a_failure_after_the_start_removes_what_was_made(role: Role) -> None:
    failed = role(databases=["one", ""])
    assert failed.returncode == 2
    assert "zero-length delimited identifier" in failed.stdout
    assert "The cluster was removed again." in failed.stdout
    assert not role.directory.exists()


@pytest.mark.full
def test_a_failure_leaves_a_cluster_that_was_there_before(role: Role) -> None:
    assert role().returncode == 0
    failed = role(databases=[""])
    assert failed.returncode == 2
    assert "The cluster was left alone." in failed.stdout
    assert "changed=0" in role().stdout
