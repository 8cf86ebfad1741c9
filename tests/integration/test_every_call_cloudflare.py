"""Crash, lost answer and late effect at every request of the Cloudflare issuer, once and twice, under the real engine."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from rotatord.model import JsonMap
from rotatord.ports import Amendment
from rotatord.testing.cloudflare import LIKE_CLOUDFLARE, FakeCloudflare, Habits
from rotatord.testing.simulator import Simulator
from rotatord.testing.world import World
from tests.integration.every_call import Strikes, breaks_on_next, rotated, strike_all
from tests.integration.on_cloudflare import ZONE, make
from tests.simulation.scenarios import NAME, policy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
_NUMBERS = itertools.count(1)
_SCOPE: JsonMap = {"template": "dns-edit", "zone": ZONE}
_OTHER: JsonMap = {"permissions": ["Zone.DNS:Edit", "Cache Purge"], "resources": [f"zone/{ZONE}"]}
_HABITS = {
    "account": Habits(),
    "user": Habits(verify="refuses", condition_spelling="request.ip"),
}


def _story(kind: str, *, turn_back: bool) -> Callable[[Strikes], list[str]]:
    """A first token in peace, then a rotation to another scope that is struck; forward, or turned back."""

    def play(strikes: Strikes) -> list[str]:
        world = World(next(_NUMBERS))
        cloudflare = FakeCloudflare(seed=1, clock=world.clock, lags=LIKE_CLOUDFLARE, habits=_HABITS[kind])
        issuer, tokens, wires = make(world, cloudflare, kind)
        world.issuers["issuer"], world.plugins.issuers["issuer"] = tokens, issuer  # type: ignore[assignment]
        world.add_backend()
        app = world.add_consumer("app", tokens, world.destination(NAME))  # type: ignore[arg-type]
        spec = world.spec(NAME, policy=policy(ttl=timedelta(days=60), mint_within=timedelta(days=1)), scope=_SCOPE)
        sim = Simulator(world)
        sim.declare(spec)
        sim.settle(NAME)
        changed = replace(spec, scope=_OTHER)
        sim.journal.amend(NAME, lambda record: Amendment(record=replace(record, spec=changed)))
        wires.strikes = strikes
        if turn_back:
            breaks_on_next(sim)
        rotated(sim, strikes, days=2.0)
        problems = sim.problems() + world.unquiet(spec)
        if len(tokens.refs()) != 1:
            problems.append(f"tokens that exist: {tokens.refs()}")
        if app.refused_uses:
            problems.append(f"the application was refused {app.refused_uses} times")
        if cloudflare.limits.blocks:
            problems.append("more was asked than Cloudflare answers")
        return problems

    return play


@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
@pytest.mark.parametrize("turn_back", [False, True], ids=["forward", "turned back"])
@pytest.mark.parametrize("kind", ["account", "user"])
def test_every_request(kind: str, capsys: pytest.CaptureFixture[str], *, turn_back: bool, twice: bool) -> None:
    """Whatever is struck: one token exists, it is shown, and the application was never refused."""
    played, failures = strike_all(_story(kind, turn_back=turn_back), twice=twice)
    with capsys.disabled():
        print(f"\n{kind}, {'back' if turn_back else 'forward'}, {'twice' if twice else 'once'}: {played} faults at requests")
    assert failures == []
