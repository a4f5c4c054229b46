# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Says every few seconds what a long verification is doing: the module writes it to a file, and this reads the file."""

from __future__ import annotations

import threading
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

display = Display()

#: Seconds between two lines. What is over sooner says nothing.
INTERVAL = 8


class ActionModule(ActionBase):
    TRANSFERS_FILES = True  # a directory of ours on the host, where the progress file lies

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        directory = self._connection._shell.tmpdir or self._make_tmp_path()
        progress_file = self._connection._shell.join_path(directory, "progress")
        ended = threading.Event()
        told = threading.Thread(target=self._tell, args=(progress_file, ended), daemon=True)
        told.start()
        try:
            arguments = {**self._task.args, "progress_file": progress_file}
            result.update(self._execute_module(module_args=arguments, task_vars=task_vars))
        finally:
            ended.set()
            told.join()
            self._remove_tmp_path(directory)
        result.get("invocation", {}).get("module_args", {}).pop("progress_file", None)
        return result

    def _tell(self, progress_file: str, ended: threading.Event) -> None:
        while not ended.wait(INTERVAL):
            answer = self._low_level_execute_command(f"cat {self._connection._shell.quote(progress_file)}")
            if answer["rc"] == 0 and not ended.is_set():
                display.display(f"  {answer['stdout'].strip()}")
