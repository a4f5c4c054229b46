# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write the tables of variables in the roles' READMEs from their argument specs, or say which are stale (--check).

DocSmith does the work: what lies between its markers is its own, all else is written by hand and stays.
"""

from __future__ import annotations

import sys
from difflib import unified_diff
from pathlib import Path
from typing import Any

from ansible_docsmith.core import RoleProcessor

ROOT = Path(__file__).parents[1]
TEMPLATE = Path(__file__).with_name("role_readme.md.j2")


class Processor(RoleProcessor):
    """Without DocSmith's check of the defaults, which wants a file of them for each entry point.

    Ansible reads defaults/main.yml for all of them; tests/unit/test_argument_specs.py compares with that.
    """

    def validate_role(self, role_path: Path, validate_readme: bool = True, *ignored: bool) -> dict[str, Any]:
        validated: dict[str, Any] = super().validate_role(role_path, validate_readme, False)
        return validated


def main(check: bool) -> int:
    """Process every role; 1 when something is wrong, or (check) stale."""
    failed = False
    for role in sorted(path.parents[1] for path in ROOT.glob("roles/*/meta/argument_specs.yml")):
        processor = Processor(dry_run=check, template_readme=TEMPLATE, format_type="markdown")
        results = processor.process_role(role, update_defaults=False)
        for error in results.errors:
            print(f"{role.name}: {error}", file=sys.stderr)
        stale = [(str(path), old, new) for path, old, new in results.file_diffs if old != new]
        for path, old, new in stale if check else []:
            print(f"{path} is stale; `make docs` writes it.", file=sys.stderr)
            sys.stderr.writelines(unified_diff(old.splitlines(True), new.splitlines(True), "written", "right"))
        failed = failed or bool(results.errors) or (check and bool(stale))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
