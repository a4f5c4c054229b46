# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""rollback.yml on real databases: its steps, its reports, what it refuses and what it never shows."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import uuid
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.connection import ServerInfo, require_supported
from ansible_collections.pgops.rollback.plugins.module_utils.disposable_states import Request
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from tests.support.database import ROOT, TestCluster, TestDatabase, running_cluster
from tests.support.playbook import inventory, report, rollback, rollback_variables, steps

#: Behind its data: the next insert collides.
BEHIND = "CREATE TABLE orders (id serial PRIMARY KEY); INSERT INTO orders SELECT generate_series(1, 50)"


@pytest.fixture
def behind(database: TestDatabase) -> TestDatabase:
    database.query(BEHIND)
    return database


@pytest.fixture
def directory(database: TestDatabase, tmp_path: Path) -> Path:
    inventory(tmp_path, {"db1": rollback_variables(database.login())})
    return tmp_path


def output(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout + done.stderr


def test_the_sequence_step_repairs_and_reports(behind: TestDatabase, directory: Path) -> None:
    done = rollback(directory, "--tags", "sequence")
    assert done.returncode == 0, output(done)
    assert behind.value("INSERT INTO orders DEFAULT VALUES RETURNING id") == 51
    written = report(directory, "db1")
    assert steps(written) == {"preflight": "ok", "sequence": "changed"}
    assert written["verdict"] == "changed"
    assert (written["host"], written["database"], written["check_mode"]) == ("db1", behind.name, False)
    assert written["started"] <= written["finished"]
    (row,) = [line.split() for line in done.stdout.splitlines() if line.startswith("  public.orders_id_seq")]
    assert row == ["public.orders_id_seq", "behind", "1", "→", "51", "50"]
    markdown = (directory / "artifacts/db1/latest/report.md").read_text(encoding="utf-8")
    assert "1 → 51" in markdown
    shown = done.stdout[done.stdout.index("\ndb1: CHANGED"):done.stdout.index("  Report:")]
    assert max(len(line) for line in shown.splitlines()) <= 80


def test_a_second_run_finds_nothing_to_do(behind: TestDatabase, directory: Path) -> None:
    rollback(directory, "--tags", "sequence")
    done = rollback(directory, "--tags", "sequence")
    assert "changed=0" in done.stdout
    assert report(directory, "db1")["verdict"] == "ok"


def test_what_the_report_says_puts_the_state_back(behind: TestDatabase, directory: Path) -> None:
    before = behind.query("SELECT last_value, is_called FROM orders_id_seq")
    rollback(directory, "--tags", "sequence")
    assert behind.query("SELECT last_value, is_called FROM orders_id_seq") != before
    (undo,) = [row["undo"] for row in report(directory, "db1")["steps"][1]["details"]["sequences"] if row["undo"]]
    behind.query(undo)
    assert behind.query("SELECT last_value, is_called FROM orders_id_seq") == before


def test_without_tags_nothing_is_written_and_what_is_missing_is_said(directory: Path) -> None:
    done = rollback(directory)
    assert done.returncode == 0, output(done)
    assert "changed=0" in done.stdout
    written = report(directory, "db1")
    assert steps(written) == {"preflight": "ok", "backup": "skipped", "verify": "ok", "advise": "skipped"}
    assert written["steps"][1]["message"] == "not configured: backup_verification_source is not set"
    assert "baseline" in written["steps"][2]["details"]["not_configured"]
    assert written["verdict"] == "incomplete"


def test_without_tags_what_is_wrong_is_found_and_the_next_command_named(behind: TestDatabase, directory: Path) -> None:
    done = rollback(directory)
    assert done.returncode == 2
    assert behind.query("SELECT last_value, is_called FROM orders_id_seq") == [(1, False)]
    written = report(directory, "db1")
    assert steps(written)["verify"] == "failed"
    (advice,) = (step["details"] for step in written["steps"] if step["name"] == "advise")
    assert advice["recommendation"] == "sequence_reset"
    command = f"ansible-playbook -i {directory}/inventory.yml pgops.rollback.rollback --tags sequence --limit db1"
    assert (advice["next_command"], f"  Next: Run:\n  {command}\n" in done.stdout) == (command, True)
    markdown = (directory / "artifacts/db1/latest/report.md").read_text(encoding="utf-8")
    assert f"\n    {command}\n" in markdown

    assert rollback(directory, *command.split()[4:]).returncode == 0
    assert rollback(directory, "--tags", "verify").returncode == 0
    assert steps(report(directory, "db1")) == {"preflight": "ok", "verify": "ok"}


def test_the_configured_inventory_need_not_be_named(directory: Path) -> None:
    (directory / "ansible.cfg").write_text("[defaults]\ninventory = inventory.yml\n", encoding="utf-8")
    (directory / "rollback.yml").symlink_to(ROOT / "rollback.yml")
    assert rollback(directory, "--tags", "advise", ANSIBLE_CONFIG=str(directory / "ansible.cfg")).returncode == 0
    (step,) = (each for each in report(directory, "db1")["steps"] if each["name"] == "advise")
    command = "ansible-playbook rollback.yml --tags verify,advise --limit db1 -e rollback_advice_application=down"
    assert step["details"]["next_command"] == command


def test_switches_given_on_the_command_line_are_texts(behind: TestDatabase, directory: Path) -> None:
    assert rollback(directory, "--tags", "sequence").returncode == 0
    (directory / "manifest.yml").write_text("tables: [public.orders]\n", encoding="utf-8")
    options = ["-e", "rollback_manifest=manifest.yml", "-e", "post_rollback_verification_follow_up=false"]
    for expected, switch in ((0, "false"), (2, "true")):
        switched = f"post_rollback_verification_expect_gone={switch}"
        done = rollback(directory, "--tags", "verify", *options, "-e", switched)
        assert done.returncode == expected, output(done)


def test_advice_while_the_database_is_down(directory: Path, tmp_path: Path) -> None:
    """That it does not answer is evidence."""
    inventory(directory, {"db1": {"rollback_login_host": str(tmp_path / "nowhere"), "rollback_login_db": "app"}})
    done = rollback(directory, "--tags", "advise", "-e", "rollback_advice_application=down")
    assert steps(report(directory, "db1")) == {"advise": "degraded"}, output(done)
    (step,) = report(directory, "db1")["steps"]
    assert any("does not answer" in str(each) for each in step["details"]["evidence"])


def test_skipped_tags_are_not_in_the_report(directory: Path) -> None:
    assert rollback(directory, "--skip-tags", "advise,backup").returncode == 0
    assert steps(report(directory, "db1")) == {"preflight": "ok", "verify": "ok"}


def test_check_mode_predicts_writes_a_report_and_nothing_else(behind: TestDatabase, directory: Path) -> None:
    done = rollback(directory, "--tags", "sequence", "--check")
    assert done.returncode == 0, output(done)
    assert behind.query("SELECT last_value, is_called FROM orders_id_seq") == [(1, False)]
    written = report(directory, "db1")
    assert (written["verdict"], written["check_mode"]) == ("changed", True)
    assert "without --check" in done.stdout
    assert "1 → 51" in done.stdout


def test_the_run_is_named_once_for_all_hosts(database: TestDatabase, tmp_path: Path) -> None:
    login = rollback_variables(database.login())
    inventory(tmp_path, {"db1": login, "db2": login})
    assert rollback(tmp_path).returncode == 0
    first, second = (report(tmp_path, host) for host in ("db1", "db2"))
    assert first["run_id"] == second["run_id"]
    assert {path.name for path in (tmp_path / "artifacts/db1").iterdir()} == {first["run_id"], "latest"}


def test_one_failing_host_does_not_stop_the_others(behind: TestDatabase, tmp_path: Path) -> None:
    login = rollback_variables(behind.login())
    inventory(tmp_path, {"broken": {**login, "rollback_login_db": "nosuch"}, "db1": login})
    done = rollback(tmp_path, "--tags", "sequence")
    assert done.returncode == 2, output(done)
    assert report(tmp_path, "db1")["verdict"] == "changed"
    broken = report(tmp_path, "broken")
    assert (broken["verdict"], steps(broken)) == ("failed", {"preflight": "failed", "sequence": "skipped"})


def broken_connections(database: TestDatabase) -> dict[str, tuple[dict[str, Any], str]]:
    login = rollback_variables(database.login())
    return {
        "unreachable": ({**login, "rollback_login_host": "127.0.0.1", "rollback_login_port": 1},
                        "Connection refused. Check that the server runs"),
        "no database": ({**login, "rollback_login_db": "nosuch"},
                        'database "nosuch" does not exist. Check rollback_login_db'),
        "no role": ({**login, "rollback_login_user": "nosuch"},
                    'role "nosuch" does not exist. Check rollback_login_user'),
        "bad port": ({**login, "rollback_login_port": "abc"},
                     "rollback_login_port"),
    }  # fmt: skip


@pytest.mark.parametrize("case", ["unreachable", "no database", "no role", "bad port"])
def test_a_failed_preflight_is_one_sentence_with_the_remedy(database: TestDatabase, tmp_path: Path, case: str) -> None:
    variables, sentence = broken_connections(database)[case]
    inventory(tmp_path, {"db1": variables})
    done = rollback(tmp_path, "--tags", "sequence")
    assert done.returncode == 2
    assert sentence in done.stdout
    assert "Traceback" not in output(done)
    written = report(tmp_path, "db1")
    assert steps(written) == {"preflight": "failed", "sequence": "skipped"}
    assert "Next: Do what is said above of preflight" in done.stdout


def test_a_python_without_psycopg2_is_named(directory: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", with_pip=False)
    python = tmp_path / "bare/bin/python"
    done = rollback(directory, "--tags", "sequence", "-e", f"ansible_python_interpreter={python}")
    assert done.returncode == 2
    assert f"The Python at {python} has no psycopg2. Install psycopg2-binary there" in done.stdout
    assert "Traceback" not in output(done)


@pytest.fixture(scope="module")
def standby(cluster: TestCluster) -> Iterator[TestCluster]:
    """A cluster of its own in recovery, that asks for a password on a TCP port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with running_cluster(f"standby-{os.getpid()}-{cluster.major}", Request(bindir=cluster.bindir, port=port)) as made:
        made.cluster.stop(made.recipe)
        (made.cluster.data_directory / "standby.signal").touch()
        made.cluster.start(made.recipe)
        yield made


def test_a_standby_is_refused(standby: TestCluster, tmp_path: Path) -> None:
    inventory(tmp_path, {"db1": rollback_variables(standby.login())})
    done = rollback(tmp_path, "--tags", "sequence")
    assert done.returncode == 2
    assert "Database postgres is on a standby (in recovery) and cannot be written. Point" in done.stdout
    written = report(tmp_path, "db1")
    assert (written["verdict"], steps(written)) == ("refused", {"preflight": "refused", "sequence": "skipped"})


def test_a_wrong_password_is_said_and_not_shown(standby: TestCluster, tmp_path: Path) -> None:
    password = f"secret-{uuid.uuid4().hex}"
    login = {**standby.login(), "login_host": "127.0.0.1", "login_port": standby.recipe.port}
    inventory(tmp_path, {"db1": rollback_variables({**login, "login_password": password})})
    done = rollback(tmp_path, "--tags", "sequence", "-vvv")
    assert done.returncode == 2
    assert 'failed for user "postgres". Check rollback_login_user and rollback_login_password' in done.stdout
    assert password not in output(done)
    assert password not in (tmp_path / "artifacts/db1/latest/report.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("version_num", [140022, 190000])
def test_another_version_is_refused(version_num: int) -> None:
    server = ServerInfo("app", "owner", False, f"{version_num // 10000}.1", version_num, False, 1000, False)
    with pytest.raises(RollbackError, match="this collection knows 15 to 18") as error:
        require_supported(server)
    assert error.value.code == "version_unsupported"


@pytest.mark.parametrize("run_id", ["../../elsewhere", "latest", "a b", "-x"])
def test_a_run_id_that_leads_elsewhere_is_refused_before_anything(
    behind: TestDatabase, directory: Path, run_id: str
) -> None:
    done = rollback(directory, "--tags", "sequence", "-e", f'{{"rollback_run_id": "{run_id}"}}')
    assert done.returncode == 2
    assert f"'{run_id}' cannot be a run id" in done.stdout
    assert behind.query("SELECT last_value, is_called FROM orders_id_seq") == [(1, False)]
    assert not (directory / "artifacts").exists()


def test_reports_are_private(directory: Path) -> None:
    assert rollback(directory, "-e", "rollback_run_id=release-42").returncode == 0
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (directory / "artifacts").rglob("*")}
    files = dict.fromkeys(("report.json", "report.md", "report.html", "junit.xml"), 0o600)
    assert modes == {"db1": 0o700, "latest": 0o700, "release-42": 0o700, **files}
    assert stat.S_IMODE((directory / "artifacts").stat().st_mode) == 0o700


def test_a_report_that_cannot_be_written_is_shown_and_fails_the_run(behind: TestDatabase, directory: Path) -> None:
    (directory / "artifacts").write_text("in the way", encoding="utf-8")
    done = rollback(directory, "--tags", "sequence")
    assert done.returncode == 2
    assert "The report cannot be written to" in done.stdout
    assert "1 → 51" in done.stdout


def test_the_report_tag_shows_the_newest_again_and_needs_no_database(behind: TestDatabase, directory: Path) -> None:
    rollback(directory, "--tags", "sequence")
    run_id = report(directory, "db1")["run_id"]
    inventory(directory, {"db1": {**rollback_variables(behind.login()), "rollback_login_db": "nosuch"}})
    done = rollback(directory, "--tags", "report")
    assert done.returncode == 0, output(done)
    assert "1 → 51" in done.stdout
    assert run_id in done.stdout
    assert report(directory, "db1")["run_id"] == run_id


def test_the_report_tag_without_a_report_is_an_error(directory: Path) -> None:
    done = rollback(directory, "--tags", "report")
    assert done.returncode == 2
    assert "There is no report of db1 under" in done.stdout


def test_no_password_is_shown_or_kept(behind: TestDatabase, directory: Path) -> None:
    password = f"secret-{uuid.uuid4().hex}"
    inventory(directory, {"db1": {**rollback_variables(behind.login()), "rollback_login_password": password}})
    texts = [output(rollback(directory, "--tags", "sequence", "-vvv"))]
    inventory(
        directory,
        {
            "db1": {
                **rollback_variables(behind.login()),
                "rollback_login_db": "nosuch",
                "rollback_login_password": password,
            }
        },
    )
    texts.append(output(rollback(directory, "--tags", "sequence", "-vvv")))
    (directory / "inventory.yml").unlink()
    kept = [path.read_text(encoding="utf-8") for path in directory.rglob("*") if path.is_file()]
    assert len(kept) == 8
    assert "does not exist" in texts[1]
    for text in texts + kept:
        assert password not in text


def test_the_roles_work_in_a_play_of_ones_own(behind: TestDatabase, directory: Path) -> None:
    playbook = directory / "own.yml"
    playbook.write_text(
        """
- hosts: databases
  gather_facts: false
  tasks:
    - ansible.builtin.include_role: {name: pgops.rollback.sequence_reset}
    - ansible.builtin.include_role: {name: pgops.rollback.rollback_report}
      vars: {rollback_report_results: {sequence: sequence_reset_result}}
""",
        encoding="utf-8",
    )
    done = rollback(directory, playbook=playbook)
    assert done.returncode == 0, output(done)
    assert steps(report(directory, "db1")) == {"sequence": "changed"}


#: Runs modules as if they were on another machine: with a home directory of their own.
ELSEWHERE = """
from ansible.plugins.connection.local import Connection as LocalConnection

class Connection(LocalConnection):
    transport = "elsewhere"

    def exec_command(self, cmd, in_data=None, sudoable=True):
        return super().exec_command("env HOME=HOME_THERE " + cmd, in_data=in_data, sudoable=sudoable)
"""


def test_a_remote_report_is_brought_to_the_controller(behind: TestDatabase, tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    here.mkdir()
    (tmp_path / "elsewhere.py").write_text(ELSEWHERE.replace("HOME_THERE", str(there)), encoding="utf-8")
    variables = {"ansible_connection": "elsewhere", "rollback_artifacts_dir": "~/artifacts"}
    inventory(tmp_path, {"db1": {**rollback_variables(behind.login()), **variables}})
    done = rollback(tmp_path, "--tags", "sequence", HOME=str(here), ANSIBLE_CONNECTION_PLUGINS=str(tmp_path))
    assert done.returncode == 0, output(done)
    assert "1 → 51" in done.stdout
    for name in ("report.json", "report.md", "report.html", "junit.xml"):
        written, brought = (home / "artifacts/db1/latest" / name for home in (there, here))
        assert written.read_bytes() == brought.read_bytes()
        assert stat.S_IMODE(brought.stat().st_mode) == 0o600
    assert report(here, "db1")["verdict"] == "changed"


def test_a_bad_verdict_fails_the_run_even_if_no_task_did(directory: Path) -> None:
    playbook = directory / "own.yml"
    playbook.write_text(
        """
- hosts: databases
  gather_facts: false
  tasks:
    - ansible.builtin.include_role: {name: pgops.rollback.rollback_report}
      vars: {rollback_report_results: {verify: {status: degraded, msg: 2 of 3 checks.}}}
""",
        encoding="utf-8",
    )
    done = rollback(directory, playbook=playbook)
    assert done.returncode == 2, output(done)
    assert "The run ends as degraded. verify: 2 of 3 checks." in done.stdout
    assert report(directory, "db1")["verdict"] == "degraded"
