"""What the fakes do beyond the contracts: the ways of real systems that a simulation must meet."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from rotatord.errors import Conflict, Denied, Retryable
from rotatord.model import Destination, Marker, Slot
from rotatord.ports import Accepted, Inconclusive, Minted, MintRequest, Published, Query, RefusedVerdict, Traits
from rotatord.testing.consumer import FakeConsumer
from rotatord.testing.issuer import PREFIX, FakeIssuer
from rotatord.testing.powers import FullIssuer, SuspendingIssuer
from rotatord.testing.world import World

SLOW = Traits(
    fields=("token",), propagation=timedelta(seconds=30), listing_delay=timedelta(seconds=10), scope_proof="exact", expiry=True
)
REQUEST = MintRequest(
    installation="here", credential="cred", rotation="rot_1", generation=1, scope={"read": "all"}, parameters={}
)
QUERY = Query(installation="here", credential="cred")


@pytest.fixture
def world() -> World:
    world = World()
    world.add_issuer(kind=FullIssuer, traits=SLOW)
    world.add_backend()
    return world


def publish(world: World, generation: int = 1, path: str = "cred") -> tuple[Minted, Published]:
    """Mint, let it spread, and write it to the current slot."""
    issuer, backend, home = world.issuers["issuer"], world.backends["store"], world.destination(path)
    minted = issuer.mint(replace(REQUEST, rotation=f"rot_{generation}", generation=generation), None)
    world.run(31)
    marker = Marker(
        installation="here",
        credential="cred",
        rotation=f"rot_{generation}",
        generation=generation,
        ref=minted.ref,
        fingerprint="f" * 32,
        write=f"w{generation}",
    )
    backend.write(home, Slot.CURRENT, minted.fields, marker, backend.read(home, Slot.CURRENT).token)
    told = Published(
        credential="cred",
        label=marker.label,
        rotation=marker.rotation,
        token=f"t{generation}",
        at=world.clock.now(),
    )
    return minted, told


def consumer_of(world: World, **settings: object) -> FakeConsumer:
    return world.add_consumer("app", world.issuers["issuer"], world.destination("cred"), **settings)


def test_a_fresh_version_is_refused_until_it_spread(world: World) -> None:
    """Probe and use refuse before the propagation time and accept after it."""
    issuer = world.issuers["issuer"]
    minted = issuer.mint(REQUEST, None)
    assert minted.fields.reveal("token").startswith(PREFIX)
    assert issuer.probe(minted.fields, {}) == RefusedVerdict("not accepted")
    assert not issuer.use(minted.fields)
    world.clock.advance(30)
    assert issuer.probe(minted.fields, {}) == Accepted({"read": "all"}, minted.ref, None)
    assert issuer.use(minted.fields.reveal("token"))


def test_a_revoked_version_works_a_little_longer(world: World) -> None:
    """It is not listed any more while it is still accepted; then it is dead."""
    issuer = world.issuers["issuer"]
    minted = issuer.mint(REQUEST, None)
    world.clock.advance(30)
    issuer.revoke(minted.ref, None, {})
    assert list(issuer.find(replace(QUERY, ref=minted.ref))) == []
    assert issuer.accepts(minted.ref)
    world.clock.advance(30)
    assert not issuer.accepts(minted.ref)


def test_a_version_is_listed_late(world: World) -> None:
    """Between mint and listing delay the version is live and cannot be found."""
    issuer = world.issuers["issuer"]
    minted = issuer.mint(REQUEST, None)
    assert list(issuer.find(QUERY)) == []
    assert [live.ref for live in issuer.live("cred")] == [minted.ref]
    world.clock.advance(10)
    assert [live.ref for live in issuer.find(QUERY)] == [minted.ref]


def test_a_page_may_lack_what_is_new_and_have_what_is_gone(world: World) -> None:
    """A list that is read while it changes shows a version and then not, until its delay has passed; never one that lived
    before."""
    issuer = world.issuers["issuer"]
    issuer.removal_delay = timedelta(seconds=10)
    turns = iter([True, False] * 20)
    issuer.flickers = lambda: next(turns)
    old = issuer.mint(REQUEST, None).ref
    assert [len(issuer.find(QUERY)) for _ in range(4)] == [1, 0, 1, 0]
    world.run(11)
    new = issuer.mint(replace(REQUEST, rotation="rot_2", generation=2), None).ref
    assert [[item.ref for item in issuer.find(QUERY)] for _ in range(3)] == [[old, new], [old], [old, new]]
    world.run(11)
    issuer.end(new)
    assert [len(issuer.find(QUERY)) for _ in range(4)] == [2, 1, 2, 1]
    world.run(11)
    assert [item.ref for item in issuer.find(QUERY)] == [old]


def test_an_expired_version_is_gone_without_being_revoked(world: World) -> None:
    """At its expiry a version is refused, unlisted, and not live."""
    issuer = world.issuers["issuer"]
    minted = issuer.mint(replace(REQUEST, ttl=timedelta(minutes=5)), None)
    assert minted.expires_at == world.clock.outside() + timedelta(minutes=5)
    world.clock.advance(300)
    assert not issuer.accepts(minted.ref)
    assert issuer.live() == []


def test_our_wall_clock_moves_nothing_at_the_issuer(world: World) -> None:
    """Expiry and propagation follow the issuer's own clock."""
    issuer = world.issuers["issuer"]
    minted = issuer.mint(replace(REQUEST, ttl=timedelta(minutes=5)), None)
    world.clock.advance(30)
    world.clock.jump_wall(3600)
    assert issuer.accepts(minted.ref)


def test_suspension_and_resumption_spread_slowly(world: World) -> None:
    """A suspended version is accepted a while longer, a resumed one refused a while longer."""
    issuer = world.issuers["issuer"]
    assert isinstance(issuer, SuspendingIssuer | FullIssuer)
    minted = issuer.mint(REQUEST, None)
    world.clock.advance(30)
    issuer.suspend(minted.ref, {})
    assert issuer.accepts(minted.ref)
    world.clock.advance(30)
    assert not issuer.accepts(minted.ref)
    issuer.resume(minted.ref, {})
    assert not issuer.accepts(minted.ref)
    world.clock.advance(30)
    assert issuer.accepts(minted.ref)


def test_revoking_what_is_shown_is_a_violation_at_the_call(world: World) -> None:
    """The issuer asks whether the version is still needed when revoke is called, and what uses it suffers."""
    consumer_of(world)
    minted, _ = publish(world)
    world.tick()
    world.issuers["issuer"].revoke(minted.ref, None, {})
    assert [violation.kind for violation in world.violations] == ["killed_in_use"]
    world.run(31)
    assert "outage" in {violation.kind for violation in world.violations}


def test_revoking_what_only_memory_holds_is_a_violation(world: World) -> None:
    """A consumer that has not reloaded still needs the old version."""
    consumer_of(world)
    first, _ = publish(world, 1)
    world.tick()
    publish(world, 2)
    world.issuers["issuer"].revoke(first.ref, None, {})
    assert "app-1 uses it" in world.violations[0].what


def test_revoking_what_nobody_needs_is_fine(world: World) -> None:
    """After all instances loaded the next version, the old one may go; a second revoke is nothing."""
    app = consumer_of(world, copies=2)
    first, _ = publish(world, 1)
    world.tick()
    _, told = publish(world, 2)
    app.reload(told)
    world.issuers["issuer"].revoke(first.ref, None, {})
    world.issuers["issuer"].revoke(first.ref, None, {})
    world.run(120, step=5)
    assert world.violations == []
    assert world.unquiet(world.spec()) == []


def test_forced_deaths_can_be_excused(world: World) -> None:
    """A recorded exception is no violation."""
    minted, _ = publish(world)
    world.excuse = lambda act, ref: (act, ref) == ("revoke", minted.ref)
    world.issuers["issuer"].revoke(minted.ref, None, {})
    assert world.violations == []


def test_probes_from_elsewhere_prove_nothing(world: World) -> None:
    """From a foreign vantage every probe is inconclusive."""
    issuer = world.issuers["issuer"]
    minted = issuer.mint(REQUEST, None)
    world.clock.advance(30)
    issuer.foreign_vantage = True
    assert isinstance(issuer.probe(minted.fields, {}), Inconclusive)


def test_an_issuer_may_grant_another_scope(world: World) -> None:
    """What is granted is what a probe sees."""
    issuer = world.issuers["issuer"]
    issuer.grants = lambda scope: {**scope, "write": "all"}
    minted = issuer.mint(REQUEST, None)
    world.clock.advance(30)
    answer = issuer.probe(minted.fields, {})
    assert isinstance(answer, Accepted)
    assert answer.scope == {"read": "all", "write": "all"}


def test_knobs_refuse_before_any_effect(world: World) -> None:
    """Denied, failing and down calls change nothing, are recorded, and stop when calmed."""
    issuer = world.issuers["issuer"]
    issuer.deny("mint")
    with pytest.raises(Denied):
        issuer.mint(REQUEST, None)
    issuer.allow()
    issuer.fail("mint", 2, lambda: Conflict("no room"))
    for _ in range(2):
        with pytest.raises(Conflict):
            issuer.mint(REQUEST, None)
    issuer.down = True
    with pytest.raises(Retryable):
        issuer.mint(REQUEST, None)
    world.calm()
    assert issuer.live() == []
    issuer.mint(REQUEST, None)
    assert world.book.count("mint") == 5
    assert len(issuer.calls) == 5


def test_no_call_records_a_value(world: World) -> None:
    """The book holds no secret."""
    consumer_of(world)
    publish(world)
    issuer = world.issuers["issuer"]
    assert not any(value in repr(world.book.calls) for value in issuer.values())


def test_alternating_users_take_turns() -> None:
    """Two seats, the free one is taken, and none is overwritten while it lives."""
    world = World()
    traits = Traits(fields=("token",), strategy="alternating", max_live=2, value_origin="caller")
    issuer = world.add_issuer(traits=traits)
    first = issuer.mint(REQUEST, issuer.propose(REQUEST))
    second = issuer.mint(REQUEST, issuer.propose(REQUEST))
    assert [issuer.versions[each.ref].seat for each in (first, second)] == ["cred/a", "cred/b"]
    with pytest.raises(Conflict):
        issuer.mint(REQUEST, issuer.propose(REQUEST))
    issuer.revoke(first.ref, None, {})
    third = issuer.mint(REQUEST, issuer.propose(REQUEST))
    assert issuer.versions[third.ref].seat == "cred/a"


def test_a_store_restored_shows_the_older_value(world: World) -> None:
    """A restore brings an old value back under tokens never seen before; a wipe empties everything."""
    store, home = world.backends["store"], world.destination("cred")
    first, _ = publish(world, 1)
    publish(world, 2)
    stale = store.read(home, Slot.CURRENT).token
    store.restore_older()
    held = store.read(home, Slot.CURRENT)
    assert held.fields == first.fields
    assert held.token != stale
    store.wipe()
    assert store.read(home, Slot.CURRENT).empty
    assert store.shown(home).fields is None
    assert first.fields in [showing.shown.fields for showing in store.showings]


def test_a_broken_document_is_an_outage_for_who_loads_it(world: World) -> None:
    """A consumer that loads what somebody wrote by hand is refused."""
    consumer_of(world, poll=timedelta(seconds=10))
    publish(world)
    world.backends["store"].tamper(world.destination("cred"), {"TOKEN": "oops-a-typo"})
    world.run(11)
    assert [violation.kind for violation in world.violations][:1] == ["outage"]


def test_a_consumer_loads_only_when_told(world: World) -> None:
    """Without poll a new value is not seen before the reload."""
    app = consumer_of(world)
    publish(world, 1)
    world.tick()
    _, told = publish(world, 2)
    world.run(60)
    assert app.labels() == {"1-ffffffff"}
    app.reload(told)
    assert app.labels() == {"2-ffffffff"}


def test_a_polling_consumer_loads_by_itself(world: World) -> None:
    """Within its poll time it has read the new value."""
    app = consumer_of(world, poll=timedelta(seconds=30))
    publish(world, 1)
    publish(world, 2)
    world.run(30)
    assert app.labels() == {"2-ffffffff"}


def test_a_reload_may_never_be_applied_or_late(world: World) -> None:
    """Accepted and applied are two things."""
    app = consumer_of(world, applies_after=None)
    publish(world, 1)
    world.tick()
    _, told = publish(world, 2)
    app.reload(told)
    world.run(100)
    assert app.labels() == {"1-ffffffff"}
    app.applies_after = timedelta(seconds=20)
    app.reload(replace(told, token="another"))
    world.run(19)
    assert app.labels() == {"1-ffffffff"}
    world.run(1)
    assert app.labels() == {"2-ffffffff"}


def test_a_consumer_may_come_half_up(world: World) -> None:
    """Only some instances follow; the others go on with the old version."""
    app = consumer_of(world, copies=3, comes_up=1)
    publish(world, 1)
    world.tick()
    _, told = publish(world, 2)
    app.reload(told)
    assert sorted(str(each.version) for each in app.instances(told)) == ["1-ffffffff", "1-ffffffff", "2-ffffffff"]


def test_a_consumer_may_refuse_a_version(world: World) -> None:
    """It says which one and goes on with what it has."""
    app = consumer_of(world, refuses=lambda label: label.startswith("2-"))
    publish(world, 1)
    world.tick()
    _, told = publish(world, 2)
    app.reload(told)
    (instance,) = app.instances(told)
    assert (instance.version, instance.refused) == ("1-ffffffff", "2-ffffffff")
    app.restart()
    (instance,) = app.instances(told)
    assert instance.version is None, "whoever starts anew has nothing to go on with"


def test_a_liar_is_found_out_only_by_its_use(world: World) -> None:
    """It attests what it never loaded; its refusals are counted and are nobody's violation."""
    app = consumer_of(world, lies=True)
    first, _ = publish(world, 1)
    world.tick()
    _, told = publish(world, 2)
    app.reload(told)
    assert [each.version for each in app.instances(told)] == ["2-ffffffff"]
    world.tick()
    issuer = world.issuers["issuer"]
    assert isinstance(issuer, FullIssuer)
    assert issuer.last_used(first.ref, {}) == world.clock.outside()
    issuer.revoke(first.ref, None, {})
    world.run(31)
    assert app.refused_uses > 0
    assert world.violations == []


def test_old_instances_of_a_rollout_drain(world: World) -> None:
    """They are listed as terminating, still use the old version, and then end."""
    app = consumer_of(world, evidence="rollout", copies=2, drains=timedelta(seconds=60))
    first, _ = publish(world, 1)
    world.tick()
    _, told = publish(world, 2)
    app.reload(told)
    seen = app.instances(told)
    assert sorted(each.terminating for each in seen) == [False, False, True, True]
    assert world.needs(world.issuers["issuer"], first.ref)
    world.run(60)
    assert len(app.instances(told)) == 2
    assert world.needs(world.issuers["issuer"], first.ref) is None


def test_a_copy_in_between_lags(world: World) -> None:
    """A consumer that reads a copy sees what the destination showed earlier."""
    app = consumer_of(world, copy_delay=timedelta(seconds=100))
    publish(world, 1)
    world.run(100)
    _, told = publish(world, 2)
    app.reload(told)
    assert app.labels() == {"1-ffffffff"}


def test_a_hanging_consumer_goes_on_using(world: World) -> None:
    """Nobody can ask it, and its health is unknown."""
    app = consumer_of(world, hangs=True)
    _, told = publish(world, 1)
    world.tick()
    with pytest.raises(Retryable):
        app.instances(told)
    assert app.copies[0].uses == 1
    assert world.checks["app-health"].check(told)[0] == "unknown"


def test_health_follows_the_consumer(world: World) -> None:
    """Unhealthy while nothing is loaded, or while a version runs that breaks it."""
    consumer_of(world)
    check = world.checks["app-health"]
    minted, told = publish(world, 1)
    world.tick()
    assert check.check(told)[0] == "healthy"
    check.breaks = lambda label: label.startswith("1-")
    assert check.check(told)[0] == "unhealthy"
    check.breaks = lambda _label: False
    world.issuers["issuer"].end(minted.ref)
    world.run(31)
    assert check.check(told) == ("unhealthy", "app-1 is refused")


def test_what_is_not_quiet_is_named(world: World) -> None:
    """Two live versions, a destination without one, and slots that are not empty."""
    issuer = world.issuers["issuer"]
    store, home = world.backends["store"], world.destination("cred")
    minted, _ = publish(world)
    issuer.mint(REQUEST, None)
    marker = store.read(home, Slot.CURRENT).marker
    assert marker
    store.write(home, Slot.PENDING, minted.fields, marker, store.read(home, Slot.PENDING).token)
    elsewhere = Destination(backend="store", address={"path": "elsewhere"}, keys={"TOKEN": "token"})
    problems = world.unquiet(world.spec(destinations=(home, elsewhere)))
    assert len(problems) == 3


def test_a_world_repeats_for_its_seed() -> None:
    """Values, refs and ids are the same in every run of a seed."""

    def run() -> tuple[str, str, str]:
        world = World(7)
        issuer: FakeIssuer = world.add_issuer()
        minted = issuer.mint(REQUEST, None)
        return minted.ref, minted.fields.reveal("token"), world.ids.new("rot")

    assert run() == run()
