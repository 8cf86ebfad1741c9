"""The forms in which rights are granted: Roles of Kubernetes, policies of Vault and AWS, scopes of Cloudflare. Pure text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import cast

from rotatord.model import JsonMap
from rotatord.permissions import Grants, Identity, Rule

_WIDTH = 120
_SID_LENGTH = 64
IAM_MANAGED_CHARACTERS = 6144  # AWS counts a managed policy without its blanks


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """Who is bound to the Roles."""

    namespace: str
    name: str


# --- Kubernetes ----------------------------------------------------------------------------------------------------


def rbac(grants: Grants, account: ServiceAccount | None = None) -> Iterator[str]:
    """The lines of one Role for each namespace (a ClusterRole for what lies in none), each bound where an account is given.

    Roles bear the account's name and namespace: two installations may need rights in the same places.
    """
    parts = (account.namespace, account.name) if account else ("rotatord",)
    name = "-".join(dict.fromkeys(parts))
    by_namespace: dict[str, list[Rule]] = {}
    for rule in grants.rules():
        by_namespace.setdefault(str(rule.place[0]), []).append(rule)
    for number, (namespace, rules) in enumerate(sorted(by_namespace.items())):
        if number:
            yield "---"
        yield from _role("ClusterRole" if not namespace else "Role", name, namespace)
        yield "rules:"
        for rule in rules:
            yield from _rule(rule)
        if account:
            yield "---"
            yield from _binding(account, name, namespace)


def _role(kind: str, name: str, namespace: str) -> Iterator[str]:
    yield "apiVersion: rbac.authorization.k8s.io/v1"
    yield f"kind: {kind}"
    yield "metadata:"
    yield f"  name: {_yaml(name)}"
    if namespace:
        yield f"  namespace: {_yaml(namespace)}"


def _rule(rule: Rule) -> Iterator[str]:
    _, group, resource = rule.place
    for reason in rule.why:
        yield f"  # {_one_line(reason)}"
    yield f"  - apiGroups: [{_yaml(str(group))}]"
    yield f"    resources: [{_yaml(str(resource))}]"
    if rule.targets:
        yield from _listed("    resourceNames:", [_yaml(target) for target in rule.targets])
    yield f"    verbs: [{', '.join(_yaml(verb) for verb in rule.verbs)}]"


def _binding(account: ServiceAccount, name: str, namespace: str) -> Iterator[str]:
    cluster = "" if namespace else "Cluster"
    yield from _role(f"{cluster}RoleBinding", name, namespace)
    yield f"roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: {cluster}Role, name: {_yaml(name)}}}"
    yield "subjects:"
    yield f"  - {{kind: ServiceAccount, namespace: {_yaml(account.namespace)}, name: {_yaml(account.name)}}}"


def _listed(key: str, items: list[str]) -> Iterator[str]:
    """A list on one line where it fits there, else one item a line."""
    line = f"{key} [{', '.join(items)}]"
    if len(line) <= _WIDTH:
        yield line
        return
    yield key
    for item in items:
        yield f"{' ' * (len(key) - len(key.lstrip()) + 2)}- {item}"


def _yaml(text: str) -> str:
    """JSON's quoted strings are YAML's too; plain names need no quotes, but words that YAML takes for something else do."""
    plain = re.fullmatch(r"[a-z][a-z0-9./-]*", text) and text not in {
        "null",
        "true",
        "false",
        "yes",
        "no",
        "on",
        "off",
        "y",
        "n",
    }
    return text if plain else json.dumps(text)


# --- Vault ---------------------------------------------------------------------------------------------------------


def hcl(grants: Grants) -> Iterator[str]:
    """The lines of one policy: paths under the reason that they are needed for."""
    for why, rules in groupby(grants.rules(), key=lambda rule: rule.why):
        for reason in why:
            yield f"# {_one_line(reason)}"
        lines = [(json.dumps(path), rule.verbs) for rule in rules for path in rule.targets]
        width = max(len(path) for path, _ in lines)
        for path, capabilities in lines:
            yield f"path {path.ljust(width)} {{ capabilities = {json.dumps(list(capabilities))} }}"


# --- AWS -----------------------------------------------------------------------------------------------------------


def iam(grants: Grants) -> Iterator[str]:
    """The lines of one policy document."""
    yield from json.dumps(iam_document(grants), indent=2).splitlines()


def iam_document(grants: Grants) -> JsonMap:
    """One policy document; reasons become statement ids, since JSON has no comments."""
    statements: list[JsonMap] = []
    taken: dict[str, int] = {}
    for rule in grants.rules():
        statement: JsonMap = {"Sid": _sid(rule, taken), "Effect": "Allow", "Action": list(rule.verbs)}
        statement["Resource"] = list(rule.targets)
        for operator, key, value in _conditions(rule):
            values = statement.setdefault("Condition", {}).setdefault(operator, {}).setdefault(key, [])
            values.append(value)
        statements.append({key: value for key, value in statement.items() if value != ""})
    return {"Version": "2012-10-17", "Statement": statements}


def _conditions(rule: Rule) -> tuple[tuple[str, str, str], ...]:
    return cast(tuple[tuple[str, str, str], ...], rule.place)


def _sid(rule: Rule, taken: dict[str, int]) -> str:
    """The reasons as one word, cut between two of theirs; AWS takes letters and digits, and each id once."""
    sid = ""
    for word in re.findall(r"[A-Za-z0-9]+", " and ".join(rule.why)):
        if len(sid) + len(word) > _SID_LENGTH - 4:
            break
        sid += word[0].upper() + word[1:]
    taken[sid] = taken.get(sid, 0) + 1
    return sid if not sid or taken[sid] == 1 else f"{sid}{taken[sid]}"


# --- Cloudflare ----------------------------------------------------------------------------------------------------


def scope(grants: Grants) -> Iterator[str]:
    """The lines of the scope that a token has to have, as a credential of ours would say it."""
    yield "allow:"
    for rule in grants.rules():
        for reason in rule.why:
            yield f"  # {_one_line(reason)}"
        yield f"  - permissions: [{', '.join(json.dumps(verb) for verb in rule.verbs)}]"
        yield f"    resources: [{', '.join(json.dumps(target) for target in rule.targets)}]"


# --- together ------------------------------------------------------------------------------------------------------

FORMS: dict[str, Callable[[Grants], Iterator[str]]] = {"kubernetes": rbac, "vault": hcl, "aws": iam, "cloudflare": scope}


def heading(identity: Identity, grants: Grants) -> str:
    """Whose policy it is."""
    where = "".join(f", {key} {value}" for key, value in identity.shown)
    return _one_line(f"at {identity.system}{where}: for {', '.join(grants.users)}")


def cautions(identity: Identity, grants: Grants) -> Iterator[str]:
    """What a person should know before granting it."""
    if identity.system == "vault":
        for rule in grants.rules():
            for path in rule.targets:
                if path.endswith("*") or "+" in path.split("/"):
                    yield f"Vault reads {path} as a pattern, so that the policy allows more than this one path"
    if identity.system == "aws":
        size = len(json.dumps(iam_document(grants), separators=(",", ":")))
        if size > IAM_MANAGED_CHARACTERS:
            yield f"the policy has {size} characters, and AWS takes {IAM_MANAGED_CHARACTERS} in one: make several of it"


def rows(identity: Identity, grants: Grants) -> list[JsonMap]:
    """The rules as values, for programs."""
    if identity.system == "kubernetes":
        keys = ("namespace", "group", "resource")
        return [
            {**dict(zip(keys, rule.place, strict=True)), "names": [*rule.targets], "verbs": [*rule.verbs], "why": [*rule.why]}
            for rule in grants.rules()
        ]
    names = {
        "vault": ("paths", "capabilities"),
        "aws": ("resources", "actions"),
        "cloudflare": ("resources", "permissions"),
    }[identity.system]
    found: list[JsonMap] = []
    for rule in grants.rules():
        row: JsonMap = {names[0]: [*rule.targets], names[1]: [*rule.verbs], "why": [*rule.why]}
        if identity.system == "aws":
            row["conditions"] = [list(condition) for condition in _conditions(rule)]
        found.append(row)
    return found


def _one_line(text: str) -> str:
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())
