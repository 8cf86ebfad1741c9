"""Policy documents: whether AWS would take one, and what a set of them decides."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rotatord.testing.aws.conditions import Context, UnknownOperator, check_operators, holds, like
from rotatord.testing.aws.errors import AwsError

Decision = Literal["allowed", "explicitDeny", "implicitDeny"]
_STATEMENT = {"Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition", "Principal", "NotPrincipal"}
_VERSIONS = ("2012-10-17", "2008-10-17")
_ACTION = re.compile(r"\*|[\w-]+:[\w*?-]+")


@dataclass(frozen=True)
class Document:
    """A policy that was taken: its name for messages, its statements."""

    name: str
    text: str
    statements: tuple[Mapping[str, Any], ...]


def size(text: str) -> int:
    """What AWS counts towards its quotas: the characters without white space."""
    return len(re.sub(r"\s", "", text))


def parsed(name: str, text: str, *, kind: Literal["identity", "trust"] = "identity") -> Document:
    """The document, or MalformedPolicyDocument as AWS says it."""
    try:
        value = json.loads(text)
    except ValueError:
        raise _malformed("The policy is not in the valid JSON format.") from None
    if not isinstance(value, dict) or value.keys() - {"Version", "Id", "Statement"}:
        raise _malformed("Syntax errors in policy.")
    if value.get("Version", "2008-10-17") not in _VERSIONS:
        raise _malformed("The policy must contain a valid version string")
    statements = _listed(value.get("Statement"))
    if not statements:
        raise _malformed("Syntax errors in policy.")
    for statement in statements:
        _check_statement(statement, kind)
    sids = [statement["Sid"] for statement in statements if "Sid" in statement]
    if len(set(sids)) != len(sids):
        raise _malformed("Statement IDs (SID) in a single policy must be unique.")
    return Document(name, text, tuple(statements))


def _check_statement(statement: Any, kind: str) -> None:
    if not isinstance(statement, dict) or statement.keys() - _STATEMENT or statement.get("Effect") not in ("Allow", "Deny"):
        raise _malformed("Syntax errors in policy.")
    if ("Action" in statement) == ("NotAction" in statement):
        raise _malformed("Policy statement must contain actions.")
    for action in _listed(statement.get("Action", statement.get("NotAction"))):
        if not isinstance(action, str) or not _ACTION.fullmatch(action):
            raise _malformed("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")
    if kind == "trust":
        if "Resource" in statement or "NotResource" in statement:
            raise _malformed("Has prohibited field Resource")
        if ("Principal" in statement) == ("NotPrincipal" in statement):
            raise _malformed("Missing required field Principal")
    else:
        _check_resources(statement)
    try:
        check_operators(statement.get("Condition", {}))
    except UnknownOperator as operator:
        raise _malformed(f"Invalid Condition type : {operator}") from None


def _check_resources(statement: Mapping[str, Any]) -> None:
    if "Principal" in statement or "NotPrincipal" in statement:
        raise _malformed("Policy document should not specify a principal.")
    if ("Resource" in statement) == ("NotResource" in statement):
        raise _malformed("Policy statement must contain resources.")
    for resource in _listed(statement.get("Resource", statement.get("NotResource"))):
        if resource != "*" and not (isinstance(resource, str) and resource.startswith("arn:") and resource.count(":") >= 5):
            raise _malformed(f'Resource {resource} must be in ARN format or "*".')


def _malformed(message: str) -> AwsError:
    return AwsError("MalformedPolicyDocument", message)


@dataclass(frozen=True)
class Question:
    """May ``action`` be done to ``resource``, in this context?"""

    action: str
    resource: str
    context: Context = field(default_factory=dict)


def decide(documents: Iterable[Document], question: Question) -> tuple[Decision, str]:
    """What the documents say together, and the name of the one that says it. Deny beats Allow, silence is a no."""
    allowed: str | None = None
    for document in documents:
        for statement in document.statements:
            if _speaks(statement, question):
                if statement["Effect"] == "Deny":
                    return "explicitDeny", document.name
                allowed = allowed or document.name
    return ("implicitDeny", "") if allowed is None else ("allowed", allowed)


def _speaks(statement: Mapping[str, Any], question: Question) -> bool:
    return (
        _named(statement, "Action", question.action.lower(), question, fold=True)
        and _named(statement, "Resource", question.resource, question, fold=False)
        and holds(_filled(statement.get("Condition", {}), question.context), question.context)
    )


def _named(statement: Mapping[str, Any], word: str, value: str, question: Question, *, fold: bool) -> bool:
    if word in statement:
        return _any_like(statement[word], value, question, fold=fold)
    if f"Not{word}" in statement:
        return not _any_like(statement[f"Not{word}"], value, question, fold=fold)
    return True  # a trust policy names no resource


def _any_like(patterns: Any, value: str, question: Question, *, fold: bool) -> bool:
    filled = (_filled(pattern, question.context) for pattern in _listed(patterns))
    return any(like(pattern.lower() if fold else pattern, value) for pattern in filled)


def _filled(value: Any, context: Context) -> Any:
    """Policy variables such as ``${aws:username}``, filled in; one without a value matches nothing."""
    if isinstance(value, str):
        return re.sub(r"\$\{([\w:/.@-]+)\}", lambda found: str(context.get(found[1], "\0")), value) if "${" in value else value
    if isinstance(value, dict):
        return {key: _filled(inner, context) for key, inner in value.items()}
    return [_filled(inner, context) for inner in value] if isinstance(value, list) else value


def trusted(document: Document, action: str, principals: Sequence[str], context: Context) -> Decision:
    """Whether a trust policy lets any of these principals (an ARN, its account's root) do ``action``."""
    verdict: Decision = "implicitDeny"
    for statement in document.statements:
        if _names_principal(statement, principals) and _speaks(statement, Question(action, "*", context)):
            if statement["Effect"] == "Deny":
                return "explicitDeny"
            verdict = "allowed"
    return verdict


def _names_principal(statement: Mapping[str, Any], principals: Sequence[str]) -> bool:
    named = statement.get("Principal", statement.get("NotPrincipal"))
    if named == "*":
        found = True
    else:
        ours = {one for kind in ("AWS", "Federated") for one in _listed(named.get(kind, []))}
        found = "*" in ours or bool(ours & set(principals))
    return found if "Principal" in statement else not found


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
