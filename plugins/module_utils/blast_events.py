# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Event triggers: they run in the middle of the teardown, and any of them can stop it."""

from __future__ import annotations

from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.dependent import POSSIBLE, Dependent
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_targets import Targets

_EVENT_TRIGGERS = """
SELECT quote_ident(t.evtname), t.evtevent::text, pg_get_userbyid(t.evtowner)::text, t.evtfoid::regprocedure::text
FROM pg_event_trigger t
WHERE t.evtenabled IN ('O', 'A') AND t.evtevent = ANY (%(events)s::text[])
  AND (t.evttags IS NULL OR t.evttags && %(tags)s::text[])
ORDER BY 1
"""

#: What a quarantine says to the server, besides moving each kind of object.
_QUARANTINE_TAGS = {"CREATE SCHEMA", "ALTER PUBLICATION", "GRANT", "REVOKE"}


def event_triggers(cursor: Any, targets: Targets, drop: bool) -> list[Dependent]:
    """Those that the commands of the teardown set off."""
    kinds = {each.kind.upper() for each in targets.objects} | ({"ROUTINE"} if targets.routines else set())
    kinds |= {"SCHEMA"} if targets.schema else set()
    tags = {f"DROP {kind}" for kind in kinds} if drop else {f"ALTER {kind}" for kind in kinds} | _QUARANTINE_TAGS
    events = ["ddl_command_start", "ddl_command_end", *(["sql_drop"] if drop else [])]
    if not targets.objects:
        return []
    cursor.execute(_EVENT_TRIGGERS, {"events": events, "tags": sorted(tags)})
    return [
        Dependent(
            "event trigger", name, "", POSSIBLE, owner,
            f"Runs {function} at {event} and can refuse the teardown.", definition=f"ON {event} EXECUTE {function}",
        )
        for name, event, owner, function in cursor.fetchall()
    ]  # fmt: skip
