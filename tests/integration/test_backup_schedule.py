# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The schedule of a verification, with the real crontab, systemctl and systemd-analyze.

All of it in a mount namespace where the crontabs, the units and /run are the test's own: nothing of this machine is
touched. No systemd runs in it, so the units are written, enabled and judged, and not started.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.database import ROOT

NAMESPACE = subprocess.run(["unshare", "-m", "true"], check=False).returncode == 0 if shutil.which("unshare") else False

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not NAMESPACE,
    reason="only root can make a mount namespace in which no crontab or unit of this machine is touched",
)
needs_cron = pytest.mark.skipif(not shutil.which("crontab"), reason="crontab is not installed (Debian: cron)")
needs_systemd = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed (Debian: systemd)"
)

PLAYBOOK = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.include_role:
        name: pgops.rollback.backup_verification
        tasks_from: schedule.yml
"""

#: Every character that cron, a shell or systemd might take for something else.
ODD = "od%d-$HOME-'x'-ü"

TIMER = "*-*-* 03:00"
CRON = "0 3 * * 1-5"

SECRET = "s3cret-of-the-inventory"

#: Where the machine keeps them, to the test's own directory.
PLACES = {"/run": "run", "/etc/systemd/system": "units", "/var/spool/cron/crontabs": "crontabs"}

_MOUNT = 'while [ "$1" != -- ]; do mount --bind "$1" "$2" || exit 99; shift 2; done; shift; exec "$@"'


class Machine:
    """A machine as the schedule sees it."""

    def __init__(self, directory: Path, hosts: dict[str, dict[str, Any]]) -> None:
        self.directory = directory
        self.units = directory / "units"
        self.artifacts = directory / "artifacts of all"
        for name in PLACES.values():
            (directory / name).mkdir()
        common = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "rollback_artifacts_dir": str(self.artifacts),
            "rollback_login_password": SECRET,
            "backup_verification_source": "pg_dump",
            "backup_verification_schedule_delay": 0,
        }
        inventory = {"databases": {"hosts": hosts, "vars": common}}
        (directory / "inventory.yml").write_text(yaml.safe_dump(inventory), encoding="utf-8")
        (directory / "play.yml").write_text(PLAYBOOK, encoding="utf-8")

    def boot_systemd(self) -> None:
        """Make it look as if systemd ran the services."""
        (self.directory / "run/systemd/system").mkdir(parents=True)

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        places = [(self.directory / name, place) for place, name in PLACES.items() if Path(place).is_dir()]
        mounts = [str(each) for pair in places for each in pair]
        return subprocess.run(
            ["unshare", "-m", "sh", "-c", _MOUNT, "sh", *mounts, "--", *command],
            cwd=self.directory,
            env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def schedule(self, *options: str, **variables: Any) -> subprocess.CompletedProcess[str]:
        given = {"backup_verification_schedule_state": "present", **variables}
        return self.run(
            str(Path(sys.executable).with_name("ansible-playbook")), "play.yml", "-i", "inventory.yml",
            "-e", json.dumps(given), *options,
            PWD=str(self.directory), ANSIBLE_NOCOLOR="1", ANSIBLE_COLLECTIONS_PATH=str(ROOT / "collections"),
            SYSTEMD_OFFLINE="1",
        )  # fmt: skip

    def crontab(self) -> list[str]:
        return [line for line in self.run("crontab", "-l").stdout.splitlines() if not line.startswith("#")]

    def unit_names(self) -> set[str]:
        return {path.name for path in self.units.glob("pgops-*")}


def changed(done: subprocess.CompletedProcess[str]) -> bool:
    assert done.returncode == 0, done.stdout + done.stderr
    return any("changed=" in line and "changed=0" not in line for line in done.stdout.splitlines())


@pytest.mark.full
@needs_cron
@needs_systemd
def test_a_timer_is_set_once_until_a_cron_line_takes_its_place(tmp_path: Path) -> None:
    machine = Machine(tmp_path, {ODD: {}})
    machine.boot_systemd()
    assert changed(machine.schedule("--check", backup_verification_schedule=TIMER))
    assert machine.unit_names() == set()

    assert changed(machine.schedule(backup_verification_schedule=TIMER))
    (timer,) = machine.units.glob("*.timer")
    assert [path.name for path in machine.units.glob("timers.target.wants/*")] == [timer.name]
    for unit in (timer, timer.with_suffix(".service")):
        judged = machine.run("systemd-analyze", "verify", f"/etc/systemd/system/{unit.name}")
        assert (judged.returncode, judged.stderr) == (0, ""), judged.stderr
        assert SECRET not in unit.read_text(encoding="utf-8")
    service = timer.with_suffix(".service").read_text(encoding="utf-8")
    assert f"WorkingDirectory={tmp_path}\n" in service
    reports = json.dumps({"rollback_artifacts_dir": str(machine.artifacts)}).replace('"', '\\"')
    limit = ODD.replace("%", "%%").replace("$", "$$")
    arguments = f'"pgops.rollback.verify_backup" "-i" "{tmp_path}/inventory.yml" "--limit" "{limit}" "-e" "{reports}"\n'
    assert service.endswith(arguments)
    on_calendar = f"OnCalendar={TIMER}\nRandomizedDelaySec=0\nFixedRandomDelay=true\n"
    assert on_calendar in timer.read_text(encoding="utf-8")

    assert not changed(machine.schedule(backup_verification_schedule=TIMER))
    assert machine.crontab() == []

    assert changed(machine.schedule(backup_verification_schedule=CRON))
    assert machine.unit_names() == set()
    assert list(machine.units.glob("timers.target.wants/*")) == []
    assert len(machine.crontab()) == 1


@needs_cron
def test_cron_lines_are_set_once_and_do_what_they_say(tmp_path: Path) -> None:
    late = {"backup_verification_schedule_delay": 900}
    machine = Machine(tmp_path, {"db1": {}, "db2": late, ODD: {}})
    # Written for all hosts at once, into the same crontab.
    assert changed(machine.schedule("--forks", "4", backup_verification_schedule=CRON))
    lines = machine.crontab()
    assert len(lines) == 3
    assert SECRET not in "\n".join(lines)
    assert all(re.match(rf"{re.escape(CRON)} sleep \d+; cd {tmp_path} && env ", line) for line in lines)
    delays = [int(line.split("sleep ")[1].split(";")[0]) for line in lines]
    assert delays.count(0) == 2
    assert 0 < max(delays) <= 900
    # The delays, too, are the same each time.
    assert not changed(machine.schedule(backup_verification_schedule=CRON))

    jobs = [_as_cron_runs_it(line) for line in lines]
    (odd,) = [job for job in jobs if "HOME" in job]
    done = _run_job(f"{odd} --list-hosts")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.strip() for line in done.stdout.splitlines() if line.strip()][-1] == ODD

    (db1,) = [job for job in jobs if "--limit db1 " in job]
    with open(machine.artifacts / ".pgops-verify-backup-db1.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        overlapping = _run_job(f"{db1} --list-hosts")
        assert (overlapping.returncode, overlapping.stdout) == (1, "")

    assert changed(machine.schedule(backup_verification_schedule_state="absent"))
    assert machine.crontab() == []


@needs_cron
def test_what_cron_takes_is_taken(tmp_path: Path) -> None:
    crons = ["*/15 0-5,22-23 1,15 * mon-fri", "59 23 31 12 7", "05 03 * JAN-Mar/2 0", "0-30/10 */2 */3 1-12 sun,6"]
    hosts = {f"app{number}": {"backup_verification_schedule": cron} for number, cron in enumerate(crons)}
    machine = Machine(tmp_path, hosts)
    assert changed(machine.schedule("--forks", "1"))
    assert {" ".join(line.split()[:5]) for line in machine.crontab()} == set(crons)


def test_what_cannot_be_scheduled_is_said(tmp_path: Path) -> None:
    refused: dict[str, tuple[dict[str, Any], str]] = {
        "unset": ({}, "backup_verification_schedule is not set."),
        "no source": (
            {"backup_verification_schedule": TIMER, "backup_verification_source": None},
            "backup_verification_source is not set",
        ),
        "timer": ({"backup_verification_schedule": TIMER}, "systemd does not run the services here."),
        **{
            cron: ({"backup_verification_schedule": cron}, f"{cron} are not five fields of cron")
            for cron in ("61 99 * * *", "0 3 0 * *", "0 3 * 13 *", "0 3 * * mit", "*/0 3 * * *", "0 3- * * *")
        },
        "relative": (
            {"backup_verification_schedule": CRON, "rollback_artifacts_dir": "here"},
            "rollback_artifacts_dir is relative",
        ),
    }
    machine = Machine(tmp_path, {name: given for name, (given, _words) in refused.items()})
    done = machine.schedule("--check")
    assert done.returncode == 2
    said = " ".join(done.stdout.split())
    for _given, words in refused.values():
        assert words in said, done.stdout
    assert "Nothing was scheduled." in said
    assert "changed=1" not in said
    assert (machine.unit_names(), machine.crontab()) == (set(), [])


def _as_cron_runs_it(line: str) -> str:
    """The command of a crontab's line: what follows the five fields, with its percent signs."""
    command = line.split(maxsplit=5)[5]
    assert "%" not in command.replace("\\%", "")
    return command.replace("\\%", "%")


def _run_job(command: str) -> subprocess.CompletedProcess[str]:
    """Run it with what cron gives it: next to nothing."""
    environment = {"PATH": "/usr/bin:/bin", "SHELL": "/bin/sh", "HOME": os.environ.get("HOME", "/"), "LANG": "C.UTF-8"}
    return subprocess.run(
        ["/bin/sh", "-c", command], cwd="/", env=environment, capture_output=True, text=True, check=False
    )
