"""The home of a credential moves while something of it is still owed: nothing is left in the slots of the old one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rotatord import views
from rotatord.model import Destination, Owing, Slot
from rotatord.ports import Amendment
from rotatord.testing.simulator import Simulator
from rotatord.why import beside
from tests.simulation.scenarios import NAME
from tests.simulation.stage import staged, strike, until


def moved(*, closed: bool = False, away: bool = False) -> tuple[Simulator, Destination]:
    sim, spec = staged()
    home = spec.home
    new = sim.world.destination("elsewhere", "other")
    sim.world.add_backend("other")

    def move() -> None:
        moved_to = replace(spec, destinations=(new,), consumers=())
        sim.journal.amend(NAME, lambda record: Amendment(record=replace(record, spec=moved_to)))
        assert not sim.world.backends["store"].read(home, Slot.PREVIOUS).empty
        if closed:
            sim.world.backends["store"].deny("read")
        sim.world.backends["store"].down = away

    strike(sim, lambda record: record.rotation is None and bool(record.ledger), move)
    return sim, home


@pytest.mark.parametrize("closed", [False, True])
def test_the_slots_of_an_old_home_are_cleared(closed: bool) -> None:
    """What was replaced dies, and its value is gone from where it lay; where we have no right any more, the entry is settled
    all the same."""
    sim, home = moved(closed=closed)
    until(sim, lambda record: not record.ledger, 3600)
    if not closed:
        for slot in (Slot.PREVIOUS, Slot.PENDING):
            assert sim.world.backends["store"].read(home, slot).empty


def test_an_old_home_that_does_not_answer_is_named_and_can_be_let_go() -> None:
    """The version is dead and its entry stays open: `status` and `why` say where and how to let go of it. Whoever does so ends
    the entry; what lies there is dead, and nothing else is touched."""
    sim, home = moved(away=True)
    until(sim, lambda record: bool(views.left_behind(record)), 3600)
    (entry,) = sim.record(NAME).ledger
    row = views.status(sim.record(NAME), sim.world.clock.now())
    (sentence,) = row["unreachable"]
    assert sentence.startswith(f"its former home {home.id} cannot be reached, so its slots previous and pending")
    assert f"`rotatord revoke {NAME}@{entry.owed[0].version.generation} --now --reason …`" in sentence
    assert sentence in beside(sim.record(NAME), sim.world.clock.now())
    sim.world.clock.advance(30 * 86400)
    sim.step()
    assert sim.record(NAME).ledger  # never by silence
    assert sim.request("revoke", NAME, version=entry.owed[0].version.generation, now=True, reason="that Vault is gone") == ""
    until(sim, lambda record: not record.ledger, 60)
    sim.world.backends["store"].down = False
    assert not sim.world.backends["store"].read(home, Slot.PREVIOUS).empty


@pytest.mark.parametrize("owing", [Owing.OWED, Owing.REVOKING, Owing.REVOKED])
def test_what_is_not_dead_is_not_let_go(owing: Owing) -> None:
    """The same words over a version that may live make it die first, as ever, and its former home is cleared all the same."""
    sim, _ = moved(away=True)
    (entry,) = until(sim, lambda record: bool(views.left_behind(record)), 3600).ledger
    before = replace(entry, owed=tuple(replace(item, owing=owing) for item in entry.owed))
    sim.journal.amend(NAME, lambda record: Amendment(record=replace(record, ledger=(before,))))
    assert sim.request("revoke", NAME, version=entry.owed[0].version.generation, now=True, reason="at once") == ""
    assert sim.record(NAME).ledger[0].home == entry.home
