"""A configuration that changes under what is at work: brakes, renames, issuers that are gone, and whose version is a stray."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from served import owing, record, rotation, spec, version

from rotatord import apply, moves
from rotatord.journal.memory import MemoryJournal
from rotatord.model import ConsumerSpec, Destination, Record, Spec, Standing, State
from rotatord.ports import Amendment, Traits
from rotatord.sweep import Sweep
from rotatord.testing.clock import START, SeededIds, VirtualClock
from rotatord.testing.powers import FullIssuer
from rotatord.testing.world import World

NAMES = [f"dns-{number}" for number in range(12)]
TRAITS = Traits(fields=("token",))


def held(*records: Record) -> MemoryJournal:
    journal = MemoryJournal(VirtualClock(START), SeededIds(1))
    journal.put([Amendment(record=item) for item in records])
    return journal


def many() -> MemoryJournal:
    return held(*(record(name, spec=spec(name), current=version(scope={})) for name in NAMES))


def brought(journal: MemoryJournal, change: Callable[[Spec], Spec]) -> set[str]:
    """The credentials that are held for a person after every specification was changed so."""
    apply.apply(journal, {name: change(spec(name)) for name in NAMES}, {}, START, SeededIds(2))
    return {item.name for item in journal.records() if item.held_for_person}


def shorter(each: Spec) -> Spec:
    return replace(each, policy=replace(each.policy, max_age=timedelta(minutes=10)))


@pytest.mark.parametrize(
    "change",
    [
        shorter,
        lambda each: replace(each, scope={"permissions": ["all"]}),
        lambda each: replace(each, issuer="another"),
    ],
)
def test_a_change_that_makes_many_due_is_held(change: Callable[[Spec], Spec]) -> None:
    """Whatever makes them due at once, a shorter age as much as another scope, is held for a person."""
    assert brought(many(), change) == set(NAMES)


def test_a_change_taken_back_holds_nobody() -> None:
    """Who takes a change back need not resume each credential by hand."""
    journal = many()
    assert brought(journal, shorter)
    assert brought(journal, lambda each: each) == set()


def test_a_change_that_makes_nothing_due_is_not_held() -> None:
    """A longer age or another owner brakes nothing."""
    assert brought(many(), lambda each: replace(each, owner="others")) == set()


def test_the_end_of_a_rotation_does_not_loosen_a_brake() -> None:
    """The change was made while a rotation was open: its end says nothing about the change."""
    busy = record(rotation=rotation(State.VERIFIED), spec=shorter(spec()), held_for_person=f"{apply.BRAKED} 12 due")
    assert moves.complete(busy, TRAITS, START).held_for_person == busy.held_for_person
    assert moves.complete(replace(busy, spec=spec()), TRAITS, START).held_for_person == ""


@pytest.mark.parametrize("busy", [record(rotation=rotation()), record(ledger=(owing(),))])
def test_what_is_at_work_is_not_renamed(busy: Record) -> None:
    """Its labels carry the old name until it is quiet: the file is refused with the reason."""
    (problem,) = apply.refusals(held(busy), ["cf"], ["file"], ["web"], {"web": "dns"})
    assert "cannot be renamed to web yet" in str(problem)
    assert apply.refusals(held(record()), ["cf"], ["file"], ["web"], {"web": "dns"}) == []


def test_the_issuer_of_what_is_in_use_is_still_needed() -> None:
    """Another issuer is declared: the one before stays until its last version is replaced and dead."""
    (problem,) = apply.refusals(held(record()), ["new"], ["file"], ["dns"], {})
    assert "'cf' is gone" in str(problem)
    assert apply.refusals(held(record()), ["new"], ["file"], [], {}) == []


def test_who_has_to_go_on_with_what_is_our_own_is_still_needed() -> None:
    """Each shows that it speaks with the new version before the old one dies: who was gone could never show it."""
    ours = replace(spec(), own_of=("issuers.cf", "issuers.other", "backends.cluster"))
    busy = record(spec=ours, rotation=rotation(plan=ours))
    found = [str(problem) for problem in apply.refusals(held(busy), ["cf"], ["file"], [], {})]
    assert ["issuer 'other' is gone" in found[0], "backend 'cluster' is gone" in found[1]] == [True, True]
    assert apply.refusals(held(busy), ["cf", "other"], ["file", "cluster"], [], {}) == []
    assert apply.refusals(held(record(spec=ours)), ["cf"], ["file"], [], {}) == []


@pytest.mark.parametrize("open_rotation", [True, False])
def test_the_backend_of_a_copy_is_needed_as_long_as_it_is_read(*, open_rotation: bool) -> None:
    """Nothing is proven, and nothing dies, before what a consumer reads was read too: that backend cannot go first."""
    copy = Destination(backend="cluster", address={"name": "dns"}, keys={"TOKEN": "token"})
    reading = replace(spec(), consumers=(ConsumerSpec(type="deployment", name="web", copies=(copy,)),))
    busy = record(spec=reading, **({"rotation": rotation(plan=reading)} if open_rotation else {"ledger": (owing(),)}))
    (problem,) = apply.refusals(held(busy), ["cf"], ["file"], [], {})
    assert "backend 'cluster' is gone" in str(problem)
    assert apply.refusals(held(busy), ["cf"], ["file", "cluster"], [], {}) == []
    assert apply.refusals(held(record(spec=reading)), ["cf"], ["file"], [], {}) == []


def test_who_comes_back_is_looked_at_first() -> None:
    """Nobody knows what became of the destinations of a credential while it was not declared."""
    journal = held(record(standing=Standing.FORGOTTEN))
    apply.apply(journal, {"dns": spec()}, {}, START, SeededIds(2))
    back = journal.get("dns")
    assert back is not None
    assert back.standing is Standing.MANAGED
    assert back.asked is not None
    assert back.asked.verb == "inspect"


def test_a_renamed_credential_has_no_strays() -> None:
    """The label of a version keeps the name that it was minted under; it is known all the same."""
    from rotatord.ports import MintRequest

    world = World()
    issuer = world.add_issuer("cf", kind=FullIssuer)
    made = issuer.issue(
        MintRequest(installation="here", credential="old", rotation="rot_3", generation=3, scope={}, parameters={})
    )
    world.clock.advance(3600)
    left = record("old", standing=Standing.FORGOTTEN, current=None)
    journal = held(record("dns", current=version(ref=made.ref), formerly=("old",)), left)
    sweep = Sweep(journal, world.clock, world.ids, "here")
    for _ in range(2):
        sweep.look(["cf"], world.plugins)
    assert sweep.strays(["cf"]) == []
