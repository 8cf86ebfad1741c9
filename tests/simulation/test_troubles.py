"""Work outside a rotation that fails: each kind waits for its own next try, and none hurries or delays another."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

from rotatord import views
from rotatord.model import State
from rotatord.testing.powers import CanRenew
from rotatord.testing.simulator import Simulator
from rotatord.testing.world import World
from tests.simulation.scenarios import NAME, policy, traits
from tests.simulation.stage import at, staged, until

HOUR = timedelta(hours=1)


def renewable() -> Simulator:
    """A version that is to be renewed every half hour."""
    world = World(5)
    source = world.add_issuer(kind=CanRenew, traits=traits(), period=HOUR)
    world.add_backend()
    world.add_consumer("app", source, world.destination(NAME))
    sim = Simulator(world)
    sim.declare(world.spec(NAME, policy=policy()))
    sim.settle(NAME)
    return sim


def calls(sim: Simulator, since: int) -> Counter[str]:
    """What was called how often since then."""
    return Counter(line.split()[2] for line in sim.hands.trace[since:] if " commit." not in line)


def test_a_look_and_a_renewal_that_fail_do_not_hurry_each_other() -> None:
    """A daemon starts while store and issuer are away: each waits for its own next try, which becomes ever more seldom."""
    sim = renewable()
    store, source = sim.world.backends["store"], sim.world.issuers["issuer"]
    store.down = source.down = True
    sim.restart()
    began = len(sim.hands.trace)
    sim.run(50 * 60.0)  # the renewal comes due after half an hour
    tried = calls(sim, began)
    assert set(tried) == {"backend.read.current", "issuer.renew"}
    assert max(tried.values()) < 20, tried
    row = views.status(sim.record(NAME), sim.world.clock.now())
    assert "inspect: " in row["waiting"]
    assert "renew: " in row["waiting"]
    store.down = source.down = False
    sim.run(600.0)
    assert sim.record(NAME).troubles == ()
    assert sim.problems() == []


def test_a_look_that_another_daemon_failed_to_have_holds_up_nothing_for_longer() -> None:
    """One daemon has surveyed everything before another one cannot: what is open goes on as soon as a look works again."""
    sim, _ = staged()
    sim.request("rotate", NAME)
    until(sim, at(State.VERIFIED))
    surveyed = sim.saga
    sim.world.backends["store"].down = True
    sim.restart()  # a second daemon, which does not get to see what is there
    until(sim, lambda record: bool(record.troubles))
    sim.world.backends["store"].down = False
    sim.saga = surveyed
    since = sim.world.clock.now()
    until(sim, lambda record: record.rotation is None)
    assert sim.world.clock.now() - since < timedelta(minutes=1)
    assert sim.record(NAME).troubles == ()
    assert sim.problems() == []


def test_a_leak_is_contained_while_the_destinations_cannot_be_looked_at() -> None:
    """Containing touches no destination, and what has leaked does not wait for a store that is away for hours."""
    sim, _ = staged()
    sim.world.backends["store"].down = True
    sim.restart()
    sim.request("inspect", NAME)
    until(sim, lambda record: bool(record.troubles))
    assert not sim.request("contain", NAME, reason="it is in a public repository")
    until(sim, lambda record: bool(record.leaks) and record.leaks[0].contained_at is not None, most=60)
