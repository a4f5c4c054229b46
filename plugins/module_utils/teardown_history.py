# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The row by which a deployment tool knows that the migration was applied: it goes and comes back with the objects.

The manifest names it under ``history``: the ``value`` of a ``column`` in a ``table``, those of Supabase where they are
left out. Without ``history`` the row of Supabase's table goes whose file name is the manifest's name; no other one is
certain to be this migration's.

The row is kept as COPY writes it: that brings values of every type back exactly, identity columns too.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.blast_radius import BlastRadius
from ansible_collections.pgops.rollback.plugins.module_utils.blocker import MOST_NAMED, Blocker
from ansible_collections.pgops.rollback.plugins.module_utils.driver import sql
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError, certain
from ansible_collections.pgops.rollback.plugins.module_utils.names import parse_name, quote_name
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_attempts import Acting, refused
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_targets import Targets
from ansible_collections.pgops.rollback.plugins.module_utils.wording import listed

#: Of Supabase; ``<version>_<name>`` is the name of a migration's file.
SUPABASE_TABLE = "supabase_migrations.schema_migrations"
SUPABASE_COLUMN = "version"
_SUPABASE_NAME = "name"

_KEYS = {"table", "column", "value"}

_USAGE = "USAGE on its schema"

# Whatever is done to other rows, or to this one on its way, comes from a trigger, a rule or a foreign key.
_TABLE = """
SELECT c.oid::bigint, c.relkind = 'r', row_security_active(c.oid),
       ARRAY (SELECT a.attname::text FROM pg_attribute a
              WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
              ORDER BY a.attnum),
       ARRAY (SELECT p FROM unnest('{SELECT,INSERT,DELETE}'::text[]) p WHERE NOT has_table_privilege(c.oid, p))
       || CASE WHEN has_schema_privilege(n.oid, 'USAGE') THEN '{}' ELSE ARRAY[%s] END,
       ARRAY (SELECT 'the trigger ' || quote_ident(t.tgname) FROM pg_trigger t
              WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled <> 'D' ORDER BY 1)
       || ARRAY (SELECT 'the rule ' || quote_ident(r.rulename) FROM pg_rewrite r
                 WHERE r.ev_class = c.oid AND r.ev_enabled <> 'D' ORDER BY 1)
       || ARRAY (SELECT 'the foreign key ' || quote_ident(k.conname) || ' of ' || k.conrelid::regclass
                 FROM pg_constraint k WHERE k.contype = 'f' AND k.confrelid = c.oid ORDER BY 1)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s
"""


@dataclass(frozen=True)
class History:
    """:ivar table: schema and name.
    :ivar value: of the column, as text.
    :ivar columns: of the table, those that are generated left out.
    """

    table: tuple[str, ...]
    column: str
    value: str
    columns: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return quote_name(*self.table)

    @property
    def label(self) -> str:
        """Of the row."""
        return f"{self.name} with {quote_name(self.column)} {self.value}"

    def as_json(self) -> dict[str, Any]:
        return {"table": self.name, "column": self.column, "value": self.value}

    def rows(self, what: str) -> Any:
        """:param what: ``SELECT {columns} FROM ONLY {table} WHERE {it}``, for instance."""
        return sql.SQL(what).format(
            columns=sql.SQL(", ").join(map(sql.Identifier, self.columns)),
            table=sql.Identifier(*self.table),
            it=sql.SQL("{}::text = {}").format(sql.Identifier(self.column), sql.Literal(self.value)),
        )


@dataclass(frozen=True)
class HistoryPlan:
    """:ivar history: the row that goes; None where none does."""

    history: History | None = None
    drift: list[dict[str, str]] = field(default_factory=list)
    blockers: list[Blocker] = field(default_factory=list)
    warnings: list[Blocker] = field(default_factory=list)


@dataclass(frozen=True)
class _Table:
    oid: int
    ordinary: bool
    filtered: bool
    columns: list[str]
    missing: list[str]
    not_plain: list[str]


def read_history(manifest: dict[str, Any]) -> History | None:
    """What the manifest says of it; None where it says nothing.

    :raises RollbackError: ``manifest_invalid``, ``name_invalid``.
    """
    given = manifest.get("history")
    if given is None:
        return None
    if not isinstance(given, dict) or not set(given) <= _KEYS or "value" not in given:
        raise _invalid("it takes a value, and with it the table and the column where they are not Supabase's")
    if not all(isinstance(each, str) and each for each in given.values()):
        # YAML reads 0012 as the number ten.
        raise _invalid("its table, column and value have to be text: put the value in quotes")
    table = given.get("table", SUPABASE_TABLE)
    parts = parse_name(table, "table")
    if len(parts) != 2:
        raise _invalid(f"the table {table} needs a schema and a name")
    column = parse_name(given.get("column", SUPABASE_COLUMN), "column")
    if len(column) != 1:
        raise _invalid("its column has one name")
    return History(parts, column[0], given["value"])


def read_versions(cursor: Any) -> list[str] | None:
    """What Supabase has applied; None where it has no history, or this role may not read all of it.

    :param cursor: of teardown_plan.reading().
    """
    history = History(parse_name(SUPABASE_TABLE, "table"), SUPABASE_COLUMN, "")
    table = _read_table(cursor, history)
    unreadable = table is None or table.filtered or not {"SELECT", _USAGE}.isdisjoint(table.missing)
    if table is None or unreadable or not table.ordinary or SUPABASE_COLUMN not in table.columns:
        return None
    cursor.execute(sql.SQL("SELECT version::text FROM ONLY {} ORDER BY 1").format(sql.Identifier(*history.table)))
    return [version for (version,) in cursor.fetchall()]


def plan_history(cursor: Any, manifest: dict[str, Any], targets: Targets, radius: BlastRadius) -> HistoryPlan:
    """Which row goes, and what stands in its way.

    :param cursor: in a transaction with the settings of table_content.measuring_settings().
    :raises RollbackError: ``history_ambiguous``, those of read_history().
    """
    named = read_history(manifest)
    if named is None:
        return _of_supabase(cursor, targets, radius)
    table = _read_table(cursor, named)
    if table is None:
        return HistoryPlan(drift=[_drift(named, "missing", f"The manifest names the history table {named.name}, and"
                                         " the database has none.")])  # fmt: skip
    if not table.ordinary:
        raise _invalid(f"{named.name} is no ordinary table")
    if named.column not in table.columns:
        raise _invalid(f"{named.name} has no column {quote_name(named.column)}, or a generated one")
    if _goes(table, targets, radius):
        raise _invalid(f"{named.name} goes itself, and its rows with it")
    return _of_table(cursor, named, table, targets)


def take_history(cursor: Any, acting: Acting, history: History | None) -> dict[str, Any] | None:
    """Delete the row, and see that it can be put back.

    :returns: JSON values for the bundle; None where no row goes.
    :raises LockNotObtainedError: for another attempt.
    :raises RollbackError: ``history_ambiguous``, ``history_refused``.
    """
    if history is None:
        return None
    with refused(cursor, "history_refused", f"take the row of {history.label} and put it back"):
        kept = _copied(acting, history, "COPY (DELETE FROM ONLY {table} WHERE {it} RETURNING {columns}) TO STDOUT")
        if kept.count("\n") > 1:
            raise _ambiguous(history)
        if not kept:
            # It was there when the plan was made again, a moment ago.
            raise RollbackError(
                "history_refused",
                f"The row of {history.label} was taken away, or changed, meanwhile.",
                "See who works on it, and plan again; everything was rolled back.",
            )
        content = {**history.as_json(), "columns": list(history.columns), "row": kept}
        cursor.execute("SAVEPOINT history")
        _put(acting, content)
        cursor.execute("ROLLBACK TO SAVEPOINT history; RELEASE SAVEPOINT history")
    return content


def history_conflicts(cursor: Any, content: dict[str, Any] | None) -> list[str]:
    """Why the row cannot be put back as it was, in sentences.

    :param content: from take_history().
    """
    if content is None:
        return []
    history = _history_of(content)
    table = _read_table(cursor, history)
    if table is None:
        return [f"the table {history.name} is gone"]
    if lost := [each for each in history.columns if each not in table.columns]:
        return [f"the column {quote_name(lost[0])} of {history.name} is gone"]
    if table.missing or table.filtered:
        return [f"this role may not read and write all of {history.name}"]
    return [f"a row of {history.label} is there again"] if _count(cursor, history) else []


def put_history(cursor: Any, acting: Acting, content: dict[str, Any] | None) -> None:
    """Put the row back, and see that it is as it was.

    :param content: from take_history(), where history_conflicts() found none.
    :raises LockNotObtainedError: for another attempt.
    :raises RollbackError: ``undo_refused``.
    """
    if content is not None:
        with refused(cursor, "undo_refused", f"put back the row of {_history_of(content).label}"):
            _put(acting, content)


def history_by_hand(content: dict[str, Any] | None) -> list[str]:
    """For psql."""
    if content is None:
        return []
    history = _history_of(content)
    columns = ", ".join(map(quote_name, history.columns))
    return [f"COPY {history.name} ({columns}) FROM stdin;\n{content['row']}\\."]


def _of_supabase(cursor: Any, targets: Targets, radius: BlastRadius) -> HistoryPlan:
    """The row whose version, or version and name, is the manifest's name."""
    name = targets.manifest["name"]
    history = History(parse_name(SUPABASE_TABLE, "table"), SUPABASE_COLUMN, name)
    table = _read_table(cursor, history)
    if table is None or not table.ordinary or SUPABASE_COLUMN not in table.columns or _goes(table, targets, radius):
        return HistoryPlan()
    if name and not (table.missing or table.filtered):
        file_name = sql.SQL("version")
        if _SUPABASE_NAME in table.columns:
            file_name = sql.SQL("version::text || '_' || name")
        cursor.execute(
            sql.SQL("SELECT version::text FROM ONLY {} WHERE %(name)s IN (version::text, {})").format(
                sql.Identifier(*history.table), file_name
            ), {"name": name},
        )  # fmt: skip
        versions = [version for (version,) in cursor.fetchall()]
        if len(versions) == 1:
            return _of_table(cursor, replace(history, value=versions[0]), table, targets)
    return HistoryPlan(warnings=[Blocker(
        "history_unnamed",
        f"No row of {SUPABASE_TABLE} is certain to be of {name or 'this manifest'}, so none goes, and Supabase goes on"
        " taking the migration as applied.",
        "Name it in the manifest, history: {value: '<version>'}, if there is one.",
    )])  # fmt: skip


def _of_table(cursor: Any, history: History, table: _Table, targets: Targets) -> HistoryPlan:
    found = replace(history, columns=tuple(table.columns))
    blockers = _blockers(found, table)
    if any(each.code in ("privilege_missing", "row_security") for each in blockers):
        return HistoryPlan(found, blockers=blockers)
    number = _count(cursor, found)
    if number > 1:
        raise _ambiguous(found)
    if not number:
        return HistoryPlan(drift=[_drift(found, "missing", f"The manifest's history names the row of {found.label},"
                                         " and there is none.")])  # fmt: skip
    if not targets.objects:
        return HistoryPlan(drift=[_drift(found, "left_over", f"The row of {found.label} is there, though nothing of"
                                         " what the manifest names is: it stays.")])  # fmt: skip
    return HistoryPlan(found, blockers=blockers)


def _blockers(history: History, table: _Table) -> list[Blocker]:
    found = []
    if table.missing:
        found.append(Blocker(
            "privilege_missing",
            f"This role lacks {listed(table.missing, MOST_NAMED)} on {history.name}, whose row is to go and come back.",
            "Grant it, or take the row out of the manifest's history and delete it by hand.",
        ))  # fmt: skip
    if table.filtered:
        found.append(Blocker(
            "row_security",
            f"Row-level security hides rows of {history.name} from this role.",
            "Connect as a role with BYPASSRLS, or as the table's owner where FORCE ROW LEVEL SECURITY is not set.",
        ))  # fmt: skip
    if table.not_plain:
        found.append(Blocker(
            "history_not_plain",
            f"On {history.name} there is {listed(table.not_plain, MOST_NAMED)}: what that does when a row goes or comes"
            " back, no undo takes back.",
            "Disable it for the time, or take the row out of the manifest's history and delete it by hand.",
        ))  # fmt: skip
    return found


def _read_table(cursor: Any, history: History) -> _Table | None:
    cursor.execute(_TABLE, (_USAGE, *history.table))
    row = cursor.fetchone()
    return _Table(*row) if row else None


def _goes(table: _Table, targets: Targets, radius: BlastRadius) -> bool:
    return table.oid in targets.relations or table.oid in radius.closure.whole("pg_class")


def _count(cursor: Any, history: History) -> int:
    cursor.execute(history.rows("SELECT pg_catalog.count(*) FROM ONLY {table} WHERE {it}"))
    return int(certain(cursor.fetchone())[0])


def _put(acting: Acting, content: dict[str, Any]) -> None:
    """:raises RollbackError: ``undo_refused``."""
    history = _history_of(content)
    acting.copy(history.rows("COPY {table} ({columns}) FROM STDIN"), io.BytesIO(content["row"].encode()))
    if _copied(acting, history, "COPY (SELECT {columns} FROM ONLY {table} WHERE {it}) TO STDOUT") != content["row"]:
        raise RollbackError(
            "undo_refused",
            f"The row of {history.label} would not come back as it was.",
            "See what the table does to it; everything was rolled back.",
        )


def _copied(acting: Acting, history: History, what: str) -> str:
    """A line for each row. What is no UTF-8, in a database of any bytes, is written as COPY reads bytes: ``\\xe4``."""
    file = io.BytesIO()
    acting.copy(history.rows(what), file)
    return file.getvalue().decode("utf-8", "backslashreplace")


def _history_of(content: dict[str, Any]) -> History:
    return History(
        parse_name(content["table"], "table"), content["column"], content["value"], tuple(content["columns"])
    )


def _drift(history: History, problem: str, detail: str) -> dict[str, str]:
    return {"kind": "history row", "name": history.label, "problem": problem, "detail": detail}


def _ambiguous(history: History) -> RollbackError:
    return RollbackError(
        "history_ambiguous",
        f"There are several rows of {history.label}, and a migration has one.",
        "Let the manifest's history name a column that tells them apart; nothing was done.",
    )


def _invalid(what: str) -> RollbackError:
    return RollbackError(
        "manifest_invalid",
        f"The history of the rollback manifest cannot be used: {what}.",
        "Correct it, or take it out and delete the row by hand; nothing was done.",
    )
