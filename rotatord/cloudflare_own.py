"""The token that rotatord itself uses at Cloudflare: whose it is, what it may do, from where, and until when.

It makes every other token, so it is the one to look after: pinned to addresses, with an end, and replaced like any other.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rotatord.cloudflare_catalogue import Catalogue
from rotatord.cloudflare_client import Calls, Cloudflare, Family, thing_of
from rotatord.cloudflare_errors import error_of
from rotatord.cloudflare_formats import Form
from rotatord.cloudflare_scope import condition_seen, time_of
from rotatord.errors import Denied, Invalid, NotFound, OutsideError, Retryable
from rotatord.model import JsonMap
from rotatord.ports import Life

PLACE = "token"  # in the settings
_REFUSED = frozenset({400, 401, 403})


@dataclass(frozen=True, slots=True)
class Own:
    """What can be seen of it. ``policies``: None where it may not look at itself."""

    family: Family
    id: str
    status: str
    expires_at: datetime | None
    issued_at: datetime | None = None
    pinned: bool | None = None
    policies: tuple[Mapping[str, Any], ...] | None = None


class Spared:
    """The token that we use ourselves, which is never switched off or ended: nobody here could switch it on again. Which it is
    stays the same for as long as its value does. Thread-safe."""

    def __init__(self, api: Cloudflare, family: Family) -> None:
        self._api = api
        self._family = family
        self._lock = threading.Lock()
        self._known = ("", "")  # the mark of our value, and the token's id

    def check(self, calls: Calls, id: str) -> None:
        """Raises Retryable where that token is ours."""
        mark = self._api.mark()
        with self._lock:
            known = self._known
        if known[0] != mark:
            known = mark, str(_verified(calls, self._family)[1]["id"])
            if self._api.mark() == mark:
                with self._lock:
                    self._known = known
        if known[1] == id:
            raise Retryable(
                f"token {id} is the one that rotatord itself uses at Cloudflare, and would lock itself out: put another one "
                "where the setting token leads, then this one can end"
            )


def _verified(calls: Calls, family: Family) -> tuple[Family, JsonMap]:
    """A user's token may manage an account's tokens, so both places are asked. Raises our errors: the first refusal, and
    trouble on the way as it is."""
    refused: OutsideError | None = None
    for candidate in dict.fromkeys((family, Family())):
        what = f"{candidate.base}/verify"
        answer = calls.send("GET", what)
        if answer.status not in _REFUSED:
            return candidate, thing_of(answer, f"GET {what}")
        refused = refused or error_of(answer, f"GET {what}")
    assert refused is not None
    raise refused


def look(calls: Calls, family: Family) -> Own:
    """Who we are. Raises our errors."""
    whose, shown = _verified(calls, family)
    found = Own(whose, shown["id"], str(shown.get("status", "")), time_of(shown.get("expires_on")))
    try:
        token = calls.get(f"{whose.base}/{found.id}")
    except (Denied, NotFound, Invalid):
        return found
    return Own(
        whose,
        found.id,
        found.status,
        found.expires_at,
        time_of(token.get("issued_on")),
        bool(condition_seen(token)),
        tuple(token.get("policies") or ()),
    )


def lacking(own: Own, family: Family, catalogue: Catalogue, calls: Calls) -> list[str]:
    """Why it cannot make tokens of a family, in sentences; as far as it may look at itself."""
    if own.status != "active":
        return [f"rotatord's own token at Cloudflare ({own.id}) is {own.status}: put a new one where the setting token leads"]
    if own.policies is None:
        return []
    minting = {group.id for group in catalogue.groups(calls).values() if group.name == family.minting}
    held = [
        group for policy in own.policies if policy.get("effect") == "allow" for group in policy.get("permission_groups") or ()
    ]
    if any(group.get("id") in minting or group.get("name") == family.minting for group in held):
        return []
    return [f"rotatord's own token at Cloudflare ({own.id}) needs the permission {family.minting} for {family}"]


def life(own: Own, form: Form) -> Life:
    """How long it lasts, and what is unwise about it, for whoever watches over that."""
    lasts = own.expires_at - own.issued_at if own.expires_at and own.issued_at else None
    everywhere = "it may be used from any address: whoever finds it can make tokens (pin it to the daemon's)"
    dangers = (everywhere if own.pinned is False else "", form.warning)
    return Life(place=PLACE, ends_at=own.expires_at, lasts=lasts, danger="; ".join(filter(None, dangers)))
