"""The token that rotatord itself uses at Cloudflare: whose it is, what it may do, from where, and until when.

It makes every other token, so it is the one to look after: pinned to addresses, with an end, and replaced like any other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from rotatord.cloudflare_catalogue import Catalogue
from rotatord.cloudflare_client import Calls, Cloudflare, Family, thing_of
from rotatord.cloudflare_errors import error_of
from rotatord.cloudflare_formats import Form
from rotatord.cloudflare_scope import LEVELS, condition_seen, time_of
from rotatord.errors import Denied, Invalid, NotFound, OutsideError, Retryable
from rotatord.model import JsonMap
from rotatord.ports import Life

PLACE = "token"  # in the settings
OWN_AGE = timedelta(minutes=1)
_REFUSED = frozenset({400, 401, 403})
_USER = f"{LEVELS['user']}."


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

    @property
    def user(self) -> str:
        """Whose it is, as far as its policies name a user; who makes a user's tokens has one that does."""
        keys = (key for policy in self.policies or () for key in policy.get("resources") or ())
        return next((key.removeprefix(_USER) for key in keys if key.startswith(_USER)), "")


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
            shown = thing_of(answer, f"GET {what}")
            calls.client.seen(candidate)
            return candidate, shown
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


class Ourselves:
    """What we are, looked at once for the rotations that begin together, and anew with every other value. Thread-safe."""

    def __init__(self, api: Cloudflare, family: Family, now: Callable[[], datetime]) -> None:
        self._api = api
        self._family = family
        self._now = now
        self._lock = threading.Lock()
        self._seen: tuple[Own, datetime, str] | None = None
        self.last: Own | None = None  # what was seen last, whether that is old or not

    def look(self, calls: Calls) -> Own:
        """Raises our errors."""
        mark, now = self._api.mark(), self._now()
        with self._lock:
            known = self._seen
        if known is not None and known[1] <= now < known[1] + OWN_AGE and known[2] == mark and known[0].status == "active":
            return known[0]
        seen = look(calls, self._family)
        with self._lock:
            self._seen, self.last = (seen, now, mark), seen
        return seen

    def forget(self) -> None:
        """Look again next time."""
        with self._lock:
            self._seen = None


def differs(fresh: Own, former: Own | None, family: Family) -> list[str]:
    """Why a fresh token of ours cannot follow the former one although it may do everything, in sentences."""
    if family.account is not None or former is None or "" in (former.user, fresh.user) or former.user == fresh.user:
        return []
    what = f"the new token ({fresh.id}) is of user {fresh.user}, and the present one of user {former.user}"
    return [f"{what}: the tokens that rotatord made with the present one could be neither found nor ended with it"]


def check_user(own: Own, user: str) -> None:
    """Raises Denied where our token is another user's: that user's tokens are others, and all that we made would look gone."""
    if own.user not in ("", user):
        raise Denied(
            f"rotatord's own token at Cloudflare ({own.id}) is of user {own.user}, and the setting user says {user}: put a "
            "token of that user's where the setting token leads, or configure the other user as an issuer of its own"
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
