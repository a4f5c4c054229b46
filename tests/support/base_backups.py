# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real base backups of test clusters, and ways to damage them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import random
import re
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.connection import connect
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from tests.support.database import TestCluster, TestDatabase

#: Options of pg_basebackup by the word that tests use.
FORMS = {
    "plain": ["-Fp"],
    "plain-sha256": ["-Fp", "--manifest-checksums=SHA256"],
    "plain-none": ["-Fp", "--manifest-checksums=NONE"],
    "plain-fetch": ["-Fp", "-X", "fetch"],
    "tar": ["-Ft"],
    "tar-fetch": ["-Ft", "-X", "fetch"],
    "tar-gzip": ["-Ft", "-z"],
    "tar-gzip-sha256": ["-Ft", "-z", "--manifest-checksums=SHA256"],
}

#: Bytes of a page.
PAGE = 8192


@dataclass(frozen=True)
class TakenBackup:
    """:ivar heap: path in it of a table's file that is many pages long."""

    directory: Path
    form: str
    heap: str

    @property
    def wal(self) -> str:
        """The first WAL segment that it needs, as backup_label names it, of a plain one."""
        label = (self.directory / "backup_label").read_text(encoding="utf-8")
        return re.findall(r"\(file (\w{24})\)", label)[0]

    def copied(self, directory: Path) -> TakenBackup:
        """A copy that may be damaged."""
        subprocess.run(["cp", "-a", self.directory, directory], check=True)
        return replace(self, directory=directory)


def take_base_backup(cluster: TestCluster, directory: Path, form: str, heap: str, *options: str) -> TakenBackup:
    """A base backup in a new directory."""
    command: list[Any] = [cluster.bindir / "pg_basebackup", "-h", cluster.socket_directory,
                          "-p", str(cluster.recipe.socket_port), "-U", "postgres", "--checkpoint=fast", "--no-sync",
                          "-D", directory, *FORMS[form], *options]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return TakenBackup(directory, form.partition("-")[0], heap)


def fill_table(database: TestDatabase, rows: int = 20_000, options: str = "") -> str:
    """A table `counted` with so many rows; the path of its file below the data directory."""
    database.query(
        f"CREATE TABLE counted (id int PRIMARY KEY, note text) {options};"
        f" INSERT INTO counted SELECT n, repeat('x', 50) || n FROM generate_series(1, {rows}) n",
        user="postgres",
    )
    return str(database.value("SELECT pg_relation_filepath('counted')", user="postgres"))


def accepts(login: dict[str, Any]) -> bool:
    """Whether a server lets one in: pg_ctl does not wait for the end of a recovery when hot_standby is off."""
    try:
        connect(login).close()
    except RollbackError:
        return False
    return True


# Faults ---------------------------------------------------------------------------------------------------------------


def flip(path: Path, offset: int) -> None:
    """Turn one bit over."""
    with path.open("r+b") as stream:
        stream.seek(offset)
        byte = stream.read(1)[0]
        stream.seek(offset)
        stream.write(bytes([byte ^ 1 << (offset % 8)]))


def cut(path: Path, size: int) -> None:
    os.truncate(path, size)


def _flipped_heap(backup: TakenBackup, chance: random.Random) -> None:
    path = backup.directory / backup.heap
    flip(path, chance.randrange(path.stat().st_size))


def _cut_heap(backup: TakenBackup, chance: random.Random) -> None:
    path = backup.directory / backup.heap
    cut(path, chance.randrange(path.stat().st_size // PAGE) * PAGE)


def _deleted_heap(backup: TakenBackup, chance: random.Random) -> None:
    (backup.directory / backup.heap).unlink()


def _added_file(backup: TakenBackup, chance: random.Random) -> None:
    (backup.directory / "base" / "1" / "extra").write_text("not of the backup")


def _deleted_wal(backup: TakenBackup, chance: random.Random) -> None:
    (backup.directory / "pg_wal" / backup.wal).unlink()


def _cut_wal(backup: TakenBackup, chance: random.Random) -> None:
    cut(backup.directory / "pg_wal" / backup.wal, 1 << 20)


def _flipped_wal(backup: TakenBackup, chance: random.Random) -> None:
    """In a record between the backup's start and its end."""
    flip(backup.directory / "pg_wal" / backup.wal, first_record(backup.directory) + chance.randrange(24))


def _deleted_manifest(backup: TakenBackup, chance: random.Random) -> None:
    (backup.directory / "backup_manifest").unlink()


def _cut_manifest(backup: TakenBackup, chance: random.Random) -> None:
    path = backup.directory / "backup_manifest"
    cut(path, chance.randrange(path.stat().st_size - 2))


def _edited_manifest(backup: TakenBackup, chance: random.Random) -> None:
    """As somebody does who wants it to look younger."""
    path = backup.directory / "backup_manifest"
    path.write_bytes(re.sub(rb'"Last-Modified": "20\d\d', b'"Last-Modified": "2099', path.read_bytes()))


def _half_copied(backup: TakenBackup, chance: random.Random) -> None:
    """A copy that was interrupted, and got the manifest first."""
    files = sorted(path for path in (backup.directory / "base").rglob("*") if path.is_file())
    for path in files[len(files) // 2 :]:
        path.unlink()


def _flipped_archive(backup: TakenBackup, chance: random.Random) -> None:
    path = archive(backup, "base")
    flip(path, chance.randrange(path.stat().st_size // 10, path.stat().st_size * 9 // 10))


def _flipped_in_archive(backup: TakenBackup, chance: random.Random) -> None:
    """A byte of the heap; the archive itself is sound."""

    def change(name: str, content: bytes) -> bytes | None:
        if name != backup.heap:
            return content
        at = chance.randrange(len(content))
        return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]

    repack(archive(backup, "base"), change)


def _deleted_in_archive(backup: TakenBackup, chance: random.Random) -> None:
    repack(archive(backup, "base"), lambda name, content: None if name == backup.heap else content)


def _cut_archive(backup: TakenBackup, chance: random.Random) -> None:
    path = archive(backup, "base")
    cut(path, chance.randrange(path.stat().st_size * 9 // 10))


def _cut_end_of_archive(backup: TakenBackup, chance: random.Random) -> None:
    path = archive(backup, "base")
    cut(path, path.stat().st_size - chance.randrange(1, 8))


def _flipped_sum_of_archive(backup: TakenBackup, chance: random.Random) -> None:
    path = archive(backup, "base")
    flip(path, path.stat().st_size - chance.randrange(1, 9))


def _deleted_wal_archive(backup: TakenBackup, chance: random.Random) -> None:
    archive(backup, "pg_wal").unlink()


def _deleted_base_archive(backup: TakenBackup, chance: random.Random) -> None:
    archive(backup, "base").unlink()


def _flipped_wal_in_archive(backup: TakenBackup, chance: random.Random) -> None:
    at = first_record(backup.directory) + chance.randrange(24)
    repack(
        archive(backup, "pg_wal"),
        lambda name, content: content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :],
    )


Fault = Callable[[TakenBackup, random.Random], None]

#: What can happen to a base backup, by format. Each is a function of the backup and of a source of chance.
PLAIN_FAULTS: dict[str, Fault] = {
    "heap flipped": _flipped_heap,
    "heap cut at a page": _cut_heap,
    "heap deleted": _deleted_heap,
    "file added": _added_file,
    "WAL deleted": _deleted_wal,
    "WAL cut": _cut_wal,
    "WAL flipped": _flipped_wal,
    "manifest deleted": _deleted_manifest,
    "manifest cut": _cut_manifest,
    "manifest edited": _edited_manifest,
    "half copied": _half_copied,
}

TAR_FAULTS: dict[str, Fault] = {
    "archive flipped": _flipped_archive,
    "heap flipped in the archive": _flipped_in_archive,
    "heap deleted in the archive": _deleted_in_archive,
    "archive cut": _cut_archive,
    "archive deleted": _deleted_base_archive,
    "WAL archive deleted": _deleted_wal_archive,
    "WAL flipped in the archive": _flipped_wal_in_archive,
    "manifest deleted": _deleted_manifest,
    "manifest cut": _cut_manifest,
    "manifest edited": _edited_manifest,
}


#: Of a gzipped archive, whose files are all there still.
COMPRESSED_FAULTS: dict[str, Fault] = {
    "end of the archive cut": _cut_end_of_archive,
    "sum of the archive flipped": _flipped_sum_of_archive,
}


def archive(backup: TakenBackup, name: str) -> Path:
    return next(backup.directory.glob(f"{name}.tar*"))


def first_record(directory: Path) -> int:
    """Where in its segment the first WAL record lies that the backup needs."""
    ranges = json.loads((directory / "backup_manifest").read_bytes())["WAL-Ranges"]
    return int(ranges[0]["Start-LSN"].partition("/")[2], 16) % (16 << 20)


def repack(path: Path, change: Callable[[str, bytes], bytes | None]) -> None:
    """Write an archive anew with other contents of its files; None leaves a file out."""
    zipped = path.suffix == ".gz"
    before, after = path.read_bytes(), io.BytesIO()
    packed = io.BytesIO(gzip.decompress(before) if zipped else before)
    with tarfile.open(fileobj=packed) as old, tarfile.open(fileobj=after, mode="w") as new:
        for member in old:
            file = old.extractfile(member)
            content = change(member.name, file.read()) if file else b""
            if content is not None:
                member.size = len(content)
                new.addfile(member, io.BytesIO(content))
    path.write_bytes(gzip.compress(after.getvalue(), compresslevel=1) if zipped else after.getvalue())


def resealed(path: Path, text: bytes) -> None:
    """Write a manifest's text with the checksum that fits."""
    covered = text[: text.rindex(b"\n", 0, text.rindex(b'"Manifest-Checksum"')) + 1]
    digest = hashlib.sha256(covered).hexdigest().encode()
    path.write_bytes(covered + b'"Manifest-Checksum": "' + digest + b'"}\n')
