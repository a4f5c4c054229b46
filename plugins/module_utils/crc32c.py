# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""CRC-32C (Castagnoli), the default checksum of pg_basebackup's manifests, which Python's library does not have.

A byte at a time Python makes a few megabytes a second. Here the data are cut into many lanes of equal length that are
advanced together, a byte of each at a time, by operations on whole byte strings; then the lanes are joined, which works
because the checksum is linear. That makes about a hundred.
"""

from __future__ import annotations

import sys
from functools import cache

_POLYNOMIAL = 0x82F63B78
_ALL_ONES = 0xFFFFFFFF

#: Bytes of a lane, and of what is worked on at once; measured, not critical.
_LANE = 256
_BLOCK = 1 << 20


class Crc32c:
    """As the objects of hashlib: feed it with update()."""

    def __init__(self) -> None:
        self._register = _ALL_ONES

    def update(self, data: bytes) -> None:
        for start in range(0, len(data), _BLOCK):
            self._register = _advance(self._register, data[start : start + _BLOCK])

    def hexdigest(self) -> str:
        """The four bytes as they lie in memory, which is how Postgres writes them."""
        return (self._register ^ _ALL_ONES).to_bytes(4, sys.byteorder).hex()


def _advance(register: int, data: bytes) -> int:
    lanes = len(data) // _LANE
    whole = lanes * _LANE
    if lanes:
        zero, one, two, three = _append_lane()
        for number in _lane_registers(data[:whole], lanes):
            register = (
                zero[register & 255] ^ one[register >> 8 & 255] ^ two[register >> 16 & 255] ^ three[register >> 24]
                ^ number
            )  # fmt: skip
    table = _table()
    for byte in data[whole:]:
        register = table[(register ^ byte) & 255] ^ register >> 8
    return register


def _lane_registers(data: bytes, lanes: int) -> memoryview:
    """What each lane makes of a register of zero."""
    number = int.from_bytes
    translations = _translations()
    # The lowest bytes of all registers as one number, the next ones likewise, and so on.
    low, second, third, high = 0, 0, 0, 0
    for position in range(_LANE):
        index = (low ^ number(data[position::_LANE], "little")).to_bytes(lanes, "little")
        low = second ^ number(index.translate(translations[0]), "little")
        second = third ^ number(index.translate(translations[1]), "little")
        third = high ^ number(index.translate(translations[2]), "little")
        high = number(index.translate(translations[3]), "little")
    mixed = bytearray(4 * lanes)
    parts = (low, second, third, high)
    for place, part in enumerate(parts if sys.byteorder == "little" else reversed(parts)):
        mixed[place::4] = part.to_bytes(lanes, "little")
    return memoryview(mixed).cast("I")


@cache
def _table() -> list[int]:
    """What a byte in the lowest place turns the register into."""
    found = []
    for value in range(256):
        for _bit in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)  # noqa: PLW2901
        found.append(value)
    return found


@cache
def _translations() -> list[bytes]:
    """The four bytes of _table()'s values, the lowest first."""
    return [bytes(value >> shift & 255 for value in _table()) for shift in (0, 8, 16, 24)]


@cache
def _append_lane() -> list[list[int]]:
    """What a lane of zeros makes of a register, by each of the register's bytes."""
    table, found = _table(), []
    for shift in (0, 8, 16, 24):
        bits = []
        for bit in range(8):
            register = 1 << (shift + bit)
            for _position in range(_LANE):
                register = table[register & 255] ^ register >> 8
            bits.append(register)
        values = [0]
        for bit in bits:
            values += [value ^ bit for value in values]
        found.append(values)
    return found
