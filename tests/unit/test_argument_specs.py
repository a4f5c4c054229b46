# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a role documents (argument_specs.yml) and what it does (defaults/main.yml) are the same, value for value."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = sorted(path for path in (Path(__file__).parents[2] / "roles").iterdir() if path.is_dir())


def load(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8")) or {}


def shown(value: Any) -> str:
    """As JSON, which tells 1 from true and from "1"."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def documented_options(role: Path) -> dict[str, set[str]]:
    """Every option with the defaults that the entry points give it: none, one, or (wrong) several."""
    options: dict[str, set[str]] = {}
    for spec in load(role / "meta/argument_specs.yml")["argument_specs"].values():
        for name, option in (spec.get("options") or {}).items():
            defaults = options.setdefault(name, set())
            if "default" in option:
                defaults.add(shown(option["default"]))
    return options


def listed(values: set[str]) -> str:
    return " and ".join(sorted(values)) or "none"


def disagreements(role: Path) -> list[str]:
    """Every way in which the role's defaults and argument specs differ, one line each."""
    missing = [name for name in ("defaults/main.yml", "meta/argument_specs.yml") if not (role / name).exists()]
    if missing:
        return [f"{name} is missing" for name in missing]
    defaults = {name: {shown(value)} for name, value in load(role / "defaults/main.yml").items()}
    options = documented_options(role)
    found = []
    for name in sorted(options.keys() | defaults.keys()):
        if not name.startswith((f"{role.name}_", "rollback_")):
            found.append(f"{name} begins neither with {role.name}_ nor with rollback_")
        if name not in options:
            found.append(f"{name} is in defaults/main.yml and is no option")
        elif options[name] != defaults.get(name, set()):
            documented, real = listed(options[name]), listed(defaults.get(name, set()))
            found.append(f"{name}: default {documented} in argument_specs.yml, {real} in defaults/main.yml")
    return found


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_defaults_and_argument_specs_agree(role: Path) -> None:
    assert disagreements(role) == []


SPEC = {"sample_wait": {"type": "int", "default": 5}, "sample_path": {"type": "path"}}
SAME = {"sample_wait": 5}
ONE = {"sample_wait": {"type": "int", "default": 1}}


@pytest.mark.parametrize(
    ("defaults", "options", "complaint"),
    [
        (SAME, SPEC, None),
        ({"rollback_wait": []}, {"rollback_wait": {"type": "list", "default": []}}, None),
        ({"sample_wait": 6}, SPEC, "sample_wait: default 5 in argument_specs.yml, 6 in defaults/main.yml"),
        ({"sample_wait": "5"}, SPEC, 'sample_wait: default 5 in argument_specs.yml, "5" in defaults/main.yml'),
        ({"sample_wait": True}, ONE, "sample_wait: default 1 in argument_specs.yml, true in defaults/main.yml"),
        ({}, SPEC, "sample_wait: default 5 in argument_specs.yml, none in defaults/main.yml"),
        ({**SAME, "sample_path": 1}, SPEC, "sample_path: default none in argument_specs.yml, 1 in defaults/main.yml"),
        ({**SAME, "sample_more": 1}, SPEC, "sample_more is in defaults/main.yml and is no option"),
        ({"wait": 1}, {"wait": {"default": 1}}, "wait begins neither with sample_ nor with rollback_"),
    ],
)
def test_the_check_itself(
    tmp_path: Path, defaults: dict[str, Any], options: dict[str, Any], complaint: str | None
) -> None:
    role = make_role(tmp_path, defaults, {"main": {"options": options}})
    assert disagreements(role) == ([complaint] if complaint else [])


def test_entry_points_agree_with_each_other(tmp_path: Path) -> None:
    role = make_role(tmp_path, SAME, {"main": {"options": SPEC}, "other": {"options": ONE}})
    assert disagreements(role) == ["sample_wait: default 1 and 5 in argument_specs.yml, 5 in defaults/main.yml"]


def make_role(directory: Path, defaults: dict[str, Any], entry_points: dict[str, Any]) -> Path:
    role = directory / "sample"
    for name, content in (("defaults/main", defaults), ("meta/argument_specs", {"argument_specs": entry_points})):
        path = role / f"{name}.yml"
        path.parent.mkdir(parents=True)
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return role
