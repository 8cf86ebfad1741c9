"""Conditions of policy statements: the operators that policies for credentials use; an unknown one never matches an Allow."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

Context = Mapping[str, str | Sequence[str]]


class UnknownOperator(Exception):
    """A condition that this evaluation does not know: the document is refused instead of guessed at."""


def like(pattern: str, value: str) -> bool:
    """``*`` and ``?`` as IAM has them; nothing else is special."""
    return re.fullmatch(_expression(pattern), value, re.DOTALL) is not None


def _expression(pattern: str) -> str:
    return "".join({"*": ".*", "?": "."}.get(letter, re.escape(letter)) for letter in pattern)


def holds(conditions: Mapping[str, Mapping[str, str | list[str]]], context: Context) -> bool:
    """Whether all conditions of a statement hold in the context of a request."""
    lower = {name.lower(): value for name, value in context.items()}
    return all(
        _holds(operator, [str(one) for one in _listed(wanted)], lower.get(key.lower()))
        for operator, keys in conditions.items()
        for key, wanted in keys.items()
    )


def check_operators(conditions: Mapping[str, object]) -> None:
    """Raise for an operator that :func:`holds` would not know."""
    for operator in conditions:
        name = _bare(operator)
        if name not in _POSITIVE and name not in _NEGATIVE and name != "Null":
            raise UnknownOperator(operator)


def _bare(operator: str) -> str:
    return operator.rpartition(":")[2].removesuffix("IfExists")


def _holds(operator: str, wanted: Sequence[str], found: str | Sequence[str] | None) -> bool:
    name, quantifier = _bare(operator), operator.partition(":")[0] if ":" in operator else ""
    if name == "Null":
        return (found is None) == (wanted[0].lower() == "true")
    if found is None:
        return operator.endswith("IfExists") or quantifier == "ForAllValues" or (name in _NEGATIVE and not quantifier)
    values = _listed(found)
    test, negative = (_POSITIVE[name], False) if name in _POSITIVE else (_NEGATIVE[name], True)
    matches = [any(test(one, value) for one in wanted) != negative for value in values]
    return any(matches) if quantifier == "ForAnyValue" or not quantifier else all(matches)


def _listed(value: object) -> list[str]:
    return [value] if isinstance(value, str) else [str(one) for one in value] if isinstance(value, Sequence) else [str(value)]


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _in_network(wanted: str, value: str) -> bool:
    return ipaddress.ip_address(value) in ipaddress.ip_network(wanted, strict=False)


def _arn_like(wanted: str, value: str) -> bool:
    pattern, parts = wanted.split(":", 5), value.split(":", 5)
    return len(pattern) == len(parts) and all(like(one, other) for one, other in zip(pattern, parts, strict=True))


Test = Callable[[str, str], bool]  # what the policy wants, what the request has
_POSITIVE: Mapping[str, Test] = {
    "StringEquals": str.__eq__,
    "StringEqualsIgnoreCase": lambda wanted, value: wanted.lower() == value.lower(),
    "StringLike": like,
    "ArnEquals": _arn_like,
    "ArnLike": _arn_like,
    "Bool": lambda wanted, value: wanted.lower() == value.lower(),
    "NumericEquals": lambda wanted, value: float(value) == float(wanted),
    "NumericLessThan": lambda wanted, value: float(value) < float(wanted),
    "NumericLessThanEquals": lambda wanted, value: float(value) <= float(wanted),
    "NumericGreaterThan": lambda wanted, value: float(value) > float(wanted),
    "NumericGreaterThanEquals": lambda wanted, value: float(value) >= float(wanted),
    "DateLessThan": lambda wanted, value: _moment(value) < _moment(wanted),
    "DateLessThanEquals": lambda wanted, value: _moment(value) <= _moment(wanted),
    "DateGreaterThan": lambda wanted, value: _moment(value) > _moment(wanted),
    "DateGreaterThanEquals": lambda wanted, value: _moment(value) >= _moment(wanted),
    "IpAddress": _in_network,
}
_NEGATIVE: Mapping[str, Test] = {
    "StringNotEquals": str.__eq__,
    "StringNotEqualsIgnoreCase": lambda wanted, value: wanted.lower() == value.lower(),
    "StringNotLike": like,
    "ArnNotEquals": _arn_like,
    "ArnNotLike": _arn_like,
    "NumericNotEquals": lambda wanted, value: float(value) == float(wanted),
    "NotIpAddress": _in_network,
}
