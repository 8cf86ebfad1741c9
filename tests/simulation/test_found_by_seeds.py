"""What random worlds found, each alone and by hand: a seed means something else as soon as anything more is drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from rotatord.clock import Instant, elapsed
from rotatord.engine import READ_ONLY
from rotatord.model import Record, Slot, State
from rotatord.testing.clock import START
from rotatord.testing.faults import Fault, Point
from rotatord.testing.issuer import FakeIssuer
from rotatord.testing.simulator import Simulator
from rotatord.testing.world import World
from tests.simulation.scenarios import NAME, policy, traits
from tests.simulation.stage import at, staged, until, well

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


@dataclass
class Once:
    """A fault at the next passage of a point, when armed. ``deed``: what happens there first."""

    op: str
    fault: Fault | None = None
    unit: str = ""
    deed: Callable[[], object] = lambda: None
    armed: bool = False

    def __call__(self, point: Point, count: int) -> Fault | None:
        if not self.armed or point.op != self.op or self.unit not in {"", point.unit}:
            return None
        self.armed = False
        self.deed()
        return self.fault


def test_machines_whose_wall_clocks_differ_come_to_the_end_of_a_wait() -> None:
    """One is ahead and one behind; they look in turns, and whoever finds a clock set back begins anew: once, not for ever."""
    wait, start = 60 * SECOND, None
    for second in range(300):
        ahead = timedelta(seconds=20 if second % 2 else -20)
        now = Instant(START + second * SECOND + ahead, float(second), "journal")
        over = None if start is None else elapsed(start, now, wait)
        if over:
            assert second >= wait.total_seconds()
            return
        start = now if over is None else start
    raise AssertionError("the wait never ends")


@pytest.mark.parametrize("state", [State.RELOADED, State.VERIFIED])
@pytest.mark.parametrize(
    "happens",
    [lambda sim: sim.world.clock.jump_wall(-3600.0), lambda sim: sim.world.clock.reboot()],
    ids=["an hour back", "reboot"],
)
def test_the_gate_waits_anew_when_a_clock_was_set(happens: Callable[[Simulator], None], state: State) -> None:
    """A consumer that only polls, and an issuer whose last use is asked: both are believed again after a while."""
    rules = {"still_used": "hold", "idle_for": 3 * SECOND, "overlap": 20 * SECOND}
    sim, spec = staged(consumer={"evidence": "polling", "poll": 5 * SECOND}, rules=rules)
    sim.request("rotate", NAME)
    until(sim, at(state))
    sim.run(2.0)
    happens(sim)
    record = sim.settle(NAME, 2 * 3600.0)
    assert record.last is not None
    assert record.last.state is State.COMPLETED, record.last.error
    well(sim, spec)


def test_our_clock_ahead_of_the_issuers_hides_no_orphan() -> None:
    """Where versions have no labels, what an unanswered mint made is known by its time: by their clock, not by ours."""
    lost = Once("issuer.mint", Fault.LOST)
    sim, spec = staged(kind=FakeIssuer, issuer={"labels": False, "exclusive": True}, choose=lost)
    sim.world.clock.jump_wall(90.0)
    lost.armed = True
    sim.request("rotate", NAME)
    sim.settle(NAME)
    assert sim.world.book.count("mint") == 3
    well(sim, spec)


def test_a_base_that_is_lost_everywhere_is_not_waited_for() -> None:
    """No slot and no copy holds the current version: nothing but a mint brings a value back."""
    world = World(1)
    issuer = world.add_issuer(traits=traits())
    world.add_backend()
    world.add_backend("cluster")
    home, copy = world.destination(NAME), world.destination(f"{NAME}-copied", "cluster")
    world.add_copier(home, copy, lambda: SECOND)
    world.add_consumer("app", issuer, copy, evidence="rollout")
    spec = world.spec(NAME, policy=policy(), destinations=(home,))
    sim = Simulator(world)
    sim.declare(spec)
    sim.settle(NAME)
    world.backends["store"].lose(home)
    sim.run(5.0)
    sim.request("rotate", NAME)
    sim.run(60.0)
    assert world.book.count("mint") == 2
    sim.settle(NAME)
    assert sim.world.unquiet(spec) == []


def test_a_write_of_the_previous_slot_that_lands_after_the_rollback_changes_nothing() -> None:
    """It timed out before anything was published; the rollback finds the slot empty, and must keep it so."""
    late = Once("backend.write.previous", Fault.LATE)
    sim, spec = staged(choose=late, late_seconds=40.0)
    late.armed = True
    sim.request("rotate", NAME)
    until(sim, lambda record: record.rotation is not None and record.rotation.attempts > 0)
    assert sim.request("rollback", NAME, reason="changed our mind") == ""
    record = sim.settle(NAME)
    assert record.last is not None
    assert record.last.state is State.ROLLED_BACK
    sim.run(60.0)
    assert "late effect refused" in "\n".join(sim.hands.trace)
    well(sim, spec)


def test_a_repair_leaves_nothing_in_the_previous_slot_that_it_restored_from() -> None:
    """The home's current slot was lost and its previous slot still had the version: afterwards only the current one has."""
    sim, spec = staged(rules={"on_drift": "repair"})
    store = sim.world.backends["store"]
    held = store.read(spec.home, Slot.CURRENT)
    assert held.fields is not None
    assert held.marker is not None
    store.write(spec.home, Slot.PREVIOUS, held.fields, held.marker, store.read(spec.home, Slot.PREVIOUS).token)
    for destination in spec.destinations:
        store.lose(destination)
    sim.request("inspect", NAME)
    sim.run(1.0)
    sim.settle(NAME)
    well(sim, spec)


def test_who_accepted_that_consumers_refuse_is_believed_while_the_overlap_runs() -> None:
    """There is no base to go back to, a person accepted the risk, the overlap is not over and the consumer still refuses:
    that is waited out, not turned back to the same halt."""
    sim, spec = staged(rules={"overlap": MINUTE})
    for destination in spec.destinations:
        sim.world.backends["store"].lose(destination)
    sim.world.consumers["app"].refuses = lambda label: label.startswith("2-")
    sim.request("rotate", NAME)
    codes = []
    for _ in range(5):
        record = sim.settle(NAME)
        if record.rotation is None or record.rotation.halt is None:
            break
        codes.append(record.rotation.halt.code)
        assert sim.request("resume", NAME, how="accept", reason="it is switched off") == ""
    assert codes == ["base_absent"]
    assert record.last is not None
    assert record.last.state is State.COMPLETED


# --- a replica that stood still while another went on ------------------------------------------------------------


def _stood_still(op: str, unit: str, fault: Fault | None = None) -> tuple[Simulator, Any]:
    """One daemon is stopped right before an outside call; meanwhile another one does all that there is to do."""
    once = Once(op, fault, unit)
    rules = {"overlap": 0 * SECOND, "settle": 0 * SECOND}
    sim, spec = staged(kind=FakeIssuer, rules=rules, choose=once)

    def another() -> None:
        sim.journal.reopen()
        mine, sim.saga = sim.saga, sim._start()
        if unit == "inspect":
            assert sim.request("rotate", NAME) == ""
        sim.settle(NAME)
        sim.saga = mine

    once.deed, once.armed = another, True
    return sim, spec


def test_a_replica_that_was_frozen_does_not_take_the_journal_for_older_than_the_world() -> None:
    """It compares what it knew with what another has published since: then it is the one that is behind."""
    sim, spec = _stood_still("backend.read.current", "inspect")
    assert sim.request("inspect", NAME) == ""
    sim.run(30.0)
    assert sim.record(NAME).generation == 2, "the other one has rotated meanwhile"
    assert sim.journal.fact(READ_ONLY) is None
    sim.settle(NAME)
    well(sim, spec)


def test_a_replica_that_was_frozen_finds_its_debt_settled() -> None:
    """Its call fails after another has done the same work to the end: nothing is left to try again."""
    sim, spec = _stood_still("issuer.revoke", "ledger", Fault.ERROR)
    assert sim.request("rotate", NAME) == ""
    sim.run(30.0)
    record: Record = sim.settle(NAME)
    assert record.ledger == ()
    assert not [event for event in sim.journal.replay(NAME) if "bug" in str(event.evidence)]
    well(sim, spec)
