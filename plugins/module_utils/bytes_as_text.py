# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Text of a database with the encoding SQL_ASCII, which may be any bytes and which the server hands out as they are.

It is nearly always UTF-8. What is not is shown as its bytes: ``caf\\xe9``.
"""

from __future__ import annotations

import codecs
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.driver import psycopg2

#: As libpq calls it.
ANY_BYTES = "SQL_ASCII"

_CODEC = "pgops_any_bytes"


def accept_any_bytes() -> None:
    """Have psycopg2 read such text, in every connection with ANY_BYTES for its client_encoding."""
    codecs.register(_find)
    psycopg2.extensions.encodings.update(dict.fromkeys((ANY_BYTES, ANY_BYTES.replace("_", "")), _CODEC))


def _find(name: str) -> codecs.CodecInfo | None:
    return codecs.CodecInfo(_encode, _decode, name=_CODEC) if name == _CODEC else None


def _encode(text: str, _errors: str = "strict") -> tuple[bytes, int]:
    return text.encode(), len(text)


def _decode(content: Any, _errors: str = "strict") -> tuple[str, int]:
    return bytes(content).decode("utf-8", "backslashreplace"), len(content)
