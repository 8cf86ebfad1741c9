"""How versions end, and what must not end: deaths at the right place, proven, and never the one in use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rotatord.apply import apply
from rotatord.errors import Denied, NotFound
from rotatord.model import JsonMap, Slot, Spec, State, Way
from rotatord.ports import LiveRef, Query
from rotatord.secret import Secret
from rotatord.testing.faults import Fault, Point
from rotatord.testing.issuer import FakeIssuer
from rotatord.testing.powers import CanRenew, FullIssuer, SuspendingIssuer
from rotatord.testing.simulator import Simulator
from rotatord.testing.world import World
from tests.simulation.scenarios import NAME, SECOND, policy, traits
from tests.simulation.stage import at, halted, staged, strike, until, well


class PerPrincipal(FakeIssuer):
    """Asked about a version under another principal than its own, it knows nothing: like a secret-id of another role."""

    def _elsewhere(self, ref: str | None, parameters: JsonMap) -> bool:
        version = self.versions.get(ref or "")
        return version is not None and version.request.parameters != parameters

    def find(self, query: Query) -> Sequence[LiveRef]:
        return [item for item in super().find(query) if not self._elsewhere(item.ref, query.parameters)]

    def revoke(self, ref: str, fields: Secret | None, parameters: JsonMap) -> None:
        if not self._elsewhere(ref, parameters):
            super().revoke(ref, fields, parameters)


class LostMint:
    """Once armed, dies right after the next mint: the version exists, its value is lost."""

    armed = False

    def __call__(self, point: Point, _count: int) -> Fault | None:
        if not self.armed or point.op != "issuer.mint":
            return None
        self.armed = False
        return Fault.CRASH_AFTER


def _redeclare(sim: Simulator, **changes: Any) -> Spec:
    """What loading another configuration does."""
    spec = replace(sim.record(NAME).spec, **changes)
    apply(sim.journal, {NAME: spec}, {}, sim.world.clock.now(), sim.world.ids)
    return spec


def test_a_version_dies_where_it_was_made() -> None:
    """The principal changes in the configuration: the old version is revoked at the old one, not proven dead at the new."""
    sim, _ = staged(kind=PerPrincipal)
    spec = _redeclare(sim, parameters={"principal": "another"})
    sim.settle(NAME)
    well(sim, spec)


def test_what_a_lost_mint_made_is_found_where_it_was_made() -> None:
    """The principal changes while an orphan of the old one is still searched for."""
    lost = LostMint()
    sim, _ = staged(kind=PerPrincipal, issuer={"call_settles_within": timedelta(minutes=10)}, choose=lost)
    lost.armed = True
    sim.request("rotate", NAME)
    until(sim, lambda record: record.rotation is None and record.current is not None and record.current.generation == 3)
    spec = _redeclare(sim, parameters={"principal": "another"})
    sim.settle(NAME)
    well(sim, spec)


@pytest.mark.parametrize(
    ("first", "second"), [("overlapping", "in_place"), ("in_place", "overlapping"), ("overlapping", "overlapping")]
)
def test_from_one_issuer_to_another(first: str, second: str) -> None:
    """Another issuer is declared: the new one's version takes over, and the old one's dies at the old issuer."""
    world = World(9)
    one = world.add_issuer("one", kind=FullIssuer, traits=traits(strategy=first))
    two = world.add_issuer("two", kind=FullIssuer, traits=traits(strategy=second))
    world.add_backend()
    spec = world.spec(NAME, issuer="one", policy=policy(allow_downtime=True, unproven_overlap=SECOND))
    sim = Simulator(world)
    sim.declare(spec)
    sim.settle(NAME)
    _redeclare(sim, issuer="two")
    sim.settle(NAME)
    assert [len(issuer.live(NAME)) for issuer in (one, two)] == [0, 1]
    assert not sim.problems()


def test_back_to_the_issuer_before() -> None:
    """The new issuer's version is refused by its consumer: the old issuer's is restored and alone."""
    world = World(9)
    one = world.add_issuer("one", kind=FullIssuer, traits=traits())
    two = world.add_issuer("two", kind=FullIssuer, traits=traits())
    world.add_backend()
    world.add_consumer("app", one, world.destination(NAME))
    world.consumers["app"].excused = True
    spec = world.spec(NAME, issuer="one", policy=policy())
    sim = Simulator(world)
    sim.declare(spec)
    sim.settle(NAME)
    world.consumers["app"].refuses = lambda label: label.startswith("2-")
    _redeclare(sim, issuer="two")
    until(sim, lambda record: record.failures == 1)
    sim.run(120.0)
    assert [len(issuer.live(NAME)) for issuer in (one, two)] == [1, 0]


def test_what_still_opens_the_door_is_not_dead() -> None:
    """The issuer lists the version no more and honours it for another minute: it counts as dead only after that."""
    sim, spec = staged(kind=FakeIssuer, rules={"overlap": timedelta(minutes=3)})
    sim.request("rotate", NAME)
    sim.run(120.0)
    sim.world.issuers["issuer"].spreads_in = timedelta(minutes=1)
    sim.settle(NAME)
    old = sim.world.issuers["issuer"].versions["issuer-ref-1"]
    proven = next(
        event for event in sim.journal.replay(NAME) if event.action == "prove_dead" and event.version.startswith("1-")
    )
    assert old.ended_at is not None
    assert proven.time >= old.ended_at + timedelta(minutes=1)
    well(sim, spec)


def test_retired_is_gone_from_everywhere() -> None:
    """Retire revokes the version, and every destination that showed it is cleared."""
    sim, spec = staged(consumer={"excused": True})
    assert not sim.request("retire", NAME, reason="the service is gone")
    sim.settle(NAME)
    store = sim.world.backends["store"]
    left = [store.document(place, slot) for place in spec.destinations for slot in Slot]
    assert left == [None] * 6
    assert sim.world.issuers["issuer"].live(NAME) == []


def test_retire_leaves_alone_what_somebody_put_there() -> None:
    """A destination that holds somebody else's value by now is not cleared."""
    sim, spec = staged(consumer={"excused": True})
    store = sim.world.backends["store"]
    store.tamper(spec.destinations[1], {"TOKEN": "theirs"}, keep_marker=False)
    sim.request("retire", NAME, reason="the service is gone")
    sim.settle(NAME)
    assert store.document(spec.home) is None
    assert store.document(spec.destinations[1]) == {"TOKEN": "theirs"}


def test_a_halted_repair_gives_way_to_what_is_due() -> None:
    """A repair that halted does not keep the credential from being rotated in time."""
    sim, spec = staged(rules={"max_age": timedelta(days=2)})
    sim.world.backends["store"].lose(spec.destinations[1])
    sim.world.consumers["app"].fail("reload", None, lambda: Denied("not today"))
    sim.request("inspect", NAME)
    until(sim, halted)
    sim.world.calm()
    sim.run(3 * 24 * 3600.0)
    assert sim.record(NAME).generation == 2
    well(sim, spec)


def test_in_place_nothing_is_searched_for_suspended_or_revoked() -> None:
    """Where minting kills, the id may stay the same: a lost mint is minted again, and nothing is ended."""
    lost = LostMint()
    sim, spec = staged(issuer={"strategy": "in_place"}, rules={"allow_downtime": True}, consumer={"excused": True}, choose=lost)
    lost.armed = True
    sim.request("rotate", NAME)
    sim.settle(NAME)
    assert {method: sim.world.book.count(method) for method in ("revoke", "suspend", "find")} == {
        "revoke": 0,
        "suspend": 0,
        "find": 0,
    }
    well(sim, spec)


@pytest.mark.parametrize("waves", [False, True])
def test_accepting_the_new_version_publishes_it_everywhere(waves: bool) -> None:
    """The base is dead on the way back, some destinations hold it already: accepted, the new one is published to all."""
    sim, spec = staged(waves=waves, consumer={"excused": True})
    for check in sim.world.checks.values():
        check.breaks = lambda label: label.startswith("2-")
    app = sim.world.consumers["app"]

    def base_dies() -> None:
        sim.world.issuers["issuer"].end("issuer-ref-1")
        app.fail("reload", None, lambda: Denied("not today"))

    strike(sim, at(State.PUBLISHED, Way.BACK), base_dies)
    until(sim, halted)
    sim.world.calm()
    for check in sim.world.checks.values():
        check.breaks = lambda _label: False
    assert not sim.request("resume", NAME, how="accept", reason="there is no other")
    end = sim.settle(NAME)
    assert end.current is not None
    assert end.current.generation == 2
    assert sim.world.unquiet(spec) == []


def test_a_first_version_that_is_no_good_can_be_replaced() -> None:
    """With nothing to go back to, `--replan` gives up the first version and makes another; the first dies after that."""
    world = World(5)
    source = world.add_issuer(kind=FullIssuer, traits=traits())
    world.add_backend()
    world.add_consumer("app", source, world.destination(NAME))
    world.consumers["app"].refuses = lambda label: label.startswith("1-")
    spec = world.spec(NAME, policy=policy())
    sim = Simulator(world)
    sim.declare(spec)
    until(sim, halted)
    assert not sim.request("resume", NAME, how="replan")
    end = sim.settle(NAME)
    assert end.current is not None
    assert end.current.generation == 2
    well(sim, spec)


def test_a_base_that_is_gone_does_not_hold_the_pivot() -> None:
    """The issuer knows the base no more, so it can be neither suspended nor in use."""

    class Forgets(FullIssuer):
        def suspend(self, ref: str, parameters: JsonMap) -> None:
            raise NotFound(f"no {ref}")

        def last_used(self, ref: str, parameters: JsonMap) -> Any:
            raise NotFound(f"no {ref}")

    sim, spec = staged(kind=Forgets, rules={"still_used": "hold"})
    sim.request("rotate", NAME)
    sim.settle(NAME)
    well(sim, spec)


class Stubborn(CanRenew):
    """Cannot prolong its first version."""

    def renew(self, ref: str, parameters: JsonMap) -> Any:
        if ref == "issuer-ref-1":
            raise Denied("it has reached its end")
        return super().renew(ref, parameters)


def test_a_base_that_cannot_be_renewed_does_not_starve_the_new_one() -> None:
    """The base's renewal fails for ever while a hold stretches the overlap: the new version is renewed all the same."""
    world = World(5)
    source = world.add_issuer(kind=Stubborn, traits=traits(), period=timedelta(hours=1))
    world.add_backend()
    world.add_consumer("app", source, world.destination(NAME), excused=True)
    spec = world.spec(NAME, policy=policy(on_drift="repair"))
    sim = Simulator(world)
    sim.declare(spec)
    sim.settle(NAME)
    sim.request("rotate", NAME)
    until(sim, at(State.VERIFIED))
    end = world.clock.now() + timedelta(hours=5)
    sim.request("hold", NAME, owner="me", until=end.isoformat())
    sim.run(5 * 3600.0 + 600)
    assert source.live(NAME)
    assert [item.generation for item in source.live(NAME)] == [2]


def test_a_version_that_nears_the_end_of_its_life_is_replaced() -> None:
    """Renewals that prolong nothing any more do not count as renewed: the version is replaced before it ends."""

    class Mortal(CanRenew):
        def renew(self, ref: str, parameters: JsonMap) -> Any:
            version = self.versions[ref]
            end = version.created_at + timedelta(hours=6)
            expires_at, _ = super().renew(ref, parameters)
            version.expires_at = min(expires_at or end, end)
            return version.expires_at, self.clock.outside() + (version.expires_at - self.clock.outside()) / 2

    world = World(5)
    source = world.add_issuer(kind=Mortal, traits=traits(), period=timedelta(hours=1))
    world.add_backend()
    world.add_consumer("app", source, world.destination(NAME))
    spec = world.spec(NAME, policy=policy())
    sim = Simulator(world)
    sim.declare(spec)
    sim.run(20 * 3600.0)
    assert sim.record(NAME).generation >= 3
    assert not sim.problems()
    assert world.book.count("renew") < 200


def test_a_store_that_is_away_does_not_stop_renewals() -> None:
    """The destinations cannot be looked at for hours; the version that they hold is kept alive meanwhile."""
    world = World(5)
    source = world.add_issuer(kind=CanRenew, traits=traits(), period=timedelta(hours=1))
    store = world.add_backend()
    world.add_consumer("app", source, world.destination(NAME))
    sim = Simulator(world)
    sim.declare(world.spec(NAME, policy=policy()))
    sim.settle(NAME)
    store.down = True
    sim.request("inspect", NAME)
    sim.restart()
    sim.run(6 * 3600.0)
    store.down = False
    sim.run(600.0)
    assert not sim.problems()


def test_a_bug_in_a_plugin_does_not_run_hot() -> None:
    """A revocation that fails in an unforeseen way is tried with growing pauses, and the rotation before it is done."""

    class Buggy(SuspendingIssuer):
        def revoke(self, ref: str, fields: Secret | None, parameters: JsonMap) -> None:
            self._enter("revoke", ref=ref)
            raise ZeroDivisionError

    sim, _ = staged(kind=Buggy)
    sim.request("rotate", NAME)
    sim.run(3600.0)
    record = sim.record(NAME)
    assert record.rotation is None
    assert "ZeroDivisionError" in record.ledger[0].error
    assert sim.world.book.count("revoke") < 20


def test_a_pivot_that_is_denied_is_tried_with_pauses_and_told_once() -> None:
    """Suspending is not permitted: the overlap stretches, people hear of it once, and nothing floods the log."""
    sim, spec = staged()
    sim.world.issuers["issuer"].deny("suspend")
    sim.request("rotate", NAME)
    sim.run(3600.0)
    told = [notice for notice in sim.journal.notices(sim.world.clock.now(), 100) if notice.kind == "overdue"]
    assert len(told) == 1
    assert sim.world.book.count("suspend") < 30
    sim.world.calm()
    sim.settle(NAME)
    well(sim, spec)


def test_unlabelled_waits_for_what_a_lost_mint_made() -> None:
    """At an issuer without labels the orphan of a lost answer is searched for, not taken for somebody else's."""
    lost = LostMint()
    sim, spec = staged(kind=FakeIssuer, issuer={"labels": False, "exclusive": True}, choose=lost)
    lost.armed = True
    sim.request("rotate", NAME)
    end = sim.settle(NAME)
    assert end.failures == 0
    assert end.current is not None
    assert end.current.generation == 3
    well(sim, spec)
