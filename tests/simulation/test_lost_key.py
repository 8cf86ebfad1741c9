"""Losing the fingerprint key costs comparisons, never a credential."""

from __future__ import annotations

from rotatord.model import Standing
from rotatord.testing.simulator import Simulator
from rotatord.testing.world import World
from tests.simulation.scenarios import NAME, begin, end, policy, traits


def _begun() -> tuple[Simulator, World]:
    world = World(3)
    issuer = world.add_issuer(traits=traits())
    world.add_backend()
    home = world.destination(NAME)
    world.add_consumer("app", issuer, home)
    sim = Simulator(world)
    begin(sim, world.spec(NAME, policy=policy(), destinations=(home,)))
    return sim, world


def test_a_new_key_rotates_on_as_before() -> None:
    """With another key the current version is known by its marker, and the next rotation completes without a refusal."""
    sim, world = _begun()
    sim.key, sim.rekeyed = b"another-fingerprint-key-of-32-bytes", True
    sim.restart()
    sim.request("inspect", NAME)
    assert end(sim).drift == ()
    sim.request("rotate", NAME)
    record = end(sim)
    assert (record.standing, record.generation) == (Standing.MANAGED, 2)
    assert sim.problems() == []
    assert world.unquiet(record.spec) == []


def test_a_key_that_changed_unnoticed_writes_nothing() -> None:
    """Were the change not noticed, the value would look like somebody else's: reported, and left alone."""
    sim, world = _begun()
    before = world.backends["store"].shown(sim.record(NAME).spec.home)
    sim.key = b"another-fingerprint-key-of-32-bytes"
    sim.restart()
    sim.request("inspect", NAME)
    record = sim.settle(NAME)
    assert [item.what for item in record.drift] == ["foreign"]
    assert world.backends["store"].shown(record.spec.home) == before
