"""Tokens at Cloudflare as things that are made, found, switched off and ended; their values pass through and are not kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rotatord.cloudflare_client import Calls, Family
from rotatord.cloudflare_errors import NOT_UNDERSTOOD
from rotatord.cloudflare_labels import label_of, read_back
from rotatord.cloudflare_scope import condition_seen, condition_unknown, flat, same_networks, time_of
from rotatord.errors import Invalid, NotFound, Retryable
from rotatord.model import JsonMap
from rotatord.ports import LiveRef

ACTIVE, DISABLED, EXPIRED = "active", "disabled", "expired"
REVOKED = "revoked"  # by Cloudflare, which was told that it is in public: still shown, and dead for ever


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of one family, within one call of the plugin."""

    calls: Calls
    family: Family

    def made(self, body: JsonMap) -> tuple[JsonMap, str]:
        """A new token, and its value, which is never told again. Raises Retryable also where the answer cannot be read: then
        there may be one."""
        token = self.calls.thing("POST", self.family.base, body=body)
        value = token.pop("value", None)
        if not isinstance(value, str) or not value:
            raise Retryable(
                f"Cloudflare made a token and did not tell its value; it will be found by its name: {NOT_UNDERSTOOD}"
            )
        return token, value

    def all(self) -> list[JsonMap]:
        return [token for token in self.calls.pages(self.family.base) if token.get("status") != REVOKED]

    def one(self, id: str) -> JsonMap:
        """What Cloudflare knows of a token. Raises NotFound."""
        token = self.calls.get(self._path(id))
        if token["id"] == id and token.get("status") == REVOKED:
            raise NotFound(f"Cloudflare has revoked token {id}: it was seen in public")
        if token["id"] != id or token.get("status") not in {ACTIVE, DISABLED, EXPIRED}:
            raise Retryable(f"Cloudflare's answer to GET {self._path(id)} is about something else: {NOT_UNDERSTOOD}")
        return token

    def count(self) -> int:
        return self.calls.total(self.family.base)

    def set_status(self, id: str, status: str) -> None:
        """Switch it off or on and change nothing else. Cloudflare replaces the whole token by what is sent, so all of it is,
        also what we do not know."""
        token = self.one(id)
        if token["status"] == EXPIRED or token["status"] == status == DISABLED:
            return  # that it is on may be old news: what was to be switched on would stay off, so that is sent all the same
        body = _body_of(token, status)
        after = self.calls.thing("PUT", self._path(id), body=body)
        if not _same(token, after) or after.get("status") not in {status, EXPIRED}:
            raise Invalid(
                f"Cloudflare keeps token {id} otherwise than it was sent: look at its permissions, addresses and dates"
            )

    def end(self, id: str) -> None:
        """For ever; what is gone is ended."""
        try:
            self.calls.ask("DELETE", self._path(id))
        except NotFound:
            return

    def _path(self, id: str) -> str:
        return f"{self.family.base}/{id}"


def _body_of(token: Mapping[str, Any], status: str) -> JsonMap:
    """All that a token is, as it is sent to replace it."""
    if not token.get("name") or not token.get("policies"):
        raise Retryable(f"Cloudflare shows token {token['id']} without its name or policies: {NOT_UNDERSTOOD}")
    addresses, unknown = condition_seen(token), condition_unknown(token)
    if not addresses and len(token.get("condition") or ()) > len(unknown):
        raise Invalid(
            f"token {token['id']} has a condition without addresses, which lets nobody in and cannot be sent again: delete it"
        )
    body: JsonMap = {"name": token["name"], "policies": [_policy(policy) for policy in token["policies"]], "status": status}
    if addresses or unknown:
        body["condition"] = {**({"request_ip": addresses} if addresses else {}), **unknown}
    return body | {key: token[key] for key in ("expires_on", "not_before") if token.get(key)}


def _policy(policy: Mapping[str, Any]) -> JsonMap:
    """One policy without its id, which Cloudflare makes."""
    groups = [
        {"id": group["id"], **({"meta": group["meta"]} if group.get("meta") else {})} for group in policy["permission_groups"]
    ]
    return {**{key: value for key, value in policy.items() if key != "id"}, "permission_groups": groups}


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two tokens may do the same from the same addresses at the same times."""
    if flat(one.get("policies") or []) != flat(other.get("policies") or []):
        return False
    if any(time_of(one.get(key)) != time_of(other.get(key)) for key in ("expires_on", "not_before")):
        return False
    if condition_unknown(one) != condition_unknown(other):
        return False
    mine, theirs = condition_seen(one), condition_seen(other)
    return all(same_networks(mine.get(key, ()), theirs.get(key, ())) for key in ("in", "not_in"))


def live(token: Mapping[str, Any], family: Family, met: Mapping[str, str]) -> LiveRef:
    """A token as the engine knows it. ``met``: names by their digests."""
    label = label_of(str(token.get("name", "")))
    return LiveRef(
        ref=family.ref(str(token["id"])),
        installation=read_back(label.installation, met) if label else "",
        credential=read_back(label.credential, met) if label else "",
        rotation=label.rotation if label else "",
        generation=label.generation if label else 0,
        created_at=time_of(token.get("issued_on")),
        expires_at=time_of(token.get("expires_on")),
        suspended=token.get("status") == DISABLED,
    )


def surplus(tokens: Sequence[Mapping[str, Any]], installation: str) -> int:
    """How many of the tokens are an installation's second ones: of overlaps, which end."""
    labels = [label for token in tokens if (label := label_of(str(token.get("name", ""))))]
    mine = [label.credential for label in labels if label.of(installation, label.credential, None)]
    return len(mine) - len(set(mine))


def unused(tokens: Sequence[Mapping[str, Any]], before: datetime) -> int:
    """How many were not used since."""
    used = (time_of(token.get("last_used_on")) or time_of(token.get("issued_on")) for token in tokens)
    return sum(1 for moment in used if moment is not None and moment < before)
