# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What stands in the way of a full restore on the server: rights, prepared transactions, what the dump needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.archive_toc import read_toc
from ansible_collections.pgops.rollback.plugins.module_utils.backup import Backup
from ansible_collections.pgops.rollback.plugins.module_utils.blocker import MOST_NAMED, Blocker
from ansible_collections.pgops.rollback.plugins.module_utils.connection import ServerInfo
from ansible_collections.pgops.rollback.plugins.module_utils.database_properties import Properties
from ansible_collections.pgops.rollback.plugins.module_utils.dump_files import ARCHIVES, SUPABASE
from ansible_collections.pgops.rollback.plugins.module_utils.dump_needs import Needs, needs
from ansible_collections.pgops.rollback.plugins.module_utils.report_content import size_text
from ansible_collections.pgops.rollback.plugins.module_utils.restore_space import Space
from ansible_collections.pgops.rollback.plugins.module_utils.wording import listed

DISK_OVERRIDE = "database_restore_disk_free"

#: Roles by which a managed service is known, and what it has instead.
_MANAGED = {
    "supabase_admin": "This is Supabase, which keeps sessions of its own in the database: restore in its dashboard"
    " (Database, Backups) or with its Management API.",
    "rdsadmin": "This is Amazon RDS: restore a snapshot, or to a point in time, into a new instance, and move the"
    " application there.",
    "cloudsqladmin": "This is Cloud SQL: restore a backup into another instance, and move the application there.",
    "azure_superuser": "This is Azure Database: restore to a point in time into a new server, and move the application"
    " there.",
    "neon_superuser": "This is Neon: make a branch of the time before the migration, and move the application there.",
}

_RIGHTS = """
SELECT r.rolsuper, r.rolsuper OR r.rolcreatedb,
       pg_catalog.pg_has_role(d.datdba, 'USAGE') AND pg_catalog.pg_has_role(d.datdba, 'MEMBER'),
       pg_catalog.has_tablespace_privilege(d.dattablespace, 'CREATE')
         OR d.dattablespace = (SELECT dattablespace FROM pg_catalog.pg_database WHERE datname = 'template0')
FROM pg_catalog.pg_roles r, pg_catalog.pg_database d
WHERE r.rolname = current_user AND d.oid = %s
"""
_MANAGERS = "SELECT rolname::text FROM pg_catalog.pg_roles WHERE rolname = ANY (%s)"
# Whoever may signal may do so to everybody but superusers; others to those whose member they are.
_BEYOND = """
SELECT DISTINCT a.usename::text FROM pg_catalog.pg_stat_activity a JOIN pg_catalog.pg_roles u ON u.oid = a.usesysid
WHERE a.datid = %s AND a.pid <> pg_catalog.pg_backend_pid()
  AND NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)
  AND (u.rolsuper OR NOT (pg_catalog.pg_has_role(a.usesysid, 'USAGE')
                          OR pg_catalog.pg_has_role('pg_signal_backend', 'USAGE')))
ORDER BY 1
"""
_PREPARED = "SELECT gid::text FROM pg_catalog.pg_prepared_xacts WHERE database = %s ORDER BY 1"
_ROLES = "SELECT rolname::text, pg_catalog.pg_has_role(oid, 'MEMBER') FROM pg_catalog.pg_roles"
_EXTENSIONS = "SELECT name::text FROM pg_catalog.pg_available_extensions"
_TABLESPACES = "SELECT spcname::text FROM pg_catalog.pg_tablespace"


def rights_blockers(cursor: Any, live: Properties) -> list[Blocker]:
    """Of making a database and of renaming one, and of ending who is connected."""
    cursor.execute(_RIGHTS, (live.oid,))
    superuser, may_create, owns, may_use_tablespace = cursor.fetchone()
    lacking = []
    if not may_create:
        lacking.append("it may not create databases (CREATEDB)")
    if not superuser and not owns:
        lacking.append(f"it is no member of {live.owner}, who owns {live.name}")
    if not may_use_tablespace:
        lacking.append(f"it may not use the tablespace {live.tablespace}")
    found = []
    if lacking:
        found.append(Blocker(
            "privilege_missing",
            f"This role cannot put another database in the place of {live.name}: {'; '.join(lacking)}.",
            managed_way(cursor) or f"Let a superuser run it, or a member of {live.owner} with CREATEDB.",
        ))  # fmt: skip
    found += session_blockers(cursor, live)
    return found


def session_blockers(cursor: Any, live: Properties) -> list[Blocker]:
    """Of a swap alone."""
    found = []
    cursor.execute(_BEYOND, (live.oid,))
    if beyond := [name for (name,) in cursor.fetchall()]:
        found.append(Blocker(
            "sessions_beyond_reach",
            f"This role may not end the sessions of {listed(beyond, MOST_NAMED)}, so the database cannot be renamed.",
            managed_way(cursor) or "Stop them, grant this role pg_signal_backend, or let a superuser run it.",
        ))  # fmt: skip
    cursor.execute(_PREPARED, (live.name,))
    if prepared := [name for (name,) in cursor.fetchall()]:
        found.append(Blocker(
            "prepared_transactions",
            f"Prepared transactions keep the database from being renamed: {listed(prepared, MOST_NAMED)}.",
            "Commit them or roll them back (COMMIT PREPARED, ROLLBACK PREPARED).",
        ))  # fmt: skip
    return found


def managed_way(cursor: Any) -> str:
    """What a managed service has in place of it; empty for a server of one's own."""
    cursor.execute(_MANAGERS, (list(_MANAGED),))
    return next((_MANAGED[name] for (name,) in cursor.fetchall()), "")


def backup_blockers(cursor: Any, server: ServerInfo, backup: Backup) -> list[Blocker]:
    """What this server cannot do with this dump.

    :raises ArchiveDamagedError, RollbackError, OSError: of what reads the dump.
    """
    path, form = Path(backup.location), backup.details["format"]
    if form == SUPABASE:
        return [Blocker(
            "backup_form",
            f"{backup.id} is a dump of the Supabase CLI, which is made to be loaded into a Supabase project.",
            "Take a dump of pg_dump, or load it into a new project as Supabase describes.",
        )]  # fmt: skip
    found = []
    major = backup.details["dump_major"] or 0
    if major > server.major:
        found.append(Blocker(
            "major_wrong",
            f"{backup.id} is of Postgres {major}, and the server is {server.version}, which does not know all that may"
            " be in it.",
            "Restore it into a server of its own release, or take a backup of this one.",
        ))  # fmt: skip
    needed = needs(path, form)
    cursor.execute(_ROLES)
    roles = dict(cursor.fetchall())
    if missing := sorted(role for role in needed.roles - set(roles) if not role.startswith("pg_")):
        found.append(Blocker(
            "roles_missing",
            f"The dump names roles that the server does not have: {listed(missing, MOST_NAMED)}.",
            "Create them, without a login if nobody needs one.",
        ))  # fmt: skip
    found += _owner_blockers(server, path, form, {name for name, member in roles.items() if member})
    found += _missing(cursor, needed)
    return found


def _owner_blockers(server: ServerInfo, path: Path, form: str, mine: set[str]) -> list[Blocker]:
    if server.superuser or form not in ARCHIVES:
        return []
    _head, entries = read_toc(path)
    others = sorted({entry.owner for entry in entries if entry.owner} - mine - {"pg_database_owner"})
    if not others:
        return []
    return [Blocker(
        "privilege_missing",
        f"The dump has objects of {listed(others, MOST_NAMED)}, and this role is no member of that role.",
        "Let a superuser run it, or grant this role membership.",
    )]  # fmt: skip


def _missing(cursor: Any, needed: Needs) -> list[Blocker]:
    found = []
    cursor.execute(_EXTENSIONS)
    if missing := sorted(needed.extensions - {name for (name,) in cursor.fetchall()}):
        found.append(Blocker(
            "extensions_missing",
            f"The dump needs extensions that the server does not have: {listed(missing, MOST_NAMED)}.",
            "Install them on the server.",
        ))  # fmt: skip
    cursor.execute(_TABLESPACES)
    if missing := sorted(needed.tablespaces - {name for (name,) in cursor.fetchall()}):
        found.append(Blocker(
            "tablespaces_missing",
            f"The dump names tablespaces that the server does not have: {listed(missing, MOST_NAMED)}.",
            "Create them.",
        ))  # fmt: skip
    return found


def space_blockers(space: Space) -> list[Blocker]:
    """That it is not known is no better than that there is too little."""
    if space.suffices:
        return []
    if space.free is None:
        return [Blocker(
            "disk_unknown",
            "How much room the server's disk has cannot be told from here: this is not its host, or this role may not"
            f" see its data directory. About {size_text(space.needed)} are needed.",
            f"Look on the server, and say how much is free: -e {DISK_OVERRIDE}=200GB.",
            DISK_OVERRIDE,
        )]  # fmt: skip
    where = f" in {space.place}" if space.place else ""
    return [Blocker(
        "disk_short",
        f"The restored database and its WAL need about {size_text(space.needed)}, and {size_text(space.free)} are free"
        f"{where}.",
        "Free some on the server. The restored database is beside the old one, which stays.",
    )]  # fmt: skip
