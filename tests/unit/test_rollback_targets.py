# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""rollback.yml refuses what Ansible would run as nothing and call a success. None of these runs reaches a database."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleLookupError

from ansible_collections.pgops.rollback.plugins.lookup.rollback_targets import (
    RELEASE,
    require_known_tags,
    require_run_of_its_own,
    require_single,
)
from tests.support.playbook import ROOT, inventory, rollback

BUILT = ["sequence", "report"]
PLANNED = ["advise", "teardown"]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    inventory(tmp_path, {"db1": {}, "db2": {}})
    return tmp_path


def test_the_release_is_that_of_the_collection() -> None:
    assert yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))["version"] == RELEASE


@pytest.mark.parametrize(
    ("asked", "skipped"),
    [(["all"], []), (["sequence"], []), (["sequence", "report"], ["report"]), (["all"], ["sequence", "teardown"])],
)
def test_known_tags_are_accepted(asked: list[str], skipped: list[str]) -> None:
    require_known_tags(asked, skipped, BUILT, PLANNED)


@pytest.mark.parametrize(
    ("asked", "skipped", "message"),
    [
        (["sequnce"], [], 'has no tag "sequnce" for --tags; did you mean "sequence"? Known tags: sequence, report.'),
        (["sequence", "reprot"], [], 'did you mean "report"?'),
        ([""], [], 'has no tag "" for --tags.'),
        (["all", "sequence"], [], 'has no tag "all" for --tags'),
        (["never"], [], 'has no tag "never"'),
        (["tagged"], [], 'has no tag "tagged"'),
        (["untagged"], [], 'has no tag "untagged"'),
        (["always"], [], 'has no tag "always"'),
        (["teardown"], [], f'step of the tag "teardown" is not built in pgops.rollback {RELEASE}; nothing was done.'),
        (["sequence"], ["always"], 'has no tag "always" for --skip-tags.'),
        (["all"], ["all"], 'has no tag "all" for --skip-tags'),
        (["all"], ["sequenc"], 'did you mean "sequence"?'),
        (["sequence"], ["sequence", "report"], "Every tag asked for is also in --skip-tags"),
    ],
)
def test_other_tags_are_refused(asked: list[str], skipped: list[str], message: str) -> None:
    with pytest.raises(AnsibleLookupError) as error:
        require_known_tags(asked, skipped, BUILT, PLANNED)
    assert message in str(error.value)
    assert "othing was done" in str(error.value) or "nothing to do" in str(error.value)


def test_a_run_of_its_own() -> None:
    require_run_of_its_own(["all"], None, [])
    require_run_of_its_own(["teardown", "report"], "teardown", ["sequence"])
    with pytest.raises(AnsibleLookupError, match="Run advise, sequence before it or after it"):
        require_run_of_its_own(["sequence", "teardown", "advise"], "teardown", ["advise", "sequence"])
    with pytest.raises(AnsibleLookupError, match=r"nothing was done: rollback\.yml --tags teardown"):
        require_run_of_its_own(["all"], "teardown", [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tags", "sequnce"], 'did you mean "sequence"?'),
        (["--tags", "sequnce", "--limit", "db1"], 'did you mean "sequence"?'),
        (["--tags", "never"], 'has no tag "never"'),
        (["--tags", "purge", "--skip-tags", "teardown"], 'has no tag "teardown" for --skip-tags'),
        (["--tags", "purge,teardown"], "Run teardown before it or after it."),
        (["--skip-tags", "always"], 'has no tag "always" for --skip-tags'),
        (["-e", "rollback_hosts=nosuch"], 'The host pattern "nosuch" selects no host; nothing was done.'),
        (["-e", "rollback_hosts=databases:!db*"], "selects no host"),
        (["--limit", "other"], 'The host pattern "databases" with --limit "other" selects no host'),
        (["--start-at-task", "Report"], "--start-at-task finds no task"),
    ],
)
def test_a_run_that_would_do_nothing_is_refused(directory: Path, arguments: list[str], message: str) -> None:
    with (directory / "inventory.yml").open("a", encoding="utf-8") as file:
        file.write("webservers: {hosts: {other: {}}}\n")
    done = rollback(directory, *arguments)
    assert done.returncode not in (0, 2)
    assert message in done.stdout + done.stderr
    assert "TASK" not in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert not (directory / "artifacts").exists()


def test_an_inventory_without_groups_is_named(directory: Path) -> None:
    (directory / "inventory.yml").write_text("{}", encoding="utf-8")
    done = rollback(directory)
    assert done.returncode not in (0, 2)
    assert "The inventory has no group: check -i, --limit and rollback_hosts." in done.stdout + done.stderr


@pytest.mark.parametrize(
    "name", ["rollback.yml", "playbooks/teardown.yml", "playbooks/undo.yml", "playbooks/expire_bundles.yml"]
)
@pytest.mark.parametrize("option", ["--syntax-check", "--list-hosts", "--list-tasks", "--list-tags"])
def test_looking_at_the_playbook_needs_no_host(directory: Path, option: str, name: str) -> None:
    (directory / "inventory.yml").write_text("{}", encoding="utf-8")
    assert rollback(directory, option, playbook=ROOT / name).returncode == 0


@pytest.mark.parametrize("asked", [["plan"], ["plan", "restore"], ["purge"], []])
def test_one_of_several_steps_is_accepted(asked: list[str]) -> None:
    require_single(asked, ["restore", "purge"])


def test_two_of_them_are_refused() -> None:
    with pytest.raises(AnsibleLookupError, match="One run does one of restore, purge, and nothing was done"):
        require_single(["purge", "plan", "restore"], ["restore", "purge"])
