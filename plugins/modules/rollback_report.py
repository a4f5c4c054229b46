#!/usr/bin/python
# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: rollback_report
author: The pgops.rollback authors (@pgops)
version_added: 0.1.0
short_description: Write the evidence of a run, and show it
description:
  - Turns the results of the steps of a run into C(report.json) (for machines), C(report.md) and C(report.html) (for
    people; the latter is one file that needs nothing else) and C(junit.xml) (for CI servers, one test case for each
    check) in C(<artifacts_dir>/<host>/<run_id>/) on the host, and points the link C(latest) beside it there.
  - Directories it makes have mode 0700, files 0600. A file is written whole or not at all.
  - An action plugin of the same name prints the summary to the terminal. With a local connection it does all of it
    itself (as the user who runs Ansible, whatever C(become) says); otherwise it also writes the files to the same
    path on the controller.
  - Nothing of it counts as a change. It fails when the verdict is V(degraded), V(refused) or V(failed) and none of the
    results has failed, since the run would end with exit code 0 otherwise.
options:
  results:
    description:
      - Name of each step to the result of its module, in the order of the steps.
      - Best given as the name of the variable that holds the registered result. Large results are then not templated,
        which takes 20 seconds for 10,000 sequences. A mapping is taken as the result itself.
      - A result with a list C(steps), each with C(name), C(status), C(changed), C(message) and C(details), is replaced
        by them.
      - An empty result, or a variable that is not set, stands for a step that was asked for and did not get as far
        as its module.
      - With no step at all nothing is written, and the newest report of the host is shown again.
    type: dict
    required: true
  artifacts_dir:
    description: Absolute path of the directory for the reports of all hosts.
    type: path
    required: true
  host:
    description: Name of the host in the inventory. It names a directory, so it holds no slash and begins with no dot.
    type: str
    required: true
  run_id:
    description:
      - Name of the run and of its directory. Letters, digits, dots, dashes and underscores, at most 128.
      - By default the present time, for a run that failed before it had a name.
    type: str
  started:
    description: When the run began, UTC in ISO 8601. By default now.
    type: str
  operator:
    description: Who runs it. The action plugin fills it in.
    type: str
    default: unknown
  invocation:
    description: How the run was started, for the command to run next. The action plugin fills it in.
    type: dict
    suboptions:
      inventories:
        description: The inventories that were given.
        type: list
        elements: str
        default: []
      limit:
        description: The host pattern that was given.
        type: str
        default: ''
      by_file:
        description: Whether the working directory is a checkout's root.
        type: bool
        default: false
      variables:
        description: The variables to give again.
        type: dict
        default: {}
  batch_token:
    description: What confirms the plans of all hosts of the play. The action plugin fills it in.
    type: str
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
      sequence: sequence_reset_result
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
report_html:
  description: Path of report.html on the host.
  type: str
  returned: success
junit_xml:
  description: Path of junit.xml on the host.
  type: str
  returned: success
summary:
  description:
    - What the terminal shows, at most 80 columns wide. Also when the report could not be written.
    - The action plugin prints it and takes it out of the result.
  type: str
  returned: when there is a report
files:
  description: Text of each file by its name. The action plugin takes it out of the result.
  type: dict
  returned: when a report was written
code:
  description:
    - What went wrong, in one stable word.
    - V(unsafe_name), V(artifacts_dir_relative), V(artifacts_unwritable), V(report_missing) or V(report_unreadable).
  type: str
  returned: failure
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.pgops.rollback.plugins.module_utils.report_run import ARGUMENTS, write_or_show


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    result = write_or_show(module.params, module.check_mode)
    if result.get("failed"):
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
