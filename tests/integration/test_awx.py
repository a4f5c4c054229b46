# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What docs/awx/configure.yml would make fits together, and the plan's job hands on what the teardown's job wants."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.test_pages import VARIABLES, wrong
from tests.support.database import ROOT, TestDatabase
from tests.support.playbook import inventory, report, rollback, rollback_variables, steps
from tests.support.teardown import load_application

AWX = ROOT / "docs/awx"
PLAY: dict[str, Any] = yaml.safe_load((AWX / "configure.yml").read_text(encoding="utf-8"))[0]
TEMPLATES: list[dict[str, Any]] = PLAY["vars"]["__awx_templates"]


def made(module: str) -> dict[str, Any]:
    """The arguments of the task that makes it."""
    (task,) = [task for task in PLAY["tasks"] if f"awx.awx.{module}" in task]
    arguments: dict[str, Any] = task[f"awx.awx.{module}"]
    return arguments


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template["name"])
def test_a_job_template_names_what_there_is(template: dict[str, Any]) -> None:
    playbook, tags = template["playbook"], template.get("job_tags")
    assert (ROOT / playbook).exists()
    # The plan's is a playbook around rollback.yml.
    playbook = playbook.replace("docs/awx/plan.yml", "rollback.yml")
    assert wrong(f"ansible-playbook {playbook}" + (f" --tags {tags}" if tags else "")) == []
    asked = {question["variable"] for question in template.get("survey", [])}
    assert asked | set(template.get("extra_vars", {})) <= VARIABLES


def test_the_workflow_leads_from_the_plan_over_an_approval_to_the_end() -> None:
    nodes = {node["identifier"]: node for node in made("workflow_job_template")["workflow_nodes"]}
    path, here = [], "plan"
    while here:
        path.append(here)
        # Nothing follows a failure.
        related = nodes[here].get("related", {"success_nodes": [{"identifier": ""}]})
        assert set(related) == {"success_nodes"}
        (here,) = [each["identifier"] for each in related["success_nodes"]]
    assert path == ["plan", "approve", "teardown", "verify"] == list(nodes)
    approval = nodes.pop("approve")["unified_job_template"]
    assert (approval["type"], "timeout" in approval) == ("workflow_approval", True)
    names = {template["name"] for template in TEMPLATES}
    assert {node["unified_job_template"]["name"] for node in nodes.values()} | {
        made("schedule")["unified_job_template"]
    } <= names


@pytest.mark.full
def test_the_plan_hands_its_token_on_to_the_teardown(database: TestDatabase, tmp_path: Path) -> None:
    load_application(database)
    host = {**rollback_variables(database.login()), "teardown_allow_unknown_provenance": True}
    inventory(tmp_path, {"db1": host})
    planned = rollback(tmp_path, "--tags", "plan", playbook=AWX / "plan.yml", ANSIBLE_SHOW_CUSTOM_STATS="1")
    assert planned.returncode == 0, planned.stdout
    match = re.search(r"rollback_confirm\W+(rb-[0-9a-f]{12})\b", planned.stdout)
    assert match, planned.stdout
    # As AWX gives what set_stats kept to the next node.
    handed = json.dumps({"rollback_confirm": match[1]})
    assert rollback(tmp_path, "--tags", "teardown", "-e", handed).returncode == 0
    assert steps(report(tmp_path, "db1"))["teardown"] == "changed"
