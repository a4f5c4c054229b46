# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The SHA-256 sums that somebody recorded beside a dump, as sha256sum and its relatives write them."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from ansible_collections.pgops.rollback.plugins.module_utils.backup import FAULTY, PASSED, Check, Progress
from ansible_collections.pgops.rollback.plugins.module_utils.file_sums import beside

SUM_ENDING = ".sha256"

_CHUNK = 1 << 20


def sum_file(path: Path) -> Path:
    return beside(path, SUM_ENDING)


def recorded_sum(path: Path, progress: Progress) -> Check:
    recorded = re.search(r"\b([0-9a-fA-F]{64})\b", sum_file(path).read_text(encoding="utf-8", errors="replace"))
    if recorded is None:
        return Check("sha256", FAULTY, f"{sum_file(path).name} holds no SHA-256 sum.")
    if path.is_dir():
        return Check("sha256", FAULTY, f"{sum_file(path).name} stands beside a directory, which has no sum.")
    digest = hashlib.sha256()
    size, total = path.stat().st_size, 0
    with path.open("rb") as stream:
        while found := stream.read(_CHUNK):
            digest.update(found)
            total += len(found)
            progress(f"checking the sum of {path.name}", total / size)
    if digest.hexdigest() == recorded.group(1).lower():
        return Check("sha256", PASSED, f"It has the sum that {sum_file(path).name} recorded.")
    return Check("sha256", FAULTY, f"Its SHA-256 sum is another than {sum_file(path).name} says: changed since.")
