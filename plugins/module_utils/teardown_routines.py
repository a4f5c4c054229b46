# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Functions, procedures and aggregates by their signatures.

A signature is resolved by the server, whose words for types are many. Types that are not the server's own need their
schema: whoever reads a manifest may have another search_path.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.driver import pg_errors, psycopg2
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError, server_message
from ansible_collections.pgops.rollback.plugins.module_utils.names import (
    parse_name,
    quote_name,
    split_signature,
)

#: Undefined function, schema, type.
_MISSING = ("42883", "3F000", "42704")

_NAMESAKES = """
SELECT p.oid::bigint,
       CASE p.prokind WHEN 'a' THEN 'aggregate' WHEN 'p' THEN 'procedure' ELSE 'function' END, n.nspname, p.proname,
       array_to_string(ARRAY (
           SELECT format_type(a.type, NULL) FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY AS a (type, place)
           ORDER BY a.place), ', '), p.proowner::bigint
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE p.proname = ANY (%s::text[]) AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY 3, 4, 5
"""

#: OID, kind, name with its signature, schema, name alone, owner.
Routine = tuple[int, str, str, str, str, int]


@dataclass(frozen=True)
class Signature:
    """:ivar parts: of the name.
    :ivar arguments: the types as they are written; None where only a name was given.
    """

    parts: tuple[str, ...]
    arguments: str | None

    @property
    def text(self) -> str:
        return quote_name(*self.parts) + ("" if self.arguments is None else f"({self.arguments})")


@dataclass
class Routines:
    """:ivar found: in the order of the signatures.
    :ivar missing: signatures of what is not there.
    :ivar overloads: functions of the same schema and name that were not asked for.
    """

    found: list[Routine]
    missing: list[str]
    overloads: list[str]


def parse_signature(text: str) -> Signature:
    """``schema.name(types)``, or the name alone.

    :raises RollbackError: ``name_invalid``.
    """
    name, types = split_signature(text)
    try:
        parts = parse_name(name, "function")
    except RollbackError as error:
        raise _malformed(text) from error
    if len(parts) > 2:
        raise _malformed(text)
    return Signature(parts, " ".join(types.strip()[1:-1].split()) if types else None)


def resolve_routines(cursor: Any, signatures: list[Signature]) -> Routines:
    """:param cursor: in a transaction.
    :raises RollbackError: ``name_invalid``, ``object_ambiguous``, ``object_twice``.
    """
    cursor.execute(_NAMESAKES, ([each.parts[-1] for each in signatures],))
    namesakes = {
        oid: (oid, kind, f"{quote_name(schema, name)}({arguments})", schema, name, owner)
        for oid, kind, schema, name, arguments, owner in cursor.fetchall()
    }
    routines = Routines([], [], [])
    for signature in signatures:
        candidates = [each for each in namesakes.values() if _is_name_of(signature.parts, each)]
        found = _choose(cursor, signature, candidates)
        if found is None:
            routines.missing.append(signature.text)
        elif namesakes[found] in routines.found:
            raise RollbackError(
                "object_twice",
                f"The manifest names the function {namesakes[found][2]} twice.",
                "Name it once; nothing was done.",
            )
        else:
            routines.found.append(namesakes[found])
    chosen = {each[0] for each in routines.found}
    routines.overloads = sorted(
        each[2] for oid, each in namesakes.items()
        if oid not in chosen and any(_is_name_of(signature.parts, each) for signature in signatures)
    )  # fmt: skip
    return routines


def _choose(cursor: Any, signature: Signature, candidates: list[Routine]) -> int | None:
    """The OID of the one that is meant."""
    schemas = {each[3] for each in candidates}
    if len(schemas) > 1 or (signature.arguments is None and len(candidates) > 1):
        raise RollbackError(
            "object_ambiguous",
            f"The function name {signature.text} stands for several: {', '.join(each[2] for each in candidates)}.",
            "Write the schema and the types of the arguments, too; nothing was done.",
        )
    if signature.arguments is None:
        return candidates[0][0] if candidates else None
    schema = schemas.pop() if schemas else signature.parts[0]
    return _by_signature(cursor, schema, signature)


def _by_signature(cursor: Any, schema: str, signature: Signature) -> int | None:
    name = ".".join('"' + part.replace('"', '""') + '"' for part in (schema, signature.parts[-1]))
    cursor.execute("SAVEPOINT signature")
    try:
        cursor.execute("SELECT %s::regprocedure::oid::bigint", (f"{name}({signature.arguments})",))
        found: int = cursor.fetchone()[0]
    except psycopg2.Error as error:
        cursor.execute("ROLLBACK TO SAVEPOINT signature")
        if isinstance(error, (pg_errors.SyntaxError, pg_errors.InvalidName, psycopg2.DataError)):
            raise _malformed(signature.text, server_message(error)) from error
        if error.pgcode not in _MISSING:
            raise
        return None
    cursor.execute("RELEASE SAVEPOINT signature")
    return found


def _is_name_of(parts: tuple[str, ...], routine: Routine) -> bool:
    return parts in ((routine[3], routine[4]), (routine[4],))


def _malformed(text: str, why: str = "") -> RollbackError:
    return RollbackError(
        "name_invalid",
        f"{text!r} is not the signature of a function{f' ({why})' if why else ''}.",
        "Write the schema, the name and the types of the arguments only: public.total(bigint, text); nothing was done.",
    )
