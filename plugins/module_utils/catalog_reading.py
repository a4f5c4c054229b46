# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads the objects of a database from its catalogs: one statement for each subject, all in the caller's transaction.

The server works on the next statement while the rows of the one before are made into objects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.catalog_cluster import CLUSTER_SUBJECTS, SYSTEM_PRIVILEGES
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_indexes import DEFINITIONS, PlainIndexes
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_object import CatalogObject
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_others import SELDOM_CHANGED, USER_MAPPINGS
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_privileges import privileges
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_relations import (
    AS_IT_IS,
    COLUMN,
    COLUMNS,
    INDEXES,
    NOT_NULL,
    ON_RELATION,
    RELATION_PARTS,
    RELATIONS,
    SEQUENCES,
    STANDALONE,
    Subject,
)
from ansible_collections.pgops.rollback.plugins.module_utils.catalog_schemas import SCHEMA_SUBJECTS, SCHEMAS, TYPES
from ansible_collections.pgops.rollback.plugins.module_utils.driver import pg_errors
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError, server_message
from ansible_collections.pgops.rollback.plugins.module_utils.names import quote_name

#: Without these nothing else can be told. Whatever is a part of something comes after it.
_NEEDED = (SCHEMAS, TYPES, RELATIONS)
SUBJECTS = (*_NEEDED, *RELATION_PARTS, *SCHEMA_SUBJECTS, *SELDOM_CHANGED, *CLUSTER_SUBJECTS)

_MEMBERS = "SELECT classid::regclass::text, objid FROM pg_depend WHERE deptype = 'e'"
_COMMENTS = """
SELECT classoid::regclass::text, objoid, objsubid, description FROM pg_description
WHERE objoid >= 16384 OR classoid IN ('pg_namespace'::regclass, 'pg_extension'::regclass)
"""

#: Columns of every statement before the attributes; the last two of them become attributes as well.
_LEADING = 8

#: Kinds that have a definition, though others of the same statement have none.
_DEFINED = ("view", "materialized view", "constraint", "trigger", "rule", "statistics")

Row = tuple[Any, ...]
#: Schema, relation and name.
Place = tuple[str, str, str]


@dataclass(frozen=True)
class Relation:
    """:ivar quoted: its name as SQL writes it.
    :ivar relkind: as in pg_class; empty for a domain, which may have constraints too.
    :ivar reltuples: the planner's estimate; below zero where there is none.
    """

    schema: str
    name: str
    quoted: str
    relkind: str = ""
    reltuples: float = -1
    parents: tuple[int, ...] = ()


@dataclass(frozen=True)
class SequenceEntry:
    oid: int
    schema: str
    name: str
    quoted: str
    readable: bool


@dataclass
class Catalog:
    """:ivar relations: by OID; domains by their OID below zero.
    :ivar unreadable: kind, name and reason of what the role may not read.
    :ivar identities: OIDs of what stands alone, by kind and name.
    """

    objects: list[CatalogObject] = field(default_factory=list)
    identities: dict[str, dict[str, int]] = field(default_factory=dict)
    relations: dict[int, Relation] = field(default_factory=dict)
    sequences: list[SequenceEntry] = field(default_factory=list)
    unreadable: list[dict[str, str]] = field(default_factory=list)


@contextmanager
def told_why() -> Iterator[None]:
    """What keeps a reader of the catalogs from reading them, in words.

    :raises RollbackError: ``lock_timeout``, ``statement_timeout``, ``catalog_changed``.
    """
    try:
        yield
    except pg_errors.LockNotAvailable as error:
        raise RollbackError(
            "lock_timeout",
            f"Another session keeps something locked that has to be described ({server_message(error)}).",
            "Run it again when the migration, or whatever holds the lock, has ended; nothing was changed.",
        ) from error
    except pg_errors.QueryCanceled as error:
        raise RollbackError(
            "statement_timeout",
            f"Reading the catalogs was ended by the server ({server_message(error)}).",
            "Run it again when the server is less busy; nothing was changed.",
        ) from error
    except (pg_errors.InternalError_, pg_errors.UndefinedObject, pg_errors.UndefinedTable) as error:
        raise changed_meanwhile() from error


def changed_meanwhile() -> RollbackError:
    return RollbackError(
        "catalog_changed",
        "Objects were dropped or replaced while the catalogs were being read, so they were not read as of one moment.",
        "Run it again when the migration, or whatever changes them, has ended; nothing was changed.",
    )


def read_catalog(connection: Any, schemas: list[str] | None) -> Catalog:
    """Every object that is neither the system's own, nor temporary, nor a member of an extension.

    :param connection: in a transaction of table_content.begin_reading().
    :param schemas: only what is in these; None for everything.
    :raises RollbackError: ``catalog_changed``, ``privilege_missing``.
    :raises psycopg2.Error: what the database reports.
    """
    return _Reader(connection, schemas).read()


class _Reader:
    """Knows the OIDs, none of which gets into an object."""

    def __init__(self, connection: Any, schemas: list[str] | None) -> None:
        self._cursor = connection.cursor()
        self._schemas = None if schemas is None else set(schemas)
        self._catalog = Catalog()
        self._members = set(self._rows(_MEMBERS))
        self._comments = {(catalog, oid, number): text for catalog, oid, number, text in self._rows(_COMMENTS)}
        self._not_null = {(relation, number): rest for relation, number, *rest in self._rows(NOT_NULL)}
        self._plain_indexes = PlainIndexes(self._cursor)
        self._definitions: dict[int, str] = {}
        # The same few names come up again and again.
        self._quoted = lru_cache(maxsize=None)(quote_name)

    def read(self) -> Catalog:
        self._cursor.execute("SAVEPOINT subject")
        with ThreadPoolExecutor(1) as ahead:
            answers = {subject: ahead.submit(self._ask, subject) for subject in SUBJECTS}
            try:
                for subject, answer in answers.items():
                    labels, rows = answer.result()
                    if subject is INDEXES:
                        # Asked after all the rest, for nothing waits for it.
                        rest = self._describe_plain_indexes(labels, rows)
                        others = ahead.submit(self._rows, f"ROLLBACK TO SAVEPOINT subject; {DEFINITIONS}", (rest,))
                    else:
                        self._take(subject, labels, rows)
                self._definitions.update(others.result())
                self._take(INDEXES, *answers[INDEXES].result())
            finally:
                ahead.shutdown(cancel_futures=True)
        return self._catalog

    def _describe_plain_indexes(self, labels: list[str], rows: list[Row]) -> list[int]:
        """:returns: the OIDs of the others, without those that a constraint made."""
        others = []
        for row in rows:
            relation = self._catalog.relations.get(row[1])
            found = dict(zip(labels[_LEADING:], row[_LEADING:], strict=True))
            if relation is None or found["constraint"] is not None:
                continue
            definition = self._plain_indexes.definition(row[1], (relation.schema, relation.name), row[2], found)
            if definition is None:
                others.append(row[4])
            else:
                self._definitions[row[4]] = definition
        return others

    def _rows(self, query: str, parameters: Any = None) -> list[Row]:
        self._cursor.execute(query, parameters)
        rows: list[Row] = self._cursor.fetchall()
        return rows

    def _ask(self, subject: Subject) -> tuple[list[str], list[Row]]:
        """In one round trip, for each has to wait for its turn beside the thread that makes the objects.

        Going back to the savepoint returns the locks that it took to print a view's definition, and undoes an error.
        """
        try:
            rows = self._rows(f"ROLLBACK TO SAVEPOINT subject; {subject.query}")
        except pg_errors.InsufficientPrivilege as error:
            reason = server_message(error)
            if subject in _NEEDED:
                raise RollbackError(
                    "privilege_missing",
                    f"Without the catalog {subject.catalog} there is no snapshot: {reason}.",
                    f"Grant the role SELECT on pg_catalog.{subject.catalog}; nothing was changed.",
                ) from error
            self._catalog.unreadable += [{"kind": kind, "name": "*", "reason": reason} for kind in subject.kinds]
            return [], []
        labels = [column.name for column in self._cursor.description]
        if self._members:
            rows = [row for row in rows if row[5] or (subject.catalog, row[4]) not in self._members]
        return labels, rows

    def _take(self, subject: Subject, labels: list[str], rows: list[Row]) -> None:
        """Make the objects of a subject."""
        plain = [(index, name) for index, name in enumerate(labels) if index >= _LEADING and name[0] != "_"]
        if subject is RELATIONS:
            self._know_relations(rows, labels)
        place_of, further = self._place_of(subject), self._further(subject, labels)
        alone = subject.names in (STANDALONE, AS_IT_IS)
        # Most columns are like many others, and share their attributes.
        alike: dict[Row, dict[str, Any]] = {}
        for row in rows:
            place = place_of(row)
            if place is None:
                continue
            if subject is COLUMNS:
                attributes = alike.get(row[6:]) or alike.setdefault(row[6:], _attributes(row, plain))
            else:
                attributes = _attributes(row, plain)
            more = further(row, place) if further else {}
            comment = self._comments.get((subject.catalog, row[4], row[5]))
            if comment is not None:
                more = {**more, "comment": comment}
            schema, relation, name = place
            if alone and row[4]:
                self._catalog.identities.setdefault(row[0], {})[name] = row[4]
            self._catalog.objects.append(
                CatalogObject(row[0], name, schema, relation, {**attributes, **more} if more else attributes)
            )

    def _wanted(self, schema: str | None) -> bool:
        return self._schemas is None or schema in self._schemas

    def _place_of(self, subject: Subject) -> Callable[[Row], Place | None]:
        """What tells where a row's object belongs, or None where that is not wanted."""
        relations, quoted = self._catalog.relations, self._quoted

        def column(row: Row) -> Place | None:
            relation = relations.get(row[1])
            if relation is None:
                return None
            return relation.schema, relation.name, f"{relation.quoted}.{quoted(row[2])}"

        def on_relation(row: Row) -> Place | None:
            relation = relations.get(row[1])
            if relation is None:
                return None
            return relation.schema, relation.name, f"{quoted(row[2])} on {relation.quoted}"

        def as_it_is(row: Row) -> Place | None:
            return (row[1] or "", "", row[2]) if self._wanted(row[1]) else None

        def standalone(row: Row) -> Place | None:
            if not self._wanted(row[1]):
                return None
            return row[1] or "", "", (f"{quoted(row[1])}.{quoted(row[2])}" if row[1] else quoted(row[2])) + row[3]

        return {COLUMN: column, ON_RELATION: on_relation, AS_IT_IS: as_it_is}.get(subject.names, standalone)

    def _know_relations(self, rows: list[Row], labels: list[str]) -> None:
        """Before the objects are made: a table may come before its parent."""
        relkind, reltuples, parents = (labels.index(name) for name in ("_relkind", "_reltuples", "_parents"))
        for row in rows:
            if self._wanted(row[1]):
                name = f"{self._quoted(row[1])}.{self._quoted(row[2])}"
                self._catalog.relations[row[4]] = Relation(
                    row[1], row[2], name, row[relkind], row[reltuples], tuple(row[parents] or ())
                )

    def _further(self, subject: Subject, labels: list[str]) -> Callable[[Row, Place], dict[str, Any]] | None:
        """What gives the attributes that follow from other rows."""
        relations = self._catalog.relations

        def of_relation(row: Row, _place: Place) -> dict[str, Any]:
            parents = [relations[oid].quoted for oid in relations[row[4]].parents if oid in relations]
            return {"parents": parents} if parents else {}

        def of_column(row: Row, place: Place) -> dict[str, Any]:
            self._plain_indexes.columns[row[1], row[5]] = row[2], row[-2], row[-1]
            constraint = self._not_null.get((row[1], row[5]))
            if constraint is None:
                return {}
            name, more = constraint
            # Told where it is not the one that the server makes.
            return {"not_null_constraint": name + more} if more or name != f"{place[1]}_{row[2]}_not_null" else {}

        def of_index(row: Row, _place: Place) -> dict[str, Any]:
            definition = self._definitions.get(row[4])
            if definition is None and row[-1] is None:
                raise changed_meanwhile()
            return {"definition": definition} if definition else {}

        def of_type(row: Row, place: Place) -> dict[str, Any]:
            if row[0] == "domain":
                relations[-row[4]] = Relation(row[1], row[2], place[2])
            return {}

        def of_sequence(row: Row, place: Place) -> dict[str, Any]:
            named = dict(zip(labels, row, strict=True))
            self._catalog.sequences.append(SequenceEntry(row[4], row[1], row[2], place[2], named["_readable"]))
            owner = relations.get(named["_owner"])
            return {"owned_by": f"{owner.quoted}.{self._quoted(named['_column'])}"} if owner else {}

        special: dict[Subject, Callable[[Row, Place], dict[str, Any]]] = {
            RELATIONS: of_relation, TYPES: of_type, COLUMNS: of_column, INDEXES: of_index, SEQUENCES: of_sequence,
            USER_MAPPINGS: partial(self._of_user_mapping, labels), SYSTEM_PRIVILEGES: partial(_of_system, labels),
        }  # fmt: skip
        return special.get(subject)

    def _of_user_mapping(self, labels: list[str], row: Row, place: Place) -> dict[str, Any]:
        if row[labels.index("_hidden")]:
            self._catalog.unreadable.append(
                {"kind": row[0], "name": place[2], "reason": "The role may not see its options."}
            )
        return {}


def _of_system(labels: list[str], row: Row, _place: Place) -> dict[str, Any]:
    return {"initially": privileges(row[labels.index("_initially")], row[6])}


def _attributes(row: Row, plain: list[tuple[int, str]]) -> dict[str, Any]:
    """:raises RollbackError: ``catalog_changed``, where a definition cannot be told any more."""
    attributes = {name: row[index] for index, name in plain if row[index] is not None and row[index] != []}
    if row[0] in _DEFINED and "definition" not in attributes:
        raise changed_meanwhile()
    if row[6] is not None and row[0] != "column":  # which has its table's
        attributes["owner"] = row[6]
    if row[7] is not None:
        attributes["privileges"] = privileges(row[7], row[6])
    return attributes
