# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""baseline.yml and manifest.yml as they are typed, around a migration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.database import ROOT, TestDatabase
from tests.support.playbook import inventory, report, rollback, rollback_variables, steps

BASELINE = ROOT / "playbooks/baseline.yml"
MANIFEST = ROOT / "playbooks/manifest.yml"


def test_around_a_migration(database: TestDatabase, tmp_path: Path) -> None:
    database.query("CREATE TABLE found (id int)")
    inventory(tmp_path, {"db1": {**rollback_variables(database.login()), "rollback_migration": "release-42"}})
    done = rollback(tmp_path, playbook=BASELINE)
    assert done.returncode == 0, done.stdout
    assert steps(report(tmp_path, "db1")) == {"preflight": "ok", "backup": "skipped", "baseline": "ok"}
    assert "changed=0" in done.stdout

    again = rollback(tmp_path, playbook=BASELINE)
    assert again.returncode == 2
    assert "There is a baseline before release-42 already" in again.stdout

    database.query("CREATE TABLE IF NOT EXISTS found (id int); CREATE TABLE IF NOT EXISTS made (id int)")
    done = rollback(tmp_path, playbook=MANIFEST)
    assert done.returncode == 0, done.stdout
    assert steps(report(tmp_path, "db1")) == {"preflight": "ok", "baseline": "ok", "manifest": "ok"}
    manifest = tmp_path / "artifacts/db1/baselines/release-42-manifest.json"
    assert json.loads(manifest.read_text(encoding="utf-8"))["tables"] == ["public.made"]

    # The baseline after it is kept, too; its tag alone makes the manifest again.
    assert rollback(tmp_path, playbook=MANIFEST).returncode == 2
    assert rollback(tmp_path, "--tags", "manifest", playbook=MANIFEST).returncode == 0


@pytest.mark.full
def test_the_rollback_of_a_named_migration_ends_with_verification(database: TestDatabase, tmp_path: Path) -> None:
    database.query("CREATE TABLE orders (id serial PRIMARY KEY, total int); CREATE INDEX by_total ON orders (total)")
    inventory(tmp_path, {"db1": {**rollback_variables(database.login()), "rollback_migration": "release-42"}})
    assert rollback(tmp_path, playbook=BASELINE).returncode == 0
    database.query("INSERT INTO orders SELECT generate_series(1, 50)")
    assert rollback(tmp_path, "--tags", "sequence", "--check").returncode == 0
    assert steps(report(tmp_path, "db1")) == {"preflight": "ok", "sequence": "changed"}

    done = rollback(tmp_path, "--tags", "sequence")
    assert done.returncode == 0, done.stdout
    assert steps(report(tmp_path, "db1")) == {"preflight": "ok", "sequence": "changed", "verify": "ok"}

    database.query("DROP INDEX by_total")
    done = rollback(tmp_path, "--tags", "sequence")
    assert done.returncode == 2
    assert steps(report(tmp_path, "db1")) == {"preflight": "ok", "sequence": "ok", "verify": "failed"}
    assert "by_total" in done.stdout
    # Once, so that what to do next is the last to be read.
    assert done.stdout.count("fatal: [db1]") == 1
    assert done.stdout.index("fatal: [db1]") < done.stdout.index("  Next: ")
    assert rollback(tmp_path, "--tags", "sequence", "--skip-tags", "verify").returncode == 0


def test_what_a_teardown_would_take_is_planned_and_kept(database: TestDatabase, tmp_path: Path) -> None:
    database.query("CREATE TABLE kept (id int)")
    inventory(tmp_path, {"db1": {**rollback_variables(database.login()), "rollback_migration": "release-42"}})
    assert rollback(tmp_path, playbook=BASELINE).returncode == 0
    database.query("CREATE TABLE made (id int); CREATE VIEW over_it AS SELECT * FROM made")
    assert rollback(tmp_path, playbook=MANIFEST).returncode == 0

    manifest = "rollback_manifest=artifacts/db1/baselines/release-42-manifest.json"
    done = rollback(tmp_path, "--tags", "plan", "-e", manifest)
    assert done.returncode == 0, done.stdout
    written = report(tmp_path, "db1")
    assert steps(written) == {"preflight": "ok", "plan": "ok"}
    kept = json.loads((tmp_path / "artifacts/db1/latest/plan.json").read_text(encoding="utf-8"))
    assert (kept["token"], kept["mode"], kept["blockers"]) == (written["token"], "quarantine", [])
    assert f"Token {kept['token']}." in " ".join(done.stdout.split())
    assert "public.over_it" in done.stdout
    assert database.value("SELECT count(*) FROM made") == 0

    # What was there before blocks, and without a manifest it is the coaching migration's.
    (tmp_path / "own.yml").write_text("tables: [public.kept]\n", encoding="utf-8")
    done = rollback(tmp_path, "--tags", "plan", "-e", "rollback_manifest=own.yml")
    assert (done.returncode, "was there before the migration" in " ".join(done.stdout.split())) == (2, True)
    assert steps(report(tmp_path, "db1"))["plan"] == "refused"
    done = rollback(tmp_path, "--tags", "plan")
    assert done.returncode == 0
    assert "has nothing of what the manifest names" in " ".join(done.stdout.split())


def test_without_a_name_nothing_is_kept(database: TestDatabase, tmp_path: Path) -> None:
    inventory(tmp_path, {"db1": rollback_variables(database.login())})
    done = rollback(tmp_path, playbook=BASELINE)
    assert done.returncode == 2
    assert "missing required arguments: rollback_migration" in done.stdout
    assert not (tmp_path / "artifacts/db1/baselines").exists()
