# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: missing_task_files
author: The pgops.rollback authors (@pgops)
version_added: 0.1.0
short_description: What is wrong with the task files that a user has named
description:
  - Found before anything is done, rather than when the application has been stopped.
options:
  _input:
    description: The paths by the variable's name; empty where none is set.
    type: dict
    required: true
  _directory:
    description: Where a relative path begins.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: See whether it is there
  ansible.builtin.debug:
    msg: "{{ {'rollback_before': 'stop.yml'} | pgops.rollback.missing_task_files(lookup('env', 'PWD')) }}"
"""

RETURN = r"""
_value:
  description: A sentence for each that is no file.
  type: list
  elements: str
"""

from collections.abc import Callable
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.gate import missing_task_files


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"missing_task_files": missing_task_files}
