#!/usr/bin/python
# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: teardown_expire
short_description: Remove the bundles of teardowns whose retention has ended
version_added: 0.1.0
description:
  - Looks at the bundles of one host, and removes each, as a whole, that was to be kept until a time that has passed by
    the database's clock. Check mode only says which.
  - The bundle of a quarantine is kept for as long as its objects are in there, since nothing else brings them back, or
    can come back in there by the undo of a purge.
    What interrupted runs left is removed a day after they ended.
  - A bundle that cannot be read, or is of another host or database, or from a time still to come, is named and left,
    and RV(status) is V(degraded).
  - What was removed cannot be undone any more. The run's plan and report stay.
author:
  - The pgops.rollback authors (@pgops)
extends_documentation_fragment:
  - pgops.rollback.connection
  - pgops.rollback.attributes
  - pgops.rollback.evidence
seealso:
  - module: pgops.rollback.teardown
"""

EXAMPLES = r"""
- name: Remove what need not be kept any longer
  pgops.rollback.teardown_expire:
    login_db: app
    host: db1
    artifacts_dir: /var/lib/rollback
"""

RETURN = r"""
status:
  description: V(changed), V(ok) when nothing had to be removed, V(degraded) when something has to be looked at.
  returned: success
  type: str
bundles:
  description: Each bundle, with C(bundle), its C(fate) (V(removed), V(kept), V(left)), C(why), and C(keep_until).
  returned: success
  type: list
  elements: dict
code:
  description:
    - Stable code of the error. V(artifacts_dir_relative), V(unsafe_name), V(statement_timeout), V(catalog_changed),
      V(connection_failed), V(connection_string), V(psycopg2_missing), V(version_unsupported), V(database_error),
      V(defect).
  returned: failure
  type: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.pgops.rollback.plugins.module_utils.connection import ServerInfo
from ansible_collections.pgops.rollback.plugins.module_utils.connections import Connections
from ansible_collections.pgops.rollback.plugins.module_utils.database_module import run_database_module
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_retention import expire

ARGUMENTS: dict[str, dict[str, Any]] = {
    "host": {"type": "str", "required": True},
    "artifacts_dir": {"type": "path", "required": True},
}


def teardown_expire(connections: Connections, server: ServerInfo, module: AnsibleModule) -> dict[str, Any]:
    options = module.params
    return expire(connections.first, server, options["artifacts_dir"], options["host"], module.check_mode)


def main() -> None:
    run_database_module(ARGUMENTS, teardown_expire)


if __name__ == "__main__":
    main()
