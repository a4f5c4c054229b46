# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The token that confirms a plan, and those of a batch of databases. Pure.

A token is repeated by whoever confirms and is asked for by what acts, which has made the plan again under its locks. So
no tag, no skipped task and no closed terminal leads past it.
"""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.catalog_object import digest
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError

#: Never a number, which YAML would make another one.
TOKEN = re.compile(r"rb-[0-9a-f]{12}")


def token_for(text: str) -> str:
    """``rb-`` and twelve hexadecimal digits of the SHA-256 of a canonical text."""
    return f"rb-{digest(text)[:12]}"


def batch_token(tokens: dict[str, str]) -> str:
    """What confirms the plans of all these databases at once; of a single one it is that one's own token.

    :param tokens: by the host's name in the inventory.
    """
    if len(tokens) == 1:
        return next(iter(tokens.values()))
    return token_for("".join(f"{host} {token}\n" for host, token in sorted(tokens.items())))


def require_confirmed(host: str, token: str, confirm: str, batch: dict[str, str]) -> None:
    """Refuse unless exactly this plan was confirmed.

    :param host: the database's name in the inventory.
    :param token: of the plan as it is now.
    :param confirm: what was typed, or given.
    :param batch: the tokens that were shown, by host; this one's among them.
    :raises RollbackError: ``confirmation_invalid``, ``confirmation_stale``, ``confirmation_foreign``.
    """
    given = confirm.strip()
    if not TOKEN.fullmatch(given):
        raise RollbackError(
            "confirmation_invalid",
            "Nothing was confirmed: no token was given." if not given
            else f"{given[:40]!r} is no token: that is rb- and twelve of 0-9 and a-f.",
            "Repeat the token of the plan at the prompt or with -e rollback_confirm=rb-…; nothing was"
            " done.",
        )  # fmt: skip
    if host not in batch or given != batch_token(batch):
        raise RollbackError(
            "confirmation_foreign",
            f"The token {given} does not confirm this run"
            f"{f', which is for {len(batch)} databases together' if len(batch) > 1 else ''}.",
            "Look at the plan again (the same command, hosts and options without rollback_confirm) and repeat the token"
            " shown last; nothing was done.",
        )
    if batch[host] != token:
        raise RollbackError(
            "confirmation_stale",
            f"The plan has changed since it was confirmed: {batch[host]} then, {token} now.",
            "Read the new plan (the same command without rollback_confirm), and confirm that one if it is what you"
            " want; nothing was done.",
        )


def require_unblocked(plan: dict[str, Any], code: str) -> None:
    """:param code: of the refusal.
    :raises RollbackError: with it, when something stands in the way.
    """
    if plan["blockers"]:
        first = plan["blockers"][0]
        raise RollbackError(
            code,
            f"The plan is blocked ({', '.join(sorted({each['code'] for each in plan['blockers']}))}):"
            f" {first['message']}",
            f"{first['remedy']} Nothing was done.",
        )
