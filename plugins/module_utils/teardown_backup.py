# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The backup behind a teardown: the last restore drill, and whether it would bring these objects back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.backup_records import latest_drill
from ansible_collections.pgops.rollback.plugins.module_utils.blocker import MOST_NAMED, Blocker
from ansible_collections.pgops.rollback.plugins.module_utils.durations import show_duration
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_targets import Targets
from ansible_collections.pgops.rollback.plugins.module_utils.wording import listed

REQUIRE_OVERRIDE = "teardown_require_backup"

# From the objects and their columns, indexes and so on down to the types, functions and operators that an extension
# brought. It goes no further than over such things: what another table needs is that table's.
_NEEDED_EXTENSIONS = """
WITH RECURSIVE part (classid, objid) AS (
    SELECT s.class::regclass::oid, s.oid FROM unnest(%(classes)s::text[], %(oids)s::oid[]) AS s (class, oid)
    UNION
    SELECT d.classid, d.objid FROM part p
    JOIN pg_depend d ON d.refclassid = p.classid AND d.refobjid = p.objid AND d.deptype IN ('a', 'i')
), need (classid, objid) AS (
    SELECT classid, objid FROM part
    UNION
    SELECT d.refclassid, d.refobjid FROM need n
    JOIN pg_depend d ON d.classid = n.classid AND d.objid = n.objid AND d.deptype IN ('n', 'a', 'i')
     AND d.refclassid IN ('pg_type'::regclass, 'pg_proc'::regclass, 'pg_operator'::regclass, 'pg_opclass'::regclass,
                          'pg_collation'::regclass, 'pg_ts_config'::regclass, 'pg_extension'::regclass)
)
SELECT DISTINCT e.extname::text FROM need n
LEFT JOIN pg_depend m ON m.classid = n.classid AND m.objid = n.objid AND m.deptype = 'e'
JOIN pg_extension e ON e.oid = m.refobjid OR (n.classid = 'pg_extension'::regclass AND e.oid = n.objid)
ORDER BY 1
"""


def needed_extensions(cursor: Any, targets: Targets) -> list[str]:
    """The extensions without which a restore could not make the objects."""
    parameters = {
        "classes": [each.catalog for each in targets.objects], "oids": [each.oid for each in targets.objects],
    }  # fmt: skip
    cursor.execute(_NEEDED_EXTENSIONS, parameters)
    return [name for (name,) in cursor.fetchall()]


def assess_backup(records_dir: str | None, max_age: timedelta, database: str, needed: list[str]) -> dict[str, Any]:
    """What a plan says of the backup. ``problem`` is null when the record is accepted.

    :param needed: from needed_extensions().
    """
    backup: dict[str, Any] = {
        "id": None, "finished": None, "verdict": None, "missing_extensions": [], "problem": None,
    }  # fmt: skip
    if records_dir is None:
        return {**backup, "problem": "No backup is verified here: no directory with records of verifications is set."}
    try:
        record = latest_drill(Path(records_dir), max_age, datetime.now(UTC))
    except RollbackError as error:
        return {**backup, "problem": _timeless(error, max_age)}
    missing = sorted(record["missing_extensions"])
    lacking = sorted(set(missing) & set(needed))
    problem = None
    if record["database"] not in (None, database):
        problem = f"The last restore drill was of database {record['database']}, not of {database}."
    elif lacking:
        problem = f"The last restore drill had to do without {', '.join(lacking)}, which these objects need."
    return {
        "id": record["backup"]["id"], "finished": record["backup"].get("finished_at"), "verdict": record["verdict"],
        "missing_extensions": missing, "problem": problem,
    }  # fmt: skip


def backup_blockers(backup: dict[str, Any], required: bool, drop: bool) -> tuple[list[Blocker], list[Blocker]]:
    """Blockers and warnings: a quarantine touches no row, so there it is only a warning."""
    if backup["problem"] is None:
        found = []
        if backup["missing_extensions"]:
            found.append(Blocker(
                "backup_degraded",
                f"The restore drill had to do without {listed(backup['missing_extensions'], MOST_NAMED)};"
                " nothing of this plan needs that.",
                "Install them where drills run, so that the drill proves everything.",
            ))  # fmt: skip
        return [], found
    blocker = Blocker(
        "backup_unverified",
        backup["problem"],
        "Run verify_backup.yml with its drill, then plan again.",
        REQUIRE_OVERRIDE if drop and required else None,
    )
    return ([blocker], []) if drop and required else ([], [blocker])


def _timeless(error: RollbackError, max_age: timedelta) -> str:
    """What is wrong with the record, without its age: the same state gives the same words."""
    if error.code == "drill_stale" and "found fault" not in error.message:
        return f"The last successful restore drill is older than {show_duration(max_age)}."
    return error.message
