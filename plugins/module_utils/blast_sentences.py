# Copyright (c) 2026 The pgops.rollback authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What it means that something goes, in a sentence, and whether the connected role could make it again."""

from __future__ import annotations

from ansible_collections.pgops.rollback.plugins.module_utils.blast_closure import Described, Rights

#: How people say what a command of a policy does.
_COMMANDS = {"r": "read", "a": "insert", "w": "change", "d": "delete", "*": "read or write"}

_CONSTRAINTS = {
    "c": "Rows of {on} are no longer held to this check.",
    "f": "Rows of {on} are no longer checked against {references}.",
    "p": "Rows of {on} no longer have a primary key.",
    "u": "Rows of {on} are no longer kept unique by this key.",
    "x": "Rows of {on} are no longer held to this exclusion.",
}

#: What a sentence says of each kind; ``uses`` is what it depends on.
_SENTENCES = {
    "view": "It reads {uses}.",
    "materialized view": "It reads {uses}; what it has stored goes, too.",
    "rule": "Commands on {on} are no longer rewritten by it; it uses {uses}.",
    "trigger": "It no longer fires on {on}; it uses {uses}.",
    "default": "New rows of {on} get no value for it any more unless they bring one; it uses {uses}.",
    "index": "Queries on {on} lose it; it uses {uses}.",
    "statistics": "The planner knows less of {on}; it uses {uses}.",
    "publication table": "Subscribers of {publication} no longer receive the changes of {on}.",
    "table": "The table goes with all its rows; it depends on {uses}.",
    "foreign table": "The foreign table goes; it depends on {uses}.",
    "attribute": "The type loses this attribute, and every stored value of the type what is in it; it is typed with"
    " {uses}.",
    "sequence": "It belongs to {uses}.",
    "schema": "Nothing is left in it.",
}

#: Kinds that only a superuser makes.
_SUPERUSERS = (
    "operator class", "operator family", "event trigger", "language", "access method", "transform",
    "operator of access method", "function of access method",
)  # fmt: skip

#: Kinds that live in a schema, in which they have to be created again.
_IN_SCHEMA = (
    "view", "materialized view", "function", "procedure", "aggregate", "index", "statistics", "sequence", "type",
    "domain", "enum", "range", "operator",
)  # fmt: skip


def dropped_sentence(each: Described, uses: list[str], gone_policies: set[int]) -> str:
    """:param uses: labels of what it depends on.
    :param gone_policies: OIDs of all policies that go.
    """
    facts = {"on": each.on, "uses": ", ".join(uses) or "what goes", "publication": each.facts.get("publication")}
    if each.kind == "policy":
        return _policy(each, gone_policies)
    if each.kind == "constraint":
        sentence = _CONSTRAINTS[each.facts["type"]] if each.on_oid > 0 else "Values of {on} are no longer checked."
        return sentence.format(references=each.facts["references"], **facts)
    if each.kind == "column":
        if each.facts["generated"]:
            return "The generated column goes; it is computed with {uses}.".format(**facts)
        return "The column goes WITH ALL ITS DATA; it is typed with {uses}.".format(**facts)
    if each.kind in ("function", "procedure"):
        how = "Its body (BEGIN ATOMIC) or signature uses" if each.facts["atomic"] else "Its signature uses"
        return f"{how} {facts['uses']}."
    return _SENTENCES.get(each.kind, "It uses {uses}.").format(**facts)


def why_not_again(each: Described, rights: Rights) -> str:
    """Why this role cannot make it again as it was, without a full stop; empty if it can."""
    if each.kind in ("table", "foreign table"):
        return "its rows are no part of the plan, and would be lost"
    if each.kind == "attribute" or (each.kind == "column" and not each.facts["generated"]):
        return "the data in it would be lost"
    return "" if rights.superuser else _privilege_missing(each, rights)


def _privilege_missing(each: Described, rights: Rights) -> str:
    if each.kind in _SUPERUSERS or not each.owner_oid:
        return f"only a superuser can make {_a(each.kind)}"
    if each.owner_oid not in rights.usable:
        whose = each.facts.get("publication") or (each.on if each.on_oid else "")
        return f"{whose or 'it'} belongs to {rights.owner(each.owner_oid)}"
    owner = each.facts.get("table_owner")
    if owner and owner not in rights.usable:
        return f"{each.on} belongs to another role"
    schema = each.facts.get("schema") or each.schema
    if each.kind in _IN_SCHEMA and not rights.creates_in(schema):
        return f"{rights.role} may not create in the schema {schema}"
    return ""


def _policy(each: Described, gone: set[int]) -> str:
    facts = each.facts
    roles, verb = ", ".join(facts["roles"]), _COMMANDS[facts["command"]]
    if not facts["row_security"]:
        return f"Row level security is off for {each.on}, so nothing changes until it is turned on."
    if not facts["permissive"]:
        return f"A restrictive policy: without it {roles} can {verb} MORE rows of {each.on} than now."
    if set(facts["others"]) - gone:
        return f"A permissive policy: rows of {each.on} that only it lets {roles} {verb} are hidden from them."
    return f"The last permissive policy of its kind: {roles} can {verb} no row of {each.on} any more."


def _a(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
