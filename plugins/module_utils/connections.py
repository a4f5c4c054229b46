# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A second connection where there is much to do: the server then works on two things at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Any, TypeVar

from ansible_collections.pgops.rollback.plugins.module_utils.connection import connect
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError

#: From this many objects on. Fewer are done before a second session would have paid for itself.
MUCH = 500

Worker = TypeVar("Worker")
Item = TypeVar("Item")
Result = TypeVar("Result")


class Connections:
    """The connection of a call, and a second one from the moment it is worth it.

    :ivar first: the connection that everything small uses.
    :ivar every: all that are open.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self.first = connect(options)
        self.every = [self.first]

    def expect(self, items: int) -> None:
        """Say how many objects are to be worked on. A server that has no place for a second session gives none."""
        if items < MUCH or len(self.every) > 1:
            return
        try:
            self.every.append(connect(self._options))
        except RollbackError:
            return

    def usable(self) -> Any | None:
        """A connection that was not lost, if there is one."""
        return next((connection for connection in self.every if not connection.closed), None)

    def close(self) -> None:
        for connection in self.every:
            connection.close()


def share_out(workers: list[Worker], items: list[Item], work: Callable[[Worker, Item], Result]) -> list[Result]:
    """Each worker takes the next item as soon as it is free. After an error nothing new is begun, and it is raised.

    :returns: the results in the order of the items.
    """
    left = iter(enumerate(items))
    results: dict[int, Result] = {}
    one_at_a_time = threading.Lock()
    ended = threading.Event()

    def take_all(worker: Worker) -> None:
        while not ended.is_set():
            with one_at_a_time:
                taken = next(left, None)
            if taken is None:
                return
            number, item = taken
            results[number] = work(worker, item)

    if len(workers) == 1:
        take_all(workers[0])
    else:
        with ThreadPoolExecutor(len(workers)) as pool:
            try:
                working = [pool.submit(take_all, worker) for worker in workers]
                wait(working, return_when=FIRST_EXCEPTION)
            finally:
                ended.set()
        for each in working:
            each.result()
    return [results[number] for number in range(len(items))]
