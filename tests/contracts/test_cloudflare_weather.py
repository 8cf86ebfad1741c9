"""The issuer for Cloudflare in bad weather, in memory and virtual time: whatever is lost or late, one token is left."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

import pytest

from issuers.cloudflare import CloudflareTokens, Settings
from rotatord.cloudflare_client import Cloudflare
from rotatord.errors import OutsideError
from rotatord.model import JsonMap
from rotatord.ports import Accepted, Inconclusive, Minted, MintRequest, Query, RefusedVerdict, Surroundings
from rotatord.testing.clock import VirtualClock
from rotatord.testing.cloudflare import LIKE_CLOUDFLARE, FakeCloudflare, Weather
from rotatord.testing.cloudflare.outgoing import InMemory

T = TypeVar("T")
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
MINE = Query(installation="here", credential="apps.dns", rotation=REQUEST.rotation)
TRIES = 60


def issuer(fake: FakeCloudflare) -> CloudflareTokens:
    """Its calls go to the fake without a socket."""
    settings = Settings(
        token=fake.parent_token("Zone Read").value,  # type: ignore[arg-type]
        account_id=fake.account_id,
        endpoint="https://api.cloudflare.example/client/v4",
    )
    around = Surroundings(installation="here", state_dir="", now=fake.clock.now, secret=str)
    return CloudflareTokens(settings, around, Cloudflare(settings, around, outgoing=InMemory(fake.answer)))


def until_told(fake: FakeCloudflare, act: Callable[[], T]) -> T:
    """What it answers in the end; a while passes after each failure."""
    for _ in range(TRIES):
        try:
            return act()
        except OutsideError:
            fake.advance(20)
    pytest.fail("never answered")


def minted(fake: FakeCloudflare, made: CloudflareTokens) -> Minted:
    """As the engine does it: what a lost answer left behind is looked for once it can no longer land, ended, and made anew."""
    for _ in range(TRIES):
        try:
            return made.mint(REQUEST, None)
        except OutsideError:
            fake.advance((made.traits.call_settles_within + made.traits.listing_delay).total_seconds())
            for found in until_told(fake, lambda: made.find(MINE)):
                until_told(fake, lambda ref=found.ref: made.revoke(ref, None, {}))  # type: ignore[misc]
    pytest.fail("never made")


def verdict(fake: FakeCloudflare, made: CloudflareTokens, version: Minted) -> Accepted | RefusedVerdict:
    """Of the first probe that proves something."""
    for _ in range(TRIES):
        said = until_told(fake, lambda: made.probe(version.fields, SCOPE))
        if not isinstance(said, Inconclusive):
            return said
        fake.advance(20)
    pytest.fail("nothing was proven")


@pytest.mark.parametrize("seed", range(40))
def test_one_token_is_left(seed: int) -> None:
    """The one that we were told of; nothing else was ever accepted for longer than news takes to spread."""
    fake = FakeCloudflare(seed=seed, clock=VirtualClock(), lags=LIKE_CLOUDFLARE)
    made = issuer(fake)
    fake.weather = Weather(seed=seed, share=0.3, late=40.0)
    version = minted(fake, made)
    fake.advance(120)
    assert isinstance(verdict(fake, made, version), Accepted)
    until_told(fake, lambda: made.suspend(version.ref, {}))
    fake.advance(60)
    until_told(fake, lambda: made.resume(version.ref, {}))
    fake.weather = Weather()
    fake.advance(120)
    assert [token.id for token in fake.book.live() if token.name != "parent"] == [version.ref.rpartition("/")[2]]
    assert (
        fake.ask("GET", f"/zones/{fake.zones['example.com']}/dns_records", token=version.fields.reveal("token")).status == 200
    )
    assert fake.book.warnings == []
