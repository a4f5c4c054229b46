# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: batch_token
author: The pgops.rollback authors (@pgops)
version_added: 0.1.0
short_description: What confirms the plans of several databases at once
description:
  - Of a single database it is the token of its plan.
  - Whoever repeats it confirms exactly these plans on exactly these hosts. M(pgops.rollback.teardown) works it out
    again and refuses anything else.
options:
  _input:
    description: The token of each plan, by the host's name in the inventory.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show what confirms both
  ansible.builtin.debug:
    msg: "{{ {'db1': 'rb-1f2e3d4c5b6a', 'db2': 'rb-0123456789ab'} | pgops.rollback.batch_token }}"
"""

RETURN = r"""
_value:
  description: The token.
  type: str
  sample: rb-5a4b3c2d1e0f
"""

from collections.abc import Callable
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.confirmation import batch_token


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"batch_token": batch_token}
