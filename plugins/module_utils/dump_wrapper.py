# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a pg_dump command of your own, with a content manifest of what it dumped beside its output.

    python3 -m ansible_collections.pgops.rollback.plugins.module_utils.dump_wrapper -- pg_dump -Fc -f app.dump app

``--snapshot`` is added to the command, nothing else is changed; environment, output and exit code are pg_dump's own.
"""

from __future__ import annotations

import getopt
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.connection import require_supported, server_info
from ansible_collections.pgops.rollback.plugins.module_utils.connections import Connections
from ansible_collections.pgops.rollback.plugins.module_utils.content_manifest import manifest_path, write_manifest
from ansible_collections.pgops.rollback.plugins.module_utils.driver import psycopg2
from ansible_collections.pgops.rollback.plugins.module_utils.dump import ended_by_signals
from ansible_collections.pgops.rollback.plugins.module_utils.dump_snapshot import manifest_of, moment_of
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError, server_message
from ansible_collections.pgops.rollback.plugins.module_utils.system_user import own_user

#: pg_dump's options, up to Postgres 18.
_SHORT = "abBcCd:e:E:f:F:h:j:n:N:Op:RsS:t:T:U:vVwWxZ:?"
_LONG = [
    "data-only", "blobs", "large-objects", "no-blobs", "no-large-objects", "clean", "create", "dbname=", "extension=",
    "exclude-extension=", "encoding=", "file=", "format=", "host=", "jobs=", "schema=", "exclude-schema=", "no-owner",
    "port=", "no-reconnect", "schema-only", "superuser=", "table=", "table-and-children=", "exclude-table=",
    "exclude-table-and-children=", "username=", "verbose", "version", "no-password", "password", "no-privileges",
    "no-acl", "compress=", "help", "attribute-inserts", "binary-upgrade", "column-inserts", "disable-dollar-quoting",
    "disable-triggers", "enable-row-security", "exclude-table-data=", "exclude-table-data-and-children=",
    "extra-float-digits=", "filter=", "if-exists", "include-foreign-data=", "inserts", "load-via-partition-root",
    "lock-wait-timeout=", "no-comments", "no-data", "no-policies", "no-publications", "no-schema",
    "no-security-labels", "no-statistics", "no-subscriptions", "no-sync", "no-synchronized-snapshots",
    "no-table-access-method", "no-tablespaces", "no-toast-compression", "no-unlogged-table-data",
    "on-conflict-do-nothing", "quote-all-identifiers", "restrict-key=", "role=", "rows-per-insert=", "section=",
    "sequence-data", "serializable-deferrable", "snapshot=", "statistics", "statistics-only", "strict-names",
    "sync-method=", "use-set-session-authorization", "with-data", "with-schema", "with-statistics",
]  # fmt: skip

_MEANINGS = {
    "-f": "file", "--file": "file", "-d": "login_db", "--dbname": "login_db", "-h": "login_host",
    "--host": "login_host", "-p": "login_port", "--port": "login_port", "-U": "login_user", "--username": "login_user",
}  # fmt: skip

#: With these the dump would be of something else than the snapshot, or of less than the tables say.
_REFUSED = {
    "--snapshot": "the snapshot is ours",
    "--serializable-deferrable": "it takes a snapshot of its own",
    "--enable-row-security": "the dump may then lack rows",
    "-W": "nobody is there to type a password",
    "--password": "nobody is there to type a password",
}

#: Of our own attempts to lock the tables, milliseconds; below the server's default deadlock_timeout.
_LOCK_TIMEOUT_MS = 500

#: Seconds. A job that must end sooner is run under timeout(1).
_TIMEOUT = 7 * 86400


@dataclass(frozen=True)
class UsersCommand:
    """A pg_dump command, understood.

    :ivar output: where it writes.
    :ivar login: connection options, as connection.connect() takes them.
    """

    command: list[str]
    output: Path
    login: dict[str, Any]


def understand(command: list[str]) -> UsersCommand:
    """:raises RollbackError: ``dump_command``."""
    if not command:
        raise _refused("There is no command.")
    try:
        options, names = getopt.gnu_getopt(command[1:], _SHORT, _LONG)
    except getopt.GetoptError as error:
        raise _refused(f"{error.msg[:1].upper()}{error.msg[1:]}.") from error
    meant: dict[str, Any] = {}
    for option, value in options:
        if option in _REFUSED:
            raise _refused(f"{option} cannot be used here: {_REFUSED[option]}.")
        if option in _MEANINGS:
            meant[_MEANINGS[option]] = value
    output = meant.pop("file", None)
    if output is None:
        raise _refused("The dump goes to standard output, where no manifest can be beside it.")
    if names:
        meant["login_db"] = names[0]
    return UsersCommand(command, Path(output).absolute(), meant)


def run(users: UsersCommand) -> int:
    """Run it; the exit code is pg_dump's.

    :raises RollbackError: those of moment_of(), manifest_of() and SystemUser.run(), ``dump_unwritable``.
    """
    connections = Connections(users.login)
    try:
        server = server_info(connections.first)
        require_supported(server)
        with ended_by_signals(), moment_of(connections.first, server, _LOCK_TIMEOUT_MS, complete=False) as moment:
            # The old dump is about to be replaced, so its manifest must not be there for the new one.
            manifest_path(users.output).unlink(missing_ok=True)
            program, *arguments = users.command
            answer = own_user().run(
                [program, f"--snapshot={moment.snapshot}", *arguments], Path.cwd(), _TIMEOUT,
                {name: value for name, value in os.environ.items() if name.startswith(("PG", "LC_", "LANG"))},
            )  # fmt: skip
            sys.stdout.write(answer.stdout)
            sys.stderr.write(answer.stderr)
            if answer.returncode == 0:
                write_manifest(manifest_of(connections, server, moment, users.output), users.output)
            return answer.returncode
    except OSError as error:
        raise RollbackError(
            "dump_unwritable",
            f"{error.filename or users.output} cannot be used: {error.strerror}.",
            "Correct the command, and run it again.",
        ) from error
    finally:
        connections.close()


def _refused(what: str) -> RollbackError:
    return RollbackError(
        "dump_command",
        f"This pg_dump command cannot be run with a manifest. {what}",
        "Write it as: dump_wrapper -- pg_dump -Fc -f FILE DATABASE; nothing was done.",
    )


def main(arguments: list[str]) -> int:
    try:
        return run(understand(arguments[1:] if arguments[:1] == ["--"] else arguments))
    except RollbackError as error:
        reason = str(error)
    except psycopg2.Error as error:
        reason = f"The database reported: {server_message(error)}. There is no manifest; run it again."
    sys.stderr.write(f"dump_wrapper: {reason}\n")
    return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
