"""What rotatord's own token at Cloudflare needs: no more than a scope asks for. Pure."""

from __future__ import annotations

from rotatord.cloudflare_client import Family
from rotatord.cloudflare_scope import grants_of, permission
from rotatord.model import JsonMap
from rotatord.rights import CloudflareRight

_HEX = frozenset("0123456789abcdef")


def rights_of(family: Family, scope: JsonMap, *, survey: bool = False) -> list[CloudflareRight]:
    """To make, find and end tokens; to look up what is named; and what an account's token must hold to hand it on."""
    place = "user" if family.account is None else f"account/{family.account}"
    minting = "User.API Tokens:Edit" if family.account is None else "Account.Account API Tokens:Edit"
    found = [CloudflareRight(minting, place, why="to make, find, switch off and end tokens")]
    if survey and family.account is not None:
        found.append(CloudflareRight("Account.Account Settings:Read", place, why="to tell who else may act there"))
    for grant in grants_of(scope) if scope else ():
        for resource in grant.resources:
            found += _to_look_up(resource, place)
            if family.account is not None and resource.startswith("zone/") and resource != "zone/*" and grant.effect == "allow":
                found += [
                    CloudflareRight(word, resource, why="to hand on: of a single zone only what one holds oneself")
                    for word in grant.permissions
                    if permission(word).level in {"", "zone"}
                ]
    return list(dict.fromkeys(found))


def _to_look_up(resource: str, place: str) -> list[CloudflareRight]:
    kind, _, name = resource.partition("/")
    if kind == "user":
        return [CloudflareRight("User.User Details:Read", "user", why="to find the user's id")]
    named = name.removesuffix("/zone/*")
    if not named or named == "*" or (len(named) == 32 and set(named) <= _HEX):
        return []
    if kind == "worker":
        return [CloudflareRight("Account.Workers Scripts:Read", place, why="to find the Worker's tag")]
    if kind == "zone":
        return [CloudflareRight("Zone.Zone:Read", resource, why="to find the zone's id")]
    if kind == "account":
        return [CloudflareRight("Account.Account Settings:Read", f"account/{named}", why="to find the account's id")]
    return []
