# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A program at a terminal of its own, with somebody who reads and types, or does not."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PATIENCE = 60.0


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

    def type(self, line: str) -> None:
        os.write(self._master, f"{line}\r".encode())

    def finish(self) -> int:
        """Read to the end; the exit code."""
        while self._read():
            pass
        return self.process.wait(_PATIENCE)

    def _read(self) -> bool:
        """Whether there may be more."""
        ready, _writable, _exceptional = select.select([self._master], [], [], _PATIENCE)
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

    def own_terminal() -> None:
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

    with subprocess.Popen(
        command, cwd=directory, env=environment, stdin=slave, stdout=slave, stderr=slave,
        start_new_session=True, preexec_fn=own_terminal,
    ) as process:  # fmt: skip
        os.close(slave)
        try:
            yield Terminal(process, master)
        finally:
            process.kill()
            os.close(master)
