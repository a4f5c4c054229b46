# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real dumps of test databases."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.database import TestDatabase
from tests.support.modules import run_module

#: Options of pg_dump and the name of what it writes, by the word that tests use.
FORMATS = {
    "custom": (["-Fc"], "app.dump"),
    "custom-z0": (["-Fc", "-Z0"], "app.dump"),
    "directory": (["-Fd"], "app.dir"),
    "tar": (["-Ft"], "app.tar"),
    "plain": (["-Fp"], "app.sql"),
}

#: Programs that compress a plain dump, and the ending they leave.
COMPRESSED = {"gzip": "gz", "zstd": "zst", "lz4": "lz4"}


def take_dump(database: TestDatabase, directory: Path, form: str) -> Path:
    """A dump of the given form; ``plain-gzip`` and the like are compressed afterwards."""
    form, _dash, program = form.partition("-") if form.startswith("plain-") else (form, "", "")
    options, name = FORMATS[form]
    path = directory / name
    login = database.login("postgres")
    command = [database.cluster.bindir / "pg_dump", "-h", login["login_host"], "-p", str(login["login_port"]),
               "-U", "postgres", "-d", database.name, *options, "-f", path]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    if not program:
        return path
    compressed = path.with_name(f"{name}.{COMPRESSED[program]}")
    with compressed.open("wb") as output:
        subprocess.run([program, "-c", path], check=True, stdout=output)
    path.unlink()
    return compressed


def take_dump_with_manifest(database: TestDatabase, directory: Path, form: str) -> Path:
    """A dump by backup_dump, in a directory that is made for it."""
    directory.mkdir(parents=True)
    ending = ".gz" if form == "plain-gzip" else ""
    options, name = FORMATS[form.removesuffix("-gzip")]
    formats = {"-Fc": "custom", "-Fd": "directory", "-Ft": "tar", "-Fp": "plain"}
    run = run_module(
        "backup_dump",
        {
            **database.login("postgres"),
            "path": str(directory / f"{name}{ending}"),
            "format": formats[options[0]],
            "compress": {"custom-z0": "0", "plain-gzip": "6"}.get(form),
        },
    )
    assert not run.failed, run["msg"]
    return Path(run["path"])
