# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An application at work: sessions that read and write without end, and how long each statement of theirs took."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import psycopg2

from tests.support.database import OPERATOR, TestDatabase

#: Seconds between two transactions of a session.
PAUSE = 0.005

_SIGNED_IN = "SET LOCAL request.jwt.claim.sub = '00000000-0000-4000-8000-000000000002'; SET LOCAL ROLE authenticated"
_SOMEBODY = "(SELECT id FROM auth.users ORDER BY random() LIMIT 1)"


@dataclass(frozen=True)
class Activity:
    """What one session does over and over, each time in a transaction of its own.

    :ivar doomed: it writes to tables that go, itself or by a cascade: it ends with them, and until then it waits for
        as long as the rows are exported.
    :ivar pause: seconds between two transactions.
    """

    name: str
    script: str
    user: str = OPERATOR
    doomed: bool = False
    pause: float = PAUSE


#: Of an application that knows nothing of coaching any more. All of these tables are locked by the drop: for a policy
#: or a foreign key of theirs, or as the table that one refers to.
SURVIVING = [
    Activity("reads profiles, under a policy", f"{_SIGNED_IN}; SELECT count(*) FROM public.profiles"),
    Activity("reads memos, under a policy", f"{_SIGNED_IN}; SELECT count(*) FROM public.user_virtue_stage_memos"),
    Activity("reads feedback", "SELECT count(*) FROM public.sponsor_feedback"),
    Activity("reads accounts", "SELECT count(*) FROM auth.users"),
    Activity(
        "writes feedback",
        "INSERT INTO public.sponsor_feedback (connection_id, rating, feedback_text) VALUES (41, 5, 'one more')",
    ),
    Activity(
        "writes profiles and journals",
        "UPDATE public.profiles SET display_name = 'N. N.' WHERE id = '00000000-0000-4000-8000-000000000003';"
        "INSERT INTO public.journal_entries (user_id, entry_text)"
        " VALUES ('00000000-0000-4000-8000-000000000003', 'one more')",
    ),
    Activity(
        "makes accounts",
        "INSERT INTO auth.users (id, email) SELECT id, id::text FROM (SELECT gen_random_uuid() AS id) AS one",
        user="postgres",
    ),
]

#: Of an application that is still the old one.
OLD = [
    Activity(
        "writes chat",
        "INSERT INTO public.sponsor_chat_messages (connection_id, sender_id, receiver_id, message_text)"
        " SELECT id, sponsor_user_id, practitioner_user_id, 'one more' FROM public.sponsor_connections"
        " ORDER BY random() LIMIT 1",
        doomed=True,
    ),
    Activity(
        "deletes accounts",
        "DELETE FROM auth.users WHERE id ="
        " (SELECT id FROM auth.users WHERE email LIKE 'user%' ORDER BY id DESC LIMIT 1)",
        doomed=True,
        # An attempt to drop has to fit in between: whoever deletes meanwhile waits for it with a lock that it needs.
        pause=3.0,
    ),
]


class Session(threading.Thread):
    """:ivar longest: seconds of the longest transaction so far.
    :ivar done: how many there were.
    :ivar deadlocks: how often it was the victim of one.
    """

    def __init__(self, database: TestDatabase, activity: Activity, stop: threading.Event) -> None:
        super().__init__(name=activity.name)
        self.activity = activity
        self.longest = 0.0
        self.done = 0
        self.deadlocks = 0
        self.error: BaseException | None = None
        self._connection = database.connect(activity.user)
        self._stop_it = stop

    def run(self) -> None:
        try:
            with self._connection.cursor() as cursor:
                while not self._stop_it.is_set():
                    begun = time.monotonic()
                    try:
                        cursor.execute(f"BEGIN; {self.activity.script}; COMMIT")
                    except psycopg2.errors.DeadlockDetected:
                        self.deadlocks += 1
                        cursor.execute("ROLLBACK")
                    self.longest = max(self.longest, time.monotonic() - begun)
                    self.done += 1
                    self._stop_it.wait(self.activity.pause)
        except psycopg2.errors.UndefinedTable as error:
            self.error = None if self.activity.doomed else error
        except psycopg2.Error as error:
            self.error = error


@contextmanager
def at_work(database: TestDatabase, activities: Iterable[Activity]) -> Iterator[list[Session]]:
    """They are stopped at the end, and an error of theirs other than a deadlock is raised."""
    stop = threading.Event()
    sessions = [Session(database, activity, stop) for activity in activities]
    for session in sessions:
        session.start()
    try:
        yield sessions
    finally:
        stop.set()
        for session in sessions:
            session.join()
    for session in sessions:
        if session.error is not None:
            raise RuntimeError(f"A session of the application ({session.name}) failed.") from session.error


@contextmanager
def reading(database: TestDatabase, table_for: list[tuple[str, float]]) -> Iterator[None]:
    """Transactions that have read a table and stay open: one for each table, for that many seconds."""
    with ExitStack() as stack:
        for table, stays in table_for:
            cursor = database.connect("postgres").cursor()
            cursor.execute(f"BEGIN; SELECT count(*) FROM {table}")
            timer = threading.Timer(stays, cursor.execute, ["COMMIT"])
            timer.start()
            stack.callback(timer.join)
        yield
