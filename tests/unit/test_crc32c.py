# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""CRC-32C: the published examples, and that how the data come makes no difference."""

from __future__ import annotations

import random
import sys

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.crc32c import Crc32c


def checksum(*pieces: bytes) -> int:
    crc = Crc32c()
    for piece in pieces:
        crc.update(piece)
    return int.from_bytes(bytes.fromhex(crc.hexdigest()), sys.byteorder)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        # RFC 3720, B.4
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_published_examples(data: bytes, expected: int) -> None:
    assert checksum(data) == expected


@pytest.mark.parametrize("length", [255, 256, 257, 8192, 100_000, (1 << 20) + 300])
def test_pieces_of_any_length_make_the_same(length: int) -> None:
    data = random.Random(length).randbytes(length)
    # So short that no two bytes are taken together.
    one_by_one = checksum(*(data[start : start + 200] for start in range(0, length, 200)))
    assert checksum(data) == one_by_one
    assert checksum(data[: length // 3], data[length // 3 :]) == one_by_one


def test_every_bit_counts() -> None:
    data = random.Random(1).randbytes(3000)
    sums = {checksum(data)}
    for bit in range(0, len(data) * 8, 501):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        sums.add(checksum(bytes(changed)))
    assert len(sums) == 1 + len(range(0, len(data) * 8, 501))
