# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real cipher that is on any machine."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.teardown_cipher import Cipher


def openssl(directory: Path) -> Cipher:
    """:param directory: where the key is, or is made."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not here")
    key = directory / "key"
    if not key.exists():
        key.write_text("only for this test\n", encoding="utf-8")
    command = ("openssl", "enc", "-aes-256-cbc", "-pbkdf2", "-pass", f"file:{key}")
    return Cipher(command, (*command, "-d"))
