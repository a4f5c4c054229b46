# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where the objects of a teardown come from, by the baselines: what was there before the migration is not its own.

The migration may have found a table there (CREATE TABLE IF NOT EXISTS) and gone on: a rollback that drops it destroys
what the migration never made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.baseline import Baseline
from ansible_collections.pgops.rollback.plugins.module_utils.blast_radius import BlastRadius
from ansible_collections.pgops.rollback.plugins.module_utils.blocker import MOST_NAMED, Blocker
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_difference import compare
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_identity import under_later_names
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_object import PART_OF_RELATION, CatalogObject
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_snapshot import Snapshot
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.names import quote_name
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_targets import Target, Targets
from ansible_collections.pgops.rollback.plugins.module_utils.wording import listed

UNKNOWN_OVERRIDE = "teardown_allow_unknown_provenance"
OBJECT_OVERRIDE = "teardown_override_provenance"

#: Kinds that one name can stand for: a table may have been replaced by a foreign table of the same name.
_ALIKE = (("table", "foreign table"), ("function", "procedure", "aggregate"), ("sequence",))

_RELATION_KINDS = ("table", "foreign table", "view", "materialized view", "sequence")
_RELATIONS_THERE = "SELECT w.name FROM unnest(%s::text[]) AS w (name) WHERE to_regclass(w.name) IS NOT NULL"
_ROUTINES_THERE = """
SELECT n.nspname, p.proname, array_to_string(ARRAY (
           SELECT format_type(a.type, NULL) FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY AS a (type, place)
           ORDER BY a.place), ', ')
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = ANY (%s::text[])
"""


@dataclass(frozen=True)
class Provenance:
    """:ivar before: the baseline from before the migration, or None.
    :ivar after: the one from after it, or None.
    :ivar missing: path of a baseline from before it that is not there; empty where none was looked for.
    :ivar allow_unknown: whether objects of unknown origin may go.
    :ivar overridden: names of objects that may go though they were there before.
    :ivar oids_tell: whether the baseline before is of this very database, so that what was renamed since has kept the
        OID that the baseline has of it.
    :ivar origins: of what is in a quarantine by now, where it was: schema and name by catalog and OID.
    """

    before: Baseline | None = None
    after: Baseline | None = None
    missing: str = ""
    allow_unknown: bool = False
    overridden: frozenset[str] = field(default_factory=frozenset)
    oids_tell: bool = False
    origins: Mapping[tuple[str, int], tuple[str, str]] = field(default_factory=dict)

    def require_fit(self, now: Snapshot) -> None:
        """:raises RollbackError: ``baseline_foreign``, ``baselines_unfit``."""
        for baseline, moment in ((self.before, "before"), (self.after, "after")):
            if baseline is None:
                continue
            baseline.require_same_database(now)
            if baseline.moment != moment:
                raise _unfit(f"the one given as {moment} was taken {baseline.moment} the migration")
        if self.before and self.after and self.before.migration != self.after.migration:
            raise _unfit(f"they are of two migrations, {self.before.migration} and {self.after.migration}")


def provenance_blockers(provenance: Provenance, targets: Targets) -> list[Blocker]:
    """One for each object that was there before, and one for all whose origin nobody knows."""
    # A sequence of a column has the origin of its table.
    objects = [each for each in targets.objects if not (each.kind == "sequence" and each.through)]
    found, unknown = [], []
    for each in objects:
        was_there = _was_there(provenance, each)
        earlier = _earlier_name(provenance, each) or _origin(provenance, each)[1]
        if was_there is None:
            unknown.append(each.name)
        elif was_there and each.name not in provenance.overridden:
            called = f" as {earlier}" if earlier not in ("", each.name) else ""
            found.append(Blocker(
                "provenance_older",
                f"The {each.label} was there before the migration{called}, by the baseline: the migration did not"
                " create it.",
                f"Take it out of the manifest, or name it in {OBJECT_OVERRIDE} if it is to go all the same.",
                OBJECT_OVERRIDE,
            ))  # fmt: skip
    if unknown and not provenance.allow_unknown:
        why = "the baseline from before the migration does not cover them"
        if provenance.origins:
            why = "no teardown of this host moved them there"
        elif provenance.before is None:
            why = f"there is no {provenance.missing}" if provenance.missing else "no baseline from before it was given"
        found.append(Blocker(
            "provenance_unknown",
            f"Nobody knows whether the migration created {listed(unknown, MOST_NAMED)}: {why}.",
            f"Give the baseline, or set {UNKNOWN_OVERRIDE} if you are certain that all of it may go.",
            UNKNOWN_OVERRIDE,
        ))  # fmt: skip
    return found


def provenance_warnings(provenance: Provenance, targets: Targets) -> list[Blocker]:
    found = []
    names = {each.name for each in targets.objects if _was_there(provenance, each)}
    unused = sorted(provenance.overridden - names)
    if unused:
        found.append(Blocker(
            "override_unused",
            f"{OBJECT_OVERRIDE} names {listed(unused, MOST_NAMED)}, which overrides nothing.",
            "Write the names as the plan writes them, or take them out.",
        ))  # fmt: skip
    migration = provenance.before.migration if provenance.before else ""
    if migration and targets.manifest["name"] and migration != targets.manifest["name"]:
        found.append(Blocker(
            "baseline_name",
            f"The baseline is of the migration {migration}, and the manifest is called {targets.manifest['name']}.",
            "See that they belong together: an older baseline does not know what other migrations created since.",
        ))  # fmt: skip
    return found


def read_drift(cursor: Any, provenance: Provenance, targets: Targets, radius: BlastRadius) -> list[dict[str, str]]:
    """Where manifest, migration and database differ: ``missing``, ``overload`` or ``not_in_manifest``."""
    drift = [
        {"kind": kind, "name": name, "problem": "missing",
         "detail": f"The manifest names the {kind} {name}, and the database has none."}
        for kind, name in targets.missing
    ]  # fmt: skip
    drift += [
        {"kind": "function", "name": name, "problem": "overload",
         "detail": f"The manifest does not name {name}, an overload of one that it names: it stays."}
        for name in targets.overloads
    ]  # fmt: skip
    for each in _created_besides(cursor, provenance, targets, radius):
        drift.append({
            "kind": each.kind, "name": each.name, "problem": "not_in_manifest",
            "detail": f"The migration created the {each.label}, and the manifest does not name it: it stays.",
        })  # fmt: skip
    return sorted(drift, key=lambda each: (each["problem"], each["kind"], each["name"]))


def _was_there(provenance: Provenance, target: Target) -> bool | None:
    """None where nobody tells."""
    if provenance.before is None:
        # That it may go was seen to when it was moved away.
        return False if (target.catalog, target.oid) in provenance.origins else None
    snapshot = provenance.before.snapshot
    if _earlier_name(provenance, target):
        return True
    schema, name = _origin(provenance, target)
    if snapshot.schemas is not None and schema not in snapshot.schemas:
        return None
    alike = next(kinds for kinds in _ALIKE if target.kind in kinds)
    unread = {each["kind"] for each in snapshot.unreadable if each["name"] == "*"}
    if unread & set(alike):
        return None
    return any((kind, name) in snapshot.objects for kind in alike)


def _origin(provenance: Provenance, target: Target) -> tuple[str, str]:
    """Schema and name that the migration, or whoever came before it, gave the object."""
    return provenance.origins.get((target.catalog, target.oid), (target.schema, target.name))


def _earlier_name(provenance: Provenance, target: Target) -> str:
    """What the baseline calls the very object; empty where it does not know it, or cannot tell."""
    if provenance.before is None or not provenance.oids_tell:
        return ""
    identities = provenance.before.snapshot.identities
    alike = next(kinds for kinds in _ALIKE if target.kind in kinds)
    return next(
        (name for kind in alike for name, oid in identities.get(kind, {}).items() if oid == target.oid), ""
    )


def _created_besides(
    cursor: Any, provenance: Provenance, targets: Targets, radius: BlastRadius
) -> list[CatalogObject]:
    """What the migration created, that is neither of the plan nor a part of anything, and is still there."""
    if provenance.before is None or provenance.after is None:
        return []
    planned = {each.label for each in targets.objects} | {each.label for each in radius.dropped}
    planned |= {each.label for each in radius.closure.described.values()}
    tables = {each.name for each in targets.tables}

    def besides(each: CatalogObject) -> bool:
        of_a_table = each.kind in PART_OF_RELATION and quote_name(each.schema, each.relation) in tables
        return each.label not in planned and not of_a_table

    before = under_later_names(provenance.before.snapshot, provenance.after.snapshot).snapshot
    difference = compare(before, provenance.after.snapshot)
    created = [each.object for each in difference.created if not each.within and besides(each.object)]
    there = _still_there(cursor, created)
    return [each for each in created if each.label in there]


def _still_there(cursor: Any, objects: list[CatalogObject]) -> set[str]:
    """Labels. Of kinds that cannot be looked up by name it is assumed."""
    cursor.execute(_RELATIONS_THERE, ([each.name for each in objects if each.kind in _RELATION_KINDS],))
    relations = {name for (name,) in cursor.fetchall()}
    cursor.execute(_ROUTINES_THERE, (sorted({each.schema for each in objects}),))
    routines = {f"{quote_name(schema, name)}({arguments})" for schema, name, arguments in cursor.fetchall()}

    def there(each: CatalogObject) -> bool:
        if each.kind in _RELATION_KINDS:
            return each.name in relations
        return each.kind not in ("function", "procedure", "aggregate") or each.name in routines

    return {each.label for each in objects if there(each)}


def _unfit(what: str) -> RollbackError:
    return RollbackError(
        "baselines_unfit",
        f"These baselines do not belong together: {what}.",
        "Give the baseline before and the one after the same migration; nothing was done.",
    )
