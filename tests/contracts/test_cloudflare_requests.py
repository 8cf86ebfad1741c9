"""Every request that the issuer for Cloudflare sends is one that Cloudflare's own SDK would send: same path, query and body."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

import pytest
from cloudflare import APIStatusError, Cloudflare
from cloudflare.types.accounts import token_create_params as account_create
from cloudflare.types.accounts import token_update_params as account_update
from cloudflare.types.user import token_create_params as user_create
from cloudflare.types.user import token_update_params as user_update
from pydantic import TypeAdapter

from issuers.cloudflare import CloudflareTokens, create
from rotatord.model import JsonMap
from rotatord.ports import MintRequest, Query, Surroundings
from rotatord.testing.clock import VirtualClock
from rotatord.testing.cloudflare import FakeCloudflare, Wire
from rotatord.testing.cloudflare.asking import ROOT, find
from rotatord.testing.cloudflare.gateway import OPERATIONS

Owner = Literal["account", "user"]
DNS, SCRIPTS, ITEMS = ["Zone.DNS:Edit"], ["Workers Scripts Write"], ["Workers R2 Storage Bucket Item Read"]
ALL_BUT_ONE = {
    "allow": [{"permissions": DNS, "resources": ["zone/*"]}],
    "deny": [{"permissions": DNS, "resources": ["zone/example.com"]}],
}
ZONES, ACCOUNTS, ACCOUNT, USER = {"zones.list"}, {"accounts.list"}, {"accounts.get"}, {"user.get"}
CASES: tuple[tuple[Owner, JsonMap, set[str]], ...] = (  # whose, what, and how its names are looked up
    ("account", {"permissions": DNS, "resources": ["zone/example.com"], "ip_allow": ["198.51.100.0/24"]}, ZONES),
    ("account", {"permissions": DNS, "resources": ["zone/*"], "ip_deny": ["203.0.113.9/32"]}, set()),
    ("account", {"permissions": SCRIPTS, "resources": ["account"]}, set()),
    ("account", {"permissions": ITEMS, "resources": ["r2/assets"]}, set()),
    ("account", {**ALL_BUT_ONE, "not_before": "2026-01-01T00:00:00Z"}, ZONES),
    ("account", {"permissions": DNS, "resources": ["account/Example Ltd/zone/*"]}, ACCOUNT),
    ("account", {"template": "analytics-read", "zone": "example.com", "account": "Example Ltd"}, ZONES | ACCOUNT),
    ("user", {"permissions": DNS, "resources": ["zone/example.com", "zone/example.net"]}, ZONES),
    ("user", {"permissions": DNS, "resources": ["zone/*"]}, set()),
    ("user", {"permissions": SCRIPTS, "resources": ["account/Example Ltd"]}, ACCOUNTS),
    ("user", {**ALL_BUT_ONE, "ip_allow": ["198.51.100.0/24"], "ip_deny": ["198.51.100.66/32"]}, ZONES),
    ("user", {"permissions": DNS, "resources": ["account/Example Ltd/zone/*"], "not_before": "2026-01-01T00:00:00Z"}, ACCOUNTS),
    ("user", {"permissions": ["User.User Details:Read"], "resources": ["user"]}, USER),
)
TOKENS = ("create", "list", "get", "update", "delete", "verify", "permission_groups")
SURVEYED = {"accounts.get", "accounts.members.list", "accounts.logs.audit.list", "iam.oauth_clients.list"}
ALWAYS: Mapping[Owner, set[str]] = {
    "account": {f"accounts.tokens.{verb}" for verb in TOKENS} | SURVEYED,
    "user": {f"user.tokens.{verb}" for verb in TOKENS},
}
LOOKS = ("Zone Read", "account:Account Settings Read", "Workers Scripts Read")
ABOUT: Mapping[Owner, tuple[str, ...]] = {"account": (), "user": ("User Details Read",)}
BODIES: Mapping[str, Any] = {
    "accounts.tokens.create": account_create.TokenCreateParams,
    "accounts.tokens.update": account_update.TokenUpdateParams,
    "user.tokens.create": user_create.TokenCreateParams,
    "user.tokens.update": user_update.TokenUpdateParams,
}


@pytest.fixture
def fake() -> Iterator[FakeCloudflare]:
    with FakeCloudflare(seed=8, clock=VirtualClock(), zones=("example.com", "example.net")) as started:
        started.add_bucket("assets")
        yield started


def issuer(fake: FakeCloudflare, owner: Owner) -> CloudflareTokens:
    parent = fake.parent_token(
        *LOOKS, *ABOUT[owner], owner=owner, addresses=[f"{fake.address}/32"], lifetime=timedelta(days=90)
    )
    settings: JsonMap = {"token": parent.value, "endpoint": fake.url, "allow_private": True}
    if owner == "account":
        settings |= {"account_id": fake.account_id, "survey": True}
    return create(settings, Surroundings(installation="here", state_dir="", now=fake.clock.now, secret=str))


def live(fake: FakeCloudflare, owner: Owner, scope: JsonMap) -> None:
    """Everything that an issuer does, once."""
    made = issuer(fake, owner)
    made.check(scope, {})
    made.preflight(scope, {})
    request = MintRequest(
        installation="here",
        credential="apps.dns",
        rotation="rot_0123456789abcdef",
        generation=3,
        scope=scope,
        parameters={},
        ttl=timedelta(days=7),
        owner="team-edge",
    )
    version = made.mint(request, None)
    (ref,) = (one.ref for one in made.find(Query(installation="here", credential="apps.dns", rotation="rot_0123456789abcdef")))
    fake.advance(60)
    made.probe(version.fields, scope)
    made.suspend(ref, {})
    made.resume(ref, {})
    made.last_used(ref, {})
    made.inventory()
    made.remarks(scope, {})
    made.survey()
    made.own_life()
    made.revoke(ref, version.fields, {})


def told(wire: Wire) -> tuple[str, str, dict[str, str], Any]:
    """What of a request counts."""
    parts = urlsplit(wire.path)
    return wire.method, parts.path, dict(parse_qsl(parts.query)), json.loads(wire.body) if wire.body else None


def plain(value: Any) -> Any:
    """The same with lists where the SDK's types leave iterators."""
    if isinstance(value, Mapping):
        return {name: plain(held) for name, held in value.items()}
    return [plain(one) for one in value] if isinstance(value, Iterable) and not isinstance(value, str) else value


def asked(query: Mapping[str, str]) -> dict[str, Any]:
    """A query as the SDK is given it."""
    kinds: Mapping[str, Callable[[str], Any]] = {
        "page": int,
        "per_page": int,
        "limit": int,
        "include_expired": lambda said: said == "true",
    }
    given: dict[str, Any] = {}
    for name, said in query.items():
        outer, _, inner = name.partition(".")
        value = kinds.get(name, str)(said)
        given[outer] = {**given.get(outer, {}), inner: value} if inner else value
    return given


def by_sdk(client: Cloudflare, operation: str, params: Mapping[str, str], query: Mapping[str, str], body: Any) -> None:
    """The same request, sent by the SDK."""
    base, _, verb = operation.rpartition(".")
    owned: dict[str, Any] = {"account_id": params["account"]} if "account" in params else {}
    tokens = client.accounts.tokens if base == "accounts.tokens" else client.user.tokens
    token = [params["token"]] if "token" in params else []
    given = asked(query)
    with suppress(APIStatusError):
        match base, verb:
            case ("zones", "list"):
                client.zones.list(**given)
            case ("accounts", "list"):
                client.accounts.list(**given)
            case ("workers.scripts", "list"):
                client.workers.scripts.list(**owned)
            case ("accounts", "get"):
                client.accounts.get(**owned)
            case ("accounts.members", "list"):
                client.accounts.members.list(**owned, **given)
            case ("accounts.logs.audit", "list"):
                client.accounts.logs.audit.list(**owned, **given)
            case ("iam.oauth_clients", "list"):
                client.iam.oauth_clients.list(**owned)
            case ("user", "get"):
                client.user.get()
            case (_, "permission_groups"):
                tokens.permission_groups.list(**owned, **given)
            case (_, "roll"):
                tokens.value.update(*token, **owned)
            case (_, "list" | "get" | "delete" | "verify" | "create" | "update"):
                getattr(tokens, verb)(*token, **owned, **given, **(body or {}))
            case _:
                pytest.fail(f"the SDK has no {operation}")


def again(fake: FakeCloudflare, owner: Owner, since: int = 0, *, strict: bool = True) -> set[str]:
    """All that was sent since then, sent again by the SDK, which checks the answers. What it was, by name."""
    ours = fake.heard[since:]
    seen = set()
    token = fake.parent_token(*LOOKS, *ABOUT[owner], owner=owner).value
    client = Cloudflare(api_token=token, base_url=fake.url, max_retries=0, timeout=10.0, _strict_response_validation=strict)
    with client:
        for wire in ours:
            method, path, query, body = told(wire)
            operation, params = find(OPERATIONS, method, path.removeprefix(ROOT))
            seen.add(operation.name)
            before = len(fake.heard)
            by_sdk(client, operation.name, params, query, body)
            sent = told(fake.heard[before])
            assert sent[:3] == (method, path, query)
            assert (sent[3] or {}) == (body or {}), operation.name
            if operation.name in BODIES:
                owned = {"account_id": params["account"]} if "account" in params else {}
                known = plain(TypeAdapter(BODIES[operation.name]).validate_python({**owned, **body}))
                assert known == {**owned, **body}
    return seen


@pytest.mark.parametrize(("owner", "scope", "looked"), CASES, ids=str)
def test_every_request_is_one_of_the_sdk(fake: FakeCloudflare, owner: Owner, scope: JsonMap, looked: set[str]) -> None:
    """Sent again by the SDK it looks the same, its body has nothing that the SDK's types do not know, and the SDK takes the
    answer with its validation on."""
    live(fake, owner, scope)
    assert again(fake, owner) == ALWAYS[owner] | looked


def test_the_rest_of_a_long_audit_log_is_asked_for_as_the_sdk_asks(fake: FakeCloudflare) -> None:
    """By its cursor."""
    made = issuer(fake, "account")
    for _ in range(1001):
        fake.ask("POST", f"/zones/{fake.zones['example.com']}/dns_records", body={}, headers=fake.global_key.headers)
    before = len(fake.heard)
    assert any("Global API key" in sentence and "1001 changes" in sentence for sentence in made.survey())
    assert sum("cursor=" in wire.path for wire in fake.heard[before:]) == 1
    assert again(fake, "account", before) == SURVEYED


def test_a_token_for_one_worker_is_asked_for_as_the_sdk_asks(fake: FakeCloudflare) -> None:
    """Its types do not know the scope of those permissions yet, so here it believes the catalogue as it is."""
    fake.add_worker("edge")
    live(fake, "account", {"template": "worker-deploy-one", "worker": "edge", "zone": "example.com"})
    assert again(fake, "account", strict=False) == {*ALWAYS["account"], "zones.list", "workers.scripts.list"}
