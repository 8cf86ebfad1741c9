"""Tokens, of the user and of accounts: the same endpoints twice."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from rotatord.testing.cloudflare import rights
from rotatord.testing.cloudflare.answers import VALID, Json, Noted, moment
from rotatord.testing.cloudflare.asking import Ask, Operation
from rotatord.testing.cloudflare.catalogue import ACCOUNT, BUCKET, USER, WORKER, ZONE
from rotatord.testing.cloudflare.estate import Grant, Owner, Token
from rotatord.testing.cloudflare.policies import (
    EVERY_ACCOUNT,
    EVERY_BUCKET,
    EVERY_ZONE,
    Policy,
    bad,
    check_groups,
    kind_of,
    only,
    read_condition,
    read_policies,
    show_condition,
    show_policy,
    unsupported,
)
from rotatord.testing.cloudflare.refusals import refused
from rotatord.testing.cloudflare.rights import Target

_ASKED = {"name", "policies", "condition", "not_before", "expires_on"}
# sent back by those who change what they got
_ECHOED = {"id", "status", "issued_on", "modified_on", "last_used_on", "creator_email_at_creation"}
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)")
_LONGEST_NAME = 120
_RECENTLY = timedelta(days=30)  # so long expired tokens are listed, if asked for


def owner_of(ask: Ask, *, write: bool) -> Owner:
    """Whose tokens the path means, if the caller may see or change them."""
    verbs = ("Write",) if write else ("Read", "Write")
    if "account" in ask.params:
        account = ask.account()
        ask.need([f"Account API Tokens {verb}" for verb in verbs], rights.of_account(account))
        return Owner("account", account.id)
    if not ask.caller.is_user:
        raise refused("not a user")
    ask.need([f"API Tokens {verb}" for verb in verbs], rights.of_user(ask.estate.user.id))
    return Owner("user", ask.estate.user.id)


def create(ask: Ask) -> Json:
    owner = owner_of(ask, write=True)
    body = only(ask.body(), _ASKED, "the token")
    grant = _read(ask, owner, body, None)
    most = ask.estate.caps[owner.kind]
    if ask.estate.count(owner) >= most:
        raise refused("quota", most=most)
    token = ask.estate.add_token(owner, grant, creator=ask.estate.user.email if owner.kind == "account" else None)
    ask.book.change("minted", token, ask.caller.name)
    return {**show(ask, token, grant), "value": token.value}


def list_all(ask: Ask) -> Any:
    owner = owner_of(ask, write=False)
    direction = ask.query.get("direction", "desc")
    if direction not in ("asc", "desc"):
        raise refused("bad page", name="direction")
    now = ask.now
    found = [pair for pair in ask.estate.listed(owner, ask.edge) if _listed(ask, pair[1], now)]
    if direction == "desc":
        found.reverse()
    return ask.paged(found).of(lambda pair: show(ask, *pair))


def _listed(ask: Ask, grant: Grant, now: datetime) -> bool:
    if grant.shown_status(now) in ("active", "disabled"):
        return True
    ended = grant.modified_on if grant.status == "revoked" else grant.expires_on
    return ask.switch("include_expired") and ended is not None and now < ended + _RECENTLY


def get(ask: Ask) -> Json:
    owner = owner_of(ask, write=False)
    token = _found(ask, owner)
    grant = token.shown.seen(ask.edge, ask.now)
    if grant is None:
        raise refused("no such token", "not listed here yet" if token.grant else "deleted")
    return show(ask, token, grant)


def update(ask: Ask) -> Json:
    """A full replacement: what is left out is gone, a status included."""
    owner = owner_of(ask, write=True)
    token = _standing(ask, owner)
    assert token.grant is not None
    body = only(ask.body(), _ASKED | _ECHOED, "the token")
    if token.grant.status == "revoked":
        raise bad("a revoked token cannot be changed")
    before, grant = token.grant, _read(ask, owner, body, token.grant)
    ask.estate.change(token, grant)
    what = "changed"
    if before.status != grant.status:
        what = "disabled" if grant.status == "disabled" else "enabled"
    ask.book.change(what, token, ask.caller.name)
    return show(ask, token, grant)


def delete(ask: Ask) -> Json:
    token = _standing(ask, owner_of(ask, write=True))
    ask.estate.delete(token)
    ask.book.change("deleted", token, ask.caller.name)
    return {"id": token.id}


def roll(ask: Ask) -> str:
    token = _standing(ask, owner_of(ask, write=True))
    if ask.body() not in ({}, None):
        raise bad("the body must be an empty object")
    value = ask.estate.roll(token)
    ask.book.change("rolled", token, ask.caller.name)
    return value.text


def verify(ask: Ask) -> Any:
    """With the token itself, which needs no permission. The gateway has looked at it."""
    token, grant = ask.caller.token, ask.caller.grant
    assert token is not None
    assert grant is not None
    mine = token.owner == Owner("account", ask.params["account"]) if "account" in ask.params else token.owner.kind == "user"
    if not mine:
        raise refused("invalid token, verify", "the other kind's endpoint")
    status = grant.shown_status(ask.now)
    result: Json = {"id": token.id, "status": status}
    if grant.not_before is not None:
        result["not_before"] = moment(grant.not_before)
    if grant.expires_on is not None:
        result["expires_on"] = moment(grant.expires_on)
    return Noted(result, [VALID] if status == "active" else [])


def permission_groups(ask: Ask) -> list[Json]:
    """All at once, whatever page is asked for. An account's tokens know no groups of users."""
    owner = owner_of(ask, write=False)
    name, scope = ask.query.get("name"), ask.query.get("scope")
    return [
        {"id": group.id, "name": group.name, "scopes": [group.scope], "category": group.category, "is_selectable": True}
        for group in ask.estate.groups.values()
        if name in (None, group.name) and scope in (None, group.scope) and (owner.kind == "user" or group.scope != USER)
    ]


def _found(ask: Ask, owner: Owner) -> Token:
    token = ask.estate.tokens.get(ask.params["token"])
    if token is None or token.owner != owner:
        raise refused("no such token")
    return token


def _standing(ask: Ask, owner: Owner) -> Token:
    """Changes go by the truth, whatever an edge shows."""
    token = _found(ask, owner)
    if token.grant is None:
        raise refused("no such token", "deleted")
    return token


def show(ask: Ask, token: Token, grant: Grant) -> Json:
    """As lists and gets have it: everything but the value."""
    policies = sorted(grant.policies, key=lambda policy: policy.id)  # not in the order in which they came
    shown: Json = {
        "id": token.id,
        "name": grant.name,
        "status": grant.shown_status(ask.now),
        "issued_on": moment(token.issued_on),
        "modified_on": moment(grant.modified_on),
        "policies": [show_policy(policy, ask.estate.groups) for policy in policies],
    }
    if (used := _last_used(ask, token)) is not None:
        shown["last_used_on"] = moment(used)
    if grant.not_before is not None:
        shown["not_before"] = moment(grant.not_before)
    if grant.expires_on is not None:
        shown["expires_on"] = moment(grant.expires_on)
    if grant.condition is not None:
        shown["condition"] = show_condition(grant.condition, ask.estate.habits)
    if token.creator is not None:
        shown["creator_email_at_creation"] = token.creator
    return shown


def _last_used(ask: Ask, token: Token) -> datetime | None:
    last = next((use.at for use in reversed(token.uses) if use.showing <= ask.now), None)
    if last is None:
        return None
    grain = ask.estate.spread.lags.last_used_grain or 1.0
    return datetime.fromtimestamp(last.timestamp() // grain * grain, UTC)


def _read(ask: Ask, owner: Owner, body: Json, before: Grant | None) -> Grant:
    """What a body asks for, refused where it makes no sense."""
    name = body.get("name")
    if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_NAME:
        raise bad(f"name must have 1 to {_LONGEST_NAME} characters")
    status = body.get("status", "active")
    if status not in ("active", "disabled"):
        raise bad("status must be active or disabled")
    held = None if before is None else {policy.id: policy for policy in before.policies}
    asked = read_policies(body.get("policies"), ask.estate.groups, held)
    policies = tuple(replace(policy, id=kept or ask.estate.new_id()) for kept, policy in asked)
    _check_resources(ask, owner, policies)
    check_groups(policies, ask.estate.groups)
    condition = read_condition(body.get("condition"), ask.estate.habits)
    if before is not None and "condition" not in body and ask.estate.habits.omitted_condition == "keeps":
        condition = before.condition
    if condition is not None and condition.locked:
        ask.book.warn(f"the condition of {name} names no address: the token is let in from nowhere")
    begins, ends = _moment(body, "not_before"), _moment(body, "expires_on")
    same = before is not None and before.expires_on == ends
    if ends is not None and not same and (ends <= ask.now or (begins is not None and ends <= begins)):
        raise bad("expires_on must be in the future, and after not_before")
    return Grant(name, policies, condition, begins, ends, ask.now.replace(microsecond=0), status)


def _moment(body: Json, name: str) -> datetime | None:
    said = body.get(name)
    if said is None:
        return None
    if not isinstance(said, str) or not _MOMENT.fullmatch(said):
        raise bad(f"{name} must look like 2018-07-01T05:20:00Z")
    return datetime.fromisoformat(said).astimezone(UTC).replace(microsecond=0)


def _check_resources(ask: Ask, owner: Owner, policies: Sequence[Policy]) -> None:
    for policy in policies:
        for resource, held in policy.resources.items():
            kind_of(resource, held)
            inner = [resource] if isinstance(held, str) else [resource, *held]
            for one in inner:
                _check_resource(ask, owner, policy, one, nested=not isinstance(held, str))


def _check_resource(ask: Ask, owner: Owner, policy: Policy, resource: str, *, nested: bool) -> None:
    """Resources that there are, and that the token's owner can have."""
    estate, mine = ask.estate, owner.kind == "user"
    if resource == EVERY_BUCKET:
        raise refused("no permission", "buckets are named one by one")
    if resource in (EVERY_ACCOUNT, EVERY_ZONE):
        if not mine and not (nested and resource == EVERY_ZONE):
            raise refused("not nested")
        return
    scope = next(scope for scope in (ZONE, ACCOUNT, USER, BUCKET, WORKER) if resource.startswith(f"{scope}."))
    tag = resource.removeprefix(f"{scope}.")
    if scope == USER:
        known = mine and tag == estate.user.id
    elif scope == WORKER:
        if mine or tag == "*":
            raise unsupported()
        known = any(script["tag"] == tag for script in estate.accounts[owner.id].scripts.values())
    elif scope == BUCKET:
        account = estate.accounts.get(tag.split("_", 1)[0])
        known = account is not None and _has(owner, ask, account.id) and tuple(tag.split("_", 2)[1:]) in account.buckets
    elif scope == ZONE:
        zone = estate.zones.get(tag)
        known = zone is not None and _has(owner, ask, zone.account.id)
        if zone is not None and known:
            _check_creator(ask, policy, rights.of_zone(zone))
    else:
        known = tag in estate.accounts and _has(owner, ask, tag)
    if not known:
        raise refused("not in common", f"{resource} is not the owner's", group=estate.groups[policy.groups[0]].name)


def _has(owner: Owner, ask: Ask, account: str) -> bool:
    if owner.kind == "account":
        return owner.id == account
    return any(member.user_id == owner.id for member in ask.estate.accounts[account].members.values())


def _check_creator(ask: Ask, policy: Policy, target: Target) -> None:
    if not ask.estate.habits.creator_holds_zones or ask.caller.is_user:
        return
    for group in (ask.estate.groups[tag] for tag in policy.groups):
        if not ask.caller.may([group.name], target):
            raise refused("not in common", "the creator does not hold it", group=group.name)


def _family(name: str, base: str) -> tuple[Operation, ...]:
    one = base + "/{token}"
    return (
        Operation(f"{name}.list", "GET", base, list_all),
        Operation(f"{name}.create", "POST", base, create),
        Operation(f"{name}.get", "GET", one, get),
        Operation(f"{name}.update", "PUT", one, update),
        Operation(f"{name}.delete", "DELETE", one, delete),
        Operation(f"{name}.roll", "PUT", f"{one}/value", roll),
        Operation(f"{name}.verify", "GET", f"{base}/verify", verify, "verify"),
        Operation(f"{name}.permission_groups", "GET", f"{base}/permission_groups", permission_groups),
    )


OPERATIONS = (*_family("user.tokens", "/user/tokens"), *_family("accounts.tokens", "/accounts/{account}/tokens"))
