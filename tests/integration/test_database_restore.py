# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module database_restore: a dump beside the live database, in its place, back again, and purged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.database import TestDatabase
from tests.support.dumps import take_dump, take_dump_with_manifest
from tests.support.restores import (
    CONTENT,
    GOOD,
    HARM,
    act,
    beside,
    drop_beside,
    oid_of,
    orders,
)

FORMS = ["custom", "directory", "tar", "plain", "plain-gzip"]


@pytest.fixture
def application(database: TestDatabase) -> Iterator[TestDatabase]:
    database.query(CONTENT)
    yield database
    drop_beside(database)


@pytest.fixture
def spoilt(application: TestDatabase, tmp_path: Path) -> tuple[TestDatabase, Path]:
    """The database with what came after its dump, and the dump, with its content manifest."""
    dump = take_dump_with_manifest(application, tmp_path / "dumps", "custom")
    application.query(HARM)
    return application, dump


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_put_in_place(application: TestDatabase, tmp_path: Path, form: str) -> None:
    dump = take_dump(application, tmp_path, form)
    application.query(HARM)
    before = oid_of(application)
    done = act(application, dump)
    assert (done.failed, done["changed"], done["status"]) == (False, True, "changed"), done.output
    assert orders(application) == GOOD
    assert oid_of(application) != before
    (old,) = beside(application)
    assert (old.name, old.oid, old.mark.role, old.mark.finished) == (done["old_database"], before, "kept", True)
    assert old.name.startswith(f"{application.name}_before_restore_20")
    assert done["downtime"] < 2
