# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The checks of a day and of a week later, with the real crontab and systemctl, in a mount namespace of its own."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.integration.test_backup_schedule import Machine, changed, needs_cron, needs_systemd, pytestmark

__all__ = ["pytestmark"]  # only root can make a mount namespace

PLAYBOOK = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.include_role:
        name: pgops.rollback.post_rollback_verification
        tasks_from: follow_up.yml
"""


def machine_for(directory: Path) -> Machine:
    machine = Machine(directory, {"db1": {"rollback_migration": "release-42"}})
    (directory / "play.yml").write_text(PLAYBOOK, encoding="utf-8")
    return machine


@needs_cron
def test_cron_lines_for_a_day_and_a_week_take_themselves_off(tmp_path: Path) -> None:
    machine = machine_for(tmp_path)
    begun = datetime.now()
    assert changed(machine.schedule())
    lines = machine.crontab()
    assert len(lines) == 2
    for line, later in zip(sorted(lines, key=lambda line: "week" in line), (1, 7), strict=True):
        when = begun + timedelta(days=later)
        minute, hour, day, month, weekday = line.split()[:5]
        planned = when.replace(month=int(month), day=int(day), hour=int(hour), minute=int(minute))
        assert (abs(planned - when) < timedelta(minutes=5), weekday) == (True, "*")
        assert re.search(r"pgops\.rollback\.rollback .*--limit db1 --tags verify ", line)
        assert '"post_rollback_verification_stage": "' + ("week" if later == 7 else "day") + '"' in line
        assert '"rollback_migration": "release-42"' in line
        # Should it not take itself off, it does nothing when its day comes again.
        assert f'test "$(date +\\%Y)" = {when.year} || exit 0; ' in line

    assert changed(machine.schedule(post_rollback_verification_stage="day"))
    (line,) = machine.crontab()
    assert '"week"' in line
    assert changed(machine.schedule(post_rollback_verification_stage="week"))
    assert machine.crontab() == []


@pytest.mark.full
@needs_systemd
def test_timers_where_systemd_runs(tmp_path: Path) -> None:
    machine = machine_for(tmp_path)
    machine.boot_systemd()
    assert changed(machine.schedule())
    assert machine.unit_names() == {
        "pgops-verify-day-db1.service", "pgops-verify-day-db1.timer",
        "pgops-verify-week-db1.service", "pgops-verify-week-db1.timer",
    }  # fmt: skip
    timer = (machine.units / "pgops-verify-day-db1.timer").read_text(encoding="utf-8")
    when = re.search(r"^OnCalendar=(\S+ \S+)$", timer, re.MULTILINE)
    assert when
    late = datetime.strptime(when.group(1), "%Y-%m-%d %H:%M:%S") - datetime.now() - timedelta(days=1)
    assert abs(late) < timedelta(minutes=5)
    for unit in machine.unit_names():
        judged = machine.run("systemd-analyze", "verify", f"/etc/systemd/system/{unit}")
        assert (judged.returncode, judged.stderr) == (0, ""), judged.stderr
