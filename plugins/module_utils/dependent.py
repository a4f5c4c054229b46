# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Something that a teardown drops or breaks on objects that survive it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

#: What happens to it: it goes, it fails from then on, it may fail, or it goes on working and still reaches what is in
#: quarantine.
DROPPED, BREAKS, POSSIBLE, REMAINS = "dropped", "breaks", "possible", "remains"
EFFECTS = (DROPPED, BREAKS, POSSIBLE, REMAINS)


@dataclass(frozen=True)
class Dependent:
    """:ivar kind: as in a catalog snapshot; also ``default`` (of a column that stays) and ``attribute`` (of a type).
    :ivar name: as SQL writes it, and as in a catalog snapshot: ``own_rows on public.profiles``.
    :ivar on: the survivor that it is a part of; empty for what stands alone.
    :ivar effect: one of EFFECTS.
    :ivar detail: what that means, a sentence.
    :ivar recreatable: whether this role could make it again as it was; ``obstacle`` says why not.
    :ivar definition: how the catalogs write it; empty where they do not.
    :ivar uses: labels of what it depends on directly, of all that goes.
    :ivar line: of the function's body, where that names what goes.
    """

    kind: str
    name: str
    on: str
    effect: str
    owner: str
    detail: str
    recreatable: bool = True
    obstacle: str = ""
    definition: str = ""
    uses: tuple[str, ...] = ()
    line: int | None = None

    @property
    def label(self) -> str:
        return f"{self.kind} {self.name}"

    def as_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind, "name": self.name, "on": self.on, "effect": self.effect, "owner": self.owner,
            "detail": self.detail, "recreatable": self.recreatable, "obstacle": self.obstacle,
            "definition": self.definition, "uses": list(self.uses), "line": self.line,
        }  # fmt: skip
