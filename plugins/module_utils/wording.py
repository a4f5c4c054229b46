# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a sentence names several things without becoming a list. Pure."""

from __future__ import annotations

from collections.abc import Iterable


def listed(texts: Iterable[str], most: int = 3, separator: str = ", ") -> str:
    """The first few, and how many there are besides: ``a, b, c and 2 more``."""
    return _few(texts, most, separator, " and")


def some(texts: Iterable[str], most: int = 3, separator: str = ", ") -> str:
    """The same of what goes on for longer: ``a, b, c … and 2 more``."""
    return _few(texts, most, separator, " … and")


def _few(texts: Iterable[str], most: int, separator: str, joined: str) -> str:
    every = list(texts)
    return separator.join(every[:most]) + (f"{joined} {len(every) - most} more" if len(every) > most else "")
