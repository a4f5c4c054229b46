# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A file with one line, what a module is doing now: Ansible shows nothing of a module until it has ended."""

from __future__ import annotations

import os
import time
from pathlib import Path

#: Seconds between two writes.
_INTERVAL = 0.5


class ProgressFile:
    """Writes the line, whole or not at all; without a path it writes nothing."""

    def __init__(self, path: str | None) -> None:
        self._path = Path(path) if path else None
        self._written = 0.0
        self._text = ""

    def __call__(self, text: str, fraction: float | None) -> None:
        """:param fraction: how much of it is done, 0 to 1; None where nobody knows."""
        now = time.monotonic()
        if self._path is None or (text == self._text and now - self._written < _INTERVAL):
            return
        self._written, self._text = now, text
        line = text if fraction is None else f"{text} ({fraction:.0%})"
        unfinished = self._path.with_name(f".{self._path.name}.new")
        unfinished.write_text(line, encoding="utf-8")
        os.replace(unfinished, self._path)


def untold(_what: str, _fraction: float | None) -> None:
    """For what nobody watches."""
