# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a dump refers to and does not bring along: roles and extensions."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.pgops.rollback.plugins.module_utils.archive_toc import read_toc
from ansible_collections.pgops.rollback.plugins.module_utils.dump_files import (
    ARCHIVES,
    SUPABASE,
    SUPABASE_FILES,
    plain_stream,
)
from ansible_collections.pgops.rollback.plugins.module_utils.names import parse_name

_NAME = r'("(?:[^"]|"")+"|[A-Za-z_][\w$]*)'
_NAMES = rf"({_NAME}(?:\s*,\s*{_NAME})*)"

#: How the statements that pg_dump writes name roles. Each ends a line or a statement.
_ROLE_PHRASES = tuple(
    re.compile(phrase)
    for phrase in (
        rf"^ALTER .* OWNER TO {_NAMES};",
        rf"^(?:ALTER DEFAULT PRIVILEGES .*)?GRANT .* TO {_NAMES}(?: WITH .*)?(?: GRANTED BY .*)?;",
        rf"^(?:ALTER DEFAULT PRIVILEGES .*)?REVOKE .* FROM {_NAMES}(?: CASCADE)?;",
        rf"^ALTER DEFAULT PRIVILEGES FOR ROLE {_NAMES} ",
        rf"^CREATE POLICY .* TO {_NAMES}(?: USING | WITH CHECK |;)",
        rf"^SET SESSION AUTHORIZATION {_NAMES};",
        rf"^CREATE SCHEMA .* AUTHORIZATION {_NAMES};",
        rf"^CREATE USER MAPPING .*FOR {_NAMES} SERVER",
    )
)
_STATEMENTS = (b"ALTER ", b"GRANT ", b"REVOKE ", b"CREATE POLICY ", b"SET SESSION AUTHORIZATION ", b"CREATE SCHEMA ",
               b"CREATE USER MAPPING ")  # fmt: skip
_EXTENSION = re.compile(rf"^CREATE EXTENSION (?:IF NOT EXISTS )?{_NAME}")

#: Words in a role's place.
_NO_ROLES = frozenset({"public", "current_user", "current_role", "session_user"})


@dataclass
class Needs:
    roles: set[str] = field(default_factory=set)
    extensions: set[str] = field(default_factory=set)


def needs(path: Path, form: str) -> Needs:
    """:raises ArchiveDamagedError, RollbackError, OSError: of what reads the dump."""
    found = Needs()
    if form in ARCHIVES:
        _head, entries = read_toc(path)
        for entry in entries:
            if entry.owner:
                found.roles.add(entry.owner)
            if entry.kind == "EXTENSION":
                found.extensions.add(entry.name)
            found.roles.update(roles_named(entry.definition.splitlines()))
        return found
    for file in [path / name for name in SUPABASE_FILES if (path / name).exists()] if form == SUPABASE else [path]:
        with plain_stream(file) as stream:
            for line in stream:
                if line.startswith(_STATEMENTS):
                    found.roles.update(roles_named([line.decode("utf-8", "replace")]))
                elif line.startswith(b"CREATE EXTENSION "):
                    match = _EXTENSION.match(line.decode("utf-8", "replace"))
                    found.extensions.update(parse_name(match.group(1), "extension") if match else ())
    return found


def roles_named(lines: Iterable[str]) -> set[str]:
    """The roles in statements as pg_dump writes them, a line each."""
    found: set[str] = set()
    for line in lines:
        for phrase in _ROLE_PHRASES:
            if match := phrase.match(line):
                for name in re.findall(_NAME, match.group(1)):
                    (role,) = parse_name(name, "role")
                    if name.startswith('"') or role not in _NO_ROLES:
                        found.add(role)
    return found
