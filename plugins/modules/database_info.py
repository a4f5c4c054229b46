#!/usr/bin/python
# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: database_info
author: The pgops.rollback authors (@pgops)
version_added: 0.1.0
short_description: What answers at the other end of a database connection
description:
  - Connects, and returns which database, role and server version answer, whether the server is a standby, and
    whether a transaction-mode pooler stands between.
  - It fails with one sentence and a remedy if psycopg2 is missing, the server cannot be reached, the password is wrong,
    the database does not exist, or the server's version is not supported.
options:
  require_primary:
    description: Fail if the server is a standby (in recovery), since nothing can be written there.
    type: bool
    default: false
extends_documentation_fragment:
  - pgops.rollback.connection
  - pgops.rollback.attributes.read_only
"""

EXAMPLES = r"""
- name: See whether the database can be written
  pgops.rollback.database_info:
    login_host: db.example.com
    login_user: app_owner
    login_db: app
    require_primary: true
"""

RETURN = r"""
database:
  description: Name of the database.
  type: str
  returned: success
  sample: app
user:
  description: Role that is connected.
  type: str
  returned: success
  sample: app_owner
superuser:
  description: Whether that role is a superuser.
  type: bool
  returned: success
version:
  description: The server's version as it says it itself.
  type: str
  returned: success
  sample: "15.18 (Debian 15.18-0+deb12u1)"
version_num:
  description: The server's version as a number, C(server_version_num).
  type: int
  returned: success
  sample: 150018
in_recovery:
  description: Whether the server is a standby.
  type: bool
  returned: success
through_pooler:
  description: Whether a transaction-mode pooler answers in the server's place.
  type: bool
  returned: success
deadlock_timeout_ms:
  description: The server's C(deadlock_timeout) in milliseconds.
  type: int
  returned: success
  sample: 1000
summary:
  description: The same in one sentence.
  type: str
  returned: success
  sample: Connected to database app as app_owner.
code:
  description:
    - What went wrong, in one stable word.
    - V(psycopg2_missing), V(connection_failed), V(connection_string), V(version_unsupported), V(standby),
      V(database_error) or V(defect).
  type: str
  returned: failure
  sample: standby
"""

from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.pgops.rollback.plugins.module_utils.connection import ServerInfo, require_primary
from ansible_collections.pgops.rollback.plugins.module_utils.database_module import run_database_module


def describe(_connection: Any, server: ServerInfo, module: AnsibleModule) -> dict[str, Any]:
    if module.params["require_primary"]:
        require_primary(server)
    pooler = " through a transaction-mode pooler" if server.through_pooler else ""
    return {
        "changed": False,
        "summary": f"Connected to database {server.database} as {server.user}{pooler}.",
        **asdict(server),
    }


def main() -> None:
    run_database_module({"require_primary": {"type": "bool", "default": False}}, describe)


if __name__ == "__main__":
    main()
