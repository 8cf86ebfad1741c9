"""The home of a credential moves while something of it is still owed: nothing is left in the slots of the old one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rotatord.model import Destination, Slot
from rotatord.testing.simulator import Simulator
from tests.simulation.stage import staged, strike, until


def moved(*, closed: bool) -> tuple[Simulator, Destination]:
    sim, spec = staged()
    home = spec.home
    new = sim.world.destination("elsewhere", "other")
    sim.world.add_backend("other")

    def move() -> None:
        sim.declare(replace(spec, destinations=(new,), consumers=()))
        assert not sim.world.backends["store"].read(home, Slot.PREVIOUS).empty
        if closed:
            sim.world.backends["store"].deny("read")

    strike(sim, lambda record: record.rotation is None and bool(record.ledger), move)
    return sim, home


@pytest.mark.parametrize("closed", [False, True])
def test_the_slots_of_an_old_home_are_cleared(closed: bool) -> None:
    """What was replaced dies, and its value is gone from where it lay; where we have no right any more, the entry is settled
    all the same."""
    sim, home = moved(closed=closed)
    until(sim, lambda record: not record.ledger, 3600)
    if not closed:
        for slot in (Slot.PREVIOUS, Slot.PENDING):
            assert sim.world.backends["store"].read(home, slot).empty
