# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One object of a database as its catalogs describe it: by name, without OIDs."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

#: Objects of these kinds are parts of a relation, whose columns, keys and rules they are.
PART_OF_RELATION = ("column", "constraint", "index", "trigger", "rule", "policy", "publication table")

#: What may have parts.
WHOLES = ("table", "foreign table", "view", "materialized view", "domain")

#: The database itself, and privileges on an object that initdb made.
DATABASE, SYSTEM_PRIVILEGES = "database", "system privileges"

_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode


def canonical(value: Any) -> str:
    """JSON that is the same for equal values: keys sorted, no blanks."""
    return _encode(value)


def digest(text: str) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True)
class CatalogObject:
    """:ivar kind: singular, as SQL calls it: ``table``, ``policy``, ``materialized view`` …
    :ivar name: unique within its kind, quoted where needed: ``public.orders``, ``public.orders.id``,
        ``own_rows on public.orders``, ``public.add(integer, integer)``.
    :ivar schema: unquoted; empty for what is in none.
    :ivar relation: unquoted name of the table or view, or domain, that it is a part of; empty for what stands alone.
    :ivar attributes: JSON values. What has no value, or the one it would have anyway, is left out. Read only: objects
        that are alike share it.
    """

    kind: str
    name: str
    schema: str
    relation: str
    attributes: dict[str, Any]

    @property
    def key(self) -> tuple[str, str]:
        return self.kind, self.name

    @property
    def label(self) -> str:
        """As people say it: ``policy own_rows on public.profiles``."""
        return f"{self.kind} {self.name}"

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of kind, name and attributes."""
        return digest(canonical([self.kind, self.name, self.attributes]))
