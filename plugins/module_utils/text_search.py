# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A regular expression of the user's, looked for in a text of somebody else's, within a time that holds.

Some expressions take years over some texts, and meanwhile no thread of the process runs: a process of its own looks,
which can be ended.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys

_META = re.compile(r"[\\.^$*+?{}\[\]|()]")
_LOOK = "import json, re, sys; print(re.search(*json.load(sys.stdin)) is not None)"


def holds(pattern: str, text: str, seconds: float) -> bool:
    """Whether the pattern is anywhere in the text.

    :raises TimeoutError: when that could not be decided.
    """
    if not _META.search(pattern):
        return pattern in text
    try:
        looked = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _LOOK], input=json.dumps([pattern, text]), capture_output=True,
            text=True, timeout=max(seconds, 0), check=True,
        )  # fmt: skip
    except (subprocess.SubprocessError, OSError) as error:
        raise TimeoutError from error
    return looked.stdout.strip() == "True"
