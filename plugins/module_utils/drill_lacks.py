# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an intact dump needs and this host cannot provide, besides extensions: locales, ICU, providers of labels."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.archive_toc import ArchiveEntry
from ansible_collections.pgops.rollback.plugins.module_utils.driver import DATABASE_ERRORS
from ansible_collections.pgops.rollback.plugins.module_utils.errors import server_message
from ansible_collections.pgops.rollback.plugins.module_utils.names import parse_name, quote_name

#: How the server says so. A collation of the dump's own is not among them: that it is not there may be damage.
_LACKING = re.compile(
    r'ICU is not supported in this build|could not (?:create locale|open collator for locale) "'
    r'|collation "(?:pg_catalog\.)?[^".]+" for encoding "\w+" does not exist'
)

_COLLATION = re.compile(r"CREATE COLLATION .+? (?=\(provider = )", re.DOTALL)
#: One of the dump's own has its schema before it.
_BUILT_IN = re.compile(r'COLLATE (?:pg_catalog\.)?("(?:[^"]|"")+"|\w+)(?![\w.])')
_LITERAL = re.compile(r"'(?:[^']|'')*'")
#: Their bodies are not read when they are made.
_WITH_BODY = ("FUNCTION", "PROCEDURE", "COMMENT")

_LABEL = re.compile(r"SECURITY LABEL FOR (\"(?:[^\"]|\"\")+\"|'(?:[^']|'')+'|\w+) ON ")

_THERE = """
SELECT collname FROM pg_catalog.pg_collation
WHERE collnamespace = 'pg_catalog'::regnamespace AND collencoding IN (
    -1, (SELECT encoding FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()))
"""


@dataclass
class Lacks:
    """:ivar entries: of an archive, whose objects cannot be made for it.
    :ivar collations: as SQL writes them.
    """

    entries: list[ArchiveEntry] = field(default_factory=list)
    collations: set[str] = field(default_factory=set)


def lacked(error: str) -> bool:
    """Whether an error of a restore says that this host, and not the dump, is at fault."""
    return _LACKING.search(error) is not None


def label_provider(statement: str) -> str | None:
    """The provider of a SECURITY LABEL statement. It is no extension but a library, and a drill's server loads none."""
    match = _LABEL.match(statement)
    return match[1].strip("\"'") if match else None


def lacking(connection: Any, entries: list[ArchiveEntry]) -> Lacks:
    """What of an archive's entries cannot be made in this database.

    :param connection: to the empty database, in autocommit mode.
    """
    found = Lacks()
    with connection.cursor() as cursor:
        cursor.execute(_THERE)
        there = {name for (name,) in cursor.fetchall()}
        for entry in entries:
            missing = {quote_name("pg_catalog", name) for name in _built_in(entry) if name not in there}
            if entry.kind == "COLLATION" and not _can_be_made(cursor, entry):
                missing.add(quote_name(entry.schema, entry.name))
            if missing or entry.kind == "SECURITY LABEL":
                found.entries.append(entry)
            found.collations |= missing
    return found


def _built_in(entry: ArchiveEntry) -> set[str]:
    if entry.kind in _WITH_BODY or "COLLATE " not in entry.definition:
        return set()
    names = _BUILT_IN.findall(_LITERAL.sub("''", entry.definition))
    return {parse_name(name, "collation")[0] for name in names}


def _can_be_made(cursor: Any, entry: ArchiveEntry) -> bool:
    """Tried under another name, and taken back."""
    statement = _COLLATION.sub("CREATE COLLATION pg_temp.tried ", entry.definition, count=1)
    try:
        cursor.execute(f"BEGIN; {statement}")
    except DATABASE_ERRORS as error:
        return not lacked(server_message(error))
    finally:
        cursor.execute("ROLLBACK")
    return True
