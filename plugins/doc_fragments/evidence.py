# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Where a host's evidence lies."""

    DOCUMENTATION = r"""
options:
  host:
    description: Name of the database in the inventory.
    type: str
    required: true
  artifacts_dir:
    description: Absolute path of the directory for what all hosts leave behind.
    type: path
    required: true
"""
