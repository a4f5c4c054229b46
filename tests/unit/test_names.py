# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Signatures of functions are taken apart where their types begin, whatever the names are."""

from __future__ import annotations

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.names import parse_name, split_signature


@pytest.mark.parametrize(
    ("text", "name", "types"),
    [
        ("public.f(integer, text)", ("public", "f"), "(integer, text)"),
        ('public."f (x)"(integer)', ("public", "f (x)"), "(integer)"),
        ('"f(x)"()', ("f(x)",), "()"),
        ('"a""(b"."c)"(public."t (1)", numeric(10,2))', ('a"(b', "c)"), '(public."t (1)", numeric(10,2))'),
        ("f (int) ", ("f",), "(int) "),
        ("f", ("f",), ""),
    ],
)
def test_signatures(text: str, name: tuple[str, ...], types: str) -> None:
    before, found = split_signature(text)
    assert (parse_name(before, "function"), found) == (name, types)


@pytest.mark.parametrize("text", ["f(", "(int)", '"f(int)', "f(a)b", "f g(int)"])
def test_what_is_no_signature(text: str) -> None:
    with pytest.raises(RollbackError, match="is not a name as SQL writes it"):
        parse_name(split_signature(text)[0], "function")
