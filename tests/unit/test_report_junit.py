# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""junit.xml: what CI servers count, and XML whatever a database calls its tables."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.report import Run, build_report
from ansible_collections.pgops.rollback.plugins.module_utils.report_junit import junit


def suite(results: dict[str, Any], started: str = "2026-01-01T00:00:00Z") -> ElementTree.Element:
    run = Run("run-1", "db1", "sre", started, "2026-01-01T00:01:02Z", check_mode=False)
    # As bytes, so that the declared encoding counts.
    root = ElementTree.fromstring(junit(build_report(run, results)).encode())
    (found,) = root
    assert {name: root.get(name) for name in ("tests", "failures", "errors")} == {
        name: found.get(name) for name in ("tests", "failures", "errors")
    }
    return found


def rung(name: str, status: str, *checks: tuple[str, str], message: str = "Said.") -> dict[str, Any]:
    listed = [{"name": each, "status": ended, "message": f"{each}.", "seconds": 0.25} for each, ended in checks]
    return {"name": name, "status": status, "changed": False, "message": message,
            "details": {"proved": "", "not_proved": "", "seconds": 1.5, "checks": listed}}  # fmt: skip


def cases(found: ElementTree.Element) -> list[tuple[Any, ...]]:
    """Class, name and how it ended: None, or the kind with its type and message."""
    return [
        (case.get("classname"), case.get("name"), *((each.tag, each.get("type"), each.get("message")) for each in case))
        for case in found
    ]


def test_each_check_is_a_case_and_a_step_without_checks_is_one() -> None:
    found = suite(
        {
            "preflight": {"changed": False, "summary": "Connected."},
            "backup": {
                "steps": [
                    rung("exists", "ok"),
                    rung("integrity", "failed", ("toc", "passed"), ("sha256", "failed"), ("wal", "skipped")),
                    rung("drill", "skipped", message="Not reached."),
                ]
            },
        }
    )
    assert cases(found) == [
        ("db1.preflight", "preflight"),
        ("db1.exists", "exists"),
        ("db1.integrity", "sha256", ("failure", "failed", "sha256.")),
        ("db1.integrity", "wal", ("skipped", None, "wal.")),
        ("db1.integrity", "toc"),
        ("db1.drill", "drill", ("skipped", None, "Not reached.")),
    ]
    assert [case.get("time") for case in found] == [None, "1.500", "0.250", "0.250", "0.250", "1.500"]
    counts = {name: found.get(name) for name in ("tests", "failures", "errors", "skipped", "hostname", "time")}
    assert counts == {
        "tests": "6", "failures": "1", "errors": "0", "skipped": "2", "hostname": "db1", "time": "62.000",
    }
    assert found.get("timestamp") == "2026-01-01T00:00:00"


@pytest.mark.parametrize("status", ["degraded", "refused", "failed"])
def test_whatever_ends_the_run_with_an_error_is_a_failure(status: str) -> None:
    assert cases(suite({"verify": {"status": status, "msg": "2 of 3."}})) == [
        ("db1.verify", "verify", ("failure", status, "2 of 3."))
    ]


@pytest.mark.parametrize(("status", "kind"), [("failed", "failure"), ("degraded", "failure"), ("skipped", "skipped")])
def test_a_rung_that_its_checks_do_not_explain_is_a_case_of_its_own(status: str, kind: str) -> None:
    found = cases(suite({"backup": {"steps": [rung("drill", status, ("counts", "passed"))]}}))
    assert [case[1] for case in found] == ["counts", "drill"]
    assert found[1][2][0] == kind


def test_a_degraded_or_unknown_check_is_not_passed() -> None:
    steps = [rung("drill", "degraded", ("extensions", "degraded"), ("other", "strange"))]
    assert [case[2][:2] for case in cases(suite({"backup": {"steps": steps}}))] == [
        ("failure", "degraded"), ("failure", "strange"),
    ]


def test_any_text_makes_valid_xml() -> None:
    every = "".join(map(chr, [*range(0x300), 0x202E, 0xD800, 0xDFFF, 0xFEFF, 0xFFFE, 0xFFFF, 0x1F600, 0x10FFFF]))
    found = suite({"verify": {"status": "failed", "msg": f"{every}]]>&amp;<x/>"}}, started="yesterday \x00")
    ((_class, _name, (_kind, _type, message)),) = cases(found)
    assert "]]>&amp;<x/>" in message
    assert "\x1b" not in message
    assert found.get("time") == "0.000"
