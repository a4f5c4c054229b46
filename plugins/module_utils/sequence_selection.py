# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which sequences are meant: by schema, by table, by name, or all of the user schemas."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.names import parse_name, quote_name
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_catalog import (
    KeyWithoutDefault,
    Sequence,
    SequenceCatalog,
)

#: The options that select, for the argument specs of sequence_info and sequence_reset.
SELECTION_ARGUMENTS: dict[str, dict[str, Any]] = {
    "schemas": {"type": "list", "elements": "str", "default": []},
    "tables": {"type": "list", "elements": "str", "default": []},
    "sequences": {"type": "list", "elements": "str", "default": []},
    "manifest": {"type": "dict"},
}

# Every relation of the user schemas with the extension it belongs to, if any.
_RELATIONS = """
SELECT n.nspname, c.relname, c.oid, c.relkind,
       (SELECT x.extname FROM pg_catalog.pg_depend e JOIN pg_catalog.pg_extension x ON x.oid = e.refobjid
        WHERE e.classid = 'pg_catalog.pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e'
          AND e.refclassid = 'pg_catalog.pg_extension'::regclass)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'S') AND c.relpersistence <> 't'
  AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
ORDER BY n.nspname, c.relname
"""
_SCHEMAS = "SELECT nspname FROM pg_catalog.pg_namespace WHERE nspname <> 'information_schema' AND nspname !~ '^pg_'"

_KIND_WORDS = {"table": ("r", "p"), "sequence": ("S",)}


@dataclass
class Selection:
    """What a call looks at.

    :ivar named_tables: OIDs of the tables that were named one by one, not found through their schema.
    :ivar idle_tables: those of them that no sequence feeds, as they were written.
    """

    sequences: list[Sequence]
    keys_without_default: list[KeyWithoutDefault]
    named_tables: list[int] = field(default_factory=list)
    idle_tables: list[str] = field(default_factory=list)


def select(cursor: Any, catalog: SequenceCatalog, options: dict[str, Any]) -> Selection:
    """Resolve the selection options against the catalog; given together, they add up.

    :param options: the values of SELECTION_ARGUMENTS.
    :raises RollbackError: ``name_invalid``, ``object_unknown``, ``object_ambiguous``, ``extension_member``,
        ``manifest_invalid``, ``selection_empty``.
    """
    wanted = {kind: list(options.get(kind) or []) for kind in ("schemas", "tables", "sequences")}
    manifest = options.get("manifest")
    if manifest is not None:
        for kind in ("tables", "sequences"):
            wanted[kind] += _manifest_names(manifest, kind)
    if not any(wanted.values()) and manifest is None:
        chosen = [sequence for sequence in catalog.sequences if not sequence.extension_member]
        everything = Selection(chosen, catalog.keys_without_default)
        return _not_empty(everything, "no user schema of this database has a sequence")

    schemas = _resolve_schemas(cursor, wanted["schemas"])
    tables, sequences = _resolve_relations(cursor, wanted["tables"], wanted["sequences"])

    def chosen_sequence(sequence: Sequence) -> bool:
        if sequence.oid in sequences:
            return True
        if any(column.relation in tables for column in sequence.columns):
            return True
        in_schema = sequence.schema in schemas or any(column.schema in schemas for column in sequence.columns)
        return in_schema and not sequence.extension_member

    keys = [
        key
        for key in catalog.keys_without_default
        if key.schema in schemas or key.relation in tables or (key.sequence and key.sequence.oid in sequences)
    ]
    # A manifest names all its tables; whoever names one alone expects something of it.
    fed = {column.relation for each in catalog.sequences for column in each.columns} | {key.relation for key in keys}
    idle = [text for text, oid in zip(wanted["tables"], tables, strict=True) if manifest is None and oid not in fed]
    # A sequence that its column lost feeds nothing, and still belongs to the table that was named.
    of_keys = {key.sequence.oid for key in keys if key.sequence}
    found = [each for each in catalog.sequences if chosen_sequence(each) or each.oid in of_keys]
    names = ", ".join(name for given in wanted.values() for name in given)
    return _not_empty(Selection(found, keys, tables, idle), f"no sequence feeds {names or 'what the manifest names'}")


def _not_empty(selection: Selection, what: str) -> Selection:
    if not selection.sequences and not selection.keys_without_default:
        raise RollbackError(
            "selection_empty",
            f"The selection is empty: {what}.",
            "Check the schemas, tables and sequences asked for, and that this is the right database; nothing was done.",
        )
    return selection


def _manifest_names(manifest: dict[str, Any], kind: str) -> list[str]:
    names = manifest.get(kind) or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RollbackError(
            "manifest_invalid", f"In the manifest, {kind} is not a list of names.", "Correct the manifest file."
        )
    return names


def _resolve_schemas(cursor: Any, names: list[str]) -> set[str]:
    if not names:
        return set()
    cursor.execute(_SCHEMAS)
    known = {schema for (schema,) in cursor.fetchall()}
    found = set()
    for text in names:
        parts = parse_name(text, "schema")
        if len(parts) != 1 or parts[0] not in known:
            raise _unknown("schema", text, (quote_name(schema) for schema in known))
        found.add(parts[0])
    return found


def _resolve_relations(cursor: Any, tables: list[str], sequences: list[str]) -> tuple[list[int], list[int]]:
    """OIDs, in the order of the names."""
    if not tables and not sequences:
        return [], []
    cursor.execute(_RELATIONS)
    rows = cursor.fetchall()
    return (
        [_resolve(text, "table", rows) for text in tables],
        [_resolve(text, "sequence", rows) for text in sequences],
    )


def _resolve(text: str, kind: str, rows: list[tuple[Any, ...]]) -> int:
    """The OID of the one relation that the name means; without a schema it must be unique in the database."""
    parts = parse_name(text, kind)
    candidates = [row for row in rows if row[3] in _KIND_WORDS[kind]]
    matches = [row for row in candidates if parts in ((row[0], row[1]), (row[1],))]
    if not matches:
        raise _unknown(kind, text, (quote_name(*row[:2]) for row in candidates))
    if len(matches) > 1:
        raise RollbackError(
            "object_ambiguous",
            f"The {kind} name {text} stands for several: {', '.join(quote_name(*row[:2]) for row in matches)}.",
            "Write the schema too.",
        )
    schema, relation, oid, _relkind, extension = matches[0]
    if extension is not None:
        raise RollbackError(
            "extension_member",
            f"The {kind} {quote_name(schema, relation)} belongs to the extension {extension}, which looks after it.",
            "Leave it out of the selection; nothing was done.",
        )
    return int(oid)


def _unknown(kind: str, text: str, known: Iterable[str]) -> RollbackError:
    by_letters = {name.replace('"', "").lower(): name for name in sorted(known)}
    asked = text.replace('"', "").lower()
    # An unqualified name is near the part behind the dot, too.
    by_letters.update({key.rpartition(".")[2]: name for key, name in list(by_letters.items())} if "." not in asked
                      else {})
    near = difflib.get_close_matches(asked, list(by_letters), n=1, cutoff=0.75)
    hint = f"Did you mean {by_letters[near[0]]}?" if near else f"Check the {kind} names asked for."
    return RollbackError(
        "object_unknown",
        f"This database has no user schema {text}." if kind == "schema" else
        f"This database has no {kind} {text} in a user schema.",
        f"{hint} Names are read as SQL reads them: upper case needs double quotes. Nothing was done.",
    )
