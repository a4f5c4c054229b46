# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The release went wrong, the advice was right, and the database is well again."""

from __future__ import annotations

import json
from typing import Any

import pytest


@pytest.fixture(scope="module")
def artifacts(host: Any) -> str:
    return str(host.ansible("debug", 'msg="{{ rollback_artifacts_dir }}"', check=False)["msg"])


def content(host: Any, path: str) -> Any:
    return json.loads(host.file(path).content_string)


def test_what_was_wrong_was_seen_and_the_right_thing_advised(host: Any, artifacts: str) -> None:
    assert content(host, f"{artifacts}/advice.json") == {
        "advice": "sequence_reset",
        # Broken; mended; without the migration.
        "verdicts": ["failed", "ok", "ok"],
    }


def test_the_manifest_has_what_the_migration_made_and_nothing_else(host: Any, artifacts: str) -> None:
    manifest = content(host, f"{artifacts}/default/baselines/release-42-manifest.json")
    assert manifest["functions"] == [
        "public.create_coach_connection(uuid, uuid)", "public.get_unread_memo_count(uuid, uuid)",
    ]  # fmt: skip
    # They were there before: IF NOT EXISTS skipped them.
    assert manifest["tables"] == []
    assert {"kind": "table", "name": "public.sponsor_connections"} in manifest["protected"]


def test_it_worked(host: Any, artifacts: str) -> None:
    report = content(host, f"{artifacts}/default/molecule/report.json")
    assert {step["name"]: step["status"] for step in report["steps"]} == {
        "baseline": "ok", "manifest": "ok", "sequence": "changed", "plan": "ok", "teardown": "changed",
        "undo": "changed", "verify": "ok",
    }  # fmt: skip
