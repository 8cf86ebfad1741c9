"""Hypothesis plays the people, the neighbours and the faults over two replicas, and shrinks what it finds to a short story."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rotatord.model import Slot
from rotatord.ops import Call
from rotatord.testing.fates import CALM, Fate, Fates
from rotatord.testing.faults import Fault
from rotatord.testing.fleet import Fleet
from tests.simulation.seeds import CREDENTIALS, Run, build, calm, judge, settle

OUTSIDE = (Fault.ERROR, Fault.LOST, Fault.LATE, Fault.HUNG, Fault.DENIED, Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.FROZEN)
COMMITS = (Fault.AWAY, Fault.UNHEARD, Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.FROZEN)
WHICH = st.integers(0, 1)


class AskedFates(Fates):
    """Nothing goes wrong but what was asked for: the next calls and commits of a kind."""

    def __init__(self) -> None:
        super().__init__(0, CREDENTIALS)
        self.calls: list[Fault] = []
        self.commits: list[Fault] = []

    def of_call(self, name: str, call: Call, settles: float) -> Fate:
        if not (self.wild and self.calls and call.effect):
            return CALM
        fault = self.calls.pop()
        lands: float | None = 0.0
        if fault in {Fault.ERROR, Fault.HUNG, Fault.DENIED}:
            lands = None
        elif fault is Fault.LATE:
            lands = (call.timeout + settles) / 2
        waits = call.timeout if fault in {Fault.LATE, Fault.HUNG} else 0.0
        return Fate(fault, lands, waits, 40.0 if fault is Fault.FROZEN else 0.0)

    def of_commit(self, name: str) -> Fate:
        if not (self.wild and self.commits):
            return CALM
        fault = self.commits.pop()
        return Fate(fault, freezes=40.0 if fault is Fault.FROZEN else 0.0)


class People(RuleBasedStateMachine):
    """Two credentials; whatever is done to them, nothing is broken at any moment, and in the end all is quiet."""

    fleet: Fleet

    @initialize(world=st.integers(0, 5000))
    def begin(self, world: int) -> None:
        built, specs = build(world, CREDENTIALS[:2])
        self.fates = AskedFates()
        self.fleet = Fleet(built, self.fates, seed=world)
        self.run_ = Run(world, self.fleet, specs)
        self.fleet.declare(*specs)

    def _name(self, which: int) -> str:
        return self.run_.specs[which].name

    @rule(which=WHICH)
    def rotates(self, which: int) -> None:
        self.fleet.request("rotate", self._name(which))

    @rule(which=WHICH)
    def rolls_back(self, which: int) -> None:
        self.fleet.request("rollback", self._name(which), reason="changed our mind")

    @rule(which=WHICH)
    def holds(self, which: int) -> None:
        until = self.fleet.world.clock.outside() + timedelta(seconds=60)
        self.fleet.request("hold", self._name(which), owner="somebody", until=until.isoformat())

    @rule(which=WHICH)
    def releases(self, which: int) -> None:
        self.fleet.request("release", self._name(which))

    @rule(which=WHICH)
    def tells_of_a_leak(self, which: int) -> None:
        self.fleet.request("rotate", self._name(which), reason="compromised")

    @rule(which=WHICH, place=WHICH)
    def deletes(self, which: int, place: int) -> None:
        spec = self.run_.specs[which]
        self.fleet.world.backends["store"].lose(spec.destinations[place % len(spec.destinations)], Slot.CURRENT)
        self.fleet.world.tick()
        self.fleet.request("inspect", spec.name)

    @rule(fault=st.sampled_from(OUTSIDE))
    def a_call_goes_wrong(self, fault: Fault) -> None:
        self.fates.calls.append(fault)

    @rule(fault=st.sampled_from(COMMITS))
    def a_commit_goes_wrong(self, fault: Fault) -> None:
        self.fates.commits.append(fault)

    @rule(which=WHICH)
    def kills(self, which: int) -> None:
        self.fleet.kill(self.fleet.replicas[which], down=3.0)

    @rule(which=WHICH, seconds=st.sampled_from([5.0, 40.0]))
    def freezes(self, which: int, seconds: float) -> None:
        self.fleet.freeze(self.fleet.replicas[which], None, seconds)

    @rule(which=WHICH)
    def stops(self, which: int) -> None:
        self.fleet.stop(self.fleet.replicas[which], 3.0)

    @rule(seconds=st.sampled_from([0.1, 1.0, 8.0, 30.0, 120.0]))
    def time_passes(self, seconds: float) -> None:
        self.fleet.run(seconds)

    @precondition(lambda self: hasattr(self, "fleet"))
    @invariant()
    def nothing_is_broken(self) -> None:
        assert self.fleet.problems() == []

    def teardown(self) -> None:
        if not hasattr(self, "fleet"):
            return
        try:
            calm(self.fleet)
            assert settle(self.fleet, self.run_.specs) + judge(self.fleet, self.run_.specs) == []
        finally:
            self.fleet.close()


def test_whatever_people_do_it_comes_to_rest() -> None:
    """No short story of people, faults and deaths breaks an invariant or leaves something behind."""
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        People,
        settings=settings(
            max_examples=60, stateful_step_count=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
        ),
    )
