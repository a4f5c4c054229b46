# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The releases of Ansible that are supported, beside the locked one: the artifact in an environment of each."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from ansible_collections.pgops.rollback.plugins.module_utils.disposable_states import Request
from tests.support.artifact import build_artifact, install, run
from tests.support.database import WHEELS, TestDatabase, running_cluster
from tests.support.playbook import report, rollback_variables
from tests.support.teardown import load_application

pytestmark = pytest.mark.full


class Release(NamedTuple):
    """:ivar package: what pip installs; it carries community.postgresql.
    :ivar core: what ansible-core has to begin with then, and ``postgresql`` that collection.
    """

    python: str
    package: str
    core: str
    postgresql: str


RELEASES = [
    # That of AAP 2.5, with a community.postgresql 3.x.
    Release("3.11", "ansible>=9,<10", "2.16.", "3."),
    # The newest for each Python.
    Release("3.11", "ansible", "2.19.", "4."),
    Release("3.12", "ansible", "2.", "4."),
    Release("3.13", "ansible", "2.", "4."),
]


def interpreter(version: str) -> str:
    """A Python that really runs: what answers to a name may be a version manager's shim without one behind it."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    managed = sorted((root / "versions").glob(f"{version}.*/bin/python"), reverse=True)
    for python in filter(None, [shutil.which(f"python{version}"), *map(str, managed)]):
        if subprocess.run([python, "-c", "import ensurepip, venv"], capture_output=True, check=False).returncode == 0:
            return python
    pytest.skip(f"there is no Python {version} on this machine")


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_artifact(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="module")
def application() -> Iterator[TestDatabase]:
    """In a cluster of its own: the releases of Postgres make no difference here, and this takes minutes."""
    wanted = Request(major=None, wheels=WHEELS, settings={"wal_level": "logical"})
    with running_cluster(f"releases-{os.getpid()}", wanted) as cluster:
        made = TestDatabase(cluster)
        made.create()
        load_application(made)
        yield made


@pytest.fixture
def programs(release: Release, tmp_path: Path) -> Path:
    """The environment's directory of programs."""
    path = tmp_path / "environment"
    subprocess.run([interpreter(release.python), "-m", "venv", path], check=True)
    installed = subprocess.run(
        [path / "bin/pip", "install", "--quiet", "--disable-pip-version-check", release.package, "psycopg2-binary"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert installed.returncode == 0, installed.stderr
    return path / "bin"


@pytest.mark.timeout(900)
@pytest.mark.parametrize("release", RELEASES, ids=lambda release: f"{release.package} on {release.python}")
def test_an_installed_collection_works(
    release: Release, programs: Path, artifact: Path, tmp_path: Path, application: TestDatabase
) -> None:
    collections = tmp_path / "collections"
    collections.mkdir()
    install(artifact, collections, programs)

    def ansible(program: str, *arguments: str) -> str:
        done = run(program, *arguments, cwd=tmp_path, programs=programs, ANSIBLE_COLLECTIONS_PATH=str(collections))
        assert done.returncode == 0, done.stdout + done.stderr
        assert "DEPRECATION" not in done.stderr
        return done.stdout

    def play(name: str, *arguments: str) -> str:
        ansible("ansible-playbook", "-i", "hosts.yml", f"pgops.rollback.{name}", *arguments)
        return str(report(tmp_path, "db1")["verdict"])

    assert f"[core {release.core}" in ansible("ansible", "--version")
    listed = json.loads(ansible("ansible-galaxy", "collection", "list", "community.postgresql", "--format", "json"))
    (found,) = (there["community.postgresql"] for there in listed.values())
    assert found["version"].startswith(release.postgresql)

    application.query("SELECT setval('public.virtues_id_seq', 1, false)")
    host = {
        **rollback_variables(application.login()), "ansible_connection": "local",
        "ansible_python_interpreter": "{{ ansible_playbook_python }}", "teardown_allow_unknown_provenance": True,
    }  # fmt: skip
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"databases": {"hosts": {"db1": host}}}), encoding="utf-8")

    assert play("rollback", "--tags", "sequence") == "changed"
    assert play("baseline", "--tags", "dump") == "changed"
    dumps = f"backup_verification_path={tmp_path}/artifacts/db1/dumps"
    assert play("verify_backup", "-e", "backup_verification_source=pg_dump", "-e", dumps) == "ok"
    assert play("rollback", "--tags", "plan") == "ok"
    plan = json.loads((tmp_path / "artifacts/db1/latest/plan.json").read_text(encoding="utf-8"))
    assert play("rollback", "--tags", "teardown", "-e", f"rollback_confirm={plan['token']}") == "changed"
    assert play("undo") == "changed"
    assert application.value("SELECT count(*) FROM public.sponsor_chat_messages") == 2500
