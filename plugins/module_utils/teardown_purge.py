# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A purge: the drop of what an earlier quarantine moved away, and of its schema, once nothing is left in it.

That the objects may go was confirmed when they were moved, so the quarantine's bundle is the proof of their origin.
What is in the schema and was not moved there is of unknown origin.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.blast_radius import QUARANTINE
from ansible_collections.pgops.rollback.plugins.module_utils.connection import ServerInfo, cluster_identifier
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_bundle import Bundle, bundles_of, read_bundle
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_outcome import (
    COMMITTED,
    is_own,
    require_own,
    teardown_outcome,
)
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_plan import PlanRequest, reading
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_provenance import Provenance
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_quarantine import (
    found_again,
    origins_of,
    purge_manifest,
)


def purge_request(
    connection: Any, server: ServerInfo, request: PlanRequest, artifacts_dir: str, host: str, bundle: str | None
) -> PlanRequest:
    """Have the request name what is in the quarantine, and nothing where there is none.

    :param connection: in autocommit mode.
    :param host: the database's name in the inventory.
    :param bundle: directory of the quarantine's bundle; None for the newest of the host that was not undone.
    :raises RollbackError: those of read_bundle() and require_own(), and ``bundle_unfit``.
    """
    with reading(connection) as cursor:
        found = _quarantine(cursor, server, artifacts_dir, host, bundle)
        if found is None:
            return replace(request, manifest=None)
        content = found_again(cursor, found.content)
    provenance = Provenance(origins=origins_of(content), allow_unknown=request.provenance.allow_unknown)
    return replace(request, manifest=purge_manifest(content), provenance=provenance, quarantine=content["schema"])


def _quarantine(
    cursor: Any, server: ServerInfo, artifacts_dir: str, host: str, given: str | None
) -> Bundle | None:
    """The one whose objects are there; None where none are."""
    identifier = cluster_identifier(cursor)
    for path in [Path(given)] if given else bundles_of(artifacts_dir, host):
        bundle = read_bundle(path)
        moved = bundle.content["mode"] == QUARANTINE
        if given:
            require_own(server, identifier, host, bundle)
            if not moved:
                raise RollbackError(
                    "bundle_unfit",
                    f"The bundle {path} is of a {bundle.content['mode']}, which left nothing that could be purged.",
                    "Let rollback_bundle name the bundle of a quarantine, or leave it unset for the newest one;"
                    " nothing was done.",
                )
        if moved and is_own(server, identifier, host, bundle) and teardown_outcome(cursor, bundle) == COMMITTED:
            return bundle
    return None
