# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How to drill, and what came of it: apart from the drill, whose many parts take long to import."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ansible_collections.pgops.rollback.plugins.module_utils.backup_ladder import Rung
from ansible_collections.pgops.rollback.plugins.module_utils.postgres_binaries import Wheel
from ansible_collections.pgops.rollback.plugins.module_utils.system_user import SystemUser

if TYPE_CHECKING:
    from ansible_collections.pgops.rollback.plugins.module_utils.baseline import Baseline


@dataclass(frozen=True)
class DrillOptions:
    """How to drill.

    :ivar directory: parent of the drill's directory; None for where disposable clusters are.
    :ivar jobs: sessions that restore and check at once.
    :ivar timeout: seconds for all of it.
    :ivar superuser: bootstrap superuser of a physical backup.
    :ivar database: whose rows are counted, of a physical backup.
    :ivar baseline: to compare with where there is no content manifest.
    :ivar live: connection options of the live database to compare with; None without.
    :ivar canary: connection options of the live database to write a canary row to; None without.
    :ivar tolerance: percent by which row counts may differ from the live ones.
    :ivar tables: of the rollback manifest, as SQL writes them; ``checks`` likewise its own, validated.
    """

    user: SystemUser
    directory: str | None = None
    jobs: int = 2
    timeout: int = 21600
    wheels: tuple[Wheel, ...] = ()
    superuser: str = "postgres"
    database: str | None = None
    baseline: Baseline | None = None
    live: dict[str, Any] | None = None
    canary: dict[str, Any] | None = None
    tolerance: int = 20
    tables: list[str] = field(default_factory=list)
    checks: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Drilled:
    """What a drill found out.

    :ivar restore: seconds, bytes, bytes_per_second and rows; None when nothing was restored.
    """

    rung: Rung
    restore: dict[str, Any] | None = None
    missing_extensions: list[str] = field(default_factory=list)
    postgres: str | None = None
