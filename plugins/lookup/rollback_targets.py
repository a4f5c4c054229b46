# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: rollback_targets
author: The pgops.rollback authors (@pgops)
version_added: 0.1.0
short_description: The host pattern of a play, refused when the run would silently do nothing
description:
  - Ansible ends with exit code 0 when a tag is misspelt and when no host is selected. At 3 a.m. that reads as "done".
  - Used as the C(hosts) of a play this lookup returns the pattern it is given, and ends the run with an error
    before anything is done if a tag is not one of the play's, if its step is not built yet, or if the pattern and
    C(--limit) together select no host.
  - It works whatever C(--limit), C(--tags) and C(--skip-tags) are, since no task has to run.
options:
  _terms:
    description: Host patterns, as C(hosts) takes them.
    type: list
    elements: str
    required: true
  tags:
    description: The tags of the play that can be asked for.
    type: list
    elements: str
    required: true
  planned:
    description: Tags of steps that this release does not have yet.
    type: list
    elements: str
    default: []
  apart:
    description: Tags of steps that are not done in the same run.
    type: list
    elements: str
    default: []
  needed:
    description: The tag without which the play does nothing, so that leaving it out is an error.
    type: str
  single:
    description: Tags of steps of which a run has one at the most.
    type: list
    elements: str
    default: []
notes:
  - V(all) is accepted as the only tag, since it is what Ansible runs when none is given. The other special words
    (V(always), V(never), V(tagged), V(untagged)) are refused, because they walk around the play's own rules.
  - C(--start-at-task) is refused, because the steps are included while the play runs and it would find none of them.
  - With C(--syntax-check) and the C(--list-*) options an empty selection is no error.
"""

EXAMPLES = r"""
- name: Roll back
  hosts: >-
    {{ query('pgops.rollback.rollback_targets', rollback_hosts | default('databases'),
             tags=['sequence', 'report'], planned=['teardown']) }}
  tasks: []
"""

RETURN = r"""
_list:
  description: The patterns that were given.
  type: list
  elements: str
"""

import difflib
import gc
from collections.abc import Iterable
from typing import Any

from ansible import context
from ansible.errors import AnsibleError, AnsibleLookupError
from ansible.inventory.manager import InventoryManager
from ansible.plugins.lookup import LookupBase

RELEASE = "0.1.0"
_IMPLICIT_GROUPS = ("all", "ungrouped")


class LookupModule(LookupBase):
    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        if context.CLIARGS.get("listtags"):
            # Ansible asks for all tags at once then.
            return terms
        variables = variables or {}
        self.set_options(var_options=variables, direct=kwargs)
        asked = variables.get("ansible_run_tags") or ["all"]
        only_looked_at = any(context.CLIARGS.get(option) for option in ("syntax", "listhosts", "listtasks"))
        if not only_looked_at:
            require_run_of_its_own(asked, self.get_option("needed"), self.get_option("apart"))
            require_single(asked, self.get_option("single"))
        require_known_tags(
            asked=asked,
            skipped=variables.get("ansible_skip_tags") or [],
            built=self.get_option("tags"),
            planned=self.get_option("planned"),
        )
        if context.CLIARGS.get("start_at_task"):
            raise AnsibleLookupError(
                "--start-at-task finds no task of this playbook, so nothing was done."
                f" Choose the step with --tags instead: {', '.join(self.get_option('tags'))}."
            )
        if not only_looked_at:
            self._require_hosts(terms, variables)
        _spare_the_workers()
        return terms

    def _require_hosts(self, terms: list[Any], variables: dict[str, Any]) -> None:
        groups: dict[str, list[str]] = variables["groups"]
        limit = variables.get("ansible_limit")
        inventory = InventoryManager(self._loader, parse=False)
        for group, hosts in groups.items():
            inventory.add_group(group)
            for host in hosts:
                inventory.add_host(host, group=group)
        try:
            inventory.subset(limit)
            selected = inventory.get_hosts(pattern=terms)
        except AnsibleError as error:
            raise AnsibleLookupError(f"The host selection cannot be read: {error}. Nothing was done.") from None
        if not selected:
            raise AnsibleLookupError(_no_hosts(terms, limit, groups))


def require_run_of_its_own(asked: Iterable[str], needed: str | None, apart: list[str]) -> None:
    """Refuse a step beside others, and its playbook without its tag.

    :param needed: the step's tag; None where there is no such step.
    :raises AnsibleLookupError: one sentence, and the remedy.
    """
    if needed is None:
        return
    if needed not in asked:
        raise AnsibleLookupError(
            f"This is done by its tag alone, and nothing was done: rollback.yml --tags {needed}."
        )
    others = [tag for tag in apart if tag in asked]
    if others:
        raise AnsibleLookupError(
            f'The step of the tag "{needed}" is a run of its own, and nothing was done.'
            f" Run {', '.join(others)} before it or after it."
        )


def require_single(asked: Iterable[str], single: list[str]) -> None:
    """Refuse a second one of these steps.

    :raises AnsibleLookupError: one sentence, and the remedy.
    """
    found = [tag for tag in single if tag in asked]
    if len(found) > 1:
        raise AnsibleLookupError(
            f"One run does one of {', '.join(found)}, and nothing was done. Each has a plan and a token of its own: run"
            " one after the other."
        )


def _spare_the_workers() -> None:
    """Keep the garbage collector from what is loaded by now, before the first task, and needed until the run ends.

    Ansible forks a process for every task. One that makes a module ready allocates so much that the collector would
    look through all of the heap, and thereby copy it: a tenth of the time of a short run.
    """
    gc.freeze()


def require_known_tags(
    asked: Iterable[str], skipped: Iterable[str], built: list[str], planned: list[str]
) -> None:
    """Refuse what would run nothing, or something else than the name says.

    :param asked: as given with ``--tags``; ``['all']`` if nothing was.
    :raises AnsibleLookupError: one sentence, and the remedy.
    """
    known = f"Known tags: {', '.join(built)}. Nothing was done."
    asked = set(asked)
    skipped = set(skipped)
    if asked == {"all"}:
        asked = set()
    for option, tags, accepted in (("--tags", asked, built), ("--skip-tags", skipped, [*built, *planned])):
        for tag in sorted(tags):
            if option == "--tags" and tag in planned:
                raise AnsibleLookupError(
                    f'The step of the tag "{tag}" is not built in pgops.rollback {RELEASE}; nothing was done.'
                    f" Built are: {', '.join(built)}."
                )
            if tag not in accepted:
                nearest = difflib.get_close_matches(tag, accepted, n=1)
                hint = f'; did you mean "{nearest[0]}"?' if nearest else "."
                raise AnsibleLookupError(f'This playbook has no tag "{tag}" for {option}{hint} {known}')
    if asked and asked <= skipped:
        raise AnsibleLookupError(f"Every tag asked for is also in --skip-tags, so there is nothing to do. {known}")


def _no_hosts(terms: list[Any], limit: str | None, groups: dict[str, list[str]]) -> str:
    names = sorted(name for name in groups if name not in _IMPLICIT_GROUPS)
    limited = f' with --limit "{limit}"' if limit else ""
    existing = f"has the groups {', '.join(names)}" if names else "has no group"
    return (
        f'The host pattern "{",".join(map(str, terms))}"{limited} selects no host; nothing was done.'
        f" The inventory {existing}: check -i, --limit and rollback_hosts."
    )
