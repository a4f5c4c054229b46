# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""verify_backup.yml and rollback.yml --tags backup as they are typed: which rungs, which exit codes, what is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.database import ROOT, TestDatabase
from tests.support.dumps import take_dump_with_manifest
from tests.support.playbook import inventory, report, rollback, rollback_variables, steps

VERIFY = ROOT / "playbooks/verify_backup.yml"


@pytest.fixture
def directory(database: TestDatabase, tmp_path: Path) -> Path:
    """A working directory with an inventory of one database, its dump and a metrics file."""
    database.query("CREATE TABLE memo (id serial PRIMARY KEY, note text); INSERT INTO memo (note) VALUES ('one')")
    dump = take_dump_with_manifest(database, tmp_path / "dumps", "custom")
    configured(tmp_path, database, backup_verification_path=str(dump))
    return tmp_path


def configured(directory: Path, database: TestDatabase, **variables: Any) -> None:
    given = {
        "backup_verification_source": "pg_dump",
        "backup_verification_metrics_file": str(directory / "backup.prom"),
        **variables,
    }
    inventory(directory, {"db1": {**rollback_variables(database.login()), **given}})


@pytest.mark.parametrize(
    ("arguments", "climbed"),
    [
        ((), ["exists", "freshness", "integrity", "drill"]),
        (("--tags", "exists"), ["exists"]),
        (("--tags", "freshness"), ["exists", "freshness"]),
        (("--tags", "integrity"), ["exists", "freshness", "integrity"]),
        (("--skip-tags", "drill"), ["exists", "freshness", "integrity"]),
    ],
)
def test_a_tag_climbs_to_its_rung(directory: Path, arguments: tuple[str, ...], climbed: list[str]) -> None:
    done = rollback(directory, *arguments, playbook=VERIFY)
    assert done.returncode == 0, done.stdout
    assert steps(report(directory, "db1")) == dict.fromkeys(climbed, "ok")
    assert "changed=0" in done.stdout
    assert "pg_backup_verify_success{" in (directory / "backup.prom").read_text(encoding="utf-8")


def test_a_rung_that_fails_fails_the_run_and_says_why_once(directory: Path, database: TestDatabase) -> None:
    configured(directory, database, backup_verification_path=str(directory / "nowhere"))
    done = rollback(directory, playbook=VERIFY)
    assert done.returncode == 2
    assert done.stdout.count("fatal: [db1]") == 1
    assert steps(report(directory, "db1")) == {
        "exists": "failed", "freshness": "skipped", "integrity": "skipped", "drill": "skipped",
    }  # fmt: skip
    metrics = (directory / "backup.prom").read_text(encoding="utf-8").splitlines()
    assert [line.split()[-1] for line in metrics if line.startswith("pg_backup_verify_success{")] == ["0"]


def test_a_dump_of_another_database_does_not_count_whoever_names_it(directory: Path, database: TestDatabase) -> None:
    dump = next((directory / "dumps").glob("*.dump"))
    variables = {"backup_verification_source": "pg_dump", "backup_verification_path": str(dump)}
    inventory(directory, {"db1": variables})
    assert rollback(directory, "--tags", "freshness", playbook=VERIFY, PGDATABASE=database.name).returncode == 0
    done = rollback(directory, "--tags", "freshness", playbook=VERIFY, PGDATABASE="elsewhere")
    assert (done.returncode, "elsewhere" in done.stdout) == (2, True), done.stdout
    assert steps(report(directory, "db1"))["exists"] == "failed"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"backup_verification_max_age": "24hours"}, "backup_verification_max_age is '24hours'"),
        ({"backup_verification_source": "pgbackrest"}, "backup_verification_stanza is not set"),
    ],
)
def test_a_wrong_setting_is_in_the_metrics(
    directory: Path, database: TestDatabase, wrong: dict[str, str], said: str
) -> None:
    configured(directory, database, **{"backup_verification_path": str(directory), **wrong})
    done = rollback(directory, playbook=VERIFY)
    assert (done.returncode, said in done.stdout) == (2, True), done.stdout
    assert "pg_backup_verify_success{" in (directory / "backup.prom").read_text(encoding="utf-8")
    assert steps(report(directory, "db1"))["exists"] == "failed"


def test_an_unknown_tag_and_no_source_are_errors(directory: Path, database: TestDatabase) -> None:
    assert "did you mean" in rollback(directory, "--tags", "freshnes", playbook=VERIFY).stderr
    inventory(directory, {"db1": rollback_variables(database.login())})
    done = rollback(directory, playbook=VERIFY)
    assert (done.returncode, "backup_verification_source is not set" in done.stdout) == (2, True)


def test_the_backup_is_looked_at_while_the_database_is_down(directory: Path, database: TestDatabase) -> None:
    assert rollback(directory, playbook=VERIFY).returncode == 0
    path = yaml.safe_load((directory / "inventory.yml").read_text(encoding="utf-8"))
    path = path["databases"]["hosts"]["db1"]["backup_verification_path"]
    configured(directory, database, backup_verification_path=path, rollback_login_port=1)
    done = rollback(directory, "--tags", "backup")
    assert done.returncode == 0, done.stdout
    assert steps(report(directory, "db1")) == {"exists": "ok", "freshness": "ok", "drill": "ok"}
    assert "The last drill" in done.stdout


@pytest.mark.full
def test_a_long_drill_says_what_it_is_doing(directory: Path) -> None:
    slow = [{"name": "slow", "query": "SELECT pg_sleep(12)", "expect": {"rows": 1}}]
    (directory / "manifest.yml").write_text(yaml.safe_dump({"name": "slow", "checks": slow}), encoding="utf-8")
    done = rollback(directory, "-e", "rollback_manifest=manifest.yml", playbook=VERIFY)
    assert done.returncode == 0, done.stdout
    verifying = done.stdout.index("Verify the newest backup]")
    assert "running the rollback manifest's checks" in done.stdout[verifying:done.stdout.index("ok: [db1]", verifying)]
