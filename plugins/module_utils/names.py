# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""SQL names as people write them: ``public.orders``, ``"My Schema"."Order.Items"``."""

from __future__ import annotations

import re

from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError

_QUOTED = r'"(?:[^"\x00]|"")+"'
# Beyond ASCII every character is a letter; said as a range of them it would take 7 ms to compile.
_PLAIN = r"(?:[A-Za-z_]|[^\x00-\x7f])(?:[A-Za-z0-9_$]|[^\x00-\x7f])*"
_PART = re.compile(rf"\s*({_QUOTED}|{_PLAIN})\s*(\.|\Z)")
# The first parenthesis outside of quotes begins the types.
_SIGNATURE = re.compile(r"""((?:"(?:[^"]|"")*"|[^"(])*)(\(.*\)\s*)?""", re.DOTALL)
_NEEDS_NO_QUOTES = re.compile(r"[a-z_][a-z0-9_$]*\Z")
#: What the schemas begin with that a teardown moves things into: they are out of use, with all that is in them.
QUARANTINE = "rollback_quarantine_"

_ASCII_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def split_signature(text: str) -> tuple[str, str]:
    """Take the signature of a function apart: ``public."f (x)"(integer, text)``.

    :returns: the name, and the types in their parentheses; all of it and nothing when it is no signature.
    """
    match = _SIGNATURE.fullmatch(text)
    return (match[1], match[2] or "") if match else (text, "")


def parse_name(text: str, what: str) -> tuple[str, ...]:
    """Split a name into its parts as Postgres would: unquoted parts fold to lower case, quoted ones stay.

    Only ASCII letters fold, which is what the server does in a multi-byte encoding (``downcase_identifier``).

    :param what: the kind of object, for the message.
    :raises RollbackError: ``name_invalid``.
    """
    parts: list[str] = []
    position = 0
    while True:
        match = _PART.match(text, position)
        if match is None:
            raise RollbackError(
                "name_invalid",
                f"The {what} name {text!r} is not a name as SQL writes it.",
                'Put each part that holds anything but letters, digits and _ in double quotes: public."odd name".',
            )
        part, separator = match.groups()
        parts.append(part[1:-1].replace('""', '"') if part.startswith('"') else part.translate(_ASCII_LOWER))
        position = match.end()
        if not separator:
            return tuple(parts)


def parse_routine(signature: str) -> tuple[str, ...]:
    """The parts of the name in ``public.total(bigint)``, which may hold a parenthesis itself where it is quoted.

    :raises RollbackError: ``name_invalid``.
    """
    return parse_name(split_signature(signature)[0], "function")


def quote_name(*parts: str) -> str:
    """The name as SQL text that any Postgres reads back as these parts; quotes only where they are needed.

    Reserved words stay unquoted: the text is for people, statements are composed with ``psycopg2.sql``.
    """
    return ".".join(
        part if _NEEDS_NO_QUOTES.match(part) else '"' + part.replace('"', '""') + '"' for part in parts
    )
