# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The decision tree, situation by situation, and what is said of what each option would lose."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.advice_result import advise
from ansible_collections.pgops.rollback.plugins.module_utils.rollback_advice import (
    Evidence,
    Migration,
    ProvenBackup,
    Rows,
    Written,
    read_findings,
)

COACHING = Migration(known=True, tables=["public.sponsor_connections"], others=["public.get_unread()"])
NOTHING_CREATED = Migration(known=True)
PROTECTED = Migration(known=True, tables=["public.a", "public.b"], protected=["public.b"])
UNKNOWN_ORIGIN = Migration(known=True, tables=["public.a"], provenance_known=False)
BACKUP = ProvenBackup(
    id="app.dump", source="pg_dump", finished_at="2026-01-02T01:00:00Z", holds_until="2026-01-02T00:59:00Z",
    drilled_at="2026-01-02T02:00:00Z", age=timedelta(hours=5), restore_seconds=754.0, restore_bytes=3_000_000_000,
)  # fmt: skip


def check(name: str, status: str = "passed", severity: str = "major", *objects: str) -> dict[str, Any]:
    named = [{"name": each, "problem": "is wrong"} for each in objects]
    return {"name": name, "status": status, "severity": severity, "message": f"{name} says so.", "objects": named}


#: A verification that looked at everything and found nothing.
HEALTHY = [check(name) for name in ("sequences", "keys_without_default", "orphans", "pairs", "catalog", "constraints")]


def verified(*failed: str, skipped: tuple[str, ...] = (), severity: str = "critical", **more: str) -> dict[str, Any]:
    checks = [one for one in HEALTHY if one["name"] not in (*failed, *skipped, *more)]
    checks += [check(name, "failed", "critical", f"public.{name}") for name in failed]
    checks += [check(name, "skipped", severity) for name in skipped]
    return {"checks": checks + [check(name, status) for name, status in more.items()]}


def advice(application: str, verification: dict[str, Any], **other: Any) -> dict[str, Any]:
    return advise(Evidence(operators_answer=application, findings=read_findings(verification), **other))


def option(result: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in result["options"] if each["name"] == name)
    return found


def answer(result: dict[str, Any], question: str) -> str:
    return str(next(each["answer"] for each in result["evidence"] if question in each["question"]))


GONE = "Cannot connect to the database (host /x): Connection refused."
COUNTED: dict[str, Any] = {"migration": COACHING, "created_rows": Rows({"public.sponsor_connections": 3})}
A, B = {**COUNTED, "backup": BACKUP}, {**COUNTED, "no_backup": "there is none"}

#: What is the case, and the recommendation, confidence and status that follow.
SITUATIONS: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "all is well": (advice("up", verified(), **A), "none", "high", "ok"),
    "warnings alone are no faults": (advice("up", verified(constraints="warned"), **A), "none", "high", "ok"),
    "works, rows may be lost": (advice("up", verified(row_counts="warned"), **A), "fix_forward", "low", "degraded"),
    "down, rows may be lost": (advice("down", verified(row_counts="warned"), **A), "teardown", "low", "degraded"),
    "down, rows may be lost, nothing to tear down": (
        advice("down", verified(row_counts="warned"), migration=PROTECTED), "undecided", "low", "skipped"),
    "down, tables are gone": (advice("down", verified("row_counts"), **A), "full_restore", "high", "ok"),
    "down, a sequence is at its end": (
        advice("down", verified("sequence_limits"), migration=PROTECTED), "fix_forward", "high", "ok"),
    "down, nobody knows what was there before": (
        advice("down", verified("catalog"), migration=UNKNOWN_ORIGIN), "fix_forward", "high", "ok"),
    "works, a policy is missing": (advice("up", verified("catalog"), **A), "fix_forward", "high", "ok"),
    "works, but a critical check was skipped": (
        advice("up", verified(skipped=("catalog",)), **A), "undecided", "low", "skipped"),
    "works, a minor check was skipped": (
        advice("up", verified(skipped=("pairs",), severity="minor"), **A), "none", "high", "ok"),
    "works, not verified": (advice("up", {}, **A), "undecided", "low", "skipped"),
    "works, data is corrupted": (advice("up", verified("orphans"), **A), "fix_forward", "high", "ok"),
    "works in part, data is corrupted": (advice("degraded", verified("orphans"), **A), "fix_forward", "high", "ok"),
    "works in part, no fault": (advice("degraded", verified(), **A), "fix_forward", "high", "ok"),
    "works in part, not verified": (advice("degraded", {}, **A), "fix_forward", "low", "degraded"),
    "sequences, works": (advice("up", verified("sequences"), **A), "sequence_reset", "high", "ok"),
    "sequences, down": (advice("down", verified("sequences"), **A), "sequence_reset", "high", "ok"),
    "sequences, nobody knows": (advice("unknown", verified("sequences"), **A), "sequence_reset", "high", "ok"),
    "a lost default, down": (advice("down", verified("keys_without_default"), **A), "sequence_reset", "high", "ok"),
    "sequences, and endpoints as a symptom": (
        advice("unknown", verified("sequences", endpoints="failed"), **A), "sequence_reset", "high", "ok"),
    "sequences, orphans were not looked for": (
        advice("down", verified("sequences", skipped=("orphans",)), **A), "sequence_reset", "low", "degraded"),
    "sequences and a policy, down": (advice("down", verified("sequences", "catalog"), **A), "teardown", "high", "ok"),
    "sequences and orphans, down": (
        advice("down", verified("sequences", "orphans"), **A), "full_restore", "high", "ok"),
    "sequences and orphans, works": (advice("up", verified("sequences", "orphans"), **A), "fix_forward", "high", "ok"),
    "down, a function is broken": (advice("down", verified("references"), **A), "teardown", "high", "ok"),
    "down, no check failed": (advice("down", verified(), **A), "teardown", "high", "ok"),
    "down, not verified": (advice("down", {}, **A), "teardown", "low", "degraded"),
    "down, orphans not looked for": (
        advice("down", verified(skipped=("orphans",)), **A), "teardown", "low", "degraded"),
    "down, no manifest": (advice("down", verified("catalog")), "fix_forward", "low", "degraded"),
    "down, the migration created nothing": (
        advice("down", verified("catalog"), migration=NOTHING_CREATED), "fix_forward", "high", "ok"),
    "down, the manifest names what was there before": (
        advice("down", verified("catalog"), migration=PROTECTED), "fix_forward", "high", "ok"),
    "down, orphans": (advice("down", verified("orphans"), **A), "full_restore", "high", "ok"),
    "down, orphans, another tool's backup": (
        advice("down", verified("orphans"), **{**A, "backup": replace(BACKUP, source="barman")}),
        "full_restore", "high", "degraded"),
    "down, pairs out of sync": (advice("down", verified("pairs"), **A), "full_restore", "high", "ok"),
    "down, orphans, no backup": (advice("down", verified("orphans"), **B), "full_restore", "high", "degraded"),
    "down, own check failed": (advice("down", verified("manifest: prices"), **A), "teardown", "low", "degraded"),
    "down, says the endpoint alone": (
        advice("unknown", verified("catalog", endpoints="failed"), **A), "teardown", "low", "degraded"),
    "one endpoint of two": (
        advice("unknown", verified("catalog", endpoint_a="failed", endpoint_b="passed"), **A),
        "fix_forward", "high", "ok"),
    "up, says the endpoint": (advice("unknown", verified(endpoints="passed"), **A), "none", "high", "ok"),
    "an endpoint that was not asked says nothing": (
        advice("unknown", verified(endpoints="skipped"), **A), "undecided", "low", "skipped"),
    "down, says the operator against the endpoints": (
        advice("down", verified("catalog", endpoints="passed"), **A), "teardown", "low", "degraded"),
    "nobody knows, nothing verified, nothing configured": (advice("unknown", {}), "undecided", "low", "skipped"),
    "nobody knows, nothing to tear down": (
        advice("unknown", verified("catalog"), migration=PROTECTED), "fix_forward", "high", "ok"),
    "nobody knows, a policy is missing, no manifest": (
        advice("unknown", verified("catalog")), "fix_forward", "low", "degraded"),
    "nobody knows, orphans": (advice("unknown", verified("orphans"), **A), "undecided", "low", "skipped"),
    "nobody knows, no fault": (advice("unknown", verified(), **A), "undecided", "low", "skipped"),
    "no database": (advice("unknown", {}, unreachable=GONE, **A), "undecided", "low", "degraded"),
    "no database, down": (advice("down", {}, unreachable=GONE, **A), "undecided", "low", "degraded"),
    "no database, works": (advice("up", verified(), unreachable=GONE, **A), "undecided", "low", "degraded"),
    "no database, which had orphans, down": (
        advice("down", verified("orphans"), unreachable=GONE, **A), "full_restore", "low", "degraded"),
}  # fmt: skip


@pytest.mark.parametrize(("result", "recommendation", "confidence", "status"), SITUATIONS.values(), ids=SITUATIONS)
def test_situation(result: dict[str, Any], recommendation: str, confidence: str, status: str) -> None:
    found = result["recommendation"], result["confidence"], result["status"]
    assert found == (recommendation, confidence, status), result["msg"]
    assert result["changed"] is False
    assert [each["name"] for each in result["options"]] == ["fix_forward", "sequence_reset", "teardown", "full_restore"]
    by_hand = recommendation == "full_restore" and "no playbook does it" in result["msg"]
    assert (result["next_command"] == "") == (recommendation == "none" or by_hand)
    assert result["why"] in result["msg"]
    # Whoever shows the sentences wraps them, and a command must not be.
    assert not result["next_command"] or result["next_command"] not in result["msg"]
    # A low confidence is explained; without advice the reason for that may say it all.
    assert ("Not certain: " in result["why"]) == (confidence == "low") or recommendation == "undecided"


def test_what_was_skipped_is_said_even_if_nothing_is_wrong() -> None:
    why = advice("up", verified(skipped=("pairs",), severity="minor"), **A)["why"]
    assert why == "The application works and no check failed; not made: pairs (pairs says so)."


def test_rows_are_never_at_stake_while_nobody_knows_whether_it_is_down() -> None:
    for verification in ({}, verified(), verified("orphans"), verified("catalog"), verified("pairs", "sequences")):
        for other in (A, B, {}):
            assert advice("unknown", verification, **other)["recommendation"] in ("undecided", "fix_forward")


def test_an_open_question_says_what_would_follow() -> None:
    result = advice("unknown", verified("orphans"), host="app", **A)
    follows = "-e rollback_advice_application=down the advice is a full restore; with =up it is to fix forward."
    assert follows in result["why"]
    command = "ansible-playbook rollback.yml --tags verify,advise --limit app -e rollback_advice_application=down"
    assert result["next_command"] == command


def test_without_a_backup_the_next_command_verifies_one() -> None:
    result = advice("down", verified("orphans"), host="app", **B)
    restore = option(result, "full_restore")
    assert (restore["possible"], restore["rows_lost"]) == (False, None)
    assert restore["blocked_by"] == "no verified backup: there is none"
    assert result["next_command"] == restore["command"] == "ansible-playbook playbooks/verify_backup.yml --limit app"
    assert "It cannot be done yet: no verified backup: there is none." in result["msg"]


@pytest.mark.parametrize(
    ("result", "command"),
    [
        (advice("up", verified("sequences"), **A), "ansible-playbook rollback.yml --tags sequence"),
        (advice("up", verified("sequences", "catalog"), **A), "ansible-playbook rollback.yml --tags sequence"),
        (
            advice("up", verified("keys_without_default"), **A),
            "ansible-playbook rollback.yml --tags sequence -e sequence_reset_repair_defaults=true",
        ),
        (advice("up", verified("catalog"), **A), "ansible-playbook rollback.yml --tags verify"),
        (
            advice("down", verified(), manifest_path="m.yml", **A),
            "ansible-playbook rollback.yml --tags plan -e rollback_manifest=m.yml -e teardown_mode=quarantine",
        ),
        # It is not even known whether data is corrupted.
        (
            advice("down", {}, manifest_path="m.yml", **A),
            "ansible-playbook rollback.yml --tags verify,advise -e rollback_manifest=m.yml"
            " -e rollback_advice_application=down",
        ),
        (
            advice("up", verified("catalog"), inventories=["prod.yml"], by_file=False,
                   variables={"rollback_migration": "m1"}, host="app", **A),
            "ansible-playbook -i prod.yml pgops.rollback.rollback --tags verify --limit app -e rollback_migration=m1",
        ),
        (advice("unknown", {}, unreachable=GONE), "ansible-playbook rollback.yml --tags verify,advise"),
    ],
)  # fmt: skip
def test_the_command_to_run_next(result: dict[str, Any], command: str) -> None:
    assert result["next_command"] == command


def test_a_restore_of_another_tools_backup_is_by_hand_in_this_release() -> None:
    result = advice("down", verified("orphans"), **{**A, "backup": replace(BACKUP, source="barman")})
    assert result["next_command"] == ""
    assert "restore app.dump with barman's own tool" in result["msg"]
    ours = advice("down", verified("orphans"), **A)["next_command"]
    assert ours.startswith("ansible-playbook playbooks/restore.yml ")
    assert "-e database_restore_source=pg_dump -e database_restore_backup_id=app.dump" in ours


def test_odd_names_survive_the_shell_and_ansible() -> None:
    odd = "it's a \"plan\"; rm -rf $HOME = x.yml"
    words = shlex.split(advice("down", verified(), manifest_path=odd, host="db 1", **A)["next_command"])
    assert words[:6] == ["ansible-playbook", "rollback.yml", "--tags", "plan", "--limit", "db 1"]
    assert words[6] == "-e"
    assert json.loads(words[7]) == {"rollback_manifest": odd}


def lost(name: str, **other: Any) -> tuple[str, int | None]:
    found = option(advice("down", verified(), **{**A, **other}), name)
    return found["loses"], found["rows_lost"]


def test_what_a_teardown_would_lose() -> None:
    written = Written({"public.sponsor_connections": 7, "public.other": 100}, since="2026-01-02T03:04:05Z")
    loses, rows = lost("teardown", created_rows=Rows({"public.sponsor_connections": 1200}), since_migration=written)
    assert rows == 1200
    assert loses == (
        "1,200 rows in 1 table that the migration created, all of them once quarantine is purged;"
        " 7 rows of them written since 2026-01-02 03:04 UTC"
    )


def test_what_was_not_counted_is_not_nothing() -> None:
    unread = Rows({"public.a": 5}, {"public.b": "the role lacks SELECT on it"}, ["public.c"])
    loses, rows = lost("teardown", created_rows=unread)
    assert rows is None
    assert loses.startswith("at least 5 rows in 1 table ")
    assert "unknown how many in public.b (the role lacks SELECT on it)" in loses
    assert "no longer there: public.c" in loses
    assert "how many were written since the migration is unknown, because nobody asked" in loses


def test_a_migration_without_tables_loses_no_rows() -> None:
    functions: dict[str, Any] = {"migration": Migration(known=True, others=["public.f()"]), "created_rows": Rows()}
    assert lost("teardown", **functions) == ("no rows: the migration created no table", 0)


def test_without_a_manifest_nobody_knows_what_a_teardown_loses() -> None:
    found = option(advice("down", verified(), backup=BACKUP), "teardown")
    assert (found["rows_lost"], found["possible"], found["command"]) == (None, False, "")


BEFORE = Written({"public.a": 900}, since="2026-01-01T22:00:00Z")
AFTER = Written({"public.a": 40}, since="2026-01-02T04:00:00Z")
EVERYTHING = "everything written in every table since 2026-01-02 01:00 UTC: "


@pytest.mark.parametrize(
    ("least", "most", "loses", "rows"),
    [
        (
            None, None,
            "unknown how much, because no baseline can be compared with",
            None,
        ),
        (AFTER, None, "at least 40 rows (since 2026-01-02 04:00 UTC), and unknown how much before that", None),
        (None, BEFORE, "at most 900 rows (all since 2026-01-01 22:00 UTC)", 900),
        (
            AFTER, BEFORE,
            "at most 900 rows (all since 2026-01-01 22:00 UTC) and at least 40 rows (since 2026-01-02 04:00 UTC)",
            900,
        ),
    ],
)  # fmt: skip
def test_what_a_full_restore_would_lose(
    least: Written | None, most: Written | None, loses: str, rows: int | None
) -> None:
    assert lost("full_restore", since_backup_least=least, since_backup_most=most) == (EVERYTHING + loses, rows)


def test_the_other_two_lose_nothing() -> None:
    assert lost("fix_forward") == lost("sequence_reset") == ("nothing", 0)


def test_the_evidence_is_shown() -> None:
    two = check("orphans", "failed", "critical", "public.a", "public.b")
    result = advice("down", {"checks": [two, check("catalog", "skipped", "critical")]}, **A)
    assert answer(result, "answer?") == "yes"
    assert answer(result, "down?") == "down"
    assert answer(result, "corrupted?") == "yes: 1 check failed, 2 objects named"
    assert answer(result, "sequences only?") == "not known: no check looked for it"
    assert answer(result, "anything else") == "not known: 1 check skipped, no other failed"
    assert answer(result, "not checked?") == "1 check"
    assert answer(result, "verified backup?").startswith("yes: app.dump (pg_dump) of 2026-01-02 01:00 UTC, 5 h old")
    assert answer(result, "restore take?") == "about 12 min: 3,000 MB at the speed of the drill"
    assert result["why"].endswith("Not certain: not checked: catalog (catalog says so).")
    (details,) = [line["details"] for line in result["evidence"] if "corrupted" in line["question"]]
    assert details == ["orphans failed: orphans says so. (public.a: is wrong, public.b: is wrong)"]


def test_a_long_list_is_cut() -> None:
    written = Written({f"public.t{number:02}": number for number in range(1, 31)}, since="2026-01-02T03:04:05Z")
    result = advice("down", verified(), since_migration=written, **A)
    (details,) = [line["details"] for line in result["evidence"] if "rows were written" in line["question"]]
    assert (details[0], details[19], details[20]) == ("public.t30: 30", "public.t11: 11", "and 10 tables more")


@pytest.mark.parametrize(
    "verification",
    [
        {"checks": "all passed"},
        {"checks": []},
        {"failed": True, "msg": "Cannot connect."},
        {"checks": [None]},
        {"checks": [{"name": "catalog", "status": "fine"}]},
        {"checks": [{"status": "skipped", "severity": "critical"}]},
    ],
)
def test_a_result_that_is_none_is_not_taken_for_healthy(verification: dict[str, Any]) -> None:
    result = advice("up", verification, **A)
    assert (result["recommendation"], result["confidence"]) == ("undecided", "low")
