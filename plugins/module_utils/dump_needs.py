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
from ansible_collections.pgops.rollback.plugins.module_utils.drill_lacks import label_provider
from ansible_collections.pgops.rollback.plugins.module_utils.dump_files import (
    ARCHIVES,
    SUPABASE,
    SUPABASE_FILES,
    plain_stream,
)
from ansible_collections.pgops.rollback.plugins.module_utils.names import parse_name
from ansible_collections.pgops.rollback.plugins.module_utils.plain_sql import (
    extension_of,
    is_for_another_database,
    sql_lines,
)

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
        rf"^ALTER ROLE {_NAMES} ",
    )
)
_STATEMENTS = (b"ALTER ", b"GRANT ", b"REVOKE ", b"CREATE POLICY ", b"SET SESSION AUTHORIZATION ", b"CREATE SCHEMA ",
               b"CREATE USER MAPPING ")  # fmt: skip
_LOCALE = re.compile(
    r"\b(ENCODING|LOCALE_PROVIDER|LOCALE|LC_COLLATE|LC_CTYPE|ICU_LOCALE|BUILTIN_LOCALE) = '?([\w@.+-]+)'?"
)

_TABLESPACE = re.compile(rb"SET default_tablespace = (\"[^\n]+\"|[^'\n;]+);")

_MAKES_PUBLIC = b"CREATE SCHEMA public;"

#: Words in a role's place.
_NO_ROLES = frozenset({"public", "current_user", "current_role", "session_user"})


@dataclass
class Needs:
    """:ivar label_providers: of security labels.
    :ivar event_triggers: the dump makes some.
    :ivar makes_public: schema public is made by the dump, as `pg_dump --schema=public` does.
    :ivar adapting: SQL with statements for another database than an empty one (plain_sql.adapted).
    :ivar locale: options of CREATE DATABASE that decide how its text sorts and what a letter is; archives only."""

    roles: set[str] = field(default_factory=set)
    extensions: set[str] = field(default_factory=set)
    tablespaces: set[str] = field(default_factory=set)
    label_providers: set[str] = field(default_factory=set)
    event_triggers: bool = False
    makes_public: bool = False
    adapting: bool = False
    locale: dict[str, str] = field(default_factory=dict)


def needs(path: Path, form: str) -> Needs:
    """:raises ArchiveDamagedError, RollbackError, OSError: of what reads the dump."""
    if form in ARCHIVES:
        return _needs_of_archive(path)
    return _needs_of_sql([path / name for name in SUPABASE_FILES] if form == SUPABASE else [path])


def _needs_of_archive(path: Path) -> Needs:
    found = Needs()
    _head, entries = read_toc(path)
    for entry in entries:
        if entry.tablespace:
            found.tablespaces.add(entry.tablespace)
        if entry.owner:
            found.roles.add(entry.owner)
        found.event_triggers = found.event_triggers or entry.kind == "EVENT TRIGGER"
        found.makes_public = found.makes_public or entry.definition.startswith(_MAKES_PUBLIC.decode())
        if entry.kind == "EXTENSION":
            found.extensions.add(entry.name)
        elif provider := label_provider(entry.definition):
            found.label_providers.add(provider)
        elif entry.kind == "DATABASE":
            found.locale = dict(_LOCALE.findall(entry.definition))
        found.roles.update(roles_named(entry.definition.splitlines()))
    return found


def _needs_of_sql(files: list[Path]) -> Needs:
    found = Needs()
    made: set[str] = set()
    for file in filter(Path.exists, files):
        with plain_stream(file) as stream:
            for line in sql_lines(stream):
                found.adapting = found.adapting or is_for_another_database(line)
                found.event_triggers = found.event_triggers or line.startswith(b"CREATE EVENT TRIGGER ")
                found.makes_public = found.makes_public or line.startswith(_MAKES_PUBLIC)
                if line.startswith(_STATEMENTS):
                    found.roles.update(roles_named([line.decode("utf-8", "replace")]))
                elif line.startswith(b"CREATE ROLE "):
                    made.update(roles_made(line.decode("utf-8", "replace")))
                elif line.startswith(b"SECURITY LABEL ") and (
                    provider := label_provider(line.decode("utf-8", "replace"))
                ):
                    found.label_providers.add(provider)
                elif match := _TABLESPACE.match(line):
                    found.tablespaces.update(parse_name(match[1].decode("utf-8", "replace"), "tablespace"))
                elif line.startswith(b"CREATE EXTENSION ") and (extension := extension_of(line)):
                    found.extensions.add(extension)
    # roles.sql of the Supabase CLI makes the application's own.
    found.roles -= made
    return found


def roles_made(line: str) -> set[str]:
    match = re.match(rf"CREATE ROLE {_NAME}", line)
    return set(parse_name(match.group(1), "role")) if match else set()


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
