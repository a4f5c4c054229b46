# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: gate
author: The pgops.rollback authors (@pgops)
version_added: 0.1.0
short_description: Whether what was planned for several databases is asked about, confirmed and carried out
description:
  - The roles ask with it, once for all databases of a play, and stop no application for what is going to be refused.
  - Of a single database its own token confirms its plan. Of several, one token confirms exactly these plans on exactly
    these hosts. The modules work it out again and refuse anything else.
options:
  _input:
    description: The plan of each database, by the host's name in the inventory; empty where there is none.
    type: dict
    required: true
  confirm:
    description: The token that was given beforehand, if any.
    type: raw
    required: true
  typed:
    description: What was typed at the prompt.
    type: str
    required: true
  check_mode:
    description: Whether nobody is asked and nothing is done.
    type: bool
    required: true
  missing:
    description: Task files of the user's that are missing, in sentences.
    type: list
    elements: str
    required: true
  done:
    description: What the databases are going to be, in two words.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Stop where something stands in the way
  ansible.builtin.fail:
    msg: "{{ (plans | pgops.rollback.gate(none, '', ansible_check_mode, [], 'torn down')).trouble | first }}"
"""

RETURN = r"""
_value:
  description:
    - C(tokens) by host; C(trouble), reasons not to go on; C(asks), whether somebody has to be asked; C(confirm), the
      token for the module; C(acts), the hosts on which something is going to be done.
  type: dict
"""

from collections.abc import Callable
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.gate import gate


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"gate": gate}
