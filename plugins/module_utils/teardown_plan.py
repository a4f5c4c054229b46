# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan of a teardown: what goes, what hangs on it, what stands in the way, and the token that confirms it.

The same database with the same baselines and options gives the same plan, wherever it was restored: there is no OID and
no clock in it. The token stands for what would be done, not for what keeps it from being done: a blocker refuses by
itself, and the backup, the rows and the sizes move without anybody's doing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.blast_radius import (
    DROP,
    PURGE,
    BlastRadius,
    read_blast_radius,
)
from ansible_collections.pgops.rollback.plugins.module_utils.blocker import Blocker, in_order
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_identity import oids_tell
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_object import canonical
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_reading import told_why
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_snapshot import Snapshot
from ansible_collections.pgops.rollback.plugins.module_utils.confirmation import token_for
from ansible_collections.pgops.rollback.plugins.module_utils.connection import ServerInfo, cluster_identifier
from ansible_collections.pgops.rollback.plugins.module_utils.dependent import BREAKS, DROPPED, POSSIBLE, Dependent
from ansible_collections.pgops.rollback.plugins.module_utils.driver import sql
from ansible_collections.pgops.rollback.plugins.module_utils.table_content import begin_reading, end_reading
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_backup import (
    REQUIRE_OVERRIDE,
    assess_backup,
    backup_blockers,
    needed_extensions,
)
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_blockers import (
    lock_timeout_blockers,
    pg_dump_blockers,
    situation_blockers,
)
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_history import (
    History,
    HistoryPlan,
    plan_history,
)
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_objects import (
    EXACT,
    Content,
    describe_objects,
    export_estimate,
    read_contents,
)
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_privileges import privilege_blockers
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_provenance import (
    OBJECT_OVERRIDE,
    UNKNOWN_OVERRIDE,
    Provenance,
    provenance_blockers,
    provenance_warnings,
    read_drift,
)
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_quarantine_blockers import (
    quarantine_blockers,
    quarantine_warnings,
)
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_targets import Targets, no_targets, resolve

#: Milliseconds: for a lock that is in the way of reading, and for a statement on the catalogs.
_LOCK_TIMEOUT = 500
_CATALOG_TIMEOUT = 120_000

#: What a token says nothing of, in the plan and in each of its objects.
_NOT_IN_TOKEN = ("token", "rows", "disk", "backup", "blockers", "warnings")
_NOT_OF_OBJECTS = ("rows", "rows_are", "bytes")

_DATABASE = "SELECT oid::bigint FROM pg_database WHERE datname = current_database()"


@dataclass(frozen=True)
class PlanRequest:
    """What is to be planned.

    :ivar manifest: None for nothing at all.
    :ivar mode: one of blast_radius.MODES.
    :ivar records_dir: with the records of backup verifications, or None.
    :ivar require_backup: whether a drop needs one that was drilled.
    :ivar lock_timeout: of the teardown, as its variable says it.
    :ivar count_rows: exactly; else the planner's estimates do.
    :ivar pg_dump_version: of the pg_dump that is going to be used; None to look for one.
    :ivar quarantine: the schema whose content is purged; empty otherwise.
    """

    manifest: Any
    mode: str
    provenance: Provenance = field(default_factory=Provenance)
    records_dir: str | None = None
    require_backup: bool = True
    backup_max_age: timedelta = timedelta(hours=24)
    lock_timeout: str = "500ms"
    count_rows: bool = True
    pg_dump_version: str | None = None
    quarantine: str = ""

    @property
    def drop(self) -> bool:
        return self.mode in (DROP, PURGE)


@dataclass(frozen=True)
class Planned:
    """A plan, and what it was made of: for what acts upon it in the same transaction."""

    plan: dict[str, Any]
    targets: Targets
    radius: BlastRadius
    history: History | None


def make_plan(connection: Any, server: ServerInfo, request: PlanRequest) -> Planned:
    """Read everything in one read-only transaction, whose locks are no stronger than ACCESS SHARE.

    :param connection: in autocommit mode.
    :raises RollbackError: those of read_plan(), ``lock_timeout_invalid``, ``version_invalid``, ``lock_timeout``,
        ``statement_timeout``, ``catalog_changed``.
    :raises psycopg2.Error: what else the database reports.
    """
    blockers = lock_timeout_blockers(request.lock_timeout, server)
    if request.drop:
        blockers += pg_dump_blockers(request.pg_dump_version, server)
    with reading(connection) as cursor:
        return read_plan(cursor, server, request, blockers)


def read_plan(cursor: Any, server: ServerInfo, request: PlanRequest, blockers: list[Blocker]) -> Planned:
    """The plan, in a transaction that is open already.

    :param cursor: in a transaction with the settings of table_content.begin_reading().
    :param blockers: what else stands in the way.
    :raises RollbackError: those of teardown_targets.resolve() and plan_history(), ``baseline_foreign``,
        ``baselines_unfit``.
    """
    provenance = _fitting(cursor, server, request.provenance)
    targets = no_targets() if request.manifest is None else resolve(cursor, request.manifest)
    targets.schema = request.quarantine
    radius = read_blast_radius(cursor, server, targets, request.mode)
    # The row of what is purged went when it was moved.
    of_history = HistoryPlan() if request.mode == PURGE else plan_history(cursor, request.manifest, targets, radius)
    drift = [*read_drift(cursor, provenance, targets, radius), *of_history.drift]
    blockers = [
        *blockers,
        *situation_blockers(cursor, server, targets, radius, request.drop),
        *privilege_blockers(cursor, targets, radius, request.drop),
        *([] if request.drop else quarantine_blockers(cursor, targets, radius)),
        *of_history.blockers,
    ]
    still_seen = [] if request.drop else quarantine_warnings(cursor, targets)
    needed = needed_extensions(cursor, targets)
    # Last: a count that was ended by its time limit goes back to a savepoint.
    contents = read_contents(cursor, targets, request.count_rows)
    objects = describe_objects(cursor, targets, radius, contents)
    backup = assess_backup(request.records_dir, request.backup_max_age, server.database, needed)
    of_backup, warnings = backup_blockers(backup, request.require_backup, request.drop)
    blockers += [*of_backup, *provenance_blockers(provenance, targets)]
    warnings += [
        *provenance_warnings(provenance, targets), *_warnings(server, targets, radius, request), *still_seen,
        *of_history.warnings,
    ]  # fmt: skip
    dependents, survivors = _apart(radius.dependents, targets)
    plan = {
        "token": "",
        "mode": request.mode,
        "database": server.database,
        "manifest": targets.manifest,
        "objects": objects,
        "history": of_history.history.as_json() if of_history.history else None,
        "dependents": [each.as_json() for each in dependents],
        "survivors": [each.as_json() for each in survivors],
        "drift": drift,
        "rows": _total(targets, contents),
        "disk": export_estimate(contents) if request.drop else {"bytes": 0, "seconds": 0},
        "backup": backup,
        # Where nothing goes, nothing stands in the way.
        "blockers": in_order(blockers) if objects else [],
        "warnings": in_order(warnings) if objects else [],
        "overrides": _overrides(request, targets),
    }
    return Planned({**plan, "token": token_of(plan)}, targets, radius, of_history.history)


def token_of(plan: dict[str, Any]) -> str:
    """What confirms the plan."""
    kept = {name: value for name, value in plan.items() if name not in _NOT_IN_TOKEN}
    kept["objects"] = [
        {name: value for name, value in each.items() if name not in _NOT_OF_OBJECTS} for each in plan["objects"]
    ]
    return token_for(canonical(kept))


def summary(plan: dict[str, Any]) -> str:
    """One line for a person."""
    if not plan["objects"]:
        return nothing_to_do(plan)
    effects = Counter(each["effect"] for each in [*plan["dependents"], *plan["survivors"]])
    numbers = (
        (len(plan["objects"]), "goes", "go"), (effects[DROPPED], "goes with them", "go with them"),
        (effects[BREAKS], "breaks", "break"), (effects[POSSIBLE], "may break", "may break"),
    )  # fmt: skip
    text = ", ".join(f"{number} {one if number == 1 else more}" for number, one, more in numbers if number)
    blocked = len(plan["blockers"])
    return f"{plan['mode']} of {plan['database']}: {text}. " + (
        f"{blocked} blocker{'s' if blocked > 1 else ''}." if blocked else f"Token {plan['token']}."
    )


def nothing_to_do(plan: dict[str, Any]) -> str:
    """A sentence."""
    if plan["mode"] == PURGE:
        return "Nothing to do: the database has nothing in a quarantine of this host."
    return "Nothing to do: the database has nothing of what the manifest names."


@contextmanager
def reading(connection: Any) -> Iterator[Any]:
    """A cursor in a transaction that sees one moment, cannot write, and waits for no lock long.

    :raises RollbackError: ``lock_timeout``, ``statement_timeout``, ``catalog_changed``.
    """
    try:
        with told_why():
            begin_reading(connection, lock_timeout_ms=_LOCK_TIMEOUT)
            with connection.cursor() as cursor:
                cursor.execute(sql.SQL("SET LOCAL statement_timeout = {}").format(sql.Literal(_CATALOG_TIMEOUT)))
                yield cursor
    finally:
        if not connection.closed:
            end_reading(connection)


def _fitting(cursor: Any, server: ServerInfo, provenance: Provenance) -> Provenance:
    """:raises RollbackError: of Provenance.require_fit()."""
    cursor.execute(_DATABASE)
    (oid,) = cursor.fetchone()
    identities = {"database": {server.database: oid}}
    identifier = cluster_identifier(cursor)
    now = Snapshot(
        server.database, identifier, server.version_num, server.user, "", objects={}, identities=identities
    )
    provenance.require_fit(now)
    same = provenance.before is not None and oids_tell(provenance.before.snapshot, now)
    return replace(provenance, oids_tell=same)


def _apart(dependents: list[Dependent], targets: Targets) -> tuple[list[Dependent], list[Dependent]]:
    """What goes as a whole, with its parts, and what happens on objects that survive."""
    wholes = {each.name for each in dependents if each.effect == DROPPED and not each.on}
    wholes |= {each.name for each in targets.tables}

    def goes(each: Dependent) -> bool:
        return each.effect == DROPPED and (not each.on or each.on in wholes)

    return [each for each in dependents if goes(each)], [each for each in dependents if not goes(each)]


def _total(targets: Targets, contents: dict[int, Content]) -> dict[str, Any]:
    """Of all tables; partitions have the rows of their parent."""
    counted = [contents[each.oid] for each in targets.tables if each.relkind == "r"]
    known = [each.rows for each in counted if each.rows is not None]
    return {
        "total": sum(known) if len(known) == len(counted) else None,
        "exact": all(each.rows_are == EXACT for each in counted),
    }


def _warnings(
    server: ServerInfo, targets: Targets, radius: BlastRadius, request: PlanRequest
) -> list[Blocker]:
    found = []
    if server.through_pooler and not request.drop:
        found.append(Blocker(
            "pooler",
            "The connection leads through a transaction-mode pooler.",
            "A purge later needs a connection to the server itself.",
        ))  # fmt: skip
    broken = [each for each in radius.dependents if each.effect == BREAKS]
    if broken:
        found.append(Blocker(
            "survivors_break",
            f"{len(broken)} surviving object{'s' if len(broken) > 1 else ''} will fail at run time, first"
            f" {broken[0].label}.",
            "Replace or drop them first, or deploy the application's previous release with the teardown.",
        ))  # fmt: skip
    if targets.missing:
        found.append(Blocker(
            "drift",
            f"The manifest names {len(targets.missing)} object{'s' if len(targets.missing) > 1 else ''} that the"
            " database does not have.",
            "See that this is the right database and the right manifest.",
        ))  # fmt: skip
    return found


def _overrides(request: PlanRequest, targets: Targets) -> dict[str, Any]:
    """Those that are set, for they are what somebody answers for."""
    names = {each.name for each in targets.objects}
    found: dict[str, Any] = {}
    if request.provenance.allow_unknown:
        found[UNKNOWN_OVERRIDE] = True
    if request.provenance.overridden:
        found[OBJECT_OVERRIDE] = sorted(request.provenance.overridden & names)
    if not request.require_backup:
        found[REQUIRE_OVERRIDE] = False
    return found
