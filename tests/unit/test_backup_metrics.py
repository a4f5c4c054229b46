# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Metrics of a verification, and the alerts on them: what Prometheus's own tool reads, and when it would ring."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.pgops.rollback.plugins.module_utils.backup_metrics import metrics, write_metrics
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError

ALERTS = Path(__file__).parents[2] / "roles/backup_verification/files/alerts.yml"

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)"
)

OWN = '{source="pg_dump",database="app",host="db1"}'


def rung(name: str, status: str) -> dict[str, Any]:
    return {"name": name, "status": status, "changed": False, "message": "", "details": {"seconds": 1.0}}


def record(verdict: str = "ok", statuses: tuple[str, ...] = ("ok", "ok", "ok", "ok"), **other: Any) -> dict[str, Any]:
    names = ("exists", "freshness", "integrity", "drill")
    return {
        "run_id": "r1",
        "host": "db1",
        "source": "pg_dump",
        "database": "app",
        "finished": "2026-01-02T02:00:00Z",
        "verdict": verdict,
        "backup": {"id": "a.dump", "finished_at": "2026-01-01T23:00:00Z", "size_bytes": 1000},
        "rungs": [rung(*each) for each in zip(names, statuses, strict=False)],
        "restore": {"seconds": 9.25, "bytes": 5000, "bytes_per_second": 555, "rows": 42} if len(statuses) > 3 else None,
        **other,
    }


FAILED = record("failed", ("failed", "skipped", "skipped", "skipped"), backup=None, restore=None,
                finished="2026-01-03T02:00:00Z")  # fmt: skip


def samples(text: str) -> dict[str, float]:
    """Value by name and labels, without the prefix and this test's own labels."""
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, _space, value = line.rpartition(" ")
            found[name.removeprefix("pg_backup_verify_").replace(OWN, "").replace(OWN[:-1] + ",", "{")] = float(value)
    return found


def epoch(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def promtool(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *arguments], input=given, capture_output=True, text=True, check=False)


def test_a_run_that_ended_well() -> None:
    assert samples(metrics(record(), "")) == {
        "last_run_timestamp_seconds": epoch("2026-01-02T02:00:00Z"),
        "last_success_timestamp_seconds": epoch("2026-01-02T02:00:00Z"),
        "last_drill_timestamp_seconds": epoch("2026-01-02T02:00:00Z"),
        "backup_completed_timestamp_seconds": epoch("2026-01-01T23:00:00Z"),
        "success": 1,
        'check_status{check="exists"}': 0,
        'check_status{check="freshness"}': 0,
        'check_status{check="integrity"}': 0,
        'check_status{check="drill"}': 0,
        "backup_size_bytes": 1000,
        "restore_duration_seconds": 9.25,
        "restored_rows": 42,
    }


def test_a_run_that_failed_before_there_was_a_backup_keeps_the_last_success() -> None:
    found = samples(metrics(FAILED, metrics(record(), "")))
    assert found["success"] == 0
    assert found["last_run_timestamp_seconds"] == epoch("2026-01-03T02:00:00Z")
    assert found["last_success_timestamp_seconds"] == epoch("2026-01-02T02:00:00Z")
    assert found["last_drill_timestamp_seconds"] == epoch("2026-01-02T02:00:00Z")
    assert (found['check_status{check="exists"}'], found['check_status{check="drill"}']) == (2, 3)
    assert "backup_completed_timestamp_seconds" not in found
    assert "backup_size_bytes" not in found


def test_the_first_run_may_fail() -> None:
    found = samples(metrics(FAILED, ""))
    assert found["success"] == 0
    assert not {"last_success_timestamp_seconds", "last_drill_timestamp_seconds", "restored_rows"} & found.keys()


def test_a_run_without_a_drill_does_not_hide_how_the_last_one_ended() -> None:
    drilled = metrics(record("failed", ("ok", "ok", "ok", "failed"), restore=None), "")
    found = samples(metrics(record("ok", ("ok", "ok"), finished="2026-01-02T03:00:00Z"), drilled))
    assert (found["success"], found['check_status{check="drill"}']) == (1, 2)
    assert "last_drill_timestamp_seconds" not in found


def test_a_look_at_an_earlier_drill_is_none() -> None:
    assert "last_drill_timestamp_seconds" not in samples(metrics(record(restore=None), ""))


@pytest.mark.parametrize(
    ("verdict", "success"), [("ok", 1), ("incomplete", 1), ("degraded", 0), ("refused", 0), ("failed", 0)]
)
def test_success_is_what_the_exit_code_says(verdict: str, success: int) -> None:
    assert samples(metrics(record(verdict), ""))["success"] == success


@pytest.mark.parametrize(
    ("status", "number"), [("ok", 0), ("degraded", 1), ("failed", 2), ("refused", 2), ("strange", 2), ("skipped", 3)]
)
def test_every_status_has_its_number(status: str, number: int) -> None:
    assert samples(metrics(record(statuses=(status,)), ""))['check_status{check="exists"}'] == number


@pytest.mark.parametrize(
    "other", [{"source": "barman"}, {"database": "app2"}, {"database": None}, {"host": "db10"}, {"host": "db"}]
)
def test_what_another_database_left_is_not_kept(other: dict[str, Any]) -> None:
    before = metrics(record(**other), "")
    assert "last_success_timestamp_seconds" in before
    assert metrics(FAILED, before) == metrics(FAILED, "")


@pytest.mark.parametrize("text", ["rubbish", "\x00", f"pg_backup_verify_last_success_timestamp_seconds{OWN} x\n"])
def test_a_file_that_was_damaged_does_not_damage_the_next(text: str) -> None:
    assert metrics(FAILED, text) == metrics(FAILED, "")


def test_the_backups_name_and_the_time_of_the_sample_are_not_in_it() -> None:
    text = metrics(record(), "")
    assert "a.dump" not in text
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"\w+\{[^}]*\} [0-9.]+", line) for line in lines)


@needs_promtool
@pytest.mark.parametrize("host", ["db1", 'a"b\\c\nd', "ü}, {", "kunde 1"])
def test_promtool_reads_what_was_written(tmp_path: Path, host: str) -> None:
    path = tmp_path / "one.prom"
    write_metrics(path, record(host=host, database=None))
    write_metrics(path, {**FAILED, "host": host, "database": None})
    text = path.read_text(encoding="utf-8")
    checked = promtool("check", "metrics", given=text)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
    assert "pg_backup_verify_last_success_timestamp_seconds{" in text
    # Without which it would not have been read at all.
    assert promtool("check", "metrics", given=text.replace("success{", "success{{")).returncode != 0


def test_a_file_is_whole_and_readable_for_all(tmp_path: Path) -> None:
    path = tmp_path / "one.prom"
    for each in (record(), FAILED):
        write_metrics(path, each)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [each.name for each in tmp_path.iterdir()] == ["one.prom"]
    assert samples(path.read_text(encoding="utf-8")) == samples(metrics(FAILED, metrics(record(), "")))


def test_help_is_the_same_in_every_file() -> None:
    def comments(text: str) -> list[str]:
        return [line for line in text.splitlines() if line.startswith("#")]

    assert comments(metrics(record(), "")) == comments(metrics(record(host="db2", source="barman"), ""))


@pytest.mark.parametrize(("name", "word"), [("one.txt", ".prom"), ("nowhere/one.prom", "No such file")])
def test_what_would_not_be_read_is_refused(tmp_path: Path, name: str, word: str) -> None:
    with pytest.raises(RollbackError, match=word) as error:
        write_metrics(tmp_path / name, record())
    assert error.value.code == "metrics_unwritable"


# The alerts.


@needs_promtool
def test_promtool_accepts_the_alerts() -> None:
    checked = promtool("check", "rules", str(ALERTS))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "5 rules found" in checked.stdout


#: Nothing is wrong: verified and drilled all the time, for ten days. Values with the hours that they last.
WELL = {
    "last_run_timestamp_seconds": "nowx240",
    "last_success_timestamp_seconds": "nowx240",
    "last_drill_timestamp_seconds": "nowx240",
    "success": "1x240",
    'check_status{check="drill"}': "0x240",
    "backup_size_bytes": "1000x240",
}


def scraped(values: str) -> str:
    """One sample every five minutes, as promtool notes them; ``now`` is the time of the sample."""
    pieces, minutes = [], 0
    for piece in values.split():
        value, hours = piece.split("x")
        count = int(hours) * 12
        pieces.append(f"{minutes * 60}+300x{count - 1}" if value == "now" else f"{value}x{count - 1}")
        minutes += count * 5
    return " ".join(pieces)


@needs_promtool
@pytest.mark.parametrize(
    ("changes", "at_hours", "alert", "labels"),
    [
        ({}, 239, None, {}),
        ({"success": "1x100 0x140"}, 99, None, {}),
        ({"success": "1x100 0x140"}, 101, "PgBackupVerifyFailed", {}),
        ({'check_status{check="drill"}': "2x240"}, 239, "PgBackupVerifyFailed", {"check": "drill"}),
        ({"success": "0x240", 'check_status{check="drill"}': "2x240"}, 239, "PgBackupVerifyFailed", {"check": "drill"}),
        ({'check_status{check="drill"}': "3x240"}, 239, None, {}),
        ({"last_success_timestamp_seconds": "0x240"}, 26, None, {}),
        ({"last_success_timestamp_seconds": "0x240"}, 27, "PgBackupVerifyOverdue", {}),
        ({name: None for name in WELL}, 2, "PgBackupVerifyAbsent", None),
        (
            {name: None for name in WELL}
            | {"last_run_timestamp_seconds": "nowx100", "last_drill_timestamp_seconds": "nowx100"},
            102, "PgBackupVerifyAbsent", {},
        ),
        ({"last_drill_timestamp_seconds": "0x240"}, 192, None, {}),
        ({"last_drill_timestamp_seconds": "0x240"}, 194, "PgBackupDrillOld", {}),
        ({"last_drill_timestamp_seconds": None}, 3, "PgBackupDrillOld", {}),
        ({"last_drill_timestamp_seconds": None, "source": "supabase"}, 3, None, {}),
        ({"backup_size_bytes": "1000x230 501x10"}, 239, None, {}),
        ({"backup_size_bytes": "1000x230 499x10"}, 239, "PgBackupSizeDropped", {}),
        # A full backup once a week does not make the incremental ones look small.
        ({"backup_size_bytes": "100x100 1000x23 100x117"}, 125, None, {}),
    ],
)
def test_each_alert_rings_when_it_should_and_only_then(
    tmp_path: Path, changes: dict[str, str | None], at_hours: int, alert: str | None, labels: dict[str, str] | None
) -> None:
    own = {"source": changes.get("source") or "pg_dump", "database": "app", "host": "db1"}
    series = [
        {"series": f"pg_backup_verify_{_labelled(name, own)}", "values": scraped(values)}
        for name, values in {**WELL, **changes}.items()
        if values is not None and name != "source"
    ]
    rules = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"][0]["rules"]
    expectations = []
    for rule in rules:
        expected: list[dict[str, Any]] = []
        if rule["alert"] == alert:
            made = {**({} if labels is None else {**own, **labels}), **rule["labels"]}
            expected = [{"exp_labels": made}]
        expectations.append({"eval_time": f"{at_hours}h", "alertname": rule["alert"], "exp_alerts": expected})
    # What the annotations say is compared too, so they are left out of the rules here.
    bare = [{key: value for key, value in rule.items() if key != "annotations"} for rule in rules]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": bare}]}), encoding="utf-8")
    test = {"rule_files": ["rules.yml"], "evaluation_interval": "30m",
            "tests": [{"interval": "5m", "input_series": series, "alert_rule_test": expectations}]}  # fmt: skip
    (tmp_path / "test.yml").write_text(yaml.safe_dump(test), encoding="utf-8")
    done = promtool("test", "rules", str(tmp_path / "test.yml"))
    assert done.returncode == 0, done.stdout + done.stderr


def _labelled(name: str, own: dict[str, str]) -> str:
    bare, _brace, more = name.partition("{")
    pairs = ",".join(f'{key}="{value}"' for key, value in own.items())
    return f"{bare}{{{pairs}{',' + more if more else '}'}"
