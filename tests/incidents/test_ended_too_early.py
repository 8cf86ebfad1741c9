"""Too much, or too early, was revoked or expired."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import Any

from rotatord import policy as times
from rotatord.breakers import Breakers
from rotatord.errors import Retryable
from rotatord.gates import GATE
from rotatord.ledger import GUARDS, not_shown, settle
from rotatord.model import Policy, Reason, Record, Slot, State
from rotatord.policy import Due
from rotatord.ports import Amendment, Journal
from rotatord.replacing import replace
from rotatord.testing.issuer import FakeIssuer
from rotatord.testing.simulator import Simulator
from rotatord.testing.world import World
from tests.incidents.retold import replayed, rotated, value
from tests.simulation.scenarios import NAME, SECOND, policy, traits
from tests.simulation.stage import at, staged, strike


def test_azure_ad_2021() -> None:
    """Azure AD, 15 March 2021, 14 hours: keys were removed by their age although they were marked to be kept. Here a hold is
    read again by the very transaction that decides a death, also one that was set a moment before."""

    def story(**left_out: Any) -> list[str]:
        sim, _ = staged(rules={"overlap": 20 * SECOND}, **left_out)

        def keep() -> None:
            until = sim.world.clock.now() + timedelta(hours=2)
            assert not sim.request("hold", NAME, owner="migration", until=until.isoformat(), reason="retain")

        strike(sim, at(State.VERIFIED), keep)
        sim.run(3600.0)
        return sim.problems() + (["decided in spite of a hold"] if rotated(sim) else [])

    replayed(story, gate=GATE.without("no_hold"))


def test_gitlab_september_2024() -> None:
    """GitLab, 11 September 2024: a clean-up of what rotation had left deleted the owners of live tokens, 1,456 of them. Here
    only ids of our own are ended, one by one, and each destination is looked at once more just before."""

    def story(**left_out: Any) -> list[str]:
        sim, spec = staged(kind=FakeIssuer, **left_out)
        later, store = spec.destinations[1], sim.world.backends["store"]

        def decided(record: Record) -> bool:
            return record.rotation is None and bool(record.ledger)

        strike(sim, decided, lambda: store.tamper(later, value(sim), keep_marker=False))  # restored from a backup
        sim.run(20.0)
        return sim.problems()

    kept = tuple(guard for guard in GUARDS if guard is not not_shown)
    replayed(story, parts={"settle": partial(settle, guards=kept)})


def many(count: int, kind: type[FakeIssuer] = FakeIssuer, **simulated: Any) -> tuple[Simulator, list[str]]:
    """A first version of so many credentials of one issuer, all of which are due again after two days."""
    world = World(13)
    world.add_issuer(kind=kind, traits=traits())
    world.add_backend()
    rules = policy(max_age=timedelta(days=2), unproven_overlap=SECOND)
    specs = [world.spec(f"cred-{number}", policy=rules) for number in range(count)]
    sim = Simulator(world, **simulated)
    sim.declare(*specs)
    for spec in specs:
        sim.settle(spec.name)
    return sim, [spec.name for spec in specs]


def never(journal: Journal) -> Breakers:
    """A breaker that is never tripped."""
    return Breakers(journal, most=1_000_000)


def test_gitlab_may_2024() -> None:
    """GitLab, 14 May 2024: many tokens ended at once, and tries without end with dead ones led to bans. Here a refusal is not
    tried again at once, and after five credentials of one issuer have failed the others wait for a person."""

    def story(**left_out: Any) -> list[str]:
        sim, names = many(20, **left_out)
        issuer = sim.world.issuers["issuer"]
        issuer.deny("mint")
        before = sim.world.book.count("mint")
        sim.run(2 * 24 * 3600.0 + 1800.0)
        tried = sim.world.book.count("mint") - before
        told = [name for name in names if "failure rate" in sim.record(name).held_for_person]
        assert not told or len(told) == 15
        notices = sim.journal.notices(sim.world.clock.now() + timedelta(days=1), 1000)
        assert sum("failure rate" in notice.text for notice in notices) == bool(told)  # heard of once, not fifteen times
        return [f"{tried} refused tries in half an hour"] if tried > 5 else []

    replayed(story, parts={"breakers": never})


def test_gitlab_may_2024_the_held_ones_go_on() -> None:
    """The same: when a person sees one of them through, and says so, the others are rotated; nothing is held for ever."""
    sim, names = many(8)
    sim.world.issuers["issuer"].deny("mint")
    sim.run(2 * 24 * 3600.0 + 1800.0)
    sim.world.calm()
    failed = [name for name in names if not sim.record(name).held_for_person]
    assert not sim.request("rotate", failed[0])
    sim.settle(failed[0], 3600.0)
    for name in set(names) - set(failed):
        assert not sim.request("resume", name, how="retry")
        sim.settle(name, 3600.0)
    assert {sim.record(name).generation for name in set(names) - set(failed)} == {2}


def test_gitlab_may_2024_no_hold_lets_one_expire() -> None:
    """The same: one that is held for others' failures, and about to expire, is tried all the same."""
    sim, names = many(8)
    sim.world.issuers["issuer"].deny("mint")
    sim.run(2 * 24 * 3600.0 + 1800.0)
    sim.world.calm()
    held = next(name for name in names if sim.record(name).held_for_person)

    def ends(record: Record) -> Amendment:
        assert record.current is not None
        current = replace(record.current, expires_at=sim.world.clock.now() + timedelta(hours=1))
        return Amendment(record=replace(record, current=current, due_at=sim.world.clock.now()))

    sim.journal.amend(held, ends)
    sim.run(600.0)
    assert sim.record(held).generation == 2
    assert not sim.record(held).held_for_person


def test_gitlab_may_2024_deadlines_are_staggered() -> None:
    """The same: a hundred credentials of one age are not due in one second, unless nothing spreads them."""

    def story(jitter: float = 10.0) -> list[str]:
        sim, (name,) = many(1)
        record, now = sim.record(name), sim.world.clock.now()
        spec = policy(max_age=timedelta(days=90), jitter_percent=jitter)
        moments = {due_at(record, f"cred-{number}", spec, now) for number in range(100)}
        return [] if len(moments) > 90 else ["all at once"]

    replayed(story, jitter=0.0)


def due_at(record: Record, name: str, rules: Policy, now: datetime) -> datetime | None:
    return times.due(replace(record, name=name, spec=replace(record.spec, policy=rules)), now).at


class HoldsAll(Breakers):
    """A breaker that makes no exception for an emergency."""

    def why(self, record: Record, due: Due) -> str:
        if super().why(replace(record, name=""), replace(due, reason=Reason.DUE)):
            raise Retryable("not now")
        return ""


def test_circleci_2023() -> None:
    """CircleCI, January 2023: every stored secret at once was to be replaced. Here the replacement of what leaked is never
    put off: not by a failure rate, not by backoff, not by windows."""

    def story(**left_out: Any) -> list[str]:
        sim, names = many(12, **left_out)
        sim.world.issuers["issuer"].deny("mint")
        sim.run(2 * 24 * 3600.0 + 1800.0)  # the breaker is open
        sim.world.calm()
        for name in names:
            assert not sim.request("rotate", name, reason="compromised")
        sim.run(900.0)
        live = sim.world.issuers["issuer"].live()
        return [f"{item.ref} leaked and lives" for item in live if item.generation == 1]

    replayed(story, parts={"breakers": HoldsAll})


def test_lets_encrypt_2020() -> None:
    """Let's Encrypt, February 2020: three million certificates to be replaced in days; what was not replaced was not revoked.
    Here even a leaked version does not die, at its deadline either, before the new one is at every destination."""

    def story(**left_out: Any) -> list[str]:
        sim, spec = staged(kind=FakeIssuer, rules={"compromised_deadline": timedelta(minutes=5)}, **left_out)
        later, store = spec.destinations[1], sim.world.backends["store"]
        asked = [False]

        def spoil(simulator: Simulator) -> None:
            rotation = simulator.record(NAME).rotation
            if not asked[0] and rotation is not None and rotation.state is State.RELOADED:
                asked[0] = True
                store.tamper(later, {"TOKEN": "somebody-else's"}, slot=Slot.CURRENT, keep_marker=False)

        sim.checks.append(spoil)
        sim.request("rotate", NAME, reason="compromised")
        sim.run(900.0)
        return ["ended although a destination does not have the new one"] if rotated(sim) else []

    replayed(story, gate=GATE.without("destinations_hold"))
