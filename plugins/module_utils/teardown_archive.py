# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What of an archive brings back what a drop takes, in the order in which an undo needs it.

Entries are found by the OIDs that pg_dump noted, never by name. What touches survivors comes last, one by one, since
others wait for it.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from ansible_collections.pgops.rollback.plugins.module_utils.archive_toc import (
    ArchiveDamagedError,
    ArchiveEntry,
    read_toc,
)
from ansible_collections.pgops.rollback.plugins.module_utils.blast_closure import Closure, Described
from ansible_collections.pgops.rollback.plugins.module_utils.driver import sql
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.system_user import own_user
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_bundle import Bundle

#: Entries without an OID that belong to what they depend on.
_BELONGING = (
    "ACL", "COMMENT", "SECURITY LABEL", "SEQUENCE SET", "SEQUENCE OWNED BY", "TABLE ATTACH", "INDEX ATTACH",
)  # fmt: skip
_ATTACHED = ("TABLE ATTACH", "INDEX ATTACH")

#: Entries that are parts of a table, which may be one that stays.
_PARTS = ("POLICY", "TRIGGER", "RULE", "CONSTRAINT", "CHECK CONSTRAINT", "DEFAULT", "INDEX")
_FOREIGN_KEY = "FK CONSTRAINT"

#: The last line of what pg_restore writes first: settings of a session, which are ours to decide.
_HEAD_ENDS = "SET row_security = "

_CATALOGS = "SELECT oid::bigint, relname::text FROM pg_class WHERE relnamespace = 'pg_catalog'::regnamespace"

_CONSTRAINTS = """
SELECT k.oid::bigint, n.nspname::text, c.relname::text, k.conname::text, k.convalidated, c.relkind::text,
       c.oid::bigint, k.confrelid::bigint
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE k.oid = ANY (%s::oid[])
"""

_COLUMNS = """
SELECT d.oid::bigint, n.nspname::text, c.relname::text, a.attname::text
FROM pg_attrdef d JOIN pg_class c ON c.oid = d.adrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum WHERE d.oid = ANY (%s::oid[])
"""

_RELATIONS = """
SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = ANY (%s::oid[]) AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') ORDER BY 1, 2
"""

_ROUTINES = "SELECT oid::regprocedure::text FROM pg_proc WHERE oid = ANY (%s::oid[]) ORDER BY 1"

_SCHEMAS = "SELECT nspname::text FROM pg_namespace WHERE oid = ANY (%s::oid[])"


@dataclass(frozen=True)
class Late:
    """A statement that touches what stays.

    :ivar validate: schema, table and name of a constraint that is added without looking at the rows.
    """

    statement: str
    validate: tuple[str, str, str] | None = None


@dataclass
class Steps:
    """An undo. Numbers are dump IDs of entries, in the order of the archive; statements are ready to be run.

    :ivar early: definitions of what goes as a whole, and of its parts.
    :ivar data: tables' rows, beside ``tables``: schema and name of each.
    :ivar sequences: statements that set them.
    :ivar relations: schema and name, whose privileges are to be none but those of ``privileges``.
    :ivar routines: as regprocedure takes them, the same; and ``schemas``.
    :ivar survivors: OIDs of what ``late`` locks.
    """

    early: list[int] = field(default_factory=list)
    data: list[int] = field(default_factory=list)
    tables: list[tuple[str, str]] = field(default_factory=list)
    sequences: list[str] = field(default_factory=list)
    relations: list[tuple[str, str]] = field(default_factory=list)
    routines: list[str] = field(default_factory=list)
    schemas: list[str] = field(default_factory=list)
    privileges: list[int] = field(default_factory=list)
    refresh: list[str] = field(default_factory=list)
    late: list[Late] = field(default_factory=list)
    survivors: list[int] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, bundle: Bundle) -> Steps:
        content = bundle.content["steps"]
        late = [Late(each["statement"], each["validate"] and tuple(each["validate"])) for each in content["late"]]
        return cls(**{**content, "late": late})


@dataclass(frozen=True)
class Archive:
    """An archive and the pg_restore that reads it."""

    path: Path
    pg_restore: Path
    timeout: float

    def entries(self) -> list[ArchiveEntry]:
        """:raises RollbackError: ``archive_damaged``."""
        try:
            return read_toc(self.path)[1]
        except (ArchiveDamagedError, OSError) as error:
            raise self._damaged(str(error)) from error

    def script(self, ids: list[int], section: str | None = None) -> str:
        """The SQL of these entries, without the settings that pg_restore begins with.

        :param section: ``pre-data`` or ``post-data``; None for both.
        :raises RollbackError: ``archive_damaged``, ``program_timeout``.
        """
        if not ids:
            return ""
        with self._list(ids) as wanted:
            command = self._command(wanted.name, section)
            answer = own_user().run(command, Path("/"), self.timeout)
        if answer.returncode:
            raise self._damaged(answer.stderr)
        lines = list(_without_frame(answer.stdout.splitlines(keepends=True)))
        # Of a section with no entry there are comments, which no server takes for a statement.
        return "".join(lines) if any(line.strip() and not line.startswith("--") for line in lines) else ""

    def rows(self, ids: list[int]) -> Iterator[Rows]:
        """Of each of these entries. What is left unread of one is skipped.

        :raises RollbackError: ``archive_damaged``.
        """
        if not ids:
            return
        number = 0
        with self._list(ids) as wanted, tempfile.TemporaryFile() as errors:
            with subprocess.Popen(
                self._command(wanted.name, "data"), cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=errors, env={**os.environ, "LC_ALL": "C"},
            ) as process:  # fmt: skip
                try:
                    stream = process.stdout
                    if stream is None:  # it was asked for
                        raise AssertionError
                    while (statement := _next_copy(stream)) is not None:
                        number += 1
                        block = Rows(statement, stream)
                        yield block
                        block.skip()
                        if not block.complete:
                            raise self._damaged("the rows of a table end in the middle")
                finally:
                    if process.poll() is None and number < len(ids):
                        process.kill()
            errors.seek(0)
            if process.returncode or number != len(ids):
                raise self._damaged(errors.read().decode(errors="replace") or "the rows of a table are not in it")

    def _list(self, ids: list[int]) -> Any:
        wanted = tempfile.NamedTemporaryFile("w", prefix="pgops-", encoding="utf-8")  # noqa: SIM115 - the caller does
        wanted.write("".join(f"{each};\n" for each in ids))
        wanted.flush()
        return wanted

    def _command(self, wanted: str, section: str | None) -> list[str]:
        return [
            str(self.pg_restore), f"--use-list={wanted}", "--file=-", *([f"--section={section}"] if section else []),
            str(self.path),
        ]  # fmt: skip

    def _damaged(self, what: str) -> RollbackError:
        reason = " ".join(what.replace("pg_restore: error: ", "").split())[:400].rstrip(".")
        return RollbackError(
            "archive_damaged",
            f"The archive {self.path} cannot be read: {reason}.",
            "Take the copy of it from your backup of the artifacts, and a pg_restore of the release that wrote it;"
            " nothing was done.",
        )


class Rows:
    """The rows of one table, as COPY reads and counts them.

    :ivar statement: that copies them in.
    :ivar complete: all of them were read.
    """

    def __init__(self, statement: str, stream: IO[bytes]) -> None:
        self.statement = statement
        self.number = 0
        self.complete = False
        self._stream = stream

    def read(self, size: int) -> bytes:
        """Whole rows, at least ``size`` bytes of them unless they end."""
        found: list[bytes] = []
        room = size
        while room > 0 and not self.complete:
            line = self._stream.readline()
            if line == b"\\.\n":
                self.complete = True
            elif not line.endswith(b"\n"):
                break  # it ended within the table; the caller is told by ``complete``
            else:
                self.number += 1
                room -= len(line)
                found.append(line)
        return b"".join(found)

    def skip(self) -> None:
        while self.read(1 << 20):
            pass


def choose(cursor: Any, closure: Closure, entries: list[ArchiveEntry]) -> Steps:
    """What of the archive brings back all of the closure.

    :param cursor: with search_path = pg_catalog, before the drop.
    """
    return _Chooser(cursor, closure, entries).steps()


class _Chooser:
    """:ivar _keys: catalog and OID of the entries, by dump ID.
    :ivar _chosen: dump IDs of those that are wanted; ``_belonging`` of these, those without an OID.
    :ivar _late: dump IDs of those that touch what stays.
    """

    def __init__(self, cursor: Any, closure: Closure, entries: list[ArchiveEntry]) -> None:
        self._cursor, self._closure, self._entries = cursor, closure, entries
        cursor.execute(_CATALOGS)
        catalogs = dict(cursor.fetchall())
        self._relations = closure.whole("pg_class")
        gone = {each[:2] for each in closure.objects if not each[2]}
        self._keys = {each.dump_id: (catalogs.get(each.catalog, ""), each.oid) for each in entries}
        alone = {
            each.dump_id for each in entries
            if self._keys[each.dump_id] in gone or (not each.catalog and each.oid and each.oid in self._relations)
        }  # fmt: skip
        self._belonging = {
            each.dump_id for each in entries
            if not each.catalog and not each.oid and each.kind in _BELONGING and alone.intersection(each.depends_on)
        }  # fmt: skip
        self._chosen = alone | self._belonging
        self._late: set[int] = set()
        self._constraints = _constraints(cursor, [each.oid for each in entries if each.kind == _FOREIGN_KEY])

    def steps(self) -> Steps:
        steps = Steps()
        for each in self._entries:
            if each.dump_id in self._chosen:
                self._add(steps, each)
        present = {self._keys[number] for number in self._chosen}
        _supplement(self._cursor, self._closure, present, steps)
        self._cursor.execute(_RELATIONS, (sorted(self._relations),))
        steps.relations = self._cursor.fetchall()
        self._cursor.execute(_ROUTINES, (sorted(self._closure.whole("pg_proc")),))
        steps.routines = [name for (name,) in self._cursor.fetchall()]
        self._cursor.execute(_SCHEMAS, (sorted(self._closure.whole("pg_namespace")),))
        steps.schemas = [name for (name,) in self._cursor.fetchall()]
        steps.survivors = sorted(set(steps.survivors) - self._relations)
        return steps

    def _add(self, steps: Steps, each: ArchiveEntry) -> None:
        if each.kind == "TABLE DATA":
            steps.data.append(each.dump_id)
            steps.tables.append((each.schema, each.name))
        elif each.kind == "SEQUENCE SET":
            steps.sequences.append(each.definition)
        elif each.kind == "MATERIALIZED VIEW DATA":
            steps.refresh.append(each.definition)
        elif each.kind == "ACL":
            steps.privileges.append(each.dump_id)
        elif self._on_survivor(each):
            self._late.add(each.dump_id)
            steps.late.append(_late(each, self._constraints))
            described = self._closure.described.get((*self._keys[each.dump_id], 0))
            steps.survivors += _touched(described, self._constraints.get(each.oid))
        else:
            steps.early.append(each.dump_id)

    def _on_survivor(self, each: ArchiveEntry) -> bool:
        if each.kind in _ATTACHED:
            return not self._chosen.issuperset(each.depends_on)
        if each.dump_id in self._belonging:
            return bool(self._late.intersection(each.depends_on))
        described = self._closure.described.get((*self._keys[each.dump_id], 0))
        return each.kind == _FOREIGN_KEY or (
            each.kind in _PARTS and described is not None and described.on_oid > 0
            and described.on_oid not in self._relations
        )  # fmt: skip


def _late(entry: ArchiveEntry, constraints: dict[int, tuple[Any, ...]]) -> Late:
    statement = entry.definition.rstrip().removesuffix(";")
    if entry.kind != _FOREIGN_KEY or entry.oid not in constraints:
        return Late(statement)
    *name, validated, relkind, _on, _references = constraints[entry.oid]
    if not validated or relkind == "p":
        return Late(statement)
    return Late(f"{statement} NOT VALID", (name[0], name[1], name[2]))


def _touched(described: Described | None, constraint: tuple[Any, ...] | None) -> list[int]:
    if constraint is not None:
        return [constraint[-1], constraint[-2]]
    return [described.on_oid] if described is not None else []


def _constraints(cursor: Any, oids: list[int]) -> dict[int, tuple[Any, ...]]:
    cursor.execute(_CONSTRAINTS, (oids,))
    return {oid: tuple(row) for oid, *row in cursor.fetchall()}


def _supplement(cursor: Any, closure: Closure, present: set[tuple[str, int]], steps: Steps) -> None:
    """What pg_dump writes within the definition of a table that stays."""
    relations = closure.whole("pg_class")
    lacking = [
        each for each in closure.described.values()
        if each.kind in ("constraint", "default") and each.on_oid > 0 and each.on_oid not in relations
        and each.address[:2] not in present and not each.facts.get("inherited")
    ]  # fmt: skip
    cursor.execute(_COLUMNS, ([each.address[1] for each in lacking if each.kind == "default"],))
    columns = {oid: row for oid, *row in cursor.fetchall()}
    constraints = _constraints(cursor, [each.address[1] for each in lacking if each.kind == "constraint"])
    for each in lacking:
        definition = each.definition or ""
        validate = None
        if each.kind == "default":
            *table, column = columns[each.address[1]]
            what = sql.SQL("ALTER TABLE ONLY {} ALTER COLUMN {} SET DEFAULT ").format(
                sql.Identifier(*table), sql.Identifier(column)
            )
        else:
            schema, table, name, validated, *_rest = constraints[each.address[1]]
            # Of what inherits, too.
            what = sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} ").format(
                sql.Identifier(schema, table), sql.Identifier(name)
            )
            if validated:
                definition, validate = f"{definition} NOT VALID", (schema, table, name)
        steps.late.append(Late(what.as_string(cursor) + definition, validate))
        steps.survivors.append(each.on_oid)


def _without_frame(lines: list[str]) -> Iterator[str]:
    head = True
    for line in lines:
        if head:
            head = not line.startswith(_HEAD_ENDS)
        elif not line.startswith(("\\unrestrict ", "\\restrict ")):
            yield line


def _next_copy(stream: IO[bytes]) -> str | None:
    """The next statement that copies rows in; None at the end. A name may have a line break in it."""
    statement = b""
    while line := stream.readline():
        if statement or line.startswith(b"COPY "):
            statement += line
            if line.endswith(b" FROM stdin;\n"):
                return statement.decode()
    return None
