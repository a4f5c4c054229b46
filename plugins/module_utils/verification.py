# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a post-rollback check is, what it may find, and what all of them mean together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ansible_collections.pgops.rollback.plugins.module_utils import wording
from ansible_collections.pgops.rollback.plugins.module_utils.baseline import Baseline, read_baseline
from ansible_collections.pgops.rollback.plugins.module_utils.connections import Connections
from ansible_collections.pgops.rollback.plugins.module_utils.driver import DATABASE_ERRORS, pg_errors, sql
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError, server_message
from ansible_collections.pgops.rollback.plugins.module_utils.names import QUARANTINE
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_catalog import (
    Sequence,
    SequenceCatalog,
    read_catalog,
)
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_state import Assessment
from ansible_collections.pgops.rollback.plugins.module_utils.sequence_values import read_assessments
from ansible_collections.pgops.rollback.plugins.module_utils.verification_comparison import (
    Comparison,
    compare_with_baseline,
)

#: How a check can end. What could not be checked is ``skipped`` and never ``passed``.
PASSED, WARNED, SKIPPED, FAILED = "passed", "warned", "skipped", "failed"

#: How bad a failure is: data is lost, shown or refused; something does not work; somebody should know.
CRITICAL, MAJOR, MINOR = "critical", "major", "minor"

#: When a check runs first; a later stage runs what the earlier ones do.
STAGES = ("immediate", "day", "week")

#: Milliseconds that a check waits for a lock.
_LOCK_TIMEOUT = 500

#: Reasons why something is not checked, where nothing is wrong with it.
UNCHECKED: tuple[type[Exception], ...] = (
    (pg_errors.InsufficientPrivilege, pg_errors.LockNotAvailable, pg_errors.QueryCanceled) if pg_errors else ()
)

#: Codes of what kept the catalogs from being read, where nothing is wrong with what was asked for.
_UNREAD = ("lock_timeout", "statement_timeout", "catalog_changed", "privilege_missing", "object_unknown")


@dataclass(frozen=True)
class Finding:
    """:ivar name: of the object, as SQL writes it.
    :ivar problem: what is wrong with it, without a full stop.
    :ivar status: ``failed`` or ``warned``.
    """

    name: str
    problem: str
    status: str = FAILED


@dataclass
class Outcome:
    """What a check's function tells.

    :ivar passed: the message when nothing was found and all was checked.
    :ivar heading: what the findings are, in a few words.
    :ivar fix: what to do about them.
    :ivar unchecked: what could not be checked, each with the reason, without a full stop.
    """

    passed: str
    heading: str
    fix: str
    findings: list[Finding] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class CheckResult:
    """:ivar objects: what was found fault with.
    :ivar stage: the earliest in which the check runs.
    :ivar seconds: how long it took.
    """

    name: str
    title: str
    status: str
    severity: str
    message: str
    objects: list[Finding]
    fix: str
    stage: str
    seconds: float

    def as_result(self) -> dict[str, Any]:
        return asdict(self)


class UnreadError(Exception):
    """The catalogs could not be read, and nothing is wrong with what was asked for; why, without a full stop."""


@contextmanager
def reading_catalogs() -> Iterator[None]:
    """:raises UnreadError: in place of the error that kept the catalogs from being read."""
    try:
        yield
    except RollbackError as error:
        if error.code not in _UNREAD:
            raise
        raise UnreadError(error.message.rstrip(".")) from error
    except DATABASE_ERRORS as error:
        raise UnreadError(why(error)) from error


@dataclass(frozen=True)
class Context:
    """:ivar options: of the module.
    :ivar statement_timeout: milliseconds.
    """

    connections: Connections
    options: dict[str, Any]
    statement_timeout: int

    @cached_property
    def sequences(self) -> SequenceCatalog:
        return read_catalog(self.connections)

    @cached_property
    def assessments(self) -> list[tuple[Sequence, Assessment]]:
        """Each sequence that is in use and belongs to no extension, and how it stands."""
        found = [
            each for each in self.sequences.sequences
            if not each.extension_member and not each.schema.startswith(QUARANTINE)
        ]  # fmt: skip
        return list(zip(found, read_assessments(self.connections, found), strict=True))

    @cached_property
    def baseline(self) -> Baseline | None:
        """Of the options: its file, or what was read from one.

        :raises RollbackError: of read_baseline().
        """
        given = self.options.get("baseline")
        return given if given is None or isinstance(given, Baseline) else read_baseline(Path(given))

    @property
    def comparison(self) -> Comparison:
        """With the baseline.

        :raises UnreadError: when the catalogs could not be read.
        :raises RollbackError: when the baseline is of no use.
        """
        if isinstance(self._compared, Exception):
            raise self._compared
        return self._compared

    @cached_property
    def _compared(self) -> Comparison | Exception:
        """An error is kept, too: each of the checks would wait for the same lock anew."""
        if self.baseline is None:
            raise ValueError("a check that needs a baseline was made without one")
        explained = frozenset(self.options["explained"])
        try:
            with reading_catalogs():
                return compare_with_baseline(
                    self.connections.first, self.baseline, explained, self.options["count_rows"]
                )
        except (UnreadError, RollbackError) as error:
            return error

    def already(self, kind: str, name: str, **attributes: Any) -> bool:
        """Whether the baseline has this object with these attributes, so that it is not the rollback's doing."""
        known = self.baseline.snapshot.objects.get((kind, name)) if self.baseline else None
        return known is not None and all(known.attributes.get(key) == value for key, value in attributes.items())

    @contextmanager
    def reading(self) -> Iterator[Any]:
        """A cursor in a transaction that cannot write, waits for nothing long, and sees every row or gets an error.

        It ends with COMMIT unless something failed: a ROLLBACK would count among those of the error rate.
        """
        with self.connections.first.cursor() as cursor:
            cursor.execute(
                sql.SQL(
                    "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; SET LOCAL row_security = off;"
                    " SET LOCAL lock_timeout = {}; SET LOCAL statement_timeout = {}"
                ).format(sql.Literal(_LOCK_TIMEOUT), sql.Literal(self.statement_timeout))
            )
            end = "ROLLBACK"
            try:
                yield cursor
                end = "COMMIT"
            finally:
                if not self.connections.first.closed:
                    cursor.execute(end)


@dataclass(frozen=True)
class CheckKind:
    """A check there is.

    :ivar option: of the module; without a value for it the check is not asked for. Empty for one that always runs.
    :ivar or_option: another one that asks for it.
    """

    name: str
    title: str
    severity: str
    stage: str
    function: Callable[[Context], Outcome]
    option: str = ""
    or_option: str = ""


def run_check(kind: CheckKind, context: Context) -> CheckResult:
    """What the database does not let a check look at, or reports meanwhile, makes it ``skipped``.

    :raises RollbackError: for options that make no sense, a baseline that is of no use among them.
    """
    begun = time.monotonic()
    try:
        outcome = kind.function(context)
    except DATABASE_ERRORS as error:
        outcome = Outcome("", "", "", unchecked=[why(error)])
    except UnreadError as error:
        outcome = Outcome("", "", "", unchecked=[str(error)])
    # The worst come first: a message may name only a few.
    outcome.findings.sort(key=lambda finding: finding.status != FAILED)
    status, message = _judged(outcome)
    return CheckResult(
        kind.name, kind.title, status, kind.severity, message, outcome.findings,
        outcome.fix if outcome.findings else "", kind.stage, round(time.monotonic() - begun, 3),
    )  # fmt: skip


def why(error: Exception) -> str:
    """Why something could not be checked, without a full stop."""
    if isinstance(error, pg_errors.LockNotAvailable):
        return "another session has it locked"
    if isinstance(error, pg_errors.QueryCanceled):
        return "it took longer than the statement timeout"
    return server_message(error)


def user_objects(catalog: str, oid: str) -> str:
    """The SQL condition that something is in a user schema, not in quarantine, and no member of an extension.

    :param catalog: such as ``pg_class``; ``n`` has to be its namespace.
    :param oid: how the query calls its OID.
    """
    return (
        f"n.nspname <> 'information_schema' AND n.nspname !~ '^(pg_|{QUARANTINE})'"
        " AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e"
        f" WHERE e.classid = 'pg_catalog.{catalog}'::regclass AND e.objid = {oid} AND e.deptype = 'e')"
    )


def verdict(results: Iterable[CheckResult]) -> str:
    """``failed``, ``degraded`` (a warning, or a minor failure), ``incomplete`` (something was skipped) or ``ok``."""
    results = list(results)
    if any(each.status == FAILED and each.severity != MINOR for each in results):
        return "failed"
    if any(each.status in (FAILED, WARNED) for each in results):
        return "degraded"
    return "incomplete" if any(each.status == SKIPPED for each in results) else "ok"


def _judged(outcome: Outcome) -> tuple[str, str]:
    left = f"Not checked: {some(outcome.unchecked, '; ')}." if outcome.unchecked else ""
    if not outcome.findings:
        return (SKIPPED, left) if left else (PASSED, outcome.passed)
    first = outcome.findings[0]
    alone = f"{first.name}: {first.problem}" if len(outcome.findings) == 1 else ""
    status = FAILED if any(each.status == FAILED for each in outcome.findings) else WARNED
    return status, f"{outcome.heading}: {alone or some([each.name for each in outcome.findings])}. {left}".strip()


def some(names: list[str], separator: str = ", ") -> str:
    """The first few, each once, and how many there are besides."""
    return wording.some(dict.fromkeys(names), separator=separator)
