"""A clock that is set: noticed, told, and nothing sleeps longer for it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from rotatord.journal.memory import MemoryJournal
from rotatord.jumps import Jumps, hurried
from rotatord.model import Asked, Record, Standing
from rotatord.testing.clock import SeededIds, VirtualClock
from rotatord.testing.simulator import Simulator
from rotatord.testing.world import World
from tests.simulation.scenarios import NAME, SCENARIOS, ask, begin

MINUTE = timedelta(minutes=1)


def looking() -> tuple[VirtualClock, MemoryJournal, Jumps, list[str]]:
    clock, woken = VirtualClock(), list[str]()
    journal = MemoryJournal(clock, SeededIds())
    return clock, journal, Jumps(journal, clock, SeededIds(1), lambda: woken.append("woken")), woken


@pytest.mark.parametrize("seconds", [3600.0, -3600.0, 6.0, -6.0])
def test_a_jump_is_told_once(seconds: float) -> None:
    """The log says by how much the clock was set, and the engine is woken."""
    clock, journal, jumps, woken = looking()
    clock.advance(100.0)
    clock.jump_wall(seconds)
    jumps.look()
    jumps.look()
    (event,) = journal.replay()
    assert (event.action, event.outcome, event.evidence["seconds_ahead"]) == ("clock", "set", round(seconds))
    assert woken == ["woken"]


def test_slewing_is_no_jump() -> None:
    """What moves the clock a little at a time, however far in the end, is not told."""
    clock, journal, jumps, woken = looking()
    for _ in range(100):
        clock.advance(5.0)
        clock.jump_wall(-4.0)
        jumps.look()
    assert (list(journal.replay()), woken) == ([], [])


def test_set_back_what_waits_is_due_now() -> None:
    """A rotation in its overlap is looked at again at once, and waits on for what is left of it."""
    world = World(1)
    spec = SCENARIOS[0].build(world)
    sim = Simulator(world)
    begin(sim, spec)
    jumps = Jumps(sim.journal, world.clock, world.ids)
    ask(sim, "rotate")
    sim.step()
    record = sim.record(NAME)
    assert record.rotation is not None
    assert record.rotation.due_at > world.clock.now()
    world.clock.jump_wall(-3600.0)
    jumps.look()
    record = sim.record(NAME)
    assert record.rotation is not None
    assert record.rotation.due_at == record.due_at == world.clock.now()


def test_a_quiet_record_is_left_alone() -> None:
    """What is due by the calendar stays due by the calendar."""
    world = World(1)
    spec = SCENARIOS[0].build(world)
    sim = Simulator(world)
    begin(sim, spec)
    now = world.clock.now()
    assert hurried(sim.record(NAME), now) is None
    waiting = Record(name="x", spec=spec, standing=Standing.MANAGED, asked=Asked(verb="inspect", actor="a", at=now))
    amended = hurried(replace(waiting, due_at=now + MINUTE), now)
    assert amended is not None
    assert amended.record.due_at == now
