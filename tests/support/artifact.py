# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The collection as it is installed: built from the tracked files, used without anything of this checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.database import ROOT

#: The programs of the environment that runs the tests.
BIN = Path(sys.executable).parent


def run(
    program: str, *arguments: str | Path, cwd: Path, programs: Path = BIN, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run one of Ansible's programs as a user elsewhere would: nothing of this checkout is in the environment.

    :param programs: the directory in which the program is.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PG"))}
    return subprocess.run(
        [programs / program, *arguments],
        cwd=cwd,
        env={**inherited, "PWD": str(cwd), "ANSIBLE_NOCOLOR": "1", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def tracked_files() -> list[str]:
    """The files of this repository, by their names in it."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    return [name for name in listed.stdout.split("\0") if name]


def build_artifact(directory: Path) -> Path:
    """The archive, from a copy of the tracked files: what else lies about in this checkout stays out of it."""
    for name in tracked_files():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, directory / name, follow_symlinks=False)
    built = run("ansible-galaxy", "collection", "build", "--output-path", directory / "dist", cwd=directory)
    assert built.returncode == 0, built.stderr
    (archive,) = (directory / "dist").iterdir()
    return archive


def install(artifact: Path, path: Path, programs: Path = BIN) -> Path:
    """Into this collections path, without its dependency."""
    arguments = ("--offline", "--no-deps", "-p", path)
    done = run("ansible-galaxy", "collection", "install", artifact, *arguments, cwd=path, programs=programs)
    assert done.returncode == 0, done.stderr
    return path
