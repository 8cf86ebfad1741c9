"""What happens in the very moment before a decision, and what must not be decided on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from rotatord.model import State
from rotatord.testing.faults import Fault, Point
from rotatord.testing.issuer import FakeIssuer
from rotatord.testing.powers import FullIssuer
from rotatord.testing.simulator import Simulator
from rotatord.testing.world import World
from tests.simulation.scenarios import NAME, SECOND, policy, traits
from tests.simulation.stage import at, staged, until, well


def _hold(sim: Simulator) -> None:
    until = sim.world.clock.now() + timedelta(minutes=30)
    assert not sim.request("hold", NAME, owner="me", until=until.isoformat(), reason="release day")


def _rollback(sim: Simulator) -> None:
    assert not sim.request("rollback", NAME, reason="changed our mind")


def _leak(sim: Simulator) -> None:
    assert not sim.request("rotate", NAME, reason="compromised", version=2)


class Meanwhile:
    """Does a deed when the pivot's commit is about to be made for the second version, and disturbs nothing else."""

    def __init__(self, deed: Callable[[Simulator], None]) -> None:
        self.deed: Callable[[Simulator], None] | None = deed
        self.sim: Simulator | None = None

    def __call__(self, point: Point, _count: int) -> Fault | None:
        if self.sim is not None and self.deed is not None and point.op == "commit.authorise.done":
            deed, self.deed = self.deed, None
            deed(self.sim)
        return None


@pytest.mark.parametrize("deed", [_hold, _rollback, _leak])
@pytest.mark.parametrize("kind", [FakeIssuer, FullIssuer])
def test_accepted_before_the_pivot_wins(deed: Callable[[Simulator], None], kind: type[FakeIssuer]) -> None:
    """A hold, a rollback or a leak mark that comes between the last look and the pivot's commit beats it."""
    meanwhile = Meanwhile(deed)
    sim, spec = staged(kind=kind, choose=meanwhile)
    meanwhile.sim = sim
    sim.request("rotate", NAME)
    until(sim, lambda _record: meanwhile.deed is None)
    record = sim.record(NAME)
    assert record.current is not None
    if deed is not _leak:
        assert record.current.generation == 1
    sim.run(3600.0)
    end = sim.settle(NAME, 2 * 24 * 3600.0)
    assert end.current is not None
    assert end.current.generation == {_hold: 2, _rollback: 1, _leak: 3}[deed]
    well(sim, spec)


def test_only_the_waves_that_were_reached_go_back() -> None:
    """The second of three waves fails: the third is never written, told or asked."""
    world = World(5)
    source = world.add_issuer(kind=FullIssuer, traits=traits())
    store = world.add_backend()
    places = tuple(world.destination(f"{NAME}-{number}", wave=number) for number in range(3))
    for number, place in enumerate(places):
        world.add_consumer(f"app-{number}", source, place)
    spec = world.spec(NAME, policy=policy(), destinations=places)
    sim = Simulator(world)
    sim.declare(spec)
    sim.settle(NAME)
    shown = [each for each in store.showings if each.destination == places[2].id]
    reloads = list(world.consumers["app-2"].tokens)
    world.checks["app-1-health"].breaks = lambda label: label.startswith("2-")
    sim.request("rotate", NAME)
    end = sim.settle(NAME)
    assert end.current is not None
    assert (end.current.generation, end.failures) == (1, 1)
    assert [each for each in store.showings if each.destination == places[2].id] == shown
    assert world.consumers["app-2"].tokens == reloads
    well(sim, spec)


def test_unknown_is_not_healthy() -> None:
    """A check that cannot tell opens no gate: past its deadline the rotation goes back."""
    sim, spec = staged()
    sim.world.checks["app-health"].says = ("unknown", "it does not answer")
    sim.request("rotate", NAME)
    until(sim, at(State.RELOADED))
    until(sim, lambda record: record.rotation is None or record.rotation.way != "forward")
    record = sim.record(NAME)
    assert record.current is not None
    assert record.current.generation == 1
    sim.world.checks["app-health"].says = None
    sim.settle(NAME)
    well(sim, spec)


@pytest.mark.parametrize(("idle", "generation"), [("pass", 2), ("hold", 1)])
def test_nobody_runs(idle: str, generation: int) -> None:
    """A consumer scaled to zero has left the old version; whether that is enough the policy says."""
    sim, _ = staged(rules={"idle": idle})
    for name in ("app", "other"):
        sim.world.consumers[name].scale(0)
    sim.request("rotate", NAME)
    sim.run(1800.0)
    current = sim.record(NAME).current
    assert current is not None
    assert current.generation == generation


def test_an_overlap_that_stretches_is_announced_once() -> None:
    """A consumer that goes back to the old version keeps it alive; people hear of it, once."""
    sim, _ = staged(kind=FakeIssuer, rules={"overlap": 30 * SECOND})
    sim.request("rotate", NAME)
    until(sim, at(State.VERIFIED))
    sim.world.consumers["app"].hangs = True
    sim.world.checks["app-health"].says = ("healthy", "the page answers")
    sim.run(3 * 3600.0)
    assert sim.record(NAME).rotation is not None
    told = [notice for notice in sim.journal.notices(sim.world.clock.now(), 100) if notice.kind == "overdue"]
    assert len(told) == 1
    assert sim.problems() == []
