# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The user's own commands encrypt and decrypt: no plain row lies on the disk, and what fails refuses."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_bundle import Bundle
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_cipher import ENCRYPTED, Cipher, Encryption
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_export import ARCHIVE
from tests.support.ciphers import openssl
from tests.support.database import ROOT, TestDatabase
from tests.support.playbook import inventory, report, rollback, rollback_variables
from tests.support.waiting import until

GZIP = Cipher(("gzip", "-c"), ("gzip", "-dc"))
PLAIN = b"PGDMP" + os.urandom(3 << 20)


def seal(cipher: Cipher, directory: Path, timeout: float = 30) -> Encryption | None:
    with cipher.place(directory) as path:
        path.write_bytes(PLAIN)
        return cipher.seal(path, directory, timeout)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """Encrypted with openssl."""
    directory = tmp_path / "run" / "bundle"
    directory.mkdir(parents=True)
    cipher = openssl(tmp_path)
    cipher.require(directory)
    encryption = seal(cipher, directory)
    assert encryption is not None
    return Bundle(directory, {"encryption": encryption.as_json()})


def test_there_and_back(bundle: Bundle, tmp_path: Path) -> None:
    assert [path.name for path in bundle.directory.iterdir()] == [ENCRYPTED]
    assert b"PGDMP" not in (bundle.directory / ENCRYPTED).read_bytes()
    assert (bundle.directory / ENCRYPTED).stat().st_mode & 0o777 == 0o600
    with openssl(tmp_path).archive_of(bundle, 30) as path:
        # Those that we start find it there, and nobody else.
        assert subprocess.run(["cat", path], check=True, capture_output=True).stdout == PLAIN
        assert [each.name for each in bundle.directory.parent.iterdir()] == ["bundle"]
    assert [each.name for each in bundle.directory.parent.iterdir()] == ["bundle"]


def test_without_commands_it_stays_as_it_is(tmp_path: Path) -> None:
    Cipher().require(tmp_path)
    assert seal(Cipher(), tmp_path) is None
    assert (tmp_path / ARCHIVE).read_bytes() == PLAIN


def test_without_the_key_nothing_is_proven(tmp_path: Path) -> None:
    with_key, without = seal(GZIP, tmp_path), seal(Cipher(GZIP.encrypt), tmp_path)
    assert (with_key and with_key.proven, without and without.proven) == (True, False)
    assert [path.name for path in tmp_path.iterdir()] == [ENCRYPTED]


WRONG = {
    "no such program": (Cipher(("/nowhere/age",)), "encryption_failed",
                        "/nowhere/age of teardown_bundle_encrypt cannot be run: No such file or directory."),
    "no program": (Cipher(("/etc/passwd", "s3cret")), "encryption_failed", "cannot be run: Permission denied."),
    "a string": (Cipher(("openssl enc -pass pass:s3cret",)), "encryption_failed",
                 "The command openssl of teardown_bundle_encrypt cannot be run: No such file or directory."),
    "it fails": (Cipher(("sh", "-c", "echo no such recipient. >&2; exit 3")), "encryption_failed",
                 "The command sh of teardown_bundle_encrypt ended with 3: no such recipient."),
    "it writes nothing": (Cipher(("true",)), "encryption_failed", "wrote nothing."),
    "it encrypts nothing": (Cipher(("cat",)), "encryption_failed", "encrypts nothing: it wrote what it read."),
    "no way back": (Cipher(GZIP.encrypt, ("cat",)), "decryption_failed",
                    "The command cat of teardown_bundle_decrypt does not give back what was encrypted."),
    "the way back fails": (Cipher(GZIP.encrypt, ("xz", "-dc")), "decryption_failed", "ended with 1"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_told_before_anything(tmp_path: Path, case: str) -> None:
    cipher, code, words = WRONG[case]
    for attempt in (lambda: cipher.require(tmp_path), lambda: seal(cipher, tmp_path)):
        with pytest.raises(RollbackError) as refused:
            attempt()
        assert (refused.value.code, words in refused.value.message) == (code, True), refused.value.message
        assert "s3cret" not in str(refused.value)


def test_an_undo_needs_the_right_key(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("another one\n", encoding="utf-8")
    for cipher, code in (
        (Cipher(), "decryption_missing"), (openssl(tmp_path), "decryption_failed"),
        (Cipher(decrypt=("echo",)), "decryption_failed"),
    ):  # fmt: skip
        with pytest.raises(RollbackError) as refused, cipher.archive_of(bundle, 30):
            pass
        assert refused.value.code == code
    assert [each.name for each in bundle.directory.parent.iterdir()] == ["bundle"]


def test_it_ends_with_its_children_when_its_time_is_over(tmp_path: Path) -> None:
    waits = tmp_path / "waits"
    cipher, begun = Cipher(("sh", "-c", f"sleep 90 & echo $! > {waits}; wait")), time.monotonic()
    with pytest.raises(RollbackError, match="sh was still at work after 1 seconds and was ended") as refused:
        seal(cipher, tmp_path, 1)
    assert refused.value.code == "program_timeout"
    assert time.monotonic() - begun < 45
    number = int(waits.read_text(encoding="utf-8"))
    until(lambda: not Path(f"/proc/{number}").exists() or _is_dead(number), "what it started has ended")


def _is_dead(number: int) -> bool:
    """Ended, and not yet asked about by whoever took it over."""
    return Path(f"/proc/{number}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z"


def test_a_disk_that_fills_is_told(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with GZIP.place(tmp_path) as path:
        path.write_bytes(PLAIN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
        try:
            with pytest.raises(RollbackError, match=r"cannot be written to .*: File too large") as refused:
                GZIP.seal(path, tmp_path, 30)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert refused.value.code == "artifacts_unwritable"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_it_leaves_nothing_that_can_be_read(tmp_path: Path, number: signal.Signals) -> None:
    """Not even by those who may read everything: it has no name, and ends with who has it open."""
    place, begun = tmp_path / "bundle", tmp_path / "begun"
    place.mkdir()
    script = (
        "import sys, pathlib\n"
        "from ansible_collections.pgops.rollback.plugins.module_utils.teardown_cipher import Cipher\n"
        "directory = pathlib.Path(sys.argv[1])\n"
        f"cipher = Cipher(('sh', '-c', 'echo $$ > {begun}.new; mv {begun}.new {begun}; exec sleep 600'))\n"
        "with cipher.place(directory) as path:\n"
        "    path.write_bytes(b'PGDMP' * 1000)\n"
        "    cipher.seal(path, directory, 600)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, place], env={**os.environ, "PYTHONPATH": str(ROOT / "collections")}
    )
    until(begun.exists, "it encrypts")
    command = int(begun.read_text(encoding="utf-8"))
    process.send_signal(number)
    process.wait()
    if number == signal.SIGKILL:
        os.kill(command, signal.SIGKILL)  # nobody was left to do it
    until(lambda: not Path(f"/proc/{command}").exists() or _is_dead(command), "the command has ended")
    assert {path.name: path.read_bytes() for path in place.iterdir()} == {ENCRYPTED: b""}


@pytest.mark.full
def test_as_a_user_types_it(database: TestDatabase, tmp_path: Path) -> None:
    database.query("CREATE TABLE notes (body text); INSERT INTO notes VALUES ('dear diary')")
    (tmp_path / "manifest.yml").write_text("tables: [public.notes]\n", encoding="utf-8")
    cipher = openssl(tmp_path)
    variables = {
        **rollback_variables(database.login()), "rollback_manifest": "manifest.yml", "teardown_mode": "drop",
        "teardown_allow_unknown_provenance": True, "teardown_require_backup": False,
        "teardown_bundle_encrypt": list(cipher.encrypt),
    }  # fmt: skip
    inventory(tmp_path, {"db1": variables})
    assert rollback(tmp_path, "--tags", "plan").returncode == 0
    token = json.loads((tmp_path / "artifacts/db1/latest/plan.json").read_text(encoding="utf-8"))["token"]
    done = rollback(tmp_path, "--tags", "teardown", "--skip-tags", "verify", "-e", f"rollback_confirm={token}")
    assert done.returncode == 0, done.stdout + done.stderr
    (torn_down,) = [step for step in report(tmp_path, "db1")["steps"] if step["name"] == "teardown"]
    assert "That it can be decrypted could not be proven here" in torn_down["message"]
    assert torn_down["details"]["keep_until"] in " ".join(done.stdout.split())
    assert [path.name for path in Path(torn_down["details"]["bundle"]).glob("archive*")] == [ENCRYPTED]
    playbook = ROOT / "playbooks/undo.yml"
    assert rollback(tmp_path, playbook=playbook).returncode == 2
    assert "teardown_bundle_decrypt is not set" in report(tmp_path, "db1")["steps"][1]["message"]
    inventory(tmp_path, {"db1": {**variables, "teardown_bundle_decrypt": list(cipher.decrypt)}})
    assert rollback(tmp_path, "--tags", "undo", "--skip-tags", "verify", playbook=playbook).returncode == 0
    assert database.value("SELECT body FROM notes") == "dear diary"
