"""Signature version 4, verified for real: the request is signed again with the secret that the key has, and compared."""

from __future__ import annotations

import hashlib
import hmac
import re
import urllib.parse
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from rotatord.testing.aws.errors import Protocol, common
from rotatord.testing.wires import Wire

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>\w+)/(?P<day>\d{8})/(?P<region>[\w-]+)/(?P<service>[\w-]+)/aws4_request, ?"
    r"SignedHeaders=(?P<headers>[\w;-]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)
_LATE = timedelta(minutes=15)
_EARLY = timedelta(minutes=5)
_STAMP = "%Y%m%dT%H%M%SZ"
MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and "
    "signing method. Consult the service documentation for details."
)


@dataclass(frozen=True)
class Signature:
    """What a request says of its signer."""

    key: str
    day: str
    region: str
    service: str
    signed: tuple[str, ...]
    value: str
    stamp: str
    token: str | None  # of a session


def scope(wire: Wire) -> tuple[str, str] | None:
    """The service and region that a request was signed for; None if it is not signed."""
    found = _AUTHORIZATION.fullmatch(wire.headers.get("authorization", ""))
    return (found["service"], found["region"]) if found else None


def key_id(wire: Wire) -> str:
    """The key that a request names; empty if it is not signed."""
    found = _AUTHORIZATION.fullmatch(wire.headers.get("authorization", ""))
    return found["key"] if found else ""


def read(wire: Wire, protocol: Protocol) -> Signature:
    """The signature of a request, whole."""
    header = wire.headers.get("authorization")
    if header is None:
        raise common("no signature", protocol, "Request is missing Authentication Token")
    found = _AUTHORIZATION.fullmatch(header)
    if found is None:
        raise common("half a signature", protocol, "Authorization header is not of the form that Signature Version 4 has.")
    signed = tuple(found["headers"].split(";"))
    stamp = wire.headers.get("x-amz-date", "")
    missing = [name for name in ("host", "x-amz-date") if name not in signed or name not in wire.headers]
    if missing or not re.fullmatch(r"\d{8}T\d{6}Z", stamp):
        raise common("half a signature", protocol, f"Authorization header requires existence of {missing or 'X-Amz-Date'}.")
    token = wire.headers.get("x-amz-security-token")
    return Signature(
        found["key"], found["day"], found["region"], found["service"], signed, found["signature"], stamp, token or None
    )


def verify(wire: Wire, signature: Signature, secret: str, now: datetime, protocol: Protocol) -> None:
    """Refuse a signature that is too old, too early, or made with another secret or over another request."""
    made = datetime.strptime(signature.stamp, _STAMP).replace(tzinfo=UTC)
    if made < now - _LATE:
        bound, present = (now - _LATE).strftime(_STAMP), now.strftime(_STAMP)
        said = f"Signature expired: {signature.stamp} is now earlier than {bound} ({present} - 15 min.)"
        raise common("wrong signature", protocol, said)
    if made > now + _EARLY:
        bound, present = (now + _EARLY).strftime(_STAMP), now.strftime(_STAMP)
        said = f"Signature not yet current: {signature.stamp} is still later than {bound} ({present} + 5 min.)"
        raise common("wrong signature", protocol, said)
    if signature.stamp[:8] != signature.day:
        raise common(
            "wrong signature", protocol, "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date"
        )
    if not hmac.compare_digest(_signed(wire, signature, secret), signature.value):
        raise common("wrong signature", protocol, MISMATCH)


def _signed(wire: Wire, signature: Signature, secret: str) -> str:
    key = f"AWS4{secret}".encode()
    for part in (signature.day, signature.region, signature.service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    where = f"{signature.day}/{signature.region}/{signature.service}/aws4_request"
    digest = hashlib.sha256(_canonical(wire, signature.signed).encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{signature.stamp}\n{where}\n{digest}"
    return hmac.new(key, text.encode(), "sha256").hexdigest()


def _canonical(wire: Wire, signed: tuple[str, ...]) -> str:
    path, _, query = wire.path.partition("?")
    pairs = sorted(urllib.parse.parse_qsl(query, keep_blank_values=True))
    arguments = "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in pairs)
    headers = "".join(f"{name}:{' '.join(wire.headers.get(name, '').split())}\n" for name in signed)
    body = hashlib.sha256(wire.body).hexdigest()
    return "\n".join((wire.method, path or "/", arguments, headers, ";".join(signed), body))


def _quoted(text: str) -> str:
    return urllib.parse.quote(text, safe="-_.~")
