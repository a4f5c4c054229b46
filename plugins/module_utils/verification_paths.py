# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""In which schemas a function may look for a name without one.

Not every application says so in the database: some set the search_path at run time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.verification_bodies import sets_path
from ansible_collections.pgops.rollback.plugins.module_utils.verification_functions import Function

_SETTINGS = """
SELECT pg_catalog.substr(setting, 13) FROM pg_catalog.pg_db_role_setting s
CROSS JOIN pg_catalog.unnest(s.setconfig) AS setting
WHERE s.setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()))
  AND pg_catalog.starts_with(setting, 'search_path=')
UNION SELECT pg_catalog.current_setting('search_path')
"""
_ELEMENT = re.compile(r'"((?:[^"]|"")*)"|([^\s,"]+)')
_USERS_OWN = "$user"


class SearchPaths:
    """:ivar _usual: schemas on the path of this session, of any role, or of any function."""

    def __init__(self, cursor: Any, functions: Iterable[Function]) -> None:
        cursor.execute("SELECT current_user::text")
        self._user = cursor.fetchone()[0]
        cursor.execute(_SETTINGS)
        paths = {path for (path,) in cursor.fetchall()} | {each.search_path or "" for each in functions}
        self._usual = {schema for path in paths for schema in _schemas(path)} | {"pg_catalog", self._user}

    def of(self, function: Function) -> tuple[frozenset[str] | None, bool]:
        """The schemas, None where they may be any; and whether they are all, since the function sets them itself."""
        own = _schemas(function.search_path or "")
        if sets_path(function.body) or _USERS_OWN in own:
            return None, False
        if function.search_path is not None:
            return frozenset({"pg_catalog", *own}), True
        return frozenset({function.schema, *self._usual}), False


def _schemas(path: str) -> set[str]:
    return {quoted.replace('""', '"') or plain for quoted, plain in _ELEMENT.findall(path)} - {""}
