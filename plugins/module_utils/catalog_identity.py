# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which objects of two snapshots are one and the same under another name: those that kept their OID.

By name alone a table that was renamed is one that is gone and one that is new, and what is new may be torn down.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.catalog_object import (
    PART_OF_RELATION,
    WHOLES,
    CatalogObject,
)
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_snapshot import Snapshot
from ansible_collections.pgops.rollback.plugins.module_utils.names import parse_name, quote_name, split_signature

Key = tuple[str, str]

_PART = re.compile(r'"(?:[^"]|"")+"|[^\W\d][\w$]*')

#: A name in a definition, with all its parts: perhaps a column's.
_NAME = re.compile(rf"(?:{_PART.pattern})(?:\.(?:{_PART.pattern}))*")


@dataclass(frozen=True)
class Renaming:
    """:ivar name: now; with another schema where it was moved."""

    kind: str
    name: str
    before: str


@dataclass(frozen=True)
class Renamed:
    """A snapshot with the names that its objects have in a later one.

    :ivar displaced: objects whose name another one has now, and which are not there any more.
    """

    snapshot: Snapshot
    renamings: list[Renaming]
    displaced: list[CatalogObject]

    def only_by_name(self, old: Any, new: Any) -> bool:
        """Whether an attribute is another one just because it tells the name of what was renamed."""
        return bool(self.renamings) and bool(self._later(old) == new)

    @cached_property
    def _names(self) -> dict[str, str]:
        """Definitions tell the names of functions without their types."""
        return {split_signature(each.before)[0]: split_signature(each.name)[0] for each in self.renamings}

    def _later(self, value: Any) -> Any:
        if isinstance(value, str):
            return _NAME.sub(self._later_name, value)
        return [self._later(each) for each in value] if isinstance(value, list) else value

    def _later_name(self, match: re.Match[str]) -> str:
        parts = _PART.findall(match[0])
        for length in range(len(parts), 0, -1):
            name = self._names.get(".".join(parts[:length]))
            if name is not None:
                return ".".join([name, *parts[length:]])
        return match[0]


def under_later_names(before: Snapshot, after: Snapshot) -> Renamed:
    renamed = renamings(before, after)
    now = {(each.kind, each.before): after.objects[each.kind, each.name] for each in renamed}
    wholes = {name: each for (kind, name), each in now.items() if kind in WHOLES}
    objects: dict[Key, CatalogObject] = {}
    others = []
    for each in before.objects.values():
        later = now.get(each.key)
        whole = wholes.get(quote_name(each.schema, each.relation)) if each.kind in PART_OF_RELATION else None
        if later is not None:
            objects[later.key] = replace(each, name=later.name, schema=later.schema)
        elif whole is not None:
            part = _part_of(whole, each, after)
            objects[part.key] = part
        else:
            others.append(each)
    displaced = [each for each in others if each.key in objects]
    objects |= {each.key: each for each in others if each.key not in objects}
    return Renamed(replace(before, objects=dict(sorted(objects.items()))), renamed, displaced)


def oids_tell(before: Snapshot, after: Snapshot) -> bool:
    """OIDs mean nothing beyond their database: not in one that was made again, nor in one of another cluster."""
    clusters = {before.system_identifier, after.system_identifier}
    databases = [each.identities.get("database") for each in (before, after)]
    return len(clusters) == 1 and None not in clusters and databases[0] == databases[1] and databases[0] is not None


def renamings(before: Snapshot, after: Snapshot) -> list[Renaming]:
    if not oids_tell(before, after):
        return []
    found = []
    for kind, oids in before.identities.items():
        names = {oid: name for name, oid in after.identities.get(kind, {}).items()}
        found += [
            Renaming(kind, names[oid], name) for name, oid in oids.items()
            if names.get(oid, name) != name and (kind, name) in before.objects and (kind, names[oid]) in after.objects
        ]  # fmt: skip
    return sorted(found, key=lambda each: (each.kind, each.name))


def _part_of(whole: CatalogObject, part: CatalogObject, after: Snapshot) -> CatalogObject:
    """A column, a constraint and so on, under its relation's later name."""
    old = quote_name(part.schema, part.relation)
    name = whole.name + part.name[len(old) :] if part.kind == "column" else part.name[: -len(old)] + whole.name
    renamed = replace(part, name=name, schema=whole.schema, relation=parse_name(whole.name, whole.kind)[-1])
    later = after.objects.get(renamed.key)
    if part.kind == "column" and later is not None and "not_null_constraint" in later.attributes:
        # It was not told while its name was the one that the server makes of the relation's.
        usual = f"{part.relation}_{parse_name(part.name, part.kind)[-1]}_not_null"
        return replace(renamed, attributes={"not_null_constraint": usual, **part.attributes})
    return renamed
