# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names of WAL segments, as Postgres's pg_walfile_name gives them."""

from __future__ import annotations

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.wal_segments import (
    parse_lsn,
    segment_bytes_of,
    segment_name,
    segments,
    segments_between,
    show_lsn,
)

MIB = 1 << 20


@pytest.mark.parametrize(
    ("start", "stop", "size", "expected"),
    [
        ("000000010000000000000002", "000000010000000000000002", 16 * MIB, ["000000010000000000000002"]),
        ("0000000100000000000000FE", "000000010000000100000001", 16 * MIB,
         ["0000000100000000000000FE", "0000000100000000000000FF", "000000010000000100000000",
          "000000010000000100000001"]),
        ("0000000A000000000000003F", "0000000A0000000100000000", 64 * MIB,
         ["0000000A000000000000003F", "0000000A0000000100000000"]),
        ("000000010000000000000FFF", "000000010000000100000000", MIB,
         ["000000010000000000000FFF", "000000010000000100000000"]),
        ("000000010000000F00000003", "000000010000001000000000", 1024 * MIB,
         ["000000010000000F00000003", "000000010000001000000000"]),
    ],
)  # fmt: skip
def test_from_start_to_stop(start: str, stop: str, size: int, expected: list[str]) -> None:
    assert segments(start, stop, size) == expected


@pytest.mark.parametrize(
    ("start", "stop"),
    [
        ("000000010000000000000003", "000000010000000000000002"),
        ("000000010000000000000002", "000000020000000000000003"),
        ("000000010000000000000002", "000000010000000000000100"),  # 16 MiB segments end at FF
        ("000000010000000000000002.partial", "000000010000000000000002"),
        ("00000001000000000000000b", "00000001000000000000000c"),
        ("00000002.history", "000000010000000000000002"),
        ("", ""),
    ],
)
def test_what_makes_no_sense_is_an_error(start: str, stop: str) -> None:
    with pytest.raises(ValueError, match=r"follow|name of a WAL segment"):
        segments(start, stop)


@pytest.mark.parametrize(
    ("lsn", "name", "size"),
    [
        ("0/2000028", "000000010000000000000002", 16 * MIB),
        ("1/1B000028", "00000001000000010000001B", 16 * MIB),
        ("0/4000028", "000000010000000000000001", 64 * MIB),
        ("0/2000028", "000000010000000000000020", MIB),
        ("1/28", "000000010000000100000000", 16 * MIB),  # any size fits
    ],
)
def test_the_size_follows_from_a_position_and_its_segment(lsn: str, name: str, size: int) -> None:
    assert segment_bytes_of(parse_lsn(lsn), name) == size
    assert segment_name(1, parse_lsn(lsn), size) == name


def test_no_size_fits() -> None:
    with pytest.raises(ValueError, match="1/1B000028"):
        segment_bytes_of(parse_lsn("1/1B000028"), "00000001000000020000001B")
    with pytest.raises(ValueError, match="history"):
        segment_bytes_of(parse_lsn("0/28"), "00000002.history")


def test_an_end_on_a_boundary_belongs_to_the_segment_before() -> None:
    start, end = parse_lsn("0/2F000028"), parse_lsn("0/30000000")
    assert segments_between(1, start, end) == ["00000001000000000000002F"]
    assert segments_between(1, start, end + 1) == ["00000001000000000000002F", "000000010000000000000030"]
    assert show_lsn(end) == "0/30000000"
