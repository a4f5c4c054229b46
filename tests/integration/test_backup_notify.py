# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The notification of a verification that did not end well: what is sent, and that the verdict stands if it is not."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.playbook import inventory, rollback

PLAYBOOK = """
- hosts: databases
  gather_facts: false
  tasks:
    - ansible.builtin.include_role:
        name: pgops.rollback.backup_verification
        tasks_from: notify.yml
    - name: What counts
      ansible.builtin.fail:
        msg: The verdict is {{ backup_verification_result.verdict | default('not there') }}.
"""

#: A role of the user's.
ROLE = """
- name: Ring the bell
  ansible.builtin.copy:
    content: "{{ backup_verification_notice | to_json }}"
    dest: "{{ bell }}"
    mode: "0600"
"""

SECRET = "T0P-s3cret"

RESULT = {"verdict": "failed", "msg": "integrity: It differs.", "backup": {"id": "a.dump"}}

NOTICE = {
    "host": "db1",
    "source": "pg_dump",
    "verdict": "failed",
    "message": "integrity: It differs.",
    "backup": {"id": "a.dump"},
    "report": "/artifacts/db1/r1/report.html",
}


class Hook(HTTPServer):
    """A web hook on loopback that answers with one status and keeps what it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.status = 204
        self.received: list[Any] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook/{SECRET}"


class _Answer(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        assert SECRET in self.path
        self.server.received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_arguments: Any) -> None:
        """Nothing: pytest's output is for the tests."""


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def verified(directory: Path, result: dict[str, Any] | None = None, **variables: Any) -> str:
    """Run the notification after a verification that ended so; what Ansible printed."""
    given = {
        "backup_verification_source": "pg_dump",
        "rollback_artifacts_dir": "/artifacts",
        "rollback_run_id": "r1",
        **({} if result is None else {"backup_verification_result": result}),
        **variables,
    }
    inventory(directory, {"db1": {}})
    (directory / "play.yml").write_text(PLAYBOOK, encoding="utf-8")
    extra = directory / "extra.json"
    extra.write_text(json.dumps(given), encoding="utf-8")
    done: subprocess.CompletedProcess[str] = rollback(
        directory, "-e", f"@{extra}", "-vvv", playbook=directory / "play.yml", ANSIBLE_ROLES_PATH=str(directory)
    )
    # The run ends as its verdict says, whatever became of the notification.
    assert done.returncode == 2, done.stdout + done.stderr
    assert f"The verdict is {(result or {}).get('verdict', 'not there')}." in done.stdout
    return done.stdout + done.stderr


def test_a_url_gets_what_happened_and_is_not_shown(hook: Hook, tmp_path: Path) -> None:
    output = verified(tmp_path, RESULT, backup_verification_notify_url=hook.url)
    assert hook.received == [NOTICE]
    assert "WARNING: the notification" not in output
    assert SECRET not in output


@pytest.mark.parametrize("status", [500, 302])
def test_a_url_that_does_not_take_it_is_a_warning(hook: Hook, tmp_path: Path, status: int) -> None:
    hook.status = status
    output = " ".join(verified(tmp_path, RESULT, backup_verification_notify_url=hook.url).split())
    assert "WARNING: the notification to backup_verification_notify_url failed" in output
    assert f"(HTTP status {status})" in output
    assert SECRET not in output


def test_a_url_where_nobody_listens_is_a_warning(hook: Hook, tmp_path: Path) -> None:
    url = hook.url
    hook.socket.close()
    output = " ".join(verified(tmp_path, RESULT, backup_verification_notify_url=url).split())
    assert "WARNING: the notification to backup_verification_notify_url failed (HTTP status -1)" in output
    assert SECRET not in output


def test_a_run_that_stopped_before_its_verdict_is_told_as_failed(hook: Hook, tmp_path: Path) -> None:
    verified(tmp_path, None, backup_verification_notify_url=hook.url)
    (notice,) = hook.received
    assert (notice["verdict"], notice["backup"]) == ("failed", None)
    assert notice["message"] == "The verification stopped before it did anything."


def test_nothing_is_sent_when_all_is_well(hook: Hook, tmp_path: Path) -> None:
    verified(tmp_path, {"verdict": "ok", "msg": "drill: It restores."}, backup_verification_notify_url=hook.url)
    assert hook.received == []


def test_a_role_gets_the_same(tmp_path: Path) -> None:
    (tmp_path / "bell_role/tasks").mkdir(parents=True)
    (tmp_path / "bell_role/tasks/main.yml").write_text(ROLE, encoding="utf-8")
    verified(tmp_path, RESULT, backup_verification_notify_role="bell_role", bell=str(tmp_path / "bell.json"))
    assert json.loads((tmp_path / "bell.json").read_text(encoding="utf-8")) == NOTICE


def test_a_role_that_fails_or_is_not_there_is_a_warning_and_the_url_is_still_told(hook: Hook, tmp_path: Path) -> None:
    (tmp_path / "bell_role/tasks").mkdir(parents=True)
    (tmp_path / "bell_role/tasks/main.yml").write_text(ROLE, encoding="utf-8")
    for role, where in (("bell_role", "in its task Ring the bell."), ("nosuch_role", "before its first task;")):
        output = verified(
            tmp_path, RESULT, backup_verification_notify_role=role, backup_verification_notify_url=hook.url,
            bell=str(tmp_path / "no/such/directory"),
        )  # fmt: skip
        assert f"WARNING: the notification through the role {role} failed {where}" in " ".join(output.split())
    assert hook.received == [NOTICE, NOTICE]
