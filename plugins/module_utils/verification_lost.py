# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What was there and is not any more: as a list says, and as a baseline shows. What has moved is not where it was."""

from __future__ import annotations

from ansible_collections.pgops.rollback.plugins.module_utils.catalog_snapshot import Snapshot
from ansible_collections.pgops.rollback.plugins.module_utils.names import quote_name
from ansible_collections.pgops.rollback.plugins.module_utils.verification_comparison import Comparison
from ansible_collections.pgops.rollback.plugins.module_utils.verification_names import (
    COLUMN_NAME,
    NAMED_AS,
    RELATION_NAME,
    Named,
    named_by,
)


def listed(gone: list[dict[str, str]]) -> set[Named]:
    """Of the option ``gone`` what a body may name, if it is given with its schema.

    :raises RollbackError: ``name_invalid``.
    """
    found = set()
    for entry in gone:
        named = named_by(entry["kind"].replace("_", " "), entry["name"])
        if named and len(named.parts) == (3 if named.what == COLUMN_NAME else 2):
            found.add(named)
    return found


def dropped(comparison: Comparison) -> set[Named]:
    """What the baseline has and the database has not; of tables that live on, columns, too."""
    then, now = comparison.baseline.snapshot, comparison.now
    found = set()
    for kind, name in then.objects.keys() - now.objects.keys():
        named = None if kind in comparison.not_compared else named_by(kind, name)
        if named and (named.what != COLUMN_NAME or _relation_lives(now, named.parts[:2])):
            found.add(named)
    return found


def _relation_lives(now: Snapshot, parts: tuple[str, ...]) -> bool:
    return any((kind, quote_name(*parts)) in now.objects for kind, what in NAMED_AS.items() if what == RELATION_NAME)
