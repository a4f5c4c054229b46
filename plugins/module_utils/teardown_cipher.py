# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The archive of a bundle, encrypted by a command of the user's, so that no rows lie on the disk that anybody can read.

What is not encrypted has no name in the file system: however the process ends, it is gone with it.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from ansible_collections.pgops.rollback.plugins.module_utils.dump import ended_by_signals
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.system_user import own_user
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_bundle import Bundle, unwritable
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_export import ARCHIVE

ENCRYPTED = f"{ARCHIVE}.encrypted"

_CHUNK = 1 << 20

#: Of a command, and what it did.
_Failed = Callable[[tuple[str, ...], str], RollbackError]

_UNEQUAL = "does not give back what was encrypted"

#: Bytes, and seconds, to try the commands with.
_SAMPLE, _SAMPLE_TIMEOUT = 4096, 60.0


@dataclass(frozen=True)
class Encryption:
    """:ivar sha256: of the archive as it was before.
    :ivar proven: decrypted, it was that again.
    """

    sha256: str
    proven: bool

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Cipher:
    """Commands with their arguments. They read standard input, write standard output, and no shell runs them.

    :ivar encrypt: empty, and the archive stays as it is.
    :ivar decrypt: empty where its key is not here.
    """

    encrypt: tuple[str, ...] = ()
    decrypt: tuple[str, ...] = ()

    def require(self, directory: Path) -> None:
        """Try them on a few bytes: better now than when writers have waited for the export.

        :param directory: where files can be made that are gone afterwards.
        :raises RollbackError: ``encryption_failed``, ``decryption_failed``, ``program_timeout``,
            ``artifacts_unwritable``.
        """
        if not self.encrypt:
            return
        try:
            with tempfile.TemporaryFile(dir=directory) as plain, tempfile.TemporaryFile(dir=directory) as encrypted:
                plain.write(os.urandom(_SAMPLE))
                self._encrypt(plain, encrypted, _SAMPLE_TIMEOUT)
        except OSError as error:
            raise unwritable(directory, error) from error

    @contextmanager
    def place(self, directory: Path) -> Iterator[Path]:
        """Where the archive is to be written. It is no longer there afterwards if it is to be encrypted.

        :raises RollbackError: ``artifacts_unwritable``.
        """
        if not self.encrypt:
            yield directory / ARCHIVE
            return
        with ExitStack() as opened:
            try:
                path = opened.enter_context(_nameless(directory))
            except OSError as error:
                raise unwritable(directory, error) from error
            yield path

    def seal(self, archive: Path, directory: Path, timeout: float) -> Encryption | None:
        """Encrypt it into the directory, and see that it can be decrypted.

        :param archive: at place().
        :param timeout: seconds that each command may take.
        :returns: None where it stays as it is.
        :raises RollbackError: ``encryption_failed``, ``decryption_failed``, ``program_timeout``,
            ``artifacts_unwritable``.
        """
        if not self.encrypt:
            return None
        path = directory / ENCRYPTED
        try:
            path.touch(mode=0o600)
            with archive.open("rb") as plain, path.open("r+b") as encrypted, ended_by_signals():
                encrypted.truncate()  # an attempt before left one
                return self._encrypt(plain, encrypted, timeout)
        except OSError as error:
            raise unwritable(path, error) from error

    def _encrypt(self, plain: IO[bytes], encrypted: IO[bytes], timeout: float) -> Encryption:
        plain.seek(0)
        wanted = hashlib.file_digest(plain, "sha256").hexdigest()  # type: ignore[arg-type]
        found, size = _through(self.encrypt, plain, encrypted, timeout, _encryption_failed)
        if not size:
            raise _encryption_failed(self.encrypt, "wrote nothing")
        if found == wanted:
            raise _encryption_failed(self.encrypt, "encrypts nothing: it wrote what it read")
        if not self.decrypt:
            return Encryption(wanted, proven=False)
        back, _size = _through(self.decrypt, encrypted, None, timeout, _decryption_failed)
        if back != wanted:
            raise _decryption_failed(self.decrypt, _UNEQUAL)
        return Encryption(wanted, proven=True)

    @contextmanager
    def archive_of(self, bundle: Bundle, timeout: float) -> Iterator[Path]:
        """Its archive, to be read, from a place that is no longer there afterwards if it was encrypted.

        :param timeout: seconds that the command may take.
        :raises RollbackError: ``decryption_missing``, ``decryption_failed``, ``program_timeout``.
        """
        encryption = bundle.content["encryption"]
        if not encryption:
            yield bundle.directory / ARCHIVE
            return
        self.require_key(bundle)
        encrypted = bundle.directory / ENCRYPTED
        with ExitStack() as opened:
            try:
                path = opened.enter_context(_nameless(bundle.directory.parent))
                with encrypted.open("rb") as source, path.open("wb") as plain, ended_by_signals():
                    found, _size = _through(self.decrypt, source, plain, timeout, _decryption_failed)
            except OSError as error:
                raise RollbackError(
                    "decryption_failed",
                    f"The bundle {bundle.directory} cannot be decrypted beside itself: {error.strerror}.",
                    "Copy it to a directory that this user may write to and that has room, and give that as"
                    " rollback_bundle; nothing was done.",
                ) from error
            if found != encryption["sha256"]:
                raise _decryption_failed(self.decrypt, _UNEQUAL)
            yield path

    def require_key(self, bundle: Bundle) -> None:
        """:raises RollbackError: ``decryption_missing``."""
        if bundle.content.get("encryption") and not self.decrypt:
            raise RollbackError(
                "decryption_missing",
                f"The bundle {bundle.directory} is encrypted, and teardown_bundle_decrypt is not set.",
                "Set teardown_bundle_decrypt to the command and its arguments that decrypt it; nothing was done.",
            )


@contextmanager
def _nameless(directory: Path) -> Iterator[Path]:
    """An empty file that this process and those it starts can open by this path, and nobody can find.

    :raises OSError: when it cannot be made.
    """
    # Of this process, for those that it starts. It has a name where there is no Linux.
    descriptors = Path(f"/proc/{os.getpid()}/fd")
    with (tempfile.TemporaryFile if descriptors.is_dir() else tempfile.NamedTemporaryFile)(dir=directory) as file:
        yield descriptors / str(file.fileno()) if descriptors.is_dir() else Path(file.name)


def _through(
    command: tuple[str, ...], source: IO[bytes], target: IO[bytes] | None, timeout: float, failed: _Failed
) -> tuple[str, int]:
    """:param target: None to look at what it writes only.
    :param failed: makes the error of the command.
    :returns: SHA-256 and size of what it wrote.
    :raises RollbackError: of ``failed``, and ``program_timeout``.
    :raises OSError: when the target cannot be written.
    """
    # The command reads the file itself, from where it is in that.
    source.flush()
    os.lseek(source.fileno(), 0, os.SEEK_SET)
    reading, writing = os.pipe()
    with ThreadPoolExecutor(1) as beside:
        with os.fdopen(writing, "wb") as pipe:
            taken = beside.submit(_take, os.fdopen(reading, "rb"), target)
            try:
                answer = own_user().run(command, Path("/"), timeout, stdin=source, stdout=pipe)
            except OSError as error:
                raise failed(command, f"cannot be run: {error.strerror}") from error
        # Before what the command says: it was cut off when the disk was full.
        found = taken.result()
    if answer.returncode:
        said = " ".join(answer.stderr.split())[:300].rstrip(".")
        raise failed(command, f"ended with {answer.returncode}{f': {said}' if said else ''}")
    return found


def _take(pipe: IO[bytes], target: IO[bytes] | None) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with pipe:
        while found := pipe.read(_CHUNK):
            digest.update(found)
            size += len(found)
            if target is not None:
                target.write(found)
        if target is not None:
            target.flush()
    return digest.hexdigest(), size


def _encryption_failed(command: tuple[str, ...], what: str) -> RollbackError:
    return RollbackError(
        "encryption_failed",
        f"The command {_program(command)} of teardown_bundle_encrypt {what}.",
        "Correct teardown_bundle_encrypt: the list of a program and its arguments, which reads standard input and"
        " writes standard output; nothing was done.",
    )


def _decryption_failed(command: tuple[str, ...], what: str) -> RollbackError:
    return RollbackError(
        "decryption_failed",
        f"The command {_program(command)} of teardown_bundle_decrypt {what}.",
        "Correct teardown_bundle_decrypt: the list of a program and its arguments, which reads standard input and"
        " writes standard output; nothing was done.",
    )


def _program(command: tuple[str, ...]) -> str:
    """Not its arguments, which may be keys, though it be one string with all of them."""
    return command[0].partition(" ")[0]
