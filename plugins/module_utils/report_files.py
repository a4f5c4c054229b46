# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where reports lie on disk, and how they get there: whole or not at all, readable by their owner only."""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError

LATEST = "latest"

#: What else DESIGN puts beside the runs.
_RESERVED_RUN_IDS = (LATEST, "baselines", "backup", "dumps")
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def run_directory(artifacts_dir: str, host: str, run_id: str) -> Path:
    """:raises RollbackError: ``artifacts_dir_relative``, ``unsafe_name``."""
    return host_directory(artifacts_dir, host) / require_run_id(run_id)


def require_run_id(run_id: str) -> str:
    """:raises RollbackError: ``unsafe_name``."""
    if not _RUN_ID.fullmatch(run_id) or run_id in _RESERVED_RUN_IDS:
        raise RollbackError(
            "unsafe_name",
            f"{run_id!r} cannot be a run id, since it names a directory.",
            "Set rollback_run_id to letters, digits, dots, dashes and underscores (at most 128, and none of"
            f" {', '.join(_RESERVED_RUN_IDS)}), or leave it unset.",
        )
    return run_id


def host_directory(artifacts_dir: str, host: str) -> Path:
    """:raises RollbackError: ``artifacts_dir_relative``, ``unsafe_name``."""
    if not os.path.isabs(artifacts_dir):
        raise RollbackError(
            "artifacts_dir_relative",
            f"The directory for reports, {artifacts_dir!r}, is relative, and to what is not certain.",
            "Give rollback_artifacts_dir as an absolute path.",
        )
    if not host or host.startswith(".") or "/" in host or not host.isprintable():
        raise RollbackError(
            "unsafe_name",
            f"The host name {host!r} cannot name a directory for its reports.",
            "Give it a name without slashes, control characters and leading dots in the inventory.",
        )
    return Path(artifacts_dir, host)


def write_report(directory: Path, files: dict[str, str]) -> None:
    """Write the files of one run and point ``latest`` at it. The link moves last, so it never names half a report.

    :param directory: from run_directory().
    :raises RollbackError: ``artifacts_unwritable``.
    """
    try:
        make_directory(directory)
        for name, text in files.items():
            write_file(directory / name, text)
        point(directory.parent / LATEST, directory.name)
    except OSError as error:
        raise RollbackError(
            "artifacts_unwritable",
            f"The report cannot be written to {directory}: {error.strerror}.",
            "Set rollback_artifacts_dir to a directory that this user may write to and that has room.",
        ) from error


def read_latest(artifacts_dir: str, host: str) -> tuple[Path, dict[str, Any]]:
    """The newest report of a host, and the directory it is in.

    :raises RollbackError: ``report_missing``, ``report_unreadable``.
    """
    latest = host_directory(artifacts_dir, host) / LATEST
    try:
        directory = latest.resolve(strict=True)
        report: dict[str, Any] = json.loads((directory / "report.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RollbackError(
            "report_missing",
            f"There is no report of {host} under {artifacts_dir} yet.",
            "Run a step first, or set rollback_artifacts_dir to where earlier runs wrote.",
        ) from error
    except (OSError, ValueError) as error:
        raise RollbackError(
            "report_unreadable",
            f"The newest report of {host}, {latest}/report.json, cannot be read: {error}.",
            "Read an older one beside it, or run the step again.",
        ) from error
    return directory, report


def make_directory(directory: Path) -> None:
    """A directory of a host, and those above it, for their owner only.

    :param directory: ``<artifacts_dir>/<host>/<name>``.
    :raises OSError: when it cannot be made.
    """
    directory.parent.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.parent.mkdir(mode=0o700, exist_ok=True)
    directory.mkdir(mode=0o700, exist_ok=True)


def write_file(path: Path, text: str, mode: int = 0o600) -> None:
    """Write the file whole or not at all: it is renamed into its place.

    :raises OSError: when it cannot be written; then the file before is still there.
    """
    with _written_beside(path, text, mode) as temporary:
        os.replace(temporary, path)


def write_new_file(path: Path, text: str, mode: int = 0o600) -> None:
    """Likewise, where there is none yet.

    :raises FileExistsError: when there is one, which stays as it is.
    :raises OSError: when it cannot be written.
    """
    with _written_beside(path, text, mode) as temporary:
        os.link(temporary, path)


@contextlib.contextmanager
def _written_beside(path: Path, text: str, mode: int) -> Iterator[str]:
    """A file with the text that is on the disk, under another name, which is gone afterwards."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        yield temporary
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
    sync(path.parent)


def point(link: Path, target: str) -> None:
    """Make the link name the target, at once.

    :raises OSError: when it cannot be made.
    """
    # A symlink cannot be replaced in place, so a new one is made under a name of its own and renamed over it.
    temporary = Path(tempfile.mkdtemp(prefix=f".{link.name}.", dir=link.parent))
    try:
        (temporary / link.name).symlink_to(target)
        os.replace(temporary / link.name, link)
    finally:
        with contextlib.suppress(OSError):
            (temporary / link.name).unlink()
        with contextlib.suppress(OSError):
            temporary.rmdir()
    sync(link.parent)


def sync(path: Path) -> None:
    """See that a file, or what a directory lists, is on the disk.

    :raises OSError: when it is not.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
