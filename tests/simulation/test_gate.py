"""Each check of the gate stops something. With one left out, the very thing happens that it is there to stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from rotatord.gates import GATE, Gate
from rotatord.model import Pause, Slot, State
from rotatord.pauses import PAUSED, text_of
from rotatord.testing.faults import Fault, Point
from rotatord.testing.powers import FullIssuer
from rotatord.testing.simulator import Simulator
from rotatord.testing.world import World
from tests.simulation.scenarios import NAME, SECOND, policy, traits
from tests.simulation.stage import staged


@dataclass(frozen=True, slots=True)
class Danger:
    """A story in which the check must stop the pivot; ``happened`` says whether it did not."""

    check: str
    settings: dict[str, Any]
    strike: Callable[[Simulator], None]
    copied: bool = False  # whether a further consumer reads a copy


def _verified(sim: Simulator) -> bool:
    rotation = sim.record(NAME).rotation
    return rotation is not None and rotation.state is State.VERIFIED


def _until_verified(sim: Simulator) -> None:
    for _ in range(300):
        if _verified(sim) or (sim.record(NAME).generation > 1 and sim.record(NAME).rotation is None):
            return
        sim.step(1.0)


def _overwritten(sim: Simulator) -> None:
    """During the overlap somebody writes a value of theirs at the second destination."""
    sim.request("rotate", NAME)
    _until_verified(sim)
    copy = sim.record(NAME).spec.destinations[1]
    sim.world.backends["store"].tamper(copy, {"TOKEN": "somebody-else's"}, slot=Slot.CURRENT)


def _not_applied(sim: Simulator) -> None:
    """The consumer accepts the reload and goes on with the old version."""
    sim.world.consumers["app"].applies_after = None
    sim.request("rotate", NAME)


def _breaks(sim: Simulator) -> None:
    """The consumer loads the new version, and breaks on it."""
    good = sim.record(NAME).generation
    sim.world.checks["app-health"].breaks = lambda label: int(label.split("-")[0]) > good
    sim.request("rotate", NAME)


def _slow(sim: Simulator) -> None:
    """Nothing happens but that the overlap has to be waited for."""
    sim.request("rotate", NAME)


def _used(sim: Simulator) -> None:
    """A reader that nobody declared goes on using the old version."""
    sim.world.add_consumer("undeclared", sim.world.issuers["issuer"], sim.record(NAME).spec.home, health=False)
    sim.request("rotate", NAME)


def _held(sim: Simulator) -> None:
    """A person sets a hold a moment before the pivot."""
    sim.request("rotate", NAME)
    _until_verified(sim)
    until = sim.world.clock.now() + timedelta(hours=2)
    sim.request("hold", NAME, owner="me", until=until.isoformat(), reason="release day")


def _copy_goes_back(sim: Simulator) -> None:
    """During the overlap the copy that a consumer reads is restored from a backup, and what fills it has stopped."""
    copier = sim.world.copiers[0]
    backend, copy = copier.copy
    old = backend.document(copy)
    assert old is not None
    sim.request("rotate", NAME)
    _until_verified(sim)
    copier.stopped = True
    backend.tamper(copy, old, keep_marker=False)


DANGERS = (
    Danger("copies_hold", {"overlap": 30 * SECOND}, _copy_goes_back, copied=True),
    Danger("destinations_hold", {"overlap": 30 * SECOND}, _overwritten),
    Danger("consumers_proven", {"verify_within": timedelta(hours=5), "suspend": False}, _not_applied),
    Danger("consumers_healthy", {}, _breaks),
    Danger("overlap_passed", {"overlap": timedelta(hours=2)}, _slow),
    Danger("base_idle", {"still_used": "hold", "idle_for": 30 * SECOND, "suspend": False}, _used),
    Danger("no_hold", {"overlap": 20 * SECOND}, _held),
)


def pivoted(danger: Danger, gate: Gate) -> bool:
    """Whether the second version became the only one within an hour of the danger."""
    world = World(7)
    issuer = world.add_issuer(kind=FullIssuer, traits=traits())
    world.add_backend()
    home, second = world.destination(NAME), world.destination(f"{NAME}-copy")
    world.add_consumer("app", issuer, home)
    if danger.copied:
        place = world.destination(f"{NAME}-copied")
        world.add_copier(home, place, lambda: SECOND)
        world.add_consumer("reader", issuer, place, evidence="rollout")
    spec = world.spec(NAME, policy=policy(on_drift="hold", **danger.settings), destinations=(home, second))
    sim = Simulator(world, gate=gate)
    sim.declare(spec)
    sim.settle(NAME, 24 * 3600.0)
    danger.strike(sim)
    sim.run(3600.0)
    current = sim.record(NAME).current
    assert current is not None
    return current.generation > 1


@pytest.mark.parametrize("danger", DANGERS, ids=lambda danger: danger.check)
def test_the_gate_stops_it(danger: Danger) -> None:
    """With the whole gate the old version is not authorised to die."""
    assert not pivoted(danger, GATE)


@pytest.mark.parametrize("danger", DANGERS, ids=lambda danger: danger.check)
def test_without_the_check_it_happens(danger: Danger) -> None:
    """With just this check left out it is, so the test above can fail."""
    assert pivoted(danger, GATE.without(danger.check))


def test_every_check_has_its_danger() -> None:
    """No check is in the gate without a story of what it stops."""
    assert {check.name for check in GATE.authorise} == {danger.check for danger in DANGERS}


def test_a_pause_between_the_gate_and_the_pivot_beats_it() -> None:
    """The gate saw no pause, and one is accepted before its decision is stored: nothing is decided. When the pause is over,
    it is, without anybody's doing."""
    paused: list[str] = []

    def pauses(at: Point, _: int) -> Fault | None:
        if at.op == "commit.authorise.done" and armed and not paused:
            now = sim.world.clock.now()
            pause = Pause(owner="ana", until=now + timedelta(hours=1), actor="ana", at=now)
            paused.append(text_of(pause))
            sim.journal.set_fact(PAUSED, paused[0])
        return None

    armed: list[bool] = []
    sim, _ = staged(choose=pauses)
    armed.append(True)  # the first version has a pivot too
    sim.request("rotate", NAME)
    sim.run(1800.0)
    assert paused
    assert _verified(sim)
    assert not [debt for debt in sim.record(NAME).ledger if debt.owed]
    sim.run(3600.0)
    assert sim.record(NAME).rotation is None
    assert not sim.problems()
