"""How the strict AWS says no: codes and texts as AWS has them, each in the words of the protocol that asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Protocol = Literal["query", "json"]


class AwsError(Exception):
    """An answer that is an error. Without ``status`` the service's own model says which one belongs to ``code``."""

    def __init__(self, code: str, message: str, status: int | None = None, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status
        self.headers = dict(headers or {})


# What every service may answer: the same thing has another name and status in each protocol.
COMMON: Mapping[str, Mapping[Protocol, tuple[str, int]]] = {
    "no signature": {"query": ("MissingAuthenticationToken", 403), "json": ("MissingAuthenticationTokenException", 400)},
    "half a signature": {"query": ("IncompleteSignature", 400), "json": ("IncompleteSignatureException", 400)},
    "unknown key": {"query": ("InvalidClientTokenId", 403), "json": ("UnrecognizedClientException", 400)},
    "wrong signature": {"query": ("SignatureDoesNotMatch", 403), "json": ("InvalidSignatureException", 400)},
    "expired": {"query": ("ExpiredToken", 403), "json": ("ExpiredTokenException", 400)},
    "denied": {"query": ("AccessDenied", 403), "json": ("AccessDeniedException", 400)},
    "invalid": {"query": ("ValidationError", 400), "json": ("ValidationException", 400)},
    "unreadable": {"query": ("MalformedInput", 400), "json": ("SerializationException", 400)},
    "no such operation": {"query": ("InvalidAction", 400), "json": ("UnknownOperationException", 400)},
    "throttled": {"query": ("Throttling", 400), "json": ("ThrottlingException", 400)},
    "unavailable": {"query": ("ServiceUnavailable", 503), "json": ("ServiceUnavailableException", 503)},
    "broken": {"query": ("InternalFailure", 500), "json": ("InternalFailure", 500)},
}
INVALID_TOKEN = "The security token included in the request is invalid."  # noqa: S105 - a text of AWS's


def common(what: str, protocol: Protocol, message: str) -> AwsError:
    """The error that ``what`` is in this protocol."""
    code, status = COMMON[what][protocol]
    return AwsError(code, message, status)
