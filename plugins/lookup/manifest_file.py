# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: manifest_file
author: The pgops.rollback authors (@pgops)
version_added: 0.1.0
short_description: The content of a rollback manifest's file
description:
  - Reads a file on the controller, in YAML or JSON, encrypted by Ansible Vault or not. A relative path begins in the
    working directory.
  - What cannot be read is no error here, where Ansible would bury it under the template it is used in. It is a manifest
    with the reason as C(unreadable), which M(pgops.rollback.teardown_plan) and M(pgops.rollback.teardown) refuse.
options:
  _terms:
    description: The path.
    type: list
    elements: path
    required: true
"""

EXAMPLES = r"""
- name: See what a teardown would take
  pgops.rollback.teardown_plan:
    login_db: app
    manifest: "{{ lookup('pgops.rollback.manifest_file', 'release-42.yml') }}"
"""

RETURN = r"""
_raw:
  description: The manifest.
  type: list
  elements: dict
"""

import os
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase


class LookupModule(LookupBase):
    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **_kwargs: Any) -> list[dict[str, Any]]:
        return [self._manifest(str(term)) for term in terms]

    def _manifest(self, name: str) -> dict[str, Any]:
        path = os.path.join(os.environ.get("PWD", ""), os.path.expanduser(name))
        if not os.path.isfile(path):
            return _unreadable(path, "there is no such file")
        try:
            content = self._loader.load_from_file(path)
        except AnsibleError as error:
            return _unreadable(path, " ".join(str(error.message).split()))
        if content is None:
            return {}
        return content if isinstance(content, dict) else _unreadable(path, "it is no dictionary")


def _unreadable(path: str, why: str) -> dict[str, str]:
    return {"unreadable": f"{path}: {why}"}
