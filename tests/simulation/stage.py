"""What the tests of single dangers share: one credential at two places, brought to a chosen moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rotatord.model import Record, Spec, State, Way
from rotatord.testing.issuer import FakeIssuer
from rotatord.testing.powers import FullIssuer
from rotatord.testing.simulator import Simulator
from rotatord.testing.world import World
from tests.simulation.scenarios import NAME, policy, traits


def staged(
    *,
    kind: type[FakeIssuer] = FullIssuer,
    issuer: dict[str, Any] | None = None,
    rules: dict[str, Any] | None = None,
    consumer: dict[str, Any] | None = None,
    waves: bool = False,
    **simulated: Any,
) -> tuple[Simulator, Spec]:
    """A world with a first version out, at two destinations with a consumer each."""
    world = World(5)
    source = world.add_issuer(kind=kind, traits=traits(**(issuer or {})))
    world.add_backend()
    home, second = world.destination(NAME), world.destination(f"{NAME}-copy", wave=1 if waves else 0)
    world.add_consumer("app", source, home, **(consumer or {}))
    world.add_consumer("other", source, second, **(consumer or {}))
    spec = world.spec(NAME, policy=policy(**(rules or {})), destinations=(home, second))
    sim = Simulator(world, **simulated)
    sim.declare(spec)
    sim.settle(NAME)
    return sim, spec


def until(sim: Simulator, reached: Callable[[Record], bool], most: int = 600) -> Record:
    """Let it run, a second at a time, until its record is as wanted."""
    for _ in range(most):
        record = sim.record(NAME)
        if reached(record):
            return record
        sim.step(1.0)
    raise AssertionError(f"never came to it: {sim.record(NAME)}\n{sim.tail()}")


def at(state: State, way: Way = Way.FORWARD) -> Callable[[Record], bool]:
    """Whether the open rotation stands there."""
    return lambda record: record.rotation is not None and (record.rotation.state, record.rotation.way) == (state, way)


def strike(sim: Simulator, wanted: Callable[[Record], bool], deed: Callable[[], object], *, verb: str = "rotate") -> None:
    """Ask for a rotation, and do the deed at the very event at which the record is as wanted."""
    done: list[bool] = []

    def look(simulator: Simulator) -> str | None:
        if not done and wanted(simulator.record(NAME)):
            done.append(True)
            deed()
        return None

    sim.checks.append(look)
    sim.request(verb, NAME)
    until(sim, lambda _record: bool(done))


def halted(record: Record) -> bool:
    return record.rotation is not None and record.rotation.halt is not None


def well(sim: Simulator, spec: Spec) -> None:
    """Nothing broke, and it is quiet with one live version."""
    assert sim.problems() + sim.world.unquiet(spec) == []
