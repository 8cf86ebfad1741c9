"""What `repair` comes to where nothing holds our value any more."""

from __future__ import annotations

from datetime import timedelta

from rotatord.model import Slot
from rotatord.testing.powers import FullIssuer
from rotatord.testing.simulator import Simulator
from rotatord.testing.world import World
from tests.simulation.scenarios import NAME, policy, traits
from tests.simulation.stage import staged

THEIRS = {"TOKEN": "somebody-else's"}


def overwritten() -> Simulator:
    """One destination and a quiet credential, so that its value is nowhere else; and a person writes over it."""
    world = World(5)
    source = world.add_issuer(kind=FullIssuer, traits=traits())
    world.add_backend()
    place = world.destination(NAME)
    world.add_consumer("app", source, place)
    sim = Simulator(world)
    sim.declare(world.spec(NAME, policy=policy(), destinations=(place,)))
    sim.settle(NAME)
    world.backends["store"].tamper(place, THEIRS, slot=Slot.CURRENT)
    sim.request("inspect", NAME)
    sim.run(60.0)
    assert [item.what for item in sim.record(NAME).drift] == ["foreign"]
    return sim


def held(sim: Simulator) -> dict[str, str]:
    return sim.world.backends["store"].document(sim.record(NAME).spec.home) or {}


def test_a_repair_makes_a_new_version_where_no_slot_holds_ours() -> None:
    """A person said that theirs is to go: what is made in place of the lost value replaces it, and does not wait for
    another word."""
    sim = overwritten()
    assert not sim.request("repair", NAME)
    record = sim.settle(NAME)
    assert record.current is not None
    assert (record.current.generation, record.drift, record.held_for_person) == (2, (), "")
    assert held(sim)["TOKEN"] != THEIRS["TOKEN"]


def test_what_is_lost_waits_for_the_end_of_a_hold() -> None:
    """Only a new version helps, and a hold keeps that from being made: nothing is tried again and again meanwhile."""
    sim = overwritten()
    end = sim.world.clock.now() + timedelta(hours=2)
    assert not sim.request("hold", NAME, owner="me", until=end.isoformat())
    for place in sim.record(NAME).spec.destinations:
        sim.world.backends["store"].lose(place)
    sim.request("inspect", NAME)
    before = len(sim.journal.replay(NAME))
    sim.run(7000.0)
    assert sim.record(NAME).generation == 1
    assert len(sim.journal.replay(NAME)) - before < 12
    sim.run(600.0)
    assert (sim.record(NAME).generation, sim.record(NAME).drift) == (2, ())


def test_a_rotation_that_was_asked_for_keeps_no_repair_from_a_held_one() -> None:
    """What is in another slot or place is put back also while a hold keeps a rotation that a person asked for waiting."""
    sim, spec = staged()
    end = sim.world.clock.now() + timedelta(hours=2)
    assert not sim.request("hold", NAME, owner="me", until=end.isoformat())
    sim.request("rotate", NAME)
    lost = spec.destinations[1]
    sim.world.backends["store"].lose(lost)
    sim.run(600.0)
    sim.request("inspect", NAME)
    sim.run(600.0)
    sim.request("rotate", NAME)
    sim.run(1200.0)
    assert sim.record(NAME).generation == 1
    assert sim.world.backends["store"].shown(lost).fields is not None


def test_a_rotation_alone_overwrites_nothing() -> None:
    """Who asks for a rotation has not said that what somebody else wrote is to go."""
    sim = overwritten()
    assert not sim.request("rotate", NAME)
    sim.run(3600.0)
    rotation = sim.record(NAME).rotation
    assert rotation is not None
    assert "changed by somebody else" in rotation.waiting
    assert held(sim)["TOKEN"] == THEIRS["TOKEN"]
