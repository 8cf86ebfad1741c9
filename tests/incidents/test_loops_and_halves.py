"""Loops and unfinished states; and one clock."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from rotatord.errors import Invalid, Retryable
from rotatord.gates import GATE
from rotatord.guards import GUARDS
from rotatord.machine import Step
from rotatord.model import Record, Slot, State
from rotatord.ops import Context, Unit
from rotatord.ports import Minted, MintRequest
from rotatord.replacing import replace
from rotatord.secret import Secret
from rotatord.steps.mint import mint
from rotatord.testing.issuer import FakeIssuer
from rotatord.testing.simulator import Simulator
from rotatord.testing.world import World
from tests.incidents.retold import believes_the_issuer, replayed, rotated, steps
from tests.simulation.scenarios import NAME, SECOND, policy, traits
from tests.simulation.stage import at, staged, strike

DAY = timedelta(days=1)


def test_beyond_identity_2021() -> None:
    """Beyond Identity, 18 October 2021: a rotation failed unnoticed, and a day later the cloud did one of its steps by
    itself. Here what somebody else changes under a rotation holds it, and people are told."""

    def story(**left_out: Any) -> list[str]:
        sim, spec = staged(kind=FakeIssuer, rules={"overlap": 30 * SECOND}, **left_out)
        later, store = spec.destinations[1], sim.world.backends["store"]
        theirs = {"TOKEN": "what-the-cloud-put-there"}
        strike(sim, at(State.VERIFIED), lambda: store.tamper(later, theirs, slot=Slot.CURRENT, keep_marker=False))
        sim.world.consumers["other"].excused = True
        sim.run(900.0)
        notices = sim.journal.notices(sim.world.clock.now(), 100)
        heard = any(notice.kind in {"overdue", "halted", "rolled_back", "drift"} for notice in notices)
        return (["complete in spite of it"] if rotated(sim) else []) + ([] if heard else ["and nobody knows"])

    replayed(story, gate=GATE.without("destinations_hold"))


class Expired(FakeIssuer):
    """Hands out, from the second on, what has expired already."""

    def mint(self, request: MintRequest, proposed: Secret | None) -> Minted:
        minted = super().mint(request, proposed)
        if request.generation == 1:
            return minted
        end = self.clock.outside() - timedelta(hours=1)
        self.versions[minted.ref].expires_at = end
        return replace(minted, expires_at=end)


def test_cert_manager_8610() -> None:
    """cert-manager/cert-manager#8610 and #7741: an issuer returned certificates that had expired, and thousands of requests
    followed in minutes. Here such a one is never published, even by an engine that would not try it out; and the pauses
    grow until a person is asked."""

    def story(guards: Any = GUARDS) -> list[str]:
        parts = steps({Step.PROVE: believes_the_issuer, Step.MINT: partial(mint, guards=guards)})
        sim, _ = staged(kind=Expired, rules={"max_age": DAY}, parts=parts)
        sim.run(3 * 24 * 3600.0)
        tries = sim.world.book.count("mint")
        assert sim.record(NAME).held_for_person or tries > 5 or sim.problems()
        return sim.problems() + ([f"{tries} requests"] if tries > 5 else [])

    replayed(story, guards=GUARDS.without("alive"))


class Strict(FakeIssuer):
    """Has a rule for passwords that the first proposal for the second version breaks. ``offered``: how often each was."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.offered: Counter[str] = Counter()
        self.breaks_rule = ""

    def mint(self, request: MintRequest, proposed: Secret | None) -> Minted:
        assert proposed is not None
        value = proposed.reveal("token")
        self.offered[value] += 1
        if request.generation > 1 and not self.breaks_rule:
            self.breaks_rule = value
        if value == self.breaks_rule:
            raise Invalid("the password breaks the rule")
        return super().mint(request, proposed)


def _tries_the_same_again(ctx: Context, record: Record) -> Unit:
    """A mint for which every refusal is a bad moment."""
    try:
        return (yield from mint(ctx, record))
    except Invalid as refusal:
        raise Retryable(str(refusal)) from None


def test_vault_28989() -> None:
    """hashicorp/vault#28989 and vault-plugin-secrets-openldap#56: the saved password broke the policy, and the same one was
    tried for ever. Here what is refused for good is given up, and the next try has another value."""

    def story(**left_out: Any) -> list[str]:
        sim, _ = staged(kind=Strict, issuer={"value_origin": "caller"}, rules={"max_age": DAY}, **left_out)
        issuer = sim.world.issuers["issuer"]
        assert isinstance(issuer, Strict)
        sim.run(24 * 3600.0 + 6 * 3600.0)
        again = max(issuer.offered.values(), default=0)
        return (
            sim.problems() + ([f"one value {again} times"] if again > 2 else []) + ([] if rotated(sim) else ["never replaced"])
        )

    replayed(story, parts=steps({Step.MINT: _tries_the_same_again}))


class YearPlusOne(FakeIssuer):
    """Computes the end of a life as the same day of the next year."""

    def mint(self, request: MintRequest, proposed: Secret | None) -> Minted:
        now = self.clock.outside()
        end = now.replace(year=now.year + 1)
        return replace(super().mint(request, proposed), expires_at=end)


def test_azure_2012() -> None:
    """Azure, 29 February 2012: validity was computed as the same day of the next year, which there is none of, and the same
    failure took machine after machine. Here lives are durations; and a plugin that computes so stops its own rotation,
    loudly, with everything left working, and goes on the next day."""
    world = World(29, start=datetime(2012, 2, 27, 22, 0, tzinfo=UTC))
    source = world.add_issuer(kind=YearPlusOne, traits=traits())
    world.add_backend()
    world.add_consumer("app", source, world.destination(NAME))
    sim = Simulator(world)
    sim.declare(world.spec(NAME, policy=policy(max_age=DAY + timedelta(hours=4), jitter_percent=0.0)))
    sim.run(30 * 3600.0)
    rotation = sim.record(NAME).rotation
    assert rotation is not None
    assert rotation.halt is not None
    assert rotation.halt.code == "bug"
    sim.run(24 * 3600.0)
    assert not sim.request("resume", NAME, how="retry")
    sim.run(600.0)
    assert rotated(sim)
    assert not sim.problems()


@pytest.mark.parametrize("start", [datetime(2012, 2, 28, 12, 0, tzinfo=UTC), datetime(2026, 3, 28, 12, 0, tzinfo=UTC)])
def test_azure_2012_our_own_days(start: datetime) -> None:
    """The same: over a leap day, and over the change to summer time, a credential of one day is replaced once a day."""
    world = World(29, start=start)
    source = world.add_issuer(traits=traits())
    world.add_backend()
    world.add_consumer("app", source, world.destination(NAME))
    sim = Simulator(world)
    sim.declare(world.spec(NAME, policy=policy(max_age=DAY, jitter_percent=0.0)))
    sim.settle(NAME)
    sim.run(3 * 24 * 3600.0 + 3600.0)
    assert sim.record(NAME).generation == 4
    assert not sim.problems()
