# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The bundle of a teardown: a directory with all that an undo needs, there as a whole or not at all.

It is written under another name and renamed when it is complete, before the transaction commits. So a bundle alone does
not say that anything was torn down: the OIDs in it do (see teardown_outcome.py), and a note that is added afterwards.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.catalog_object import canonical, digest
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.file_sums import file_sums
from ansible_collections.pgops.rollback.plugins.module_utils.progress import untold
from ansible_collections.pgops.rollback.plugins.module_utils.report_files import (
    host_directory,
    make_directory,
    run_directory,
    sync,
    write_file,
)

FORMAT_VERSION = 1

#: Of a run's directory: the bundle, and what it is called until it is complete.
BUNDLE, PARTIAL = "bundle", ".bundle.partial"
CONTENT = "bundle.json"

#: What it is called while it is removed, and what then says so in its place.
EXPIRED, NOTE_EXPIRED = ".bundle.expired", "bundle-expired.json"

#: Notes that are added later: the teardown was committed, and it was undone.
NOTE_COMMITTED, NOTE_RETURNED, NOTE_UNDONE = "committed.json", "returned.json", "undone.json"
_NOTES = (NOTE_COMMITTED, NOTE_RETURNED, NOTE_UNDONE)


@dataclass(frozen=True)
class Bundle:
    """:ivar content: what was given to finish(), with ``files`` and their sums."""

    directory: Path
    content: dict[str, Any]

    @property
    def committed(self) -> bool:
        return (self.directory / NOTE_COMMITTED).exists()

    @property
    def undone(self) -> bool:
        return (self.directory / NOTE_UNDONE).exists()

    @property
    def returned(self) -> dict[str, list[Any]]:
        """OIDs of what the last undo made again, by label. That it was committed they tell by being there."""
        try:
            found: dict[str, list[Any]] = json.loads((self.directory / NOTE_RETURNED).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found

    def note(self, name: str, content: dict[str, Any]) -> None:
        """:param name: NOTE_COMMITTED, NOTE_RETURNED or NOTE_UNDONE.
        :raises OSError: when it cannot be written, which changes nothing about what was done.
        """
        write_file(self.directory / name, json.dumps(content, indent=2) + "\n")


def begin_bundle(artifacts_dir: str, host: str, run_id: str) -> Path:
    """An empty private directory for the files of a bundle. What an interrupted attempt of the run left is removed.

    :raises RollbackError: ``artifacts_dir_relative``, ``unsafe_name``, ``bundle_exists``, ``artifacts_unwritable``.
    """
    directory = run_directory(artifacts_dir, host, run_id)
    if os.path.lexists(directory / BUNDLE):
        raise RollbackError(
            "bundle_exists",
            f"The run {run_id} has a bundle already ({directory / BUNDLE}), and a bundle is never overwritten.",
            "Leave rollback_run_id unset, so that every run has a name of its own; nothing was done.",
        )
    partial = directory / PARTIAL
    try:
        make_directory(directory)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o700)
    except OSError as error:
        raise unwritable(partial, error) from error
    return partial


def finish_bundle(partial: Path, content: dict[str, Any], sums: dict[str, str] | None = None) -> Bundle:
    """Write what it holds, with the sums of its files, and give it its name. All of it is on disk then.

    :param partial: from begin_bundle(), with its files.
    :param content: JSON values.
    :param sums: of its files, where they were taken already; others may be waiting meanwhile.
    :raises RollbackError: ``artifacts_unwritable``.
    """
    files = {each.path: each.sha256 for each in file_sums(partial, untold)} if sums is None else sums
    whole = {"format_version": FORMAT_VERSION, **content, "files": files}
    bundle = Bundle(partial.with_name(BUNDLE), whole)
    text = json.dumps({**whole, "sum": digest(canonical(whole))}, indent=2, ensure_ascii=False)
    try:
        write_file(partial / CONTENT, text + "\n")
        for path in (*partial.iterdir(), partial):
            sync(path)
        partial.rename(bundle.directory)
        sync(partial.parent)
    except OSError as error:
        raise unwritable(partial, error) from error
    return bundle


def withdraw_bundle(partial: Path) -> None:
    """Take back what finish_bundle() did: the transaction was rolled back, and another attempt may follow.

    :raises OSError: when it cannot be.
    """
    bundle = partial.with_name(BUNDLE)
    if bundle.exists():
        (bundle / CONTENT).unlink(missing_ok=True)
        bundle.rename(partial)


def read_bundle(directory: Path) -> Bundle:
    """With all its files as they were written.

    :raises RollbackError: those of read_content().
    """
    content = read_content(directory)
    found = {path.name for path in directory.iterdir()} - {CONTENT, *_NOTES}
    if missing := sorted(set(content["files"]) - found):
        raise _damaged(directory, f"{', '.join(missing)} is missing")
    for each in file_sums(directory, untold):
        if each.path in content["files"] and content["files"][each.path] != each.sha256:
            raise _damaged(directory, f"{each.path} was changed or cut off after it was written")
    return Bundle(directory, content)


def read_content(directory: Path) -> dict[str, Any]:
    """What a bundle says of itself, without its other files.

    :raises RollbackError: ``bundle_missing``, ``bundle_expired``, ``bundle_incomplete``, ``bundle_damaged``,
        ``bundle_unknown``.
    """
    if not directory.is_dir() and directory.exists():
        raise RollbackError(
            "bundle_missing",
            f"{directory} is no directory, so it is no bundle.",
            "Give rollback_bundle the bundle's directory; nothing was done.",
        )
    if (directory / BUNDLE / CONTENT).exists():
        raise RollbackError(
            "bundle_missing",
            f"{directory} is the directory of a run; its bundle is {directory / BUNDLE}.",
            "Give rollback_bundle that one; nothing was done.",
        )
    if directory.name == PARTIAL or (directory.is_dir() and not (directory / CONTENT).exists()):
        raise RollbackError(
            "bundle_incomplete",
            f"{directory} is no complete bundle: the run that wrote it did not get as far as dropping anything.",
            "There is nothing to undo from it; nothing was done.",
        )
    try:
        content = json.loads((directory / CONTENT).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        if (directory.parent / NOTE_EXPIRED).exists():
            raise RollbackError(
                "bundle_expired",
                f"The bundle {directory} was removed when its retention had ended ({directory.parent / NOTE_EXPIRED}).",
                "Take the copy of it from your backup of the artifacts, or restore the database; nothing was done.",
            ) from error
        raise RollbackError(
            "bundle_missing",
            f"There is no bundle {directory}.",
            "Give rollback_bundle the directory that the teardown's report names; nothing was done.",
        ) from error
    except (OSError, ValueError) as error:
        raise _damaged(directory, f"{CONTENT} cannot be read") from error
    if not isinstance(content, dict) or "sum" not in content:
        raise _damaged(directory, f"{CONTENT} does not say what it should")
    if content.get("format_version") != FORMAT_VERSION:
        raise RollbackError(
            "bundle_unknown",
            f"The bundle {directory} has format {content.get('format_version')!r}, and this release reads"
            f" {FORMAT_VERSION}.",
            "Undo it with the release of pgops.rollback that wrote it; nothing was done.",
        )
    if digest(canonical({name: value for name, value in content.items() if name != "sum"})) != content["sum"]:
        raise _damaged(directory, f"{CONTENT} was changed after it was written")
    return content


def note_expired(directory: Path, keep_until: str | None) -> None:
    """Say in its place that a bundle is gone.

    :raises OSError: when it cannot be written.
    """
    write_file(directory.with_name(NOTE_EXPIRED), json.dumps({"keep_until": keep_until}, indent=2) + "\n")


def bundles_of(artifacts_dir: str, host: str) -> list[Path]:
    """Complete bundles of a host, the newest first. They are not looked into.

    :raises RollbackError: ``artifacts_dir_relative``, ``unsafe_name``.
    """
    found = host_directory(artifacts_dir, host).glob(f"*/{BUNDLE}/{CONTENT}")
    # The link ``latest`` names one of them again.
    real = {path.parent for path in found if not path.parent.parent.is_symlink()}
    return sorted(real, key=lambda path: ((path / CONTENT).stat().st_mtime_ns, str(path)), reverse=True)


def unwritable(path: Path, error: OSError) -> RollbackError:
    return RollbackError(
        "artifacts_unwritable",
        f"The bundle cannot be written to {path}: {error.strerror}.",
        "Set rollback_artifacts_dir to a directory that this user may write to and that has room; nothing was done.",
    )


def _damaged(directory: Path, what: str) -> RollbackError:
    return RollbackError(
        "bundle_damaged",
        f"The bundle {directory} is not what was written: {what}.",
        "Take the copy of it from your backup of the artifacts; nothing was done.",
    )
