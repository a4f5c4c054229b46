# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the module of the same name, prints its summary as it is, and brings the files of a remote host here."""

from __future__ import annotations

import getpass
import os
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.report_files import run_directory, write_report

display = Display()


class ActionModule(ActionBase):
    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = {"operator": _operator(), **self._task.args}
        result.update(
            self._execute_module(
                module_name="pgops.rollback.rollback_report", module_args=arguments, task_vars=task_vars
            )
        )
        files = result.pop("files", None)
        if files and self._connection.transport != "local":
            try:
                directory = run_directory(arguments["artifacts_dir"], arguments["host"], arguments["run_id"])
                write_report(directory, files)
            except RollbackError as error:
                result.update(failed=True, code=error.code, msg=f"On the controller: {error}")
        if "summary" in result:
            display.display(result["summary"])
        return result


def _operator() -> str:
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        # A container's user id need not have a name.
        return f"uid {os.getuid()}"
