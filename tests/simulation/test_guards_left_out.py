"""Each guard of what an issuer hands out, and of each death, in the engine that it is a part of: with it nothing comes of the
danger, with just this one left out the harm is done."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest

from rotatord import ledger
from rotatord.guards import GUARDS, Guards
from rotatord.ledger import not_needed, not_shown, settle
from rotatord.machine import Step
from rotatord.model import Debt, OwedVersion, Record, Slot
from rotatord.ports import Amendment, Minted, MintRequest
from rotatord.replacing import replace
from rotatord.saga import STEPS
from rotatord.secret import Secret
from rotatord.steps.mint import mint
from rotatord.testing.issuer import FakeIssuer
from rotatord.testing.simulator import Simulator
from tests.incidents.retold import believes_the_issuer, value
from tests.simulation.scenarios import NAME
from tests.simulation.stage import staged

FIELDS = {"fields": ("token", "id")}
FAR = datetime.fromisoformat("2051-10-06T00:00:00+00:00")


class Spoils(FakeIssuer):
    """Hands out, from the second version on, what ``spoil`` makes of it."""

    spoil: Callable[[FakeIssuer, Minted], Minted] = staticmethod(lambda _issuer, minted: minted)

    def mint(self, request: MintRequest, proposed: Secret | None) -> Minted:
        minted = super().mint(request, proposed)
        return minted if request.generation == 1 else self.spoil(self, minted)


def _halved(_: FakeIssuer, minted: Minted) -> Minted:
    return replace(minted, fields=Secret({"token": minted.fields.reveal("token")}))


def _masked(_: FakeIssuer, minted: Minted) -> Minted:
    return replace(minted, fields=Secret({"token": "*" * 40}))


def _the_old_one(issuer: FakeIssuer, minted: Minted) -> Minted:
    return replace(minted, fields=issuer.secret_of("issuer-ref-1"))


def _over(issuer: FakeIssuer, minted: Minted) -> Minted:
    end = issuer.versions[minted.ref].expires_at = issuer.clock.outside() - timedelta(hours=1)
    return replace(minted, expires_at=end)


def _nameless(_: FakeIssuer, minted: Minted) -> Minted:
    return replace(minted, ref="")


def _for_ever(issuer: FakeIssuer, minted: Minted) -> Minted:
    issuer.versions[minted.ref].expires_at = FAR
    return replace(minted, expires_at=FAR)


# The guard, what is handed out in its despite, and the issuer's traits and the policy's rules where they matter.
HANDED_OUT: dict[str, tuple[Callable[[FakeIssuer, Minted], Minted], dict[str, Any], dict[str, Any]]] = {
    "complete": (_halved, FIELDS, {}),
    "whole": (_masked, {}, {}),
    "changed": (_the_old_one, {}, {}),
    "alive": (_over, {}, {}),
    "named": (_nameless, {}, {}),
    "mortal": (_for_ever, {"expiry": True}, {"ttl": timedelta(days=7)}),
}


def staged_then(name: str, guards: Guards) -> list[str]:
    """Whether what was handed out was taken for the new version, by an engine that does not try it out."""
    spoil, issuer, rules = HANDED_OUT[name]
    kind = type("Spoils", (Spoils,), {"spoil": staticmethod(spoil)})
    steps = {**STEPS, Step.PROVE: believes_the_issuer, Step.MINT: partial(mint, guards=guards)}
    sim, _ = staged(kind=kind, issuer=issuer, rules=rules, parts={"steps": steps})
    sim.request("rotate", NAME)
    sim.run(60.0)
    events = [event for event in sim.journal.replay(NAME) if (event.action, event.outcome) == ("mint", "done")]
    return [event.version for event in events[1:]]


@pytest.mark.parametrize("name", HANDED_OUT)
def test_what_an_issuer_hands_out_is_looked_at(name: str) -> None:
    """It is never staged, and would be by a mint without this guard."""
    assert staged_then(name, GUARDS) == []
    assert staged_then(name, GUARDS.without(name))


def test_every_guard_of_a_mint_is_left_out_once() -> None:
    """None is in the list without a story of what it stops."""
    assert {guard.name for guard in GUARDS.guards} == set(HANDED_OUT)


# --- deaths ----------------------------------------------------------------------------------------------------------


def _owed(sim: Simulator, *, also_current: bool) -> None:
    """The ledger owes the first version: by a mistake while it is current, or when it was replaced."""

    def owe(record: Record) -> Amendment:
        assert record.current is not None
        now, first = sim.world.clock.now(), record.current
        debt = Debt(
            rotation="rot_x", issuer="issuer", opened_at=now, due_at=now, owed=(OwedVersion(version=first, reason="replaced"),)
        )
        current = first if also_current else replace(first, generation=2, ref="issuer-ref-2")
        return Amendment(record=replace(record, ledger=(debt,), current=current, due_at=now))

    sim.journal.amend(NAME, owe)


def _current_and_gone(sim: Simulator) -> None:
    """What is current is owed, and a person has just deleted it at its destinations: consumers have it in memory."""
    _owed(sim, also_current=True)
    for destination in sim.record(NAME).spec.destinations:
        sim.world.backends["store"].lose(destination, Slot.CURRENT)


def _shown_again(sim: Simulator) -> None:
    """What was replaced is at a destination again, out of a backup."""
    _owed(sim, also_current=False)
    second = sim.record(NAME).spec.destinations[1]
    sim.world.backends["store"].tamper(second, value(sim), keep_marker=False)


DEATHS: dict[ledger.Guard, Callable[[Simulator], None]] = {not_shown: _shown_again, not_needed: _current_and_gone}


def harm(danger: Callable[[Simulator], None], guards: tuple[ledger.Guard, ...]) -> list[str]:
    """What the judges say of the deaths within half a minute."""
    sim, _ = staged(kind=FakeIssuer, parts={"settle": partial(settle, guards=guards)})
    danger(sim)
    sim.run(30.0)
    return [problem for problem in sim.problems() if "killed_in_use" in problem]


@pytest.mark.parametrize("guard", DEATHS, ids=lambda guard: guard.__name__)
def test_a_death_is_looked_at(guard: ledger.Guard) -> None:
    """What is still needed does not die, and would by a ledger without this guard."""
    assert harm(DEATHS[guard], ledger.GUARDS) == []
    assert harm(DEATHS[guard], tuple(each for each in ledger.GUARDS if each is not guard))


def test_every_guard_of_a_death_is_left_out_once() -> None:
    """None is in the list without a story of what it stops."""
    assert set(ledger.GUARDS) == set(DEATHS)
