# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A command of ours for somebody to copy: the inventory, the hosts and the variables are those of this run. Pure."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

#: What ``-e name=value`` takes as it is; anything else is given as JSON.
_PLAIN_VALUE = re.compile(r"[\w./:@%+-]+\Z")

_FILES = {
    "rollback": "rollback.yml",
    "verify_backup": "playbooks/verify_backup.yml",
    "undo": "playbooks/undo.yml",
    "restore": "playbooks/restore.yml",
}


@dataclass(frozen=True)
class Invocation:
    """How this run was started.

    :ivar inventories: those that were given; empty where the configured one was used.
    :ivar limit: a host pattern, or empty.
    :ivar by_file: whether a checkout's playbooks can be named by their files, since the working directory is its root.
    :ivar variables: to be given again.
    """

    inventories: Sequence[str] = ()
    limit: str = ""
    by_file: bool = False
    variables: Mapping[str, Any] = field(default_factory=dict)

    def at(self, host: str) -> Invocation:
        """The same of one host."""
        return replace(self, limit=host)

    def without(self, names: Collection[str]) -> Invocation:
        """The same without these variables."""
        return replace(self, variables={name: each for name, each in self.variables.items() if name not in names})


def command_line(invocation: Invocation, playbook: str, *arguments: str, **variables: Any) -> str:
    """For a shell.

    :param playbook: its name in the collection.
    :param variables: beside those of the invocation.
    """
    words = ["ansible-playbook"]
    for inventory in invocation.inventories:
        words += ["-i", inventory]
    words += [_FILES[playbook] if invocation.by_file else f"pgops.rollback.{playbook}", *arguments]
    words += ["--limit", invocation.limit] if invocation.limit else []
    for name, value in {**invocation.variables, **variables}.items():
        plain = isinstance(value, str) and _PLAIN_VALUE.match(value)
        words += ["-e", f"{name}={value}" if plain else json.dumps({name: value}, ensure_ascii=False)]
    return shlex.join(words)
