# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Backups that Barman keeps, on the host where it runs. Barman 3.4 and 3.19 answer in different shapes.

Nothing is changed, but for the status of a backup that Barman's own cron keeps up to date as well (check-backup).
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from ansible_collections.pgops.rollback.plugins.module_utils.backup import (
    COMPLETE,
    FAILED,
    FAULTY,
    PASSED,
    SKIPPED,
    UNFINISHED,
    Backup,
    Check,
    PhysicalSource,
    Progress,
)
from ansible_collections.pgops.rollback.plugins.module_utils.backup_tool import (
    first_line,
    needed_wal,
    place_beside,
    private_directory,
    run_tool,
    version_of,
    wal_present,
)
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.postgres_binaries import find_binaries

_PROGRAM = "barman"

#: What Barman calls a backup's status, and what that means; anything else is no complete backup either.
_STATUS = {
    "DONE": (COMPLETE, ""),
    "WAITING_FOR_WALS": (UNFINISHED, "WAL that it needs has not arrived in Barman's archive (WAITING_FOR_WALS)."),
    "STARTED": (UNFINISHED, "It is still being taken, or was interrupted (STARTED)."),
    "EMPTY": (UNFINISHED, "It has only just begun, or was interrupted (EMPTY)."),
    "SYNCING": (UNFINISHED, "It is still being copied from another Barman (SYNCING)."),
    "FAILED": (FAILED, "Barman says that taking it failed (FAILED)."),
}

#: Second byte of each page of WAL as Postgres writes it; of a compressed or encrypted file it is another.
_WAL_MAGIC = 0xD1


class Barman(PhysicalSource):
    """Reads ``server``, ``config``, ``user``, ``timeout`` and ``wheels`` of the settings."""

    name: ClassVar[str] = "barman"
    integrity_proves: ClassVar[str] = (
        "All its files have the checksums of its manifest, and the WAL it needs is there and can be read"
    )
    integrity_leaves_open: ClassVar[str] = (
        "whether Postgres starts from it, and what was already damaged in the database when it was taken"
    )

    def backups(self) -> list[Backup]:
        answer = self._ask("list-backups", self._server)
        try:
            return [self._listed(entry) for entry in answer[self._server]]
        except (LookupError, TypeError, ValueError) as error:
            raise _unexpected("list-backups") from error

    def _listed(self, entry: dict[str, Any]) -> Backup:
        """Times and sizes are there only of what is complete, or waits for nothing but WAL."""
        known = entry["status"]
        status, problem = _STATUS.get(known, (UNFINISHED, f"Barman calls it {known}, which is not known here."))
        finished = entry.get("end_time_timestamp")
        return Backup(
            self.name,
            entry["backup_id"],
            f"server {self._server} of Barman",
            "physical",
            status,
            problem,
            finished_at=_time(finished) if finished else None,
            size_bytes=entry.get("size_bytes"),
        )

    def inspect(self, backup: Backup) -> Backup:
        """With the WAL it needs and the release it was taken from."""
        try:
            answer = self._ask("show-backup", self._server, backup.id)
        except RollbackError as error:
            if error.code != "barman_failed":
                raise
            return replace(backup, status=FAILED, problem=error.message)
        try:
            return self._shown(backup, answer[self._server])
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise _unexpected("show-backup") from error

    def _shown(self, backup: Backup, shown: dict[str, Any]) -> Backup:
        base = shown["base_backup_information"]
        packed = bool(base["compression"] or base["encryption"]) if "compression" in base else self._is_tar(backup)
        # Of a compressed one, only the newer release knows how large it was; it also has other names for sizes.
        size = None if packed else base.get("backup_size_bytes", base.get("disk_usage_bytes"))
        return replace(
            backup,
            started_at=_time(base["begin_time_timestamp"]),
            database_bytes=shown.get("cluster_size_bytes") or size,
            server_major=shown["postgresql_version"] // 10000,
            system_id=shown.get("system_id"),
            wal_start=base["begin_wal"],
            wal_stop=base["end_wal"],
            details={
                "lsn_start": base["begin_lsn"],
                "lsn_stop": base["end_lsn"],
                "tablespaces": [tablespace["name"] for tablespace in shown["tablespaces"]],
                "packed": packed,
            },
        )

    def _is_tar(self, backup: Backup) -> bool:
        return any("/data/base.tar" in path for path in self._files(backup, "data"))

    # Integrity --------------------------------------------------------------------------------------------------------

    def tool_version(self) -> str | None:
        return version_of(self.settings, _PROGRAM, "--version")

    def integrity(self, backup: Backup, progress: Progress) -> list[Check]:
        progress("asking barman for the backup and its WAL", None)
        checks = [self._status(backup)]
        wal = self._wal_files(backup)
        checks.append(wal_present(backup, wal))
        if checks[-1].status == PASSED:
            checks.append(self._wal_records(backup, wal))
        progress(f"barman verify-backup is reading {backup.id}", None)
        return [*checks, self._verify(backup)]

    def _status(self, backup: Backup) -> Check:
        """check-backup exits with 0 when WAL is gone, but then has changed the status."""
        try:
            self._ask("check-backup", self._server, backup.id)
        except RollbackError as error:
            if error.code != "barman_failed":
                raise
            return Check("status", FAULTY, error.message)
        now = next((each for each in self.backups() if each.id == backup.id), None)
        if now is None:
            return Check("status", FAULTY, "Barman does not list it any more.")
        if now.status != COMPLETE:
            return Check("status", FAULTY, now.problem)
        return Check("status", PASSED, "Barman has looked at it again and still calls it DONE.")

    def _wal_files(self, backup: Backup) -> dict[str, Path]:
        """Segments by name. Barman lists what its catalogue holds, so each file is looked for."""
        paths = [Path(line) for line in self._files(backup, "wal")]
        return {path.name: path for path in paths if path.is_file() and path.stat().st_size}

    def _files(self, backup: Backup, target: str) -> list[str]:
        """Empty of a backup that is gone."""
        try:
            answer = self._ask("list-files", "--target", target, self._server, backup.id)
        except RollbackError as error:
            if error.code != "barman_failed":
                raise
            return []
        return [str(line) for line in answer.get("_INFO", [])]

    def _wal_records(self, backup: Backup, wal: dict[str, Path]) -> Check:
        """No program of Barman's sees a wrong bit in the WAL."""
        files = [wal[name] for name in needed_wal(backup)]
        packed = [path for path in files if not _is_plain_wal(path)]
        if packed:
            return Check("wal_records", SKIPPED, f"Its WAL is compressed, encrypted or no WAL ({packed[0].name}), so it"
                         " was not read. A drill replays it.")  # fmt: skip
        try:
            binaries = find_binaries(backup.server_major, self.settings.user, wheels=self.settings.wheels)
        except RollbackError as error:
            return Check("wal_records", SKIPPED, f"Its WAL was not read. {error.message} A drill replays it.")
        program = binaries.bindir / "pg_waldump" if binaries else None
        if program is None or not program.exists():
            return Check("wal_records", SKIPPED, "Its WAL was not read: pg_waldump is missing. A drill replays it.")
        with private_directory(self.settings.user) as links:
            for path in files:
                (links / path.name).symlink_to(path)
            answer = run_tool(self.settings, [
                str(program), "--quiet", f"--path={links}", f"--timeline={int(files[0].name[:8], 16)}",
                f"--start={backup.details['lsn_start']}", f"--end={backup.details['lsn_stop']}",
            ])  # fmt: skip
        if answer.returncode != 0:
            reason = first_line(answer.stderr).removeprefix("pg_waldump: ").removeprefix("error: ")
            return Check("wal_records", FAULTY, f"WAL that it needs is damaged: {reason}.")
        return Check("wal_records", PASSED, "pg_waldump read every WAL record that it needs.")

    def _verify(self, backup: Backup) -> Check:
        """By its backup_manifest. Making one now (generate-manifest) would write, and prove nothing of the past."""
        data = [path for path in self._files(backup, "data") if "/data/" in path]
        if not data:
            return Check("verify", FAULTY, "It has no files any more.")
        if not any(path.endswith("/data/backup_manifest") for path in data):
            return Check("verify", SKIPPED, "It has no backup_manifest, so its files have no checksums to compare.")
        if backup.details["packed"]:
            return Check("verify", SKIPPED, "It is compressed or encrypted, and barman verify-backup reads plain ones.")
        return self._by_manifest(backup)

    def _by_manifest(self, backup: Backup) -> Check:
        try:
            answer = self._ask("verify-backup", self._server, backup.id)
        except RollbackError as error:
            if error.code != "barman_failed":
                raise
            if "pg_verifybackup not found" in error.message:
                return Check("verify", SKIPPED, "Barman finds no pg_verifybackup; its path_prefix says where to look.")
            return Check("verify", FAULTY, error.message)
        if "backup successfully verified" not in answer.get("_INFO", []):
            said = first_line(json.dumps(answer))
            return Check("verify", FAULTY, f"What barman verify-backup said could not be understood: {said}.")
        return Check("verify", PASSED, "Every file has the checksum of the backup_manifest.")

    # Restoring --------------------------------------------------------------------------------------------------------

    def materialise(self, backup: Backup, data_directory: Path, progress: Progress) -> None:
        progress(f"barman is restoring {backup.id}", None)
        user = self.settings.user
        # With its own tablespaces in the places of production's.
        names = backup.details["tablespaces"]
        home = place_beside(data_directory, "tablespaces", user) if names else None
        moved = [option for name in names for option in ("--tablespace", f"{name}:{home}/{name}")]
        staging = place_beside(data_directory, "staging", user) if backup.details["packed"] else None
        unpacked = ["--recovery-staging-path", str(staging)] if staging else []
        try:
            self._ask("recover", "--target-immediate", "--no-get-wal", *moved, *unpacked, self._server, backup.id,
                      str(data_directory))  # fmt: skip
        except RollbackError as error:
            if error.code != "barman_failed":
                raise
            raise RollbackError(
                "restore_failed",
                error.message,
                "See whether the integrity check names a fault; else repeat it by hand with barman recover.",
            ) from error
        finally:
            if staging:
                shutil.rmtree(staging)

    # Calling it -------------------------------------------------------------------------------------------------------

    @property
    def _server(self) -> str:
        return self.settings.server or ""

    def _ask(self, command: str, *arguments: str) -> dict[str, Any]:
        """What Barman answers; messages are under _INFO, _WARNING, _ERROR and _EXCEPTION.

        :raises RollbackError: ``server_missing``, ``barman_failed``, ``barman_unexpected`` and what run_tool raises.
        """
        config = ["--config", self.settings.config] if self.settings.config else []
        answer = run_tool(self.settings, [_PROGRAM, *config, "--format", "json", command, *arguments])
        try:
            parsed = json.loads(answer.stdout)
        except ValueError:
            parsed = None
        if answer.returncode == 0 and not isinstance(parsed, dict):
            raise _unexpected(command)
        errors = (parsed.get("_ERROR") or parsed.get("_EXCEPTION")) if isinstance(parsed, dict) else None
        if answer.returncode == 0 and not errors:
            return parsed
        text = first_line(str(errors[-1]) if errors else answer.stderr or answer.stdout)
        if text == f"Unknown server '{self._server}'":
            raise RollbackError(
                "server_missing",
                f"Barman knows no server {self._server} in its configuration.",
                "Check backup_verification_server and backup_verification_config (barman list-servers).",
            )
        raise RollbackError(
            "barman_failed",
            f"barman {command} failed: {text}.",
            f"Run it as user {self.settings.user.name}, who has to be Barman's own user (backup_verification_user).",
        )


def _is_plain_wal(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2)[1:] == bytes([_WAL_MAGIC])


def _unexpected(command: str) -> RollbackError:
    return RollbackError(
        "barman_unexpected",
        f"barman {command} answered something that cannot be understood.",
        "Look at its answer (barman --format json), and at what this release was tested with; nothing was verified.",
    )


def _time(epoch: str | int) -> datetime:
    return datetime.fromtimestamp(int(epoch), UTC)
