# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A server on loopback that speaks like Supabase's Management API, in the shapes that were recorded from it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

REF = "abcdefghijklmnopqrst"
TOKEN = "sbp_0123456789abcdef0123456789abcdef01234567"

#: As recorded of a project on the free plan.
HEADERS = {"content-type": "application/json; charset=utf-8", "x-ratelimit-limit": "120",
           "x-ratelimit-remaining": "119", "x-ratelimit-reset": "60"}  # fmt: skip
EMPTY: dict[str, Any] = {
    "region": "us-east-1",
    "pitr_enabled": False,
    "walg_enabled": True,
    "backups": [],
    "physical_backup_data": {},
}


@dataclass(frozen=True)
class Answer:
    """:ivar hang: never answer."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False

    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass
class SupabaseServer:
    """:ivar answers: what the next requests get; the last one is repeated.
    :ivar requests: path and Authorization of what was asked.
    """

    url: str
    answers: list[Answer] = field(default_factory=list)
    requests: list[tuple[str, str | None]] = field(default_factory=list)

    def answer(self, *answers: Answer) -> None:
        self.answers[:] = answers

    def lists(self, *backups: dict[str, Any], **others: Any) -> None:
        self.answer(Answer(body={**EMPTY, "backups": list(backups), **others}))


@contextmanager
def supabase_server() -> Iterator[SupabaseServer]:
    closing = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.requests.append((self.path, self.headers.get("Authorization")))
            answer = served.answers.pop(0) if len(served.answers) > 1 else served.answers[0]
            if answer.hang:
                closing.wait()
                return
            content = answer.content()
            self.send_response(answer.status)
            for name, value in {**HEADERS, "content-length": str(len(content)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing on the test's output."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = SupabaseServer(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield served
    finally:
        closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
