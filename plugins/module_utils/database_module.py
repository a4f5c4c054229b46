# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every module with a database connection does around its one call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.pgops.rollback.plugins.module_utils.connection import (
    CONNECTION_ARGUMENTS,
    ServerInfo,
    connect,
    require_supported,
    server_info,
)
from ansible_collections.pgops.rollback.plugins.module_utils.driver import psycopg2
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError, server_message


def run_database_module(
    arguments: dict[str, dict[str, Any]],
    action: Callable[[Any, ServerInfo, AnsibleModule], dict[str, Any]],
) -> None:
    """Connect, call the action, and exit with its result; ``failed`` in it exits non-zero. No traceback gets out.

    :param arguments: the module's own argument spec, without the connection.
    :param action: gets the connection, the server and the module; returns what the module returns.
    """
    module = AnsibleModule(argument_spec={**CONNECTION_ARGUMENTS, **arguments}, supports_check_mode=True)
    try:
        connection = connect(module.params)
        try:
            server = server_info(connection)
            require_supported(server)
            result = action(connection, server, module)
        finally:
            connection.close()
    except RollbackError as error:
        module.fail_json(msg=str(error), code=error.code)
    except psycopg2.Error as error:
        module.fail_json(
            msg=f"The database reported: {server_message(error)}. What was not committed by then was rolled back;"
            " run it again to see the state.",
            code="database_error",
        )
    if result.get("failed"):
        module.fail_json(**result)
    module.exit_json(**result)
