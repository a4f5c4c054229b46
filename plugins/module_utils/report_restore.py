# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan of a full restore, of its undo and of a purge in words, for the reports and for whoever is to confirm it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.durations import show_duration
from ansible_collections.pgops.rollback.plugins.module_utils.report_content import plain, size_text
from ansible_collections.pgops.rollback.plugins.module_utils.wording import listed

#: Tables and objects that a question names.
_NAMED = 5


def restore_rows(plan: dict[str, Any]) -> list[tuple[str, list[tuple[str, ...]]]]:
    """What there is to say beside what stands in the way: a title, and rows of one, or of four columns under
    LOST_HEADINGS.
    """
    found: list[tuple[str, list[tuple[str, ...]]]] = [
        ("What comes back", [(text,) for text in _comes_back(plan)]),
        ("Rows that are lost", [_lost_row(each) for each in _lost(plan)]),
        ("Objects that are lost", [(plain(f"{_singular(each)} {each['name']}"),) for each in _objects(plan)]),
        ("What goes for good", [(_kept(each),) for each in plan.get("goes") or []]),
        ("What it takes", [(text,) for text in _takes(plan)]),
        ("What is not carried over", [(plain(text),) for text in plan.get("not_carried_over") or []]),
        ("What earlier restores have set aside", [(_kept(each),) for each in plan.get("others") or []]),
    ]
    return [(title, rows) for title, rows in found if rows]


LOST_HEADINGS = ("table", "rows then", "rows now", "written since")


def restore_lines(plan: dict[str, Any]) -> list[str]:
    """The same, a sentence each."""
    lines = [*_comes_back(plan)]
    if "lost" in plan:
        lines.append(f"lost: {lost_sentence(plan)}")
    lines += [f"goes for good: {_kept(each)}" for each in plan.get("goes") or []]
    lines += _takes(plan)
    lines += [f"not carried over: {plain(text)}" for text in plan.get("not_carried_over") or []]
    return lines + [f"set aside earlier: {_kept(each)}" for each in plan.get("others") or []]


def restore_heading(plan: dict[str, Any]) -> str:
    """For whoever is asked."""
    database = plain(plan["database"])
    if plan["nothing_to_do"]:
        return f"nothing to do in {database}"
    if plan["action"] == "undo":
        return f"undo the restore of {database}"
    return f"purge what restores of {database} have set aside" if plan["action"] == "purge" else f"restore {database}"


def lost_sentence(plan: dict[str, Any]) -> str:
    """What is lost, in numbers and a few names."""
    rows = plan["lost"]["rows"]
    objects = [plain(f"{_singular(each)} {each['name']}") for each in _objects(plan)]
    parts = []
    if rows is None:
        parts.append("how many rows were written since is not known")
    elif rows:
        told = [f"{plain(each['name'])} ({_lost_words(each)})" for each in rows]
        parts.append(f"rows of {len(rows)} table{'s' if len(rows) > 1 else ''}: {listed(told, _NAMED)}")
    elif _is_known(plan):
        parts.append("no row that anybody knows of")
    else:
        parts.append("how many rows is not known, since there is neither a content manifest nor a baseline")
    if objects:
        parts.append(f"{len(objects)} object{'s' if len(objects) > 1 else ''}: {listed(objects, _NAMED)}")
    return "; ".join(parts)


def _is_known(plan: dict[str, Any]) -> bool:
    lost = plan["lost"]
    return plan["action"] == "undo" or bool(lost["rows_since"] or lost["counted_since"])


def _comes_back(plan: dict[str, Any]) -> list[str]:
    backup: dict[str, Any] | None = plan.get("backup")
    found: dict[str, Any] = plan.get("comes_back") or {}
    if backup:
        rows = "" if found["rows"] is None else f" and {found['rows']:,} rows"
        size = size_text(backup["size_bytes"])
        return [plain(
            f"{backup['id']}, of {backup['finished']}, {size}: {found['tables']} of the live tables{rows}"
            f" ({backup['location']})"
        )]  # fmt: skip
    return [plain(f"{_kept(found)} comes back")] if found else []


def _takes(plan: dict[str, Any]) -> list[str]:
    lines = []
    if "time" in plan:
        seconds, of = plan["time"]["seconds"], plan["time"]["of"]
        took = "not known" if seconds is None else show_duration(timedelta(seconds=max(seconds, 1)))
        lines.append(plain(f"time to restore beside the live database: {took} ({of})"))
    if "disk" in plan:
        free = plan["disk"]["free"]
        room = "an unknown number" if free is None else size_text(free)
        lines.append(f"disk: {size_text(plan['disk']['needed'])} needed, {room} free")
    if "sessions" in plan:
        number = sum(each["sessions"] for each in plan["sessions"])
        who = [plain(f"{each['user']} {each['application']}".strip()) for each in plan["sessions"]]
        of = f" ({listed(dict.fromkeys(who), _NAMED)})" if who else ""
        ended = f"{number} session{'' if number == 1 else 's'}{of}"
        lines.append(f"downtime: about a second, for the swap, which ends {ended}")
    return lines


def _lost(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return (plan.get("lost") or {}).get("rows") or []


def _objects(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return (plan.get("lost") or {}).get("objects") or []


def _lost_row(each: dict[str, Any]) -> tuple[str, ...]:
    return plain(each["name"]), *("-" if each[key] is None else f"{each[key]:,}" for key in ("then", "now", "written"))


def _lost_words(each: dict[str, Any]) -> str:
    written = f"{each['written']:,} written" if each["written"] else ""
    if each["then"] is None:
        return written
    now = "?" if each["now"] is None else f"{each['now']:,}"
    return ", ".join(filter(None, (f"{now} now, {each['then']:,} then", written)))


def _kept(each: dict[str, Any]) -> str:
    size = "" if each["bytes"] is None else f", {size_text(each['bytes'])}"
    since = f", {each['role']} {each['since']}" if each["since"] else ", left by a run that was killed"
    return plain(f"{each['name']}{since}{size}")


def _singular(each: dict[str, Any]) -> str:
    return str(each["kind"]).removesuffix("s").replace("policie", "policy")
