# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a backup is, whichever tool made it, and what a source of backups can be asked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Protocol

from ansible_collections.pgops.rollback.plugins.module_utils.postgres_binaries import Wheel
from ansible_collections.pgops.rollback.plugins.module_utils.system_user import SystemUser

#: Only a complete backup counts.
COMPLETE, UNFINISHED, FAILED = "complete", "unfinished", "failed"


#: The variable that says how long one call of an external program may take.
PROGRAM_TIMEOUT = "backup_verification_program_timeout"


class Progress(Protocol):
    """Called with what is being done and, where it is known, how far it is (0 to 1)."""

    def __call__(self, text: str, fraction: float | None, /) -> None: ...


@dataclass(frozen=True)
class Backup:
    """One backup. Times are UTC, sizes are bytes, and None is what the source does not tell.

    :ivar id: what the tool calls it; of files, the file's name.
    :ivar location: where it is, for people; a path where there is one.
    :ivar kind: ``logical`` (SQL, restored into a database) or ``physical`` (a data directory).
    :ivar status: ``complete``, ``unfinished`` (still being made, or interrupted) or ``failed``.
    :ivar problem: why it does not count; empty when it is complete.
    :ivar size_bytes: what it takes where it is stored.
    :ivar database_bytes: what the restored database takes.
    :ivar server_major: of the server it was taken from.
    :ivar system_id: the cluster's system identifier (physical).
    :ivar database: its name (logical).
    :ivar wal_start: first WAL segment needed, a file name; ``wal_stop`` the last.
    :ivar details: what else its source needs to work on it.
    """

    source: str
    id: str
    location: str
    kind: str
    status: str = COMPLETE
    problem: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    size_bytes: int | None = None
    database_bytes: int | None = None
    server_major: int | None = None
    system_id: str | None = None
    database: str | None = None
    wal_start: str | None = None
    wal_stop: str | None = None
    details: dict[str, Any] = field(default_factory=dict, repr=False)

    def as_result(self) -> dict[str, Any]:
        """As backup_info returns it: times in ISO 8601 with a Z."""
        found = asdict(self)
        del found["details"]
        return {
            name: value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if isinstance(value, datetime) else value
            for name, value in found.items()
        }


#: How a check can end. ``skipped`` is never as good as ``passed``.
PASSED, DEGRADED, SKIPPED, FAULTY = "passed", "degraded", "skipped", "failed"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    :ivar name: a word of the interface, such as ``sha256``.
    :ivar status: ``passed``, ``degraded`` (passed with a reservation), ``skipped`` or ``failed``.
    :ivar message: what was found, one sentence; of a skipped one, why.
    :ivar seconds: how long it took.
    """

    name: str
    status: str
    message: str
    seconds: float = 0.0


@dataclass(frozen=True)
class SourceSettings:
    """How a source is reached; each source says in its docstring which of these it reads.

    :ivar path: file, directory or glob.
    :ivar database: the database that the backups are to be of; None accepts any.
    :ivar stanza: of pgBackRest.
    :ivar server: of Barman, its name in Barman's configuration.
    :ivar config: configuration file of pgBackRest, Barman or WAL-G; None for the tool's own default.
    :ivar supabase_ref: the project's reference, 20 letters.
    :ivar supabase_token: a personal access token; never shown.
    :ivar supabase_url: base address of the Management API.
    :ivar user: who runs the tool, and the server of a drill.
    :ivar timeout: seconds that one call of an external program may take.
    :ivar wheels: that may be installed for the client programs of a dump's release.
    """

    user: SystemUser
    timeout: int
    path: str | None = None
    database: str | None = None
    stanza: str | None = None
    server: str | None = None
    config: str | None = None
    supabase_ref: str | None = None
    supabase_token: str | None = field(default=None, repr=False)
    supabase_url: str = "https://api.supabase.com"
    wheels: tuple[Wheel, ...] = ()


class Source(ABC):
    """A kind of place where backups are. Everything here only reads."""

    #: As in ``backup_verification_source``.
    name: ClassVar[str]

    #: What a passed integrity rung proves, and what it leaves open, one sentence each.
    integrity_proves: ClassVar[str]
    integrity_leaves_open: ClassVar[str]

    #: Why the source cannot be drilled; empty when it can.
    no_drill: ClassVar[str] = ""

    def __init__(self, settings: SourceSettings) -> None:
        self.settings = settings

    @abstractmethod
    def backups(self) -> list[Backup]:
        """Every backup, complete or not, in any order. An empty list is no error.

        :raises RollbackError: when the place cannot be looked at.
        """

    def inspect(self, backup: Backup) -> Backup:
        """Look closer at one that may be selected: what backups() leaves out because it would cost a read of each.

        Its finished_at never gets later by it.
        """
        return backup

    @abstractmethod
    def integrity(self, backup: Backup, progress: Progress) -> list[Check]:
        """Look at every byte of the backup that the tool, or we, can judge without restoring it.

        A fault is a failed check, not an exception.

        :raises RollbackError: when the check itself could not be made.
        """

    def tool_version(self) -> str | None:
        """The version of the backup tool on this host; None where Postgres itself is the tool, or it does not say."""
        return None


class PhysicalSource(Source):
    """Backups that are data directories."""

    @abstractmethod
    def materialise(self, backup: Backup, data_directory: Path, progress: Progress) -> None:
        """Put the backup into an empty directory of the server's user, ready to be started.

        It holds a backup_label or what the tool made of it, a recovery.signal, and either the WAL it needs or a
        restore_command in postgresql.auto.conf. The drill decides all other settings.

        :raises RollbackError: ``restore_failed``, with what the tool said.
        """
