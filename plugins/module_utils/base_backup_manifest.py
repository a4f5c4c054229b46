# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The backup_manifest of pg_basebackup: what a base backup consists of, and when and over which WAL it was taken."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.crc32c import Crc32c
from ansible_collections.pgops.rollback.plugins.module_utils.wal_segments import parse_lsn

#: pg_basebackup writes it last.
MANIFEST = "backup_manifest"

#: What the manifest does not speak of, or what a tool may rewrite afterwards; pg_verifybackup ignores the same.
UNLISTED = {MANIFEST, "postgresql.auto.conf", "standby.signal", "recovery.signal"}

_CHECKSUM = re.compile(rb'"Manifest-Checksum":\s*"([0-9a-f]{64})"\s*}\s*\Z')
_SYSTEM_ID = re.compile(rb'"System-Identifier":\s*(\d+)')
_SIZE = re.compile(rb'"Size": (\d+)')
_MODIFIED = re.compile(rb'"Last-Modified": "(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) GMT"')
_LABEL = re.compile(rb'"Path": "backup_label", "Size": \d+, "Last-Modified": "([^"]{19}) GMT"')
_RANGE = re.compile(rb'"Timeline": (\d+), "Start-LSN": "([0-9A-F]+/[0-9A-F]+)", "End-LSN": "([0-9A-F]+/[0-9A-F]+)"')
_INCREMENTAL = re.compile(rb'"Path": "[^"]*/INCREMENTAL\.')

_HASHES: dict[str, Callable[[], Any]] = {
    "CRC32C": Crc32c,
    "SHA224": hashlib.sha224,
    "SHA256": hashlib.sha256,
    "SHA384": hashlib.sha384,
    "SHA512": hashlib.sha512,
}


class ManifestDamagedError(Exception):
    """It is not what pg_basebackup wrote; the text says in what, and goes on a sentence about the manifest."""


@dataclass(frozen=True)
class WalRange:
    """The WAL that makes the backup consistent; LSNs as integers."""

    timeline: int
    start: int
    end: int


@dataclass(frozen=True)
class Summary:
    """What is known without looking at each file.

    :ivar started_at: when the server wrote backup_label.
    :ivar finished_at: when the server wrote the youngest file of the backup: it was not finished before, and a copy of
        the backup does not look any younger.
    :ivar data_bytes: of all files, without WAL.
    :ivar incremental: it needs the backups before it.
    """

    started_at: datetime | None
    finished_at: datetime | None
    data_bytes: int
    system_id: str | None
    wal: tuple[WalRange, ...]
    incremental: bool


@dataclass(frozen=True)
class ManifestFile:
    """:ivar algorithm: None when the backup was taken without checksums."""

    size: int
    algorithm: str | None
    checksum: str

    def hasher(self) -> Any:
        """An object with update() and hexdigest(), or None."""
        return _HASHES[self.algorithm]() if self.algorithm else None


def read_summary(directory: Path) -> Summary:
    """Without parsing it: a directory may hold many backups of many files.

    :raises OSError: when there is none, or it cannot be read.
    :raises ManifestDamagedError: when it is cut short or was changed.
    """
    text = _sound(directory)
    system_id = _SYSTEM_ID.search(text, 0, 512)
    label = _LABEL.search(text)
    return Summary(
        started_at=_time(label.group(1)) if label else None,
        finished_at=max(map(_time, set(_MODIFIED.findall(text))), default=None),
        data_bytes=sum(map(int, _SIZE.findall(text))),
        system_id=system_id.group(1).decode() if system_id else None,
        wal=tuple(WalRange(int(t), _lsn(start), _lsn(end)) for t, start, end in _RANGE.findall(text)),
        incremental=bool(_INCREMENTAL.search(text)),
    )


def read_files(directory: Path) -> dict[str, ManifestFile]:
    """Every file by its path.

    :raises OSError: when there is none, or it cannot be read.
    :raises ManifestDamagedError: when it is cut short or was changed, or names a checksum unknown here.
    """
    try:
        listed = json.loads(_sound(directory))["Files"]
        found = {_path(file): ManifestFile(file["Size"], file.get("Checksum-Algorithm"), file.get("Checksum", ""))
                 for file in listed}  # fmt: skip
    except (ValueError, KeyError, TypeError) as error:
        raise ManifestDamagedError("is not in the form that pg_basebackup writes") from error
    unknown = {file.algorithm for file in found.values()} - {None, *_HASHES}
    if unknown:
        raise ManifestDamagedError(f"has checksums of a kind unknown here ({', '.join(map(str, unknown))})")
    return found


def _sound(directory: Path) -> bytes:
    text = (directory / MANIFEST).read_bytes()
    recorded = _CHECKSUM.search(text, max(0, len(text) - 200))
    if recorded is None:
        raise ManifestDamagedError("is cut short: it lacks its last line, its own checksum")
    # It covers all lines before its own.
    covered = text[: text.rindex(b"\n", 0, recorded.start()) + 1]
    if hashlib.sha256(covered).hexdigest().encode() != recorded.group(1):
        raise ManifestDamagedError("does not have the checksum it ends with: damaged, or edited")
    return text


def _path(file: dict[str, Any]) -> str:
    # A name that is no UTF-8 is written in hexadecimal digits.
    encoded = file.get("Encoded-Path")
    return bytes.fromhex(encoded).decode("utf-8", "surrogateescape") if encoded else str(file["Path"])


def _time(text: bytes) -> datetime:
    return datetime.strptime(text.decode(), "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)


def _lsn(text: bytes) -> int:
    return parse_lsn(text.decode())
