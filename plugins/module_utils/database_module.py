# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every module does around its one call, with a database connection or without."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.pgops.rollback.plugins.module_utils.connection import (
    CONNECTION_ARGUMENTS,
    ServerInfo,
    require_supported,
    server_info,
)
from ansible_collections.pgops.rollback.plugins.module_utils.connections import Connections
from ansible_collections.pgops.rollback.plugins.module_utils.driver import DATABASE_ERRORS
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError, server_message


def run_database_module(
    arguments: dict[str, dict[str, Any]],
    action: Callable[[Connections, ServerInfo, AnsibleModule], dict[str, Any]],
    required_together: Sequence[Sequence[str]] = (),
    required_if: Sequence[Sequence[Any]] = (),
) -> None:
    """Connect, call the action, and exit with its result.

    :param arguments: the module's own argument spec, without the connection.
    :param action: gets the connections, the server and the module; returns what the module returns.
    :param required_together: options of which none or all are given.
    :param required_if: an option, a value of it, and the options that are needed then.
    """

    def connected(module: AnsibleModule) -> dict[str, Any]:
        connections = Connections(module.params)
        try:
            server = server_info(connections.first)
            require_supported(server)
            return action(connections, server, module)
        finally:
            connections.close()

    run_module({**CONNECTION_ARGUMENTS, **arguments}, connected, required_together, required_if)


def run_module(
    arguments: dict[str, dict[str, Any]],
    action: Callable[[AnsibleModule], dict[str, Any]],
    required_together: Sequence[Sequence[str]] = (),
    required_if: Sequence[Sequence[Any]] = (),
) -> None:
    """Call the action and exit with its result; ``failed`` in it exits non-zero. No traceback gets out."""
    module = AnsibleModule(
        argument_spec=arguments, supports_check_mode=True, required_together=required_together,
        required_if=required_if,
    )
    try:
        result = action(module)
    except RollbackError as error:
        module.fail_json(msg=str(error), code=error.code)
    except DATABASE_ERRORS as error:
        module.fail_json(
            msg=f"The database reported: {server_message(error)}. What was not committed by then was rolled back;"
            " run it again to see the state.",
            code="database_error",
        )
    except Exception as error:
        # The traceback is in the result for a report; Ansible shows it from -vvv on.
        module.fail_json(
            msg=f"pgops.rollback has a defect: {type(error).__name__}: {error}. Please report it, with what -vvv shows;"
            " run it again with a smaller selection meanwhile.",
            code="defect",
            exception=traceback.format_exc(),
        )
    if result.get("failed"):
        module.fail_json(**result)
    module.exit_json(**result)
