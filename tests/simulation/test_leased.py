"""Versions that nobody can list or revoke: they end by themselves, and the ledger waits for that instead of asking."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from rotatord.errors import Denied
from rotatord.model import JsonMap, Owing, Record, State
from rotatord.ports import LiveRef, Minted, MintRequest, Query
from rotatord.secret import Secret
from rotatord.testing.faults import Fault, Point
from rotatord.testing.issuer import FakeIssuer
from rotatord.testing.simulator import Simulator
from tests.simulation.scenarios import NAME
from tests.simulation.stage import staged, until, well

HOUR = timedelta(hours=1)


class Leases(FakeIssuer):
    """Knows a version by its ref alone, and ends none."""

    def find(self, query: Query) -> Sequence[LiveRef]:
        return super().find(query) if query.ref is not None else []

    def revoke(self, ref: str, fields: Secret | None, parameters: JsonMap) -> None:
        self._enter("revoke", ref=ref)


def leased(kind: type[Leases] = Leases, **simulated: Any) -> tuple[Simulator, Any]:
    traits = {"strategy": "leased", "expiry": True, "revocable": False, "listing_delay": HOUR}
    return staged(kind=kind, issuer=traits, rules={"ttl": HOUR, "max_age": None}, **simulated)


def owing(record: Record) -> bool:
    return bool(record.ledger) and record.rotation is None


def revoked(sim: Simulator) -> int:
    """How often anybody was asked to end a version."""
    return sum("issuer.revoke" in line for line in sim.hands.trace)


def test_the_ledger_waits_for_the_end_of_a_lease() -> None:
    """A replaced version is owed until it has expired, is asked after once, and is then proven dead; nothing is left."""
    sim, _ = leased()
    sim.request("rotate", NAME)
    record = until(sim, owing)
    assert record.last is not None
    assert record.last.state is State.COMPLETED
    (debt,) = record.ledger
    (owed,) = debt.owed
    assert owed.version.expires_at is not None
    while sim.world.clock.now() < owed.version.expires_at - timedelta(seconds=5):
        assert revoked(sim) == 0
        sim.step(60.0)
    asked = len(sim.hands.trace)
    until(sim, lambda record: not any(item.version.ref == owed.version.ref for d in record.ledger for item in d.owed))
    assert revoked(sim) <= 2
    assert len(sim.hands.trace) - asked < 100
    sim.run(60.0)
    assert sim.problems() == []


def test_a_lost_answer_is_waited_for_as_long_as_a_lease_may_last() -> None:
    """What nobody can list may have been made: the entry stays open for the longest life, and the rotation goes on."""
    lost: list[Point] = []

    def choose(point: Point, count: int) -> Fault | None:
        if point.op == "issuer.mint" and len(lost) < 1 and armed:
            lost.append(point)
            return Fault.LOST
        return None

    armed: list[bool] = []
    sim, _ = leased(choose=choose)
    armed.append(True)
    sim.request("rotate", NAME)
    record = until(sim, owing)
    assert record.last is not None
    assert record.last.state is State.COMPLETED
    assert lost
    until_when = max(debt.sweep_until for debt in record.ledger if debt.sweep_until is not None)
    assert until_when - sim.world.clock.now() > timedelta(minutes=50)
    assert all(owed.owing is not Owing.DEAD for debt in record.ledger for owed in debt.owed)
    sim.run(2 * 3600.0)
    assert sim.problems() == []
    assert [version for version in sim.world.issuers["issuer"].live() if version.expires_at is None] == []


class Refusing(Leases):
    """Refuses to mint while it is told to, and says so before it does anything."""

    refuses = False

    def mint(self, request: MintRequest, proposed: Secret | None) -> Minted:
        self._enter("mint", credential=request.credential, rotation=request.rotation, generation=request.generation)
        if self.refuses:
            raise Denied("the trust policy does not allow it", made_nothing=True)
        return self.issue(request, proposed)


@pytest.mark.parametrize("lost", [False, True])
def test_a_refusal_that_is_certain_leaves_nothing_to_wait_for(lost: bool) -> None:
    """Nothing was made, so the ledger waits for nothing; but where an answer was lost before, what that made is waited for."""
    armed = [False]

    def choose(point: Point, count: int) -> Fault | None:
        if point.op == "issuer.mint" and lost and armed[0]:
            armed[0] = False
            return Fault.LOST
        return None

    sim, _ = leased(kind=Refusing, choose=choose)
    issuer = sim.world.issuers["issuer"]
    assert isinstance(issuer, Refusing)
    issuer.refuses = not lost
    armed[0] = True
    first = sim.record(NAME).last
    sim.request("rotate", NAME)
    if lost:
        until(sim, lambda record: bool(record.ledger))
    issuer.refuses = True
    record = until(sim, lambda record: record.rotation is None and record.last != first)
    assert record.last is not None
    if lost:
        assert any(debt.sweep_until is not None for debt in record.ledger)
    else:
        assert (record.last.state, record.ledger) == (State.ROLLED_BACK, ())


def test_quiet_in_the_end() -> None:
    """Rotation after rotation, as leases end: one version is alive whenever nothing is owed."""
    sim, spec = leased()
    for _ in range(3):
        sim.request("rotate", NAME)
        until(sim, owing)
    sim.run(50 * 60.0)
    sim.settle(NAME, 3 * 3600.0)
    well(sim, spec)
