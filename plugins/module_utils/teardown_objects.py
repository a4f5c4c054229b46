# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The objects of a teardown as a plan tells them: whose they are, who may use them, what they are made of, how large.

What they are made of is told by its sum, so that a column, a key or a policy more makes another plan. Sizes and rows
are beside it: the application moves both.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.blast_descriptions import POLICY_TEXT
from ansible_collections.pgops.rollback.plugins.module_utils.blast_radius import BlastRadius
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_object import canonical, digest
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_privileges import privileges
from ansible_collections.pgops.rollback.plugins.module_utils.driver import psycopg2, sql
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_targets import Target, Targets

#: Milliseconds that counting all rows may take before the planner's estimates have to do.
COUNT_TIMEOUT = 10_000

#: How rows are known.
EXACT, ESTIMATED, UNKNOWN = "exact", "estimated", "unknown"

#: Bytes a second that an export is expected to write at the least.
_EXPORT_SPEED = 20 << 20

# By the names of the columns: their order may differ in a restored copy, where dropped ones are no more.
_PARTS = (
    """
SELECT a.attrelid::bigint, concat_ws(' ', 'column', quote_ident(a.attname), format_type(a.atttypid, a.atttypmod),
           CASE WHEN a.attnotnull THEN 'NOT NULL' END, 'identity ' || nullif(a.attidentity::text, ''),
           'generated ' || nullif(a.attgenerated::text, ''), 'default ' || pg_get_expr(d.adbin, d.adrelid)) AS part
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = ANY (%(oids)s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT k.conrelid::bigint, concat_ws(' ', 'constraint', quote_ident(k.conname), pg_get_constraintdef(k.oid))
FROM pg_constraint k WHERE k.conrelid = ANY (%(oids)s::oid[]) AND k.contype IN ('c', 'f', 'p', 'u', 'x')
UNION ALL
SELECT i.indrelid::bigint, 'index ' || pg_get_indexdef(i.indexrelid) || CASE WHEN i.indisvalid THEN '' ELSE ' bad' END
FROM pg_index i WHERE i.indrelid = ANY (%(oids)s::oid[])
UNION ALL
SELECT t.tgrelid::bigint, 'trigger ' || pg_get_triggerdef(t.oid) || ' ' || t.tgenabled::text
FROM pg_trigger t WHERE t.tgrelid = ANY (%(oids)s::oid[]) AND NOT t.tgisinternal
UNION ALL
SELECT r.ev_class::bigint, 'rule ' || pg_get_ruledef(r.oid) || ' ' || r.ev_enabled::text
FROM pg_rewrite r WHERE r.ev_class = ANY (%(oids)s::oid[])
UNION ALL
SELECT p.polrelid::bigint, 'policy ' || quote_ident(p.polname) || ' ' || """
    + POLICY_TEXT
    + """
FROM pg_policy p WHERE p.polrelid = ANY (%(oids)s::oid[])
UNION ALL
SELECT s.stxrelid::bigint, 'statistics ' || pg_get_statisticsobjdef(s.oid)
FROM pg_statistic_ext s WHERE s.stxrelid = ANY (%(oids)s::oid[])
UNION ALL
SELECT s.seqrelid::bigint, concat_ws(' ', 'sequence', format_type(s.seqtypid, NULL), s.seqstart, s.seqincrement,
                                     s.seqmin, s.seqmax, s.seqcache, s.seqcycle)
FROM pg_sequence s WHERE s.seqrelid = ANY (%(oids)s::oid[])
UNION ALL
SELECT c.oid::bigint, concat_ws(' ', 'relation', c.relkind, c.relpersistence, c.relrowsecurity, c.relforcerowsecurity,
                                array_to_string(c.reloptions, ','), CASE WHEN c.relkind = 'p'
                                THEN pg_get_partkeydef(c.oid) END, pg_get_expr(c.relpartbound, 0))
FROM pg_class c WHERE c.oid = ANY (%(oids)s::oid[])
"""
)

_PRIVILEGES = """
SELECT 'pg_class', c.oid::bigint, '',
       coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner))::text,
       pg_get_userbyid(c.relowner)::text
FROM pg_class c WHERE c.oid = ANY (%(relations)s::oid[])
UNION ALL
SELECT 'pg_class', a.attrelid::bigint, a.attname::text, a.attacl::text, pg_get_userbyid(c.relowner)::text
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE a.attrelid = ANY (%(relations)s::oid[]) AND a.attacl IS NOT NULL AND NOT a.attisdropped
UNION ALL
SELECT 'pg_proc', p.oid::bigint, '', coalesce(p.proacl, acldefault('f', p.proowner))::text,
       pg_get_userbyid(p.proowner)::text
FROM pg_proc p WHERE p.oid = ANY (%(routines)s::oid[])
"""

# A partitioned table has neither; its partitions are objects of their own.
_SIZES = """
SELECT c.oid::bigint, pg_total_relation_size(c.oid), pg_table_size(c.oid), c.reltuples
FROM pg_class c WHERE c.oid = ANY (%s::oid[])
"""
_PARENTS = "SELECT inhrelid::bigint, inhparent::bigint FROM pg_inherits WHERE inhparent = ANY (%s::oid[])"


@dataclass(frozen=True)
class Content:
    """:ivar rows: None where nobody knows.
    :ivar rows_are: EXACT, ESTIMATED or UNKNOWN.
    :ivar bytes: on disk, with indexes.
    :ivar data_bytes: without them; what an export writes at the most.
    """

    rows: int | None = None
    rows_are: str = UNKNOWN
    bytes: int = 0
    data_bytes: int = 0


def describe_objects(
    cursor: Any, targets: Targets, radius: BlastRadius, contents: dict[int, Content]
) -> list[dict[str, Any]]:
    """What a plan says of each.

    :param contents: from read_contents().
    """
    parts = _parts(cursor, targets)
    rights = _privileges(cursor, targets)
    described = []
    for each in targets.objects:
        own, columns = rights[each.catalog, each.oid]
        content = contents.get(each.oid) if each.catalog == "pg_class" else None
        definition = radius.closure.described.get((each.catalog, each.oid, 0))
        made_of = parts.get(each.oid, []) if each.catalog == "pg_class" else [definition and definition.definition]
        described.append({
            "kind": each.kind, "name": each.name, "owner": radius.rights.owner(each.owner_oid), "named": each.named,
            "through": each.through, "privileges": own,
            "definition_sha256": digest(canonical([made_of, columns])),
            "rows": content.rows if content else None, "rows_are": content.rows_are if content else None,
            "bytes": content.bytes if content else None,
        })  # fmt: skip
    return described


def read_contents(cursor: Any, targets: Targets, count: bool) -> dict[int, Content]:
    """By OID of the table. Row level security, a missing privilege or the time limit leave the estimate.

    :param cursor: in a transaction of table_content.begin_reading().
    :param count: whether to count; else all are estimates.
    """
    cursor.execute(_SIZES, (targets.relations,))
    contents = {
        oid: Content(int(tuples) if tuples >= 0 else None, ESTIMATED if tuples >= 0 else UNKNOWN, total, data)
        for oid, total, data, tuples in cursor.fetchall()
    }
    if count:
        until = time.monotonic() + COUNT_TIMEOUT / 1000
        for each in targets.tables:
            left = int((until - time.monotonic()) * 1000)
            if each.relkind == "r" and left > 0 and (rows := _count(cursor, each, left)) is not None:
                contents[each.oid] = replace(contents[each.oid], rows=rows, rows_are=EXACT)
    _add_up_partitions(cursor, targets, contents)
    return {each.oid: contents[each.oid] for each in targets.tables}


def export_estimate(contents: dict[int, Content]) -> dict[str, int]:
    """``bytes`` that the export takes on disk at the most, and ``seconds`` it is expected to take at the most."""
    size = sum(each.data_bytes for each in contents.values())
    return {"bytes": size, "seconds": 1 + size // _EXPORT_SPEED}


def _count(cursor: Any, table: Target, timeout_ms: int) -> int | None:
    cursor.execute("SAVEPOINT count")
    try:
        cursor.execute(sql.SQL("SET LOCAL statement_timeout = {}").format(sql.Literal(timeout_ms)))
        cursor.execute(sql.SQL("SELECT count(*) FROM ONLY {}").format(sql.Identifier(table.schema, table.short)))
        rows: int = cursor.fetchone()[0]
        return rows
    except psycopg2.Error:
        if cursor.connection.closed:
            raise
        return None
    finally:
        if not cursor.connection.closed:
            cursor.execute("ROLLBACK TO SAVEPOINT count")


def _add_up_partitions(cursor: Any, targets: Targets, contents: dict[int, Content]) -> None:
    """A partitioned table has the rows of its partitions."""
    partitioned = {each.oid for each in targets.tables if each.relkind == "p"}
    cursor.execute(_PARENTS, (sorted(partitioned),))
    children: dict[int, list[int]] = {}
    for child, parent in cursor.fetchall():
        children.setdefault(parent, []).append(child)

    def add_up(oid: int) -> Content:
        if oid not in partitioned:
            return contents[oid]
        leaves = [add_up(child) for child in children.get(oid, [])]
        known = [each.rows for each in leaves if each.rows is not None]
        worst = max((each.rows_are for each in leaves), key=(EXACT, ESTIMATED, UNKNOWN).index, default=EXACT)
        return Content(sum(known) if len(known) == len(leaves) else None, worst)

    contents.update({oid: add_up(oid) for oid in partitioned})


def _parts(cursor: Any, targets: Targets) -> dict[int, list[str]]:
    cursor.execute(_PARTS, {"oids": targets.relations})
    found: dict[int, list[str]] = {}
    for oid, text in cursor.fetchall():
        found.setdefault(oid, []).append(text)
    return {oid: sorted(texts) for oid, texts in found.items()}


def _privileges(cursor: Any, targets: Targets) -> dict[tuple[str, int], tuple[dict[str, Any], dict[str, Any]]]:
    """Of the object, and of its columns by their names."""
    cursor.execute(_PRIVILEGES, {
        "relations": targets.relations, "routines": [each.oid for each in targets.routines],
    })  # fmt: skip
    found: dict[tuple[str, int], tuple[dict[str, Any], dict[str, Any]]] = {}
    rows = cursor.fetchall()
    for catalog, oid, column, acl, owner in sorted(rows, key=lambda row: row[2]):
        own, columns = found.setdefault((catalog, oid), ({}, {}))
        if column:
            columns[column] = privileges(acl, owner)
        else:
            own.update(privileges(acl, owner))
    return found
