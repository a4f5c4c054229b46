# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is broken after a teardown, and what to do about each. Pure."""

from __future__ import annotations

from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.dependent import BREAKS, DROPPED, POSSIBLE

#: By the kind of what is lost.
_AGAIN = {
    "view": "Whoever reads it gets an error. Make it again without what is gone, if it is still read.",
    "materialized view": "Whoever reads it gets an error. Make it again without what is gone, if it is still read.",
    "policy": "Make it again without what is gone, so that it lets the same rows through.",
    "publication table": "Tell its subscribers, whose copy of the table gets no changes any more.",
}

_ROUTINES = ("function", "procedure", "aggregate")


def broken_now(plan: dict[str, Any]) -> list[dict[str, str]]:
    """``what`` is broken on survivors, ``why``, and the ``remedy``, the certain ones first.

    What went along as a whole is broken for whoever uses it.
    """
    # A schema goes only when it is empty.
    along = [
        each for each in plan["dependents"] if each["effect"] == DROPPED and not each["on"] and each["kind"] != "schema"
    ]
    found = along + [each for each in plan["survivors"] if each["effect"] in (BREAKS, DROPPED, POSSIBLE)]
    order = (BREAKS, DROPPED, POSSIBLE)
    return [
        {"what": f"{each['kind']} {each['name']}", "why": each["detail"], "remedy": _remedy(each)}
        for each in sorted(found, key=lambda each: order.index(each["effect"]))
    ]


def _remedy(each: dict[str, Any]) -> str:
    if each["effect"] == POSSIBLE:
        return "Look whether it is called, and replace or drop it if it is."
    if each["effect"] == BREAKS:
        if each["kind"] in _ROUTINES:
            return "Drop or replace it, or deploy the application's previous release, which does not call it."
        return "Replace it by one that does without what is gone, or drop it."
    return _AGAIN.get(each["kind"], "Make it again without what is gone, if it is still wanted.")
