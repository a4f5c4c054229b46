# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The databases that are measured: many sequences of both shapes, and the sample application."""

from __future__ import annotations

from tests.support.database import ROOT, TestCluster, TestDatabase

#: What a production server has. The tests' clusters are not durable, which would flatter whoever commits most.
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}

#: Rows of each table.
ROWS = 20


class ManySequences:
    """A database with tables of their own sequences, one in ten of them behind its data."""

    def __init__(self, cluster: TestCluster, number: int) -> None:
        self.number = number
        self.database = TestDatabase(cluster)
        self.database.create()
        self.database.query(_script("benchmarks/many_sequences.sql"))
        self.database.query(_script("benchmarks/hand_written.sql"))
        self.database.query("CALL make_tables(%s, %s)", (number, ROWS))
        self.database.query("VACUUM ANALYZE", user="postgres")
        self._administrator = self.database.superuser()

    @property
    def behind(self) -> list[str]:
        """Names of the tables whose sequences are behind."""
        return [f"app_{n}" for n in range(1, self.number + 1, 10)]

    def put_behind(self) -> None:
        """The same state for whoever is measured next, with nothing left to be written by the server."""
        with self._administrator.cursor() as cursor:
            cursor.execute("CALL put_behind(%s, %s)", (self.number, ROWS))
            cursor.execute("CHECKPOINT")

    def require_repaired(self) -> None:
        """:raises RuntimeError: when the way that was measured did not do its work."""
        if not self.database.value("SELECT bool_and(last_value = %s) FROM pg_sequences", (ROWS,)):
            raise RuntimeError("Not every sequence was repaired: the figures would mean nothing.")


class SampleApplication:
    """The demo's database, its sequences as `make demo` puts them out of step."""

    def __init__(self, cluster: TestCluster) -> None:
        self.database = TestDatabase(cluster)
        self.database.create()
        self.database.query(_script("demo/sample_application.sql"), user="postgres")
        self.database.query(_script("demo/break_sequences.sql"))
        self._broken = self.database.query("SELECT schemaname, sequencename, last_value FROM pg_sequences")

    def put_behind(self) -> None:
        """Every sequence back where the demo's script left it."""
        for schema, sequence, last_value in self._broken:
            name = f'"{schema}"."{sequence}"'
            self.database.query("SELECT setval(%s, coalesce(%s, 1), %s)", (name, last_value, last_value is not None))


def _script(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")
