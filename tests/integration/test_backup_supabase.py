# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Supabase, by a local server that speaks the Management API's recorded shapes: what is listed, and what goes wrong."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.backup import (
    COMPLETE,
    FAILED,
    SKIPPED,
    UNFINISHED,
    Backup,
    SourceSettings,
)
from ansible_collections.pgops.rollback.plugins.module_utils.backup_ladder import judged, select
from ansible_collections.pgops.rollback.plugins.module_utils.backup_supabase import Supabase
from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.supabase_api import MAX_WAIT, ManagementApi
from ansible_collections.pgops.rollback.plugins.module_utils.system_user import own_user
from tests.support.supabase_server import EMPTY, REF, TOKEN, Answer, SupabaseServer, supabase_server

BACKUP = {"id": 42, "is_physical_backup": True, "status": "COMPLETED", "inserted_at": "2026-11-24T03:04:05.678Z"}


@pytest.fixture
def api() -> Iterator[SupabaseServer]:
    with supabase_server() as served:
        yield served


@pytest.fixture
def far_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process in a time zone 14 hours ahead."""
    with monkeypatch.context() as changed:
        changed.setenv("TZ", "Pacific/Kiritimati")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture
def waits() -> list[float]:
    """The waits that were asked for; none is made."""
    return []


def source(api: SupabaseServer, waits: list[float], **changes: Any) -> Supabase:
    settings = {"supabase_ref": REF, "supabase_token": TOKEN, "supabase_url": api.url, **changes}
    return Supabase(SourceSettings(own_user(), 60, **settings), waits.append)


def refused(api: SupabaseServer, waits: list[float], **changes: Any) -> RollbackError:
    """The error of listing, which never shows the token."""
    with pytest.raises(RollbackError) as caught:
        source(api, waits, **changes).backups()
    shown = "".join([str(caught.value), repr(caught.value.__cause__), repr(caught.value.__context__)])
    assert TOKEN not in shown
    return caught.value


# Listing --------------------------------------------------------------------------------------------------------------


def test_a_backup_is_described(api: SupabaseServer, waits: list[float]) -> None:
    api.lists(BACKUP)
    (found,) = source(api, waits).backups()
    assert api.requests == [(f"/v1/projects/{REF}/database/backups", f"Bearer {TOKEN}")]
    assert (found.id, found.kind, found.status) == ("42", "physical", COMPLETE)
    assert found.finished_at == datetime(2026, 11, 24, 3, 4, 5, 678000, UTC)
    assert REF in found.location
    assert "us-east-1" in found.location
    assert waits == []


@pytest.mark.parametrize("empty", [{}, {"backups": None, "physical_backup_data": None}])
def test_no_backups_are_no_error(api: SupabaseServer, waits: list[float], empty: dict[str, Any]) -> None:
    api.answer(Answer(body={**EMPTY, **empty}))
    assert source(api, waits).backups() == []


@pytest.mark.usefixtures("far_zone")
def test_without_a_zone_it_is_utc(api: SupabaseServer, waits: list[float]) -> None:
    api.lists({**BACKUP, "inserted_at": "2026-11-24T03:04:05"})
    (found,) = source(api, waits).backups()
    assert found.finished_at == datetime(2026, 11, 24, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("status", "expected"),
    [("PENDING", UNFINISHED), *((status, FAILED) for status in ("FAILED", "REMOVED", "ARCHIVED", "CANCELLED", "NEW"))],
)
def test_only_a_completed_one_counts(api: SupabaseServer, waits: list[float], status: str, expected: str) -> None:
    api.lists({**BACKUP, "status": status}, {**BACKUP, "id": 41, "inserted_at": "2026-11-23T03:00:00Z"})
    found = source(api, waits)
    listed = found.backups()
    assert listed[0].status == expected
    assert status in listed[0].problem
    chosen, rung = select(found, listed)
    assert chosen
    assert chosen.id == "41"
    assert listed[0].problem in rung.message


def test_point_in_time_recovery_is_a_backup(api: SupabaseServer, waits: list[float]) -> None:
    window = {"earliest_physical_backup_date_unix": 1763900000, "latest_physical_backup_date_unix": 1763950000}
    api.lists(pitr_enabled=True, physical_backup_data=window)
    (found,) = source(api, waits).backups()
    assert (found.id, found.status, found.problem) == ("pitr", COMPLETE, "")
    assert found.finished_at == datetime.fromtimestamp(1763950000, UTC)
    assert "2025-11-23 12:13 to 2025-11-24 02:06 UTC (lags while nothing is written)" in found.location


def test_point_in_time_recovery_without_a_window_is_unfinished(api: SupabaseServer, waits: list[float]) -> None:
    api.lists(pitr_enabled=True)
    (found,) = source(api, waits).backups()
    assert (found.id, found.status, found.finished_at) == ("pitr", UNFINISHED, None)


def test_integrity_is_never_called_passed(api: SupabaseServer, waits: list[float]) -> None:
    backup = Backup("supabase", "42", "there", "physical")
    checks = source(api, waits).integrity(backup, lambda _text, _fraction: None)
    assert [check.status for check in checks] == [SKIPPED]
    assert judged("integrity", checks, "passed", "all", "", 0).status == "skipped"
    assert Supabase.no_drill


# What goes wrong ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (301, "supabase_redirected"),
        (400, "supabase_refused"),
        (401, "supabase_unauthorized"),
        (403, "supabase_forbidden"),
        (404, "supabase_not_found"),
    ],
)
def test_a_refusal_has_its_sentence(api: SupabaseServer, waits: list[float], status: int, code: str) -> None:
    elsewhere = {"location": api.url + "/elsewhere"} if status == 301 else {}
    api.answer(Answer(status, {"message": f"no: {TOKEN}"}, elsewhere))
    error = refused(api, waits)
    assert error.code == code
    assert str(status) in error.message
    assert (len(api.requests), waits) == (1, [])


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_server_error_is_tried_again(api: SupabaseServer, waits: list[float], status: int) -> None:
    api.answer(Answer(status), Answer(status), Answer(body=EMPTY))
    assert source(api, waits).backups() == []
    assert waits == [1, 2]


def test_lasting_server_errors_are_given_up(api: SupabaseServer, waits: list[float]) -> None:
    api.answer(Answer(500, b"<html>"))
    assert refused(api, waits).code == "supabase_unavailable"
    assert (len(api.requests), waits) == (4, [1, 2, 4])


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"retry-after": "7"}, 7),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "9"}, 9),
        ({"retry-after": "5", "x-ratelimit-reset": "50"}, 5),
        ({"retry-after": "0"}, 1),
    ],
)
def test_a_limit_is_waited_out(
    api: SupabaseServer, waits: list[float], headers: dict[str, str], expected: float
) -> None:
    api.answer(Answer(429, {}, headers), Answer(body=EMPTY))
    assert source(api, waits).backups() == []
    assert waits == [expected]


def test_a_limit_until_a_date_is_waited_out(api: SupabaseServer, waits: list[float]) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    api.answer(Answer(429, {}, {"retry-after": later}), Answer(body=EMPTY))
    assert source(api, waits).backups() == []
    assert len(waits) == 1
    assert 20 < waits[0] <= 30


@pytest.mark.parametrize("seconds", [0, 50, 3600])
def test_waiting_has_a_bound(api: SupabaseServer, waits: list[float], seconds: int) -> None:
    api.answer(Answer(429, {}, {"retry-after": str(seconds)}))
    assert refused(api, waits).code == "supabase_rate_limited"
    assert sum(waits) <= MAX_WAIT


def test_a_limit_used_up_delays_the_next_request(api: SupabaseServer, waits: list[float]) -> None:
    api.answer(Answer(body=EMPTY, headers={"x-ratelimit-remaining": "0", "x-ratelimit-reset": "11"}),
               Answer(body=EMPTY))  # fmt: skip
    found = source(api, waits)
    found.backups()
    assert waits == []
    found.backups()
    found.backups()
    assert waits == [11]


def test_no_answer_in_time(api: SupabaseServer, waits: list[float]) -> None:
    api.answer(Answer(hang=True))
    with pytest.raises(RollbackError) as caught:
        ManagementApi(api.url, TOKEN, waits.append, timeout=0.2).get("/")
    assert caught.value.code == "supabase_timeout"
    assert (len(api.requests), waits) == (4, [1, 2, 4])


def test_nobody_listens(api: SupabaseServer, waits: list[float]) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        error = refused(api, waits, supabase_url=f"http://127.0.0.1:{unheard.getsockname()[1]}")
    assert error.code == "supabase_unreachable"
    assert "Connection refused" in error.message
    assert waits == [1, 2, 4]


def test_an_answer_cut_short_is_tried_again(api: SupabaseServer, waits: list[float]) -> None:
    api.answer(Answer(body=b"{", headers={"content-length": "100", "connection": "close"}), Answer(body=EMPTY))
    assert source(api, waits).backups() == []
    assert waits == [1]


def test_a_web_page(api: SupabaseServer, waits: list[float]) -> None:
    api.answer(Answer(body=b"<!DOCTYPE html><html>Sign in</html>", headers={"content-type": "text/html"}))
    assert refused(api, waits).code == "supabase_not_json"


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        "text",
        {**EMPTY, "backups": [1]},
        {**EMPTY, "backups": [{"id": 1}]},
        {**EMPTY, "backups": [{**BACKUP, "inserted_at": "yesterday"}]},
        {**EMPTY, "backups": [{**BACKUP, "inserted_at": None}]},
        {**EMPTY, "pitr_enabled": True, "physical_backup_data": {"latest_physical_backup_date_unix": "soon"}},
        {**EMPTY, "pitr_enabled": True, "physical_backup_data": {"latest_physical_backup_date_unix": 1 << 70}},
    ],
)
def test_an_unexpected_shape(api: SupabaseServer, waits: list[float], body: Any) -> None:
    api.answer(Answer(body=body))
    assert refused(api, waits).code == "supabase_unexpected"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"supabase_ref": None}, "supabase_ref_invalid"),
        ({"supabase_ref": "abcdefghijklmnopqrs"}, "supabase_ref_invalid"),
        ({"supabase_ref": REF + "\n"}, "supabase_ref_invalid"),
        ({"supabase_ref": "../../etc/abcdefghij"}, "supabase_ref_invalid"),
        ({"supabase_token": None}, "supabase_token_missing"),
        ({"supabase_token": ""}, "supabase_token_missing"),
        ({"supabase_token": TOKEN + "\n"}, "supabase_token_invalid"),
        ({"supabase_token": TOKEN + "é"}, "supabase_token_invalid"),
        ({"supabase_url": "http://api.supabase.com"}, "supabase_url_invalid"),
        ({"supabase_url": "http://127.0.0.1.example.com"}, "supabase_url_invalid"),
        ({"supabase_url": "https://user:word@api.supabase.com"}, "supabase_url_invalid"),
        ({"supabase_url": "file:///etc/passwd"}, "supabase_url_invalid"),
        ({"supabase_url": "https://[broken"}, "supabase_url_invalid"),
        ({"supabase_url": "https://api.supabase.com:port"}, "supabase_url_invalid"),
    ],
)
def test_nothing_is_sent_with_bad_options(
    api: SupabaseServer, waits: list[float], changes: dict[str, Any], code: str
) -> None:
    assert refused(api, waits, **changes).code == code
    assert api.requests == []


def test_a_redirect_does_not_take_the_token_along(api: SupabaseServer, waits: list[float]) -> None:
    with supabase_server() as other:
        other.answer(Answer(body=EMPTY))
        api.answer(Answer(302, b"", {"location": other.url}))
        assert refused(api, waits).code == "supabase_redirected"
        assert other.requests == []


def test_the_token_is_not_in_what_is_printed(api: SupabaseServer, waits: list[float]) -> None:
    found = source(api, waits)
    assert TOKEN not in repr(found.settings) + repr(vars(found))
