# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Backups in pgBackRest's repositories: `info`, `repo-ls`, `verify` and `restore`. None of these writes to one."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, ClassVar

from ansible_collections.pgops.rollback.plugins.module_utils.backup import (
    COMPLETE,
    DEGRADED,
    FAILED,
    FAULTY,
    PASSED,
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
from ansible_collections.pgops.rollback.plugins.module_utils.pgbackrest_verify import judge
from ansible_collections.pgops.rollback.plugins.module_utils.wording import listed

_PROGRAM = "pgbackrest"

#: From here on, verify can be told to look at one backup only.
_VERIFY_SET = (2, 55)

#: Status codes of a repository that is in order; 2 is one without backups.
_IN_ORDER = (0, 2)

#: Of info's other status codes: our code, what it means, and what to do. The exit code is 0 with all of them.
_STATUS: dict[int, tuple[str, str, str]] = {
    1: ("stanza_missing", "has no stanza {stanza}",
        "Check backup_verification_stanza and the repository's path (is it mounted?); stanza-create makes a new one."),
    3: ("stanza_incomplete", "has a stanza {stanza} without its info files",
        "Restore backup.info and archive.info from a copy of the repository before anything else is done to it."),
    5: ("stanza_mismatch", "holds backups of another cluster under stanza {stanza} than the other repositories",
        "Run pgbackrest check and stanza-upgrade on the database host."),
    6: ("backup_missing", "does not hold the backup that was asked for", "List the backups again."),
}  # fmt: skip
_UNREADABLE = "repository_unreadable"
_OF_REPOSITORY = {code for code, _meaning, _remedy in _STATUS.values()} | {_UNREADABLE}

_SEGMENT_FILE = re.compile(r"([0-9A-F]{24})-[0-9a-f]{40}(\.\w+)?\Z")


class PgBackRest(PhysicalSource):
    """Reads ``stanza``, ``config``, ``user`` and ``timeout`` of the settings."""

    name: ClassVar[str] = "pgbackrest"
    integrity_proves: ClassVar[str] = (
        "All its files and all the WAL it needs are in the repository, with the checksums that pgBackRest recorded"
    )
    integrity_leaves_open: ClassVar[str] = (
        "whether Postgres starts from it, and what was already damaged in the database when it was taken"
    )

    def backups(self) -> list[Backup]:
        return self._asked()[0]

    def _asked(self) -> tuple[list[Backup], list[RollbackError]]:
        """All backups, and the repositories that are not in order; not all of them.

        :raises RollbackError: when no repository is in order.
        """
        answer = self._succeed("info", "--output=json")
        try:
            stanza = json.loads(answer)[0]
            self._require_repository(stanza)
            return [self._listed(entry, stanza) for entry in stanza["backup"]], list(self._problems(stanza))
        except (ValueError, TypeError, LookupError) as error:
            raise _not_understood() from error

    def _require_repository(self, stanza: dict[str, Any]) -> None:
        """At least one must be in order; a backup in it counts, whatever became of the others."""
        problems = list(self._problems(stanza))
        if stanza["status"]["code"] == 5 or (problems and len(problems) >= len(stanza["repo"])):
            raise problems[0] if problems else self._problem(5, "", "The repository")

    def _problems(self, stanza: dict[str, Any]) -> Iterator[RollbackError]:
        """Of each repository that is not in order; of the stanza, when there is none."""
        for repository in stanza["repo"]:
            status = repository["status"]
            if status["code"] not in _IN_ORDER:
                yield self._problem(status["code"], status["message"], f"Repository {repository['key']}")
        if not stanza["repo"]:
            yield self._problem(stanza["status"]["code"], stanza["status"]["message"], "The repository")

    def _problem(self, code: int, message: str, where: str) -> RollbackError:
        if code in _STATUS:
            word, meaning, remedy = _STATUS[code]
            text = f"{where} of pgBackRest {meaning.format(stanza=self.settings.stanza)}."
            return RollbackError(word, text, remedy)
        return RollbackError(
            _UNREADABLE,
            f"{where} of pgBackRest cannot be read: {first_line(message)}.",
            f"Let user {self.settings.user.name} read it (backup_verification_user), or see what is gone.",
        )

    def _listed(self, entry: dict[str, Any], stanza: dict[str, Any]) -> Backup:
        identity = entry["database"]
        repository = identity["repo-key"]
        cluster = {(db["id"], db["repo-key"]): db for db in stanza["db"]}[identity["id"], repository]
        return Backup(
            self.name,
            entry["label"],
            f"stanza {stanza['name']} in repository {repository} of pgBackRest",
            "physical",
            FAILED if entry["error"] else COMPLETE,
            "Pages of the database were already damaged when it was taken." if entry["error"] else "",
            started_at=_time(entry["timestamp"]["start"]),
            finished_at=_time(entry["timestamp"]["stop"]),
            size_bytes=entry["info"]["repository"]["size"],
            database_bytes=entry["info"]["size"],
            server_major=int(cluster["version"].partition(".")[0]),
            system_id=str(cluster["system-id"]),
            wal_start=entry["archive"]["start"],
            wal_stop=entry["archive"]["stop"],
            details={
                "repository": repository,
                "archive_id": f"{cluster['version']}-{cluster['id']}",
                "lsn_start": (entry.get("lsn") or {}).get("start"),
                "built_on": entry["reference"] or [],
            },
        )

    # Integrity --------------------------------------------------------------------------------------------------------

    def integrity(self, backup: Backup, progress: Progress) -> list[Check]:
        progress("asking pgbackrest for the backup and its WAL", None)
        checks = [self._still_there(backup), self._manifests(backup), self._wal(backup)]
        progress(f"pgbackrest verify is reading {backup.id}", None)
        return [*checks, self._verify(backup)]

    def _still_there(self, backup: Backup) -> Check:
        try:
            backups, problems = self._asked()
        except RollbackError as error:
            if error.code not in _OF_REPOSITORY:
                raise
            return Check("status", FAULTY, error.message)
        here = [each for each in backups if (each.id, each.location) == (backup.id, backup.location)]
        if not here:
            return Check("status", FAULTY, "pgbackrest info does not list it any more.")
        if here[0].problem:
            return Check("status", FAULTY, here[0].problem)
        if problems:
            return Check("status", DEGRADED, f"pgbackrest info lists it without an error, but: {problems[0].message}")
        return Check("status", PASSED, "pgbackrest info lists it without an error.")

    def _manifests(self, backup: Backup) -> Check:
        """Of a backup that stands on others, theirs are not needed, but their files are."""
        names = self._list(backup, f"backup/{self.settings.stanza}/{backup.id}")
        gone = [label for label in backup.details["built_on"]
                if not self._list(backup, f"backup/{self.settings.stanza}/{label}")]  # fmt: skip
        copies = [name for name in ("backup.manifest", "backup.manifest.copy") if name in names]
        if not names:
            return Check("manifest", FAULTY, "Its directory in the repository is gone.")
        if gone:
            return Check("manifest", FAULTY, f"Backup {listed(gone)}, which it is built on, is gone.")
        if not copies:
            return Check("manifest", FAULTY, "Both copies of its manifest are gone, so it cannot be restored.")
        if len(copies) == 1:
            return Check("manifest", DEGRADED, f"Of the two copies of its manifest only {copies[0]} is there.")
        return Check("manifest", PASSED, "Both copies of its manifest are there.")

    def _wal(self, backup: Backup) -> Check:
        """verify does not miss WAL that is gone, so each segment is looked for."""
        directory = f"archive/{self.settings.stanza}/{backup.details['archive_id']}"
        archive = self._list(backup, directory)
        try:
            wanted = {name[:16] for name in needed_wal(backup)} & set(archive)
        except ValueError:
            wanted = set()  # wal_present says what is wrong
        files = [name for part in sorted(wanted) for name in self._list(backup, f"{directory}/{part}")]
        found = [match.group(1) for match in map(_SEGMENT_FILE.match, files) if match]
        check = wal_present(backup, set(found))
        twice = sorted({name for name in needed_wal(backup) if found.count(name) > 1}) if check.status == PASSED else []
        if twice:
            return Check("wal", FAULTY, f"WAL is in the archive twice, and pgBackRest refuses such: {listed(twice)}.")
        return check

    def _verify(self, backup: Backup) -> Check:
        try:
            needed = needed_wal(backup)
        except ValueError:
            needed = []
        version = tuple(map(int, (self.tool_version() or "0").split(".")))
        chosen = [f"--set={backup.id}"] if version >= _VERIFY_SET else []
        answer = self._run(
            "verify", "--output=text", "--verbose", self._repository(backup), *chosen, "--log-level-stderr=info"
        )
        if answer.returncode != 0:
            return Check("verify", FAULTY, f"pgbackrest verify failed: {_error(answer)}.")
        return judge(answer.stdout, answer.stderr, backup.id, backup.details["archive_id"], needed)

    def tool_version(self) -> str | None:
        return version_of(self.settings, _PROGRAM, "version")

    def _list(self, backup: Backup, directory: str) -> list[str]:
        """Names in a directory of the repository; none in one that does not exist."""
        answer = self._succeed("repo-ls", "--output=json", self._repository(backup), directory)
        try:
            return [name for name in json.loads(answer) if name != "."]
        except ValueError as error:
            raise _not_understood("repo-ls") from error

    # Restoring --------------------------------------------------------------------------------------------------------

    def materialise(self, backup: Backup, data_directory: Path, progress: Progress) -> None:
        progress(f"pgbackrest is restoring {backup.id}", None)
        tablespaces = place_beside(data_directory, "tablespaces", self.settings.user)
        way_to_wal = self._restore_command(backup, data_directory)
        # Production's own lock would keep us out, or we it.
        with private_directory(self.settings.user) as locks:
            answer = self._run(
                "restore", self._repository(backup), f"--set={backup.id}", f"--pg1-path={data_directory}",
                "--reset-pg1-host", "--type=immediate", "--archive-mode=off", f"--tablespace-map-all={tablespaces}",
                f"--lock-path={locks}", f"--recovery-option=restore_command={way_to_wal}",
            )  # fmt: skip
        if answer.returncode != 0:
            raise RollbackError(
                "restore_failed",
                f"pgbackrest restore of {backup.id} failed: {_error(answer)}.",
                "See whether the integrity check names a fault; else repeat it by hand with pgbackrest restore.",
            )

    def _restore_command(self, backup: Backup, data_directory: Path) -> str:
        """As pgBackRest would write it, but without its queue and its locks, which are production's."""
        command = self._command(
            "archive-get", self._repository(backup), f"--pg1-path={data_directory}", "--reset-pg1-host",
            "--no-archive-async",
        )  # fmt: skip
        text = shlex.join(command).replace("%", "%%") + ' %f "%p"'
        return text.replace("'", "''")  # pgBackRest puts it between quotes as it is

    # Calling it -------------------------------------------------------------------------------------------------------

    def _repository(self, backup: Backup) -> str:
        return f"--repo={backup.details['repository']}"

    def _command(self, command: str, *arguments: str) -> list[str]:
        config = [f"--config={self.settings.config}"] if self.settings.config else []
        quiet = ["--log-level-file=off", "--log-level-console=off"]
        return [_PROGRAM, *config, f"--stanza={self.settings.stanza}", *quiet, command, *arguments]

    def _run(self, command: str, *arguments: str) -> CompletedProcess[str]:
        return run_tool(self.settings, self._command(command, *arguments))

    def _succeed(self, command: str, *arguments: str) -> str:
        answer = self._run(command, *arguments)
        if answer.returncode != 0:
            raise RollbackError(
                "pgbackrest_failed",
                f"pgbackrest {command} failed: {_error(answer)}.",
                f"Check backup_verification_config, and run pgbackrest {command} as user {self.settings.user.name}.",
            )
        return answer.stdout


def _error(answer: CompletedProcess[str]) -> str:
    text = answer.stderr or answer.stdout
    found = re.search(r"ERROR: \[\d+\]: (.*)", text)
    return first_line(found.group(1) if found else text)


def _not_understood(command: str = "info") -> RollbackError:
    return RollbackError(
        "pgbackrest_unexpected",
        f"pgbackrest {command} answered something that cannot be understood.",
        "Look at its answer (--output=json), and at what this release was tested with; nothing was verified.",
    )


def _time(epoch: int) -> datetime:
    return datetime.fromtimestamp(epoch, UTC)
