"""What a token may do, and from where: policies and conditions as they are asked for, held and shown."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rotatord.testing.cloudflare.answers import Json
from rotatord.testing.cloudflare.catalogue import ACCOUNT, BUCKET, USER, WORKER, ZONE, Group
from rotatord.testing.cloudflare.habits import Habits
from rotatord.testing.cloudflare.refusals import Refused, refused

Resources = Mapping[str, "str | Mapping[str, str]"]
EVERY_ZONE = f"{ZONE}.*"
EVERY_ACCOUNT = f"{ACCOUNT}.*"
EVERY_BUCKET = f"{BUCKET}.*"
# Where groups of a scope may stand. Zones' groups may stand on an account, and grant nothing there.
_FITS = {ZONE: {ZONE, ACCOUNT, "nested"}, ACCOUNT: {ACCOUNT}, USER: {USER}, BUCKET: {BUCKET}, WORKER: {"workers"}}


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy of a token."""

    id: str
    effect: Literal["allow", "deny"]
    groups: tuple[str, ...]  # ids
    resources: Resources


@dataclass(frozen=True, slots=True)
class Condition:
    """Addresses that a token may be used from. ``locked``: it names none, and lets nobody in."""

    inside: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    locked: bool = False

    def lets_in(self, address: str) -> bool:
        if self.locked:
            return False
        at = ipaddress.ip_address(address)
        within = not self.inside or any(at in ipaddress.ip_network(network) for network in self.inside)
        return within and not any(at in ipaddress.ip_network(network) for network in self.outside)


def bad(problem: str) -> Refused:
    """A body that cannot be meant."""
    return refused("bad input", problem=problem)


def only(value: Any, allowed: set[str], where: str) -> Json:
    """The object, which has no other keys than these."""
    if not isinstance(value, dict):
        raise bad(f"{where} must be an object")
    if unknown := sorted(set(value) - allowed):
        raise bad(f"{where} has no field {unknown[0]}")
    return value


def read_policies(
    value: Any, groups: Mapping[str, Group], kept: Mapping[str, Policy] | None
) -> list[tuple[str | None, Policy]]:
    """The policies that a body asks for, each with the id that it keeps. ``kept`` is None where none can be kept."""
    if not isinstance(value, list) or not value:
        raise bad("policies must be a list with at least one policy")
    return [_read_policy(one, groups, kept) for one in value]


def _read_policy(value: Any, groups: Mapping[str, Group], kept: Mapping[str, Policy] | None) -> tuple[str | None, Policy]:
    one = only(value, {"id", "effect", "permission_groups", "resources"}, "a policy")
    tag = one.get("id")
    if tag is not None and kept is None:
        raise refused("reused policy")
    if one.get("effect") not in ("allow", "deny"):
        raise bad("effect must be allow or deny")
    named = one.get("permission_groups")
    if not isinstance(named, list) or not named:
        raise bad("permission_groups must be a list with at least one group")
    ids = []
    for entry in named:
        group = only(entry, {"id", "name", "meta"}, "a permission group")
        if group.get("id") not in groups:
            raise bad(f"permission group {group.get('id')} does not exist")
        ids.append(group["id"])
    policy = Policy(tag or "", one["effect"], tuple(sorted(set(ids))), _read_resources(one.get("resources")))
    return (tag if kept and tag in kept else None), policy


def _read_resources(value: Any) -> Resources:
    if not isinstance(value, dict) or not value:
        raise bad("resources must be an object with at least one resource")
    nested = {isinstance(held, dict) for held in value.values()}
    if len(nested) > 1:
        raise bad("resources are either all nested or all flat")
    for held in value.values():
        inner = list(held.values()) if isinstance(held, dict) else [held]
        if not inner or any(one != "*" for one in inner):
            raise bad('the value of a resource must be "*"')
    return value


def kind_of(resource: str, held: str | Mapping[str, str]) -> str:
    """The scope of a resource: zone, account, user, bucket, or an account with zones or Workers in it."""
    scope = next((scope for scope in (ZONE, ACCOUNT, USER, BUCKET) if resource.startswith(f"{scope}.")), None)
    if isinstance(held, str):
        if resource.startswith(f"{WORKER}."):
            raise unsupported()
        if scope is None:
            raise bad(f"resource {resource} does not exist")
        return scope
    for inside, kind in ((ZONE, "nested"), (WORKER, "workers")):
        if scope == ACCOUNT and all(inner.startswith(f"{inside}.") for inner in held):
            return kind
    raise bad(f"only zones or Workers nest, and only under an account: {resource}")


def unsupported() -> Refused:
    """Workers are named one by one, under their account, and by the tokens of accounts only."""
    return bad(f"{WORKER} is not a supported resource type")


def check_groups(policies: Sequence[Policy], groups: Mapping[str, Group]) -> None:
    """Each group of a policy must fit each of its resources."""
    for policy in policies:
        for resource, held in policy.resources.items():
            kind = kind_of(resource, held)
            for group in (groups[tag] for tag in policy.groups):
                if kind not in _FITS[group.scope]:
                    raise refused("not in common", group=group.name)


def read_condition(value: Any, habits: Habits) -> Condition | None:
    """The condition that a body asks for, in either spelling."""
    if value is None or value == {}:
        return None
    spelled = only(value, {"request_ip", "request.ip"}, "condition")
    if len(spelled) > 1:
        raise bad("condition has both request_ip and request.ip")
    (addresses,) = spelled.values()
    held = only(addresses if addresses is not None else {}, {"in", "not_in"}, "condition.request_ip")
    lists = {name: _networks(held[name]) for name in held}
    if not lists or not all(lists.values()):
        if habits.empty_condition == "refused":
            raise bad("condition.request_ip names no address")
        return Condition(locked=True)
    return Condition(lists.get("in", ()), lists.get("not_in", ()))


def _networks(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise bad("addresses must be a list")
    for one in value:
        try:
            if "/" not in one:
                raise ValueError
            ipaddress.ip_network(one)
        except (ValueError, TypeError):
            raise bad(f"{one} is not in CIDR notation") from None
    return tuple(value)


def show_policy(policy: Policy, groups: Mapping[str, Group]) -> Json:
    shown = [{"id": tag, "name": groups[tag].name} for tag in policy.groups]
    return {"id": policy.id, "effect": policy.effect, "resources": policy.resources, "permission_groups": shown}


def show_condition(condition: Condition, habits: Habits) -> Json:
    lists = {"in": list(condition.inside), "not_in": list(condition.outside)}
    return {habits.condition_spelling: {name: held for name, held in lists.items() if held}}
