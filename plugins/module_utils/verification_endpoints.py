# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Health endpoints of the application. Addresses may hold credentials, so no message shows more than host and path."""

from __future__ import annotations

import http.client
import queue
import re
import ssl
import threading
import time
import urllib.error
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ansible.module_utils.urls import ConnectionError as UrlConnectionError
from ansible.module_utils.urls import SSLValidationError, open_url

from ansible_collections.pgops.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.pgops.rollback.plugins.module_utils.text_search import holds
from ansible_collections.pgops.rollback.plugins.module_utils.verification import (
    CRITICAL,
    CheckKind,
    Context,
    Finding,
    Outcome,
)

#: Of rollback_verify's option ``endpoints``.
ENDPOINT_ARGUMENTS: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "url": {"type": "str", "required": True, "no_log": True},
    "status": {"type": "list", "elements": "int", "default": [200]},
    "body": {"type": "str"},
    "timeout": {"type": "float", "default": 5.0},
    "retries": {"type": "int", "default": 3},
    "delay": {"type": "float", "default": 2.0},
}

#: A health endpoint says a few words.
_MAX_BYTES = 64 << 10

_AT_ONCE = 16

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True)
class _Endpoint:
    """:ivar shown: host and path.
    :ivar timeout: seconds that one try may take from its beginning to its end.
    :ivar retries: further tries after the first; ``delay`` seconds lie between two.
    """

    name: str
    url: str
    shown: str
    local: bool
    status: tuple[int, ...]
    body: str
    timeout: float
    retries: int
    delay: float


class _Answer(NamedTuple):
    """:ivar problem: empty when there is none so far.
    :ivar text: of the body, where something is looked for in it.
    """

    problem: str
    text: str = ""


def endpoint_kinds(context: Context) -> list[CheckKind]:
    """:raises RollbackError: ``endpoint_invalid``."""
    endpoints = [_endpoint(given) for given in context.options.get("endpoints") or []]
    asked = _Asked(endpoints)
    return [
        CheckKind(
            f"endpoint: {endpoint.name}", f"{endpoint.shown} answers", CRITICAL, "immediate",
            partial(asked.outcome, number),
        )
        for number, endpoint in enumerate(endpoints)
    ]  # fmt: skip


class _Asked:
    """All are asked side by side when the first answer is wanted: several dead ones cost as much as one."""

    def __init__(self, endpoints: list[_Endpoint]) -> None:
        self._endpoints = endpoints

    def outcome(self, number: int, _context: Context) -> Outcome:
        return self._outcomes[number]

    @cached_property
    def _outcomes(self) -> list[Outcome]:
        with ThreadPoolExecutor(min(len(self._endpoints), _AT_ONCE)) as pool:
            return list(pool.map(_look, self._endpoints))


def _endpoint(given: dict[str, Any]) -> _Endpoint:
    name = given["name"]
    try:
        parts = urlsplit(given["url"])
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _invalid(name, "its url is none") from None
    if parts.scheme not in ("http", "https") or not host:
        raise _invalid(name, "its url does not begin with http:// or https:// and a host")
    try:
        re.compile(given["body"] or "")
    except (re.error, RecursionError, OverflowError):
        raise _invalid(name, "its body is not a regular expression") from None
    if given["timeout"] <= 0 or given["retries"] < 0 or given["delay"] < 0:
        raise _invalid(name, "its timeout has to be above zero, its retries and delay not below")
    shown = f"{host}{f':{port}' if port else ''}{parts.path}"
    return _Endpoint(
        name, given["url"], shown, host in _LOOPBACK, tuple(given["status"]), given["body"] or "",
        given["timeout"], given["retries"], given["delay"],
    )  # fmt: skip


def _invalid(name: str, what: str) -> RollbackError:
    return RollbackError(
        "endpoint_invalid",
        f"The health endpoint {name} cannot be asked: {what}.",
        "Correct it in the endpoints of the verification; nothing was checked.",
    )


def _look(endpoint: _Endpoint) -> Outcome:
    tries = 0
    problem = "it was not asked"
    while tries <= endpoint.retries:
        if tries:
            time.sleep(endpoint.delay)
        tries += 1
        problem = _try(endpoint)
        if not problem:
            break
    times = "" if tries == 1 else f", at try {tries}"
    outcome = Outcome(
        f"{endpoint.shown} answers as expected{times}.",
        "The application does not answer as it should",
        "See whether the application runs and reaches its database.",
    )
    if problem:
        outcome.findings.append(Finding(endpoint.name, f"{endpoint.shown} {problem}, {tries} time{'s' * (tries > 1)}"))
    return outcome


def _try(endpoint: _Endpoint) -> str:
    """What is wrong, or nothing.

    A thread asks, for a socket's timeout begins anew with each byte of a server that sends one now and then.
    """
    end = time.monotonic() + endpoint.timeout
    answer: queue.SimpleQueue[_Answer] = queue.SimpleQueue()
    threading.Thread(target=lambda: answer.put(_ask(endpoint)), daemon=True).start()
    try:
        problem, text = answer.get(timeout=endpoint.timeout)
    except queue.Empty:
        return f"did not answer within {endpoint.timeout:g} s"
    if problem or not endpoint.body:
        return problem
    try:
        found = holds(endpoint.body, text, end - time.monotonic())
    except TimeoutError:
        return f"gave an answer that could not be searched within {endpoint.timeout:g} s"
    return "" if found else "answered without the text that was expected"


def _ask(endpoint: _Endpoint) -> _Answer:
    redirect_expected = any(300 <= code < 400 for code in endpoint.status)
    try:
        response = open_url(
            endpoint.url, follow_redirects="none" if redirect_expected else "safe", use_proxy=not endpoint.local,
            use_netrc=False, timeout=endpoint.timeout, http_agent="pgops.rollback",
        )  # fmt: skip
        with response:
            return _answer(endpoint, response.status, response)
    except urllib.error.HTTPError as error:
        with error:
            if 300 <= error.code < 400 and not redirect_expected:
                return _Answer(f"redirects without end (HTTP {error.code})")
            return _answer(endpoint, error.code, error)
    except (OSError, http.client.HTTPException, UrlConnectionError, SSLValidationError, ValueError) as error:
        return _Answer(_unanswered(endpoint, getattr(error, "reason", error)))


def _unanswered(endpoint: _Endpoint, reason: Any) -> str:
    """Not in the error's own words, which may show the address."""
    if isinstance(reason, ssl.SSLError | SSLValidationError):
        return "has a certificate that is not trusted here"
    if isinstance(reason, TimeoutError):
        return f"did not answer within {endpoint.timeout:g} s"
    return f"cannot be reached ({getattr(reason, 'strerror', None) or type(reason).__name__})"


def _answer(endpoint: _Endpoint, status: int, response: Any) -> _Answer:
    if status not in endpoint.status:
        return _Answer(f"answered HTTP {status} where {' or '.join(map(str, endpoint.status))} was expected")
    return _Answer("", response.read(_MAX_BYTES).decode("utf-8", "replace") if endpoint.body else "")
