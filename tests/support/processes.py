# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a function in a process of its own, as another user if need be."""

from __future__ import annotations

import multiprocessing
import os
import pwd
from collections.abc import Callable
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError

_FORK = multiprocessing.get_context("fork")


class Forked:
    """A function that runs in a forked process: what is imported here can be used there by any user.

    :param user: operating system's user to become first; only root can name another.
    """

    def __init__(self, function: Callable[[], Any], user: str | None = None) -> None:
        self._receiver, sender = _FORK.Pipe(duplex=False)
        self._process = _FORK.Process(target=_run, args=(function, user, sender))
        self._process.start()
        sender.close()

    def result(self) -> Any:
        """What the function returned; what it raised is raised here."""
        try:
            succeeded, outcome = self._receiver.recv()
        finally:
            self._process.join()
        if not succeeded:
            raise RollbackError(*outcome) if isinstance(outcome, tuple) else outcome
        return outcome


def _run(function: Callable[[], Any], user: str | None, sender: Any) -> None:
    try:
        if user is not None:
            entry = pwd.getpwnam(user)
            os.environ["HOME"] = entry.pw_dir
            os.setgroups([])
            os.setgid(entry.pw_gid)
            os.setuid(entry.pw_uid)
        outcome = (True, function())
    except RollbackError as error:  # cannot be pickled itself
        outcome = (False, (error.code, error.message, error.remedy))
    except Exception as error:  # it is handed to the parent
        outcome = (False, error)
    sender.send(outcome)
