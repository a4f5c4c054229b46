# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Backups of WAL-G."""

from __future__ import annotations

import json
import shlex
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from ansible_collections.pgops.rollback.plugins.module_utils.backup import (
    DEGRADED,
    FAULTY,
    PASSED,
    SKIPPED,
    Backup,
    Check,
    PhysicalSource,
    Progress,
)
from ansible_collections.pgops.rollback.plugins.module_utils.backup_tool import (
    first_line,
    needed_wal,
    run_tool,
    version_of,
)
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError, certain
from ansible_collections.pgops.rollback.plugins.module_utils.wal_segments import (
    SEGMENT_BYTES,
    segment_bytes_of,
    segment_name,
    show_lsn,
)
from ansible_collections.pgops.rollback.plugins.module_utils.wording import listed

_PROGRAM = "wal-g"

#: What one run of `wal-g backup-list` says in place of a list; it exits 0.
_NONE = "no backups found"

#: Statuses of `wal-g wal-verify`.
_FOUND, _OK, _WARNING = "FOUND", "OK", "WARNING"


class WalG(PhysicalSource):
    """Reads ``config``, ``user`` and ``timeout`` of the settings. Without a config, WAL-G's own variables count."""

    name: ClassVar[str] = "walg"
    integrity_proves: ClassVar[str] = "All the WAL that the backup needs is in WAL-G's storage"
    integrity_leaves_open: ClassVar[str] = (
        "whether the backup's own files are whole: WAL-G can only tell by restoring them, which the drill does"
    )

    def backups(self) -> list[Backup]:
        """WAL-G lists only what it has finished."""
        answer = self._asked("backup-list", "--detail", "--json")
        if answer is None:
            return []
        if not isinstance(answer, list):
            raise _unexpected("backup-list")
        try:
            return [_listed(entry) for entry in answer]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _unexpected("backup-list") from error

    def tool_version(self) -> str | None:
        return version_of(self.settings, _PROGRAM, "--version")

    def integrity(self, backup: Backup, progress: Progress) -> list[Check]:
        progress("wal-g wal-verify is looking for gaps in the WAL", None)
        answer = self._asked("wal-verify", "integrity", "timeline", "--json")
        try:
            if not isinstance(answer, dict):
                raise _unexpected("wal-verify")
            ranges = answer["integrity"]["details"] or []
            checks = [_wal_needed(backup, ranges), _wal_since(backup, ranges), _timeline(answer["timeline"]["status"])]
        except (KeyError, TypeError) as error:
            raise _unexpected("wal-verify") from error
        why = "WAL-G keeps no checksums to compare its stored files with; the drill reads them all."
        return [*checks, Check("files", SKIPPED, why)]

    def materialise(self, backup: Backup, data_directory: Path, progress: Progress) -> None:
        progress("wal-g backup-fetch is restoring the backup", None)
        try:
            self._run("backup-fetch", str(data_directory), backup.id)
            owner = self.settings.user
            for name, text in (("postgresql.auto.conf", self._restore_command()), ("recovery.signal", "")):
                with (data_directory / name).open("a", encoding="utf-8") as stream:
                    stream.write(text)
                if owner.dropped:
                    shutil.chown(data_directory / name, owner.uid, owner.gid)
        except OSError as error:
            raise _restore_failed(f"{data_directory} cannot be written to: {error.strerror}.") from error
        except RollbackError as error:
            if error.code != "walg_failed":
                raise
            raise _restore_failed(error.message) from error

    def _restore_command(self) -> str:
        # The server replaces % in it, and reads it in single quotes.
        words = [shlex.quote(word).replace("%", "%%") for word in (shutil.which(_PROGRAM) or _PROGRAM, *self._config())]
        command = " ".join([*words, "wal-fetch", '"%f"', '"%p"'])
        quoted = command.replace("\\", "\\\\").replace("'", "''")
        return f"\nrestore_command = '{quoted}'\n"

    def _config(self) -> list[str]:
        return ["--config", self.settings.config] if self.settings.config else []

    def _asked(self, *words: str) -> Any:
        """The JSON it answers with; None for no backups."""
        output = self._run(*words)
        try:
            return json.loads(output)
        except ValueError as error:
            if _NONE in output.lower() or not output.strip():
                return None
            raise _unexpected(words[0]) from error

    def _run(self, *words: str) -> str:
        """What it wrote to its standard output.

        :raises RollbackError: ``program_missing``, ``program_timeout``, ``walg_failed``.
        """
        answer = run_tool(self.settings, [_PROGRAM, *self._config(), *words])
        if answer.returncode != 0:
            # Its last line is why; before it come lines of what it did.
            reason = first_line("\n".join(reversed((answer.stderr or answer.stdout).splitlines())))
            raise RollbackError(
                "walg_failed",
                f"wal-g {words[0]} failed: {reason}.",
                f"Run it as user {self.settings.user.name}; its storage and, for wal-verify, PGHOST and the like belong"
                " into the file of backup_verification_config.",
            )
        return answer.stdout


def _listed(entry: dict[str, Any]) -> Backup:
    name = entry["backup_name"]
    first = entry["wal_file_name"]
    finished = entry.get("finish_time") or entry.get("time")
    size = entry.get("compressed_size")
    system_id = entry.get("system_identifier")
    version = entry.get("pg_version")
    # A delta backup is listed with what it added.
    whole = entry.get("uncompressed_size") if "_D_" not in name else None
    stop = entry.get("finish_lsn")
    # Only one size puts the backup's start into the segment it names.
    start = entry.get("start_lsn")
    segment_bytes = segment_bytes_of(start, first) if start else SEGMENT_BYTES
    return Backup(
        WalG.name,
        name,
        f"{name} in WAL-G's storage {entry.get('storage_name') or 'default'}",
        "physical",
        started_at=_time(entry.get("start_time")),
        finished_at=_time(finished),
        size_bytes=size or None,
        database_bytes=whole or None,
        server_major=version // 10000 if version else None,
        system_id=str(system_id) if system_id else None,
        wal_start=first,
        wal_stop=segment_name(int(first[:8], 16), stop - 1, segment_bytes) if stop else None,
        details={"lsn_start": show_lsn(start)} if start else {},
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(UTC) if text else None


# The WAL -------------------------------------------------------------------------------------------------------------


def _wal_needed(backup: Backup, ranges: list[dict[str, Any]]) -> Check:
    """Segment by segment: a gap keeps the server from ever becoming consistent."""
    if backup.wal_stop is None:
        return Check("wal", SKIPPED, "WAL-G does not say where the backup ended, so which WAL it needs is not known.")
    needed = needed_wal(backup)
    lacking = [name for name in needed if not any(_holds(span, name) for span in ranges if span["status"] == _FOUND)]
    if not lacking:
        return Check("wal", PASSED, f"The WAL that it needs is in the storage (segments: {len(needed)}).")
    statuses = {span["status"] for span in ranges for name in lacking if _holds(span, name)}
    said = ", ".join(sorted(statuses)) or "not in its list"
    return Check(
        "wal", FAULTY,
        f"{len(lacking)} of the {len(needed)} WAL segments it needs are not in the storage ({said}): {listed(lacking)}."
        " Without them it cannot be restored.",
    )  # fmt: skip


def _wal_since(backup: Backup, ranges: list[dict[str, Any]]) -> Check:
    """What a roll forward from it would need."""
    last = certain(backup.wal_stop or backup.wal_start)
    later = [span for span in ranges if span["end_segment"][8:] > last[8:]]
    lost = [span for span in later if span["status"] == "MISSING_LOST"]
    if lost:
        return Check("wal_since", DEGRADED, f"WAL written after it is lost, from {lost[0]['start_segment']} on: it can"
                     " be restored, but not rolled forward beyond that.")  # fmt: skip
    under_way = sum(span["segments_count"] for span in later if span["status"] != _FOUND)
    note = f"; {under_way} are still to be uploaded" if under_way else ""
    return Check("wal_since", PASSED, f"The WAL written after it has no gap{note}.")


def _holds(span: dict[str, Any], name: str) -> bool:
    first, last = span["start_segment"], span["end_segment"]
    return bool(first[:8] == name[:8] and first <= name <= last)


def _timeline(status: str) -> Check:
    if status == _OK:
        return Check("timeline", PASSED, "The server is on the newest timeline of the storage.")
    if status == _WARNING:
        return Check("timeline", DEGRADED, "WAL-G could not tell whether the server is on the newest timeline.")
    return Check("timeline", FAULTY, "The storage has a newer timeline than the server: two servers write to it.")


# Errors --------------------------------------------------------------------------------------------------------------


def _unexpected(command: str) -> RollbackError:
    return RollbackError(
        "walg_unexpected",
        f"wal-g {command} answered in a form that is not understood here.",
        f"Run `wal-g {command}` by hand, and compare its release with the tested one.",
    )


def _restore_failed(message: str) -> RollbackError:
    return RollbackError("restore_failed", message, "See what wal-g says of its storage, or use another backup.")
