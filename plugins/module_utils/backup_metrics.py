# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a backup verification tells Prometheus, as a file for the node exporter's textfile collector."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.backup_records import drilled
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.report import BAD_VERDICTS
from ansible_collections.pgops.rollback.plugins.module_utils.report_files import write_file

_PREFIX = "pg_backup_verify_"

#: In the order of the file. The collector wants one help text per name, whichever file it is in.
_HELP = {
    "last_run_timestamp_seconds": "When the last verification ended.",
    "last_success_timestamp_seconds": "When the last verification that ended well did so.",
    "last_drill_timestamp_seconds": "When the last verification whose restore drill succeeded ended.",
    "backup_completed_timestamp_seconds": "When the newest complete backup was finished.",
    "success": "1 if the last verification ended as ok or incomplete, 0 if as degraded or failed.",
    "check_status": "Of each check when it last ran: 0 ok, 1 degraded, 2 failed, 3 skipped.",
    "backup_size_bytes": "Size of the newest complete backup where it is stored.",
    "restore_duration_seconds": "How long the last restore drill took to restore.",
    "restored_rows": "Rows that the last restore drill counted.",
}

#: What a run that did not get to it leaves as the run before left it: an hourly run does not drill.
_KEPT = (
    "last_success_timestamp_seconds",
    "last_drill_timestamp_seconds",
    "check_status",
    "restore_duration_seconds",
    "restored_rows",
)

#: Labels of what is no rung.
_EVIDENCE = ('check="record"}', 'check="metrics"}')

#: As monitoring plugins count; a status that is not known is not a good one.
_STATUS = {"ok": 0, "changed": 0, "degraded": 1, "skipped": 3}
_FAILED = 2

_SAMPLE = re.compile(rf"^{_PREFIX}(\w+)(\{{.*\}}) ([0-9.e+-]+)$", re.MULTILINE)


def write_metrics(path: Path, record: dict[str, Any]) -> None:
    """Write the metrics of a run, for everybody to read. What is kept is taken from the file before.

    :param path: in the collector's directory, one for each host; ends in ``.prom``.
    :param record: as backup_records says.
    :raises RollbackError: ``metrics_unwritable``.
    """
    if path.suffix != ".prom":
        raise _unwritable(path, "the node exporter reads files that end in .prom only")
    try:
        before = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        write_file(path, metrics(record, before), mode=0o644)
    except OSError as error:
        raise _unwritable(path, error.strerror or str(error)) from error


def metrics(record: dict[str, Any], previous: str) -> str:
    """The text of the file.

    :param previous: the text before; only samples with the same labels are kept.
    """
    own = _labels(record)
    found: dict[str, dict[str, str]] = {name: {} for name in _HELP}
    for name, labels, value in _SAMPLE.findall(previous):
        # What could not be written last time is no check that keeps its result.
        if name in _KEPT and labels.startswith(own[:-1]) and not labels.endswith(_EVIDENCE):
            found[name][labels] = value
    for name, value in _values(record).items():
        if value is not None:
            found[name][own] = _number(value)
    for rung in record["rungs"]:
        status = _number(_STATUS.get(rung["status"], _FAILED))
        found["check_status"][_labels(record, check=rung["name"])] = status
    lines = []
    for name, samples in found.items():
        if samples:
            lines += [f"# HELP {_PREFIX}{name} {_HELP[name]}", f"# TYPE {_PREFIX}{name} gauge"]
            lines += [f"{_PREFIX}{name}{labels} {value}" for labels, value in samples.items()]
    return "\n".join(lines) + "\n"


def _values(record: dict[str, Any]) -> dict[str, float | None]:
    backup = record["backup"] or {}
    restore = record["restore"] or {}
    finished = _epoch(record["finished"])
    success = record["verdict"] not in BAD_VERDICTS
    return {
        "last_run_timestamp_seconds": finished,
        "last_success_timestamp_seconds": finished if success else None,
        "last_drill_timestamp_seconds": finished if drilled(record) else None,
        "backup_completed_timestamp_seconds": _epoch(backup.get("finished_at")),
        "success": int(success),
        "backup_size_bytes": backup.get("size_bytes"),
        "restore_duration_seconds": restore.get("seconds"),
        "restored_rows": restore.get("rows"),
    }


def _labels(record: dict[str, Any], **more: str) -> str:
    pairs = {"source": record["source"], "database": record["database"] or "", "host": record["host"], **more}
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in pairs.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _epoch(time: str | None) -> float | None:
    return datetime.fromisoformat(time).timestamp() if time else None


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))


def _unwritable(path: Path, why: str) -> RollbackError:
    return RollbackError(
        "metrics_unwritable",
        f"The metrics cannot be written to {path}: {why}.",
        "Set backup_verification_metrics_file to a file in the node exporter's textfile directory.",
    )
