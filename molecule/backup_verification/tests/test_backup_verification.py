# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""After the role: evidence of a drill that passed, and nothing left of the drill."""

from __future__ import annotations

import json
from typing import Any

import pytest


@pytest.fixture(scope="module")
def scratch(host: Any) -> str:
    return str(host.ansible("debug", 'msg="{{ molecule_scratch }}"', check=False)["msg"])


@pytest.fixture(scope="module")
def record(host: Any, scratch: str) -> dict[str, Any]:
    """The evidence that a teardown would accept."""
    (name,) = host.file(f"{scratch}/artifacts").listdir()
    latest = host.file(f"{scratch}/artifacts/{name}/backup/latest-drill.json")
    found: dict[str, Any] = json.loads(latest.content_string)
    return found


def test_every_rung_was_climbed(record: dict[str, Any]) -> None:
    assert {rung["name"]: rung["status"] for rung in record["rungs"]} == {
        "exists": "ok", "freshness": "ok", "integrity": "ok", "drill": "ok",
    }  # fmt: skip


def test_every_row_was_compared(record: dict[str, Any]) -> None:
    checks = {check["name"]: check["status"] for rung in record["rungs"] for check in rung["details"]["checks"]}
    assert [checks[name] for name in ("manifest_sha256", "inventory", "counts", "hashes", "cleanup")] == ["passed"] * 5


def test_the_evidence_is_private(host: Any, scratch: str, record: dict[str, Any]) -> None:
    directory = host.file(f"{scratch}/artifacts/backup-verification/backup")
    assert directory.mode & 0o077 == 0
    assert record["host"] == "backup-verification"


def test_the_metrics_can_be_collected(host: Any, scratch: str) -> None:
    metrics = host.file(f"{scratch}/backup.prom")
    assert metrics.mode & 0o044 == 0o044
    assert "pg_backup_verify_success{" in metrics.content_string


def test_nothing_of_the_drill_is_left(host: Any) -> None:
    user_id = host.run("id -u").stdout.strip()
    clusters = host.file(f"/tmp/pgops-{user_id}").listdir()
    assert not [name for name in clusters if name.startswith("drill-")]
