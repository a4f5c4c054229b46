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
``renamed``
    what was there before and has another name, or is in another schema, with the name ``before``. It is protected, too.
``protected``
    tables, views, functions and so on that were there before. A rollback must not take them.
``history``
    the row of Supabase's history that came between the two, where it is exactly one (see teardown_history).
``checks``
    empty; the place for the user's own (see manifest_checks).
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.baseline import Baseline
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_difference import Alteration, compare
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_identity import Renamed, under_later_names
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
    renamed = under_later_names(before.snapshot, after.snapshot)
    difference = compare(renamed.snapshot, after.snapshot)
    created = [each.object for each in difference.created]
    return {
        "format_version": FORMAT_VERSION,
        "name": before.migration,
        "database": before.snapshot.database,
        "before": _origin(before),
        "after": _origin(after),
        "tables": _of_kinds(created, _TABLES),
        "functions": _of_kinds(created, _ROUTINES),
        "sequences": _of_kinds(created, ("sequence",)),
        **_history(before, after),
        "checks": [],
        "created": [_reference(each.object) for each in difference.created if not each.within],
        "altered": [
            {
                **_reference(each.before),
                "attributes": {name: {"before": old, "after": new} for name, (old, new) in attributes.items()},
            }
            for each in difference.altered if (attributes := _altered(each, renamed))
        ],
        "dropped": [
            {**_reference(each), "before": each.attributes}
            for each in sorted([*(each.object for each in difference.dropped), *renamed.displaced],
                               key=lambda each: each.key)
        ],
        "renamed": [asdict(each) for each in renamed.renamings],
        "protected": [
            _reference(each) for key, each in renamed.snapshot.objects.items()
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


def _history(before: Baseline, after: Baseline) -> dict[str, Any]:
    """Several are of several migrations, and none of them is certain to be this one's."""
    if before.history is None or after.history is None:
        return {}
    new = set(after.history) - set(before.history)
    return {"history": {"value": new.pop()}} if len(new) == 1 else {}


def _origin(baseline: Baseline) -> dict[str, str]:
    return {
        "taken_at": baseline.taken_at,
        "operator": baseline.operator,
        "fingerprint": baseline.snapshot.fingerprint,
    }


def _of_kinds(objects: list[CatalogObject], kinds: tuple[str, ...]) -> list[str]:
    return sorted(each.name for each in objects if each.kind in kinds)


def _altered(alteration: Alteration, renamed: Renamed) -> dict[str, tuple[Any, Any]]:
    """The attributes that differ in more than the name of what was renamed."""
    attributes = {
        name: values for name, values in alteration.attributes.items() if not renamed.only_by_name(*values)
    }
    if "definition" not in attributes and "definition" in alteration.attributes:
        attributes.pop("definition_sha256", None)
    return attributes


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
