# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The content manifest: equal before and after dump and restore, whatever the types; different for one wrong bit."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.backup import Check
from ansible_collections.pgops.rollback.plugins.module_utils.content_manifest import (
    compare,
    manifest_path,
    read_manifest,
    verify_file,
)
from ansible_collections.pgops.rollback.plugins.module_utils.disposable_states import Request
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.object_inventory import Extension
from ansible_collections.pgops.rollback.plugins.module_utils.table_content import (
    algorithm_for,
    list_tables,
    measure,
    reading,
)
from tests.support.database import WHEELS, TestDatabase, running_cluster
from tests.support.modules import ModuleRun, run_module

ALL_TYPES = r"""
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TYPE part AS (name text, amount numeric(10, 3), at timestamptz);
CREATE TYPE span AS RANGE (subtype = float8);
CREATE TABLE types (
    id int GENERATED ALWAYS AS IDENTITY, s smallint, b bigint, n numeric, n2 numeric(8, 2), r real,
    d double precision,
    m money, t text, v varchar(9), c char(5), c1 "char", na name, by bytea, ts timestamp, tz timestamptz,
    da date, ti time,
    tt timetz, iv interval, bo boolean, e mood, po point, li line, ls lseg, bx box, pa path, pg polygon, ci circle,
    ip inet, cd cidr, ma macaddr, m8 macaddr8, bi bit(5), bv bit varying(9), tv tsvector, tq tsquery, u uuid, j json,
    jb jsonb, jp jsonpath, ia int[], ta text[][], pr part, pra part[], dm positive, ir int4range, nr numrange,
    tr tstzrange, mr int4multirange, sp span, lsn pg_lsn, sn pg_snapshot, x8 xid8, rc regclass, rt regtype, o oid,
    g int GENERATED ALWAYS AS (s * 2) STORED, "Odd ""name" text, measured text
);
INSERT INTO types (s, b, n, n2, r, d, m, t, v, c, c1, na, by, ts, tz, da, ti, tt, iv, bo, e, po, li, ls, bx,
    pa, pg, ci, ip,
    cd, ma, m8, bi, bv, tv, tq, u, j, jb, jp, ia, ta, pr, pra, dm, ir, nr, tr, mr, sp, lsn, sn, x8, rc, rt, o,
    "Odd ""name", measured)
VALUES (-32768, 9223372036854775807, 'NaN', 1.10, 'Infinity', 0.1::float8 + 0.2, 12345.67,
    E'tab\tnew\nline \\ "q" é 😀', '',
    'ab', 'x', 'na', '\x00ff', '-infinity', '2024-03-31 01:30+01', 'infinity', '24:00', '01:02:03.4+05:30',
    '-1 year 2 mons -3 days 04:05:06.7', true, 'ok', '(1.1,-2)', '{1,2,3}', '[(0,0),(1,1)]', '((0,0),(1,1))',
    '[(0,0),(1,1),(2,0)]', '((0,0),(1,1),(2,0))', '<(0,0),5>', '10.1.2.3/8', '10.0.0.0/8', '08:00:2b:01:02:03',
    '08:00:2b:01:02:03:04:05', B'10101', B'101', 'a:1 fat:2,3', 'a & !b', '12345678-1234-1234-1234-123456789abc',
    '{"b": 1,  "a": [1.0, null]}', '{"b": 1,  "a": [1.0, null]}', '$.a[*] ? (@ > 1)', '{1,NULL,3}',
    '{{a,"b c"},{"\"",NULL}}',
    '(x,1.5,2024-01-01)', ARRAY['(x,1.5,2024-01-01)', '(,,)']::part[], 7, '[1,5)', '(1.5,)', '[2024-01-01,infinity]',
    '{[1,3),[5,8)}', '[-Infinity,1e300]', '16/B374D848', '10:20:10,14,15', '123', 'types', 'part[]',
    4294967295, 'odd', 'self'),
    (NULL, -1, '1.000', -0.01, '-0', 'NaN', -0.5, NULL, NULL, '', '', '', '', NULL, NULL, '0001-01-01 BC',
    NULL, NULL, '0', false,
    'sad', NULL, NULL, NULL, NULL, NULL, NULL, NULL, '::1', NULL, NULL, NULL, B'00000', B'', '', '', NULL,
    'null', 'null', '$',
    '{}', '{}', NULL, '{}', NULL, 'empty', '(,)', NULL, '{}', NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL);
INSERT INTO types (t) SELECT t FROM types;
INSERT INTO types (t) VALUES (NULL), (NULL);
CREATE TABLE dropped (a int, b text, c int DEFAULT 5);
INSERT INTO dropped VALUES (1, 'x'), (2, 'y');
ALTER TABLE dropped DROP COLUMN b, ADD COLUMN d text DEFAULT 'added', ADD COLUMN e numeric DEFAULT 1.50;
CREATE TABLE none_at_all ();
INSERT INTO none_at_all DEFAULT VALUES;
INSERT INTO none_at_all DEFAULT VALUES;
CREATE TABLE parent (id int PRIMARY KEY, a text);
CREATE TABLE child (z text) INHERITS (parent);
ALTER TABLE parent ADD COLUMN late text DEFAULT 'late';
INSERT INTO parent VALUES (1, 'p');
INSERT INTO child (id, a, z) VALUES (2, 'c', 'z');
CREATE TABLE parted (id int, at date) PARTITION BY RANGE (at);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE parted_2 (at date, dropped int, id int);
ALTER TABLE parted_2 DROP COLUMN dropped;
ALTER TABLE parted ATTACH PARTITION parted_2 FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
INSERT INTO parted VALUES (1, '2024-05-05'), (2, '2025-05-05'), (2, '2025-05-05');
CREATE INDEX ON parted (id);
CREATE UNLOGGED TABLE unlogged AS SELECT 1 AS id;
CREATE TEMPORARY TABLE temporary AS SELECT 1 AS id;
CREATE SCHEMA "Odd. Schema";
CREATE TABLE "Odd. Schema"."Öre;" AS SELECT 1 AS "select";
CREATE MATERIALIZED VIEW summary AS SELECT count(*) FROM types;
CREATE VIEW shown AS SELECT * FROM parent;
CREATE FUNCTION area(a int, VARIADIC b text[]) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE PROCEDURE nothing() LANGUAGE sql AS '';
CREATE AGGREGATE total (int) (SFUNC = int4pl, STYPE = int);
CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER fired BEFORE INSERT ON parted FOR EACH ROW EXECUTE FUNCTION fire();
ALTER TABLE parent ENABLE ROW LEVEL SECURITY;
CREATE POLICY visible ON parent USING (true);
ALTER TABLE dropped ADD CONSTRAINT above CHECK (a > 0);
CREATE SEQUENCE unfed START 5;
CREATE SEQUENCE down INCREMENT -3 MAXVALUE 100 START 100;
SELECT nextval('down'), nextval('down'), setval('unfed', 77, false), lo_from_bytea(4711, repeat('lo', 1000000)::bytea),
       lo_from_bytea(4712, '');
"""


@pytest.fixture
def copy(database: TestDatabase) -> Iterator[TestDatabase]:
    """An empty database beside the other."""
    made = TestDatabase(database.cluster)
    made.create()
    yield made
    made.drop()


def dump(database: TestDatabase, path: Path, user: str = "postgres", **options: Any) -> ModuleRun:
    return run_module("backup_dump", {**database.login(user), "path": str(path), **options})


def restore(path: Path, into: TestDatabase, form: str = "custom") -> None:
    login = into.cluster
    target = ["-h", login.socket_directory, "-p", str(login.recipe.socket_port), "-U", "postgres", "-d", into.name]
    command = ["psql", "-qXf", str(path), "-v", "ON_ERROR_STOP=1"] if form == "plain" else ["pg_restore", str(path)]
    into.query("DROP SCHEMA public CASCADE; CREATE SCHEMA public", user="postgres")
    command[:1] = [str(login.bindir / command[0]), *target]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def told(_what: str, _fraction: float | None) -> None:
    """Progress that nobody watches."""


def compared(path: Path, restored: TestDatabase, sessions: int = 2, **options: Any) -> dict[str, Check]:
    connections = [restored.superuser() for _session in range(sessions)]
    checks = compare(read_manifest(manifest_path(path)), connections, told, **options)
    return {check.name: check for check in checks}


def statuses(checks: dict[str, Check]) -> dict[str, str]:
    return {name: check.status for name, check in checks.items()}


ALL_PASSED = dict.fromkeys(["inventory", "counts", "hashes", "sequences"], "passed")


@pytest.mark.parametrize("form", ["custom", "directory", "tar", "plain"])
def test_all_types_are_the_same_after_a_restore(
    database: TestDatabase, copy: TestDatabase, tmp_path: Path, form: str
) -> None:
    database.query(ALL_TYPES, user="postgres")
    # What a role or database sets must not show in the hashes.
    for setting in ("datestyle = 'SQL, DMY'", "timezone = 'Asia/Kathmandu'", "bytea_output = escape",
                    "extra_float_digits = -5", "intervalstyle = iso_8601", "search_path = nowhere"):
        database.query(f"ALTER DATABASE {database.name} SET {setting}", user="postgres")
    path = tmp_path / "app.dump"
    run = dump(database, path, format=form)
    assert not run.failed, run.output
    manifest = read_manifest(manifest_path(path))
    rows = {f"{table.schema}.{table.table}": table.rows for table in manifest.tables}
    assert rows == {
        "public.types": 6, "public.dropped": 2, "public.none_at_all": 2, "public.parent": 1, "public.child": 1,
        "public.parted_1": 1, "public.parted_2": 2, "public.unlogged": 1, "Odd. Schema.Öre;": 1,
        "pg_catalog.pg_largeobject": 2,
    }  # fmt: skip
    assert (run["rows"], run["tables"]) == (sum(rows.values()), len(rows))
    kinds = {each.kind for each in manifest.objects}
    assert kinds == {"schemas", "tables", "views", "materialized_views", "functions", "triggers", "policies",
                     "constraints", "indexes", "types"}  # fmt: skip
    assert [check.status for check in verify_file(manifest, path, told)] == ["passed"]
    restore(path, copy, form)
    checks = compared(path, copy)
    assert statuses(checks) == ALL_PASSED, checks


@pytest.mark.full
def test_the_newest_release_gives_the_same_hashes(database: TestDatabase, tmp_path: Path) -> None:
    database.query(ALL_TYPES, user="postgres")
    dump(database, tmp_path / "app.dump")
    with running_cluster(f"newest-{os.getpid()}", Request(major=18, wheels=WHEELS)) as newest:
        copy = TestDatabase(newest)
        copy.create()
        restore(tmp_path / "app.dump", copy)
        assert statuses(compared(tmp_path / "app.dump", copy)) == ALL_PASSED
        copy.query("UPDATE dropped SET c = 6 WHERE a = 1", user="postgres")
        hashes = compared(tmp_path / "app.dump", copy)["hashes"]
    assert hashes.status == "failed"
    if database.cluster.major < 18:
        assert hashes.message.endswith(f"(Dumped from Postgres {database.cluster.major}, restored into 18.)")


SHOP = """
CREATE TABLE orders (id serial PRIMARY KEY, note text);
INSERT INTO orders (note) SELECT 'note number ' || i FROM generate_series(1, 1000) AS i;
CREATE TABLE customers AS SELECT i AS id, 'name ' || i AS name FROM generate_series(1, 10) AS i;
CREATE INDEX named ON customers (name);
"""


@pytest.fixture
def shop(database: TestDatabase) -> TestDatabase:
    database.query(SHOP)
    return database


def test_one_wrong_bit_that_every_tool_passes(shop: TestDatabase, copy: TestDatabase, tmp_path: Path) -> None:
    path = tmp_path / "app.dump"
    dump(shop, path, compress="0")
    content = path.read_bytes()
    (place,) = [found.start() for found in re.finditer(b"note number 500\n", content)]
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    restore(path, copy)  # without an error
    assert copy.value("SELECT count(*) FROM orders") == 1000
    checks = compared(path, copy)
    assert statuses(checks) == {**ALL_PASSED, "hashes": "failed"}
    assert checks["hashes"].message == "public.orders has as many rows (1,000) but not the same ones."
    (check,) = verify_file(read_manifest(manifest_path(path)), path, told)
    assert check.status == "failed"
    assert "The SHA-256 sum is another than the manifest says: app.dump changed since." in check.message


@pytest.mark.parametrize(
    ("damage", "failed", "message"),
    [
        ("DELETE FROM orders WHERE id <= 17", ["counts", "hashes"],
         "public.orders has 17 rows less than the backup's manifest says (983 of 1,000)."),
        ("INSERT INTO orders VALUES (0)", ["counts", "hashes"],
         "public.orders has 1 row more than the backup's manifest says (1,001 of 1,000)."),
        ("UPDATE customers SET name = NULL WHERE id = 3", ["hashes"],
         "public.customers has as many rows (10) but not the same ones."),
        ("UPDATE customers SET id = CASE id WHEN 1 THEN 2 ELSE 1 END WHERE id < 3", ["hashes"], "customers"),
        ("UPDATE customers SET (id, name) = (4, 'name 4') WHERE id = 3", ["hashes"], "customers"),
        ("DROP TABLE customers", ["inventory", "counts", "hashes"], "public.customers is not there."),
        ("DROP INDEX named", ["inventory"],
         "Objects of the manifest that are not there (1): indexes: named on public.customers."),
        ("SELECT setval('orders_id_seq', 999)", ["sequences"],
         "public.orders_id_seq is at 999, but the manifest says 1000."),
        ("SELECT setval('orders_id_seq', 1000, false)", ["sequences"],
         "public.orders_id_seq is at 1000 (not yet used), but the manifest says 1000."),
        ("ALTER TABLE orders ALTER id DROP DEFAULT; DROP SEQUENCE orders_id_seq", ["sequences"],
         "public.orders_id_seq is not there."),
    ],
)  # fmt: skip
def test_what_is_not_as_it_was_is_named(
    shop: TestDatabase, copy: TestDatabase, tmp_path: Path, damage: str, failed: list[str], message: str
) -> None:
    dump(shop, tmp_path / "app.dump")
    restore(tmp_path / "app.dump", copy)
    copy.query(damage, user="postgres")
    checks = compared(tmp_path / "app.dump", copy)
    assert statuses(checks) == ALL_PASSED | dict.fromkeys(failed, "failed")
    assert message in " ".join(checks[name].message for name in failed)


def test_what_could_not_be_restored_is_left_out(shop: TestDatabase, copy: TestDatabase, tmp_path: Path) -> None:
    dump(shop, tmp_path / "app.dump")
    restore(tmp_path / "app.dump", copy)
    copy.query("DROP TABLE customers", user="postgres")
    checks = compared(tmp_path / "app.dump", copy, without={"public.customers"})
    assert statuses(checks) == ALL_PASSED
    assert checks["inventory"].message.endswith("Left out: 2.")
    assert checks["counts"].message.endswith("Left out: 1.")


def test_an_extension_that_is_missing_lowers_the_verdict(shop: TestDatabase, tmp_path: Path) -> None:
    shop.query("CREATE SCHEMA tools; CREATE FUNCTION tools.f() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    dump(shop, tmp_path / "app.dump")
    path = manifest_path(tmp_path / "app.dump")
    manifest = read_manifest(path)
    connections = [shop.superuser()]
    lacking = replace(manifest, extensions=(Extension("nowhere", "1.0", "public"),))
    (check, *_others) = compare(lacking, connections, told)
    assert (check.status, check.message) == ("degraded", "Without the extensions nowhere; all else is there.")
    shop.query("DROP FUNCTION tools.f()")
    (check, *_others) = compare(lacking, connections, told)
    assert (check.status, check.message) == (
        "degraded",
        "Without the extensions nowhere and 1 other objects: functions: tools.f().",
    )
    shop.query("DROP TABLE customers")
    (check, *_others) = compare(lacking, connections, told)
    assert check.status == "failed"


def test_a_directory_with_missing_and_extra_files(shop: TestDatabase, tmp_path: Path) -> None:
    path = tmp_path / "app"
    dump(shop, path, format="directory")
    manifest = read_manifest(manifest_path(path))
    lost = next(file.path for file in manifest.files if file.path != "toc.dat")
    (path / lost).rename(path / "new.dat")
    (check,) = verify_file(manifest, path, told)
    assert check.status == "failed"
    assert f"it lacks {lost} and also has new.dat." in check.message
    (path / "new.dat").rename(path / lost)
    (path / lost).write_bytes((path / lost).read_bytes()[:-1])
    (check,) = verify_file(manifest, path, told)
    assert f"{lost} has" in check.message


def test_a_dump_may_be_renamed_with_its_manifest(shop: TestDatabase, tmp_path: Path) -> None:
    dump(shop, tmp_path / "app.dump")
    (tmp_path / "app.dump").rename(tmp_path / "old.dump")
    (check,) = verify_file(read_manifest(manifest_path(tmp_path / "app.dump")), tmp_path / "old.dump", told)
    assert check.status == "passed"


def cut(text: str) -> str:
    return text[: len(text) // 2]


def without_tables(text: str) -> str:
    content = json.loads(text)
    del content["tables"]
    return json.dumps(content)


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (cut, "is no JSON, or was cut short."),
        (lambda _text: "[]", "is JSON, but no content manifest."),
        (lambda text: text.replace('"manifest_version": 1', '"manifest_version": 2'), "has version 2; this release"),
        (lambda text: text.replace('"rows": 1000', '"rows": 999'), "was changed after it was written."),
        (without_tables, "was changed after it was written."),
    ],
)
def test_a_manifest_that_is_none_is_refused(
    shop: TestDatabase, tmp_path: Path, edit: Callable[[str], str], reason: str
) -> None:
    dump(shop, tmp_path / "app.dump")
    path = manifest_path(tmp_path / "app.dump")
    whole = path.read_text(encoding="utf-8")
    assert edit(whole) != whole
    path.write_text(edit(whole), encoding="utf-8")
    with pytest.raises(RollbackError, match=re.escape(f"app.dump.manifest.json {reason}")) as caught:
        read_manifest(path)
    assert caught.value.code == "manifest_invalid"


def test_it_is_written_as_it_is_read(shop: TestDatabase, tmp_path: Path) -> None:
    dump(shop, tmp_path / "app.dump")
    path = manifest_path(tmp_path / "app.dump")
    assert read_manifest(path).as_json() == path.read_text(encoding="utf-8")


def measured(database: TestDatabase, sessions: int = 1, encoding: str = "UTF8") -> dict[str, tuple[int, str]]:
    connections = [database.superuser() for _session in range(sessions)]
    with reading(connections):
        found = measure(connections, list_tables(connections[0].cursor()), algorithm_for(encoding), told)
    return {table.table: (table.rows, table.hash) for table in found}


def test_a_hash_does_not_depend_on_the_order_of_rows_and_columns(database: TestDatabase) -> None:
    database.query(
        "CREATE TABLE one AS SELECT i AS a, i::text AS b FROM generate_series(1, 100) AS i;"
        "CREATE TABLE two AS SELECT i::text AS b, i AS a FROM generate_series(1, 100) AS i ORDER BY random();"
        "CREATE TABLE twice AS SELECT * FROM one UNION ALL SELECT * FROM one WHERE a = 1;"
        "CREATE TABLE empty (a int)"
    )
    found = measured(database)
    assert found["one"] == found["two"] != found["twice"]
    assert found["empty"] == (0, "0")


def test_a_large_table_is_measured_in_pieces(database: TestDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    database.query("CREATE TABLE big AS SELECT i, repeat('x', 100) AS t FROM generate_series(1, 20000) AS i")
    whole = measured(database)
    table_content = "ansible_collections.pgops.rollback.plugins.module_utils.table_content"
    monkeypatch.setattr(f"{table_content}._BYTES_AT_ONCE", 100_000)
    assert measured(database, sessions=2) == whole
    assert whole["big"][0] == 20000


def test_another_encoding_gives_the_same_hashes_after_a_restore_into_utf8(
    database: TestDatabase, copy: TestDatabase, tmp_path: Path
) -> None:
    database.drop()
    template = database.cluster.connect()
    template.cursor().execute(
        f"CREATE DATABASE {database.name} TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C' OWNER operator"
    )
    template.close()
    connection = database.superuser()
    connection.set_client_encoding("UTF8")
    connection.cursor().execute("CREATE TABLE straße AS SELECT 'süß'::text AS wort")
    run = dump(database, tmp_path / "app.dump")
    assert not run.failed, run.output
    manifest = read_manifest(manifest_path(tmp_path / "app.dump"))
    assert [(table.table, table.rows) for table in manifest.tables] == [("straße", 1)]
    restore(tmp_path / "app.dump", copy)
    assert statuses(compared(tmp_path / "app.dump", copy)) == {**ALL_PASSED}
    copy.query("UPDATE straße SET wort = 'suß'", user="postgres")
    assert statuses(compared(tmp_path / "app.dump", copy))["hashes"] == "failed"


def test_a_sequence_that_was_set_back_meanwhile_is_not_compared(shop: TestDatabase, tmp_path: Path) -> None:
    dump(shop, tmp_path / "app.dump")
    known = read_manifest(manifest_path(tmp_path / "app.dump"))
    (sequence,) = known.sequences
    for later, status in (((1005, True), "passed"), ((3, True), "degraded")):
        moved = replace(known, sequences=(replace(sequence, last_value=900, later=later),))
        check = compare(moved, [shop.superuser()], told)[-1]
        assert (check.name, check.status) == ("sequences", status)
