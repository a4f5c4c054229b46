# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Where backups are: the options of SOURCE_ARGUMENTS in module_utils/backup_sources.py."""

    DOCUMENTATION = r"""
options:
  source:
    description: What makes the backups.
    type: str
    choices: [pg_dump, pg_basebackup, pgbackrest, barman, walg, supabase]
    required: true
  path:
    description: File, directory or glob of V(pg_dump) and V(pg_basebackup), on the host.
    type: path
  database:
    description: Database that a dump must be of, and whose rows are counted in a physical backup. By default any.
    type: str
  stanza:
    description: Stanza of V(pgbackrest).
    type: str
  server:
    description: Server of V(barman), its name in Barman's configuration.
    type: str
  config:
    description: Configuration file of V(pgbackrest), V(barman) or V(walg). By default the tool's own.
    type: path
  supabase_ref:
    description: Reference of the Supabase project, 20 letters.
    type: str
  supabase_token:
    description: Personal access token for the Management API. By default E(SUPABASE_ACCESS_TOKEN).
    type: str
  supabase_url:
    description: Base address of the Management API.
    type: str
    default: https://api.supabase.com
  program_timeout:
    description: How long one call of an external program may take, with C(s), C(m), C(h) or C(d).
    type: str
    default: 1h
  user:
    description:
      - Operating system's user that runs the backup tool and the server of a drill. By default the module's own, or for
        root C(postgres), or C(nobody) where that does not exist.
    type: str
"""

    WHEELS = r"""
options:
  wheels:
    description:
      - Python wheels with Postgres programs that may be installed when the host has none of the fitting release; see
        M(pgops.rollback.disposable_postgres).
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the Python package.
        type: str
        required: true
      version:
        description: Its version.
        type: str
        required: true
      majors:
        description: Major versions of Postgres it holds.
        type: list
        elements: int
        required: true
      hashes:
        description: The hashes of its files, each C(sha256:) and 64 hexadecimal digits.
        type: list
        elements: str
        required: true
"""
