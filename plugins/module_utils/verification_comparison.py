# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A database beside its baseline: the differences, sorted by what they mean to the people who use it."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.baseline import Baseline
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_difference import Difference, compare
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_identity import renamings
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_snapshot import Snapshot, read_snapshot
from ansible_collections.pgops.rollback.plugins.module_utils.names import QUARANTINE

#: What a difference is about: who sees which rows; who may do what; what breaks; what nobody notices; what is more.
ROW_SECURITY, ACCESS, OBJECTS, DETAILS, ADDITIONS = "row_security", "access", "objects", "details", "additions"

#: What the sentence of an object that is not there any more ends with.
GONE = "is gone"

_ATTRIBUTES = {
    "row_security": ROW_SECURITY, "row_security_forced": ROW_SECURITY, "owner": ACCESS, "privileges": ACCESS,
    "bypass_rls": ROW_SECURITY, "superuser": ACCESS, "login": ACCESS, "inherit": ACCESS, "create_role": ACCESS,
    "create_db": ACCESS, "replication": ACCESS, "member_of": ACCESS, "connection_limit": ACCESS,
    "comment": DETAILS, "column_comments": DETAILS, "statistics_target": DETAILS, "clustered": DETAILS,
}  # fmt: skip

_KINDS = {"policy": ROW_SECURITY, "default privileges": ACCESS}


@dataclass(frozen=True)
class Comparison:
    """:ivar differences: what each is about, the object and a sentence without its full stop.
    :ivar not_compared: kinds that the role may not read, now or when the baseline was taken.
    :ivar renamed: by kind and name then, the name now.
    """

    baseline: Baseline
    now: Snapshot
    differences: list[tuple[str, str, str]]
    not_compared: list[str]
    renamed: dict[tuple[str, str], str]

    def about(self, what: str) -> list[tuple[str, str]]:
        return [(label, text) for about, label, text in self.differences if about == what]


def compare_with_baseline(connection: Any, baseline: Baseline, explained: Set[str], count_rows: bool) -> Comparison:
    """:param connection: in autocommit mode.
    :param explained: objects whose difference is known, such as ``table public.orders``.
    :param count_rows: where the baseline has exact counts, which reads every table.
    :raises RollbackError: of read_snapshot(), and ``baseline_foreign``.
    """
    then = baseline.snapshot
    exact = count_rows and then.rows_are == "exact"
    now = read_snapshot(connection, "exact" if exact else "none", schemas=then.schemas)
    baseline.require_same_database(now)
    difference = compare(then, now)
    renamed = {(each.kind, each.before): each.name for each in renamings(then, now)}
    return Comparison(baseline, now, _sorted(difference, explained, renamed), difference.not_compared, renamed)


def _sorted(
    difference: Difference, explained: Set[str], renamed: dict[tuple[str, str], str]
) -> list[tuple[str, str, str]]:
    found = []
    for single in difference.dropped:
        if not single.within:
            text = f"is {renamed[single.object.key]} now" if single.object.key in renamed else GONE
            found.append((_KINDS.get(single.object.kind, OBJECTS), single.object.label, text))
    for alteration in difference.altered:
        for name, values in alteration.attributes.items():
            about = _KINDS.get(alteration.after.kind) or _ATTRIBUTES.get(name, OBJECTS)
            one = replace(alteration, attributes={name: values})
            found += [(about, alteration.after.label, text) for text in one.texts()]
    later = {(kind, name) for (kind, _before), name in renamed.items()}
    for single in difference.created:
        in_quarantine = (single.object.schema or single.object.name).startswith(QUARANTINE)
        if not single.within and single.object.key not in later and not in_quarantine:
            # A policy that is new shows more rows, or fewer.
            found.append((_KINDS.get(single.object.kind, ADDITIONS), single.object.label, "is new"))
    return [each for each in found if each[1] not in explained]
