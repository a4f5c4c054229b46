# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Work that is shared out over several sessions."""

from __future__ import annotations

import threading

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.connections import share_out

WORKERS = [["one"], ["one", "two"]]


@pytest.mark.parametrize("workers", WORKERS)
def test_results_are_in_the_order_of_the_items(workers: list[str]) -> None:
    assert share_out(workers, list(range(100)), lambda worker, item: item * 2) == list(range(0, 200, 2))
    assert share_out(workers, [], lambda worker, item: item) == []
    assert share_out(workers, [None, 1], lambda worker, item: item) == [None, 1]


def test_what_is_done_first_does_not_come_first() -> None:
    """Both workers have an item at the same time, and the second one is done before the first."""
    second_done = threading.Event()

    def work(worker: str, item: int) -> tuple[int, bool]:
        if item == 1:
            second_done.set()
        return item, second_done.wait(10)

    assert share_out(["one", "two"], [0, 1], work) == [(0, True), (1, True)]


@pytest.mark.parametrize("workers", WORKERS)
def test_after_an_error_nothing_new_is_begun(workers: list[str]) -> None:
    begun: list[int] = []
    failed = threading.Event()

    def work(worker: str, item: int) -> None:
        begun.append(item)
        if item == 0:
            failed.set()
            raise ValueError("the first item")
        failed.wait(10)
        # Far below what the other worker would do of these if it went on to the end.
        threading.Event().wait(0.01)

    with pytest.raises(ValueError, match="the first item"):
        share_out(workers, list(range(500)), work)
    assert len(begun) < 250
