# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""CONTRIBUTING.md is followed, letter by letter, in a copy of the checkout."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.artifact import tracked_files
from tests.support.database import ROOT, TestDatabase
from tests.support.modules import run_module
from tests.support.pages import blocks
from tests.support.teardown import load_application

PAGE = blocks(ROOT / "CONTRIBUTING.md")
#: What the example's migration creates.
MIGRATION = """
CREATE TABLE badges (id int); CREATE SCHEMA "Shop"; CREATE TABLE "Shop"."Order.Items" (id int);
CREATE FUNCTION award(uuid, text) RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE SEQUENCE badge_numbers;
"""


def apply(change: str, checkout: Path) -> None:
    """A diff without line numbers: each hunk replaces the only place that reads like its old side."""
    head, *lines = change.splitlines()
    file = checkout / head.removeprefix("--- ")
    text = file.read_text(encoding="utf-8")
    for hunk in re.split(r"^@@\n", "\n".join([*lines, ""]), flags=re.MULTILINE):
        old, new = (
            "".join(f"{line[1:]}\n" for line in hunk.splitlines() if line[0] in kept) for kept in (" -", " +")
        )
        assert text.count(old) == 1, f"{file} has {text.count(old)} times:\n{old}"
        text = text.replace(old, new)
    file.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With all that the page adds."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in tracked_files():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy / name, follow_symlinks=False)
    for block in PAGE:
        if block.language == "python":
            name, text = block.text.removeprefix("# ").split("\n", 1)
            (copy / name).write_text(text, encoding="utf-8")
        elif block.language == "diff":
            apply(block.text, copy)
    return copy


def run(checkout: Path, *words: str) -> None:
    done = subprocess.run([sys.executable, "-m", *words], cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_examples_work(checkout: Path) -> None:
    written = [block.text.removeprefix("# ").split("\n")[0] for block in PAGE if block.language == "python"]
    tests = [name for name in written if name.startswith("tests/")]
    assert len(tests) == 2
    run(checkout, "pytest", "-q", "-p", "no:cacheprovider", *tests)


@pytest.mark.full
def test_the_examples_are_clean(checkout: Path) -> None:
    run(checkout, "ruff", "check", "--no-cache", ".")
    run(checkout, "mypy", "--no-incremental", "plugins", "tests")


def test_the_manifest_is_one(database: TestDatabase) -> None:
    load_application(database)
    database.query(MIGRATION)
    (text,) = [block.text for block in PAGE if block.language == "yaml"]
    manifest = yaml.safe_load(text)
    options = {**database.login(), "manifest": manifest, "allow_unknown_provenance": True}
    plan = run_module("teardown_plan", options)["plan"]
    assert plan["blockers"] == plan["drift"] == []
    assert sorted(each["name"] for each in plan["objects"] if each["named"]) == [
        '"Shop"."Order.Items"', "public.award(uuid, text)", "public.badge_numbers", "public.badges",
    ]  # fmt: skip
    checked = run_module("rollback_verify", {**database.login(), "checks": manifest["checks"]})
    (own,) = [check for check in checked["checks"] if check["name"].startswith("manifest: ")]
    assert own["status"] == "passed"


def test_a_change_that_fits_nowhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "file.py").write_text("one\ntwo\n", encoding="utf-8")
    with pytest.raises(AssertionError, match="0 times"):
        apply("--- file.py\n three\n+four\n", tmp_path)
    apply("--- file.py\n one\n+between\n@@\n-two\n+2\n", tmp_path)
    assert (tmp_path / "file.py").read_text(encoding="utf-8") == "one\nbetween\n2\n"
