"""Time passes between any two looks at the clock; the simulator's own clock only moves when told to."""

from __future__ import annotations

from datetime import datetime, timedelta

from rotatord.testing.book import Book
from rotatord.testing.clock import VirtualClock
from rotatord.testing.simulator import Simulator
from rotatord.testing.world import World
from tests.simulation.scenarios import NAME, policy, traits


class Restless(VirtualClock):
    """Every look takes ``takes`` seconds, after which it is so much later."""

    takes = 0.0

    def now(self) -> datetime:
        shown = super().now()
        self.advance(self.takes)
        return shown


def test_what_comes_due_while_it_is_looked_at_is_not_put_off() -> None:
    """There was nothing to do a moment before it came due, and a moment later it was taken for blocked: whoever polls ten
    times a second then looked again after five minutes, past every deadline."""
    world = World(1)
    clock = world.clock = Restless()
    world.book = Book(clock)
    source = world.add_issuer(traits=traits())
    world.add_backend()
    home = world.destination(NAME)
    app = world.add_consumer("app", source, home, applies_after=timedelta(hours=1))
    sim = Simulator(world)
    sim.declare(world.spec(NAME, policy=policy(), destinations=(home,)))
    sim.settle(NAME)
    app.applies_after = None
    sim.request("rotate", NAME)
    sim.run(20)
    rotation = sim.record(NAME).rotation
    assert rotation is not None
    assert rotation.waiting
    lease = sim.journal.lease(NAME)
    assert lease is not None
    clock.advance((rotation.due_at - clock.now()).total_seconds() - 0.005)
    clock.takes = 0.01
    record = sim.saga.work(lease)
    assert record.due_at is not None
    assert record.due_at - rotation.due_at < timedelta(seconds=10)
