# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The runbook explains every code: its tables are written from the code, and leave no refusal out."""

from __future__ import annotations

import ast

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.report import REFUSALS
from tools import error_codes


def test_every_refusal_is_explained() -> None:
    found, blockers = error_codes.codes()
    assert error_codes.refusals() == set(REFUSALS)
    assert sorted(set(REFUSALS) - found.keys()) == []
    assert {"provenance_unknown", "backup_unverified"} <= blockers


def test_the_page_has_them() -> None:
    text = error_codes.PAGE.read_text(encoding="utf-8")
    assert error_codes.page(text) == text


def test_a_remedy_that_is_written_twice_is_the_same() -> None:
    source = (error_codes.UTILS / "teardown_attempts.py").read_text(encoding="utf-8")
    assert error_codes.REFUSED in source


@pytest.mark.parametrize(
    ("source", "read"),
    [
        ('"It is so."', "It is so."),
        ('f"{name} is so."', "… is so."),
        ('"It " + f"is {how}."', "It is …."),
        ('f"It is {\'a\' if x else \'b\'}."', "It is a / b."),
        ("message", "…"),
    ],
)
def test_how_a_message_reads(source: str, read: str) -> None:
    assert error_codes.text(ast.parse(source, mode="eval").body) == read


def test_what_is_raised_is_found() -> None:
    source = 'raise RollbackError("gone", f"{x} is gone.", "Make it.")\nBlocker("in_way", "It is.", "Move it.")'
    assert list(error_codes.raised(ast.parse(source))) == [
        ("RollbackError", "gone", "… is gone.", "Make it."), ("Blocker", "in_way", "It is.", "Move it."),
    ]  # fmt: skip
