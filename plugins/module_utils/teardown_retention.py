# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long a bundle is kept, and the removal of those whose time is over.

Times are the server's, so that those of one database can be compared whichever machine writes or removes its bundles.
"""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.blast_radius import PURGE, QUARANTINE
from ansible_collections.pgops.rollback.plugins.module_utils.connection import ServerInfo, cluster_identifier
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError, certain
from ansible_collections.pgops.rollback.plugins.module_utils.report_files import host_directory
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_bundle import (
    BUNDLE,
    EXPIRED,
    PARTIAL,
    Bundle,
    note_expired,
    read_content,
)
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_outcome import (
    COMMITTED,
    is_own,
    teardown_outcome,
)
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_plan import reading

#: What becomes of a bundle. ``left`` is one that somebody has to look at.
REMOVED, KEPT, LEFT = "removed", "kept", "left"

#: Seconds since the last write after which nobody writes to an unfinished bundle any more.
_ABANDONED = 86400.0

#: By how much a clock may have been set back since.
_CLOCK = timedelta(minutes=5)

#: As bundles write it, in UTC.
TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class Fate:
    """:ivar bundle: its directory.
    :ivar fate: REMOVED, KEPT or LEFT.
    :ivar why: a sentence.
    """

    bundle: str
    fate: str
    why: str
    keep_until: str | None = None


def server_now(cursor: Any) -> datetime:
    """When the transaction began, by the server's clock."""
    cursor.execute("SELECT pg_catalog.now()")
    (now,) = cursor.fetchone()
    return certain(now)


def keep_until(created: datetime, retention: timedelta) -> str:
    """As a bundle records it.

    :raises RollbackError: ``duration_invalid``.
    """
    try:
        return (created.astimezone(UTC) + retention).strftime(TIME)
    except OverflowError as error:
        raise RollbackError(
            "duration_invalid",
            f"teardown_bundle_retention is {retention.days} days, which no calendar has.",
            "Give less, for example 30d; nothing was done.",
        ) from error


def expire(connection: Any, server: ServerInfo, artifacts_dir: str, host: str, check_mode: bool) -> dict[str, Any]:
    """Remove the bundles of a host whose time is over, and what interrupted runs left.

    :returns: what the module ``teardown_expire`` returns.
    :raises RollbackError: ``artifacts_dir_relative``, ``unsafe_name``.
    """
    runs = [path for path in sorted(host_directory(artifacts_dir, host).glob("*")) if not path.is_symlink()]
    with reading(connection) as cursor:
        now = server_now(cursor)
        judge = _Judge(cursor, server, cluster_identifier(cursor), host, now, *_purged(runs, now))
        fates = [judge.fate(path / BUNDLE) for path in runs if (path / BUNDLE).exists()]
    leftovers = [path / name for path in runs for name in (PARTIAL, EXPIRED) if _is_abandoned(path / name)]
    fates += [Fate(str(path), REMOVED, "An interrupted run left it, and nothing needs it.") for path in leftovers]
    if not check_mode:
        fates = [_removed(each) if each.fate == REMOVED else each for each in fates]
    changed, left = (any(each.fate == fate for each in fates) for fate in (REMOVED, LEFT))
    return {
        "changed": changed,
        "status": "degraded" if left else "changed" if changed else "ok",
        "bundles": [asdict(each) for each in fates],
        "diff": {
            "before": "".join(f"{each.bundle}\n" for each in fates),
            "after": "".join(f"{each.bundle}\n" for each in fates if each.fate != REMOVED),
        },
        "msg": _message(fates, check_mode),
    }


def _purged(runs: list[Path], now: datetime) -> tuple[dict[str, str], list[Path]]:
    """The quarantines whose purge can still be undone, and until when; and the bundles that do not tell."""
    found, unread = {}, []
    for path in runs:
        if not (path / BUNDLE).exists():
            continue
        try:
            bundle = Bundle(path / BUNDLE, read_content(path / BUNDLE))
            if bundle.content["mode"] == PURGE and _time_of(bundle, "keep_until") > now:
                found[bundle.content["schema"]] = bundle.content["keep_until"]
        except RollbackError:  # it is told when it is judged
            unread.append(path / BUNDLE)
    return found, unread


class _Judge:
    """:ivar purged, unread: from _purged()."""

    def __init__(
        self, cursor: Any, server: ServerInfo, identifier: str | None, host: str, now: datetime, purged: dict[str, str],
        unread: list[Path],
    ) -> None:  # fmt: skip
        self._cursor, self._server, self._identifier, self._host, self._now = cursor, server, identifier, host, now
        self._purged, self._unread = purged, unread

    def fate(self, directory: Path) -> Fate:
        if directory.is_symlink():
            return Fate(str(directory), LEFT, f"It is a link to {directory.readlink()}, and links are not followed.")
        try:
            bundle = Bundle(directory, read_content(directory))
            created, until = (_time_of(bundle, name) for name in ("created", "keep_until"))
        except RollbackError as error:
            return Fate(str(directory), LEFT, error.message)
        fate, why = self._fate(bundle, created, until)
        return Fate(str(directory), fate, why, bundle.content["keep_until"])

    def _fate(self, bundle: Bundle, created: datetime, until: datetime) -> tuple[str, str]:
        content = bundle.content
        if content["host"] != self._host:
            return LEFT, f"It is of {content['host']}, and lies where those of {self._host} do."
        if created > self._now + _CLOCK:
            return LEFT, f"It is from {content['created']}, which is still to come: a clock was wrong, or is."
        if until > self._now:
            return KEPT, f"It is to be kept until {content['keep_until']}."
        needed = self._quarantine(bundle) if content["mode"] == QUARANTINE else None
        return needed or (REMOVED, f"It was to be kept until {content['keep_until']}.")

    def _quarantine(self, bundle: Bundle) -> tuple[str, str] | None:
        """None when nothing needs it any more."""
        content = bundle.content
        if not is_own(self._server, self._identifier, self._host, bundle):
            return LEFT, (
                f"It is of the database {content['database']} of another cluster or another name, so whether its"
                " objects are still in quarantine cannot be seen from here."
            )
        if teardown_outcome(self._cursor, bundle) == COMMITTED:
            return KEPT, f"Its objects are still in quarantine, in {content['schema']}, and it brings them back."
        if content["schema"] in self._purged:
            return KEPT, (
                f"The purge of its objects can be undone until {self._purged[content['schema']]}, and from"
                " quarantine it brings them back."
            )
        if self._unread:
            return LEFT, (
                f"{self._unread[0]} cannot be read: should it be of the purge of its objects, its undo would need this"
                " one, too."
            )
        return None


def _time_of(bundle: Bundle, name: str) -> datetime:
    try:
        return datetime.strptime(bundle.content[name], TIME).replace(tzinfo=UTC)
    except (KeyError, TypeError, ValueError) as error:
        raise RollbackError(
            "bundle_damaged",
            f"The bundle {bundle.directory} does not say {name}.",
            "Take the copy of it from your backup of the artifacts; nothing was done.",
        ) from error


def _is_abandoned(directory: Path) -> bool:
    try:
        newest = max(path.stat().st_mtime for path in (directory, *directory.iterdir()))
    except OSError:
        return False  # there is none, as a rule
    return directory.name == EXPIRED or newest < time.time() - _ABANDONED


def _removed(fate: Fate) -> Fate:
    """Its name first: half a bundle must not look like one."""
    directory = Path(fate.bundle)
    hidden = directory.with_name(EXPIRED)
    try:
        if directory.name == BUNDLE:
            shutil.rmtree(hidden, ignore_errors=True)  # what a run that was killed had begun to remove
            directory.rename(hidden)
            with suppress(OSError):
                note_expired(directory, fate.keep_until)
            directory = hidden
        shutil.rmtree(directory)
    except OSError as error:
        return Fate(fate.bundle, LEFT, f"It cannot be removed: {error.strerror}.", fate.keep_until)
    return fate


def _message(fates: list[Fate], check_mode: bool) -> str:
    if not fates:
        return "There is no bundle."
    said = {REMOVED: "Would remove" if check_mode else "Removed", KEPT: "Kept", LEFT: "Left for somebody to look at"}
    parts = [
        f"{words} {len(found)}: {' '.join(f'{each.bundle} ({each.why})' for each in found)}"
        for fate, words in said.items() if (found := [each for each in fates if each.fate == fate])
    ]  # fmt: skip
    return " ".join(parts)
