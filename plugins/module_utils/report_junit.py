# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report as JUnit XML, which every CI server shows: one test case for each check. Pure functions."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any
from xml.etree import ElementTree

from ansible_collections.pgops.rollback.plugins.module_utils.report import BAD_VERDICTS
from ansible_collections.pgops.rollback.plugins.module_utils.report_content import checked, plain

_WELL = ("ok", "changed", "passed")


def junit(report: dict[str, Any]) -> str:
    """The content of junit.xml. A step without checks is a test case itself; what did not run is skipped.

    JUnit knows no word for ``degraded``, ``refused`` and any that we do not know: all of them are failures, whose type
    is the word.
    """
    cases = [case for step in report["steps"] for case in _cases(report, step)]
    kinds = Counter(child.tag for case in cases for child in case)
    counts = {"tests": str(len(cases)), "failures": str(kinds["failure"]), "errors": "0"}
    root = ElementTree.Element("testsuites", counts)
    suite = ElementTree.SubElement(
        root,
        "testsuite",
        {
            "name": plain(f"pgops.rollback {report['run_id']}"),
            **counts,
            "skipped": str(kinds["skipped"]),
            "hostname": plain(report["host"]),
            "timestamp": plain(report["started"]).rstrip("Z"),
            "time": f"{_seconds(report['started'], report['finished']):.3f}",
        },
    )
    suite.extend(cases)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _cases(report: dict[str, Any], step: dict[str, Any]) -> list[ElementTree.Element]:
    class_name = f"{report['host']}.{step['name']}"
    found = checked(step)
    checks = found.checks if found else []
    cases = [
        _case(class_name, check.get("name"), check.get("status"), check.get("message"), check.get("seconds"))
        for check in checks
    ]
    # A step that is not well although each of its checks is says so itself.
    kind = "failure" if step["status"] in BAD_VERDICTS else "skipped" if step["status"] == "skipped" else None
    if not cases or (kind and not any(case.find(kind) is not None for case in cases)):
        seconds = None if checks else step["details"].get("seconds")
        cases.append(_case(class_name, step["name"], step["status"], step["message"], seconds))
    return cases


def _case(class_name: str, name: Any, status: Any, message: Any, seconds: Any) -> ElementTree.Element:
    attributes = {"classname": plain(class_name), "name": plain(name)}
    if seconds is not None:
        attributes["time"] = f"{float(seconds):.3f}"
    case = ElementTree.Element("testcase", attributes)
    text = plain(message or "")
    if status == "skipped":
        ElementTree.SubElement(case, "skipped", {"message": text})
    elif status not in _WELL:
        ElementTree.SubElement(case, "failure", {"type": plain(status), "message": text}).text = text
    return case


def _seconds(started: str, finished: str) -> float:
    try:
        return (datetime.fromisoformat(finished) - datetime.fromisoformat(started)).total_seconds()
    except (TypeError, ValueError):
        return 0.0  # `started` may be the user's, in a play of one's own
