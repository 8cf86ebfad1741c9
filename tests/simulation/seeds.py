"""One seed is one run: a world, replicas, faults, people, and a calm end. See test_seeds.py for what runs them."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from rotatord.model import Policy, Slot, Spec, State, Way
from rotatord.ports import Amendment, MintRequest
from rotatord.replacing import replace
from rotatord.testing.fates import Fates, mixed
from rotatord.testing.faults import Fault
from rotatord.testing.fleet import Fleet, Strike, halted
from rotatord.testing.issuer import FakeIssuer
from rotatord.testing.powers import FullIssuer, PrincipalIssuer, SuspendingIssuer
from rotatord.testing.workload import FakeWorkload
from rotatord.testing.world import World
from tests.simulation.scenarios import SECOND, traits

CREDENTIALS = ("cred-0", "cred-1", "cred-2")
WILD_SECONDS = 900.0
SEARCHED = 8  # one of so many seeds
ENDS_WELL = {"base_absent": "accept", "base_dead": "accept", "value_lost": "accept"}


@dataclass(slots=True)
class Run:
    """What one seed did."""

    seed: int
    fleet: Fleet
    specs: list[Spec]
    problems: list[str] = field(default_factory=list)


# --- the world ---------------------------------------------------------------------------------------------------


def _traits(rng: random.Random) -> Any:
    return traits(
        value_origin=rng.choice(["issuer", "issuer", "caller"]),
        scope_proof=rng.choice(["exact", "none"]),
        max_live=2 if rng.random() < 0.3 else None,
        propagation=rng.choice([0, 0, 2, 5]) * SECOND,
        listing_delay=rng.choice([0, 0, 3]) * SECOND,
        call_settles_within=15 * SECOND,
        last_used_delay=rng.choice([0, 2]) * SECOND,
    )


def _policy(rng: random.Random) -> Policy:
    return Policy(
        max_age=timedelta(days=1),
        overlap=rng.choice([0, 1, 30]) * SECOND,
        settle=rng.choice([0, 5]) * SECOND,
        dwell=rng.choice([0, 0, 3]) * SECOND,
        poll=rng.choice([2, 5]) * SECOND,
        jitter_percent=5.0,
        verify_within=timedelta(minutes=2),
        reload_within=timedelta(minutes=2),
        prove_within=timedelta(minutes=2),
        publish_within=timedelta(minutes=5),
        suspend=rng.random() < 0.6,
        still_used=rng.choice(["ignore", "ignore", "revoke_after"]),
        still_used_limit=2 * SECOND,
        compromised_deadline=timedelta(minutes=30),
    )


def _consumer(rng: random.Random) -> dict[str, Any]:
    kind = rng.choice(["attestation", "attestation", "rollout", "polling", "workload"])
    if kind == "polling":
        return {"evidence": kind, "poll": rng.choice([3, 15]) * SECOND}
    if kind == "workload":
        return {"kind": FakeWorkload, "gather": 1.0, "copies": 2, "drains": rng.choice([0, 4]) * SECOND}
    return {
        "evidence": kind,
        "copies": rng.choice([1, 2]),
        "applies_after": rng.choice([0, 2, 12]) * SECOND,
        "drains": rng.choice([0, 8]) * SECOND if kind == "rollout" else 0 * SECOND,
        "poll": 20 * SECOND if kind == "attestation" and rng.random() < 0.3 else None,
    }


def _credential(world: World, rng: random.Random, name: str) -> Spec:
    issuer_name = f"{name}-issuer"
    if rng.random() < 0.15:
        settings = {"scope_on": "principal", "labels": False, "exclusive": True, "max_live": 2}
        issuer = world.add_issuer(issuer_name, kind=PrincipalIssuer, traits=traits(call_settles_within=15 * SECOND, **settings))
        scope = {"may": ["read", "write"]}
    else:
        kind = rng.choice([FakeIssuer, SuspendingIssuer, FullIssuer])
        issuer = world.add_issuer(issuer_name, kind=kind, traits=_traits(rng))
        scope = {"read": "all"}
    count = rng.choice([1, 2])
    waves = rng.random() < 0.25
    places = tuple(world.destination(f"{name}/{place}", wave=place if waves else 0) for place in range(count))
    copied = rng.random() < 0.15 and not waves
    for place, destination in enumerate(places):
        settings = _consumer(rng)
        if place == 0 and copied:
            copy = world.destination(f"{name}/copy", "cluster")
            lag = rng.choice([0, 3, 9]) * SECOND
            world.add_copier(destination, copy, lambda lag=lag: lag)
            world.add_consumer(f"{name}-app-{place}", issuer, copy, evidence="rollout", copies=2, drains=2 * SECOND)
            continue
        if place > 0 and rng.random() < 0.5:
            continue
        world.add_consumer(f"{name}-app-{place}", issuer, destination, **settings)
    return world.spec(name, issuer=issuer_name, policy=_policy(rng), destinations=places, scope=scope)


def build(seed: int, names: tuple[str, ...]) -> tuple[World, list[Spec]]:
    """Each credential is drawn by itself, so that one left out changes none of the others."""
    world = World(seed)
    world.add_backend()
    world.add_backend("cluster")
    return world, [_credential(world, random.Random(f"{seed}/{name}"), name) for name in names]


# --- what people and neighbours do -------------------------------------------------------------------------------

Deed = Callable[[Fleet, Spec, random.Random], None]


def _rotate(fleet: Fleet, spec: Spec, rng: random.Random) -> None:
    fleet.request("rotate", spec.name)


def _roll_back(fleet: Fleet, spec: Spec, rng: random.Random) -> None:
    fleet.request("rollback", spec.name, reason="changed our mind")


def _hold(fleet: Fleet, spec: Spec, rng: random.Random) -> None:
    until = fleet.world.clock.outside() + timedelta(seconds=rng.choice([60, 300]))
    fleet.request("hold", spec.name, owner="somebody", until=until.isoformat())


def _lose(fleet: Fleet, spec: Spec, rng: random.Random) -> None:
    fleet.world.backends["store"].lose(rng.choice(spec.destinations), Slot.CURRENT)
    fleet.world.tick()
    fleet.request("inspect", spec.name)


def _leak(fleet: Fleet, spec: Spec, rng: random.Random) -> None:
    fleet.request("rotate", spec.name, reason="compromised")


def _jump(fleet: Fleet, spec: Spec, rng: random.Random) -> None:
    """Somebody sets a clock. Where versions have no labels only their time says whose they are: there it is near the truth."""
    fleet.on_time = False
    replica = rng.choice(fleet.replicas)
    labelled = all(issuer.traits.labels for issuer in fleet.world.issuers.values())
    replica.clock.skew += timedelta(seconds=rng.choice([-3600, -90, 90, 3600] if labelled else [-90, 90]))


def _restart_consumer(fleet: Fleet, spec: Spec, rng: random.Random) -> None:
    consumer = rng.choice(_consumers(fleet, spec))
    if isinstance(consumer, FakeWorkload):
        consumer.rollout()
    else:
        consumer.restart()


def _hang(fleet: Fleet, spec: Spec, rng: random.Random) -> None:
    consumer = rng.choice(_consumers(fleet, spec))
    consumer.hangs = True
    fleet.turns.after(rng.choice([5.0, 60.0]), lambda: setattr(consumer, "hangs", False))


def _half_up(fleet: Fleet, spec: Spec, rng: random.Random) -> None:
    consumer = rng.choice(_consumers(fleet, spec))
    consumer.comes_up = 1
    fleet.turns.after(rng.choice([20.0, 300.0]), lambda: setattr(consumer, "comes_up", None))


def _break(fleet: Fleet, spec: Spec, rng: random.Random) -> None:
    """The service breaks on the next version."""
    consumer = rng.choice(_consumers(fleet, spec))
    check = fleet.world.checks.get(f"{consumer.name}-health")
    bad = fleet.record(spec.name).generation + 1
    if check is not None:
        check.breaks = lambda label: label.startswith(f"{bad}-")
    fleet.request("rotate", spec.name)


def _refuse(fleet: Fleet, spec: Spec, rng: random.Random) -> None:
    """A consumer will not load the next version. Nobody learns that of one that only polls."""
    consumer = rng.choice(_consumers(fleet, spec))
    if consumer.evidence == "polling":
        return
    bad = fleet.record(spec.name).generation + 1
    consumer.refuses = lambda label: label.startswith(f"{bad}-")
    fleet.request("rotate", spec.name)


def _configure(fleet: Fleet, spec: Spec, rng: random.Random) -> None:
    """The configuration changes."""
    policy = replace(spec.policy, overlap=rng.choice([0, 10]) * SECOND, poll=3 * SECOND)

    def change(record: Any) -> Amendment:
        return Amendment(record=replace(record, spec=replace(record.spec, policy=policy)))

    fleet.journal.amend(spec.name, change)


def _stop(fleet: Fleet, spec: Spec, rng: random.Random) -> None:
    fleet.stop(rng.choice(fleet.replicas), rng.choice([0.5, 30.0]))


def _kill(fleet: Fleet, spec: Spec, rng: random.Random) -> None:
    fleet.kill(rng.choice(fleet.replicas))


def _freeze(fleet: Fleet, spec: Spec, rng: random.Random) -> None:
    fleet.freeze(rng.choice(fleet.replicas), None, rng.choice([5.0, 20.0, 60.0]))


def _inspect(fleet: Fleet, spec: Spec, rng: random.Random) -> None:
    fleet.request("inspect", spec.name)


def _contain(fleet: Fleet, spec: Spec, rng: random.Random) -> None:
    fleet.request("contain", spec.name, reason="seen in a public repository")


def _repair(fleet: Fleet, spec: Spec, rng: random.Random) -> None:
    fleet.request("repair", spec.name)


def _lie(fleet: Fleet, spec: Spec, rng: random.Random) -> None:
    """For a while a consumer says that it has loaded what it has not; then somebody restarts it."""
    consumer = rng.choice(_consumers(fleet, spec))
    consumer.lies = True

    def end() -> None:
        consumer.lies = False
        consumer.restart()

    fleet.turns.after(rng.choice([30.0, 200.0]), end)


def _rescope(fleet: Fleet, spec: Spec, rng: random.Random) -> None:
    """The configuration asks for another scope."""
    scope = (
        {"may": rng.choice([["read"], ["read", "delete"]])} if "may" in spec.scope else {"read": rng.choice(["some", "all"])}
    )

    def change(record: Any) -> Amendment:
        return Amendment(record=replace(record, spec=replace(record.spec, scope=scope)))

    fleet.journal.amend(spec.name, change)
    fleet.request("rotate", spec.name)


def _consumers(fleet: Fleet, spec: Spec) -> list[Any]:
    return [consumer for name, consumer in fleet.world.consumers.items() if name.startswith(f"{spec.name}-")]


DEEDS: tuple[tuple[int, Deed], ...] = (
    (8, _rotate),
    (3, _roll_back),
    (2, _hold),
    (2, _lose),
    (1, _leak),
    (1, _jump),
    (2, _restart_consumer),
    (1, _hang),
    (1, _half_up),
    (2, _break),
    (1, _refuse),
    (1, _configure),
    (1, _stop),
    (2, _kill),
    (2, _freeze),
    (1, _inspect),
)


MORE_DEEDS: tuple[tuple[int, Deed], ...] = ((3, _rescope), (2, _contain), (2, _repair), (2, _lie))


def _more(seed: int) -> bool:
    """Whether this seed is one of those with more kinds of deeds and neighbours. The others stay what they were when they
    found something."""
    return seed % 10 in {1, 2, 5, 8, 9}


def _neighbours(world: World, specs: list[Spec], rng: random.Random, seed: int) -> None:
    """Versions of other installations at our issuers; and issuers that list some things twice, or still what has ended, or
    in one page what the next one lacks."""
    for spec in specs:
        issuer = world.issuers[spec.issuer]
        issuer.lists_twice = rng.random() < 0.3
        pages = random.Random(f"{seed}/pages/{spec.name}")
        issuer.removal_delay = pages.choice([0, 0, 2, 8]) * SECOND
        if pages.random() < 0.5:
            issuer.flickers = lambda pages=pages: pages.random() < 0.5
        if issuer.traits.labels and issuer.traits.value_origin == "issuer":
            request = MintRequest(
                installation="another",
                credential=spec.name,
                rotation="theirs",
                generation=1,
                scope=spec.scope,
                parameters={"principal": "another"},
            )
            world.strays[issuer.issue(request).ref] = issuer


@dataclass(frozen=True, slots=True)
class Planned:
    """One deed: when, and over which credential."""

    id: str
    at: float
    deed: Deed
    name: str
    reached: tuple[State, Way] | None = None  # so long after the rotation gets there, rather than at a time


@dataclass(slots=True)
class Plan:
    """What is decided before the run: crashes and freezes by operation or point, and deeds."""

    ends: dict[tuple[str, int], Fault]
    points: dict[tuple[str, str, int], Fault]
    deeds: list[Planned]


MOMENTS = (
    (State.VERIFIED, Way.FORWARD),
    (State.VERIFIED, Way.FORWARD),
    (State.PUBLISHED, Way.FORWARD),
    (State.RELOADED, Way.FORWARD),
    (State.PROVEN, Way.FORWARD),
    (State.STAGED, Way.FORWARD),
    (State.PROVEN, Way.BACK),
    (State.DISCARDING, Way.BACK),
)
POINTS = (
    "backend.write.current",
    "backend.write.pending",
    "issuer.mint",
    "issuer.revoke",
    "issuer.suspend",
    "consumer.reload",
    "commit",
)
STOPS = (Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.FROZEN, Fault.FROZEN, Fault.FROZEN_STARTED)


def plan(seed: int) -> Plan:
    """One crash at least."""
    rng = random.Random(f"{seed}/plan")
    ends = {(rng.choice(CREDENTIALS), rng.randint(1, 40)): rng.choice([Fault.CRASH_BEFORE, Fault.CRASH_AFTER])}
    if rng.random() < 0.5:
        ends[rng.choice(CREDENTIALS), rng.randint(10, 150)] = rng.choice(STOPS)
    points = {
        (rng.choice(CREDENTIALS), point, rng.randint(1, 30 if point == "commit" else 3)): rng.choice(STOPS)
        for point in rng.sample(POINTS, rng.choice([0, 1, 1, 2]))
    }
    weighted = DEEDS + MORE_DEEDS if _more(seed) else DEEDS
    kinds, weights = [deed for _, deed in weighted], [weight for weight, _ in weighted]
    deeds = [Planned("deed 0 rotate", rng.uniform(30.0, 120.0), _rotate, rng.choice(CREDENTIALS))]
    for number in range(1, rng.randint(3, 6)):
        deed, name = rng.choices(kinds, weights)[0], rng.choice(CREDENTIALS)
        moment = rng.choice(MOMENTS) if deed is not _rotate and rng.random() < 0.5 else None
        at = rng.uniform(5.0, WILD_SECONDS * 0.5) if moment is None else rng.choice([0.0, 0.3, 3.0])
        deeds.append(Planned(f"deed {number} {deed.__name__[1:]}", at, deed, name, moment))
    return Plan(ends, points, deeds)


# --- the run -----------------------------------------------------------------------------------------------------


def play(seed: int, left_out: frozenset[str] = frozenset(), **broken: Any) -> Run:
    """A quarter of an hour of trouble, then calm until everything is quiet. ``left_out``: credentials, faults and deeds by
    id. The run's problems are sentences; none is fine."""
    names = tuple(name for name in CREDENTIALS if name not in left_out)
    world, specs = build(seed, names)
    planned = plan(seed)
    if _more(seed):
        _neighbours(world, specs, random.Random(f"{seed}/neighbours"), seed)
    fates = Fates(mixed(seed, 99), CREDENTIALS, left_out, planned.ends, planned.points)
    fleet = Fleet(world, fates, seed=seed, **broken)
    run = Run(seed, fleet, specs)
    try:
        fleet.declare(*specs)
        by_name = {spec.name: spec for spec in specs}
        for deed in planned.deeds:
            if deed.name in by_name and deed.id not in left_out:
                _let(fleet, deed, by_name[deed.name], seed)
        fleet.run(WILD_SECONDS)
        if not (fleet.crashes or left_out):  # its credential never came so far: one crash there is in each seed
            fleet.kill(fleet.replicas[seed % 2])
        calm(fleet)
        run.problems += settle(fleet, specs)
    except AssertionError as failed:
        run.problems.append(f"{type(failed).__name__}: {failed}")
    finally:
        run.problems += judge(fleet, specs, seed)
        fleet.close()
    return run


def calm(fleet: Fleet) -> None:
    """Nothing fails, hangs, or is refused any more."""
    fleet.calm()
    for consumer in fleet.world.consumers.values():
        consumer.comes_up, consumer.refuses = None, lambda _label: False
    for check in fleet.world.checks.values():
        check.breaks = lambda _label: False


def _let(fleet: Fleet, planned: Planned, spec: Spec, seed: int) -> None:
    def happen() -> None:
        if not fleet.fates.wild:
            return
        fleet.fates.happened.append(planned.id)
        fleet.trace.append((fleet.turns.now, spec.name, planned.id))
        planned.deed(fleet, spec, random.Random(f"{seed}/{planned.id}"))
        fleet.world.tick()

    if planned.reached is None:
        fleet.turns.after(planned.at, happen)
    else:
        fleet.strikes.append(Strike(planned.name, planned.reached, planned.at, happen))


def settle(fleet: Fleet, specs: list[Spec]) -> list[str]:
    """A person does what each halt suggests, until all are quiet."""
    for spec in specs:
        fleet.request("release", spec.name)
        fleet.request("inspect", spec.name)
    for tries in range(14):
        if not fleet.settle(3 * 24 * 3600.0):
            return [f"{name} does not come to rest: {fleet.record(name)}" for name in fleet.unsettled()][:1]
        encouraged = [_encourage(fleet, spec, tries) for spec in specs]  # each of them
        if not any(encouraged):
            return []
    return [f"halts again and again: {[(r.name, r.rotation and r.rotation.halt) for r in fleet.journal.records()]}"]


def _encourage(fleet: Fleet, spec: Spec, tries: int) -> bool:
    """Whether anything had to be done. What does not help a few times is given up for something else."""
    record = fleet.record(spec.name)
    if halted(record):
        assert record.rotation is not None
        assert record.rotation.halt is not None
        how = ENDS_WELL.get(record.rotation.halt.code, "replan" if tries in {3, 8} else "retry")
        refused = fleet.request("resume", spec.name, how=how, reason="as the halt suggests")
        if refused and how == "replan":
            refused = fleet.request("resume", spec.name, how="retry")
        assert not refused, f"{spec.name}: {refused}"
        return True
    if record.current is None or record.drift or record.held_for_person:
        fleet.request("rotate", spec.name)
        return True
    return False


def judge(fleet: Fleet, specs: list[Spec], run_seed: int = 0) -> list[str]:
    """Everything that is wrong at the end. Of some seeds all that is kept is searched for secret values, of the others only
    the sample that was stored as text."""
    problems = fleet.problems()
    if run_seed % SEARCHED == 0:
        fleet.journal.search()
    if fleet.journal.leaked:
        problems.append("invariant 4: a secret value is in the journal")
    halts = [event for event in fleet.journal.events if event.action == "rotation.halted"]
    problems += [f"{event.credential}: {event.evidence['why']}" for event in halts if event.evidence.get("code") == "bug"]
    for ref, issuer in fleet.world.strays.items():
        if not issuer.accepts(ref):
            problems.append(f"invariant 10: {ref} of another installation was ended")
    for spec in specs:
        problems += [f"{spec.name}: {what}" for what in fleet.world.unquiet(spec)]
    return problems
