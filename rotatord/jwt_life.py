"""How long a signed token (JWT) lasts, by its own words: read, not verified. Never a part of it in a message."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta

from rotatord.model import JsonMap
from rotatord.ports import Life


def life_of(place: str, token: str) -> Life:
    """Somebody else keeps such tokens fresh (the kubelet, a sidecar): one that nears its end was not replaced in time."""
    claims = claims_of(token)
    end = claims.get("exp")
    if not isinstance(end, int | float):
        return Life(place=place, unknown="it is no signed token that says when it ends")
    begun = claims.get("iat", claims.get("nbf"))
    lasts = timedelta(seconds=end - begun) if isinstance(begun, int | float) and begun < end else None
    return Life(place=place, ends_at=datetime.fromtimestamp(end, UTC), lasts=lasts, renewed=True)


def claims_of(token: str) -> JsonMap:
    """What a token says of itself, unverified; nothing where it is no JWT. Only who reviews it knows whether it is true."""
    try:
        _, middle, _ = token.strip().split(".")
        claims = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
    except (ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}
