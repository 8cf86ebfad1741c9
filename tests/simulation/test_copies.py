"""A controller copies the destination to where the consumer reads, late and sometimes not at all."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta

import pytest

from rotatord.gates import GATE
from rotatord.model import Spec, State
from rotatord.testing.consumer import FakeConsumer
from rotatord.testing.copier import FakeCopier
from rotatord.testing.simulator import Simulator
from rotatord.testing.world import World
from tests.simulation.scenarios import NAME, policy, traits
from tests.simulation.stage import at, strike, until, well

SECOND = timedelta(seconds=1)


def _copied(
    seed: int = 1, lag: timedelta = 4 * SECOND, **simulated: object
) -> tuple[Simulator, Spec, FakeCopier, FakeConsumer]:
    world = World(seed)
    source = world.add_issuer(traits=traits())
    world.add_backend()
    world.add_backend("cluster")
    home, copy = world.destination(NAME), world.destination(f"{NAME}-copied", "cluster")
    copier = world.add_copier(home, copy, lambda: lag)
    app = world.add_consumer("app", source, copy, evidence="rollout", copies=3, drains=5 * SECOND)
    spec = world.spec(NAME, policy=policy(on_drift="repair"), destinations=(home,))
    sim = Simulator(world, **simulated)
    sim.declare(spec)
    sim.settle(NAME)
    return sim, spec, copier, app


def test_fifty_rotations_behind_a_lagging_copier() -> None:
    """Lags up to two minutes, and now and then a copier that stops for half an hour: no call with a revoked version."""
    sim, spec, copier, app = _copied()
    chance = random.Random(7)
    copier.lag = lambda: chance.uniform(0, 120) * SECOND
    completed = rolled_back = 0
    for number in range(50):
        stops = number % 7 == 3
        copier.stopped = stops
        assert sim.request("rotate", NAME) == ""
        sim.run(1800.0 if stops else 1.0)
        copier.stopped = False
        record = sim.settle(NAME, 30 * 24 * 3600.0)
        assert record.rotation is None, f"halted: {record.rotation}"
        assert record.last is not None
        completed += record.last.state is State.COMPLETED
        rolled_back += record.last.state is State.ROLLED_BACK
        assert sim.problems() == [], sim.tail()
    well(sim, spec)
    assert app.refused_uses == 0
    assert completed >= 40, (completed, rolled_back)
    assert rolled_back >= 5, "no copier that stopped was noticed"


def test_nothing_restarts_before_the_copy_has_it() -> None:
    """A restart before that would only load the old version again, and prove nothing."""
    sim, _, _copier, app = _copied(lag=60 * SECOND)
    sim.request("rotate", NAME)
    record = until(sim, at(State.PUBLISHED))
    sim.run(30.0)
    record = sim.record(NAME)
    assert record.rotation is not None
    assert "copy cluster:path=cred-copied does not hold it yet" in record.rotation.waiting
    assert len(app.tokens) == 1, "only the first version was reloaded"


def test_a_copier_that_never_copies_turns_back() -> None:
    """The old version lives on and is restored; the new one dies."""
    sim, spec, copier, app = _copied()
    copier.stopped = True
    generation = sim.record(NAME).generation
    sim.request("rotate", NAME)
    record = sim.settle(NAME, 3600.0)
    assert record.last is not None
    assert record.last.state is State.ROLLED_BACK
    assert "whatever fills it is late or stopped" in record.last.error
    assert record.current is not None
    assert record.current.generation == generation
    copier.stopped = False
    well(sim, spec)
    assert app.refused_uses == 0


def test_no_mint_behind_a_copier_that_is_stopped_already() -> None:
    """What does not even bring the current version will not bring the next one: it is waited for before anything is touched."""
    sim, _spec, copier, _ = _copied()
    sim.world.backends["cluster"].lose(copier.copy[1])
    copier.stopped = True
    sim.request("rotate", NAME)
    sim.run(120.0)
    record = sim.record(NAME)
    assert record.rotation is not None
    assert record.rotation.state is State.PLANNED
    assert "does not hold the current version" in record.rotation.waiting
    assert sim.world.book.count("mint") == 1


def test_a_copy_that_goes_back_keeps_the_old_version_alive() -> None:
    """Restored from a backup during the overlap, the copy shows the old version again: it is not authorised to die."""
    sim, spec, copier, _app = _copied()
    source = copier.source[0].shown(spec.home).fields
    assert source is not None
    sim.request("rotate", NAME)
    until(sim, at(State.VERIFIED))
    copier.stopped = True
    copier.copy[0].tamper(copier.copy[1], {"TOKEN": source.reveal("token")}, keep_marker=False)
    sim.run(60.0)
    record = sim.record(NAME)
    assert record.rotation is not None
    assert record.rotation.state is State.VERIFIED
    assert any(item.check == "copies_hold" and item.verdict.value == "wait" for item in record.rotation.evidence)
    copier.stopped = False
    copier._seen = None  # it looks again, as a controller does now and then
    sim.settle(NAME)
    well(sim, spec)


@pytest.mark.parametrize("left_out", ["copies_hold"])
def test_without_the_check_something_breaks(left_out: str) -> None:
    """The check is needed: with it left out the old version dies while the copy shows it again."""
    sim, spec, copier, _app = _copied(gate=GATE.without(left_out))
    source = copier.source[0].shown(spec.home).fields
    assert source is not None
    sim.request("rotate", NAME)
    until(sim, at(State.VERIFIED))
    copier.stopped = True
    copier.copy[0].tamper(copier.copy[1], {"TOKEN": source.reveal("token")}, keep_marker=False)
    for _ in range(60):
        sim.step(1.0)
    record = sim.record(NAME)
    assert record.rotation is None, "authorised although the copy shows the old version"


def test_who_started_while_the_copy_had_gone_back_is_restarted() -> None:
    """It read the old version although it began after the publication: that the copy is right again says nothing of it."""
    sim, spec, copier, app = _copied()
    old, place = copier.source[0].shown(spec.home).fields, copier.copy
    assert old is not None
    sim.request("rotate", NAME)
    until(sim, at(State.VERIFIED))
    new = place[0].shown(place[1]).fields
    assert new is not None
    copier.stopped = True
    place[0].tamper(place[1], {"TOKEN": old.reveal("token")}, keep_marker=False)
    sim.run(3.0)
    app.restart()
    sim.run(8.0)
    place[0].tamper(place[1], {"TOKEN": new.reveal("token")}, keep_marker=False)
    sim.run(1.0)
    copier.stopped = False
    sim.settle(NAME)
    well(sim, spec)
    assert app.refused_uses == 0
    assert app.using(old) == []


def test_a_copy_of_one_field_keeps_the_old_version_alive_too() -> None:
    """It has not all that would name the version; what it has is the old version's and not the new one's."""
    world = World(1)
    source = world.add_issuer(traits=traits(fields=("name", "token")))
    world.add_backend()
    world.add_backend("cluster")
    home = world.destination(NAME, keys={"NAME": "name", "TOKEN": "token"})
    copy = world.destination(f"{NAME}-copied", "cluster")
    copier = world.add_copier(home, copy, lambda: SECOND)
    world.add_consumer("app", source, home, evidence="rollout")
    spec = world.spec(NAME, policy=policy(), destinations=(home,))
    spec = replace(spec, consumers=tuple(replace(each, copies=(copy,)) for each in spec.consumers))
    sim = Simulator(world)
    sim.declare(spec)
    sim.settle(NAME)
    old = copier.source[0].shown(home).fields
    assert old is not None

    def goes_back() -> None:
        copier.stopped = True
        copier.copy[0].tamper(copy, {"TOKEN": old.reveal("token")}, keep_marker=False)

    strike(sim, lambda record: record.rotation is None and bool(record.ledger), goes_back)
    sim.run(60.0)
    assert sim.world.book.count("revoke") == 0
    assert "copied still holds 1-" in sim.record(NAME).ledger[0].waiting
    copier.stopped = False
    copier._seen = None
    sim.settle(NAME)
    assert sim.problems() == []
    assert sim.world.book.count("revoke") == 1


def test_an_old_version_that_cannot_die_is_told_of() -> None:
    """A copy that shows it keeps it alive, for ever if nobody looks: people hear of it after an hour and then daily, with
    whose it is and what to do; when the copy is right again it dies, and nobody is told any more."""
    sim, spec, copier, _app = _copied()
    old, place = copier.source[0].shown(spec.home).fields, copier.copy
    assert old is not None

    def goes_back() -> None:
        copier.stopped = True
        place[0].tamper(place[1], {"TOKEN": old.reveal("token")}, keep_marker=False)

    def told() -> list[str]:
        return [notice.text for notice in sim.journal.notices(sim.world.clock.now(), 99) if "should have died" in notice.text]

    strike(sim, lambda record: record.rotation is None and bool(record.ledger), goes_back)
    sim.run(3000.0)
    assert told() == []
    sim.run(1200.0)
    (text,) = told()
    assert "still holds 1-" in text
    assert f"`rotatord revoke {NAME}@1 --now" in text
    sim.run(60 * 3600.0)
    assert len(told()) == 3
    copier.stopped = False
    copier._seen = None
    sim.settle(NAME)
    well(sim, spec)
    sim.run(30 * 3600.0)
    assert len(told()) == 3
