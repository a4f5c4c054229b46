# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One connection to one database, and what has to be known of the server before anything is asked of it."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.bytes_as_text import ANY_BYTES, accept_any_bytes
from ansible_collections.pgops.rollback.plugins.module_utils.driver import psycopg2
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError, server_message

#: Majors this collection is tested on.
SUPPORTED_MAJORS = range(15, 19)

#: Seconds to wait for a server that does not answer, unless PGCONNECT_TIMEOUT says otherwise.
CONNECT_TIMEOUT = 10

#: Documented in plugins/doc_fragments/connection.py. No option has a default: what is unset falls to libpq.
CONNECTION_ARGUMENTS: dict[str, dict[str, Any]] = {
    "login_host": {"type": "str"},
    "login_port": {"type": "int"},
    "login_user": {"type": "str"},
    "login_password": {"type": "str", "no_log": True},
    "login_db": {"type": "str"},
    "ssl_mode": {"type": "str", "choices": ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]},
    "ca_cert": {"type": "path"},
}

_LIBPQ_NAMES = {
    "login_host": "host",
    "login_port": "port",
    "login_user": "user",
    "login_password": "password",
    "login_db": "dbname",
    "ssl_mode": "sslmode",
    "ca_cert": "sslrootcert",
}

#: libpq reports a failed connection as text only, so the remedy is chosen by that text.
_REMEDIES = (
    (r"password authentication failed|no password supplied",
     "Check rollback_login_user and rollback_login_password (or PGPASSFILE)."),
    (r'database ".*" does not exist', "Check rollback_login_db (or PGDATABASE)."),
    (r'role ".*" does not exist', "Check rollback_login_user (or PGUSER)."),
    (r"translate host name|[Nn]ame or service not known|nodename nor servname",
     "Check the spelling of rollback_login_host (or PGHOST) and the name service of this machine."),
    (r"Connection refused|No such file or directory|timeout expired|timed out|[Nn]o route|unreachable",
     "Check that the server runs, that rollback_login_host and rollback_login_port (or PGHOST, PGPORT) are right,"
     " and that no firewall stands between."),
    (r"SSL|certificate", "Check rollback_ssl_mode and rollback_ca_cert."),
    (r"too many clients|remaining connection slots", "Wait, or end idle sessions, and run it again."),
    (r"pg_hba\.conf|no encryption", "The server refuses this user, address or encryption: check rollback_ssl_mode"
     " and the server's pg_hba.conf."),
)


@dataclass(frozen=True)
class ServerInfo:
    """What one query tells about the database at the other end.

    :ivar version_num: as in ``server_version_num``, e.g. 150018.
    :ivar deadlock_timeout_ms: milliseconds.
    :ivar through_pooler: a transaction-mode pooler answers, not the server itself.
    """

    database: str
    user: str
    superuser: bool
    version: str
    version_num: int
    in_recovery: bool
    deadlock_timeout_ms: int
    through_pooler: bool

    @property
    def major(self) -> int:
        return self.version_num // 10000


def connect(options: dict[str, Any], settings: str = "") -> Any:
    """Open a connection in autocommit mode: every transaction of this collection says BEGIN and COMMIT itself.

    :param options: the values of CONNECTION_ARGUMENTS; None means: leave it to libpq.
    :param settings: options of the server for this session, as in PGOPTIONS.
    :raises RollbackError: ``psycopg2_missing``, ``connection_string``, ``connection_failed``.
    """
    if psycopg2 is None:
        raise RollbackError(
            "psycopg2_missing",
            f"The Python at {sys.executable} has no psycopg2.",
            "Install psycopg2-binary there, or set ansible_python_interpreter to a Python that has it"
            ' (for local connections "{{ ansible_playbook_python }}").',
        )
    if any(sign in (options.get("login_db") or "") for sign in ("://", "=")):
        # Not shown: libpq would take it for a connection string, and such a string may hold a password.
        raise RollbackError(
            "connection_string",
            "login_db is a connection string, not the name of a database.",
            "Give its parts in rollback_login_host, rollback_login_port, rollback_login_user, rollback_login_db and"
            " rollback_login_password.",
        )
    arguments = {libpq: options[name] for name, libpq in _LIBPQ_NAMES.items() if options.get(name) is not None}
    if settings:
        arguments["options"] = settings
    if "PGCONNECT_TIMEOUT" not in os.environ:
        arguments["connect_timeout"] = CONNECT_TIMEOUT
    try:
        connection = _open("UTF8", arguments)
        if connection.info.parameter_status("server_encoding") == ANY_BYTES:
            # Such a server would refuse to send in UTF-8 what is none.
            connection.close()
            accept_any_bytes()
            connection = _open(ANY_BYTES, arguments)
    except (psycopg2.Error, UnicodeError) as error:
        raise _connection_failed(error, arguments) from error
    connection.autocommit = True
    return connection


def _open(client_encoding: str, arguments: dict[str, Any]) -> Any:
    """The encoding is a start-up parameter: a SET would leak to other clients of a transaction-mode pooler."""
    return psycopg2.connect(application_name="pgops.rollback", client_encoding=client_encoding, **arguments)


def _connection_failed(error: Exception, arguments: dict[str, Any]) -> RollbackError:
    text = server_message(error)
    remedy = next((way for pattern, way in _REMEDIES if re.search(pattern, text)),
                  "Check the rollback_login_* variables (or PGHOST, PGSERVICE …).")
    where = " ".join(f"{key} {arguments[key]}" for key in ("host", "port", "dbname", "user") if key in arguments)
    return RollbackError(
        "connection_failed", f"Cannot connect to the database ({where or 'libpq defaults'}): {text}.", remedy
    )


def server_info(connection: Any) -> ServerInfo:
    """Read ServerInfo, in one query."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT pg_catalog.current_database(), current_user::text,
                   (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user),
                   pg_catalog.current_setting('server_version'),
                   pg_catalog.current_setting('server_version_num')::int,
                   pg_catalog.pg_is_in_recovery(),
                   (SELECT setting::int FROM pg_catalog.pg_settings WHERE name = 'deadlock_timeout'),
                   pg_catalog.pg_backend_pid()
            """
        )
        database, user, superuser, version, version_num, in_recovery, deadlock_timeout, backend_pid = cursor.fetchone()
    return ServerInfo(
        database=database,
        user=user,
        superuser=superuser,
        version=version,
        version_num=version_num,
        in_recovery=in_recovery,
        deadlock_timeout_ms=deadlock_timeout,
        through_pooler=backend_pid != connection.info.backend_pid,
    )


def cluster_identifier(cursor: Any) -> str | None:
    """The system identifier of the cluster; None where the role may not ask for it.

    In two statements: the server checks the privilege on a function as it begins, also where a CASE leaves it out.
    """
    cursor.execute("SELECT pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')")
    if not cursor.fetchone()[0]:
        return None
    cursor.execute("SELECT system_identifier::text FROM pg_catalog.pg_control_system()")
    found: str = cursor.fetchone()[0]
    return found


def require_supported(server: ServerInfo) -> None:
    """:raises RollbackError: ``version_unsupported``."""
    if server.major not in SUPPORTED_MAJORS:
        first, last = SUPPORTED_MAJORS[0], SUPPORTED_MAJORS[-1]
        raise RollbackError(
            "version_unsupported",
            f"Database {server.database} runs Postgres {server.version}; this collection knows {first} to {last}.",
            "Use a release of pgops.rollback that supports it; nothing was done.",
        )


def require_primary(server: ServerInfo) -> None:
    """:raises RollbackError: ``standby``."""
    if server.in_recovery:
        raise RollbackError(
            "standby",
            f"Database {server.database} is on a standby (in recovery) and cannot be written.",
            "Point rollback_login_host at the primary; nothing was done.",
        )
