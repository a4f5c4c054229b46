# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Spans of time as people write them (``24h``) and as they read them (``1 day 2 h``)."""

from __future__ import annotations

import re
from datetime import timedelta

from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"\s*(\d+)\s*([smhdw])\s*\Z")


def parse_duration(text: str, variable: str) -> timedelta:
    """A number with one of the units ``s``, ``m``, ``h``, ``d``, ``w``, above zero.

    :param variable: whose value it is, for the message.
    :raises RollbackError: ``duration_invalid``.
    """
    match = _DURATION.match(text)
    seconds = int(match.group(1)) * _UNITS[match.group(2)] if match else 0
    if not 0 < seconds < timedelta.max.total_seconds():
        raise RollbackError(
            "duration_invalid",
            f"{variable} is {text!r}, which is no span of time above zero.",
            "Give a whole number and its unit, s, m, h, d or w, for example 24h; nothing was done.",
        )
    return timedelta(seconds=seconds)


def show_duration(span: timedelta) -> str:
    """The two largest units, as in ``3 days 4 h``, ``1 h 5 min``, ``12 s``."""
    seconds = int(span.total_seconds())
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days} day{'s' if days > 1 else ''}" + (f" {hours} h" if hours else "")
    if hours:
        return f"{hours} h" + (f" {minutes} min" if minutes else "")
    return f"{minutes} min" if minutes else f"{seconds} s"
