# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What `pgbackrest verify` says, understood: it exits with 0 whatever it finds, and only its text tells.

It says nothing of WAL that is gone, and "status: ok" of a backup without manifests; the lines below that tell.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field

from ansible_collections.pgops.rollback.plugins.module_utils.backup import DEGRADED, FAULTY, PASSED, Check
from ansible_collections.pgops.rollback.plugins.module_utils.backup_tool import first_line
from ansible_collections.pgops.rollback.plugins.module_utils.wording import listed

_STATUS = re.compile(r"status: (ok|error)\Z")
_ARCHIVE = re.compile(r"archiveId: (\S+), total WAL checked: (\d+), total valid WAL: (\d+)\Z")
_BACKUP = re.compile(
    r"backup: (\S+), status: (valid|invalid|manifest missing|in-progress), total files checked: (\d+),"
    r" total valid files: (\d+)\Z"
)
_FAULTS = re.compile(r"missing: (\d+), checksum invalid: (\d+), size invalid: (\d+), other: (\d+)\Z")
_SAYS_NOTHING = re.compile(r"stanza: |(archiveId|backup): none found\Z")

#: A damaged file of the archive, in the log: ``15-1/0000000100000000/000000010000000000000003-<sha1>.gz``.
_WAL_FILE = re.compile(r"(\d[\d.]*-\d+)/[0-9A-F]{16}/([0-9A-F]{24})")

_KINDS = ("missing", "with a wrong checksum", "of a wrong size", "unreadable")


@dataclass
class _Looked:
    """At a backup, or at the WAL of one cluster.

    :ivar faults: numbers in the order of _KINDS.
    """

    status: str
    checked: int
    valid: int
    faults: list[int] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        return self.status == "valid" and 0 < self.checked == self.valid and not any(self.faults)

    def faults_in_words(self) -> str:
        found = [f"{count} {kind}" for count, kind in zip(self.faults, _KINDS, strict=False) if count]
        return ", ".join(found) or f"{self.checked - self.valid} not valid"


@dataclass
class Verified:
    """Everything that one call of verify said.

    :ivar remarks: lines of the answer that are none of the above: errors of the whole stanza, or words unknown here.
    """

    status: str | None = None
    archives: dict[str, _Looked] = field(default_factory=dict)
    backups: dict[str, _Looked] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def parse(answer: str) -> Verified:
    """:param answer: of ``verify --output=text --verbose``."""
    verified = Verified()
    last: _Looked | None = None
    for line in filter(None, map(str.strip, answer.splitlines())):
        if match := _STATUS.match(line):
            verified.status = match.group(1)
        elif match := _ARCHIVE.match(line):
            last = verified.archives[match.group(1)] = _Looked("valid", int(match.group(2)), int(match.group(3)))
        elif match := _BACKUP.match(line):
            last = _Looked(match.group(2), int(match.group(3)), int(match.group(4)))
            verified.backups[match.group(1)] = last
        elif last and (match := _FAULTS.match(line)):
            last.faults = [int(number) for number in match.groups()]
        elif not _SAYS_NOTHING.match(line):
            verified.remarks.append(line)
    return verified


def judge(answer: str, log: str, label: str, archive_id: str, needed: Collection[str]) -> Check:
    """The check ``verify`` of one backup.

    :param log: of the same call, at level info: it names the damaged files.
    :param archive_id: where the backup's WAL is, as ``15-1``.
    :param needed: names of the segments the backup needs.
    """
    verified = parse(answer)
    if verified.status is None or (verified.status == "ok" and verified.remarks):
        unknown = first_line("\n".join(verified.remarks) or answer)
        return Check("verify", FAULTY, f"What pgbackrest verify said could not be understood: {unknown}.")
    if verified.remarks:
        return Check("verify", FAULTY, f"pgbackrest verify: {first_line(verified.remarks[0])}.")
    fault = _fault_of_backup(verified.backups.get(label)) or _fault_of_wal(verified, log, archive_id, needed)
    if fault:
        return Check("verify", FAULTY, fault)
    files, wal = verified.backups[label].checked, verified.archives[archive_id].checked
    elsewhere = _elsewhere(verified, log, archive_id, label)
    if elsewhere:
        return Check("verify", DEGRADED, f"Its {files} files and the WAL it needs are whole, but {elsewhere}.")
    if verified.status != "ok":
        return Check("verify", FAULTY, "pgbackrest verify reports an error and does not say of what.")
    return Check(
        "verify", PASSED, f"Read to the end: its {files} files and {wal} WAL segments have their recorded checksums."
    )


def _fault_of_backup(looked: _Looked | None) -> str:
    if looked is None:
        return "pgbackrest verify did not find this backup in the repository."
    if looked.status == "manifest missing":
        return "Both copies of its manifest are missing or cannot be read."
    if not looked.whole:
        return f"Of the {looked.checked} files of the backup, {looked.faults_in_words()} (status {looked.status})."
    return ""


def _fault_of_wal(verified: Verified, log: str, archive_id: str, needed: Collection[str]) -> str:
    looked = verified.archives.get(archive_id)
    if looked is None or looked.checked == 0:
        return f"pgbackrest verify found no WAL in the archive {archive_id}."
    if looked.whole:
        return ""
    damaged = _damaged_wal(log, archive_id)
    hit = [name for name in damaged if name in needed]
    if hit:
        return f"WAL that it needs is damaged: {listed(hit)}."
    if len(damaged) < looked.checked - looked.valid:
        return f"Of the WAL, {looked.faults_in_words()}; pgbackrest verify does not say whether this backup needs it."
    return ""


def _elsewhere(verified: Verified, log: str, archive_id: str, label: str) -> str:
    """What is wrong with the repository without concerning this backup."""
    found = []
    damaged = _damaged_wal(log, archive_id)
    if damaged:
        found.append(f"other WAL is damaged ({listed(damaged)}), so nobody can roll forward past it")
    others = [name for name, each in verified.backups.items() if name != label and each.status == "invalid"]
    if others:
        found.append(f"backup {listed(others)} is damaged")
    older = [name for name, each in verified.archives.items() if name != archive_id and each.checked != each.valid]
    if older:
        found.append(f"WAL of {listed(older)} is damaged")
    return " and ".join(found)


def _damaged_wal(log: str, archive_id: str) -> list[str]:
    return sorted({name for archive, name in _WAL_FILE.findall(log) if archive == archive_id})
