# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ladder on dumps: what is selected, what passes, and what each fault is called."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from ansible_collections.pgops.rollback.plugins.module_utils import drill_server
from ansible_collections.pgops.rollback.plugins.module_utils.archive_toc import read_toc
from ansible_collections.pgops.rollback.plugins.module_utils.backup import SourceSettings
from ansible_collections.pgops.rollback.plugins.module_utils.backup_ladder import Rung
from ansible_collections.pgops.rollback.plugins.module_utils.backup_pg_dump import PgDump
from ansible_collections.pgops.rollback.plugins.module_utils.drill_options import DrillOptions
from ansible_collections.pgops.rollback.plugins.module_utils.restore_drill import drill
from ansible_collections.pgops.rollback.plugins.module_utils.system_user import system_user
from tests.support.database import OPERATOR, ROOT, TestDatabase
from tests.support.dumps import COMPRESSED, take_dump
from tests.support.modules import ModuleRun, run_module
from tests.support.processes import Forked
from tests.support.waiting import until

SCHEMA = """
CREATE TABLE customer (id serial PRIMARY KEY, name text NOT NULL UNIQUE);
CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
                     customer int NOT NULL REFERENCES customer, total numeric(10, 2), note text);
INSERT INTO customer (name) SELECT format('customer %s', n) FROM generate_series(1, 200) n;
INSERT INTO orders (customer, total, note)
SELECT 1 + n % 200, n * 1.5, repeat(md5(n::text), 3) FROM generate_series(1, 3000) n;
CREATE VIEW totals AS SELECT customer, sum(total) FROM orders GROUP BY 1;
"""
FORMS = ["custom", "custom-z0", "directory", "tar", "plain", *(f"plain-{program}" for program in COMPRESSED)]


@pytest.fixture
def app(database: TestDatabase) -> TestDatabase:
    database.query(SCHEMA)
    return database


def verify(path: Path, up_to: str = "drill", check: bool = False, **options: Any) -> ModuleRun:
    return run_module("backup_verify", {"source": "pg_dump", "path": str(path), "up_to": up_to, **options}, check=check)


def statuses(run: ModuleRun) -> dict[str, str]:
    return {step["name"]: step["status"] for step in run["steps"]}


def checks(run: ModuleRun) -> dict[str, str]:
    return {check["name"]: check["status"] for step in run["steps"] for check in step["details"]["checks"]}


def run_drill(path: Path) -> Rung:
    """The drill without the rungs before it, which would read all of the dump."""
    source = PgDump(SourceSettings(user=system_user(), timeout=60, path=str(path)))
    backup = source.inspect(source.backups()[0])
    return drill(source, backup, DrillOptions(user=system_user()), lambda _text, _fraction: None).rung


def aged(path: Path, hours: float) -> Path:
    """As if it had been written so long ago."""
    then = time.time() - hours * 3600
    for file in [path, *path.rglob("*")]:
        os.utime(file, (then, then))
    return path


@pytest.fixture
def drill_place() -> Iterator[Path]:
    """Where the drill's server, which runs as another user, may pass through."""
    with tempfile.TemporaryDirectory(prefix="pgops-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.parametrize("form", FORMS)
def test_an_intact_dump_of_every_form_passes(
    app: TestDatabase, tmp_path: Path, drill_place: Path, form: str
) -> None:
    take_dump(app, tmp_path, form)
    run = verify(tmp_path, database=app.name, drill_directory=str(drill_place))

    assert statuses(run) == {"exists": "ok", "freshness": "ok", "integrity": "ok", "drill": "ok"}, run["msg"]
    assert {"isolated", "restore", "indexes", "cleanup"} <= checks(run).keys()
    assert run["restore"]["rows"] == 3200
    assert run["backup"]["size_bytes"] > 1000
    assert list(drill_place.iterdir()) == []


def test_freshness_opens_no_more_than_it_must(app: TestDatabase, tmp_path: Path) -> None:
    """A directory of dumps, the newest of which counts; one that is unreadable for its age is never opened."""
    newest = take_dump(app, tmp_path, "custom")
    old = Path(shutil.copy(newest, tmp_path / "old.dump"))
    old.write_bytes(b"")
    aged(old, 30)
    run = verify(tmp_path, "freshness")
    assert (run["backup"]["id"], run["backup"]["database"]) == ("app.dump", app.name)
    assert run["backup"]["server_major"] == app.cluster.major
    assert run["age_seconds"] < 60


@pytest.mark.parametrize(
    ("spoil", "status", "message"),
    [
        (lambda path: path.unlink(), "failed", "There is no backup."),
        (lambda path: path.write_bytes(b""), "failed", "empty (0 bytes)"),
        (lambda path: path.write_text("Sorry, page not found"), "failed", "neither a dump of pg_dump nor SQL"),
        (lambda path: path.write_bytes(path.read_bytes()[:100]), "failed", "no whole archive"),
        (lambda path: path.write_bytes(gzip.compress(path.read_bytes())), "failed", "compressed archive"),
    ],
)
def test_no_backup_that_counts(
    app: TestDatabase, tmp_path: Path, spoil: Callable[[Path], Any], status: str, message: str
) -> None:
    spoil(take_dump(app, tmp_path, "custom"))
    run = verify(tmp_path)
    assert run.failed
    assert statuses(run) == {"exists": status, "freshness": "skipped", "integrity": "skipped", "drill": "skipped"}
    assert message in run["msg"]


def test_only_an_old_one(app: TestDatabase, tmp_path: Path) -> None:
    aged(take_dump(app, tmp_path, "plain"), 25)
    run = verify(tmp_path)
    assert statuses(run)["freshness"] == "failed"
    assert "1 day 1 h old" in run["msg"]
    assert verify(tmp_path, "freshness", max_age="26h")["verdict"] == "ok"


def test_one_from_the_future(app: TestDatabase, tmp_path: Path) -> None:
    aged(take_dump(app, tmp_path, "plain"), -3)
    run = verify(tmp_path, "freshness")
    assert statuses(run)["freshness"] == "failed"
    assert "in the future" in run["msg"]


def test_a_clock_that_is_a_little_off(app: TestDatabase, tmp_path: Path) -> None:
    aged(take_dump(app, tmp_path, "plain"), -0.05)
    assert verify(tmp_path, "freshness")["verdict"] == "ok"


def test_a_copy_of_an_old_dump_is_old(app: TestDatabase, tmp_path: Path) -> None:
    """Its file is of today; its head says when pg_dump began."""
    path = take_dump(app, tmp_path, "custom")
    content = bytearray(path.read_bytes())
    # After magic, versions and sizes, and the compression (a byte from layout 1.15 on, before that a number).
    year = 11 + (1 if content[6] >= 15 else 5) + 5 * 5 + 1
    content[year] -= 1
    path.write_bytes(content)
    run = verify(tmp_path, "freshness")
    assert statuses(run)["freshness"] == "failed"
    assert "365 days" in run["msg"] or "366 days" in run["msg"]


def test_an_unfinished_one_is_passed_over(app: TestDatabase, tmp_path: Path) -> None:
    aged(take_dump(app, tmp_path, "custom"), 1)
    half = take_dump(app, tmp_path, "plain")
    half.write_bytes(half.read_bytes()[:-200])
    (tmp_path / "half.dir").mkdir()
    (tmp_path / "half.dir" / "3061.dat.gz").write_bytes(b"\x1f\x8b")
    run = verify(tmp_path, "freshness")
    assert (run["verdict"], run["backup"]["id"]) == ("ok", "app.dump")
    exists = run["steps"][0]["message"]
    assert "A newer one does not count: " in exists


def test_a_dump_of_another_database(app: TestDatabase, tmp_path: Path) -> None:
    take_dump(app, tmp_path, "custom")
    run = verify(tmp_path, "exists", database="other")
    assert run.failed
    assert f"It is a dump of database {app.name}, not of other." in run["msg"]


def test_a_recorded_sum_is_honoured(app: TestDatabase, tmp_path: Path) -> None:
    path = take_dump(app, tmp_path, "custom-z0")
    recorded = path.with_name(f"{path.name}.sha256")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    other = f"{'0' * 64} *other.dump\n"
    for form in (
        f"SHA256 ({path.name}) = {digest}\n", f"{digest}\n", f"{other}SHA2-256({path.name})= {digest}\n",
        f"{other}{digest}  /backups/{path.name}\n",
    ):  # fmt: skip
        recorded.write_text(form)
        assert checks(verify(tmp_path, "integrity"))["sha256"] == "passed"

    content = bytearray(path.read_bytes())
    position = content.index(b"customer 77")
    content[position + 10] ^= 1
    path.write_bytes(content)
    run = verify(tmp_path, "integrity")
    assert statuses(run)["integrity"] == "failed"
    assert "SHA-256" in run["msg"]


@pytest.mark.parametrize("form", ["custom", "directory", "tar", "plain-gzip", "plain-zstd", "plain-lz4"])
def test_cut_short(app: TestDatabase, tmp_path: Path, form: str) -> None:
    path = take_dump(app, tmp_path, form)
    victim = max(path.glob("*.dat*"), key=lambda file: file.stat().st_size) if path.is_dir() else path
    victim.write_bytes(victim.read_bytes()[: victim.stat().st_size * 6 // 10])
    run = verify(tmp_path, "integrity", program_timeout="20s")
    assert run.failed
    # A file so small is seen to its end already when its head is read.
    assert {step["name"] for step in run["steps"] if step["status"] == "failed"} <= {"exists", "integrity"}, run["msg"]


def test_a_directory_that_lost_a_file(app: TestDatabase, tmp_path: Path) -> None:
    path = take_dump(app, tmp_path, "directory")
    max(path.glob("*.dat*"), key=lambda file: file.stat().st_size).unlink()
    run = verify(tmp_path, "integrity")
    assert (run.failed, checks(run)["contents"]) == (True, "failed")
    assert "The data of orders are missing" in run["msg"]


def test_a_dump_that_restores_with_errors(app: TestDatabase, tmp_path: Path) -> None:
    path = take_dump(app, tmp_path, "plain")
    path.write_text(path.read_text().replace("CREATE TABLE public.orders", "CREATE TABLE public.ordres"))
    run = verify(tmp_path)
    assert (run.failed, statuses(run)["integrity"], statuses(run)["drill"]) == (True, "ok", "failed")
    assert 'relation "public.orders" does not exist' in run["msg"]
    assert checks(run)["cleanup"] == "passed"


@pytest.mark.parametrize("form", ["custom-z0", "plain"])
def test_a_row_that_does_not_restore_is_not_shown(app: TestDatabase, tmp_path: Path, form: str) -> None:
    path = take_dump(app, tmp_path, form)
    content = path.read_bytes()
    assert content.count(b"\t7.50\t") == 1
    path.write_bytes(content.replace(b"\t7.50\t", b"\tpriv\t"))
    run = verify(tmp_path)
    assert (run.failed, statuses(run)["drill"]) == (True, "failed")
    assert 'invalid input syntax for type numeric: "…"' in run["msg"]
    assert "priv" not in str(run["steps"])


@pytest.mark.parametrize("form", ["custom-z0", "tar", "plain-gzip"])
def test_one_that_is_still_written_to(app: TestDatabase, tmp_path: Path, form: str) -> None:
    """All that is there so far can be read; only that somebody has it open tells."""
    path = take_dump(app, tmp_path, form)
    content = path.read_bytes()
    if form == "custom-z0":
        login = app.login("postgres")
        content = subprocess.run(
            [app.cluster.bindir / "pg_dump", "-h", login["login_host"], "-p", str(login["login_port"]),
             "-U", "postgres", "-d", app.name, "-Fc", "-Z0"], check=True, capture_output=True,
        ).stdout  # fmt: skip
    with path.open("wb") as writer:
        writer.write(content[:-2000] if form == "tar" else content)
        writer.flush()
        run = verify(tmp_path, "exists")
        assert (run.failed, statuses(run)["exists"]) == (True, "failed")
        assert ("lacks a tar file's end" if form == "tar" else "still being written to") in run["msg"]
        writer.write(content[-2000:] if form == "tar" else b"")
    assert verify(tmp_path, "exists")["verdict"] == "ok"


def killed_dump(app: TestDatabase, path: Path) -> None:
    """A custom archive whose pg_dump was killed: its table of contents is there, and half of the data."""
    whole = take_dump(app, path.parent, "custom-z0").read_bytes()
    login = app.login("postgres")
    piped = subprocess.run(
        [app.cluster.bindir / "pg_dump", "-h", login["login_host"], "-p", str(login["login_port"]), "-U", "postgres",
         "-d", app.name, "-Fc", "-Z0"], check=True, capture_output=True,
    ).stdout  # fmt: skip
    assert len(piped) == len(whole)
    path.write_bytes(piped[: len(piped) * 3 // 4])


def killed_pipe(app: TestDatabase, path: Path) -> None:
    """gzip ends well when the pg_dump before it is killed."""
    plain = take_dump(app, path.parent, "plain")
    path.write_bytes(gzip.compress(plain.read_bytes()[:-3000]))
    plain.unlink()


def cut_gzip(app: TestDatabase, path: Path) -> None:
    dump = take_dump(app, path.parent, "plain-gzip")
    content = dump.read_bytes()
    dump.unlink()
    path.write_bytes(content[: len(content) // 2])


def no_dump(_app: TestDatabase, path: Path) -> None:
    path.write_bytes(gzip.compress(b"uploads/\x00" * 5000))


@pytest.mark.parametrize(
    ("make", "name"),
    [(killed_dump, "app.dump"), (killed_pipe, "x.sql.gz"), (cut_gzip, "x.sql.gz"), (no_dump, "uploads.tar.gz")],
)
def test_what_is_not_complete_never_counts(
    app: TestDatabase, tmp_path: Path, make: Callable[[TestDatabase, Path], None], name: str
) -> None:
    """However long nobody has written to it: backups have stopped, or fail."""
    old = tmp_path / "old"
    old.mkdir()
    aged(Path(shutil.copy(take_dump(app, old, "custom"), tmp_path / "good.dump")), 72)
    make(app, tmp_path / name)
    aged(tmp_path / name, 1)
    run = verify(tmp_path, "freshness")
    assert (run.failed, statuses(run)) == (True, {"exists": "ok", "freshness": "failed"})
    assert run["backup"]["id"] == "good.dump"
    assert f"A newer one does not count: {name}" in run["steps"][0]["message"]


def test_a_dump_made_through_a_pipe_counts(app: TestDatabase, tmp_path: Path) -> None:
    killed_dump(app, tmp_path / "app.dump")
    login = app.login("postgres")
    with (tmp_path / "piped.dump").open("wb") as output:
        subprocess.run(
            [app.cluster.bindir / "pg_dump", "-h", login["login_host"], "-p", str(login["login_port"]), "-U",
             "postgres", "-d", app.name, "-Fc"], check=True, stdout=output,
        )  # fmt: skip
    run = verify(tmp_path, "integrity")
    assert (run["verdict"], (run["backup"] or {}).get("id")) == ("ok", "piped.dump"), run["msg"]


@pytest.mark.parametrize("form", ["custom", "directory", "tar", "plain"])
def test_large_objects_and_tablespaces_of_every_form(
    app: TestDatabase, tmp_path: Path, drill_place: Path, form: str
) -> None:
    app.query("SELECT lo_from_bytea(0, 'one'), lo_from_bytea(0, 'two')")
    space = f"space {app.name}"
    administrator = app.superuser().cursor()
    administrator.execute("SET allow_in_place_tablespaces = on")
    administrator.execute(f"CREATE TABLESPACE \"{space}\" LOCATION ''")
    try:
        administrator.execute(f'CREATE TABLE elsewhere (id int PRIMARY KEY) TABLESPACE "{space}"')
        administrator.execute(f'CREATE INDEX ON orders (total) TABLESPACE "{space}"')
        take_dump(app, tmp_path, form)
        run = verify(tmp_path, drill_directory=str(drill_place))
        assert run["verdict"] == "ok", run["msg"]
    finally:
        administrator.execute("DROP TABLE elsewhere; DROP INDEX orders_total_idx")
        administrator.execute(f'DROP TABLESPACE "{space}"')


def test_missing_roles_are_made(app: TestDatabase, tmp_path: Path) -> None:
    """The drill's server knows none of production's roles: owners, grants and policies name them."""
    administrator = app.superuser().cursor()
    administrator.execute('CREATE ROLE "drill Only"')
    try:
        administrator.execute(
            'CREATE POLICY own ON orders TO "drill Only" USING (true); GRANT SELECT ON totals TO "drill Only";'
            ' ALTER TABLE customer OWNER TO "drill Only"'
        )
        take_dump(app, tmp_path, "custom")
        take_dump(app, tmp_path, "plain")
        for path in tmp_path.iterdir():
            assert statuses(verify(path))["drill"] == "ok"
    finally:
        administrator.execute(f'REASSIGN OWNED BY "drill Only" TO {OPERATOR}; DROP OWNED BY "drill Only"')
        administrator.execute('DROP ROLE "drill Only"')


def test_an_extension_that_cannot_be_installed_here(app: TestDatabase, tmp_path: Path) -> None:
    """Where nothing needs it the verdict is degraded; else plain SQL is not gone on with after the error."""
    path = take_dump(app, tmp_path, "plain")
    text = path.read_text()
    needing = (
        "CREATE EXTENSION IF NOT EXISTS nowhere WITH SCHEMA public;\n"
        "CREATE TABLE public.spots (id integer, place public.nowhere_type);\n"
    )
    path.write_text(text.replace("CREATE TABLE public.customer", f"{needing}CREATE TABLE public.customer", 1))
    run = verify(path)
    assert (run["verdict"], run["missing_extensions"], statuses(run)["drill"]) == ("failed", ["nowhere"], "failed")
    assert "The extensions nowhere cannot be installed here." in run["msg"]

    path.write_text(path.read_text().replace("public.nowhere_type", "text"))
    run = verify(path)
    assert (run["verdict"], run["missing_extensions"], run["restore"]["rows"]) == ("degraded", ["nowhere"], 3200)


def test_tables_of_an_archive_that_need_a_missing_extension(app: TestDatabase, tmp_path: Path) -> None:
    """All that needs it is left out, and nothing else is excused."""
    app.query(
        "CREATE EXTENSION hstore; CREATE TABLE spots (id int PRIMARY KEY, place hstore);"
        " INSERT INTO spots VALUES (1, 'a=>1'); CREATE VIEW seen AS SELECT place -> 'a' AS a FROM spots",
        user="postgres",
    )
    path = take_dump(app, tmp_path, "custom-z0")
    # An extension of the same length, that nobody has.
    path.write_bytes(path.read_bytes().replace(b"hstore", b"hstorx"))
    run = verify(path)
    assert (run["verdict"], run["missing_extensions"], run["restore"]["rows"]) == ("degraded", ["hstorx"], 3200)
    assert "nor the tables that need them (public.spots)" in run["msg"]

    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE public.orders", b"CREATE TABLE public.ordert"))
    assert statuses(verify(path))["drill"] == "failed"


@pytest.mark.parametrize("command", ["\\! touch /tmp/x", "SELECT 1; \\! touch /tmp/x", "\\copy orders to '/tmp/x'"])
def test_a_dump_that_leads_out_of_its_database(app: TestDatabase, tmp_path: Path, command: str) -> None:
    path = take_dump(app, tmp_path, "plain")
    path.write_text(path.read_text().replace("\nSET ", f"\n{command}\nSET ", 1))
    run = verify(path)
    assert statuses(run)["drill"] == "failed"
    assert "The dump contains the psql command" in run["msg"]


@pytest.mark.parametrize("options", [["--clean"], ["--create"], ["--clean", "--create"], ["--inserts"]])
def test_options_of_pg_dump(app: TestDatabase, tmp_path: Path, options: list[str]) -> None:
    """What they write besides is for another database than the drill's empty one; values may look like commands."""
    app.query(
        "INSERT INTO orders (customer, note) VALUES (1, E'it''s\\n\\\\copy orders to ''x''\\nDROP TABLE orders;\\n"
        "COPY orders FROM stdin;'); COMMENT ON TABLE orders IS E'one\\n\\\\! two\\nDROP TABLE orders;';"
        "CREATE FUNCTION quoted() RETURNS text LANGUAGE sql AS $f$ SELECT '\\\\! x' || $$ \\! y $$ $f$"
    )
    login = app.login("postgres")
    path = tmp_path / "app.sql"
    subprocess.run(
        [app.cluster.bindir / "pg_dump", "-h", login["login_host"], "-p", str(login["login_port"]), "-U", "postgres",
         "-d", app.name, *options, "-f", path], check=True, capture_output=True,
    )  # fmt: skip
    run = verify(path)
    assert (run["verdict"], run["restore"]["rows"]) == ("ok", 3201), run["msg"]


def test_rows_that_look_like_statements(app: TestDatabase, tmp_path: Path) -> None:
    app.query(
        "CREATE TABLE said (line text);"
        " INSERT INTO said VALUES ('GRANT SELECT ON x TO \"public\";'), ('CREATE EXTENSION nowhere;'), ('\\connect x')"
    )
    assert verify(take_dump(app, tmp_path, "plain"))["verdict"] == "ok"


def test_the_locale_of_the_database(app: TestDatabase, tmp_path: Path) -> None:
    """With the locale C a letter beyond ASCII would have no upper case, and the hashes would differ."""
    app.query(f'CREATE DATABASE "{app.name}_utf" TEMPLATE template0 LOCALE "C.UTF-8"', user="postgres")
    try:
        connection = app.cluster.connect(f"{app.name}_utf")
        connection.cursor().execute(
            "CREATE TABLE people (name text, shouted text GENERATED ALWAYS AS (upper(name)) STORED);"
            " INSERT INTO people VALUES ('josé')"
        )
        connection.close()
        login = {**app.login("postgres"), "login_db": f"{app.name}_utf"}
        assert not run_module("backup_dump", {**login, "path": str(tmp_path / "utf.dump")}).failed
        run = verify(tmp_path / "utf.dump")
        assert (run["verdict"], checks(run)["hashes"]) == ("ok", "passed"), run["msg"]
    finally:
        app.query(f'DROP DATABASE "{app.name}_utf" WITH (FORCE)', user="postgres")


def test_a_dump_of_a_release_that_is_not_here(app: TestDatabase, tmp_path: Path) -> None:
    path = take_dump(app, tmp_path, "plain")
    lines = path.read_text().replace(f"Dumped by pg_dump version {app.cluster.major}", "Dumped by pg_dump version 99")
    path.write_text(lines)
    run = verify(path)
    assert statuses(run)["drill"] == "failed"
    assert "Postgres 99" in run["msg"]


def test_no_room(app: TestDatabase, tmp_path: Path) -> None:
    """A dump with a hole in it, larger than any disk: refused before anything is written."""
    path = take_dump(app, tmp_path, "plain")
    with path.open("r+b") as file:
        end = file.read()[-300:]
        file.truncate(1 << 43)
        file.seek(0, os.SEEK_END)
        file.write(end)
    run = run_drill(path)
    assert (run.status, run.checks) == ("failed", [])
    assert "are free" in run.message


def test_a_disk_that_fills_up_ends_the_drill(
    app: TestDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = take_dump(app, tmp_path, "plain")
    end = "--\n-- PostgreSQL database dump complete"
    path.write_text(path.read_text().replace(end, f"SELECT pg_catalog.pg_sleep(100);\n\n{end}"))
    monkeypatch.setattr(drill_server, "_LEAST", 1 << 60)
    begun = time.monotonic()
    rung = run_drill(path)
    assert (rung.status, time.monotonic() - begun < 60) == ("failed", True)
    assert "it needs more room than expected" in rung.message
    assert [check.status for check in rung.checks if check.name == "cleanup"] == ["passed"]


def test_check_mode_restores_nothing(app: TestDatabase, tmp_path: Path) -> None:
    take_dump(app, tmp_path, "custom")
    records = tmp_path / "records"
    run = verify(tmp_path / "app.dump", check=True, records_dir=str(records))
    assert statuses(run)["drill"] == "skipped"
    assert "would be restored" in run["steps"][3]["message"]
    assert not records.exists()


def test_beside_the_live_database(app: TestDatabase, tmp_path: Path) -> None:
    app.query("ANALYZE")
    take_dump(app, tmp_path, "custom")
    live = {"compare_with_live": True, **app.login()}
    assert checks(verify(tmp_path, **live))["live"] == "passed"

    app.query("INSERT INTO orders (customer) SELECT 1 FROM generate_series(1, 9000); ANALYZE orders")
    run = verify(tmp_path, **live)
    assert (run["verdict"], checks(run)["live"]) == ("degraded", "degraded")
    assert "public.orders (3,000 restored, about 12,000 live)" in run["msg"]

    run = verify(tmp_path, **{**live, "login_db": "nowhere"})
    assert (run["verdict"], checks(run)["live"]) == ("degraded", "degraded")


def test_the_rollback_manifest_s_own_checks(app: TestDatabase, tmp_path: Path) -> None:
    take_dump(app, tmp_path, "custom")
    manifest: dict[str, Any] = {
        "tables": ["public.orders", "customer_gone"],
        "checks": [
            {"name": "orders", "query": "SELECT count(*) FROM orders", "expect": {"minimum": 3000}},
            {"name": "orphans", "query": "SELECT FROM orders WHERE customer > 200", "expect": "empty"},
            {"name": "names", "query": "SELECT name FROM customer WHERE id = 3", "expect": {"value": "customer 3"}},
            {"name": "writes", "query": "DELETE FROM orders", "expect": "empty"},
        ],
    }
    found = checks(verify(tmp_path, manifest=manifest))
    assert found["manifest_tables"] == "failed"
    assert {name: status for name, status in found.items() if name.startswith("manifest:")} == {
        "manifest: orders": "passed", "manifest: orphans": "passed", "manifest: names": "passed",
        "manifest: writes": "failed",
    }  # fmt: skip


def test_beside_a_baseline(app: TestDatabase, tmp_path: Path) -> None:
    """Of another moment than the dump: what is missing is a fault, what is different a reservation."""
    kept = {"migration": "one", "artifacts_dir": str(tmp_path / "kept"), "host": "app", "checksums": True}
    baseline = run_module("migration_baseline", {**app.login(), **kept})["path"]
    dump = take_dump(app, tmp_path, "custom")
    run = verify(dump, baseline=baseline)
    assert (run["verdict"], checks(run)["baseline"]) == ("ok", "passed"), run["msg"]
    assert run["steps"][-1]["details"]["proved"] == "It restores, with what the baseline says"
    assert "own privileges were not compared" in str(run["steps"])

    app.query("UPDATE orders SET note = 'changed' WHERE id = 7")
    run = verify(take_dump(app, tmp_path, "custom"), baseline=baseline)
    assert (run["verdict"], checks(run)["baseline"]) == ("degraded", "degraded")
    assert "1 of 2 tables hold other rows than the baseline" in run["msg"]

    app.query("DROP VIEW totals")
    run = verify(take_dump(app, tmp_path, "custom"), baseline=baseline)
    assert (run.failed, checks(run)["baseline"]) == (True, "failed")
    assert "view public.totals" in run["msg"]
    assert verify(dump, baseline=str(tmp_path / "none"))["steps"][0]["status"] == "failed"


def test_what_the_live_database_does_not_tell(app: TestDatabase, tmp_path: Path) -> None:
    app.query("TRUNCATE orders; INSERT INTO orders (customer) VALUES (1); ANALYZE")
    take_dump(app, tmp_path, "custom")
    run = verify(tmp_path, compare_with_live=True, **app.login())
    assert (run["verdict"], checks(run)["live"]) == ("degraded", "degraded")
    assert "Every table of the live database is there, but 2 of up to 1,000 rows" in run["msg"]


def test_a_partitioned_table_of_the_manifest(app: TestDatabase, tmp_path: Path) -> None:
    app.query("CREATE TABLE parts (id int) PARTITION BY RANGE (id)")
    take_dump(app, tmp_path, "custom")
    assert checks(verify(tmp_path, manifest={"tables": ["public.parts", "orders"]}))["manifest_tables"] == "passed"
    assert checks(verify(tmp_path, manifest={"tables": ["public.totals"]}))["manifest_tables"] == "failed"


def test_the_record_of_a_drill(app: TestDatabase, tmp_path: Path) -> None:
    path = take_dump(app, tmp_path, "custom")
    options: dict[str, Any] = {"records_dir": str(tmp_path / "records"), "run_id": "one", "host": "app"}
    before = verify(path, "freshness", look_at_drill=True, **options)
    assert before["steps"][-1]["status"] == "skipped"

    drilled = verify(path, **options)
    assert drilled["history"][0]["drill_seconds"] > 0
    after = verify(path, "freshness", look_at_drill=True, **options)
    assert (after["steps"][-1]["name"], after["steps"][-1]["status"]) == ("drill", "ok")
    assert "restored app.dump" in after["steps"][-1]["message"]

    other = verify(path, "freshness", look_at_drill=True, database=app.name, **options)
    assert other["steps"][-1]["status"] == "skipped"
    assert "another backup" in other["steps"][-1]["message"]


def test_a_newer_backup_that_does_not_restore_voids_an_older_one_s_drill(app: TestDatabase, tmp_path: Path) -> None:
    """Whoever asks for the backup is not told of the old one as if nothing had happened."""
    aged(take_dump(app, tmp_path, "custom"), 1)
    options: dict[str, Any] = {"records_dir": str(tmp_path / "records"), "host": "app"}
    assert verify(tmp_path, run_id="good", **options)["verdict"] == "ok"
    newer = take_dump(app, tmp_path, "plain")
    newer.write_text(newer.read_text().replace("note text", "note nosuchtype"))
    assert statuses(verify(tmp_path, run_id="bad", **options))["drill"] == "failed"

    look = verify(tmp_path, "freshness", look_at_drill=True, run_id="look", **options)
    assert (look["verdict"], statuses(look)["drill"]) == ("degraded", "degraded")
    assert "the later run bad found fault with app.sql" in look["msg"]
    # Of another database's backups, it says nothing of this one's.
    newer.unlink()
    assert verify(tmp_path, run_id="again", database=app.name, **options)["verdict"] == "ok"
    assert verify(tmp_path / "app.dump", run_id="other", database="other", **options).failed
    look = verify(tmp_path, "freshness", look_at_drill=True, database=app.name, **options)
    assert statuses(look)["drill"] == "ok", look["msg"]


def test_a_record_that_cannot_be_written(app: TestDatabase, tmp_path: Path) -> None:
    """The run has failed, and both its report and its metrics say so, and what it found."""
    path = take_dump(app, tmp_path, "custom")
    (tmp_path / "records").write_text("in the way")
    metrics = tmp_path / "backup.prom"
    run = verify(path, "freshness", records_dir=str(tmp_path / "records"), metrics_file=str(metrics))
    assert (run.failed, run["verdict"]) == (True, "failed")
    assert statuses(run) == {"exists": "ok", "freshness": "ok", "record": "failed"}
    assert "cannot be recorded" in run["msg"]
    assert 'pg_backup_verify_success{source="pg_dump",database="",host="localhost"} 0' in metrics.read_text()

    (tmp_path / "records").unlink()
    well = verify(path, "freshness", records_dir=str(tmp_path / "records"), metrics_file=str(metrics))
    assert well["verdict"] == "ok"
    assert "record" not in metrics.read_text()

    run = verify(path, "freshness", metrics_file=str(tmp_path / "nowhere" / "backup.prom"))
    assert (run.failed, run["steps"][-1]["name"]) == (True, "metrics")


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    run = verify(tmp_path / "nowhere")
    assert (run.failed, statuses(run)["exists"]) == (True, "failed")
    assert "does not exist on this host" in run["msg"]


def test_the_environment_does_not_lead_the_drill_elsewhere(app: TestDatabase, tmp_path: Path) -> None:
    """PGHOSTADDR wins over a socket's directory, and would have the drill write to whatever answers there."""
    take_dump(app, tmp_path, "custom")
    options = {"source": "pg_dump", "path": str(tmp_path)}
    run = run_module("backup_verify", options, env={"PGHOSTADDR": "127.0.0.1", "PGPORT": "1", "PGSERVICE": "nowhere"})
    assert (run["verdict"], checks(run)["isolated"]) == ("ok", "passed"), run["msg"]


def test_a_number_of_entries_that_is_wrong(app: TestDatabase, tmp_path: Path) -> None:
    """One bit, by which pg_restore would leave objects out without a word."""
    path = take_dump(app, tmp_path, "directory") / "toc.dat"
    content = bytearray(path.read_bytes())
    entries = len(read_toc(path.parent)[1])
    position = next(
        at for at in range(30, 400) if content[at : at + 5] == bytes([0]) + entries.to_bytes(4, "little")
    )
    content[position + 1] ^= 1 << (entries.bit_length() - 1)
    path.write_bytes(content)
    run = verify(path.parent)
    assert run.failed
    assert "holds more than it says" in run["msg"]


def test_the_time_limit_holds_while_it_is_looked_at(app: TestDatabase, tmp_path: Path) -> None:
    take_dump(app, tmp_path, "custom")
    slow = [{"name": "slow", "query": "SELECT pg_sleep(60)", "expect": "empty"}]
    begun = time.monotonic()
    run = verify(tmp_path, manifest={"checks": slow}, drill_timeout="6s")
    assert (statuses(run)["drill"], checks(run)["cleanup"]) == ("failed", "passed")
    assert time.monotonic() - begun < 30


def test_a_drill_that_was_killed_is_removed_by_the_next(
    app: TestDatabase, tmp_path: Path, drill_place: Path
) -> None:
    take_dump(app, tmp_path, "custom")
    slow = [{"name": "slow", "query": "SELECT pg_sleep(50)", "expect": "empty"}]
    options = {"source": "pg_dump", "path": str(tmp_path), "drill_directory": str(drill_place)}
    running = Forked(partial(run_module, "backup_verify", {**options, "manifest": {"checks": slow}}))
    until(lambda: any(drill_place.glob("drill-*/socket/.s.PGSQL.5432")), "the drill's server listens")
    (module,) = {int(path.name.split("-")[1]) for path in drill_place.iterdir()}
    os.kill(module, signal.SIGKILL)
    with pytest.raises(Exception, match="Expecting value"):
        running.result()
    assert list(drill_place.iterdir()) != []

    assert verify(tmp_path, drill_directory=str(drill_place))["verdict"] == "ok"
    assert list(drill_place.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_drill_that_is_ended_cleans_up(
    app: TestDatabase, tmp_path: Path, drill_place: Path, number: signal.Signals
) -> None:
    """While it restores, which here would take long."""
    path = take_dump(app, tmp_path, "plain")
    end = "--\n-- PostgreSQL database dump complete"
    assert path.read_text().count(end) == 1
    path.write_text(path.read_text().replace(end, f"SELECT pg_catalog.pg_sleep(100);\n\n{end}"))
    options = {"source": "pg_dump", "path": str(path), "drill_directory": str(drill_place)}
    running = Forked(partial(run_module, "backup_verify", options))
    until(lambda: _sleeps(drill_place), "the restore has come to its sleep")
    (module,) = {int(place.name.split("-")[1]) for place in drill_place.iterdir()}
    begun = time.monotonic()
    os.kill(module, number)
    with pytest.raises(Exception, match="Expecting value"):
        running.result()
    assert time.monotonic() - begun < 30
    assert list(drill_place.iterdir()) == []


def _sleeps(drill_place: Path) -> bool:
    for socket in drill_place.glob("drill-*/socket/.s.PGSQL.5432"):
        with suppress(psycopg2.OperationalError):
            connection = psycopg2.connect(host=str(socket.parent), user="postgres", dbname="template1")
            try:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_catalog.pg_sleep(%'")
                    return cursor.fetchone() is not None
            finally:
                connection.close()
    return False


def test_a_dump_without_a_row(app: TestDatabase, tmp_path: Path) -> None:
    app.query("TRUNCATE customer CASCADE")
    take_dump(app, tmp_path, "custom")
    run = verify(tmp_path)
    assert (run["verdict"], run["msg"]) == ("degraded", "drill: There is not a single row in it.")


def test_odd_names_beside_it(app: TestDatabase, tmp_path: Path) -> None:
    """What looks like a glob and is a name, and a link that leads nowhere."""
    path = take_dump(app, tmp_path, "custom").rename(tmp_path / "-app [1] 'é.dump")
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    assert verify(path)["verdict"] == "ok"
    assert verify(tmp_path, "exists")["backup"]["id"] == path.name


def test_a_relative_path(app: TestDatabase) -> None:
    run = verify(Path("dumps"))
    assert (run.failed, "which is relative" in run["msg"]) == (True, True)


def test_metrics_at_a_relative_path(app: TestDatabase, tmp_path: Path) -> None:
    """They would land wherever the module happens to run."""
    run = verify(take_dump(app, tmp_path, "custom"), "freshness", metrics_file="rel.prom")
    assert (run.failed, statuses(run)["exists"]) == (True, "failed")
    assert "backup_verification_metrics_file is 'rel.prom', which is relative" in run["msg"]
    assert not (ROOT / "rel.prom").exists()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]), "cannot be decompressed"),
        (lambda file: file.unlink(), "are missing"),
    ],
)
def test_large_objects_of_a_directory(
    app: TestDatabase, tmp_path: Path, spoil: Callable[[Path], Any], said: str
) -> None:
    app.query("SELECT lo_from_bytea(4711, sha512(n::text::bytea)) FROM generate_series(1, 1) n", user="postgres")
    path = take_dump(app, tmp_path, "directory")
    assert statuses(verify(path, "integrity"))["integrity"] == "ok"

    spoil(path / "blob_4711.dat.gz")
    run = verify(path, "integrity")
    assert run.failed
    assert f"large object 4711 {said}" in run["msg"]


@pytest.mark.parametrize("seconds", [1, 3])
def test_a_drill_without_time_cleans_up(app: TestDatabase, tmp_path: Path, drill_place: Path, seconds: int) -> None:
    """Whatever it was about to do: the time ends at another place each time, at the last while a program is at work."""
    path = take_dump(app, tmp_path, "plain")
    end = "--\n-- PostgreSQL database dump complete"
    path.write_text(path.read_text().replace(end, f"SELECT pg_catalog.pg_sleep(100);\n\n{end}"))
    run = verify(path, drill_timeout=f"{seconds}s", drill_directory=str(drill_place))
    assert statuses(run)["drill"] == "failed"
    assert checks(run).get("cleanup", "passed") == "passed", run["steps"][-1]
    assert f"took longer than {seconds} s and was ended" in run["msg"]
    assert "backup_verification_drill_timeout" in run["msg"]
    assert list(drill_place.iterdir()) == []
