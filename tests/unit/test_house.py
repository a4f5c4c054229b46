# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules of the house that no linter knows. Every check is a function, and is seen to fail on a bad example."""

from __future__ import annotations

import ast
import re
import subprocess
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
MODULES = sorted((REPOSITORY / "plugins/modules").glob("*.py"))
PYTHON = MODULES + sorted((REPOSITORY / "plugins/module_utils").glob("*.py"))
LINKS = REPOSITORY / "collections/ansible_collections/pgops/rollback"
MAX_LINES = 400

#: What would tie a checkout to the place it was written in.
PLACES = {
    "registry": r"(?:pypi|pythonhosted|npmjs)[.](?:org|com)|galaxy[.]ansible[.]com|\b(?:docker|quay|ghcr)[.]io/"
    r"|--(?:extra-)?index[-]url|--find[-]links",
    "machine path": r"(?<![\w.~}$/])/(?:root|work|home/\w+|Users/\w+)/",
}


def tracked(repository: Path, *patterns: str) -> list[Path]:
    """The files that git tracks (links are not followed)."""
    command = ["git", "-C", str(repository), "ls-files", "-z", "--", *patterns]
    names = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0")
    return [repository / name for name in names if name and (repository / name).is_file()]


def documentation(module: ast.Module) -> dict[str, ast.Constant]:
    """The strings that ansible-doc reads, by name."""
    return {
        statement.targets[0].id: statement.value
        for statement in module.body
        if isinstance(statement, ast.Assign)
        and isinstance(statement.targets[0], ast.Name)
        and statement.targets[0].id in {"DOCUMENTATION", "EXAMPLES", "RETURN"}
        and isinstance(statement.value, ast.Constant)
    }


def lines_of_code(path: Path) -> int:
    """Lines of the file, without what ansible-doc reads: documentation may be as long as it has to be."""
    source = path.read_text(encoding="utf-8")
    texts = documentation(ast.parse(source)).values()
    return len(source.splitlines()) - sum((text.end_lineno or 0) - text.lineno + 1 for text in texts)


def places(path: Path) -> list[str]:
    """Every line that names a registry or a path of one machine."""
    text = path.read_text(encoding="utf-8", errors="replace")
    return [
        f"line {number}: {kind}: {line.strip()}"
        for number, line in enumerate(text.splitlines(), 1)
        for kind, pattern in PLACES.items()
        if re.search(pattern, line)
    ]


def broken_links(page: Path) -> list[str]:
    """Links of a Markdown page to files, or to headings, that are not there."""
    found = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        name, anchor = f"{link}#".split("#")[:2]
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            found.append(link)
    return found


def prose(page: Path) -> str:
    """The page without its code, where brackets and # mean something else."""
    return re.sub(r"^```.*?^```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The anchors of a page: its own, and those that GitHub and GitLab make of its headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ +(.*?) *$", text, flags=re.MULTILINE)
    made = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return made | set(re.findall(r'<a id="([^"]+)">', text))


#: A module that connects, or takes the options for it.
_CONNECTS = r"run_database_module\(|\*\*CONNECTION_ARGUMENTS"


def connection_faults(modules: list[Path], group: list[str]) -> list[str]:
    """Modules that connect without the fragment or the action group, and members of the group that do not connect."""
    found = []
    connecting = [path for path in modules if re.search(_CONNECTS, path.read_text(encoding="utf-8"))]
    for path in connecting:
        text = documentation(ast.parse(path.read_text(encoding="utf-8")))["DOCUMENTATION"].value
        fragments: Any = yaml.safe_load(str(text)).get("extends_documentation_fragment", [])
        if "pgops.rollback.connection" not in fragments:
            found.append(f"{path.stem} does not extend pgops.rollback.connection")
        if path.stem not in group:
            found.append(f"{path.stem} is not in the action group")
    found += [f"{name} is in the action group only" for name in group if name not in {path.stem for path in connecting}]
    return found


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: path.name)
def test_a_file_stays_readable(path: Path) -> None:
    assert lines_of_code(path) <= MAX_LINES


def test_the_connection_is_documented_and_handed_over_once() -> None:
    runtime = yaml.safe_load((REPOSITORY / "meta/runtime.yml").read_text(encoding="utf-8"))
    assert connection_faults(MODULES, runtime["action_groups"]["database"]) == []


def test_no_file_is_tied_to_one_place() -> None:
    assert {str(path): found for path in tracked(REPOSITORY) if (found := places(path))} == {}


@pytest.mark.parametrize("name", ["meta", "playbooks", "plugins", "roles"])
def test_the_checkout_is_its_own_collection(name: str) -> None:
    link = LINKS / name
    assert str(link.readlink()) == f"../../../../{name}"
    assert link.resolve() == REPOSITORY / name


def test_the_links_are_all_there_is() -> None:
    assert {path.name for path in LINKS.iterdir()} == {"meta", "playbooks", "plugins", "roles"}


def test_links_of_the_documentation_resolve() -> None:
    assert {str(page): found for page in tracked(REPOSITORY, "*.md") if (found := broken_links(page))} == {}


# The checks themselves.


def test_documentation_does_not_count_as_code(tmp_path: Path) -> None:
    path = tmp_path / "sample.py"
    path.write_text('DOCUMENTATION = r"""\n' + "text\n" * 500 + '"""\n' + "x = 1\n" * 401, encoding="utf-8")
    assert lines_of_code(path) == MAX_LINES + 1


@pytest.mark.parametrize(
    "line",
    [
        "image: quay" + ".io/org/image",
        "see https://pypi" + ".org/simple",
        "pip install --index" + "-url=x",
        "cd /work" + "/main",
        "path: /home" + "/me/x",
        '"/root' + '/x"',
    ],
)
def test_places_are_found(tmp_path: Path, line: str) -> None:
    path = tmp_path / "sample.txt"
    path.write_text(f"one\n{line}\n", encoding="utf-8")
    assert len(places(path)) == 1


def test_broken_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# A title: with `code`\n", encoding="utf-8")
    page = tmp_path / "page.md"
    page.write_text(
        '# Here\n<a id="own"></a>[o](#own) '
        "[a](other.md) [b](other.md#a-title-with-code) [c](#here) [d](https://example.com/x)\n"
        "`[e](not-a-link)`\n"
        "[f](gone.md) [g](other.md#gone) [h](#gone)\n```\n[i](not-a-link)\n```\n",
        encoding="utf-8",
    )
    assert broken_links(page) == ["gone.md", "other.md#gone", "#gone"]


def test_connection_faults_are_found(tmp_path: Path) -> None:
    path = tmp_path / "sample_info.py"
    path.write_text('DOCUMENTATION = "module: sample_info"\nrun_database_module({}, run)\n', encoding="utf-8")
    assert connection_faults([path], ["gone"]) == [
        "sample_info does not extend pgops.rollback.connection",
        "sample_info is not in the action group",
        "gone is in the action group only",
    ]


@pytest.mark.parametrize("kind", ["modules", "doc_fragments", "filter", "lookup"])
def test_documentation_can_be_parsed(kind: str) -> None:
    """Of fragments, too, without which a module has none."""
    found = 0
    for path in sorted((REPOSITORY / "plugins" / kind).glob("[!_]*.py")):
        plugin = import_module(f"ansible_collections.pgops.rollback.plugins.{kind}.{path.stem}")
        documented = vars(plugin.ModuleDocFragment if kind == "doc_fragments" else plugin)
        for text in (text for name, text in documented.items() if name.isupper() and isinstance(text, str)):
            found += isinstance(yaml.safe_load(text), dict | list)
    assert found > 1
