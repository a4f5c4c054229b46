# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A bundle of a drop that is not what was written, not of here, or no bundle at all: a sentence, and nothing done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.catalog_object import canonical, digest
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_bundle import CONTENT
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_cipher import ENCRYPTED
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_export import ARCHIVE
from tests.support.ciphers import openssl
from tests.support.database import TestDatabase
from tests.support.modules import ModuleRun, run_module
from tests.support.small_disk import make_read_only, small_disk

MANIFEST = {"name": "notes", "tables": ["public.notes"]}


@pytest.fixture
def notes(database: TestDatabase) -> TestDatabase:
    database.query("CREATE TABLE notes (id int PRIMARY KEY, body text); INSERT INTO notes VALUES (1, 'dear diary')")
    return database


def drop(database: TestDatabase, artifacts: Path, **more: Any) -> Path:
    """:returns: the bundle."""
    planned = {
        **database.login(), "manifest": MANIFEST, "allow_unknown_provenance": True, "mode": "drop",
        "require_backup": False,
    }  # fmt: skip
    token = run_module("teardown_plan", planned)["token"]
    done = run_module("teardown", {
        **planned, "confirm": token, "batch": {"db1": token}, "host": "db1", "artifacts_dir": str(artifacts),
        "run_id": "run", **more,
    })  # fmt: skip
    return Path(done["bundle"])


def undo(database: TestDatabase, bundle: Path, check: bool = False, **more: Any) -> ModuleRun:
    return run_module("teardown_undo", {
        **database.login(), "host": "db1", "artifacts_dir": str(bundle.parents[2]), "bundle": str(bundle), **more,
    }, check=check)  # fmt: skip


def test_bad_bundles_get_a_sentence_each(notes: TestDatabase, tmp_path: Path) -> None:
    bundle = drop(notes, tmp_path)
    content, archive = (bundle / CONTENT).read_text(encoding="utf-8"), (bundle / ARCHIVE).read_bytes()
    present = {"table pg_class": ["pg_class", notes.value("SELECT 'pg_class'::regclass::oid::bigint")]}
    uncommitted = {**json.loads(content), "oids": present}
    del uncommitted["sum"]
    uncommitted["sum"] = digest(canonical(uncommitted))
    (bundle / "committed.json").unlink()
    in_the_middle = len(archive) // 2
    flipped = archive[:in_the_middle] + bytes([archive[in_the_middle] ^ 1]) + archive[in_the_middle + 1 :]
    sentences = set()
    for name, written, code, words in (
        (CONTENT, content[:-200].encode(), "bundle_damaged", "cannot be read"),
        (CONTENT, content.replace('"public', '"auth', 1).encode(), "bundle_damaged", "was changed after"),
        (CONTENT, json.dumps(uncommitted).encode(), "bundle_uncommitted", "was never committed"),
        (ARCHIVE, archive[:-1], "bundle_damaged", f"{ARCHIVE} was changed or cut off"),
        (ARCHIVE, flipped, "bundle_damaged", f"{ARCHIVE} was changed or cut off"),
    ):
        (bundle / name).write_bytes(written)
        run = undo(notes, bundle)
        assert (run["code"], words in run["msg"], "nothing was done" in run["msg"]) == (code, True, True), run["msg"]
        sentences.add(run["msg"])
        (bundle / CONTENT).write_text(content, encoding="utf-8")
        (bundle / ARCHIVE).write_bytes(archive)
    assert len(sentences) == 4
    for path, words in (
        (bundle / CONTENT, f"{CONTENT} is no directory"), (bundle.parent, f"its bundle is {bundle}"),
    ):  # fmt: skip
        run = undo(notes, path)
        assert (run["code"], words in run["msg"]) == ("bundle_missing", True), run["msg"]
    (bundle / ARCHIVE).unlink()
    assert f"{ARCHIVE} is missing" in undo(notes, bundle)["msg"]
    (bundle / ARCHIVE).write_bytes(archive)
    other = TestDatabase(notes.cluster)
    other.create()
    try:
        assert undo(other, bundle)["code"] == "bundle_foreign"
        assert other.value("SELECT to_regclass('public.notes')") is None
    finally:
        other.drop()
    assert notes.value("SELECT to_regclass('public.notes')") is None
    # None of it was lost.
    assert undo(notes, bundle)["changed"]
    assert notes.value("SELECT body FROM notes") == "dear diary"


@pytest.mark.full
def test_an_undo_needs_to_write_nothing_but_what_it_decrypts(notes: TestDatabase, tmp_path: Path) -> None:
    cipher = openssl(tmp_path)
    commands = {"bundle_encrypt": list(cipher.encrypt), "bundle_decrypt": list(cipher.decrypt)}
    with small_disk(tmp_path / "disk", "4m") as disk:
        bundle = drop(notes, disk, **commands)
        assert (bundle / ENCRYPTED).exists()
        foreseen = undo(notes, bundle, check=True)
        assert (foreseen["code"], "teardown_bundle_decrypt is not set" in foreseen["msg"]) == (
            "decryption_missing", True,
        )  # fmt: skip
        make_read_only(disk)
        run = undo(notes, bundle, bundle_decrypt=list(cipher.decrypt))
        assert (run["code"], "cannot be decrypted beside itself: Read-only file system" in run["msg"]) == (
            "decryption_failed", True,
        )  # fmt: skip
        assert notes.value("SELECT to_regclass('public.notes')") is None
    with small_disk(tmp_path / "other", "4m") as disk:
        notes.query("CREATE TABLE notes (id int PRIMARY KEY, body text)")
        bundle = drop(notes, disk)
        make_read_only(disk)
        assert undo(notes, bundle)["changed"]
