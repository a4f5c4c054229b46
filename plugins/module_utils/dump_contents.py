# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which objects and which tables' data a dump holds, told by the dump itself."""

from __future__ import annotations

import re
from pathlib import Path

from ansible_collections.pgops.rollback.plugins.module_utils.archive_toc import read_toc
from ansible_collections.pgops.rollback.plugins.module_utils.dump_files import ARCHIVES, plain_stream
from ansible_collections.pgops.rollback.plugins.module_utils.object_inventory import (
    RELATION_KINDS,
    DatabaseObject,
    SequenceContent,
)
from ansible_collections.pgops.rollback.plugins.module_utils.table_content import LARGE_OBJECTS, Table

#: What pg_dump calls the kinds of object_inventory.
_KINDS = {
    "SCHEMA": "schemas", "TABLE": "tables", "FOREIGN TABLE": "foreign_tables", "VIEW": "views",
    "MATERIALIZED VIEW": "materialized_views", "FUNCTION": "functions", "PROCEDURE": "functions",
    "AGGREGATE": "functions", "TYPE": "types", "DOMAIN": "types", "PUBLICATION": "publications",
}  # fmt: skip
_ROWS, _BLOBS, _SEQUENCE, _EXTENSION = "TABLE DATA", "BLOBS", "SEQUENCE SET", "EXTENSION"

_COMMENT = re.compile(rb"^-- (?:Data for )?Name: (.*); Type: ([A-Z ]+); Schema: (.*); Owner: ")


class DumpContents:
    """What a dump holds.

    :raises ArchiveDamagedError, RollbackError, OSError: of what reads the dump.
    """

    def __init__(self, dump: Path, form: str, encoding: str) -> None:
        """:param form: as dump_files.dump_format() calls it.
        :param encoding: Python's name of the encoding of the names in the dump.
        """
        self._encoding = encoding
        self._entries = _of_archive(dump) if form in ARCHIVES else _of_text(dump)

    def has_rows_of(self, table: Table) -> bool:
        if table.key == LARGE_OBJECTS:
            return any(kind == _BLOBS for kind, _schema, _name in self._entries)
        return self._has(_ROWS, table.schema, table.table)

    def has_value_of(self, sequence: SequenceContent) -> bool:
        return self._has(_SEQUENCE, sequence.schema, sequence.sequence)

    def has_extension(self, name: str) -> bool:
        return self._has(_EXTENSION, "", name)

    def objects(self, candidates: list[DatabaseObject]) -> list[DatabaseObject]:
        """Those that the dump makes. What belongs to a table comes with it."""
        alone = {each for each in candidates if not each.relation and self._has(each.kind, each.schema, each.name)}
        relations = {(each.schema, each.name) for each in alone if each.kind in RELATION_KINDS.values()}
        return [each for each in candidates if each in alone or (each.schema, each.relation) in relations]

    def _has(self, kind: str, schema: str, name: str) -> bool:
        return (kind, self._written(schema), self._written(name)) in self._entries

    def _written(self, name: str) -> str:
        """As _of_archive() and _of_text() read it: neither knows the encoding, and comments are kept to one line."""
        return _one_line(name.encode(self._encoding, "replace").decode("utf-8", "replace"))


def _of_archive(dump: Path) -> set[tuple[str, str, str]]:
    _head, entries = read_toc(dump)
    return {
        (_KINDS.get(entry.kind, entry.kind), _one_line(entry.schema), _one_line(entry.name)) for entry in entries
    }


def _of_text(dump: Path) -> set[tuple[str, str, str]]:
    """By the comments before each object."""
    found = set()
    with plain_stream(dump) as stream:
        for line in stream:
            if line.startswith(b"-- ") and (match := _COMMENT.match(line)):
                name, kind, schema = (part.decode("utf-8", "replace") for part in match.groups())
                found.add((_KINDS.get(kind, kind), "" if schema == "-" else schema, name))
    return found


def _one_line(name: str) -> str:
    return name.replace("\n", " ").replace("\r", " ")
