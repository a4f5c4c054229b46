# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the module rollback_report does, so that its action plugin can do it without a module when it is on the host."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.command_line import Invocation
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.report import BAD_VERDICTS, Run, build_report
from ansible_collections.pgops.rollback.plugins.module_utils.report_files import (
    read_latest,
    run_directory,
    write_report,
)
from ansible_collections.pgops.rollback.plugins.module_utils.report_html import html
from ansible_collections.pgops.rollback.plugins.module_utils.report_junit import junit
from ansible_collections.pgops.rollback.plugins.module_utils.report_next import name_next_command
from ansible_collections.pgops.rollback.plugins.module_utils.report_plan import plan_of
from ansible_collections.pgops.rollback.plugins.module_utils.report_text import markdown, summary

#: Documented in plugins/modules/rollback_report.py.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "results": {"type": "dict", "required": True},
    "artifacts_dir": {"type": "path", "required": True},
    "host": {"type": "str", "required": True},
    "run_id": {"type": "str"},
    "started": {"type": "str"},
    "operator": {"type": "str", "default": "unknown"},
    "invocation": {"type": "dict", "options": {
        "inventories": {"type": "list", "elements": "str", "default": []},
        "limit": {"type": "str", "default": ""},
        "by_file": {"type": "bool", "default": False},
        "variables": {"type": "dict", "default": {}},
    }},
    "batch_token": {"type": "str", "no_log": False},
}

FILES = ("report.json", "report.md", "report.html", "junit.xml")
#: Beside them, of a run that has made a plan.
PLAN_FILE = "plan.json"


def write_or_show(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """The module's result. A report that cannot be written is in it as ``summary`` nevertheless."""
    try:
        if not params["results"]:
            directory, report = read_latest(params["artifacts_dir"], params["host"])
            return _result(directory, report)
        return _write_new(params, check_mode)
    except RollbackError as error:
        return {"changed": False, "failed": True, "code": error.code, "msg": str(error)}


def _write_new(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    run = Run(
        # A run that failed before it had a name is evidence too.
        run_id=params["run_id"] or datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ"),
        host=params["host"],
        operator=params["operator"],
        started=params["started"] or now,
        finished=now,
        check_mode=check_mode,
    )
    report = build_report(run, params["results"])
    for step in report["steps"]:
        if plan_of(step) and params["batch_token"]:
            step["details"]["batch_token"] = params["batch_token"]
    if params["invocation"]:
        name_next_command(report, Invocation(**params["invocation"]))
    as_json = json.dumps(report, indent=2, ensure_ascii=False, default=str) + "\n"
    texts = (as_json, markdown(report), html(report), junit(report))
    files = dict(zip(FILES, texts, strict=True))
    for plan in filter(None, map(plan_of, report["steps"])):
        files[PLAN_FILE] = json.dumps(plan, indent=2, ensure_ascii=False) + "\n"
    try:
        directory = run_directory(params["artifacts_dir"], run.host, run.run_id)
        write_report(directory, files)
    except RollbackError as error:
        # The evidence is lost to the disk, so it goes at least to the terminal.
        return {
            "changed": False, "failed": True, "code": error.code, "msg": str(error), "summary": summary(report, None)
        }
    result = {**_result(directory, report), "files": files}
    # A role that says `status: failed` fails in a task after its module's.
    given = [result or {} for result in params["results"].values()]
    task_failed = any(result.get("failed") or result.get("status") == "failed" for result in given)
    if report["verdict"] in BAD_VERDICTS and not task_failed:
        # A run that is not all right must not end with exit code 0.
        worst = next(step for step in report["steps"] if step["status"] == report["verdict"])
        result.update(failed=True, msg=f"The run ends as {report['verdict']}. {worst['name']}: {worst['message']}")
    return result


def _result(directory: Path, report: dict[str, Any]) -> dict[str, Any]:
    return {
        "changed": False,
        "verdict": report["verdict"],
        **{name.replace(".", "_"): str(directory / name) for name in FILES},
        "summary": summary(report, str(directory / "report.md")),
    }
