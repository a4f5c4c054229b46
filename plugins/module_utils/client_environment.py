# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Handing a connection on to pg_dump and the other client programs, without a secret in arguments or environment."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: Parameters of a connection that are not spelt like their variable, or are not to be handed on.
_NAMES = {"dbname": "PGDATABASE", "connect_timeout": "PGCONNECT_TIMEOUT", "application_name": "PGAPPNAME"}
_OURS_ALONE = frozenset({"client_encoding", "password", "passfile", "sslpassword", "target_session_attrs"})


@contextmanager
def client_environment(connection: Any) -> Iterator[dict[str, str]]:
    """Variables with which a client program reaches the very server, database and role of an open connection.

    Its password, wherever libpq found it, is in a private file that is removed at the end.

    :param connection: of psycopg2.
    """
    parameters = connection.info.dsn_parameters
    variables = {
        _NAMES.get(name, f"PG{name.upper().replace('_', '')}"): value
        for name, value in parameters.items() if name not in _OURS_ALONE
    }  # fmt: skip
    # Of several hosts the one that answered: an exported snapshot is known to no other.
    if "," in parameters.get("host", ""):
        variables |= {"PGHOST": connection.info.host, "PGPORT": str(connection.info.port)}
        variables.pop("PGHOSTADDR", None)
    with tempfile.TemporaryDirectory(prefix="pgops-") as directory:  # with mode 0700
        passfile = Path(directory, "passfile")
        if connection.info.password:
            escaped = connection.info.password.replace("\\", "\\\\").replace(":", "\\:")
            with open(passfile, "w", encoding="utf-8", opener=_private) as file:
                file.write(f"*:*:*:*:{escaped}\n")
        yield {**variables, "PGPASSFILE": str(passfile)}


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_EXCL, 0o600)
