# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is made of the text of `pgbackrest verify`: fail closed, whatever it says and whatever it leaves out."""

from __future__ import annotations

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.pgbackrest_verify import judge

LABEL, OTHER = "20261124-220653F_20261124-220657I", "20261124-220653F"
NEEDED = ["000000010000000000000003", "000000010000000000000004"]
NO_FAULTS = "    missing: 0, checksum invalid: 0, size invalid: 0, other: 0\n"
WAL = f"  archiveId: 15-1, total WAL checked: 4, total valid WAL: 4\n{NO_FAULTS}"
BACKUP = f"  backup: {LABEL}, status: valid, total files checked: 965, total valid files: 965\n{NO_FAULTS}"
OTHERS = f"  backup: {OTHER}, status: valid, total files checked: 964, total valid files: 964\n{NO_FAULTS}"
BAD_WAL = (
    "  archiveId: 15-1, total WAL checked: 4, total valid WAL: 3\n"
    "    missing: 0, checksum invalid: 1, size invalid: 0, other: 0\n"
)


def text(*parts: str, status: str = "ok") -> str:
    return f"stanza: app\nstatus: {status}\n" + "".join(parts)


def log(segment: str, archive: str = "15-1") -> str:
    name = f"{archive}/{segment[:16]}/{segment}-9d17969dc5ef68fd587270c6c7eb6d0ba5b7b710.gz"
    return f"INFO: invalid checksum '{name}'\n"


@pytest.mark.parametrize(
    ("answer", "said", "status", "message"),
    [
        (text(WAL, OTHERS, BACKUP), "", "passed", "965 files and 4 WAL segments"),
        ("", "", "failed", "could not be understood"),
        ("Verification done.\n", "", "failed", "could not be understood: Verification done."),
        (text(WAL, BACKUP, "  history: fine\n"), "", "failed", "could not be understood: history: fine."),
        (text("  No usable backup.info file\n", status="error"), "", "failed", "No usable backup.info file."),
        (text(WAL, OTHERS), "", "failed", "did not find this backup"),
        (text("  archiveId: none found\n", BACKUP), "", "failed", "found no WAL in the archive 15-1"),
        (text("  archiveId: 15-1, total WAL checked: 0, total valid WAL: 0\n", BACKUP), "", "failed", "found no WAL"),
        (text(WAL.replace("15-1", "14-1"), BACKUP), "", "failed", "found no WAL"),
        # The word at the top is "ok" in reality, too.
        (text(WAL, f"  backup: {LABEL}, status: manifest missing, total files checked: 0, total valid files: 0\n"),
         "", "failed", "Both copies of its manifest"),
        (text(WAL, f"  backup: {LABEL}, status: in-progress, total files checked: 0, total valid files: 0\n"), "",
         "failed", "in-progress"),
        (text(WAL, f"  backup: {LABEL}, status: invalid, total files checked: 965, total valid files: 961\n"
              "    missing: 1, checksum invalid: 2, size invalid: 0, other: 1\n", status="error"), "", "failed",
         "1 missing, 2 with a wrong checksum, 1 unreadable"),
        (text(WAL, BACKUP.replace("files: 965", "files: 964")), "", "failed", "1 not valid"),
        (text(WAL, BACKUP, status="error"), "", "failed", "does not say of what"),
        (text(BAD_WAL, BACKUP, status="error"), "", "failed", "does not say whether this backup needs it"),
        (text(BAD_WAL, BACKUP, status="error"), log(NEEDED[1]), "failed", f"is damaged: {NEEDED[1]}."),
        (text(BAD_WAL, BACKUP, status="error"), log(NEEDED[1], "14-1"), "failed", "does not say whether"),
        (text(BAD_WAL, BACKUP, status="error"), log("000000010000000000000007"), "degraded", "other WAL is damaged"),
        (text(WAL, OTHERS.replace("valid,", "invalid,"), BACKUP, status="error"), "", "degraded",
         f"backup {OTHER} is damaged"),
        (text(BAD_WAL.replace("15-1", "14-1"), WAL, BACKUP, status="error"), "", "degraded", "WAL of 14-1 is damaged"),
    ],
)  # fmt: skip
def test_what_is_made_of_it(answer: str, said: str, status: str, message: str) -> None:
    check = judge(answer, said, LABEL, "15-1", NEEDED)
    assert (check.name, check.status) == ("verify", status), check.message
    assert message in check.message
