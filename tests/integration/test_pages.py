# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the pages say is done: their commands in their order on a database of one's own, and what they show of output.

A block that cannot be run has a comment above it, `<!-- not run: the reason -->`.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.artifact import BIN
from tests.support.database import ROOT, TestDatabase
from tests.support.dumps import take_dump
from tests.support.pages import Block, blocks
from tests.support.playbook import inventory, rollback_variables, surroundings
from tests.support.teardown import COACHING

PAGES = [ROOT / "README.md", ROOT / "docs/ROLLBACK_PROCEDURES.md", ROOT / "docs/BACKUP_VERIFICATION.md"]
#: Their commands are for an inventory that is yours; what they say is done in tests of its own.
READ = [*PAGES, ROOT / "docs/FLEETS.md", ROOT / "docs/AWX.md"]
PROGRAMS = ("ansible-playbook", "make", "source", "grep")
#: What a command may be given besides the options of roles.
VARIABLES = frozenset(
    re.findall(r"\b[a-z]+_\w+\b", "".join(
        path.read_text(encoding="utf-8")
        for pattern in ("roles/*/meta/argument_specs.yml", "playbooks/*.yml", "docs/awx/*.yml")
        for path in ROOT.glob(pattern)
    ))
)  # fmt: skip


def commands(block: Block) -> list[str]:
    """Of a block that is to be typed: its lines, without their remarks."""
    lines = [re.sub(r"\s+#.*", "", line) for line in block.text.replace("\\\n", "").splitlines()]
    return [line for line in lines if line.split(" ")[0] in PROGRAMS]


def named(page: Path) -> str:
    return page.name


def wrong(command: str) -> list[str]:
    """What is wrong with a command, as far as that can be seen without running it."""
    words = shlex.split(command)
    if words[0] != "ansible-playbook":
        return []
    (playbook,) = [word for word in words if word.endswith(".yml")]
    if not (ROOT / playbook).exists():
        return [f"{playbook} does not exist"]
    parts = [playbook, *(["playbooks/steps.yml", "playbooks/teardown.yml"] if playbook == "rollback.yml" else [])]
    text = "".join((ROOT / part).read_text(encoding="utf-8") for part in parts)
    found = []
    for option, value in pairwise(words):
        if option == "--tags":
            found += [f"no tag {tag}" for tag in value.split(",") if not re.search(rf"\b{tag}\b", text)]
        if option == "-e":
            names = json.loads(value) if value.startswith("{") else [value.split("=")[0]]
            found += [f"no variable {name}" for name in names if name not in VARIABLES]
    return found


@pytest.mark.parametrize("page", READ, ids=named)
def test_what_is_typed_exists(page: Path) -> None:
    typed = [command for block in blocks(page) for command in commands(block)]
    assert typed
    assert {command: found for command in typed if (found := wrong(command))} == {}


@pytest.mark.parametrize("page", READ, ids=named)
def test_what_is_set_exists(page: Path) -> None:
    for block in blocks(page):
        if not commands(block) and block.language in ("", "yaml"):
            content = yaml.safe_load(block.text)
            names = content if "databases" not in content else content["databases"]["hosts"]["app"]
            assert [name for name in names if not name.startswith("ansible_") and name not in VARIABLES] == []


@pytest.mark.parametrize(
    ("command", "found"),
    [
        ("ansible-playbook gone.yml", ["gone.yml does not exist"]),
        ("ansible-playbook rollback.yml --tags sequnce,verify", ["no tag sequnce"]),
        ("ansible-playbook playbooks/undo.yml -e rollback_budnle=x", ["no variable rollback_budnle"]),
    ],
)
def test_what_does_not_exist_is_found(command: str, found: list[str]) -> None:
    assert wrong(command) == found


class World:
    """A checkout whose inventory has one database: the sample application before its migration, out of step."""

    def __init__(self, directory: Path, database: TestDatabase) -> None:
        self.directory, self.database = directory, database
        for name in ("ansible.cfg", "rollback.yml", "playbooks", "collections"):
            (directory / name).symlink_to(ROOT / name)
        (directory / ".venv").symlink_to(sys.prefix)
        for name, user in (("sample_application", "postgres"), ("break_sequences", "operator")):
            self._script(name, user)
        gone = ", ".join(COACHING["tables"])
        database.query(
            f"DROP TABLE {gone} CASCADE; DROP FUNCTION {', '.join(COACHING['functions'])};"
            " CREATE POLICY all_of_it ON public.sponsor_feedback TO authenticated USING (true)"
        )
        (directory / "backups").mkdir()
        (directory / "inventories/local").mkdir(parents=True)
        variables: dict[str, Any] = {
            "rollback_migration": "release-42",
            "backup_verification_source": "pg_dump",
            "backup_verification_path": str(directory / "backups"),
        }
        inventory(directory / "inventories/local", {"db1": {**rollback_variables(database.login()), **variables}})
        self._back_up()

    def _script(self, name: str, user: str) -> None:
        self.database.query((ROOT / f"demo/{name}.sql").read_text(encoding="utf-8"), user=user)

    def _back_up(self) -> None:
        """As every night, and verified as every night."""
        take_dump(self.database, self.directory / "backups", "custom")
        self.run("ansible-playbook playbooks/verify_backup.yml")

    def run(self, command: str) -> str:
        """The output; a migration follows the baseline before it."""
        if "rb-…" in command:
            plan = json.loads((self.directory / "artifacts/db1/latest/plan.json").read_text(encoding="utf-8"))
            command = command.replace("rb-…", plan["token"])
        environment = surroundings(self.directory)
        done = subprocess.run(
            ["bash", "-c", command], cwd=self.directory, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            env={**environment, "PATH": f"{BIN}:{environment['PATH']}"}, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        if command.startswith("ansible-playbook playbooks/baseline.yml"):
            self._script("coaching_migration", "operator")
            self._back_up()
        return done.stdout


def shown(block: Block, output: str) -> list[str]:
    """The lines of a block of output that were not in the output; … stands for anything, spaces for spaces."""
    flat = " ".join(output.split())
    wanted = [r".*".join(map(re.escape, " ".join(line.split()).split("…"))) for line in block.text.splitlines() if line]
    return [pattern for pattern in wanted if not re.search(pattern, flat)]


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", PAGES, ids=named)
def test_what_the_page_says_works(page: Path, tmp_path: Path, database: TestDatabase) -> None:
    world = World(tmp_path, database)
    output = ""
    for block in blocks(page):
        if block.not_run:
            continue
        if block.language == "sql":
            database.query(block.text)
        elif block.language == "text":
            assert shown(block, output) == [], output
        else:
            for command in commands(block):
                output = world.run(command)
