# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The file of a rollback manifest, and what is said of one that cannot be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader

from ansible_collections.pgops.rollback.plugins.lookup.manifest_file import LookupModule


def read(path: Any) -> dict[str, Any]:
    (found,) = LookupModule(loader=DataLoader()).run([path])
    return dict(found)


@pytest.mark.parametrize("text", ["tables: [public.notes]\n", '{"tables": ["public.notes"]}'])
def test_yaml_or_json_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (tmp_path / "manifest").write_text(text, encoding="utf-8")
    monkeypatch.setenv("PWD", str(tmp_path))
    assert read("manifest") == read(tmp_path / "manifest") == {"tables": ["public.notes"]}


def test_an_empty_file_names_nothing(tmp_path: Path) -> None:
    (tmp_path / "manifest").touch()
    assert read(tmp_path / "manifest") == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "there is no such file"),
        ("- a\n- b\n", "it is no dictionary"),
        ("tables: [a, b\nx: {", "did not find expected"),
    ],
)
def test_what_cannot_be_read_says_why(tmp_path: Path, text: str | None, words: str) -> None:
    if text is not None:
        (tmp_path / "manifest").write_text(text, encoding="utf-8")
    unreadable = read(tmp_path / "manifest")["unreadable"]
    assert unreadable.startswith(f"{tmp_path}/manifest: ")
    assert words in unreadable
    assert "\n" not in unreadable
    assert "there is no such file" in read(tmp_path)["unreadable"]
