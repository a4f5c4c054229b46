# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One verification: the rungs are climbed on one backup, and what came of it is left as evidence."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.backup import Backup, Progress, Source
from ansible_collections.pgops.rollback.plugins.module_utils.backup_ladder import (
    RUNGS,
    Rung,
    fresh,
    judged,
    not_reached,
    select,
)
from ansible_collections.pgops.rollback.plugins.module_utils.backup_metrics import write_metrics
from ansible_collections.pgops.rollback.plugins.module_utils.backup_records import (
    latest_drill,
    read_history,
    write_record,
)
from ansible_collections.pgops.rollback.plugins.module_utils.drill_options import Drilled, DrillOptions
from ansible_collections.pgops.rollback.plugins.module_utils.durations import show_duration
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError, certain
from ansible_collections.pgops.rollback.plugins.module_utils.report import verdict

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Verification:
    """What is asked for.

    :ivar up_to: the last rung.
    :ivar max_age: of the newest complete backup, and of the last drill.
    :ivar check_mode: only say what a drill would do, and leave no record of it.
    :ivar look_at_drill: say what the last drill's record says, instead of drilling.
    :ivar records: directory of the records; None leaves none.
    :ivar metrics: Prometheus textfile; None leaves none.
    """

    run_id: str
    host: str
    source: str
    database: str | None
    up_to: str
    max_age: timedelta
    drill: DrillOptions
    check_mode: bool = False
    look_at_drill: bool = False
    records: Path | None = None
    metrics: Path | None = None


def verify(source: Source | RollbackError, asked: Verification, progress: Progress) -> dict[str, Any]:
    """The module's result. A fault, and whatever keeps a rung from being climbed, is that rung's failure.

    :param source: or what is wrong with the settings, which fails the first rung: the evidence has to say so, too.

    """
    started = datetime.now(UTC)
    climb = _Climb(source, asked, progress)
    climb.run(started)
    steps = [rung.as_step() for rung in climb.rungs]
    finished = datetime.now(UTC)
    backup = climb.backup
    age = (started - backup.finished_at).total_seconds() if backup and backup.finished_at else None
    record = {
        "schema_version": SCHEMA_VERSION,
        "run_id": asked.run_id,
        "host": asked.host,
        "source": asked.source,
        "database": asked.database,
        "started": _iso(started),
        "finished": _iso(finished),
        "verdict": verdict(steps),
        "backup": backup.as_result() if backup else None,
        "age_seconds": round(age) if age is not None else None,
        "rungs": steps,
        "restore": climb.drilled.restore if climb.drilled else None,
        "missing_extensions": climb.drilled.missing_extensions if climb.drilled else [],
        "versions": climb.versions,
    }
    history = _leave_evidence(asked, record)
    return {**_result(record, history), **({"exception": climb.defect} if climb.defect else {})}


def _leave_evidence(asked: Verification, record: dict[str, Any]) -> list[dict[str, Any]]:
    """Write the record, then the metrics, which tell of a record that could not be written, too.

    :returns: the last runs.
    """
    history: list[dict[str, Any]] = []
    try:
        if asked.records is not None and not asked.check_mode:
            write_record(asked.records, record)
        if asked.records is not None:
            history = read_history(asked.records)
    except RollbackError as error:
        _fail(record, "record", error)
    # A look at the last drill's record is no verification, and must not pass for one.
    if asked.metrics is not None and not (asked.check_mode or asked.look_at_drill):
        try:
            write_metrics(asked.metrics, record)
        except RollbackError as error:
            _fail(record, "metrics", error)
    return history


def _fail(record: dict[str, Any], name: str, error: RollbackError) -> None:
    record["rungs"].append(Rung(name, "failed", str(error)).as_step())
    record["verdict"] = verdict(record["rungs"])


class _Climb:
    def __init__(self, source: Source | RollbackError, asked: Verification, progress: Progress) -> None:
        self._given, self._asked, self._progress = source, asked, progress
        self.rungs: list[Rung] = []
        self.backup: Backup | None = None
        self.drilled: Drilled | None = None
        self.versions: dict[str, str] = {}
        self.defect = ""

    def run(self, now: datetime) -> None:
        wanted = RUNGS[: RUNGS.index(self._asked.up_to) + 1]
        ways = {"exists": self._exists, "freshness": lambda: self._freshness(now), "integrity": self._integrity,
                "drill": self._drill}  # fmt: skip
        for name in wanted:
            if any(rung.status == "failed" for rung in self.rungs):
                self.rungs.append(not_reached(name))
                continue
            try:
                self.rungs.append(ways[name]())
            except RollbackError as error:
                self.rungs.append(Rung(name, "failed", str(error)))
            except OSError as error:
                what = f"{error.strerror}: {error.filename}" if error.filename else str(error)
                self.rungs.append(Rung(name, "failed", f"{what}. See to that, and run it again."))
            except Exception as error:
                # A run that breaks down has failed, and its evidence says so.
                self.defect = traceback.format_exc()
                text = f"pgops.rollback has a defect: {type(error).__name__}: {error}. Please report it, with -vvv."
                self.rungs.append(Rung(name, "failed", text))
        if self._asked.look_at_drill:
            self.rungs.append(self._last_drill(now))

    @property
    def _source(self) -> Source:
        if isinstance(self._given, RollbackError):
            raise self._given
        return self._given

    def _exists(self) -> Rung:
        self._progress("listing the backups", None)
        self.backup, rung = select(self._source, self._source.backups())
        return rung

    def _freshness(self, now: datetime) -> Rung:
        return fresh(certain(self.backup), self._asked.max_age, now)

    def _integrity(self) -> Rung:
        backup = certain(self.backup)
        begun = time.monotonic()
        self._progress(f"reading {backup.id}", None)
        checks = self._source.integrity(backup, self._progress)
        if version := self._source.tool_version():
            self.versions[self._asked.source] = version
        passed = f"{backup.id} is whole: {', '.join(check.name for check in checks)}."
        return judged("integrity", checks, passed, self._source.integrity_proves, self._source.integrity_leaves_open,
                      time.monotonic() - begun)  # fmt: skip

    def _drill(self) -> Rung:
        backup = certain(self.backup)
        if self._source.no_drill:
            return Rung("drill", "skipped", f"Not possible: {self._source.no_drill}")
        if self._asked.check_mode:
            return Rung("drill", "skipped", f"Check mode: {backup.id} would be restored into a disposable server.")
        # Late, since the drill is half of the code and many runs go without; from the zip file that Ansible sends to a
        # host all code is compiled anew.
        from ansible_collections.pgops.rollback.plugins.module_utils.restore_drill import drill  # noqa: PLC0415

        self.drilled = drill(self._source, backup, self._asked.drill, self._progress)
        if self.drilled.postgres:
            self.versions["postgres"] = self.drilled.postgres
        return self.drilled.rung

    def _last_drill(self, now: datetime) -> Rung:
        """The evidence of an earlier run, in place of a drill."""
        if self._asked.records is None:
            return Rung("drill", "skipped", "No directory of records is configured.")
        try:
            record = latest_drill(self._asked.records, self._asked.max_age, now)
        except RollbackError as error:
            status = "skipped" if error.code == "drill_missing" else "degraded"
            return Rung("drill", status, str(error))
        if (record["source"], record["database"]) != (self._asked.source, self._asked.database):
            of = f"{record['source']}, database {record['database']}"
            return Rung("drill", "skipped", f"The last drill was of another backup ({of}); run verify_backup.yml.")
        age = now - datetime.fromisoformat(record["finished"])
        backup = (record.get("backup") or {}).get("id")
        return Rung("drill", "ok", f"The last drill, {show_duration(age)} ago, restored {backup}.",
                    f"{backup} could be restored then", "whether the newest backup can be")  # fmt: skip


def _result(record: dict[str, Any], history: list[dict[str, Any]]) -> dict[str, Any]:
    steps = record["rungs"]
    bad = next((step for step in steps if step["status"] == "failed"), None)
    worst = bad or next((step for step in steps if step["status"] == "degraded"), steps[-1])
    result: dict[str, Any] = {
        "changed": False,
        "steps": steps,
        "verdict": record["verdict"],
        "backup": record["backup"],
        "age_seconds": record["age_seconds"],
        "restore": record["restore"],
        "missing_extensions": record["missing_extensions"],
        "history": history,
        "msg": f"{worst['name']}: {worst['message']}",
    }
    if record["verdict"] == "failed":
        result.update(failed=True, status="failed")
    return result


def _iso(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")
