# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which bodies name something that goes: for certain, possibly, or not at all, and in which line."""

from __future__ import annotations

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.teardown_bodies import (
    Gone,
    Mention,
    Wanted,
    mentions,
    path_of,
)
from ansible_collections.pgops.rollback.plugins.module_utils.verification_bodies import (
    FUNCTION_NAME,
    RELATION_NAME,
    Named,
)

ORDERS = Gone(Named(("public", "orders"), RELATION_NAME), "table public.orders")
SHARED = Gone(Named(("public", "orders"), RELATION_NAME), "table public.orders", frozenset({"archive"}))
ODD = Gone(Named(("Odd", "T.1"), RELATION_NAME), 'table "Odd"."T.1"')
TOTAL = Gone(Named(("public", "total"), FUNCTION_NAME), "function public.total(integer)")


def found(body: str, gone: Gone = ORDERS, language: str = "plpgsql", path: str | None = None) -> tuple[str, int] | None:
    every: list[Mention] = mentions(body, language, path_of(path), Wanted([gone]))
    assert len(every) <= 1
    return (("certain" if every[0].certain else "possible"), every[0].line) if every else None


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("\nBEGIN\n  PERFORM 1 FROM public.orders;\nEND", 3),
        ("BEGIN PERFORM 1 FROM orders; END", 1),
        ("BEGIN\n INSERT INTO\n  Orders (id) VALUES (1); END", 3),
        ('BEGIN UPDATE "public"."orders" SET id = 1; END', 1),
        ("BEGIN DELETE FROM ONLY public . orders; END", 1),
        ("DECLARE\n r public.orders%ROWTYPE;\nBEGIN END", 2),
        ("DECLARE r orders%ROWTYPE; BEGIN END", 1),
        ("DECLARE r orders.id%TYPE; BEGIN END", 1),
        ("DECLARE r public.orders; BEGIN END", 1),
        ("BEGIN TRUNCATE orders; END", 1),
        ("/* a\n comment */ SELECT 1; -- another\nSELECT id\nFROM a\nJOIN orders o USING (id)", 5),
        ("BEGIN x := nextval('public.orders'); END", 1),
        ("SELECT 'a\nb', $q$c\nd$q$ FROM orders", 3),
        # The certain one counts, though a possible one comes before it.
        ("BEGIN EXECUTE 'SELECT 1 FROM orders';\nPERFORM 1 FROM orders; END", 2),
    ],
)
def test_what_names_it_for_certain(body: str, line: int) -> None:
    assert found(body) == ("certain", line)


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("BEGIN\n EXECUTE 'SELECT 1 FROM public.orders'; END", 2),
        ("BEGIN EXECUTE format('SELECT 1\n FROM %I', 'orders'); END", 2),
        ("BEGIN EXECUTE $q$\nDO $r$BEGIN\nPERFORM 1 FROM orders; END$r$ $q$; END", 3),
        ("DECLARE r orders; BEGIN END", 1),
        ("BEGIN IF to_regclass('public.orders') IS NOT NULL THEN PERFORM 1 FROM public.orders; END IF; END", 1),
        ("BEGIN PERFORM 1 FROM orders; EXCEPTION WHEN undefined_table THEN NULL; END", 1),
    ],
)
def test_what_may_mean_it(body: str, line: int) -> None:
    assert found(body) == ("possible", line)


@pytest.mark.parametrize(
    "body",
    [
        "BEGIN -- FROM orders\nEND",
        "/* FROM public.orders */ SELECT 1",
        "SELECT 1 FROM archive.orders",
        "SELECT 1 FROM orders_old JOIN my_orders USING (id)",
        "SELECT a.orders FROM a",
        "BEGIN EXECUTE 'SELECT 1 FROM archive.orders'; END",
        "WITH orders AS (SELECT 1) SELECT orders.id FROM a",
        'SELECT 1 FROM "Orders"',
    ],
)
def test_what_does_not(body: str) -> None:
    assert found(body) is None


def test_a_name_that_others_have_is_only_possible_unless_the_path_tells() -> None:
    body = "SELECT 1 FROM orders"
    assert found(body, SHARED) == ("possible", 1)
    assert found(body, SHARED, path='"$user", public, archive') == ("certain", 1)
    assert found(body, SHARED, path="archive, public") is None
    assert found(body, SHARED, path="''") is None
    assert found("SELECT 1 FROM public.orders", SHARED, path="archive") == ("certain", 1)


def test_odd_names_are_taken_letter_by_letter() -> None:
    assert found('SELECT 1 FROM "Odd"."T.1"', ODD) == ("certain", 1)
    assert found('SELECT 1 FROM "T.1"', ODD) == ("certain", 1)
    assert found('SELECT 1 FROM "odd"."T.1"', ODD) is None
    assert found("BEGIN EXECUTE 'SELECT 1 FROM \"Odd\".\"T.1\"'; END", ODD) == ("possible", 1)


def test_a_function_is_named_by_a_call() -> None:
    assert found("SELECT\npublic.total(1)", TOTAL) == ("certain", 2)
    assert found("SELECT total (1)", TOTAL) == ("certain", 1)
    assert found("SELECT total FROM a", TOTAL) is None
    assert found("SELECT other.total(1)", TOTAL) is None
    overloaded = Gone(TOTAL.named, TOTAL.label, frozenset({"public"}), certain=False)
    assert found("SELECT public.total(1)", overloaded) == ("possible", 1)


def test_other_languages_are_searched_for_the_word() -> None:
    body = "import plpy\nplpy.execute(\"SELECT * FROM orders\")"
    assert found(body, language="plpython3u") == ("possible", 2)
    assert found("orders_old = 1", language="plpython3u") is None
