# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The content manifest: what a dump holds, measured in the dump's own snapshot, in a JSON file beside it.

It is compared with the dump's file (verify_file) and with the database that was restored from it (compare).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterable, Sequence, Set
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.backup import (
    DEGRADED,
    FAULTY,
    PASSED,
    SKIPPED,
    Check,
    Progress,
)
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.file_sums import FileSum, beside, file_sums, files_of
from ansible_collections.pgops.rollback.plugins.module_utils.names import quote_name
from ansible_collections.pgops.rollback.plugins.module_utils.object_inventory import (
    KINDS,
    DatabaseObject,
    Extension,
    SequenceContent,
    read_extensions,
    read_objects,
    read_sequences,
)
from ansible_collections.pgops.rollback.plugins.module_utils.table_content import (
    ALGORITHMS,
    TableContent,
    list_large_objects,
    list_tables,
    measure,
    reading,
)
from ansible_collections.pgops.rollback.plugins.module_utils.wording import some

MANIFEST_VERSION = 1

MANIFEST_ENDING = ".manifest.json"

_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class ContentManifest:
    """What a dump holds.

    :ivar taken_at: when its snapshot was taken, UTC.
    :ivar system: the server's version in its own words, and its encoding.
    :ivar algorithm: of the tables' hashes, one of table_content.ALGORITHMS.
    :ivar format: of the dump, e.g. ``custom``.
    :ivar files: of a dump in one file just that one.
    :ivar database_bytes: size of the dumped database.
    """

    taken_at: datetime
    database: str
    database_bytes: int
    server_version_num: int
    system: dict[str, str]
    algorithm: str
    format: str
    files: tuple[FileSum, ...]
    tables: tuple[TableContent, ...]
    sequences: tuple[SequenceContent, ...]
    objects: tuple[DatabaseObject, ...]
    extensions: tuple[Extension, ...] = field(default=())

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables)

    def as_json(self) -> str:
        """In a fixed order; ``sum`` last, which tells whether anybody has edited it."""
        content: dict[str, Any] = {
            "manifest_version": MANIFEST_VERSION,
            "taken_at": self.taken_at.astimezone(UTC).strftime(_TIME),
            **{name: getattr(self, name) for name in _PLAIN},
            "system": self.system,
            "files": [asdict(file) for file in self.files],
            "tables": [asdict(table) for table in self.tables],
            "sequences": [asdict(sequence) for sequence in self.sequences],
            "inventory": {
                kind: [[o.schema, o.name, o.relation] for o in self.objects if o.kind == kind] for kind in KINDS
            },
            "extensions": [asdict(extension) for extension in self.extensions],
        }
        # One line for each table and object: it is read by people and compared by diff.
        whole = {**content, "sum": _sum(content)}
        lines = [f"  {json.dumps(name)}: {_lines(value)}" for name, value in whole.items()]
        return "{\n" + ",\n".join(lines) + "\n}\n"


#: Keys that are what they are.
_PLAIN = {"database": str, "database_bytes": int, "server_version_num": int, "algorithm": str, "format": str}


def _lines(value: Any) -> str:
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(f"    {json.dumps(each, ensure_ascii=False)}" for each in value) + "\n  ]"
    if isinstance(value, dict) and any(isinstance(each, list) for each in value.values()):
        return "{\n" + ",\n".join(f"  {json.dumps(key)}: {_lines(each)}" for key, each in value.items()) + "\n  }"
    return json.dumps(value, ensure_ascii=False)


def _sum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def manifest_path(dump: Path) -> Path:
    """Where the manifest of a dump is: beside it."""
    return beside(dump, MANIFEST_ENDING)


def write_manifest(manifest: ContentManifest, dump: Path) -> Path:
    """Write it beside the dump, whole or not at all, readable by its owner only.

    :raises OSError: when it cannot be written.
    """
    path = manifest_path(dump)
    handle, unfinished = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # with mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(manifest.as_json())
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(unfinished)
        raise
    return path


def read_manifest(path: Path) -> ContentManifest:
    """:raises RollbackError: ``manifest_invalid``."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _invalid(path, f"cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise _invalid(path, "is no JSON, or was cut short") from error
    version = content.get("manifest_version") if isinstance(content, dict) else None
    if version is None:
        raise _invalid(path, "is JSON, but no content manifest")
    if version != MANIFEST_VERSION:
        raise _invalid(path, f"has version {version!r}; this release reads version {MANIFEST_VERSION}")
    if content.pop("sum", None) != _sum(content):
        raise _invalid(path, "was changed after it was written")
    try:
        return _parsed(content)
    except (KeyError, TypeError, ValueError) as error:
        raise _invalid(path, f"does not say what it should ({type(error).__name__}: {error})") from error


def _parsed(content: dict[str, Any]) -> ContentManifest:
    for name, kind in _PLAIN.items():
        if not isinstance(content[name], kind):
            raise TypeError(f"{name} is {content[name]!r}")
    if content["algorithm"] not in ALGORITHMS:
        raise ValueError(f"unknown algorithm {content['algorithm']!r}")
    sequences = [
        SequenceContent(**{**each, "later": tuple(each["later"]) if each["later"] else None})
        for each in content["sequences"]
    ]
    return ContentManifest(
        taken_at=datetime.strptime(content["taken_at"], _TIME).replace(tzinfo=UTC),
        **{name: content[name] for name in _PLAIN},
        system=content["system"],
        files=tuple(FileSum(**each) for each in content["files"]),
        tables=tuple(TableContent(**each) for each in content["tables"]),
        sequences=tuple(sequences),
        objects=tuple(
            DatabaseObject(kind, *names) for kind, objects in content["inventory"].items() for names in objects
        ),
        extensions=tuple(Extension(**each) for each in content["extensions"]),
    )


def _invalid(path: Path, what: str) -> RollbackError:
    return RollbackError(
        "manifest_invalid",
        f"The content manifest {path.name} {what}.",
        "Use another backup, or take a new one with its manifest (playbooks/baseline.yml --tags dump).",
    )


# The file ------------------------------------------------------------------------------------------------------------


def verify_file(manifest: ContentManifest, dump: Path, progress: Progress) -> list[Check]:
    """Whether the dump is, byte for byte, the one that the manifest was written for. A renamed file still is.

    :returns: one check, ``manifest_sha256``.
    :raises OSError: when it cannot be read.
    """
    begun = time.monotonic()

    def check(status: str, message: str) -> list[Check]:
        return [Check("manifest_sha256", status, message, time.monotonic() - begun)]

    there = files_of(dump)
    renamed = not dump.is_dir() and manifest.format != "directory"
    known = {dump.name if renamed else file.path: file for file in manifest.files}
    missing, extra = sorted(known.keys() - there.keys()), sorted(there.keys() - known.keys())
    if missing or extra:
        said = [f"{text} {_some(names)}" for text, names in (("lacks", missing), ("also has", extra)) if names]
        return check(FAULTY, f"It is not what the manifest was written for: it {' and '.join(said)}.")
    resized = [
        f"{name} has {there[name].stat().st_size:,} bytes instead of {file.size_bytes:,}"
        for name, file in known.items() if there[name].stat().st_size != file.size_bytes
    ]  # fmt: skip
    if resized:
        return check(FAULTY, f"It is not what the manifest was written for: {_some(resized)}.")
    changed = [file.path for file in file_sums(dump, progress) if file.sha256 != known[file.path].sha256]
    if changed:
        return check(FAULTY, f"The SHA-256 sum is another than the manifest says: {_some(changed)} changed since.")
    return check(PASSED, f"Every byte is as the manifest says ({len(known)} file{'s' if len(known) > 1 else ''}).")


# The database --------------------------------------------------------------------------------------------------------


def compare(
    manifest: ContentManifest, connections: list[Any], progress: Progress, without: Set[str] = frozenset(),
    lacking: Sequence[str] = (),
) -> list[Check]:  # fmt: skip
    """Whether a restored database is what the manifest says.

    :param connections: to the restored database, in autocommit mode, by a role that may read everything. Nobody else
        works in it. With more than one, large tables are read in parallel.
    :param without: names of objects that could not be restored, as SQL writes them (``public.places``); what belongs to
        such a table is left out with it.
    :param lacking: in words, what the host of the restored database cannot provide, besides extensions. What needs it
        may be missing, but for tables.
    :returns: checks ``inventory``, ``counts``, ``hashes`` and ``sequences``.
    :raises psycopg2.Error: when the database cannot be read.
    """
    with reading(connections):
        cursor = connections[0].cursor()
        return [
            _compare_inventory(manifest, cursor, without, lacking),
            *_compare_tables(manifest, connections, progress, without),
            _compare_sequences(manifest, cursor, without),
        ]


def _compare_inventory(
    manifest: ContentManifest, cursor: Any, without: Set[str], lacking: Sequence[str]
) -> Check:
    begun = time.monotonic()
    there = set(read_objects(cursor))
    extensions = {extension.name for extension in read_extensions(cursor)}
    expected = [
        each for each in manifest.objects
        if each.text not in without and not (each.relation and quote_name(each.schema, each.relation) in without)
    ]  # fmt: skip
    missing = [each for each in expected if each not in there]
    absent = [each.name for each in manifest.extensions if each.name not in extensions]
    excuses = [f"the extensions {', '.join(absent)}", *lacking] if absent else list(lacking)
    shown = [f"{each.kind.replace('_', ' ')}: {each.text}" for each in missing]
    seconds = time.monotonic() - begun
    if missing and (not excuses or any(each.kind == "tables" for each in missing)):
        message = f"Objects of the manifest that are not there ({len(missing)}): {_some(shown)}."
        return Check("inventory", FAULTY, message, seconds)
    if absent or (missing and lacking):
        rest = f"and {len(missing)} other objects: {_some(shown)}." if missing else "; all else is there."
        message = f"Without {', without '.join(excuses)}{' ' if missing else ''}{rest}"
        return Check("inventory", DEGRADED, message, seconds)
    note = _left_out(len(manifest.objects) - len(expected))
    return Check("inventory", PASSED, f"All {len(expected)} objects of the manifest are there.{note}", seconds)


def _left_out(number: int) -> str:
    return f" Left out: {number}." if number else ""


def _compare_tables(
    manifest: ContentManifest, connections: list[Any], progress: Progress, without: Set[str]
) -> list[Check]:
    begun = time.monotonic()
    expected = [table for table in manifest.tables if quote_name(*table.key) not in without]
    if not expected:
        return [Check(name, SKIPPED, "The manifest holds no table to compare.") for name in ("counts", "hashes")]
    wanted = {table.key for table in expected}
    cursor = connections[0].cursor()
    present = [table for table in [*list_tables(cursor), *list_large_objects(cursor)] if table.key in wanted]
    listed = time.monotonic() - begun
    found = {table.key: table for table in measure(connections, present, manifest.algorithm, progress)}
    wrong_counts: list[str] = []
    wrong_hashes: list[str] = []
    for table in expected:
        name = quote_name(*table.key)
        restored = found.get(table.key)
        if restored is None:
            for wrong in (wrong_counts, wrong_hashes):
                wrong.append(f"{name} is not there")
        elif restored.rows != table.rows:
            wrong_counts.append(f"{name} {_by_how_much(restored.rows, table.rows)}")
            wrong_hashes.append(f"{name} has other rows")
        elif restored.hash != table.hash:
            wrong_hashes.append(f"{name} has as many rows ({table.rows:,}) but not the same ones")
    rows, number = sum(table.rows for table in expected), len(expected)
    note = _left_out(len(manifest.tables) - number)
    return [
        Check("counts", FAULTY if wrong_counts else PASSED,
              f"{_some(wrong_counts)}." if wrong_counts
              else f"All {number} tables have the rows of the manifest ({rows:,}).{note}", listed),
        Check("hashes", FAULTY if wrong_hashes else PASSED,
              f"{_some(wrong_hashes)}.{_versions(manifest, connections[0])}" if wrong_hashes
              else f"The rows of all {number} tables are those of the manifest, value for value ({rows:,}).{note}",
              time.monotonic() - begun - listed),
    ]  # fmt: skip


def _by_how_much(rows: int, expected: int) -> str:
    apart, which = abs(rows - expected), "less" if rows < expected else "more"
    of_all = f"({rows:,} of {expected:,})"
    return f"has {apart:,} row{'s' if apart > 1 else ''} {which} than the backup's manifest says {of_all}"


def _versions(manifest: ContentManifest, connection: Any) -> str:
    dumped, restored = manifest.server_version_num // 10000, connection.server_version // 10000
    return "" if dumped == restored else f" (Dumped from Postgres {dumped}, restored into {restored}.)"


def _compare_sequences(manifest: ContentManifest, cursor: Any, without: Set[str]) -> Check:
    begun = time.monotonic()
    there = {sequence.key: sequence for sequence in read_sequences(cursor)}
    wrong, uncertain, compared = [], [], 0
    for sequence in manifest.sequences:
        restored = there.get(sequence.key)
        if sequence.name in without:
            continue
        if restored is None:
            wrong.append(f"{sequence.name} is not there")
        elif sequence.set_back():
            uncertain.append(sequence.name)
        elif not sequence.covers(restored):
            wrong.append(
                f"{sequence.name} is at {_place(restored.last_value, restored.is_called)}, but the manifest says"
                f" {_place(sequence.last_value, sequence.is_called)}"
                + (f" to {_place(*sequence.later)}" if sequence.later else "")
            )
        compared += 1
    if wrong:
        status, message = FAULTY, f"{_some(wrong)}."
    elif uncertain:
        status = DEGRADED
        message = f"Not compared, since they were set back while the dump was taken: {_some(uncertain)}."
    else:
        status, message = PASSED, f"All {compared} sequences are where the manifest says."
    return Check("sequences", status, message, time.monotonic() - begun)


def _place(last_value: int, is_called: bool) -> str:
    return f"{last_value}" if is_called else f"{last_value} (not yet used)"


def _some(texts: Iterable[str]) -> str:
    return some(texts, separator="; ")
