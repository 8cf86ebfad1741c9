"""Rotations at Cloudflare in bad weather: one request in six is refused, lost, done and not told, broken, or lands late."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest

from rotatord.model import JsonMap
from rotatord.testing.cloudflare import LIKE_CLOUDFLARE, FakeCloudflare, Weather
from rotatord.testing.simulator import Simulator
from rotatord.testing.world import World
from tests.integration.on_cloudflare import ZONE, make
from tests.simulation.scenarios import NAME, policy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
SEEDS = range(int(os.environ.get("ROTATORD_SEEDS", "5")) * 4)
ROTATIONS = 3
_SCOPE: JsonMap = {"template": "dns-edit-by-name", "zone": ZONE, "ip_allow": ["198.51.100.0/24"]}


def problems(seed: int) -> list[str]:
    """What is wrong after a few rotations in the storm of this seed, when it has passed."""
    world = World(seed)
    cloudflare = FakeCloudflare(seed=seed, clock=world.clock, lags=LIKE_CLOUDFLARE)
    issuer, tokens, _ = make(world, cloudflare, ("account", "user")[seed % 2])
    world.issuers["issuer"], world.plugins.issuers["issuer"] = tokens, issuer  # type: ignore[assignment]
    world.add_backend()
    app = world.add_consumer("app", tokens, world.destination(NAME))  # type: ignore[arg-type]
    spec = world.spec(NAME, policy=policy(ttl=timedelta(days=90), mint_within=timedelta(days=1)), scope=_SCOPE)
    sim = Simulator(world)
    sim.declare(spec)
    sim.settle(NAME)
    for _ in range(ROTATIONS):
        cloudflare.weather = Weather(seed=seed, share=1 / 6)
        sim.request("rotate", NAME)
        for _ in range(40):
            sim.step(30.0)
        cloudflare.weather = Weather()
        record = sim.settle(NAME, 4 * 86_400.0)
        if record.rotation is not None and record.rotation.halt is not None:
            sim.request("resume", NAME, how="retry")
            sim.settle(NAME, 4 * 86_400.0)
    found = sim.problems() + world.unquiet(spec)
    if sim.record(NAME).generation <= ROTATIONS:
        found.append("nothing was rotated")
    if len(tokens.refs()) != 1:
        found.append(f"tokens that exist: {tokens.refs()}")
    if app.refused_uses:
        found.append(f"the application was refused {app.refused_uses} times")
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_when_the_storm_has_passed_one_token_is_left(seed: int) -> None:
    """It is shown, and nothing else of ours exists."""
    assert problems(seed) == []
