# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A program at a terminal of its own, with somebody who reads and types, or does not."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PATIENCE = 60.0

#: Whoever reads passwords and tokens asks whether the terminal is really its own.
_TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"
)


class Terminal:
    """:ivar shown: all that the program has written so far."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process = process
        self.shown = ""
        self._master = master

    def await_text(self, text: str) -> None:
        """Read until the program has written it; fail the test when it does not, or ends before."""
        deadline = time.monotonic() + _PATIENCE
        while text not in self.shown:
            if time.monotonic() > deadline or not self._read():
                raise AssertionError(f"{text!r} was not shown: {self.shown}")

    def answer(self, line: str, then: str) -> None:
        """Type a line until the program goes on with some text: a prompt forgets what comes too soon."""
        deadline = time.monotonic() + _PATIENCE
        while then not in self.shown:
            os.write(self._master, f"{line}\r".encode())
            while self._read(1.0) and then not in self.shown:
                pass
            if time.monotonic() > deadline:
                raise AssertionError(f"{then!r} was not shown: {self.shown}")

    def finish(self) -> int:
        """Read to the end; the exit code."""
        while self._read():
            pass
        return self.process.wait(_PATIENCE)

    def _read(self, seconds: float = _PATIENCE) -> bool:
        """Whether something came; False at the end, too."""
        ready, _writable, _exceptional = select.select([self._master], [], [], seconds)
        if not ready:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # the other end was closed
            return False
        self.shown += data.decode(errors="replace").replace("\r\n", "\n")
        return bool(data)


@contextmanager
def at_a_terminal(command: list[str], directory: Path, environment: dict[str, str]) -> Iterator[Terminal]:
    """The program, ended when it has not ended by itself."""
    master, slave = pty.openpty()

    with subprocess.Popen(
        [sys.executable, "-c", _TAKE_TERMINAL, *command], cwd=directory, env=environment, stdin=slave, stdout=slave,
        stderr=slave, start_new_session=True,
    ) as process:  # fmt: skip
        os.close(slave)
        try:
            yield Terminal(process, master)
        finally:
            process.kill()
            os.close(master)
