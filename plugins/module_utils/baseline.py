# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The baseline of a migration: what was there before it, or after it, kept in a file that is written once."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.catalog_object import canonical, digest
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_snapshot import Snapshot
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.report_files import (
    host_directory,
    make_directory,
    require_run_id,
    write_new_file,
)
from ansible_collections.pgops.rollback.plugins.module_utils.table_writes import TableWrites

#: Before the migration and after it.
MOMENTS = ("before", "after")

_FORMAT_VERSION = 1


@dataclass(frozen=True)
class Baseline:
    """:ivar migration: its name, as in ``rollback_migration``.
    :ivar moment: one of MOMENTS.
    :ivar operator: who took it.
    :ivar snapshot: with the time it was taken, UTC.
    :ivar writes: the counters of rows written, of the same time.
    :ivar activity: commits, rollbacks and deadlocks of the same time, as verification_activity reads them.
    :ivar backup: the record of the last restore drill, or None.
    :ivar backup_note: why there is none; empty when there is.
    :ivar history: versions that Supabase has applied; None where it has no history, or the role may not read it.
    """

    migration: str
    moment: str
    host: str
    operator: str
    snapshot: Snapshot
    writes: TableWrites = field(default_factory=TableWrites)
    activity: dict[str, Any] = field(default_factory=dict)
    backup: dict[str, Any] | None = None
    backup_note: str = ""
    history: list[str] | None = None

    @property
    def taken_at(self) -> str:
        return self.snapshot.taken_at

    def require_same_database(self, now: Snapshot) -> None:
        """:raises RollbackError: ``baseline_foreign`` when it is another database's, or of another major version."""
        then = self.snapshot
        both_known = None not in (then.system_identifier, now.system_identifier)
        if then.database != now.database or (both_known and then.system_identifier != now.system_identifier):
            raise _foreign(
                f"of database {then.database} on cluster {then.system_identifier or 'unknown'}, not of"
                f" {now.database} on {now.system_identifier or 'unknown'}"
            )
        majors = (then.server_version_num // 10000, now.server_version_num // 10000)
        if len(set(majors)) > 1:
            raise _foreign(f"of Postgres {majors[0]}, and the server is {majors[1]}, which describes things otherwise")


def baseline_path(artifacts_dir: str, host: str, migration: str, moment: str) -> Path:
    """:raises RollbackError: ``artifacts_dir_relative``, ``unsafe_name``."""
    return _directory(artifacts_dir, host) / f"{require_migration(migration)}-{moment}.json"


def manifest_file(artifacts_dir: str, host: str, migration: str) -> Path:
    """Where the manifest made of the two baselines lies.

    :raises RollbackError: ``artifacts_dir_relative``, ``unsafe_name``.
    """
    return _directory(artifacts_dir, host) / f"{require_migration(migration)}-manifest.json"


def require_migration(migration: str) -> str:
    """:raises RollbackError: ``unsafe_name``."""
    try:
        return require_run_id(migration)
    except RollbackError as error:
        raise RollbackError(
            error.code,
            f"{migration!r} cannot be the name of a migration here, since it names a file.",
            "Set rollback_migration to letters, digits, dots, dashes and underscores, at most 128.",
        ) from error


def require_new(path: Path, migration: str, moment: str) -> None:
    """:raises RollbackError: ``baseline_exists``; before anything large is read in vain."""
    if path.exists():
        raise _exists(path, migration, moment)


def write_baseline(path: Path, baseline: Baseline) -> None:
    """Write it, once.

    :param path: from baseline_path().
    :raises RollbackError: ``baseline_exists``, ``artifacts_unwritable``.
    """
    heading = {
        "format_version": _FORMAT_VERSION,
        "migration": baseline.migration,
        "moment": baseline.moment,
        "host": baseline.host,
        "operator": baseline.operator,
        "writes": {"tables": baseline.writes.tables, "reset_at": baseline.writes.reset_at},
        "activity": baseline.activity,
        "identities": baseline.snapshot.identities,
        "backup": baseline.backup,
        "backup_note": baseline.backup_note,
        "history": baseline.history,
    }
    content = {**heading, "sum": digest(canonical(heading)), "snapshot": baseline.snapshot.as_json()}
    try:
        make_directory(path.parent)
        # A line for each would be a hundred thousand lines, which nobody reads.
        write_new_file(path, json.dumps(content, ensure_ascii=False) + "\n")
    except FileExistsError as error:
        raise _exists(path, baseline.migration, baseline.moment) from error
    except OSError as error:
        raise RollbackError(
            "artifacts_unwritable",
            f"The baseline cannot be written to {path}: {error.strerror}.",
            "Set rollback_artifacts_dir to a directory that this user may write to and that has room.",
        ) from error


def read_baseline(path: Path) -> Baseline:
    """:raises RollbackError: ``baseline_missing``, ``baseline_unreadable``, ``baseline_invalid`` (also when it was
    edited or is of another release's format).
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RollbackError(
            "baseline_missing",
            f"There is no baseline {path}.",
            "Take one before the migration with playbooks/baseline.yml, and name the migration the same way each time.",
        ) from error
    except OSError as error:
        raise RollbackError(
            "baseline_unreadable", f"The baseline {path} cannot be read: {error.strerror}.", "Let this user read it."
        ) from error
    except (ValueError, RecursionError) as error:
        raise _invalid(path, "is no whole JSON") from error
    version = content.get("format_version") if isinstance(content, dict) else None
    if version != _FORMAT_VERSION:
        raise _invalid(path, f"has format {version!r}, and this release reads {_FORMAT_VERSION}")
    heading = {name: value for name, value in content.items() if name not in ("sum", "snapshot")}
    try:
        if digest(canonical(heading)) != content["sum"]:
            raise _invalid(path, "was changed after it was written")
        snapshot = Snapshot.from_json(content["snapshot"])
        snapshot.identities = content.get("identities", {})  # which an earlier release did not keep
        return Baseline(
            migration=content["migration"],
            moment=content["moment"],
            host=content["host"],
            operator=content["operator"],
            snapshot=snapshot,
            writes=TableWrites(**content["writes"]),
            activity=content["activity"],
            backup=content["backup"],
            backup_note=content["backup_note"],
            history=content.get("history"),  # the same
        )
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise _invalid(path, f"does not say what it should ({error!s:.100})") from error
    except RollbackError as error:
        raise RollbackError(error.code, f"{path}: {error.message}", error.remedy) from error


def baseline_if_there(path: str | None) -> Baseline | None:
    """None where there is no such file, or none is named.

    :raises RollbackError: those of read_baseline() but for a missing one.
    """
    try:
        return None if path is None else read_baseline(Path(path))
    except RollbackError as error:
        if error.code != "baseline_missing":
            raise
        return None


def _directory(artifacts_dir: str, host: str) -> Path:
    return host_directory(artifacts_dir, host) / "baselines"


def _exists(path: Path, migration: str, moment: str) -> RollbackError:
    try:
        earlier = read_baseline(path)
        whose = f", taken {earlier.taken_at} by {earlier.operator}"
    except RollbackError:
        whose = ""
    return RollbackError(
        "baseline_exists",
        f"There is a baseline {moment} {migration} already{whose}; a baseline is never overwritten.",
        f"Give the migration another name, or move {path} away if it is of no use.",
    )


def _invalid(path: Path, what: str) -> RollbackError:
    return RollbackError(
        "baseline_invalid",
        f"The baseline {path} {what}.",
        "Use another one, or take a new one before the next migration (playbooks/baseline.yml).",
    )


def _foreign(what: str) -> RollbackError:
    return RollbackError(
        "baseline_foreign",
        f"The baseline is {what}.",
        "Correct rollback_migration or the connection, so that both are of the same database.",
    )
