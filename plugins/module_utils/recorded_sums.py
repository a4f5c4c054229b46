# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The SHA-256 sums that somebody recorded beside a dump, as sha256sum and its relatives write them."""

from __future__ import annotations

import re
from pathlib import Path

from ansible_collections.pgops.rollback.plugins.module_utils.backup import (
    DEGRADED,
    FAULTY,
    PASSED,
    SKIPPED,
    Check,
    Progress,
)
from ansible_collections.pgops.rollback.plugins.module_utils.file_sums import beside, file_sums
from ansible_collections.pgops.rollback.plugins.module_utils.wording import some

SUM_ENDING = ".sha256"

#: In ``digest  name``, ``digest *name``, ``SHA256 (name) = digest``, ``SHA2-256(name)= digest``, or alone.
_DIGEST = re.compile(r"\b[0-9a-fA-F]{64}\b")
_NAME = re.compile(r"\((.+)\) ?=|[0-9a-fA-F]{64}[ \t]+\*?(.+)")


def sum_file(path: Path) -> Path:
    return beside(path, SUM_ENDING)


def recorded_sum(path: Path, progress: Progress) -> Check:
    """Whether the dump has the sums recorded for it: its file's, or those of the files in its directory."""
    recorder = sum_file(path)
    recorded = {}
    for line in recorder.read_text(encoding="utf-8", errors="replace").splitlines():
        if digest := _DIGEST.search(line):
            name = _NAME.search(line.strip())
            recorded[(name[1] or name[2]) if name else ""] = digest[0].lower()
    if not recorded:
        return Check("sha256", FAULTY, f"{recorder.name} holds no SHA-256 sum.")
    if not path.is_dir() and len(recorded) == 1:
        # Of the dump, whatever it was called then.
        recorded = {path.name: next(iter(recorded.values()))}
    wanted = _of_dump(path, recorded)
    if not wanted:
        return Check("sha256", SKIPPED, f"{recorder.name} holds no sum of {path.name}.")
    found = {each.path: each.sha256 for each in file_sums(path, progress)}
    if missing := sorted(wanted.keys() - found.keys()):
        return Check("sha256", FAULTY, f"Of what {recorder.name} recorded is missing: {some(missing)}.")
    if changed := [name for name, digest in wanted.items() if found[name] != digest]:
        what = f" ({some(changed)})" if path.is_dir() else ""
        return Check("sha256", FAULTY, f"Its SHA-256 sum is another than {recorder.name} says{what}: changed since.")
    if unknown := sorted(found.keys() - wanted.keys()):
        return Check("sha256", DEGRADED, f"{recorder.name} holds no sum of {some(unknown)}.")
    return Check("sha256", PASSED, f"It has the sum that {recorder.name} recorded.")


def _of_dump(path: Path, recorded: dict[str, str]) -> dict[str, str]:
    """The recorded sums by the names that file_sums() gives the files.

    Their names were written from where sha256sum ran: above the directory of a dump, within it, or anywhere.
    """
    if not path.is_dir():
        own = [digest for name, digest in recorded.items() if Path(name).name == path.name]
        return {path.name: own[-1]} if own else {}
    within = {name: Path(name).parts for name in recorded}
    inside = {name: parts[parts.index(path.name) + 1 :] for name, parts in within.items() if path.name in parts}
    named = inside or {name: parts for name, parts in within.items() if len(parts) == 1}
    return {str(Path(*parts)): recorded[name] for name, parts in named.items() if parts}
