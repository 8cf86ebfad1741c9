"""What the seeds are made of: each trouble that they are said to have is among them, and as often as it is said."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest

from rotatord.ops import Call
from rotatord.testing.fates import Fates, mixed
from rotatord.testing.faults import Fault
from rotatord.testing.fleet import Fleet
from rotatord.testing.workload import FakeWorkload
from tests.simulation import seeds
from tests.simulation.seeds import CREDENTIALS, DEEDS, MORE_DEEDS, build, plan

CALLS = 40_000
CALL = Call("issuer.mint", lambda: None, 5.0, effect=True, issuer="issuer")
SHARES = {  # of all calls that change something; of the others: those that need no effect
    Fault.ERROR: (0.05, True),
    Fault.LOST: (0.02, False),
    Fault.LATE: (0.02, False),
    Fault.SLOW: (0.015, True),
    Fault.HUNG: (0.006, True),
    Fault.DENIED: (0.0025, True),
}


@pytest.mark.parametrize("effect", [True, False])
def test_the_share_of_each_fault(effect: bool) -> None:
    """One of twenty calls fails, one of fifty is applied and not answered, one of fifty is applied later; by default."""
    fates = Fates(mixed(1, 99), CREDENTIALS)
    drawn = Counter(fates.of_call(CREDENTIALS[number % 3], replace(CALL, effect=effect), 15.0).fault for number in range(CALLS))
    for fault, (share, always) in SHARES.items():
        expected = share if effect or always else 0.0
        assert abs(drawn[fault] / CALLS - expected) <= expected / 4 + 1e-9, fault
    assert set(drawn) - {None} <= set(SHARES)


def test_what_becomes_of_a_call() -> None:
    """An error changes nothing; a lost one took effect before its caller gave up, a late one afterwards; a slow one answers
    in time, a hung one never."""
    fates = Fates(mixed(2, 99), CREDENTIALS)
    seen: set[Fault] = set()
    for _ in range(CALLS):
        fate = fates.of_call("cred-0", CALL, 15.0)
        if fate.fault is None:
            continue
        seen.add(fate.fault)
        match fate.fault:
            case Fault.ERROR | Fault.DENIED:
                assert fate.lands is None
            case Fault.LOST:
                assert fate.lands is not None
                assert fate.lands <= CALL.timeout
            case Fault.LATE:
                assert fate.lands is not None
                assert CALL.timeout <= fate.lands <= 15.0
                assert fate.answers == CALL.timeout
            case Fault.SLOW:
                assert fate.lands is not None
                assert fate.lands <= fate.answers < CALL.timeout
            case Fault.HUNG:
                assert (fate.lands, fate.answers) == (None, CALL.timeout)
    assert seen == set(SHARES)


def test_every_kind_of_world_is_among_them() -> None:
    """Late visibility and late forgetting, partial pages and doubles, caps, values chosen by either side, suspension, waves,
    copies in between; consumers that attest, roll, poll and refresh by themselves."""
    seen: Counter[str] = Counter()
    for seed in range(100):
        world, specs = build(seed, CREDENTIALS)
        if seeds._more(seed):
            seeds._neighbours(world, specs, random.Random(f"{seed}/neighbours"), seed)
        for spec in specs:
            issuer, told = world.issuers[spec.issuer], world.issuers[spec.issuer].traits
            seen["spreads late"] += bool(told.propagation)
            seen["listed late"] += bool(told.listing_delay)
            seen["forgotten late"] += bool(issuer.removal_delay)
            seen["doubles"] += issuer.lists_twice
            seen["partial pages"] += bool(told.listing_delay or issuer.removal_delay) and any(
                issuer.flickers() for _ in range(20)
            )
            seen["capped"] += told.max_live is not None
            seen[told.value_origin] += 1
            seen[told.scope_on] += 1
            seen["waves"] += len(spec.waves) > 1
            seen["suspends"] += spec.policy.suspend
        seen["copies"] += len(world.copiers)
        seen["strays"] += len(world.strays)
        for consumer in world.consumers.values():
            seen["workload" if isinstance(consumer, FakeWorkload) else consumer.evidence] += 1
            seen["refreshes by itself"] += consumer.poll is not None and consumer.evidence == "attestation"
            seen["drains"] += bool(consumer.drains)
    wanted = (
        "spreads late,listed late,forgotten late,doubles,partial pages,capped,issuer,caller,version,principal,waves,suspends"
    )
    wanted += ",copies,strays,workload,attestation,rollout,polling,refreshes by itself,drains"
    assert {name: seen[name] for name in wanted.split(",") if seen[name] < 5} == {}


def test_everything_that_people_and_neighbours_do_is_among_them() -> None:
    """Each deed: rollbacks, holds, leaks, lost documents, set clocks, consumers that hang, lie, break or come half up, kills
    and freezes. And in each seed there is a crash, at a commit or a call, or the fleet is killed by hand."""
    seen: Counter[str] = Counter()
    for seed in range(600):
        planned = plan(seed)
        seen.update(each.deed.__name__ for each in planned.deeds)
        assert set(planned.ends.values()) & {Fault.CRASH_BEFORE, Fault.CRASH_AFTER}
        seen.update(fault.name for fault in (*planned.ends.values(), *planned.points.values()))
    assert {deed.__name__ for _, deed in (*DEEDS, *MORE_DEEDS)} | {fault.name for fault in seeds.STOPS} <= set(seen)


def test_clocks_are_off_both_ways_and_there_are_several_replicas() -> None:
    """At least two replicas, whose clocks are ahead or behind, by little and by much."""
    skews: list[float] = []
    for seed in range(60):
        world, _ = build(seed, CREDENTIALS)
        fleet = Fleet(world, Fates(mixed(seed, 99), CREDENTIALS), seed=seed)
        assert len(fleet.replicas) >= 2
        skews += [replica.clock.skew.total_seconds() for replica in fleet.replicas]
        fleet.close()
    assert min(skews) < -5
    assert max(skews) > 5
    assert any(0 < skew < 1 for skew in skews)
    assert any(-1 < skew < 0 for skew in skews)
