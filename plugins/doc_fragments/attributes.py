# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Which promises a module makes; a module that keeps one differently says so in its own documentation."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Predicts what a run would do and changes nothing.
    support: full
  diff_mode:
    description: Shows what changed, or in check mode what would change, before and after.
    support: full
  idempotent:
    description: A second run right after the first changes nothing.
    support: full
"""

    # For modules that only read.
    READ_ONLY = r"""
options: {}
attributes:
  check_mode:
    description: Only reads, so check mode makes no difference.
    support: full
  diff_mode:
    description: Only reads, so there is nothing to show a difference of.
    support: N/A
  idempotent:
    description: Only reads.
    support: full
"""
