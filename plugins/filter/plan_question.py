# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: plan_question
author: The pgops.rollback authors (@pgops)
version_added: 0.1.0
short_description: What somebody is shown who is to confirm plans
description:
  - For each database how much goes or is lost, what breaks, and what stands in the way; last, the token to type.
  - Names come from databases, so control characters in them are replaced.
options:
  _input:
    description:
      - The plan of each database, by the host's name, as M(pgops.rollback.teardown_plan) or
        M(pgops.rollback.database_restore_plan) return it.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Ask
  ansible.builtin.pause:
    prompt: "{{ {inventory_hostname: teardown_plan_result.plan} | pgops.rollback.plan_question }}"
"""

RETURN = r"""
_value:
  description: Several lines of text.
  type: str
"""

from collections.abc import Callable
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.report_question import question


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"plan_question": question}
