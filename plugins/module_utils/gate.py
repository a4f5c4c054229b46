# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a role asks before it does what was planned, and whether it goes on. Pure, but for looking for files.

It only asks, and spares people what would be refused. It is the module that refuses (confirmation.require_confirmed).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.confirmation import batch_token


def gate(
    plans: dict[str, dict[str, Any]], confirm: Any, typed: str, check_mode: bool, missing: list[str], done: str
) -> dict[str, Any]:
    """:param plans: of all databases of the play, by the host's name; empty where there is none.
    :param confirm: what was given beforehand; None when nothing was.
    :param typed: at the prompt; empty when nobody was asked, or could be.
    :param missing: what missing_task_files() found.
    :param done: what the databases are going to be, such as ``torn down``.
    :returns: ``tokens`` by host, ``trouble`` (reasons not to go on, sentences), ``asks`` (whether somebody has to be
        asked), ``confirm`` (for the module), ``acts`` (hosts on which something is going to be done: no application is
        stopped for what is going to be refused).
    """
    tokens = {host: str(plan.get("token") or "") for host, plan in plans.items()}
    needed = [host for host, plan in plans.items() if plan and not nothing_to_do(plan)]
    trouble = [*missing, *_trouble(plans, done)]
    # That nothing is to be done needs nobody's word. Should there be something by then, this is not its token.
    unasked = typed if needed else batch_token(tokens)
    word = unasked if confirm is None else str(confirm)
    confirmed = word.strip() == batch_token(tokens)
    return {
        "tokens": tokens,
        "trouble": trouble,
        "asks": confirm is None and not check_mode and bool(needed) and not trouble,
        "confirm": word,
        "acts": needed if confirmed and not check_mode else [],
    }


def nothing_to_do(plan: dict[str, Any]) -> bool:
    """Of a teardown's plan, and of a full restore's."""
    return bool(plan.get("nothing_to_do", not plan.get("objects")))


def _trouble(plans: dict[str, dict[str, Any]], done: str) -> list[str]:
    """One that cannot be done keeps all from it: they were to be confirmed together."""
    unplanned = ", ".join(host for host, plan in plans.items() if not plan)
    blocked = ", ".join(host for host, plan in plans.items() if plan.get("blockers"))
    found = []
    if unplanned:
        found.append(
            f"There is no plan of {unplanned}, so nothing is {done} anywhere. Its report says why; mend that, or leave"
            " it out with --limit. Nothing was done."
        )
    if blocked:
        found.append(
            f"Something stands in the way on {blocked}, so nothing is {done} anywhere. Do what the plan says of it, or"
            " leave it out with --limit. Nothing was done."
        )
    return found


def missing_task_files(given: dict[str, str], directory: str) -> list[str]:
    """What is wrong with the task files of the user's, a sentence each.

    :param given: paths by the variable's name; empty where none is set.
    :param directory: where a relative path begins.
    """
    return [
        f"{variable}: {Path(directory, path)} is no file. Let {variable} name a task file on this machine; nothing was"
        " done."
        for variable, path in given.items() if path and not Path(directory, path).is_file()
    ]  # fmt: skip
