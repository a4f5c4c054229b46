# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tables of contents that pg_dump wrote, read without pg_restore."""

from __future__ import annotations

import subprocess
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.archive_toc import (
    ArchiveDamagedError,
    read_head,
    read_toc,
)
from ansible_collections.pgops.rollback.plugins.module_utils.dump_needs import needs, roles_named
from tests.support.database import OPERATOR, TestDatabase
from tests.support.dumps import take_dump

SCHEMA = """
CREATE TABLE "Odd ""one" (id serial PRIMARY KEY, note text);
INSERT INTO "Odd ""one" (note) SELECT 'row ' || n FROM generate_series(1, 100) n;
CREATE VIEW seen AS SELECT count(*) FROM "Odd ""one";
GRANT SELECT ON seen TO PUBLIC;
"""


@pytest.fixture
def filled(database: TestDatabase) -> TestDatabase:
    database.query(SCHEMA)
    return database


@pytest.mark.parametrize("form", ["custom", "directory", "tar"])
def test_says_what_pg_restore_lists(filled: TestDatabase, tmp_path: Path, form: str) -> None:
    path = take_dump(filled, tmp_path, form)
    head, entries = read_toc(path)

    assert head.database == filled.name
    assert head.server_version.startswith(f"{filled.cluster.major}")
    assert head.created
    assert abs(head.created - datetime.now()) < timedelta(minutes=1)
    listed = subprocess.run(
        [filled.cluster.bindir / "pg_restore", "--list", path], check=True, capture_output=True, text=True
    ).stdout
    numbers = {int(line.partition(";")[0]) for line in listed.splitlines() if line[:1].isdigit()}
    assert numbers <= {entry.dump_id for entry in entries}
    # --list leaves out what describes the archive and its database.
    unlisted = {entry.kind for entry in entries if entry.dump_id not in numbers}
    assert unlisted <= {"ENCODING", "STDSTRINGS", "SEARCHPATH", "DATABASE"}
    (data,) = [entry for entry in entries if entry.kind == "TABLE DATA"]
    assert (data.schema, data.name, data.owner, data.has_data, data.placed) == (
        "public", 'Odd "one', OPERATOR, True, True,
    )  # fmt: skip
    told = {(line.split()[0].rstrip(";"), *line.split()[1:3]) for line in listed.splitlines() if line[:1].isdigit()}
    assert told <= {(str(entry.dump_id), str(entry.catalog), str(entry.oid)) for entry in entries}
    if form == "directory":
        assert (path / data.file).with_suffix(".dat.gz").exists()


def test_what_was_piped_has_no_places(filled: TestDatabase, tmp_path: Path) -> None:
    path = tmp_path / "piped.dump"
    login = filled.login("postgres")
    command = [filled.cluster.bindir / "pg_dump", "-h", login["login_host"], "-p", str(login["login_port"]),
               "-U", "postgres", "-Fc", filled.name]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE) as dumping, path.open("wb") as output:
        assert dumping.stdout
        output.write(dumping.stdout.read())
    _head, entries = read_toc(path)
    assert [entry.placed for entry in entries if entry.has_data] == [False]


@pytest.mark.parametrize("length", [0, 3, 20, 200])
def test_a_head_or_contents_cut_short(filled: TestDatabase, tmp_path: Path, length: int) -> None:
    path = take_dump(filled, tmp_path, "custom")
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ArchiveDamagedError):
        read_toc(path)


def test_no_archive(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("PGDUMP is what it is not")
    with pytest.raises(ArchiveDamagedError, match="PGDMP"):
        read_head(path)


def test_needs_of_all_forms_are_the_same(filled: TestDatabase, tmp_path: Path) -> None:
    found = {form: needs(take_dump(filled, tmp_path, form), form.partition("-")[0])
             for form in ("custom", "directory", "tar", "plain", "plain-gzip")}  # fmt: skip
    assert {form: each.roles for form, each in found.items()} == dict.fromkeys(found, found["custom"].roles)
    assert OPERATOR in found["custom"].roles


@pytest.mark.parametrize(
    ("line", "roles"),
    [
        ('ALTER TABLE public.t OWNER TO "My Role";', {"My Role"}),
        ("GRANT SELECT,INSERT ON TABLE public.t TO anon;", {"anon"}),
        ("GRANT SELECT ON TABLE public.t TO a WITH GRANT OPTION;", {"a"}),
        ("REVOKE ALL ON SCHEMA public FROM PUBLIC;", set()),
        ('REVOKE ALL ON SCHEMA public FROM "PUBLIC";', {"PUBLIC"}),
        ("ALTER DEFAULT PRIVILEGES FOR ROLE admin IN SCHEMA public GRANT ALL ON TABLES TO app;", {"admin", "app"}),
        ("CREATE POLICY p ON public.t FOR SELECT TO a, b USING ((id = 1));", {"a", "b"}),
        ("CREATE POLICY p ON public.t USING (true);", set()),
        ("-- GRANT x ON y TO z;", set()),
    ],
)
def test_roles_named(line: str, roles: set[str]) -> None:
    assert roles_named([line]) == roles
