#!/usr/bin/python
# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: rollback_report
author: The pgops.rollback authors
version_added: 0.1.0
short_description: Write the evidence of a run, and show it
description:
  - Turns the results of the steps of a run into C(report.json) (for machines) and C(report.md) (for people) in
    C(<artifacts_dir>/<host>/<run_id>/) on the host, and points the link C(latest) beside it there.
  - Directories it makes have mode 0700, files 0600. A file is written whole or not at all.
  - An action plugin of the same name prints the summary to the terminal. When the connection is not local it also
    writes the two files to the same path on the controller.
  - Nothing of it counts as a change.
options:
  results:
    description:
      - Name of each step to the registered result of its module, in the order of the steps.
      - An empty result stands for a step that was asked for and did not get as far as its module.
      - With no step at all nothing is written, and the newest report of the host is shown again.
    type: dict
    required: true
  artifacts_dir:
    description: Absolute path of the directory for the reports of all hosts.
    type: path
    required: true
  host:
    description: Name of the host in the inventory. It names a directory, so it must hold no slash and begin with no dot.
    type: str
    required: true
  run_id:
    description:
      - Name of the run and of its directory. Letters, digits, dots, dashes and underscores, at most 128.
      - Required with O(results) that are not empty.
    type: str
  started:
    description: When the run began, UTC in ISO 8601. Required with O(results) that are not empty.
    type: str
  operator:
    description: Who runs it. The action plugin fills it in.
    type: str
    default: unknown
attributes:
  check_mode:
    description: Writes the report in check mode too, since it is evidence of the prediction.
    support: full
  diff_mode:
    description: A report is new each time, so there is nothing to show a difference of.
    support: N/A
  idempotent:
    description: Never reports a change.
    support: full
extends_documentation_fragment:
  - pgops.rollback.attributes
"""

EXAMPLES = r"""
- name: Write the report
  pgops.rollback.rollback_report:
    results:
      sequence: "{{ sequence_reset_result }}"
    artifacts_dir: /var/lib/rollback
    host: "{{ inventory_hostname }}"
    run_id: release-42
    started: "2026-11-22T09:30:00Z"
"""

RETURN = r"""
verdict:
  description: V(ok), V(changed), V(incomplete), V(degraded), V(refused) or V(failed); that of the worst step.
  type: str
  returned: success
  sample: changed
report_json:
  description: Path of report.json on the host.
  type: str
  returned: success
report_md:
  description: Path of report.md on the host.
  type: str
  returned: success
summary:
  description: What was printed to the terminal, at most 80 columns wide. Also when the report could not be written.
  type: str
  returned: always, but for a report that could not be made at all
files:
  description: Text of each file by its name; empty when an older report was only shown. The action plugin takes it out.
  type: dict
  returned: success
code:
  description:
    - What went wrong, in one stable word.
    - V(unsafe_name), V(artifacts_dir_relative), V(artifacts_unwritable), V(report_missing) or V(report_unreadable).
  type: str
  returned: failure
"""

import json
from datetime import datetime, timezone
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.report import Run, build_report
from ansible_collections.pgops.rollback.plugins.module_utils.report_files import (
    read_latest,
    run_directory,
    write_report,
)
from ansible_collections.pgops.rollback.plugins.module_utils.report_text import markdown, summary


def write_new(module: AnsibleModule) -> dict[str, Any]:
    params = module.params
    for name in ("run_id", "started"):
        if not params[name]:
            module.fail_json(msg=f"{name} is required with results.")
    run = Run(
        run_id=params["run_id"],
        host=params["host"],
        operator=params["operator"],
        started=params["started"],
        finished=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        check_mode=module.check_mode,
    )
    report = build_report(run, params["results"])
    files = {
        "report.json": json.dumps(report, indent=2, ensure_ascii=False, default=str) + "\n",
        "report.md": markdown(report),
    }
    try:
        directory = run_directory(params["artifacts_dir"], run.host, run.run_id)
        write_report(directory, files)
    except RollbackError as error:
        # The evidence is lost to the disk, so it goes at least to the terminal.
        module.fail_json(msg=str(error), code=error.code, summary=summary(report, None))
    return {
        "verdict": report["verdict"],
        "report_json": str(directory / "report.json"),
        "report_md": str(directory / "report.md"),
        "summary": summary(report, str(directory / "report.md")),
        "files": files,
    }


def show_latest(module: AnsibleModule) -> dict[str, Any]:
    try:
        directory, report = read_latest(module.params["artifacts_dir"], module.params["host"])
    except RollbackError as error:
        module.fail_json(msg=str(error), code=error.code)
    return {
        "verdict": report["verdict"],
        "report_json": str(directory / "report.json"),
        "report_md": str(directory / "report.md"),
        "summary": summary(report, str(directory / "report.md")),
        "files": {},
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "results": {"type": "dict", "required": True},
            "artifacts_dir": {"type": "path", "required": True},
            "host": {"type": "str", "required": True},
            "run_id": {"type": "str"},
            "started": {"type": "str"},
            "operator": {"type": "str", "default": "unknown"},
        },
        supports_check_mode=True,
    )
    result = write_new(module) if module.params["results"] else show_latest(module)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
