# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The difference of two snapshots: what belongs together, what was not compared, and the words for it."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.catalog_difference import Difference, compare
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_object import CatalogObject
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_privileges import privileges
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_snapshot import Snapshot

TABLE = CatalogObject("table", "public.t", "public", "", {"row_security": True})
COLUMN = CatalogObject("column", "public.t.id", "public", "t", {"type": "integer", "not_null": True})
KEY = CatalogObject("constraint", "t_pkey on public.t", "public", "t", {"definition": "PRIMARY KEY (id)"})
INDEX = CatalogObject("index", "t_pkey on public.t", "public", "t", {"constraint": "t_pkey"})
SEQUENCE = CatalogObject("sequence", "public.t_id_seq", "public", "", {"owned_by": "public.t.id"})
POLICY = CatalogObject("policy", "own on public.t", "public", "t", {"command": "ALL"})
EVERYTHING = [TABLE, COLUMN, KEY, INDEX, SEQUENCE, POLICY]


def snapshot(*objects: CatalogObject, unreadable: tuple[str, ...] = ()) -> Snapshot:
    ordered = sorted(objects, key=lambda each: each.key)
    return Snapshot(
        "db", "1", 150000, "me", "2026-11-25T02:00:00Z", {each.key: each for each in ordered},
        unreadable=[{"kind": kind, "name": "*", "reason": "denied"} for kind in unreadable],
    )  # fmt: skip


def without(*gone: CatalogObject) -> Difference:
    return compare(snapshot(*EVERYTHING), snapshot(*(each for each in EVERYTHING if each not in gone)))


def test_a_table_goes_with_all_it_has() -> None:
    found = without(*EVERYTHING)
    assert found.texts() == ["table public.t is gone"]
    assert {each.object.kind: each.within for each in found.dropped} == {
        "table": "", "column": "table public.t", "constraint": "table public.t", "index": "table public.t",
        "policy": "table public.t", "sequence": "column public.t.id",
    }  # fmt: skip


def test_an_index_goes_with_its_constraint() -> None:
    assert without(KEY, INDEX).texts() == ["constraint t_pkey on public.t is gone"]
    assert without(INDEX).texts() == ["index t_pkey on public.t is gone"]


def test_a_sequence_goes_with_its_column() -> None:
    assert without(COLUMN, SEQUENCE).texts() == ["column public.t.id is gone"]
    assert without(SEQUENCE).texts() == ["sequence public.t_id_seq is gone"]


def test_what_could_not_be_read_is_neither_gone_nor_new() -> None:
    for sides in ((snapshot(*EVERYTHING), snapshot(TABLE, unreadable=("policy",))),
                  (snapshot(TABLE, unreadable=("policy",)), snapshot(*EVERYTHING))):
        found = compare(*sides)
        assert found.not_compared == ["policy"]
        assert "policy" not in {each.object.kind for each in [*found.dropped, *found.created]}


def test_equal_snapshots_differ_in_nothing() -> None:
    assert compare(snapshot(*EVERYTHING), snapshot(*EVERYTHING)) == Difference()


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        ({"row_security": True}, {"row_security": False},
         "row level security of table public.t is off; it was on"),
        ({"privileges": {"anon": ["SELECT"]}}, {}, "anon lost SELECT on table public.t"),
        ({}, {"privileges": {"anon": ["INSERT", "SELECT"]}}, "anon gained INSERT, SELECT on table public.t"),
        ({"owner": "a"}, {"owner": "b"}, "table public.t belongs to b; it belonged to a"),
        ({"comment": "x"}, {}, "table public.t has lost its comment, which was x"),
        ({}, {"options": ["fillfactor=70"]}, "table public.t has options fillfactor=70; it had none"),
    ],
)  # fmt: skip
def test_the_words(before: dict[str, Any], after: dict[str, Any], text: str) -> None:
    old, new = (CatalogObject("table", "public.t", "public", "", attributes) for attributes in (before, after))
    assert compare(snapshot(old), snapshot(new)).texts() == [text]


def test_privileges_as_the_catalogs_print_them() -> None:
    acl = '{me=arw/me,=r/me,anon=r*a/bob,"\\"odd \\"\\"role\\"=x/me"}'
    assert privileges(acl, "me") == {
        "anon": ["INSERT BY bob", "SELECT WITH GRANT OPTION BY bob"],
        "me": ["INSERT", "SELECT", "UPDATE"],
        'odd "role': ["REFERENCES"],
        "public": ["SELECT"],
    }
