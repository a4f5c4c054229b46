# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a user installs: built from the tracked files, put into an empty path, used from an empty directory."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import psycopg2
import pytest
import yaml

from tests.support.artifact import build_artifact, install, run, tracked_files
from tests.support.database import ROOT, TestDatabase

#: All that lies at the top of the artifact; the manifests are ansible-galaxy's.
CONTENT = {"COPYING", "README.md", "SECURITY.md", "changelogs", "docs", "meta", "playbooks", "plugins", "roles",
           "MANIFEST.json", "FILES.json"}  # fmt: skip

#: What the importer of Galaxy says of it, and why that is no fault.
IMPORTER_SAYS = (
    # It installs no dependencies.
    "couldn't resolve module/action 'community.postgresql.",
    # The linter it calls looks for a playbook whose name is only known when it runs.
    "Failed to find {{ 'teardown' if 'teardown' in ansible_run_tags",
)


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    return tracked_files()


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_artifact(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="module")
def installed(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collections path with our collection alone; its dependency comes with the `ansible` package."""
    return install(artifact, tmp_path_factory.mktemp("installed"))


def test_the_artifact_holds_what_a_user_needs_and_nothing_else(artifact: Path) -> None:
    with tarfile.open(artifact) as archive:
        members = archive.getmembers()
    top = {member.name.split("/")[0] for member in members}
    assert top == CONTENT
    assert [member.name for member in members if not (member.isfile() or member.isdir())] == []
    assert [member.name for member in members if re.search(r"(^|/)([.]|__pycache__)", member.name)] == []


@pytest.mark.parametrize(
    ("kind", "pattern"),
    [
        ("module", r"plugins/modules/(\w+)[.]py"),
        ("lookup", r"plugins/lookup/(\w+)[.]py"),
        ("role", r"roles/(\w+)/meta/argument_specs[.]yml"),
    ],
    ids=["module", "lookup", "role"],
)
def test_ansible_doc_lists_everything_in_it(
    installed: Path, tracked: list[str], tmp_path: Path, kind: str, pattern: str
) -> None:
    expected = {f"pgops.rollback.{match[1]}" for name in tracked if (match := re.fullmatch(pattern, name))}
    command = ["--type", kind, "--list", "--json", "pgops.rollback"]
    listed = run("ansible-doc", *command, cwd=tmp_path, ANSIBLE_COLLECTIONS_PATH=str(installed))
    assert listed.returncode == 0, listed.stderr
    assert set(json.loads(listed.stdout)) == expected != set()


def test_an_execution_environment_gets_what_it_needs(installed: Path, tmp_path: Path) -> None:
    """Of what is written, since nothing here builds an image: ansible-builder accepts it, and finds our needs."""
    definition = ROOT / "execution-environment.yml"
    created = run("ansible-builder", "create", "--file", definition, "--context", tmp_path / "context", cwd=tmp_path)
    assert created.returncode == 0, created.stdout + created.stderr
    wanted = yaml.safe_load((tmp_path / "context/_build/requirements.yml").read_text(encoding="utf-8"))
    assert wanted == {"collections": [{"name": "pgops.rollback"}]}

    found = run("ansible-builder", "introspect", installed, cwd=tmp_path)
    assert found.returncode == 0, found.stdout + found.stderr
    needs = yaml.safe_load(found.stdout[found.stdout.index("---") :])
    assert list(needs["python"]) == ["psycopg2-binary  # from collection pgops.rollback"]
    assert {line.split()[0] for line in needs["system"]} == {"postgresql", "postgresql-client"}


@pytest.mark.full
def test_the_importer_of_galaxy_takes_it(artifact: Path, tmp_path: Path) -> None:
    importer = subprocess.run(
        [sys.executable, "-m", "galaxy_importer.main", artifact],
        cwd=tmp_path, env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = importer.stdout + importer.stderr
    assert importer.returncode == 0, said
    assert "Importer processing completed successfully" in said
    complaints = [line for line in said.splitlines() if re.search(r"WARNING|ERROR", line)]
    assert [line for line in complaints if not any(known in line for known in IMPORTER_SAYS)] == []


def test_the_installed_playbook_repairs_a_database(installed: Path, tmp_path: Path, database: TestDatabase) -> None:
    database.query("CREATE TABLE memos (id serial PRIMARY KEY); INSERT INTO memos SELECT generate_series(1, 3)")
    with pytest.raises(psycopg2.errors.UniqueViolation):
        database.query("INSERT INTO memos DEFAULT VALUES")
    host = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    host |= {f"rollback_{option}": value for option, value in database.login().items()}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"databases": {"hosts": {"sample": host}}}), encoding="utf-8")

    command = ["-i", "hosts.yml", "pgops.rollback.rollback", "--tags", "sequence"]
    done = run("ansible-playbook", *command, cwd=tmp_path, ANSIBLE_COLLECTIONS_PATH=str(installed))

    assert done.returncode == 0, done.stdout + done.stderr
    assert database.value("INSERT INTO memos DEFAULT VALUES RETURNING id") == 4
    report = json.loads((tmp_path / "artifacts/sample/latest/report.json").read_text(encoding="utf-8"))
    assert (report["host"], report["verdict"]) == ("sample", "changed")
