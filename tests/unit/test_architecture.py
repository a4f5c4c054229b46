# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The picture in docs/ARCHITECTURE.md is of this tree: everything in it exists, and nothing is left out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.pages import blocks

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/ARCHITECTURE.md"
PICTURE = next(block.text for block in blocks(PAGE) if block.language == "mermaid")


def drawn(part: str) -> set[str]:
    """The nodes of one part of the picture; of a node with a label (where a name is taken already), the label."""
    match = re.search(rf"^  subgraph {part}\n(.*?)^  end$", PICTURE, flags=re.DOTALL | re.MULTILINE)
    assert match, part
    nodes = re.split(r"\s*(?:-->|&|\n)\s*", match[1].strip())
    return {re.sub(r".*\[(.*)\]", r"\1", node) for node in nodes}


def there(pattern: str) -> set[str]:
    return {path.name if path.is_dir() or path.suffix == ".yml" else path.stem for path in ROOT.glob(pattern)}


@pytest.mark.parametrize(
    ("part", "pattern"),
    [("playbooks", "playbooks/*.yml"), ("roles", "roles/*"), ("modules", "plugins/modules/*.py")],
)
def test_the_picture_is_of_this_tree(part: str, pattern: str) -> None:
    assert drawn(part) == there(pattern)


def test_its_groups_of_utils_exist() -> None:
    assert {name for name in drawn("module_utils") if not any(ROOT.glob(f"plugins/module_utils/{name}.py"))} == set()


def test_the_names_in_the_text_exist() -> None:
    text = re.sub(r"^```.*?^```", "", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    utils, paths = set(re.findall(r"`(\w+[.]py)`", text)), set(re.findall(r"`([a-z_]+(?:/[a-z_]+)*)`", text))
    assert len(utils) > 20
    assert [name for name in sorted(utils) if not (ROOT / "plugins/module_utils" / name).exists()] == []
    # A word alone may be anything, an argument for example; one of these is a directory.
    directories = {path for path in paths if "/" in path} | {"demo", "molecule", "benchmarks", "tools"}
    assert [path for path in sorted(directories) if not (ROOT / path).exists()] == []


def test_what_is_not_there_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "PICTURE", "  subgraph roles\n    gone --> other[teardown]\n    a & b\n  end\n")
    assert drawn("roles") == {"gone", "teardown", "a", "b"}
