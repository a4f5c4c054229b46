# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Damage done to dumps, the same for the same seed."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable
from pathlib import Path

#: Damages a dump; gets the dump and a source of chance.
Fault = Callable[[Path, random.Random], None]


def _victim(dump: Path, chance: random.Random) -> Path:
    """A file of a directory, the larger the likelier, as a bad sector would choose."""
    if not dump.is_dir():
        return dump
    files = sorted(path for path in dump.iterdir() if path.is_file())
    return chance.choices(files, [path.stat().st_size for path in files])[0]


def flip_a_bit(dump: Path, chance: random.Random) -> None:
    path = _victim(dump, chance)
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def cut_short(dump: Path, chance: random.Random) -> None:
    path = _victim(dump, chance)
    content = path.read_bytes()
    path.write_bytes(content[: chance.randrange(1, len(content))])


def empty(dump: Path, chance: random.Random) -> None:
    _victim(dump, chance).write_bytes(b"")


def lose_a_file(dump: Path, chance: random.Random) -> None:
    chance.choice(sorted(dump.glob("*.dat*"))).unlink()


def lose_rows(dump: Path, chance: random.Random) -> None:
    """What a COPY that was cut short, or a clumsy edit, leaves: SQL that is whole."""
    compressed = dump.suffix == ".gz"
    lines = (gzip.decompress(dump.read_bytes()) if compressed else dump.read_bytes()).splitlines(keepends=True)
    begin = next(number for number, line in enumerate(lines) if line.startswith(b"COPY public.orders"))
    end = lines.index(b"\\.\n", begin)
    first = chance.randrange(begin + 1, end)
    del lines[first : min(end, first + chance.randrange(1, 50))]
    text = b"".join(lines)
    dump.write_bytes(gzip.compress(text) if compressed else text)
