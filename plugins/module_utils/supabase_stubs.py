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

#: What the application's tables and views refer to has its own type; everything else is kept as it is written.
_TEXT_KEYS = {("storage", "buckets"), ("storage", "s3_multipart_uploads")}
_NUMBER_KEYS = {("auth", "refresh_tokens"), ("storage", "migrations"), ("supabase_functions", "hooks")}
_JSON = frozenset({"raw_app_meta_data", "raw_user_meta_data", "identity_data", "metadata", "user_metadata"})

_PUBLICATION = re.compile(rf"(ALTER|CREATE) PUBLICATION ({_NAME})")

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
        definitions = [f"{_quoted(name)} {_type(schema, table, name)}" for name in columns]
        statements.append(f"CREATE TABLE {_quoted(schema)}.{_quoted(table)} ({', '.join(definitions)});")
    statements += [f"CREATE SEQUENCE {_quoted(schema)}.{_quoted(sequence)};" for schema, sequence in sequences]
    statements += [f"CREATE PUBLICATION {_quoted(name)};" for name in _missing_publications(directory / "schema.sql")]
    return "\n".join(statements)


def _type(schema: str, table: str, column: str) -> str:
    if column != "id":
        return "jsonb" if column in _JSON else "text"
    key = "text" if (schema, table) in _TEXT_KEYS else "bigint" if (schema, table) in _NUMBER_KEYS else "uuid"
    return f"{key} PRIMARY KEY"


def _missing_publications(schema: Path) -> list[str]:
    """Those that are altered, but that the CLI has commented out the making of."""
    named: dict[str, set[str]] = {"ALTER": set(), "CREATE": set()}
    with plain_stream(schema) as stream:
        for line in stream:
            if match := _PUBLICATION.match(line.decode("utf-8", "replace")):
                named[match[1]].update(parse_name(match[2], "publication"))
    return sorted(named["ALTER"] - named["CREATE"])


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
