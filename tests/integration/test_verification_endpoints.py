# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Health endpoints of a verification, asked of a server on loopback that behaves as badly as servers do."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.support.database import TestDatabase
from tests.support.modules import ModuleRun, run_module

SECRET = "hunter2"


class Server(ThreadingHTTPServer):
    """:ivar asked: paths, in the order of the requests.
    :ivar ended: set when the test is over, for answers that never come.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []
        self.ended = threading.Event()

    def url(self, path: str, credentials: str = "") -> str:
        return f"http://{credentials}127.0.0.1:{self.server_port}{path}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.asked.append(path)
        getattr(self, path.strip("/"))()

    def log_message(self, *_arguments: Any) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def healthy(self) -> None:
        self.answer(200, b'{"status": "ok"}')

    def broken(self) -> None:
        self.answer(500, b"status: ok")

    def recovers(self) -> None:
        self.answer(200 if self.server.asked.count("/recovers") > 2 else 503)

    def moved(self) -> None:
        self.answer(302, Location="/healthy")

    def circle(self) -> None:
        self.answer(302, Location="/circle")

    def silent(self) -> None:
        self.server.ended.wait()

    def trickles(self) -> None:
        """A byte of a header now and then, so that no socket ever waits for long."""
        with suppress(OSError):
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while not self.server.ended.wait(0.05):
                self.wfile.write(b"x")
                self.wfile.flush()

    def endless(self) -> None:
        with suppress(OSError):
            self.send_response(200)
            self.end_headers()
            while not self.server.ended.is_set():
                self.wfile.write(b"x" * 65536)

    def long(self) -> None:
        self.answer(200, b"a" * 150_000 + b" status ok (fine)")


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    thread = threading.Thread(target=running.serve_forever, args=(0.01,))
    thread.start()
    yield running
    running.ended.set()
    running.shutdown()
    thread.join()
    running.server_close()


def verify(database: TestDatabase, *endpoints: dict[str, Any]) -> ModuleRun:
    hasty = {"timeout": 10, "retries": 0, "delay": 0}
    return run_module("rollback_verify", {**database.login(), "endpoints": [{**hasty, **each} for each in endpoints]})


def said(run: ModuleRun) -> dict[str, str]:
    """By the endpoint's name what is wrong with it; empty when it passed."""
    return {
        each["name"].removeprefix("endpoint: "): each["objects"][0]["problem"] if each["objects"] else ""
        for each in run["checks"]
        if each["name"].startswith("endpoint: ")
    }


def test_what_endpoints_answer(database: TestDatabase, server: Server) -> None:
    where = f"127.0.0.1:{server.server_port}"
    endpoints: list[tuple[dict[str, Any], str]] = [
        ({"url": "/healthy"}, ""),
        ({"url": "/healthy", "body": '"status": *"ok"'}, ""),
        ({"url": "/healthy", "body": "bad"}, f"{where}/healthy answered without the text that was expected, 1 time"),
        ({"url": "/moved"}, ""),
        ({"url": "/moved", "status": [302]}, ""),
        ({"url": "/broken", "status": [200, 500], "body": "ok"}, ""),
        ({"url": "/broken"}, f"{where}/broken answered HTTP 500 where 200 was expected, 1 time"),
        ({"url": "/recovers", "retries": 2}, ""),
        ({"url": "/circle"}, f"{where}/circle redirects without end (HTTP 302), 1 time"),
        ({"url": "/silent", "timeout": 0.5, "retries": 1}, f"{where}/silent did not answer within 0.5 s, 2 times"),
        ({"url": "/trickles", "timeout": 0.5}, f"{where}/trickles did not answer within 0.5 s, 1 time"),
        ({"url": "/endless", "body": "y"}, f"{where}/endless answered without the text that was expected, 1 time"),
    ]  # fmt: skip
    asked = [
        {**each, "name": str(number), "url": server.url(each["url"])} for number, (each, _said) in enumerate(endpoints)
    ]
    begun = time.monotonic()
    run = verify(database, *asked)
    assert time.monotonic() - begun < 20
    assert said(run) == {str(number): expected for number, (_endpoint, expected) in enumerate(endpoints)}
    assert run["verdict"] == "failed"
    assert "at try 3" in next(each["message"] for each in run["checks"] if each["name"] == "endpoint: 7")


def test_dead_endpoints_are_waited_for_together(database: TestDatabase, server: Server) -> None:
    dead = [{"name": str(n), "url": server.url("/silent"), "timeout": 1.0, "retries": 1} for n in range(10)]
    begun = time.monotonic()
    run = verify(database, *dead)
    assert time.monotonic() - begun < 10, "one after another they take 20 s"
    assert len(said(run)) == 10
    assert all(said(run).values())


#: What is looked for in 150 kB on one line, and what is said of it.
SEARCHES = [
    ("(a+)+b", "gave an answer that could not be searched within 2 s"),
    ("(a|a)*b", "gave an answer that could not be searched within 2 s"),
    ("aaaa", ""),
    ("a{100}", ""),
    # Beyond the limit.
    ("status ok", "answered without the text that was expected"),
]


def test_a_search_without_end_does_not_outlast_the_timeout(database: TestDatabase, server: Server) -> None:
    asked = [{"name": body, "url": server.url("/long"), "body": body, "timeout": 2.0} for body, _said in SEARCHES]
    begun = time.monotonic()
    run = verify(database, *asked)
    assert time.monotonic() - begun < 8
    where = f"127.0.0.1:{server.server_port}/long"
    assert said(run) == {body: expected and f"{where} {expected}, 1 time" for body, expected in SEARCHES}


def test_a_port_where_nobody_listens(database: TestDatabase) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        run = verify(database, {"name": "api", "url": f"http://127.0.0.1:{port}/"})
    assert said(run) == {"api": f"127.0.0.1:{port}/ cannot be reached (Connection refused), 1 time"}


def test_credentials_are_sent_and_never_shown(database: TestDatabase, server: Server) -> None:
    for path in ("/healthy", "/broken", "/circle"):
        url = server.url(f"{path}?token={SECRET}", f"user:{SECRET}@")
        assert SECRET not in verify(database, {"name": "api", "url": url}).output
    for url in (f"ftp://user:{SECRET}@host/", f"http://user:{SECRET}@host:port/", f"http://user:{SECRET}@[/"):
        run = verify(database, {"name": "api", "url": url})
        assert run["code"] == "endpoint_invalid"
        assert SECRET not in run.output
