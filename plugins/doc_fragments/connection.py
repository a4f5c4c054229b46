# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """The connection options of every module in the action group C(database)."""

    DOCUMENTATION = r"""
options:
  login_host:
    description:
      - Host name, IP address, or directory of the unix socket (it then begins with a slash).
      - Like every connection option it has no default. What is not given is left to libpq, so
        E(PGHOST), E(PGSERVICE), E(PGPASSFILE) and the others keep working.
    type: str
  login_port:
    description: TCP port, or the number in the unix socket's name.
    type: int
  login_user:
    description: Role to connect as.
    type: str
  login_password:
    description: Password of that role. It is never logged. A password file (E(PGPASSFILE)) is better still.
    type: str
  login_db:
    description: Database to connect to.
    type: str
  ssl_mode:
    description: Whether the connection must be encrypted and the server's certificate checked, as in libpq.
    type: str
    choices: [disable, allow, prefer, require, verify-ca, verify-full]
  ca_cert:
    description: File with the certificate authority that the server's certificate is checked against.
    type: path
requirements:
  - psycopg2 >= 2.9 on the host that runs the module
notes:
  - Only psycopg2 is used, never psycopg 3.
  - Supported are Postgres 15 to 18.
  - A server that does not answer is given up after 10 seconds, or after E(PGCONNECT_TIMEOUT).
"""
