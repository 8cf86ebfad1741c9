"""Signed messages after the Standard Webhooks convention: what we send is signed by it, and receivers can verify it here.

The headers are ``webhook-id``, ``webhook-timestamp`` (seconds) and ``webhook-signature``: one ``v1,<base64>`` per signing
secret, separated by spaces, so that a secret can be replaced while receivers know the old one or the new one.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime

TOLERANCE_SECONDS = 300
_PREFIX = "whsec_"


class NotAuthentic(ValueError):
    """The message is not signed with a secret that we know, or not lately. Says which, without any value."""


def check_secret(secret: str) -> bytes:
    """The key inside ``whsec_<base64>``: 24 to 64 bytes. Raises ValueError that does not show it."""
    try:
        key = base64.b64decode(secret.strip().removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not 24 <= len(key) <= 64:
        raise ValueError("a signing secret is whsec_ followed by the base64 of 24 to 64 bytes") from None
    return key


def sign(id: str, at: datetime, body: bytes, secrets: Sequence[str]) -> dict[str, str]:
    """The three headers of a message, signed with every secret given. Raises ValueError for none or a malformed one."""
    if not secrets:
        raise ValueError("a message needs at least one signing secret")
    seconds = int(at.timestamp())
    signatures = " ".join(_signature(id, str(seconds), body, check_secret(secret)) for secret in secrets)
    return {"webhook-id": id, "webhook-timestamp": str(seconds), "webhook-signature": signatures}


def verify(
    headers: Mapping[str, str],
    body: bytes,
    secrets: Sequence[str],
    now: datetime,
    *,
    tolerance_seconds: float = TOLERANCE_SECONDS,
) -> str:
    """The id of an authentic message, by which receivers tell a repetition. Raises NotAuthentic for any other.

    ``headers`` in any case; ``body`` exactly as received.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    try:
        name, stamp, given = lower["webhook-id"], lower["webhook-timestamp"], lower["webhook-signature"]
    except KeyError as missing:
        raise NotAuthentic(f"header {missing.args[0]} is missing") from None
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12):
        raise NotAuthentic("webhook-timestamp is not a number of seconds")
    if abs(now.timestamp() - int(stamp)) > tolerance_seconds:
        raise NotAuthentic("webhook-timestamp is too far from now")
    expected = [_signature(name, stamp, body, check_secret(secret)).encode() for secret in secrets]
    # Every pair is compared, so that the time taken does not tell which one was right.
    equal = [hmac.compare_digest(one.encode(), other) for one in given.split(" ") for other in expected]
    if not any(equal):
        raise NotAuthentic("no signature fits")
    return name


def _signature(id: str, stamp: str, body: bytes, key: bytes) -> str:
    mac = hmac.new(key, f"{id}.{stamp}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(mac).decode()
