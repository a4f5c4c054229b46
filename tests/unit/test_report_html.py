# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""report.html: one file that needs nothing else, says what report.md says, and cannot be made to run anything."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from ansible_collections.pgops.rollback.plugins.module_utils.report import Run, build_report
from ansible_collections.pgops.rollback.plugins.module_utils.report_html import html

RUN = Run("run-1", "db1", "sre", "2026-01-01T00:00:00Z", "2026-01-01T00:00:02Z", check_mode=False)

VOID = {"meta"}

#: What fetches or runs something.
ACTIVE = {"script", "iframe", "object", "embed", "img", "link", "form", "input", "base", "svg", "a", "video", "audio"}


class Page(HTMLParser):
    """The page as a browser reads it.

    :ivar text: what is seen, by element, in order.
    :ivar attributes: every attribute's name.
    """

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.labels: list[str] = []
        self.seen: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _value in attrs]
        self.labels += [str(value) for name, value in attrs if name == "data-label"]
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip() and self._open[-1] != "style":
            self.seen.append((self._open[-1], data))

    @property
    def text(self) -> str:
        return " ".join(" ".join(data for _tag, data in self.seen).split())

    def of(self, tag: str) -> list[str]:
        return [data for found, data in self.seen if found == tag]


def rung(name: str, status: str, message: str, **details: Any) -> dict[str, Any]:
    return {"name": name, "status": status, "changed": False, "message": message,
            "details": {"proved": "", "not_proved": "", "seconds": 1.0, "checks": [], **details}}  # fmt: skip


def sample(text: str = "plain") -> dict[str, Any]:
    """A report with something everywhere, and this text in every place that somebody else may have written."""
    checks = [
        {"name": "toc", "status": "passed", "message": "Whole.", "seconds": 0.1},
        {"name": f"sha256 {text}", "status": "failed", "message": f"Differs {text}.", "seconds": 0.1},
    ]
    history = [{"run_id": text, "finished": "2026-01-01T03:00:00Z", "verdict": "ok", "backup_id": f"id {text}",
                "backup_finished": None, "age_seconds": 3600, "size_bytes": 1536, "drill_seconds": 75.0}]  # fmt: skip
    sequence = {"name": f"s {text}", "state": "behind", "action": "reset", "message": f"m {text}",
                "before": {"next_value": 1}, "after": {"next_value": 51}, "extreme": 50, "undo": f"SELECT '{text}';",
                "warnings": [f"w {text}"]}  # fmt: skip
    return build_report(
        Run(RUN.run_id, f"db1 {text}", f"sre {text}", RUN.started, RUN.finished, check_mode=False),
        {
            "preflight": {"summary": f"c {text}", "database": f"app {text}", "version": "15.18"},
            "backup": {
                "steps": [
                    rung("exists", "ok", f"e {text}", proved=f"A backup is there {text}", not_proved=f"whether {text}"),
                    rung("integrity", "failed", f"i {text}", checks=checks),
                    rung("drill", "skipped", "Not reached."),
                ],
                "history": history,
            },
            "sequence": {"changed": True, "summary": "Done.", "counts": {"behind": 1}, "sequences": [sequence]},
        },
    )


def test_it_says_what_there_is_to_say_and_the_verdict_first() -> None:
    page = Page(html(sample()))
    assert page.of("title") == ["db1 plain: FAILED"]
    assert page.of("h1") + page.of("span")[:1] == [" db1 plain", "FAILED"]
    for words in (
        "Next: There is no proven backup to roll back to.",
        "database app plain, Postgres 15.18, host db1 plain",
        "Proved: A backup is there plain. Not proved: whether plain.",
        "Proved: nothing.",
        "sha256 plain failed Differs plain. toc passed Whole.",
        "2026-01-01 03:00 ok id plain 1 h 1.5 KiB 1 min",
        "s plain behind 1 → 51 50",
        "s plain: w plain",
        "How to put the state before back SELECT 'plain';",
    ):
        assert words in page.text
    assert page.text.index("Next:") < page.text.index("Proved:")


def test_nothing_is_fetched_and_nothing_runs() -> None:
    source = html(sample())
    page = Page(source)
    assert not ACTIVE & set(page.tags)
    assert not re.search(r"https?:|url\(|@import|javascript:", source)
    assert "default-src &#x27;none&#x27;" in source
    assert {name for name in page.attributes if name.startswith("on")} == set()


@pytest.mark.parametrize(
    "text",
    ["<script>alert(1)</script>", '"><img src=x onerror=y>', "</style></pre></td>", "&lt;b&gt; & 'q' \"q\"", "]]> -->"],
)
def test_no_name_can_forge_the_page(text: str) -> None:
    evil, harmless = Page(html(sample(text))), Page(html(sample()))
    assert evil.tags == harmless.tags
    assert evil.attributes == harmless.attributes
    # It is shown as it is, everywhere.
    assert [data.replace(text, "plain") for _tag, data in evil.seen] == [data for _tag, data in harmless.seen]


def test_control_and_direction_characters_are_not_written() -> None:
    source = html(sample("a\x00\x1b[2J\u202e\ud800\x85b"))
    assert not set(source) & set("\x00\x1b\u202e\ud800\x85")
    source.encode("utf-8")


def test_every_value_has_its_heading_beside_it_on_a_phone() -> None:
    source = html(sample())
    page = Page(source)
    assert page.tags.count("td") == len(page.labels) > 0
    assert 'name="viewport"' in source
    for rule in ("prefers-color-scheme: dark", "@media print", "content: attr(data-label)"):
        assert rule in source


def luminance(colour: str) -> float:
    digits = colour if len(colour) == 6 else "".join(2 * digit for digit in colour)
    parts = [int(digits[place:place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_every_text_has_contrast_in_light_dark_and_print() -> None:
    themes = re.findall(r":root \{([^}]*)\}", html(sample()))
    assert len(themes) == 3
    for theme in themes:
        colours = {name: luminance(value) for name, value in re.findall(r"--(\w+): #(\w+)", theme)}
        assert colours.keys() == {"text", "back", "line", "soft", "dim", "good", "warn", "bad", "open"}
        for name in ("text", "dim", "good", "warn", "bad", "open"):
            for ground in ("back", "soft"):
                bright, dark = sorted((colours[name], colours[ground]), reverse=True)
                assert (bright + 0.05) / (dark + 0.05) >= 4.5, (theme, name, ground)
