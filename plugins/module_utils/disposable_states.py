# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bring a disposable cluster into a state, once at a time, leaving nothing behind when that fails."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.disposable_cluster import (
    Cluster,
    Recipe,
    default_base,
    default_settings,
)
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.postgres_binaries import Binaries, Wheel, find_binaries
from ansible_collections.pgops.rollback.plugins.module_utils.system_user import private_ownership, system_user


@dataclass(frozen=True)
class Request:
    """What is asked of a started cluster.

    :ivar major: None leaves the choice of binaries, or the existing cluster's, as it is.
    :ivar cache: where wheels are kept; None for the default place.
    :ivar fill: puts a data directory's content into a new cluster, in initdb's place.
    """

    major: int | None = None
    bindir: Path | None = None
    port: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    wheels: tuple[Wheel, ...] = ()
    cache: Path | None = None
    fill: Callable[[Path], None] | None = None


def as_made(cluster: Cluster, user: str | None) -> Cluster:
    """The cluster with the user it was made with, which need not be today's default.

    :param user: the one asked for, if any.
    :raises RollbackError: ``user_mismatch``.
    """
    recipe = cluster.recipe()
    if recipe is None or recipe.user == cluster.user.name:
        return cluster
    if user is not None:
        raise RollbackError(
            "user_mismatch",
            f"The cluster in {cluster.directory} runs as user {recipe.user}, but {user} was asked for.",
            "Leave disposable_postgres_user out, or remove the cluster first (state absent).",
        )
    return replace(cluster, user=system_user(recipe.user))


def ensure_started(cluster: Cluster, request: Request, check_mode: bool = False) -> tuple[bool, Recipe | None]:
    """Make the cluster if there is none, give it the settings asked for, and start it.

    When a step fails, what this call made is removed again; a cluster that was there before gets its old settings
    back and runs again if it ran.

    :returns: whether anything changed, and the recipe (None in check mode before its wheel is installed).
    :raises RollbackError: ``version_mismatch`` and whatever the steps raise.
    """
    settings = default_settings(request.settings)
    before = cluster.recipe()
    binaries = _binaries(cluster, request, before, install=not check_mode)
    if binaries is None:
        return True, None
    wanted = Recipe(str(binaries.bindir), binaries.version, cluster.user.name, request.port, settings)
    cluster.check_socket_path(wanted)
    was_running = before is not None and cluster.running(before)
    if before == wanted and was_running:
        return False, wanted
    if check_mode:
        return True, wanted
    try:
        if before is None:
            cluster.make(wanted, request.fill)
        elif before != wanted:
            if was_running:
                cluster.stop(before)
            cluster.configure(wanted)
        cluster.start(wanted)
    except BaseException:
        if before is None:
            cluster.remove(wanted)
        else:
            cluster.configure(before)
            if was_running and not cluster.running(before):
                cluster.start(before)
        raise
    return True, wanted


def ensure_stopped(cluster: Cluster, check_mode: bool = False) -> tuple[bool, Recipe | None]:
    """Stop the server and keep its directory. A cluster that does not exist is stopped already."""
    recipe = cluster.recipe()
    if recipe is None or not cluster.running(recipe):
        return False, recipe
    if not check_mode:
        cluster.stop(recipe)
    return True, recipe


def ensure_absent(cluster: Cluster, check_mode: bool = False) -> tuple[bool, Recipe | None]:
    """Stop the server and remove its directory.

    :raises RollbackError: ``directory_foreign`` when it is not a disposable cluster's.
    """
    recipe = cluster.recipe()
    # An empty directory is none: exclusive() may have made it a moment ago, and removes it.
    if not cluster.directory.exists() or not any(cluster.directory.iterdir()):
        return False, None
    if not check_mode:
        cluster.remove(recipe)
    return True, recipe


def _binaries(cluster: Cluster, request: Request, before: Recipe | None, install: bool) -> Binaries | None:
    if before is None:
        major, bindir = request.major, request.bindir
    else:
        # A cluster keeps its binaries: a data directory fits one major only.
        major, bindir = before.major, request.bindir or Path(before.bindir)
        if request.major not in (None, major):
            raise RollbackError(
                "version_mismatch",
                f"The cluster in {cluster.directory} is one of Postgres {before.version}, but {request.major} was asked"
                " for.",
                "Remove it first (state absent), or choose another disposable_postgres_name.",
            )
    return find_binaries(major, cluster.user, bindir, request.wheels, request.cache, install)


@contextmanager
def exclusive(cluster: Cluster) -> Iterator[None]:
    """Hold the cluster's directory against other processes. It is made if need be, and removed again if left empty."""
    descriptor = _hold(cluster)
    try:
        yield
    finally:
        with suppress(OSError):  # not empty, or gone already
            cluster.directory.rmdir()
        if cluster.directory.parent == default_base():
            with suppress(OSError):
                default_base().rmdir()
        os.close(descriptor)


def _hold(cluster: Cluster) -> int:
    directory, base = cluster.directory, cluster.directory.parent
    while True:
        try:
            if base == default_base():
                _make_base(base, shared=cluster.user.dropped)
            with suppress(FileExistsError):
                directory.mkdir(mode=0o700)
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError as error:
            if isinstance(error, FileNotFoundError) and base == default_base():
                continue  # another process has just removed the base with its last cluster
            raise RollbackError(
                "directory_unusable",
                f"{directory} cannot be made or opened: {error.strerror}.",
                "Set disposable_postgres_directory to a directory that can be made in an existing one.",
            ) from error
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), directory.lstat()):
                return descriptor
        os.close(descriptor)  # somebody removed it while we waited


def _make_base(base: Path, shared: bool) -> None:
    with suppress(FileExistsError):
        base.mkdir(mode=0o700)
        # As root the servers run as another user and must pass through.
        base.chmod(0o711 if shared else 0o700)
    # Its name is predictable and /tmp is everybody's: never use what somebody else put there.
    private_ownership(base, "the place of disposable clusters", "disposable_postgres_directory to another place")
