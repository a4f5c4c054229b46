# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The names of WAL segments: which one follows which, and which ones a backup needs. LSNs are integers."""

from __future__ import annotations

import re

#: Of a cluster made without initdb --wal-segsize.
SEGMENT_BYTES = 16 << 20

#: Bytes of WAL that share the middle part of a segment's name.
_LOG_BYTES = 1 << 32

#: What initdb --wal-segsize allows.
_POSSIBLE_BYTES = [1 << exponent for exponent in range(20, 31)]

_NAME = re.compile(r"([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})\Z")


def segment_name(timeline: int, lsn: int, segment_bytes: int = SEGMENT_BYTES) -> str:
    """The name of the segment that holds a position of the WAL."""
    log, rest = divmod(lsn, _LOG_BYTES)
    return f"{timeline:08X}{log:08X}{rest // segment_bytes:08X}"


def segments_between(timeline: int, start: int, end: int, segment_bytes: int = SEGMENT_BYTES) -> list[str]:
    """The names of all segments that hold WAL from start up to, but not including, end."""
    first, last = start // segment_bytes, (end - 1) // segment_bytes
    return [segment_name(timeline, number * segment_bytes, segment_bytes) for number in range(first, last + 1)]


def segments(start: str, stop: str, segment_bytes: int = SEGMENT_BYTES) -> list[str]:
    """The names of all segments from start to stop, both included.

    :raises ValueError: when one is no segment's name, they are of different timelines, or stop is before start.
    """
    timeline, first = _place(start, segment_bytes)
    other_timeline, last = _place(stop, segment_bytes)
    if timeline != other_timeline or last < first:
        raise ValueError(f"{stop} does not follow {start}")
    return segments_between(timeline, first, last + segment_bytes, segment_bytes)


def segment_bytes_of(lsn: int, name: str) -> int:
    """The size of segments, from a position of the WAL and the name of the segment that holds it.

    Where several sizes fit, as they do at the beginning of a log, the usual one.

    :raises ValueError: when they do not belong together.
    """
    match = _NAME.match(name)
    timeline = int(match.group(1), 16) if match else 0
    fitting = [size for size in _POSSIBLE_BYTES if segment_name(timeline, lsn, size) == name]
    if not fitting:
        raise ValueError(f"{show_lsn(lsn)} is not in a segment named {name}")
    return SEGMENT_BYTES if SEGMENT_BYTES in fitting else fitting[0]


def parse_lsn(text: str) -> int:
    """:param text: as Postgres writes it, ``1/4A000028``."""
    high, low = text.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def show_lsn(lsn: int) -> str:
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def _place(name: str, segment_bytes: int) -> tuple[int, int]:
    """The timeline, and where the segment begins."""
    match = _NAME.match(name)
    timeline, log, number = (int(part, 16) for part in match.groups()) if match else (0, 0, 0)
    begin = log * _LOG_BYTES + number * segment_bytes
    if segment_name(timeline, begin, segment_bytes) != name:
        raise ValueError(f"{name} is not the name of a WAL segment of {segment_bytes} bytes")
    return timeline, begin
