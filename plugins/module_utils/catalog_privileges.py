# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Access privileges as the catalogs print them, by role name and in words."""

from __future__ import annotations

import re
from functools import lru_cache

#: What everybody has, as GRANT … TO PUBLIC calls it; no role can have this name.
EVERYBODY = "public"

_WORDS = {
    "r": "SELECT", "a": "INSERT", "w": "UPDATE", "d": "DELETE", "D": "TRUNCATE", "x": "REFERENCES", "t": "TRIGGER",
    "m": "MAINTAIN", "X": "EXECUTE", "U": "USAGE", "C": "CREATE", "c": "CONNECT", "T": "TEMPORARY", "s": "SET",
    "A": "ALTER SYSTEM",
}  # fmt: skip

_ELEMENT = re.compile(r'"((?:[^"\\]|\\.)*)"|([^,{}]+)')
_ITEM = re.compile(r'("(?:[^"]|"")*"|[^=]*)=([A-Za-z*]*)/(.*)', re.DOTALL)


@lru_cache(maxsize=10_000)
def privileges(acl: str, owner: str | None) -> dict[str, list[str]]:
    """Privileges by grantee, sorted: ``{"anon": ["SELECT"], "bob": ["INSERT", "UPDATE WITH GRANT OPTION"]}``.

    :param acl: an ``aclitem[]`` as text.
    :param owner: a grantor who is another is named: ``SELECT BY bob``.
    :returns: shared by all objects that have the same.
    """
    found: dict[str, list[str]] = {}
    for quoted, plain in _ELEMENT.findall(acl):
        item = _ITEM.fullmatch(re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL) if quoted else plain)
        if item is None:
            raise ValueError(f"no access privilege: {acl}")
        grantor = _role(item.group(3))
        by = "" if grantor == owner else f" BY {grantor}"
        words = [
            _WORDS[letter] + (" WITH GRANT OPTION" if star else "") + by
            for letter, star in re.findall(r"(\w)(\*?)", item.group(2))
        ]
        found.setdefault(_role(item.group(1)) or EVERYBODY, []).extend(words)
    return {grantee: sorted(found[grantee]) for grantee in sorted(found) if found[grantee]}


def _role(text: str) -> str:
    return text[1:-1].replace('""', '"') if text.startswith('"') else text
