"""What an API server's refusals mean, in our errors and in words for whoever has to mend it. Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from rotatord.errors import Conflict, Denied, Invalid, NotFound, OutsideError, Retryable
from rotatord.kubernetes_transport import Answer

_SECRET_KEYS = frozenset({"data", "stringData", "token"})
_TRANSIENT = frozenset({408, 410, 425, 429})


class Asked(Protocol):
    """What a refusal has to know of the request."""

    @property
    def verb(self) -> str: ...
    @property
    def resource(self) -> str: ...
    @property
    def namespace(self) -> str: ...
    @property
    def name(self) -> str: ...


def refusal(answer: Answer, call: Asked, body: Any = None, address: str = "") -> OutsideError:
    """The error that an answer stands for."""
    why = _without_values(answer.why, body)
    message = f"cannot {call}" + (f": {why}" if why else f" (HTTP {answer.status})")
    if answer.status == 401:
        return Denied(f"cannot {call}: the API server at {address} does not know our token or certificate (any more)")
    if answer.status in _TRANSIENT or answer.status >= 500 or answer.status < 400:
        return Retryable(message, retry_after=answer.retry_after)
    if not answer.is_status:
        return Retryable(f"cannot {call}: something that is no API server answered {answer.status}; is the address right?")
    if answer.status == 403:
        return _forbidden(call, why)
    if answer.status == 404:
        return _missing(answer, call, message)
    if answer.status == 409:
        return Conflict(message)
    return Invalid(message)


def _forbidden(call: Asked, why: str) -> OutsideError:
    if "exceeded quota" in why:
        return Invalid(f"cannot {call}: {why}")
    if " cannot " not in why:  # not a rule that is missing, but one that forbids: admission, a namespace that is ending
        return Denied(f"cannot {call}: {why}")
    return Denied(f"cannot {call}: our identity lacks the rule {rule(call)}. The API server says: {why}")


def rule(call: Asked) -> str:
    """The rule of a Role that allows a request, as it is written in YAML."""
    group = getattr(getattr(call, "kind", None), "group", "")
    names = (
        f", resourceNames: [{call.name}]" if call.name and (call.verb not in ("create", "list") or "/" in call.resource) else ""
    )
    return f'{{apiGroups: ["{group}"], resources: [{call.resource}], verbs: [{call.verb}]{names}}}'


def _missing(answer: Answer, call: Asked, message: str) -> OutsideError:
    if answer.details.get("kind") == "namespaces":
        return NotFound(f"cannot {call}: there is no namespace {call.namespace}")
    if not answer.details.get("name"):
        return Invalid(f"cannot {call}: this API server does not know such objects")
    return NotFound(message)


def _without_values(text: str, body: Any) -> str:
    """API servers and admission webhooks may quote what they refuse; values never leave here."""
    for value in sorted(_values(body, secret=False), key=len, reverse=True):
        text = text.replace(value, "***")
    return text[:500]


def _values(node: object, *, secret: bool) -> Iterator[str]:
    if isinstance(node, str) and secret and len(node) > 3:
        yield node
        yield base64.b64encode(node.encode()).decode()
        try:
            clear = base64.b64decode(node, validate=True).decode()
        except (binascii.Error, ValueError):
            return
        if len(clear) > 3:
            yield clear
    elif isinstance(node, Mapping):
        for key, value in node.items():
            yield from _values(value, secret=secret or key in _SECRET_KEYS)
    elif isinstance(node, list):
        for value in node:
            yield from _values(value, secret=secret)
