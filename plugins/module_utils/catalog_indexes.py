# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What pg_get_indexdef says of plain indexes, without asking it.

It opens every table, which takes longer than all the rest of a snapshot and waits for whoever holds one locked.
"""

from __future__ import annotations

from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.names import quote_name

DEFAULT_CLASSES = "SELECT oid::text, opcintype FROM pg_opclass WHERE opcdefault AND opcmethod = 403"
RESERVED_WORDS = "SELECT word FROM pg_get_keywords() WHERE catcode <> 'U'"
DEFINITIONS = "SELECT i, pg_get_indexdef(i) FROM unnest(%s::oid[]) i"

#: A varchar column has no operator class of its own.
_STANDS_FOR = {1043: 25}


class PlainIndexes:
    """:ivar columns: name, type and collation of every column by relation and number."""

    def __init__(self, cursor: Any) -> None:
        cursor.execute(RESERVED_WORDS)
        self._reserved = {word for (word,) in cursor.fetchall()}
        cursor.execute(DEFAULT_CLASSES)
        self._class_types: dict[str, int] = dict(cursor.fetchall())
        self.columns: dict[tuple[int, int], tuple[str, int, int]] = {}

    def definition(self, relation: int, table: tuple[str, str], index: str, found: dict[str, Any]) -> str | None:
        """The statement that makes the index, or None where it is not plain.

        :param found: ``_keys``, ``_classes``, ``_collations`` and ``_unique`` as the catalog has them.
        """
        if found["_keys"] is None:
            return None
        names = []
        for key, operator_class, collation in zip(
            found["_keys"].split(), found["_classes"].split(), found["_collations"].split(), strict=True
        ):
            column = self.columns.get((relation, int(key)))
            if column is None:
                return None
            name, data_type, own_collation = column
            usual = self._class_types.get(operator_class) == _STANDS_FOR.get(data_type, data_type)
            if not usual or int(collation) != own_collation:
                return None
            names.append(self._quoted(name))
        kind = "UNIQUE INDEX" if found["_unique"] else "INDEX"
        on = f"{self._quoted(table[0])}.{self._quoted(table[1])}"
        return f"CREATE {kind} {self._quoted(index)} ON {on} USING btree ({', '.join(names)})"

    def _quoted(self, name: str) -> str:
        return f'"{name}"' if name in self._reserved else quote_name(name)
