# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """PAIR_ARGUMENTS in module_utils/verification_pairs.py."""

    DOCUMENTATION = r"""
options:
  pairs:
    description: Columns of two tables whose rows belong together.
    type: list
    elements: dict
    default: []
    suboptions:
      left:
        description: Schema, table and column of what comes first, such as V(auth.users.id).
        type: str
        required: true
      right:
        description: The column whose rows each need a partner in O(pairs[].left), such as V(public.profiles.id).
        type: str
        required: true
      both:
        description: Whether each row of O(pairs[].left) needs a partner, too.
        type: bool
        default: false
"""
