# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Size and SHA-256 of the files that a dump consists of."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.pgops.rollback.plugins.module_utils.backup import Progress

_CHUNK = 1 << 20


@dataclass(frozen=True)
class FileSum:
    """:ivar path: relative to the dump's directory; of a dump in one file, its name."""

    path: str
    size_bytes: int
    sha256: str


def file_sums(dump: Path, progress: Progress) -> tuple[FileSum, ...]:
    """Size and SHA-256 of the dump's file, or of all files of its directory in the order of their names."""
    files = files_of(dump)
    whole, done = sum(path.stat().st_size for path in files.values()), 0
    sums = []
    for name, path in files.items():
        digest, size = hashlib.sha256(), 0
        with path.open("rb") as stream:
            while found := stream.read(_CHUNK):
                digest.update(found)
                size += len(found)
                progress(f"checking the sum of {dump.name}", min((done + size) / max(whole, 1), 1.0))
        done += size
        sums.append(FileSum(name, size, digest.hexdigest()))
    return tuple(sums)


def beside(dump: Path, ending: str) -> Path:
    """What belongs to a dump: beside its file, or if it is only there, beside the link that leads to the file."""
    linked = dump.with_name(f"{dump.name}{ending}")
    if not dump.is_symlink():
        return linked
    file = Path(os.path.realpath(dump))
    real = file.with_name(f"{file.name}{ending}")
    return linked if linked.exists() and not real.exists() else real


def files_of(dump: Path) -> dict[str, Path]:
    if not dump.is_dir():
        return {dump.name: dump}
    return {str(path.relative_to(dump)): path for path in sorted(dump.rglob("*")) if not path.is_dir()}
