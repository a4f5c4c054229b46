# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who is asked, what is confirmed, and where nothing is done: gate()."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.confirmation import batch_token
from ansible_collections.pgops.rollback.plugins.module_utils.gate import gate, missing_task_files

ONE, OTHER = "rb-111111111111", "rb-222222222222"
DB1 = {"token": ONE, "objects": [{}], "blockers": []}
DB2 = {"token": OTHER, "action": "restore", "nothing_to_do": False, "blockers": []}
DONE = {"token": OTHER, "action": "undo", "nothing_to_do": True, "blockers": []}
NOTHING = {"token": OTHER, "objects": [], "blockers": []}
BOTH = batch_token({"db1": ONE, "db2": OTHER})


def opened(
    plans: dict[str, dict[str, Any]], confirm: Any = None, typed: str = "", check_mode: bool = False,
    missing: tuple[str, ...] = (),
) -> dict[str, Any]:  # fmt: skip
    return gate(plans, confirm, typed, check_mode, list(missing), "torn down")


@pytest.mark.parametrize(
    ("found", "asks", "acts"),
    [
        (opened({"db1": DB1}), True, []),
        (opened({"db1": DB1}, typed=f" {ONE}\n"), True, ["db1"]),
        (opened({"db1": DB1}, typed=OTHER), True, []),
        (opened({"db1": DB1}, ONE), False, ["db1"]),
        (opened({"db1": DB1}, ONE, check_mode=True), False, []),
        (opened({"db1": DB1}, check_mode=True), False, []),
        (opened({"db1": DB1, "db2": DB2}, ONE), False, []),
        (opened({"db1": DB1, "db2": DB2}, BOTH), False, ["db1", "db2"]),
        (opened({"db1": DB1, "db2": NOTHING}, BOTH), False, ["db1"]),
        (opened({"db1": DB1}, missing=("stop.yml is no file.",)), False, []),
        (opened({"db1": {**DB1, "blockers": [{}]}}), False, []),
        (opened({"db1": DB1, "db2": {}}), False, []),
        (opened({}), False, []),
    ],
)
def test_who_is_asked_and_where_something_is_done(found: dict[str, Any], asks: bool, acts: list[str]) -> None:
    assert (found["asks"], found["acts"]) == (asks, acts)


@pytest.mark.parametrize("plan", [DONE, NOTHING])
def test_that_nothing_is_to_be_done_needs_nobodys_word(plan: dict[str, Any]) -> None:
    found = opened({"db1": plan})
    assert (found["asks"], found["confirm"], found["acts"]) == (False, OTHER, [])


@pytest.mark.parametrize("given", [123456789012, True, "", 1.5])
def test_what_is_no_token_reaches_the_module_as_it_is(given: Any) -> None:
    found = opened({"db1": DB1}, given)
    assert (found["confirm"], found["asks"], found["acts"]) == (str(given), False, [])


def test_trouble_on_one_keeps_all_from_it() -> None:
    found = opened({"db1": DB1, "db2": {}, "db3": {**DB2, "blockers": [{}]}})
    assert [each.split(",")[0] for each in found["trouble"]] == [
        "There is no plan of db2", "Something stands in the way on db3",
    ]  # fmt: skip
    assert all("nothing is torn down anywhere" in each for each in found["trouble"])


def test_task_files_are_looked_for_from_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / "stop.yml").write_text("[]", encoding="utf-8")
    given = {"rollback_before": "stop.yml", "rollback_after": "start.yml"}
    assert missing_task_files(given, str(tmp_path)) == [
        f"rollback_after: {tmp_path}/start.yml is no file. Let rollback_after name a task file on this machine; nothing"
        " was done."
    ]
    assert missing_task_files({"rollback_before": "", "rollback_after": str(tmp_path / "stop.yml")}, "/") == []
