# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""After the role: every check ran on a healthy database and passed, and nothing was written to it."""

from __future__ import annotations

import json
from typing import Any

import pytest


@pytest.fixture(scope="module")
def artifacts(host: Any) -> str:
    return str(host.ansible("debug", 'msg="{{ rollback_artifacts_dir }}"', check=False)["msg"])


@pytest.fixture(scope="module")
def checks(host: Any, artifacts: str) -> dict[str, str]:
    report = json.loads(host.file(f"{artifacts}/post-rollback-verification/molecule/report.json").content_string)
    (step,) = report["steps"]
    assert (step["name"], step["status"], report["verdict"]) == ("verify", "ok", "ok")
    return {check["name"]: check["status"] for check in step["details"]["checks"]}


def test_every_check_passed(checks: dict[str, str]) -> None:
    assert set(checks.values()) == {"passed"}


@pytest.mark.parametrize(
    "name",
    ["sequences", "keys_without_default", "constraints", "indexes", "references", "row_security_kept", "grants_kept",
     "catalog_kept", "row_counts", "pairs"],
)  # fmt: skip
def test_it_was_looked_at(checks: dict[str, str], name: str) -> None:
    assert checks[name] == "passed"


def test_the_baseline_is_private(host: Any, artifacts: str) -> None:
    baseline = host.file(f"{artifacts}/post-rollback-verification/baselines/release-42-before.json")
    assert baseline.mode == 0o600
    assert json.loads(baseline.content_string)["migration"] == "release-42"


def test_the_report_can_be_read_by_people_and_by_machines(host: Any, artifacts: str) -> None:
    directory = f"{artifacts}/post-rollback-verification/molecule"
    assert "<!DOCTYPE html>" in host.file(f"{directory}/report.html").content_string
    assert "<testsuites " in host.file(f"{directory}/junit.xml").content_string
