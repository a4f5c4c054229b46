# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading from Supabase's Management API: patient within bounds, with a sentence for everything that goes wrong.

No message holds the token, nor anything of an answer's body.
"""

from __future__ import annotations

import http.client
import json
import re
import ssl
import time
import urllib.error
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime
from itertools import count
from typing import Any
from urllib.parse import urlsplit

from ansible.module_utils.urls import ConnectionError as UrlConnectionError
from ansible.module_utils.urls import SSLValidationError, open_url

from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError

#: Seconds between two tries after a 5xx or a network error; then it is given up.
_BACKOFF = (1.0, 2.0, 4.0)

#: Seconds that may be spent waiting in all, and that one answer may take.
MAX_WAIT = 120.0
_ANSWER_TIMEOUT = 30

#: A listing of backups is a few kilobytes.
_MAX_BYTES = 16 << 20

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}

_TOO_MANY, _SERVER_ERROR = 429, 500


class _TryAgainError(Exception):
    """Worth another try after so many seconds; the error is for when there is none."""

    def __init__(self, error: RollbackError, seconds: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.seconds = seconds


@dataclass
class ManagementApi:
    """One client, which remembers what the API said about its limits.

    :ivar url: base address; https, or http on loopback.
    :ivar token: a personal access token.
    :ivar sleep: how to wait, for tests.
    :raises RollbackError: ``supabase_url_invalid``, ``supabase_token_missing``, ``supabase_token_invalid``.
    """

    url: str
    token: str | None = field(repr=False)
    sleep: Callable[[float], None] = time.sleep
    timeout: float = _ANSWER_TIMEOUT
    _waited: float = 0.0
    _pause: float = 0.0

    def __post_init__(self) -> None:
        local = _host(self.url) in _LOOPBACK
        if not _host(self.url) or urlsplit(self.url).scheme not in (("http", "https") if local else ("https",)):
            raise RollbackError(
                "supabase_url_invalid",
                "The token is only sent by https (or to this machine), and backup_verification_supabase_url is no such"
                " address.",
                "Leave backup_verification_supabase_url out, or give one that begins with https://.",
            )
        if not self.token:
            raise RollbackError(
                "supabase_token_missing",
                "There is no access token for the Supabase Management API.",
                "Set SUPABASE_ACCESS_TOKEN in the environment, or backup_verification_supabase_token from a vault.",
            )
        # Python's own message about a bad header would show it.
        if not re.fullmatch(r"[\x21-\x7e]+", self.token):
            raise RollbackError(
                "supabase_token_invalid",
                "The access token has a blank, a line's end or a character in it that no token has.",
                "Copy it again, without what surrounds it.",
            )
        self._proxied = not local

    def get(self, path: str) -> Any:
        """The JSON that a path answers with.

        :param path: below the base address, with its leading slash.
        :raises RollbackError: ``supabase_unauthorized``, ``_forbidden``, ``_not_found``, ``_rate_limited``,
            ``_unavailable``, ``_timeout``, ``_unreachable``, ``_tls``, ``_redirected``, ``_refused``, ``_not_json``.
        """
        self._wait(self._pause, _rate_limited())
        backoff = iter(_BACKOFF)
        for attempt in count(1):
            try:
                return self._once(path)
            except _TryAgainError as again:
                # A server that says 0 over and over is asked ever more slowly.
                seconds = max(attempt, again.seconds) if again.seconds is not None else next(backoff, None)
                if seconds is None:
                    raise again.error from None
                self._wait(seconds, again.error)
        raise AssertionError

    def _wait(self, seconds: float, error: RollbackError) -> None:
        """:raises RollbackError: the given one, when that would be too long."""
        if self._waited + seconds > MAX_WAIT:
            raise error from None
        if seconds > 0:
            self._waited += seconds
            self.sleep(seconds)

    def _once(self, path: str) -> Any:
        try:
            # A redirect would take the token elsewhere, and the API makes none.
            answer = open_url(
                self.url.rstrip("/") + path,
                headers={"Authorization": f"Bearer {self.token}", "Accept": "application/json"},
                follow_redirects="none", use_proxy=self._proxied, use_netrc=False, timeout=self.timeout,
                http_agent="pgops.rollback",
            )  # fmt: skip
            with answer:
                self._note(answer.headers)
                body = answer.read(_MAX_BYTES)
                if answer.length:  # still to come; read() with a limit does not mind
                    raise http.client.IncompleteRead(b"")
        except urllib.error.HTTPError as error:
            with error:
                self._note(error.headers)
                raise self._refusal(error.code, error.headers) from None
        except (SSLValidationError, ssl.SSLError):
            raise _tls() from None
        except (OSError, http.client.HTTPException, UrlConnectionError) as error:
            raise _unanswered(error, self.url) from None
        try:
            return json.loads(body)
        except ValueError:
            raise RollbackError(
                "supabase_not_json",
                "The address answered with something that is no JSON, such as a web page: it is not the Management"
                " API's, or a proxy stands before it.",
                "Correct backup_verification_supabase_url, or let the proxy pass it.",
            ) from None

    def _note(self, headers: Message) -> None:
        """When nothing is left of the limit, the next request waits until it is new."""
        exhausted = headers.get("x-ratelimit-remaining") == "0"
        self._pause = (_seconds(headers.get("x-ratelimit-reset")) or 0.0) if exhausted else 0.0

    def _refusal(self, code: int, headers: Message) -> Exception:
        if code == _TOO_MANY:
            seconds = _seconds(headers.get("retry-after"))
            if seconds is None:
                seconds = _seconds(headers.get("x-ratelimit-reset"))
            self._pause = 0.0
            return _TryAgainError(_rate_limited(), seconds)
        if code >= _SERVER_ERROR:
            error = RollbackError(
                "supabase_unavailable",
                f"The Management API answered with HTTP {code}, {len(_BACKOFF) + 1} times.",
                "See status.supabase.com and try again later.",
            )
            return _TryAgainError(error)
        return _final(code)


def _host(url: str) -> str | None:
    """None for what cannot be sent anything, or has a name or password in it."""
    try:
        parts = urlsplit(url)
        return None if parts.username or parts.port == 0 else parts.hostname
    except ValueError:
        return None


def _final(code: int) -> RollbackError:
    if 300 <= code < 400:
        return RollbackError(
            "supabase_redirected",
            f"The address answered with a redirect (HTTP {code}), not followed: it would take the token along.",
            "Set backup_verification_supabase_url to where the API really is.",
        )
    known = {
        401: ("supabase_unauthorized", "The Management API does not know the access token (HTTP 401).",
              "Make a new personal access token; the old one has expired or was revoked, or is another kind of key."),
        403: ("supabase_forbidden", "The access token may not read this project's backups (HTTP 403).",
              "Use a token of a member of the project's organization, with the scope database:read."),
        404: ("supabase_not_found", "The Management API knows no such project (HTTP 404).",
              "Correct backup_verification_supabase_ref; it is in the address of the project's dashboard."),
    }  # fmt: skip
    return RollbackError(
        *known.get(
            code,
            ("supabase_refused", f"The Management API refused to list the backups (HTTP {code}).",
             "See in the project's dashboard whether it is paused, or its plan has no backups."),
        )
    )  # fmt: skip


def _unanswered(error: Exception, url: str) -> Exception:
    host = _host(url)
    reason = getattr(error, "reason", error)
    if isinstance(reason, ssl.SSLError):
        return _tls()
    if isinstance(reason, TimeoutError):
        return _TryAgainError(
            RollbackError(
                "supabase_timeout",
                f"{host} did not answer in time, {len(_BACKOFF) + 1} times.",
                "See whether this host's way to it is slow or blocked, and try again later.",
            )
        )
    text = getattr(reason, "strerror", None) or type(reason).__name__
    return _TryAgainError(
        RollbackError(
            "supabase_unreachable",
            f"{host} cannot be reached from here: {text}.",
            "See whether this host may reach the internet, by a proxy if need be (https_proxy), and try again.",
        )
    )


def _tls() -> RollbackError:
    return RollbackError(
        "supabase_tls",
        "The certificate of the Management API's address is not trusted here.",
        "Install the CA certificate of your proxy, or correct this host's clock.",
    )


def _rate_limited() -> RollbackError:
    return RollbackError(
        "supabase_rate_limited",
        f"The Management API's limit of requests is used up (HTTP 429), and {MAX_WAIT:.0f} seconds of waiting do not"
        " help.",
        "Try again in a few minutes, and see what else uses this token.",
    )


def _seconds(text: str | None) -> float | None:
    """Of a header: a number of seconds, or a date."""
    if text is None:
        return None
    if re.fullmatch(r"\d{1,9}(\.\d+)?", text.strip()):
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
