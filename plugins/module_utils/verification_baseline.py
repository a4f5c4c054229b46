# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The post-rollback checks that compare with a baseline."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.catalog_snapshot import Snapshot
from ansible_collections.pgops.rollback.plugins.module_utils.names import parse_name, quote_name
from ansible_collections.pgops.rollback.plugins.module_utils.verification import (
    CRITICAL,
    STAGES,
    UNCHECKED,
    WARNED,
    CheckKind,
    Context,
    Finding,
    Outcome,
    why,
)
from ansible_collections.pgops.rollback.plugins.module_utils.verification_comparison import (
    ACCESS,
    ADDITIONS,
    DETAILS,
    GONE,
    OBJECTS,
    ROW_SECURITY,
)
from ansible_collections.pgops.rollback.plugins.module_utils.verification_integrity import (
    count_orphans,
    orphans_in_words,
)

_AGAIN = "Make it again as the baseline describes it, or undo the rollback from its bundle."

#: As pg_get_constraintdef() writes it.
_NAMES = r'(?:"(?:[^"]|"")*"|[^"()])+'
_FOREIGN_KEY = re.compile(
    rf"FOREIGN KEY \((?P<columns>{_NAMES})\) REFERENCES (?P<parent>{_NAMES})\((?P<keys>{_NAMES})\)"
)


#: Kinds that row level security is about.
_WITH_ROW_SECURITY = ("policy", "table")


def missing_baseline(context: Context) -> list[CheckKind]:
    """A check that nobody could make, where a baseline was named and there is none; else nothing."""
    named = context.options.get("baseline_candidates")
    if not named or context.options.get("baseline"):
        return []
    files = " and ".join(named)
    outcome = Outcome("", "", "", unchecked=[f"nothing was compared with the state before: there is no {files}"])
    return [CheckKind("baseline", "A baseline of the migration", CRITICAL, STAGES[0], lambda _context: outcome)]


def row_security_kept(context: Context) -> Outcome:
    return _beside(context, ROW_SECURITY, Outcome(
        "Every policy is as it was, and row level security is on where it was.",
        "Rows are hidden, or shown to those who must not see them", _AGAIN,
    ))  # fmt: skip


def grants_kept(context: Context) -> Outcome:
    return _beside(context, ACCESS, Outcome(
        "Owners and privileges are as they were.", "Owners or privileges are others",
        "GRANT or REVOKE what differs, or ALTER … OWNER TO.",
    ))  # fmt: skip


def catalog_kept(context: Context) -> Outcome:
    return _beside(context, OBJECTS, Outcome("Every object is there as it was.", "Not as it was", _AGAIN))


def catalog_details(context: Context) -> Outcome:
    return _beside(context, DETAILS, Outcome(
        "Comments and statistics settings are as they were.", "Others than they were", "Nothing breaks by it.",
    ), WARNED)  # fmt: skip


def catalog_additions(context: Context) -> Outcome:
    return _beside(context, ADDITIONS, Outcome(
        "There is nothing that was not there.", "Not in the baseline",
        "If the rollback should have removed it, it did not; if it belongs there, take a new baseline.",
    ), WARNED)  # fmt: skip


def row_counts(context: Context) -> Outcome:
    """Only exact counts, with exact ones. Fewer rows may be the application's doing, so it is a warning.

    The rows of a table that is gone are gone, unless that is explained.
    """
    then, now = context.comparison.baseline.snapshot, context.comparison.now
    gone = {label for label, text in context.comparison.about(OBJECTS) if text == GONE}
    outcome = Outcome(
        f"No table has fewer rows than at {then.taken_at}.", "Fewer rows than before",
        "Rows that the application deleted are no loss; else look for them in the backup.",
    )  # fmt: skip
    if then.rows_are != "exact":
        outcome.unchecked.append(f"the baseline's row counts are {then.rows_are}, and only exact ones are compared")
        return outcome
    for name_then, before in then.rows.items():
        table = context.comparison.renamed.get(("table", name_then), name_then)
        rows = now.rows.get(table)
        if f"table {table}" in gone:
            if before != 0:
                had = "its rows" if before is None else f"{before:,} rows"
                outcome.findings.append(Finding(table, f"gone, and with it {had}"))
        elif table not in now.rows:
            continue
        elif rows is None or before is None:
            outcome.unchecked.append(f"{table}, which could not be counted {'now' if rows is None else 'then'}")
        elif rows < before:
            outcome.findings.append(Finding(table, f"has {rows:,} rows; it had {before:,}", WARNED))
    return outcome


def orphans_without_key(context: Context) -> Outcome:
    """Rows without a parent behind foreign keys that the baseline has and the database has not."""
    outcome = Outcome(
        "No foreign key is missing that has left rows without a parent.",
        "Rows without a parent behind a missing foreign key",
        "Restore the parents or delete the rows, then make the foreign key again.",
    )
    for label, child, columns, parent, keys in lost_foreign_keys(context.comparison.baseline.snapshot,
                                                                 context.comparison.now):  # fmt: skip
        try:
            with context.reading():
                number = count_orphans(context.connections.first, child, columns, parent, keys)
        except UNCHECKED as error:
            outcome.unchecked.append(f"the rows behind {label} ({why(error)})")
            continue
        if number:
            outcome.findings.append(Finding(label, f"gone, and {orphans_in_words(number)} no parent"))
    return outcome


def lost_foreign_keys(then: Snapshot, now: Snapshot) -> list[tuple[str, Any, list[str], Any, list[str]]]:
    """Foreign keys that are gone while both tables live on: label, child, its columns, parent, the parent's columns.

    Tables are pairs of schema and name; all names are unquoted.
    """
    lost: list[tuple[str, Any, list[str], Any, list[str]]] = []
    for key, each in then.objects.items():
        match = _FOREIGN_KEY.match(str(each.attributes.get("definition", "")))
        if each.kind != "constraint" or key in now.objects or match is None:
            continue
        if {("table", quote_name(each.schema, each.relation)), ("table", match["parent"])} <= now.objects.keys():
            parent = parse_name(match["parent"], "table")
            lost.append((each.label, (each.schema, each.relation), _columns(match["columns"]), parent,
                         _columns(match["keys"])))  # fmt: skip
    return lost


def _columns(listed: str) -> list[str]:
    """The names in ``a, "b, c"``."""
    found = re.findall(r'"(?:[^"]|"")+"|[^\s,"]+', listed)
    return [parse_name(name, "column")[0] for name in found]


def _beside(context: Context, about: str, outcome: Outcome, status: str | None = None) -> Outcome:
    found = context.comparison.about(about)
    outcome.findings += [Finding(label, text, status) if status else Finding(label, text) for label, text in found]
    outcome.unchecked += [
        f"every {kind}, since the role may not read it now, or then"
        for kind in context.comparison.not_compared
        if about != ROW_SECURITY or kind in _WITH_ROW_SECURITY
    ]
    return outcome
