# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Supabase's platform brings along and `supabase db dump` therefore leaves out, in a form that a drill can use.

schema.sql refers to the schemas `auth` and `storage` (foreign keys, `auth.uid()` in policies), and data.sql fills their
tables, which neither file makes. The stubs have the columns that data.sql names; the data land there, and the keys of
the application's tables are checked.
"""

from __future__ import annotations

import re
from pathlib import Path

from ansible_collections.pgops.rollback.plugins.module_utils.dump_files import plain_stream
from ansible_collections.pgops.rollback.plugins.module_utils.names import parse_name

_NAME = r'(?:"(?:[^"]|"")+"|[A-Za-z_][\w$]*)'
_FILLED = re.compile(rf"(?:COPY|INSERT INTO) ({_NAME})\.({_NAME}) \(([^)]*)\)")
_PLATFORM = frozenset({"auth", "storage", "supabase_functions", "extensions", "vault", "realtime", "graphql"})

_SETVAL = re.compile(rf"SELECT pg_catalog\.setval\('({_NAME})\.({_NAME})'")

#: Keys that the application's tables refer to have their own type; everything else is kept as it is written.
_UUID_KEYS = {("auth", "users"), ("storage", "objects")}

_FUNCTIONS = """
CREATE SCHEMA IF NOT EXISTS auth;
CREATE SCHEMA IF NOT EXISTS storage;
CREATE SCHEMA IF NOT EXISTS extensions;
CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql STABLE
    AS $$ SELECT nullif(current_setting('request.jwt.claim.sub', true), '')::uuid $$;
CREATE FUNCTION auth.role() RETURNS text LANGUAGE sql STABLE
    AS $$ SELECT nullif(current_setting('request.jwt.claim.role', true), '') $$;
CREATE FUNCTION auth.email() RETURNS text LANGUAGE sql STABLE
    AS $$ SELECT nullif(current_setting('request.jwt.claim.email', true), '') $$;
CREATE FUNCTION auth.jwt() RETURNS jsonb LANGUAGE sql STABLE
    AS $$ SELECT nullif(current_setting('request.jwt.claims', true), '')::jsonb $$;
"""


def stubs(directory: Path) -> str:
    """SQL that is run before the three files.

    :param directory: with data.sql.
    """
    tables = {("auth", "users"): ["id", "email"]}
    sequences = []
    with plain_stream(directory / "data.sql") as stream:
        for line in stream:
            if line.startswith((b"COPY ", b"INSERT INTO ")):
                match = _FILLED.match(line.decode("utf-8", "replace"))
                if match and (name := parse_name(f"{match[1]}.{match[2]}", "table"))[0] in _PLATFORM:
                    tables[name[0], name[1]] = [parse_name(part, "column")[0] for part in match[3].split(",")]
            elif line.startswith(b"SELECT ") and (match := _SETVAL.match(line.decode("utf-8", "replace"))):
                schema, sequence = parse_name(f"{match[1]}.{match[2]}", "sequence")
                sequences += [(schema, sequence)] if schema in _PLATFORM else []
    statements = [_FUNCTIONS]
    for schema in sorted({schema for schema, _name in [*tables, *sequences]}):
        statements.append(f"CREATE SCHEMA IF NOT EXISTS {_quoted(schema)};")
    for (schema, table), columns in tables.items():
        key = "uuid" if (schema, table) in _UUID_KEYS else "text"
        definitions = [f"{_quoted(name)} {f'{key} PRIMARY KEY' if name == 'id' else 'text'}" for name in columns]
        statements.append(f"CREATE TABLE {_quoted(schema)}.{_quoted(table)} ({', '.join(definitions)});")
    statements += [f"CREATE SEQUENCE {_quoted(schema)}.{_quoted(sequence)};" for schema, sequence in sequences]
    return "\n".join(statements)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
