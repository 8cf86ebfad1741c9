"""What a token at Cloudflare may do, in the words of people: the form of a scope, and all that needs no look at Cloudflare.

A permission is written as the dashboard shows it (``Zone.DNS:Edit``) or as the API names it (``DNS Write``); a resource as
``zone/example.com``, ``account/NAME``, ``r2/BUCKET``, ``worker/NAME``, by name or id, which
:mod:`rotatord.cloudflare_catalogue` finds.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from rotatord.cloudflare_templates import PLACES, TEMPLATES, filled
from rotatord.mistakes import nearest, sentences
from rotatord.model import JsonMap

LEVELS = {
    "zone": "com.cloudflare.api.account.zone",
    "account": "com.cloudflare.api.account",
    "user": "com.cloudflare.api.user",
    "r2": "com.cloudflare.edge.r2.bucket",
    "worker": "com.cloudflare.edge.worker.script",
}
JURISDICTIONS = ("default", "eu", "fedramp")
_ID = re.compile(r"[0-9a-f]{32}")
_PERMISSION = re.compile(
    r"(?:(?P<level>zone|account|user|r2|worker)\.)?(?P<product>[^.:][^:]*(?:: [^:]+)*?)(?::\s*(?P<action>\w[\w ]*))?",
    re.IGNORECASE,
)
_RESOURCE = re.compile(
    r"(?:zone/(?:\*|[^/*\s]+)|worker/[^/*\s]+)|account/[^/*]+/zone/\*|account/(?:\*|[^/*]+)|account|user|r2/(?:(?:default|eu|fedramp)/)?[a-z0-9][a-z0-9-]{1,62}"
)
_ADDRESSES = ("request_ip", "request.ip")  # the two spellings of one thing
_ACTIONS = {"edit": "Write", "write": "Write"}


@dataclass(frozen=True, slots=True)
class Permission:
    """One permission as it was written. ``level``: zone, account, user, r2, worker, or "" where it was not said."""

    word: str
    level: str
    names: tuple[str, ...]  # what the catalogue may call it, the likelier first

    @property
    def id(self) -> str | None:
        return self.word if _ID.fullmatch(self.word) else None


def permission(word: str) -> Permission:
    """The permission that a word means: ``Zone.DNS:Edit``, ``DNS Write``, ``Cache Purge``, or an id."""
    found = _PERMISSION.fullmatch(word.strip())
    if found is None or _ID.fullmatch(word):
        return Permission(word, "", (word,))
    product, action = found["product"].strip(), (found["action"] or "").strip()
    names = (
        [f"{product} {_ACTIONS.get(action.lower(), action)}", f"{product} {action}", f"{product}: {action}"] if action else []
    )
    if not action or product.lower().endswith(action.lower()):
        names.append(product)
    if not action:  # the dashboard says Edit where the API says Write
        names += [f"{product[: -len(' edit')]} Write"] if product.lower().endswith(" edit") else []
    return Permission(word, (found["level"] or "").lower(), tuple(dict.fromkeys(names)))


@dataclass(frozen=True, slots=True)
class Grant:
    """Permissions on resources, as written."""

    effect: str
    permissions: tuple[str, ...]
    resources: tuple[str, ...]


def _word_of_resource(word: str) -> str:
    if not _RESOURCE.fullmatch(word):
        raise ValueError(
            f"{word!r} should be zone/NAME, zone/*, account, account/NAME, account/NAME/zone/*, user, worker/NAME, "
            "r2/BUCKET or r2/eu/BUCKET"
        )
    return word


def _network(text: str) -> str:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        raise ValueError(f"{text!r} is not an address or network (is part of the address outside its mask?)") from None
    return text


def _moment(text: str) -> str:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a time like 2026-12-01T00:00:00Z") from None
    if when.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone; add Z for UTC")
    return text


Word = Annotated[str, Field(min_length=1, max_length=200)]
Resource = Annotated[Word, AfterValidator(_word_of_resource)]
Cidr = Annotated[str, AfterValidator(_network)]


class GrantSection(BaseModel):
    """Permissions on resources."""

    model_config = ConfigDict(extra="forbid")

    permissions: list[Word] = Field(min_length=1)
    resources: list[Resource] = Field(min_length=1)


class Scope(BaseModel):
    """What a token may do, from where and since when. One of: permissions with resources, ``allow``, a template."""

    model_config = ConfigDict(extra="forbid")

    permissions: list[Word] = []
    resources: list[Resource] = []
    allow: list[GrantSection] = []
    deny: list[GrantSection] = []
    template: str | None = None
    zone: Word | None = None  # of the template
    account: Word | None = None
    bucket: Word | None = None
    worker: Word | None = None
    ip_allow: list[Cidr] = []
    ip_deny: list[Cidr] = []
    not_before: Annotated[str, AfterValidator(_moment)] | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> Scope:
        if bool(self.permissions) != bool(self.resources):
            raise ValueError("permissions and resources belong together: which permissions, and on what")
        ways = [bool(self.permissions), bool(self.allow), self.template is not None]
        if sum(ways) != 1:
            raise ValueError("should have one of: permissions with resources, allow, or template")
        given = {name for name in PLACES if getattr(self, name) is not None}
        if self.template is None:
            if given:
                raise ValueError(f"{min(given)} belongs to a template; put zone/NAME and the like under resources")
            return self
        template = TEMPLATES.get(self.template)
        if template is None:
            meant = nearest(self.template, TEMPLATES)
            known = f"did you mean {meant}?" if meant else f"there are {', '.join(sorted(TEMPLATES))}"
            raise ValueError(f"there is no template {self.template!r}; {known}")
        if lacking := [name for name in template.needs if name not in given]:
            raise ValueError(f"template {self.template} needs {' and '.join(lacking)}")
        if extra := sorted(given - {*template.needs, *template.takes}):
            raise ValueError(f"template {self.template} has no use for {' and '.join(extra)}")
        for resource in (resource for _, resource in filled(self.template, self.given())):
            _word_of_resource(resource)
        return self

    def given(self) -> dict[str, str]:
        """What the template is filled with."""
        values = {name: getattr(self, name) for name in PLACES}
        return {name: value for name, value in values.items() if value is not None}


def problems(scope: JsonMap) -> list[str]:
    """What is wrong with it as far as can be told without Cloudflare."""
    found = [text.replace("scope: Value error, ", "scope: ") for text in sentences(Scope, scope, "scope")]
    if scope.get("ip_allow") == []:
        found.append("scope.ip_allow is empty, which would let the token in from everywhere: name addresses, or leave it out")
    return found


def grants_of(scope: JsonMap) -> list[Grant]:
    """All that it allows and denies, templates filled in."""
    asked = Scope.model_validate(scope)
    if asked.template is not None:
        allowed = [Grant("allow", (word,), (resource,)) for word, resource in filled(asked.template, asked.given())]
    else:
        sections = asked.allow or [GrantSection(permissions=asked.permissions, resources=asked.resources)]
        allowed = [Grant("allow", tuple(item.permissions), tuple(item.resources)) for item in sections]
    return allowed + [Grant("deny", tuple(item.permissions), tuple(item.resources)) for item in asked.deny]


def condition_of(scope: JsonMap) -> JsonMap | None:
    """The condition to send; None where there is none. An empty one would lock the token out of everywhere."""
    lists = {"in": scope.get("ip_allow"), "not_in": scope.get("ip_deny")}
    kept = {key: [str(ipaddress.ip_network(item)) for item in items] for key, items in lists.items() if items}
    return {"request_ip": kept} if kept else None


def condition_seen(token: Mapping[str, Any]) -> dict[str, list[str]]:
    """``in`` and ``not_in`` of what Cloudflare shows, in either of its two spellings; what is empty is left out."""
    condition = token.get("condition") or {}
    lists: Mapping[str, Any] = next((condition[key] for key in _ADDRESSES if condition.get(key)), {})
    return {key: [str(item) for item in lists[key]] for key in ("in", "not_in") if lists.get(key)}


def leaves_out(scope: JsonMap, addresses: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    """Whether a token could not be used from all of these addresses."""
    allowed, denied = ([ipaddress.ip_network(item) for item in scope.get(key) or ()] for key in ("ip_allow", "ip_deny"))
    if any(one.version == network.version and one.overlaps(network) for one in addresses for network in denied):
        return True
    return bool(allowed) and not all(any(_within(one, network) for network in allowed) for one in addresses)


def _within(one: Any, other: Any) -> bool:
    return bool(one.version == other.version and one.subnet_of(other))


def condition_unknown(token: Mapping[str, Any]) -> JsonMap:
    """What its condition holds beside addresses: nothing that we know of, by now."""
    return {key: value for key, value in (token.get("condition") or {}).items() if key not in _ADDRESSES}


def same_networks(one: Iterable[str], other: Iterable[str]) -> bool:
    """Whether two lists mean the same addresses, whatever their order and spelling."""
    return {_normal(item) for item in one} == {_normal(item) for item in other}


def _normal(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        return text


def time_of(text: object) -> datetime | None:
    """A time of Cloudflare's, which are UTC where they do not say; None for none."""
    if not isinstance(text, str) or not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def spelled(moment: datetime) -> str:
    """A time as Cloudflare takes it: UTC, whole seconds."""
    return moment.astimezone(UTC).replace(microsecond=0).strftime("%Y-%m-%dT%H:%M:%SZ")


Triple = tuple[str, str, str]  # effect, id of the permission group, resource


def flat(policies: Sequence[Mapping[str, Any]]) -> frozenset[Triple]:
    """What policies grant and deny, whatever their order, their number and the nesting of resources: Cloudflare sorts them."""
    found: set[Triple] = set()
    for policy in policies:
        for group in policy.get("permission_groups") or []:
            for key in keys_of(policy.get("resources") or {}):
                found.add((str(policy.get("effect")), str(group.get("id")), key))
    return frozenset(found)


def keys_of(resources: Mapping[str, Any]) -> list[str]:
    """Each resource as one text; a nested one as the outer and the inner."""
    found = []
    for key, value in resources.items():
        found += [f"{key}>{inner}" for inner in value] if isinstance(value, Mapping) else [key]
    return found


def in_words(policies: Sequence[tuple[str, list[str], list[str]]]) -> JsonMap:
    """Effects, permissions and resources in the form of a scope."""
    if len(policies) == 1 and policies[0][0] == "allow":
        return {"permissions": policies[0][1], "resources": policies[0][2]}
    scope: JsonMap = {}
    for effect, permissions, resources in policies:
        scope.setdefault(effect, []).append({"permissions": permissions, "resources": resources})
    return scope
