# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is different between two catalog snapshots, object by object, and how to say it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.catalog_object import (
    PART_OF_RELATION,
    SYSTEM_PRIVILEGES,
    WHOLES,
    CatalogObject,
)
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_snapshot import Snapshot
from ansible_collections.pgops.rollback.plugins.module_utils.names import quote_name

#: Attributes that are on or off: what the sentence calls them.
_SWITCHES = {
    "row_security": "row level security",
    "row_security_forced": "row level security of the owner, too,",
}

#: What a role can do or not, in words for both.
_ABILITIES = {
    "superuser": ("is a superuser; it was not", "is not a superuser; it was"),
    "bypass_rls": ("bypasses row level security; it did not", "does not bypass row level security; it did"),
    "login": ("can log in; it could not", "cannot log in; it could"),
    "inherit": ("inherits the privileges of what it is a member of; it did not",
                "does not inherit the privileges of what it is a member of; it did"),
    "create_role": ("can create roles; it could not", "cannot create roles; it could"),
    "create_db": ("can create databases; it could not", "cannot create databases; it could"),
    "replication": ("can replicate; it could not", "cannot replicate; it could"),
}  # fmt: skip

#: A longer definition is in the details, not in the sentence.
_LONGEST = 120


@dataclass(frozen=True)
class Single:
    """An object that is in one snapshot only.

    :ivar within: the label of what it came or went with; empty when it is not a part of anything that did.
    """

    object: CatalogObject
    within: str = ""


@dataclass(frozen=True)
class Alteration:
    """:ivar attributes: those that differ, with the value before and after; None where there was, or is, none."""

    before: CatalogObject
    after: CatalogObject
    attributes: dict[str, tuple[Any, Any]]

    def texts(self) -> list[str]:
        """A sentence without its full stop for each attribute, and for privileges one for each role."""
        label = self.after.label
        if self.after.kind == SYSTEM_PRIVILEGES:
            label = self.after.name.replace("on ", "system ", 1)
        return [text for name, (old, new) in self.attributes.items() for text in _altered(label, name, old, new)]


@dataclass(frozen=True)
class Difference:
    """:ivar not_compared: kinds that could not be read in one of the two."""

    created: list[Single] = field(default_factory=list)
    dropped: list[Single] = field(default_factory=list)
    altered: list[Alteration] = field(default_factory=list)
    not_compared: list[str] = field(default_factory=list)

    def texts(self) -> list[str]:
        """Every difference in a sentence without its full stop; parts of what came or went are not named again."""
        return [
            *(f"{each.object.label} is gone" for each in self.dropped if not each.within),
            *(text for each in self.altered for text in each.texts()),
            *(f"{each.object.label} is new" for each in self.created if not each.within),
        ]


def compare(before: Snapshot, after: Snapshot) -> Difference:
    """By name; both of the same schemas. Rows, and where sequences stand, are not part of it."""
    unread = {each["kind"] for snapshot in (before, after) for each in snapshot.unreadable if each["name"] == "*"}
    old = {key: each for key, each in before.objects.items() if each.kind not in unread}
    new = {key: each for key, each in after.objects.items() if each.kind not in unread}
    for one, other in ((old, new), (new, old)):
        one |= {key: _as_made(each) for key, each in other.items() if each.kind == SYSTEM_PRIVILEGES and key not in one}
    hidden = {(each["kind"], each["name"]) for snapshot in (before, after) for each in snapshot.unreadable}
    altered = [
        Alteration(each, new[key], _different(each, new[key], key in hidden)) for key, each in old.items()
        if key in new and each.attributes != new[key].attributes
    ]  # fmt: skip
    return Difference(
        created=_singles(each for key, each in new.items() if key not in old),
        dropped=_singles(each for key, each in old.items() if key not in new),
        altered=[each for each in altered if each.attributes],
        not_compared=sorted(unread),
    )


def _singles(objects: Iterable[CatalogObject]) -> list[Single]:
    found = list(objects)
    wholes = {each.name: each.label for each in found if each.kind in WHOLES}
    constraints = {each.name: each.label for each in found if each.kind == "constraint"}
    columns = {each.name: each.label for each in found if each.kind == "column"}

    def within(each: CatalogObject) -> str:
        if each.kind in PART_OF_RELATION:
            whole = wholes.get(quote_name(each.schema, each.relation), "")
            return whole or (constraints.get(each.name, "") if each.kind == "index" else "")
        # A column's own sequence.
        return columns.get(each.attributes.get("owned_by", ""), "")

    return [Single(each, within(each)) for each in sorted(found, key=lambda each: each.key)]


def _as_made(each: CatalogObject) -> CatalogObject:
    """Privileges on a system object are in a snapshot only where they are not what they were made."""
    return replace(each, attributes={**each.attributes, "privileges": each.attributes["initially"]})


def _different(before: CatalogObject, after: CatalogObject, hidden: bool) -> dict[str, tuple[Any, Any]]:
    """:param hidden: the role could not read all of it, then or now."""
    old, new = before.attributes, after.attributes
    names = sorted(old.keys() | new.keys())
    if hidden and before.kind == "user mapping":
        names = [name for name in names if name not in ("option_names", "options_sha256")]
    found = {name: (old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)}
    if "owner" in found and "privileges" in found:
        # What belongs to the owner goes along with the ownership.
        moved = {(new["owner"] if role == old["owner"] else role): words for role, words in old["privileges"].items()}
        found["privileges"] = (moved, new["privileges"])
        if moved == new["privileges"]:
            del found["privileges"]
    return found


def _altered(label: str, name: str, old: Any, new: Any) -> list[str]:
    if name == "privileges":
        return _privileges(label, old or {}, new or {})
    if name == "member_of":
        return _memberships(label, old or [], new or [])
    if name == "definition_sha256":
        return []  # the definition beside it is different, too
    return [_sentence(label, name, old, new)]


def _sentence(label: str, name: str, old: Any, new: Any) -> str:
    if name in _SWITCHES:
        return f"{_SWITCHES[name]} of {label} is {_switch(new)}; it was {_switch(old)}"
    if name in _ABILITIES:
        return f"{label} {_ABILITIES[name][not new]}"
    if name == "owner":
        return f"{label} belongs to {new}; it belonged to {old}"
    return _changed(label, "NOT NULL" if name == "not_null" else name.replace("_", " "), old, new)


def _changed(label: str, what: str, old: Any, new: Any) -> str:
    if isinstance(old, bool) or isinstance(new, bool):
        return f"{label} is {what}; it was not" if new else f"{label} is not {what}; it was"
    if new is None:
        return f"{label} has lost its {what}, which was {_short(old)}"
    if old is None:
        return f"{label} has {what} {_short(new)}; it had none"
    return f"{what} of {label} is {_short(new)}; it was {_short(old)}"


def _privileges(label: str, old: dict[str, list[str]], new: dict[str, list[str]]) -> list[str]:
    texts = []
    for role in sorted(old.keys() | new.keys()):
        lost = [word for word in old.get(role, []) if word not in new.get(role, [])]
        gained = [word for word in new.get(role, []) if word not in old.get(role, [])]
        texts += [f"{role} lost {', '.join(lost)} on {label}"] if lost else []
        texts += [f"{role} gained {', '.join(gained)} on {label}"] if gained else []
    return texts


def _memberships(label: str, old: list[str], new: list[str]) -> list[str]:
    return [
        *(f"{label} is not a member of {role}; it was" for role in old if role not in new),
        *(f"{label} is a member of {role}; it was not" for role in new if role not in old),
    ]


def _switch(value: Any) -> str:
    return "on" if value else "off"


def _short(value: Any) -> str:
    """On one line, and not for ever."""
    text = " ".join((", ".join(map(str, value)) if isinstance(value, list) else str(value)).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
