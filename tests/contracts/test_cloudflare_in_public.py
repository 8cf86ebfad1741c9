"""A token that Cloudflare itself has revoked, because a scanner saw it in public, is gone for us: still shown, and dead."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from issuers.cloudflare import CloudflareTokens, create
from rotatord.errors import NotFound
from rotatord.model import JsonMap
from rotatord.ports import Minted, MintRequest, Query, RefusedVerdict, Surroundings
from rotatord.testing.clock import VirtualClock
from rotatord.testing.cloudflare import FakeCloudflare

SCOPE: JsonMap = {"permissions": ["Zone.DNS:Edit"], "resources": ["zone/example.com"]}
REQUEST = MintRequest(
    installation="here",
    credential="apps.dns",
    rotation="rot_0123456789abcdef",
    generation=1,
    scope=SCOPE,
    parameters={},
    ttl=timedelta(days=7),
)


@pytest.fixture
def fake() -> Iterator[FakeCloudflare]:
    with FakeCloudflare(seed=9, clock=VirtualClock()) as started:
        yield started


@pytest.fixture
def issuer(fake: FakeCloudflare) -> CloudflareTokens:
    parent = fake.parent_token("Zone Read").value
    settings = {"token": parent, "account_id": fake.account_id, "endpoint": fake.url, "allow_private": True}
    return create(settings, Surroundings(installation="here", state_dir="", now=fake.clock.now, secret=str))


@pytest.fixture
def leaked(fake: FakeCloudflare, issuer: CloudflareTokens) -> Minted:
    made = issuer.mint(REQUEST, None)
    fake.leak(made.ref.rpartition("/")[2])
    fake.advance(120)
    return made


def test_what_was_seen_in_public_is_not_found(issuer: CloudflareTokens, leaked: Minted) -> None:
    """Neither by its ref nor among the others."""
    assert issuer.find(Query(installation="here", credential="apps.dns", ref=leaked.ref)) == []
    assert issuer.find(Query(installation="here", credential="apps.dns")) == []
    assert issuer.inventory() == []


def test_what_was_seen_in_public_is_refused_for_good(issuer: CloudflareTokens, leaked: Minted) -> None:
    """Its value is refused, it cannot be switched on again, and ending it is no mistake."""
    assert isinstance(issuer.probe(leaked.fields, SCOPE), RefusedVerdict)
    with pytest.raises(NotFound, match="seen in public"):
        issuer.resume(leaked.ref, {})
    issuer.revoke(leaked.ref, leaked.fields, {})
