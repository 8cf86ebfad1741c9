"""Somebody sets the wall clock in the middle of things: an overlap gets longer, never shorter, and nothing in use dies."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from rotatord.jumps import Jumps
from rotatord.model import Event, Spec, State
from rotatord.testing.simulator import Simulator
from rotatord.testing.world import World
from tests.simulation.scenarios import NAME, SCENARIOS, ask, begin, end, judge, policy

HOUR = 3600.0
OVERLAP = timedelta(minutes=10)


def rotating(overlap: timedelta) -> tuple[Simulator, Spec]:
    """A managed credential whose rotation has just been asked for."""
    world = World(1)
    built = next(scenario for scenario in SCENARIOS if scenario.name == "rotate_all_powers").build(world)
    spec = world.spec(NAME, policy=policy(overlap=overlap), destinations=built.destinations)
    sim = Simulator(world)
    begin(sim, spec)
    assert not ask(sim, "rotate")
    return sim, spec


def until(sim: Simulator, state: State) -> datetime:
    """Run until the rotation is in this state; the time outside then."""
    for _ in range(400):
        rotation = sim.record(NAME).rotation
        if rotation is not None and rotation.state is state:
            return sim.world.clock.outside()
        sim.step(1.0)
    raise AssertionError(f"never {state}: {sim.record(NAME).rotation}")


def jump_at(sim: Simulator, state: State, jump: float) -> None:
    """Set the clock at the first event that finds the rotation in this state."""
    jumps: list[float] = []

    def look(sim: Simulator) -> None:
        rotation = sim.record(NAME).rotation
        if not jumps and rotation is not None and rotation.state is state:
            jumps.append(jump)
            sim.world.clock.jump_wall(jump)

    sim.checks.append(look)
    sim.run(60.0)
    assert jumps


def died_at(sim: Simulator, started: datetime) -> timedelta:
    """How long after ``started``, as everybody else's clocks have it, the decision fell that the base may die."""
    for _ in range(3 * 3600):
        if sim.record(NAME).rotation is None:
            return sim.world.clock.outside() - started
        sim.step(1.0)
    raise AssertionError(f"never decided: {sim.record(NAME).rotation}")


@pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=["an hour ahead", "an hour back"])
@pytest.mark.parametrize("after", [0.0, 60.0, 300.0, 595.0])
def test_an_overlap_stretches_and_never_shrinks(jump: float, after: float) -> None:
    """Set in its middle, the overlap starts again: it lasts as declared at least, and at most once more."""
    sim, spec = rotating(OVERLAP)
    started = until(sim, State.VERIFIED)
    sim.run(after)
    assert sim.record(NAME).rotation is not None
    jumps = Jumps(sim.journal, sim.world.clock, sim.world.ids)  # a chore of the daemon
    sim.world.clock.jump_wall(jump)
    jumps.look()
    lasted = died_at(sim, started)
    assert OVERLAP <= lasted <= OVERLAP + timedelta(seconds=after) + timedelta(minutes=2)
    end(sim)
    assert judge(sim, spec) == []


@pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=["an hour ahead", "an hour back"])
@pytest.mark.parametrize("state", [State.STAGED, State.PROVEN, State.PUBLISHED, State.RELOADED, State.VERIFIED])
def test_a_jump_in_any_state_does_no_harm(jump: float, state: State) -> None:
    """The rotation ends well, or is rolled back because its deadline is past by the clock on the wall; nobody is refused."""
    sim, spec = rotating(timedelta(seconds=5))
    jump_at(sim, state, jump)
    record = end(sim)
    assert record.last is not None
    assert record.last.state in {State.COMPLETED, State.ROLLED_BACK}
    assert judge(sim, spec) == []


def test_the_jump_is_told() -> None:
    """The log says that the clocks disagreed and what follows from it."""
    sim, _ = rotating(OVERLAP)
    until(sim, State.VERIFIED)
    sim.run(60.0)
    seen = len(told(sim))
    sim.world.clock.jump_wall(-100.0)
    end(sim)
    assert len(told(sim)) == seen + 1


def told(sim: Simulator) -> list[Event]:
    return [event for event in sim.journal.replay(NAME) if "clock" in str(event.evidence)]
