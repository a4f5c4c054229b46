# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rollback manifest of a migration: what it created, and so may be torn down, and what it only touched or found.

Of the two baselines of a migration it says:

``tables``, ``functions``, ``sequences``
    what the migration created, as SQL writes the names; functions with their argument types. These are what a rollback
    works on.
``created``
    everything it created, with ``kind`` and ``name``. What belongs to a created table is not named again.
``altered``, ``dropped``
    what was there before and is different or gone, with the definition before.
``protected``
    tables, views, functions and so on that were there before. A rollback must not take them.
``checks``
    empty; the place for the user's own (see manifest_checks).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.baseline import Baseline
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_difference import compare
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_object import PART_OF_RELATION, CatalogObject
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.report_files import make_directory, write_new_file

FORMAT_VERSION = 1

#: What a rollback addresses by name, by the kinds of objects that it is.
_TABLES = ("table", "foreign table")
_ROUTINES = ("function", "procedure", "aggregate")


def make_manifest(before: Baseline, after: Baseline) -> dict[str, Any]:
    """:raises RollbackError: ``baseline_foreign``, ``baselines_unfit`` when they are not the two of one migration."""
    if (before.moment, after.moment) != ("before", "after") or before.migration != after.migration:
        raise _unfit(f"{before.moment} {before.migration} and {after.moment} {after.migration}")
    if before.snapshot.taken_at > after.snapshot.taken_at:
        raise _unfit(f"the one before was taken at {before.taken_at}, after the other ({after.taken_at})")
    if before.snapshot.schemas != after.snapshot.schemas:
        raise _unfit("they are of different schemas")
    before.require_same_database(after.snapshot)
    difference = compare(before.snapshot, after.snapshot)
    created = [each for each in difference.created if not each.within]
    names = {each.object.name: each.object for each in difference.created}
    return {
        "format_version": FORMAT_VERSION,
        "name": before.migration,
        "database": before.snapshot.database,
        "before": _origin(before),
        "after": _origin(after),
        "tables": _of_kinds(names, _TABLES),
        "functions": _of_kinds(names, _ROUTINES),
        "sequences": _of_kinds(names, ("sequence",)),
        "checks": [],
        "created": [_reference(each.object) for each in created],
        "altered": [
            {
                **_reference(each.before),
                "attributes": {name: {"before": old, "after": new} for name, (old, new) in each.attributes.items()},
            }
            for each in difference.altered
        ],
        "dropped": [
            {**_reference(each.object), "before": each.object.attributes} for each in difference.dropped
        ],
        "protected": [
            _reference(each) for key, each in before.snapshot.objects.items()
            if each.kind not in PART_OF_RELATION and key in after.snapshot.objects
        ],
        "not_compared": _unread(before) + _unread(after),
    }  # fmt: skip


def write_manifest(path: Path, manifest: dict[str, Any]) -> bool:
    """Write it, unless exactly this is there already.

    :returns: whether it was written.
    :raises RollbackError: ``manifest_exists``, ``artifacts_unwritable``.
    """
    text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
    try:
        make_directory(path.parent)
        write_new_file(path, text)
    except FileExistsError as error:
        if path.read_text(encoding="utf-8") == text:
            return False
        raise RollbackError(
            "manifest_exists",
            f"There is another manifest {path} already; it may have been edited, so it is not overwritten.",
            "Move it away to have it made anew.",
        ) from error
    except OSError as error:
        raise RollbackError(
            "artifacts_unwritable",
            f"The manifest cannot be written to {path}: {error.strerror}.",
            "Set rollback_artifacts_dir to a directory that this user may write to and that has room.",
        ) from error
    return True


def _origin(baseline: Baseline) -> dict[str, str]:
    return {
        "taken_at": baseline.taken_at,
        "operator": baseline.operator,
        "fingerprint": baseline.snapshot.fingerprint,
    }


def _of_kinds(objects: dict[str, CatalogObject], kinds: tuple[str, ...]) -> list[str]:
    return sorted(name for name, each in objects.items() if each.kind in kinds)


def _reference(each: CatalogObject) -> dict[str, Any]:
    return {"kind": each.kind, "name": each.name}


def _unread(baseline: Baseline) -> list[dict[str, str]]:
    return [{"moment": baseline.moment, **each} for each in baseline.snapshot.unreadable]


def _unfit(what: str) -> RollbackError:
    return RollbackError(
        "baselines_unfit",
        f"These are not the two baselines of one migration: {what}.",
        "Take one with baseline.yml before the migration and one with manifest.yml after it, under the same name.",
    )
