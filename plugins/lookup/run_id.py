# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: run_id
author: The pgops.rollback authors (@pgops)
version_added: 0.1.0
short_description: A name for a run, that can name a directory
description:
  - Makes a name of the UTC time and four hex digits, so that runs sort by time and two of one second differ.
  - A name that is given is returned as it is, or refused if it cannot name the directory of the run's reports.
options:
  _terms:
    description: At most one name. Letters, digits, dots, dashes and underscores, at most 128; none of V(latest),
      V(baselines) and V(backup).
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Name the run
  ansible.builtin.set_fact:
    rollback_run_id: "{{ lookup('pgops.rollback.run_id') }}"
"""

RETURN = r"""
_raw:
  description: The name.
  type: list
  elements: str
  sample: [20261122T093000Z-1a2b]
"""

import secrets
from datetime import UTC, datetime
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.report_files import require_run_id


class LookupModule(LookupBase):
    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **_kwargs: Any) -> list[str]:
        if not terms:
            return [f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"]
        try:
            return [require_run_id(str(terms[0]))]
        except RollbackError as error:
            raise AnsibleLookupError(f"{error} Nothing was done.") from None
