# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What backup verifications leave on disk: the history of the runs, and the drill that a teardown takes as evidence.

A record is a dict with ``schema_version``, ``run_id``, ``host``, ``source``, ``database`` (as configured, or None),
``started``, ``finished`` (UTC, ISO 8601 with a Z), ``verdict``, ``backup`` (as backup_info returns it, or None),
``age_seconds``, ``rungs`` (steps of the report), ``restore`` (or None), ``missing_extensions`` and ``versions``.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.backup_ladder import CLOCK_SKEW
from ansible_collections.pgops.rollback.plugins.module_utils.durations import show_duration
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.report_files import (
    make_directory,
    point,
    require_run_id,
    write_file,
)

SCHEMA_VERSION = 1

HISTORY = "history.json"
LATEST_DRILL = "latest-drill.json"

#: Runs that the history keeps.
_KEPT_RUNS = 50
#: Where a history that cannot be read is put aside.
_DAMAGED_HISTORY = "history.json.damaged"
_DRILL_NAME = re.compile(r"drill-[A-Za-z0-9._-]+\.json")
_RUN_AGAIN = "Run verify_backup.yml with its drill, then plan again."


def write_record(directory: Path, record: dict[str, Any]) -> Path:
    """Add the run to the history and, if its drill succeeded, make it the latest drill.

    :param directory: ``<artifacts_dir>/<host>/backup``.
    :returns: the file with the drill's record, or else the history.
    :raises RollbackError: ``unsafe_name``, ``records_unwritable``.
    """
    run_id = require_run_id(record["run_id"])
    try:
        make_directory(directory)
        with _exclusive(directory):
            write_file(directory / HISTORY, _as_json([_entry(record), *_kept(directory)][:_KEPT_RUNS]))
            if not drilled(record):
                return directory / HISTORY
            path = directory / f"drill-{run_id}.json"
            write_file(path, _as_json({**record, "sha256": _digest(record)}))
            # Last, so that it never names half a record.
            point(directory / LATEST_DRILL, path.name)
            return path
    except OSError as error:
        raise RollbackError(
            "records_unwritable",
            f"The verification cannot be recorded in {directory}: {error.strerror}.",
            "Set rollback_artifacts_dir to a directory that this user may write to and that has room.",
        ) from error


def read_history(directory: Path) -> list[dict[str, Any]]:
    """The last runs, newest first: ``run_id``, ``source``, ``database``, ``finished``, ``verdict``, ``backup_id``,
    ``backup_finished``, ``age_seconds``, ``size_bytes`` and ``drill_seconds`` (None without a drill).

    :raises RollbackError: ``history_unreadable``.
    """
    path = directory / HISTORY
    try:
        runs = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(runs, list) or not all(isinstance(run, dict) for run in runs):
            raise ValueError("it is no list of runs")
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise RollbackError(
            "history_unreadable",
            f"The history of the verifications, {path}, cannot be read: {error}.",
            "The next verification puts it aside and begins a new one.",
        ) from error
    return runs


def latest_drill(directory: Path, max_age: timedelta, now: datetime) -> dict[str, Any]:
    """The record of the newest drill that succeeded.

    :param directory: as for write_record().
    :param now: UTC.
    :raises RollbackError: ``drill_missing``; ``drill_stale`` when it is older than that, or a later run found fault
        with this backup or another one of the same source and database; ``drill_unreadable`` when it is not what was
        written, or ``history_unreadable``.
    """
    record = _read_drill(directory)
    age = now - _time(record["finished"])
    if age < -CLOCK_SKEW:
        raise _unreadable(directory, f"it is dated {record['finished']}, which is still to come")
    if age > max_age:
        raise RollbackError(
            "drill_stale",
            f"The last successful restore drill was {show_duration(age)} ago; {show_duration(max_age)} are allowed.",
            _RUN_AGAIN,
        )
    for run in read_history(directory):
        # Not by its name alone, which the user may have given to a later run too.
        if (run.get("run_id"), run.get("finished")) == (record["run_id"], record["finished"]):
            break
        if run.get("verdict") == "failed" and not _elsewhere(run, record):
            raise RollbackError(
                "drill_stale",
                f"The restore drill of run {record['run_id']} succeeded, but the later run {run.get('run_id')} found"
                f" fault with {run.get('backup_id') or 'the backups'}.",
                "See that run's report, remove the fault and run verify_backup.yml with its drill again.",
            )
    return record


def _elsewhere(run: dict[str, Any], record: dict[str, Any]) -> bool:
    """Whether a run of the history looked at backups that say nothing of the record's, and says so."""
    return any(None not in (run.get(key), record[key]) and run[key] != record[key] for key in ("source", "database"))


def drilled(record: dict[str, Any]) -> bool:
    """Whether the record proves that its backup was restored: a look at an earlier drill restores nothing, and a run
    that failed otherwise proves nothing.
    """
    return (
        record["verdict"] not in ("failed", "refused")
        and bool(record["backup"])
        and bool(record["restore"])
        and any(rung["name"] == "drill" and rung["status"] in ("ok", "degraded") for rung in record["rungs"])
    )


def _read_drill(directory: Path) -> dict[str, Any]:
    link = directory / LATEST_DRILL
    try:
        name = os.readlink(link)
        if not _DRILL_NAME.fullmatch(name):
            raise ValueError(f"it leads to {name!r}")
        record = json.loads((directory / name).read_text(encoding="utf-8"))
        recorded = record.pop("sha256")
        if record["schema_version"] != SCHEMA_VERSION or recorded != _digest(record):
            raise ValueError("its content is not what was written")
        if not drilled(record):
            raise ValueError("it holds no successful drill")
        _time(record["finished"])
    except FileNotFoundError as error:
        raise RollbackError(
            "drill_missing", f"There is no record of a successful restore drill in {directory}.", _RUN_AGAIN
        ) from error
    except OSError as error:
        raise _unreadable(directory, error.strerror or str(error)) from error
    except KeyError as error:
        raise _unreadable(directory, f"it has no {error}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise _unreadable(directory, str(error)) from error
    return dict(record)


def _unreadable(directory: Path, why: str) -> RollbackError:
    return RollbackError(
        "drill_unreadable", f"The drill record {directory / LATEST_DRILL} cannot be trusted: {why}.", _RUN_AGAIN
    )


def _entry(record: dict[str, Any]) -> dict[str, Any]:
    backup = record["backup"] or {}
    drill: dict[str, Any] = next((rung["details"] for rung in record["rungs"] if rung["name"] == "drill"), {})
    return {
        "run_id": record["run_id"],
        "source": record["source"],
        "database": record["database"],
        "finished": record["finished"],
        "verdict": record["verdict"],
        "backup_id": backup.get("id"),
        "backup_finished": backup.get("finished_at"),
        "age_seconds": record["age_seconds"],
        "size_bytes": backup.get("size_bytes"),
        "drill_seconds": drill.get("seconds") or None,
    }


def _kept(directory: Path) -> list[dict[str, Any]]:
    try:
        return read_history(directory)
    except RollbackError:
        # A damaged history must not keep tonight's run from being recorded.
        os.replace(directory / HISTORY, directory / _DAMAGED_HISTORY)
        return []


@contextmanager
def _exclusive(directory: Path) -> Iterator[None]:
    """Hold the directory against another run's writing."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _time(text: str) -> datetime:
    """:raises ValueError: when it is no time with its zone."""
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"{text!r} is a time without its zone")
    return found.astimezone(UTC)


def _digest(record: dict[str, Any]) -> str:
    """Against truncation and edits: a record that is changed by hand is none."""
    canonical = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _as_json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n"
