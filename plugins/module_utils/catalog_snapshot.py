# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The catalog snapshot: everything in a database that a migration can change, by name, at one moment.

The same catalogs give the same objects and the same fingerprint, on any server of the major version that has the same
roles, whatever the database is called. The order of a table's columns is no part of it: a column that is dropped and
brought back is the last one, and no undo can help that. Where sequences stand and how many rows there are is kept
beside the objects, since the application moves both.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC
from functools import cached_property
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.catalog_object import (
    DATABASE,
    CatalogObject,
    canonical,
    digest,
)
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_reading import (
    Catalog,
    read_catalog,
    told_why,
)
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_rows import (
    estimated_rows,
    read_contents,
    read_sequence_states,
)
from ansible_collections.pgops.rollback.plugins.module_utils.connection import cluster_identifier
from ansible_collections.pgops.rollback.plugins.module_utils.driver import sql
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.table_content import begin_reading, end_reading

__all__ = ["ROWS", "CatalogObject", "Snapshot", "read_snapshot"]

FORMAT_VERSION = 1

#: How rows may be counted.
ROWS = ("none", "estimated", "exact")

#: Milliseconds: for a lock that is in the way, for a statement on the catalogs, and for one that reads tables.
_LOCK_TIMEOUT = 500
_CATALOG_TIMEOUT = 120_000
_CONTENT_TIMEOUT = 3_600_000

_HEADING = """
SELECT pg_catalog.current_database(), current_user::text, pg_catalog.now() AT TIME ZONE 'UTC',
       (SELECT oid::bigint FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
"""
_UNKNOWN_SCHEMAS = """
SELECT s FROM pg_catalog.unnest(%s::text[]) s WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = s)
"""


@dataclass
class Snapshot:
    """:ivar system_identifier: of the cluster; None where the role may not ask for it.
    :ivar taken_at: UTC, as in ``2026-11-25T02:00:00Z``.
    :ivar objects: in the order of kind and name.
    :ivar sequences: last_value and is_called of those that could be read, by name.
    :ivar rows: by table; None where the number is not known. Empty unless rows_are is ``estimated`` or ``exact``.
    :ivar checksums: by table, of those that could be read; empty unless asked for.
    :ivar unreadable: kind, name (``*`` for all of a kind) and reason of everything that was not read.
    :ivar schemas: the snapshot holds only what is in these; None for everything.
    :ivar identities: OIDs of the database and of what stands alone in it, by kind and name. No part of as_json(): they
        are for baselines, which tell by them what was renamed.
    """

    database: str
    system_identifier: str | None
    server_version_num: int
    role: str
    taken_at: str
    objects: dict[tuple[str, str], CatalogObject]
    sequences: dict[str, dict[str, Any]] = field(default_factory=dict)
    rows: dict[str, int | None] = field(default_factory=dict)
    rows_are: str = "none"
    checksums: dict[str, str] = field(default_factory=dict)
    unreadable: list[dict[str, str]] = field(default_factory=list)
    schemas: list[str] | None = None
    identities: dict[str, dict[str, int]] = field(default_factory=dict)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all objects; the same wherever the same statements made them."""
        names = [(o, "" if o.kind == DATABASE else o.name) for o in self.objects.values()]
        return digest(canonical([[o.kind, name, o.schema, o.relation, o.attributes] for o, name in names]))

    def arrange(self, objects: list[CatalogObject]) -> str:
        """Take these objects, in their order.

        :returns: their fingerprint, which is kept from here on.
        """
        self.objects = {each.key: each for each in sorted(objects, key=lambda each: each.key)}
        return self.fingerprint

    def counts(self) -> dict[str, int]:
        """Objects by kind."""
        found: dict[str, int] = {}
        for kind, _name in self.objects:
            found[kind] = found.get(kind, 0) + 1
        return found

    def as_json(self) -> dict[str, Any]:
        """In a fixed order. ``sum`` is over all but the objects, whose fingerprint it covers: it tells of any edit."""
        heading = {
            "format_version": FORMAT_VERSION,
            **{name: getattr(self, name) for name in _FIELDS},
            "fingerprint": self.fingerprint,
        }
        objects = [
            {**{name: getattr(each, name) for name in _OBJECT_FIELDS}, "fingerprint": each.fingerprint}
            for each in self.objects.values()
        ]
        return {**heading, "sum": digest(canonical(heading)), "objects": objects}

    @classmethod
    def from_json(cls, content: Any) -> Snapshot:
        """:raises RollbackError: ``baseline_invalid`` for what as_json() cannot have given."""
        version = content.get("format_version") if isinstance(content, dict) else None
        if version != FORMAT_VERSION:
            raise _invalid(
                "is no catalog snapshot" if version is None
                else f"has format {version!r}, and this release reads {FORMAT_VERSION}"
            )  # fmt: skip
        try:
            snapshot = cls(**{name: _typed(name, content[name]) for name in _FIELDS}, objects={})
            for each in content["objects"]:
                made = CatalogObject(**{name: each[name] for name in _OBJECT_FIELDS})
                if made.fingerprint != each["fingerprint"]:
                    raise _invalid(f"was changed after it was written, at the {made.label}")
                snapshot.objects[made.key] = made
            heading = {name: value for name, value in content.items() if name not in ("sum", "objects")}
            if digest(canonical(heading)) != content["sum"] or snapshot.fingerprint != content["fingerprint"]:
                raise _invalid("was changed after it was written")
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise _invalid(f"does not say what it should ({type(error).__name__}: {error!s:.100})") from error
        return snapshot


_OBJECT_FIELDS = ("kind", "name", "schema", "relation", "attributes")
_FIELDS: dict[str, tuple[type, ...]] = {
    "database": (str,), "system_identifier": (str, type(None)), "server_version_num": (int,), "role": (str,),
    "taken_at": (str,), "schemas": (list, type(None)), "rows_are": (str,), "unreadable": (list,), "sequences": (dict,),
    "rows": (dict,), "checksums": (dict,),
}  # fmt: skip


def _typed(name: str, value: Any) -> Any:
    if not isinstance(value, _FIELDS[name]):
        raise TypeError(f"{name} is of type {type(value).__name__}")
    return value


def _invalid(what: str) -> RollbackError:
    return RollbackError(
        "baseline_invalid",
        f"The baseline {what}.",
        "Use another one, or take a new one before the next migration (playbooks/baseline.yml).",
    )


def read_snapshot(
    connection: Any, rows: str = "estimated", checksums: bool = False, schemas: list[str] | None = None
) -> Snapshot:
    """Read everything in one read-only transaction.

    :param connection: in autocommit mode.
    :param rows: one of ROWS. ``estimated`` reads no table.
    :param checksums: of every table; reads all of them.
    :param schemas: only what is in these, by their unquoted names; None for everything.
    :raises RollbackError: ``lock_timeout``, ``statement_timeout``, ``catalog_changed``, ``privilege_missing``,
        ``object_unknown``.
    :raises psycopg2.Error: what else the database reports.
    """
    with _without_looking_for_garbage():
        return _read_snapshot(connection, rows, checksums, schemas)


@contextmanager
def _without_looking_for_garbage() -> Iterator[None]:
    """A hundred thousand new objects, none of them garbage, would be gone through again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _read_snapshot(connection: Any, rows: str, checksums: bool, schemas: list[str] | None) -> Snapshot:
    try:
        with told_why():
            begin_reading(connection, lock_timeout_ms=_LOCK_TIMEOUT)
            snapshot, catalog = _read(connection, rows, checksums, schemas)
    finally:
        end_reading(connection)
    with ThreadPoolExecutor(1) as beside:
        states = beside.submit(read_sequence_states, connection, catalog, _LOCK_TIMEOUT)
        # The server reads the sequences while the objects are put in order and their fingerprint is taken.
        snapshot.arrange(catalog.objects)
        snapshot.sequences = dict(sorted(states.result().items()))
    snapshot.unreadable = sorted(catalog.unreadable, key=lambda each: (each["kind"], each["name"]))
    return snapshot


def _read(
    connection: Any, rows: str, checksums: bool, schemas: list[str] | None
) -> tuple[Snapshot, Catalog]:
    cursor = connection.cursor()
    _limit(cursor, _CATALOG_TIMEOUT)
    cursor.execute(_HEADING)
    database, role, now, oid = cursor.fetchone()
    if schemas is not None:
        cursor.execute(_UNKNOWN_SCHEMAS, (schemas,))
        unknown = [name for (name,) in cursor.fetchall()]
        if unknown:
            raise RollbackError(
                "object_unknown",
                f"Database {database} has no schema {', '.join(unknown)}.",
                "Give the names of schemas that are there, without quotes; nothing was changed.",
            )
    catalog = read_catalog(connection, schemas)
    counts, sums = _contents(connection, catalog, rows, checksums)
    snapshot = Snapshot(
        database=database,
        system_identifier=cluster_identifier(cursor),
        server_version_num=connection.server_version,
        role=role,
        taken_at=now.replace(tzinfo=UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        objects={},
        rows=dict(sorted(counts.items())),
        rows_are=rows,
        checksums=dict(sorted(sums.items())),
        schemas=None if schemas is None else sorted(set(schemas)),
        identities={**catalog.identities, "database": {database: oid}},
    )
    return snapshot, catalog


def _contents(
    connection: Any, catalog: Catalog, rows: str, checksums: bool
) -> tuple[dict[str, int | None], dict[str, str]]:
    counts: dict[str, int | None] = {}
    sums: dict[str, str] = {}
    if rows == "exact" or checksums:
        _limit(connection.cursor(), _CONTENT_TIMEOUT)
        counts, sums = read_contents(connection, catalog, checksums, catalog.unreadable)
    if rows == "exact":
        return counts, sums
    return (estimated_rows(catalog) if rows == "estimated" else {}), sums


def _limit(cursor: Any, milliseconds: int) -> None:
    cursor.execute(sql.SQL("SET LOCAL statement_timeout = {}").format(sql.Literal(milliseconds)))
