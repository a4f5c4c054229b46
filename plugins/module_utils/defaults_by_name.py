# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Column defaults that look their sequence up by name, ``nextval('orders_seq'::text)``: the catalogs let it go."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.names import parse_name, quote_name
from ansible_collections.pgops.rollback.plugins.module_utils.verification import user_objects

# By the OIDs of pg_proc.dat: nextval 1574, text to regclass 1079. Only what says both is taken apart.
_DEFAULTS_BY_NAME = f"""
SELECT n.nspname, c.relname, a.attname, pg_catalog.pg_get_expr(d.adbin, d.adrelid),
       pg_catalog.pg_get_userbyid(c.relowner)::text, c.oid::bigint
FROM pg_catalog.pg_attrdef d
JOIN pg_catalog.pg_class c ON c.oid = d.adrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
WHERE pg_catalog.strpos(d.adbin::text, ':funcid 1574 ') > 0 AND pg_catalog.strpos(d.adbin::text, ':funcid 1079 ') > 0
  AND {user_objects("pg_class", "c.oid")}
ORDER BY 1, 2, 3
"""  # noqa: S608
_NEXTVAL_BY_NAME = re.compile(r"nextval\(\('((?:[^']|'')+)'::text\)::regclass\)")


@dataclass(frozen=True)
class DefaultByName:
    """:ivar column: as SQL writes it, with its table.
    :ivar sequence: the parts of the name that it looks up.
    """

    column: str
    table: str
    table_oid: int
    owner: str
    expression: str
    sequence: tuple[str, ...]


def read_defaults_by_name(cursor: Any) -> list[DefaultByName]:
    cursor.execute(_DEFAULTS_BY_NAME)
    found = []
    for schema, table, column, expression, owner, oid in cursor.fetchall():
        for literal in _NEXTVAL_BY_NAME.findall(expression):
            try:
                parts = parse_name(literal.replace("''", "'"), "sequence")
            except RollbackError:
                continue
            names = quote_name(schema, table, column), quote_name(schema, table)
            found.append(DefaultByName(*names, oid, owner, expression, parts))
    return found
