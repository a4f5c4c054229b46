# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write the runbook's tables of codes from the code that raises them, or say that they are stale (--check)."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/ROLLBACK_PROCEDURES.md"
UTILS = ROOT / "plugins/module_utils"
START, END = "<!-- CODES {} START (make docs) -->", "<!-- CODES {} END -->"

#: More ways to say the same than this are not shown.
_MOST = 3

#: A message and its remedy.
Said = tuple[str, str]

#: What teardown_quarantine.refused() says, whose code its callers give.
REFUSED = "Remove what it names, or let its owner decide (an event trigger can refuse, too); nothing was done."


def codes() -> tuple[dict[str, list[Said]], set[str]]:
    """What each code says, with … for what is only known when it happens; and those of blockers."""
    found: dict[str, list[Said]] = {}
    blockers = set()
    for path in sorted((ROOT / "plugins").rglob("*.py")):
        for name, code, message, remedy in raised(ast.parse(path.read_text(encoding="utf-8"))):
            said = found.setdefault(code, [])
            if (message, remedy) not in said:
                said.append((message, remedy))
            if name == "Blocker":
                blockers.add(code)
    return dict(sorted(found.items())), blockers


def refusals() -> set[str]:
    """The codes that report.py calls refusals."""
    for node in ast.walk(ast.parse((UTILS / "report.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "REFUSALS":
            return {str(each) for each in ast.literal_eval(node.value.args[0])}  # type: ignore[attr-defined]
    raise LookupError("report.py has no REFUSALS")


def raised(tree: ast.Module) -> Iterator[tuple[str, str, str, str]]:
    """Each error and blocker that is made there: what it is, its code, its message, its remedy."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            continue
        match node.func.id, [text(argument) for argument in node.args[:3]]:
            case "RollbackError" | "Blocker" as name, [code, message, remedy] if code.isidentifier():
                yield name, code, message, remedy
            case "refused" as name, [_cursor, code, doing]:  # a context manager that raises it
                yield name, code, f"The server refused to {doing}: ….", REFUSED
            case "require_unblocked" as name, [_plan, code]:
                yield name, code, "The plan is blocked (…): …", "… Nothing was done."


def text(node: ast.expr) -> str:
    """A literal as it reads."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(text(part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return text(node.value)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return text(node.left) + text(node.right)
    if isinstance(node, ast.IfExp):
        return f"{text(node.body)} / {text(node.orelse)}" if text(node.orelse) else text(node.body)
    return "…"


def table(found: dict[str, list[Said]]) -> str:
    rows = ["| code | what happened | what to do |", "|---|---|---|"]
    for code, said in found.items():
        columns = ["<br>".join(dict.fromkeys(cell(each[place]) for each in said[:_MOST])) for place in (0, 1)]
        rows.append(f'| <a id="{code}"></a>`{code}` | {columns[0]} | {columns[1]} |')
    return "\n".join(rows)


def cell(sentence: str) -> str:
    return sentence.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*").strip()


def page(old: str) -> str:
    """With its tables as they ought to be.

    :raises ValueError: where a marker is missing.
    """
    found, blockers = codes()
    stops = refusals() | blockers
    parts = {
        "REFUSALS": {code: said for code, said in found.items() if code in stops},
        "ERRORS": {code: said for code, said in found.items() if code not in stops},
    }
    for name, part in parts.items():
        start, end = START.format(name), END.format(name)
        head, rest = old.split(start)
        old = f"{head}{start}\n{table(part)}\n{end}{rest.split(end)[1]}"
    return old


def main(check: bool) -> int:
    old = PAGE.read_text(encoding="utf-8")
    new = page(old)
    if check and new != old:
        print(f"{PAGE} is stale; `make docs` writes it.", file=sys.stderr)
        return 1
    if new != old:
        PAGE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
