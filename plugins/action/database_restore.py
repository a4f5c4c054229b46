# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Says every few seconds what a long restore is doing, as of a verification."""

from __future__ import annotations

from ansible_collections.pgops.rollback.plugins.action.backup_verify import ActionModule

__all__ = ["ActionModule"]
