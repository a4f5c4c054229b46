# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Prints the summary as it is, and brings a remote host's reports to the controller."""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible.utils.vars import load_extra_vars

from ansible_collections.pgops.rollback.plugins.module_utils.confirmation import batch_token
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.report_files import run_directory, write_report
from ansible_collections.pgops.rollback.plugins.module_utils.report_run import (
    ARGUMENTS,
    FILES,
    PLAN_FILE,
    write_or_show,
)

display = Display()

#: Variables that hold what can be confirmed.
_PLANS = ("teardown_plan_result", "database_restore_plan_result")
_NOT_AGAIN = ("rollback_login_password", "rollback_confirm", "rollback_run_id")


class ActionModule(ActionBase):
    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        self._task.args.setdefault("operator", _operator())
        planned = next((name for name in _PLANS if name in variables), None)
        if planned or "teardown_rehearsal_result" in variables:
            self._task.args.setdefault("invocation", _invocation(variables, load_extra_vars(self._loader)))
        if planned:
            self._task.args.setdefault("batch_token", _batch_token(variables, planned))
        _validation, params = self.validate_argument_spec(argument_spec=ARGUMENTS)
        params["results"] = _resolved(params["results"], variables)
        if self._connection.transport == "local":
            # This process is on the host, so the module's third of a second can be saved.
            result.update(write_or_show(params, self._task.check_mode))
        else:
            # Not params: in them a home directory is the controller's.
            there = {**self._task.args, "results": params["results"]}
            result.update(self._execute_module(module_args=there, task_vars=task_vars))
            if result.get("files"):
                _bring_here(params, result)
        result.pop("files", None)
        if "summary" in result:
            display.display(result.pop("summary"))
        return result


def _resolved(results: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
    """Take the results that are given by name as they were registered: to template 10,000 sequences takes 20 s."""
    return {step: variables.get(given) if isinstance(given, str) else given for step, given in results.items()}


def _invocation(variables: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """:param given: with -e; what has to do with a teardown or a restore is to be given again, but no secret."""
    inventories = [str(each) for each in variables.get("ansible_inventory_sources") or []]
    configured = constants.config.get_config_value("DEFAULT_HOST_LIST")
    return {
        "inventories": [] if inventories == configured else inventories,
        "limit": variables.get("ansible_limit") or "",
        "by_file": (Path(os.environ.get("PWD", ".")) / "rollback.yml").is_file(),
        "variables": {
            name: value
            for name, value in given.items()
            if name.startswith(("rollback_", "teardown_", "database_restore_")) and name not in _NOT_AGAIN
        },
    }


def _batch_token(variables: dict[str, Any], planned: str) -> str | None:
    """:param planned: one of _PLANS.
    :returns: None unless all hosts of the play have a plan.
    """
    hosts = variables["ansible_play_hosts_all"]
    plans = {host: variables["hostvars"][host].get(planned) or {} for host in hosts}
    tokens = {str(host): str(plan.get("token") or "") for host, plan in plans.items()}
    return batch_token(tokens) if all(tokens.values()) else None


def _bring_here(params: dict[str, Any], result: dict[str, Any]) -> None:
    # Only the last part of the path and known names are taken from a host that need not be trusted.
    run_id = Path(result["report_json"]).parent.name
    try:
        directory = run_directory(params["artifacts_dir"], params["host"], run_id)
        names = [name for name in (*FILES, PLAN_FILE) if name in result["files"]]
        write_report(directory, {name: str(result["files"][name]) for name in names})
    except RollbackError as error:
        result.update(failed=True, code=error.code, msg=f"On the controller: {error}")


def _operator() -> str:
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        # A container's user id need not have a name.
        return f"uid {os.getuid()}"
