# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rehearsal of a teardown: a backup is restored aside, and there everything is really done and undone.

Nothing here knows how to connect to the live database: every connection is made by the disposable server that this
started, through its own socket, and without what the environment says of others. The plan's token is computed there
and confirms the plan there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.backup import (
    DEGRADED,
    FAULTY,
    PASSED,
    SKIPPED,
    Backup,
    Check,
    PhysicalSource,
    Progress,
    Source,
)
from ansible_collections.pgops.rollback.plugins.module_utils.baseline import Baseline
from ansible_collections.pgops.rollback.plugins.module_utils.connection import ServerInfo, server_info
from ansible_collections.pgops.rollback.plugins.module_utils.connections import Connections
from ansible_collections.pgops.rollback.plugins.module_utils.dependent import BREAKS
from ansible_collections.pgops.rollback.plugins.module_utils.drill_options import DrillOptions
from ansible_collections.pgops.rollback.plugins.module_utils.drill_server import DrillServer, without_libpq_variables
from ansible_collections.pgops.rollback.plugins.module_utils.driver import DATABASE_ERRORS
from ansible_collections.pgops.rollback.plugins.module_utils.durations import show_duration
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError, server_message
from ansible_collections.pgops.rollback.plugins.module_utils.live_database import LiveDatabase, play_again
from ansible_collections.pgops.rollback.plugins.module_utils.logical_restore import DATABASE, restore_dump
from ansible_collections.pgops.rollback.plugins.module_utils.rehearsal_verification import (
    Verifying,
    look,
    news,
    unchecked,
)
from ansible_collections.pgops.rollback.plugins.module_utils.restored_server import server_for
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_apply import Order, tear_down
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_cipher import Cipher
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_plan import PlanRequest, make_plan
from ansible_collections.pgops.rollback.plugins.module_utils.teardown_undo import UndoRequest, undo
from ansible_collections.pgops.rollback.plugins.module_utils.verification import CheckResult
from ansible_collections.pgops.rollback.plugins.module_utils.wording import some

#: Of the copy, in whose own directory its bundle lies.
_HOST = _RUN = "rehearsal"

#: What is done in the copy, in this order.
_STEPS = ("restore", "plan", "look", "teardown", "verify", "undo", "verify_undo")

#: Errors by which a rehearsal is not possible, and nothing is at fault.
_REFUSED = ("nothing_to_rehearse", "rehearsal_blocked", "rehearsal_impossible")


@dataclass(frozen=True)
class Rehearsal:
    """What is to be rehearsed.

    :ivar plan: with the live host's baselines and records.
    :ivar verifying: its baseline is taken from ``plan``.
    """

    live: LiveDatabase
    plan: PlanRequest
    verifying: Verifying
    drill: DrillOptions


def require_restorable(kind: type[Source]) -> None:
    """:raises RollbackError: ``rehearsal_impossible``, of a source whose backups cannot be restored aside."""
    if kind.no_drill:
        raise RollbackError(
            "rehearsal_impossible",
            f"A teardown cannot be rehearsed on a backup of {kind.name}.",
            f"{kind.no_drill} Nothing was done.",
        )


def rehearse(source: Source, backup: Backup, asked: Rehearsal, progress: Progress) -> dict[str, Any]:
    """What the module ``teardown_rehearsal`` returns. Whatever goes wrong in the copy is in it.

    :param backup: the one that was selected.
    :raises RollbackError: ``baseline_foreign``; nothing has been started then.
    """
    for baseline in (asked.plan.provenance.before, asked.plan.provenance.after):
        if baseline is not None:
            baseline.require_same_database(asked.live.snapshot)
    return _Run(source, backup, asked, progress).run()


class _StoppedError(Exception):
    """It ends here, and what there is to say of it was said."""


class _Run:
    def __init__(self, source: Source, backup: Backup, asked: Rehearsal, progress: Progress) -> None:
        self._source, self._backup, self._asked, self._progress = source, backup, asked, progress
        self._checks: list[dict[str, Any]] = []
        self._step = _STEPS[0]
        self._begun = self._since = time.monotonic()
        self._code = ""
        self._result: dict[str, Any] = {
            "mode": asked.plan.mode, "postgres": None, "objects": None, "rows": None, "blockers": [], "would_break": [],
        }  # fmt: skip
        self._not_rehearsed = [
            "how long locks are waited for, since nobody else works in the copy",
            "the application, its endpoints, rollback_before and rollback_after",
            f"what was changed since {self._taken}",
            *(["the bundle's encryption, and the room for it in rollback_artifacts_dir"] if asked.plan.drop else []),
        ]

    def run(self) -> dict[str, Any]:
        settings = {"deadlock_timeout": f"{self._asked.live.server.deadlock_timeout_ms}ms"}
        with (
            self._told(), without_libpq_variables(),
            server_for(
                self._source, self._backup, self._asked.drill, settings, self._left, self._progress, self._seen
            ) as server,
            self._told(),
        ):  # fmt: skip
            self._restore(server)
            with closing(Connections(self._login(server))) as connections:
                self._act(connections, server)
        return self._outcome()

    # What is done -----------------------------------------------------------------------------------------------------

    def _restore(self, server: DrillServer) -> None:
        self._result["postgres"] = server.recipe.version
        live = self._asked.live
        if isinstance(self._source, PhysicalSource):
            self._done(PASSED, f"Recovered into Postgres {server.recipe.version}.")
            return
        restored = restore_dump(server, self._backup, self._asked.drill.jobs, self._left(), self._progress)
        if restored.check.status == SKIPPED:
            raise RollbackError("rehearsal_impossible", restored.check.message, "Rehearse on a host that provides it.")
        if restored.check.status == FAULTY:
            raise RollbackError("restore_failed", restored.check.message, "Run verify_backup.yml on it.")
        with closing(server.connect("template1")) as connection, connection.cursor() as cursor:
            play_again(cursor, live, DATABASE, server.superuser)
        if live.server.user == server.superuser and not live.server.superuser:
            self._not_rehearsed.append(f"the privileges of {live.server.user}, which is the copy's superuser")
        self._not_rehearsed.append(
            f"what other roles may do: but for {live.server.user} and its groups, the copy has their names only"
        )
        self._done(restored.check.status, f"{restored.check.message} It is Postgres {server.recipe.version}.")

    def _login(self, server: DrillServer) -> dict[str, Any]:
        """Of the live database's role, in the copy."""
        return {**server.login(self._asked.live.name), "login_user": self._asked.live.server.user}

    def _act(self, connections: Connections, server: DrillServer) -> None:
        connection = connections.first
        copy = server_info(connection)
        if copy.in_recovery:
            raise RollbackError("restore_failed", "The copy did not recover.", "Run verify_backup.yml on the backup.")
        verifying = self._compared(copy)
        request, plan = self._planned(connection, copy)

        self._begin("look", "looking at it as it is")
        before = look(connections, verifying)
        self._not_rehearsed += [f"check {each}" for each in unchecked(before)]
        self._done(PASSED, f"{len(before)} checks ran before it, to know what the teardown adds.")

        self._begin("teardown", "tearing down")
        artifacts = server.cluster.directory / "bundle"
        artifacts.mkdir(mode=0o700)
        order = Order(
            request, host=_HOST, confirm=plan["token"], batch={_HOST: plan["token"]}, artifacts_dir=str(artifacts),
            run_id=_RUN, planned_rows=plan["rows"]["total"], max_row_growth=0, timeout=self._left(),
            # As long as the copy that they are of, beside which they are, in the open.
            artifacts_last=True, retention=timedelta(seconds=self._left()), cipher=Cipher(),
        )  # fmt: skip
        torn_down = tear_down(connection, copy, order, check_mode=False)
        self._result["would_break"] = torn_down["broken"]
        held = f" Readers were kept out for {torn_down['held_ms']} ms." if "held_ms" in torn_down else ""
        self._done(PASSED, f"{self._result['objects']} objects went ({request.mode}), in one transaction.{held}")

        self._begin("verify", "looking whether it worked")
        self._verified(before, look(connections, verifying, plan))

        self._begin("undo", "undoing it")
        back = UndoRequest(str(artifacts), _HOST, torn_down["bundle"], request.lock_timeout, self._left(), Cipher())
        undone = undo(connection, copy, back, check_mode=False)
        self._done(DEGRADED if undone["notes"] else PASSED, undone["msg"])

        self._begin("verify_undo", "looking whether all is back")
        after = look(connections, verifying)
        again = make_plan(connection, copy, request).plan
        # What it found before and does not find now is another state, too.
        self._back(plan, again, news(before, after) + news(before=after, after=before))

    def _compared(self, copy: ServerInfo) -> Verifying:
        provenance = self._asked.plan.provenance
        if provenance.before is None:
            self._not_rehearsed.append("the comparison with a baseline from before the migration, for there is none")
            return self._asked.verifying
        self._not_rehearsed.append("whether objects were renamed since the baseline, which no copy tells")
        if copy.major != self._asked.live.server.major:
            self._not_rehearsed.append(
                f"Postgres {self._asked.live.server.major} of the live database: the copy is Postgres {copy.major}"
            )
        return replace(self._asked.verifying, baseline=_fitting(provenance.before, copy))

    def _planned(self, connection: Any, copy: ServerInfo) -> tuple[PlanRequest, dict[str, Any]]:
        """:returns: the request whose plan is carried out, and the plan: what a variable may set aside is set aside in
        the copy.
        """
        self._begin("plan", "planning")
        given = self._asked.plan.provenance
        provenance = replace(
            given,
            before=_fitting(given.before, copy) if given.before else None,
            after=_fitting(given.after, copy) if given.after else None,
        )
        request = replace(self._asked.plan, provenance=provenance)
        plan = make_plan(connection, copy, request).plan
        if not plan["objects"]:
            raise RollbackError(
                "nothing_to_rehearse",
                f"{self._backup.id} has nothing of what the manifest names: it may be from before the migration.",
                "Make a new backup (playbooks/baseline.yml --tags dump), and rehearse with that.",
            )
        blockers = plan["blockers"]
        self._result |= {"objects": len(plan["objects"]), "rows": plan["rows"]["total"], "blockers": blockers}
        objects = [{"name": each["code"], "problem": f"{each['message']} {each['remedy']}"} for each in blockers]
        first = f" {blockers[0]['message']} {blockers[0]['remedy']}" if blockers else ""
        refused = f"The teardown would be refused ({', '.join(sorted({each['code'] for each in blockers}))}):{first}"
        if any(each["override"] is None for each in blockers):
            self._code = "rehearsal_blocked"
            self._done(FAULTY, refused, objects)
            raise _StoppedError
        if not blockers:
            broken = sum(each["effect"] == BREAKS for each in plan["survivors"])
            self._done(PASSED, f"{len(plan['objects'])} objects would go, and {broken} surviving ones break.")
            return request, plan
        self._done(DEGRADED, f"{refused} In the copy that was set aside.", objects)
        overridden = frozenset(each["name"] for each in plan["objects"])
        request = replace(
            request, require_backup=False, provenance=replace(provenance, allow_unknown=True, overridden=overridden)
        )
        return request, make_plan(connection, copy, request).plan

    def _verified(self, before: list[CheckResult], after: list[CheckResult]) -> None:
        known = unchecked(before)
        self._not_rehearsed += [f"check {each}" for each in unchecked(after) if each not in known]
        new = news(before, after)
        if not new:
            self._done(PASSED, "Verification finds nothing that it had not found before.")
            return
        found_by = {each["check"] for each in new}
        fixes = dict.fromkeys(each.fix for each in after if each.fix and each.name in found_by)
        self._done(DEGRADED, f"Verification would find fault with {_named(new)}.", new, " ".join(fixes))

    def _back(self, plan: dict[str, Any], again: dict[str, Any], different: list[dict[str, str]]) -> None:
        if again["token"] != plan["token"]:
            different.append({"name": "the plan", "problem": "it is another one than before"})
        if again["rows"] != plan["rows"]:
            different.append({"name": "the rows", "problem": f"{plan['rows']['total']} before"})
        if different:
            self._done(FAULTY, f"After the undo something is not as it was: {_named(different)}.", different)
        else:
            self._done(PASSED, "The plan and what verification finds are as they were before.")

    # What is said -----------------------------------------------------------------------------------------------------

    @property
    def _taken(self) -> str:
        finished = self._backup.finished_at
        return f"{finished:%Y-%m-%d %H:%M} UTC" if finished else "the backup was taken"

    def _left(self) -> float:
        """:raises RollbackError: ``drill_timeout``."""
        left = self._asked.drill.timeout - (time.monotonic() - self._begun)
        if left <= 0:
            raise RollbackError(
                "drill_timeout",
                f"The rehearsal took longer than {show_duration(timedelta(seconds=self._asked.drill.timeout))} and was"
                " ended.",
                "Give it more time with backup_verification_drill_timeout.",
            )
        return left

    def _begin(self, step: str, doing: str) -> None:
        self._step, self._since = step, time.monotonic()
        self._left()
        self._progress(doing, None)

    def _done(
        self, status: str, message: str, objects: list[dict[str, str]] | None = None, fix: str = ""
    ) -> None:
        seconds = round(time.monotonic() - self._since, 3)
        self._checks.append({
            "name": self._step, "status": status, "message": message, "seconds": seconds,
            "objects": objects or [], "fix": fix,
        })  # fmt: skip

    def _seen(self, check: Check) -> None:
        """Of the disposable server."""
        self._checks.append({
            "name": check.name, "status": check.status, "message": check.message, "seconds": check.seconds,
            "objects": [], "fix": "",
        })  # fmt: skip

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What goes wrong is what the step came to."""
        try:
            yield
        except _StoppedError:
            pass
        except RollbackError as error:
            self._code = error.code
            self._done(FAULTY, str(error))
        except DATABASE_ERRORS as error:
            self._code = "database_error"
            self._done(FAULTY, f"The copy reported: {server_message(error)}.")

    def _outcome(self) -> dict[str, Any]:
        reached = {each["name"]: each for each in self._checks}
        timings = {step: reached[step]["seconds"] for step in _STEPS if step in reached}
        faulty = [each for each in self._checks if each["status"] == FAULTY]
        degraded = [each for each in self._checks if each["status"] == DEGRADED]
        status = "failed" if faulty else "degraded" if degraded else "ok"
        if self._code in _REFUSED and all(each["name"] == self._step for each in faulty):
            status = "refused"
        self._checks += [
            {"name": step, "status": SKIPPED, "message": "Not reached.", "seconds": 0.0, "objects": [], "fix": ""}
            for step in _STEPS if step not in reached
        ]  # fmt: skip
        whole = not faulty
        said = f"Torn down and brought back in a copy of {self._backup.id} ({self._taken})." if whole else ""
        took = ", ".join(f"{step} {seconds:.1f} s" for step, seconds in timings.items())
        texts = [said, *(each["message"] for each in [*faulty, *degraded]), f"It took: {took}."]
        return {
            **self._result,
            "changed": False,
            "failed": status == "failed",
            "status": status,
            **({"code": self._code} if self._code else {}),
            "msg": " ".join(filter(None, texts)),
            "backup": self._backup.as_result(),
            "checks": self._checks,
            "timings": timings,
            "seconds": round(time.monotonic() - self._begun, 3),
            "proved": "The teardown and its undo work on what the backup holds" if whole else "",
            "not_rehearsed": self._not_rehearsed,
            "not_proved": "; ".join(self._not_rehearsed),
        }


def _fitting(baseline: Baseline, copy: ServerInfo) -> Baseline:
    """The live database's baseline, as one of its copy: that is on a cluster of its own, maybe of another release."""
    snapshot = replace(baseline.snapshot, system_identifier=None, server_version_num=copy.version_num)
    return replace(baseline, snapshot=snapshot)


def _named(found: list[dict[str, str]]) -> str:
    """The first in full."""
    more = [each["name"] for each in found[1:]]
    return f"{found[0]['name']} ({found[0]['problem']}){', ' if more else ''}{some(more)}"
