"""Several credentials of one workload: one restart serves all that were published before it, forward and back."""

from __future__ import annotations

from datetime import timedelta

from rotatord.model import ConsumerSpec, Spec, State
from rotatord.testing.simulator import Simulator
from rotatord.testing.workload import FakeWorkload, join
from rotatord.testing.world import World
from tests.simulation.scenarios import policy, traits

SECOND = timedelta(seconds=1)
NAMES = [f"cred-{number}" for number in range(5)]


def _workload(**rules: object) -> tuple[Simulator, list[Spec], list[FakeWorkload]]:
    world = World(3)
    source = world.add_issuer(traits=traits())
    world.add_backend()
    specs, parts = [], []
    for name in NAMES:
        home = world.destination(name)
        part = world.add_consumer(f"app-{name}", source, home, kind=FakeWorkload, gather=10.0, copies=3, drains=3 * SECOND)
        assert isinstance(part, FakeWorkload)
        parts.append(part)
        consumers = (ConsumerSpec(type="fake", name=part.name),)
        specs.append(world.spec(name, policy=policy(**rules), destinations=(home,), consumers=consumers))
    join(parts)
    sim = Simulator(world)
    sim.declare(*specs)
    _settle(sim)
    return sim, specs, parts


def _settle(sim: Simulator) -> None:
    for name in NAMES:
        sim.settle(name)


def test_five_credentials_share_one_restart() -> None:
    """All are asked to rotate within seconds: the workload restarts once, and every credential is proven by that restart."""
    sim, specs, parts = _workload()
    before = parts[0].restarts
    for name in NAMES:
        assert sim.request("rotate", name) == ""
        sim.run(1.0)
    _settle(sim)
    assert parts[0].restarts == before + 1
    for spec in specs:
        last = sim.record(spec.name).last
        assert last is not None
        assert last.state is State.COMPLETED
        assert sim.problems() + sim.world.unquiet(spec) == []


def test_one_that_comes_too_late_gets_a_restart_of_its_own() -> None:
    """A restart that began before its own read-back proves nothing for it."""
    sim, specs, parts = _workload()
    before = parts[0].restarts
    sim.request("rotate", NAMES[0])
    sim.run(12.0)
    assert parts[0].restarts == before + 1
    sim.request("rotate", NAMES[1])
    _settle(sim)
    assert parts[0].restarts == before + 2
    assert all(sim.problems() + sim.world.unquiet(spec) == [] for spec in specs)


def test_somebody_elses_restart_is_not_repeated() -> None:
    """Stakater Reloader, or a person, restarts it right after the write: ours would be one too many."""
    sim, specs, parts = _workload()
    before = parts[0].restarts
    sim.request("rotate", NAMES[0])
    sim.run(2.0)
    parts[0].rollout()
    _settle(sim)
    assert parts[0].restarts == before + 1
    assert sim.problems() + sim.world.unquiet(specs[0]) == []


def test_they_fail_and_are_restored_together() -> None:
    """One bad version breaks the workload: all that were rolled out with it go back, and it is well again on the old ones."""
    sim, specs, parts = _workload()
    bad = sim.record(NAMES[2]).generation + 1
    broken = sim.world.checks[f"app-{NAMES[2]}-health"]
    for name in NAMES:  # the health of the one workload, seen by each
        check = sim.world.checks[f"app-{name}-health"]
        check.consumer = parts[2]
        check.breaks = lambda label: int(label.split("-")[0]) == bad
    before = parts[0].restarts
    generations = {name: sim.record(name).generation for name in NAMES}
    for name in NAMES:
        sim.request("rotate", name)
    _settle(sim)
    for spec in specs:
        record = sim.record(spec.name)
        assert record.last is not None
        assert record.last.state is State.ROLLED_BACK, spec.name
        assert record.current is not None
        assert record.current.generation == generations[spec.name]
        assert sim.problems() + sim.world.unquiet(spec) == []
    assert parts[0].restarts == before + 2, "one restart forward and one back"
    assert broken.check is not None


def test_a_clock_that_is_set_does_not_keep_it_gathering() -> None:
    """The wait before a restart counts on both clocks, and begins anew when they disagree: it ends."""
    sim, specs, _parts = _workload()
    sim.request("rotate", NAMES[0])
    sim.run(2.0)
    sim.world.clock.jump_wall(-3600.0)
    _settle(sim)
    assert sim.problems() + sim.world.unquiet(specs[0]) == []
