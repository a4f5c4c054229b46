# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Which sequences a module looks at."""

    DOCUMENTATION = r"""
options:
  schemas:
    description:
      - Schemas whose sequences, and whose tables' sequences, are meant.
      - O(schemas), O(tables), O(sequences) and O(manifest) add up. Without any of them all user schemas are meant.
        System schemas, extension members and temporary objects never are.
      - Names here and below are read as SQL reads them. Unquoted names fold to lower case, other names need
        double quotes.
    type: list
    elements: str
    default: []
  tables:
    description:
      - Tables whose sequences are meant, V(schema.table). The schema may be left out where the name is unique.
      - A name that does not exist is an error, as is a selection in which there is no sequence at all.
    type: list
    elements: str
    default: []
  sequences:
    description: Sequences that are meant, V(schema.sequence). The schema may be left out where the name is unique.
    type: list
    elements: str
    default: []
  manifest:
    description: A rollback manifest, as data. Its C(tables) and C(sequences) lists are read like the options above.
    type: dict
"""
