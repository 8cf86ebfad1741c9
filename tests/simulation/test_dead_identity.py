"""What we speak to an issuer with is dead, for days, and somebody notices at last."""

from __future__ import annotations

from datetime import timedelta

from rotatord.errors import Denied
from rotatord.model import Record, Standing
from rotatord.ports import MintRequest
from rotatord.testing.own import OwnIssuer, OwnWorld
from rotatord.testing.simulator import Simulator
from rotatord.testing.world import World
from tests.simulation.scenarios import policy, traits

DAY = timedelta(days=1)
OURS = "ours"


def killed() -> tuple[Simulator, OwnWorld]:
    """A credential of ours that lasts five days, and was ended by somebody."""
    world = World(9)
    own = OwnWorld(world, OURS, traits=traits(expiry=True))
    sim = Simulator(world)
    sim.declare(own.spec(OURS, policy=policy(ttl=5 * DAY)))
    sim.settle(OURS)
    current = sim.record(OURS).current
    assert current is not None
    assert isinstance(own.source, OwnIssuer)
    own.source._end(own.source.versions[current.ref])
    return sim, own


def run(sim: Simulator, days: int) -> Record:
    for _ in range(days):
        sim.run(DAY.total_seconds())
    return sim.record(OURS)


def minted(sim: Simulator) -> int:
    return sum((event.action, event.outcome) == ("mint", "intended") for event in sim.journal.replay(OURS, limit=10_000))


def test_the_ledger_does_not_grow_while_it_is_dead() -> None:
    """Each try would leave one more entry to search for, two dozen a day, of which none can be settled: the issuer is asked
    for what the first one is searched for, and while it refuses us that, nothing more is minted. It is tried all the same."""
    sim, _ = killed()
    record = run(sim, 6)
    assert record.failures > 20
    assert len(record.ledger) == 1
    tries = minted(sim)
    record = run(sim, 3)
    assert record.failures > 90
    assert (len(record.ledger), minted(sim)) == (1, tries)
    assert record.last is not None
    assert "does not work" in record.last.error


def test_it_goes_on_when_it_is_mended() -> None:
    """Somebody lets us speak to the issuer with one that works: the next try mints, and the entry is settled."""
    sim, own = killed()
    run(sim, 6)
    source = own.source
    assert isinstance(source, OwnIssuer)
    request = MintRequest(installation="", credential=OURS, rotation="by-hand", generation=0, scope={}, parameters={})
    theirs = source.issue(request, labelled=False)
    source.reads, source.login = lambda: theirs.fields.reveal("token"), None
    record = run(sim, 1)
    assert (record.standing, record.rotation, record.ledger, record.failures) == (Standing.MANAGED, None, (), 0)
    assert record.current is not None
    assert record.current.ref not in {theirs.ref, "issuer-ref-1"}


def test_an_issuer_that_cannot_be_asked_keeps_nobody_from_minting() -> None:
    """Only a refusal of us does: without an answer nobody knows that a mint would be refused too, and time runs out."""
    sim, own = killed()
    run(sim, 6)
    assert isinstance(own.source, OwnIssuer)
    tries = minted(sim)
    own.source.fail("find", times=None)
    assert minted(sim) < (run(sim, 1), minted(sim))[1]
    own.source.fail("find", times=None, error=lambda: Denied("not you"))
    after = minted(sim)
    run(sim, 1)
    assert tries < after == minted(sim)
