"""Random worlds of one daemon that may die at each operation, for hours; see test_seeds.py for many worlds of several."""

from __future__ import annotations

import hashlib
import os
import random
from datetime import timedelta
from typing import Any

import pytest

from rotatord.model import Policy, Slot, Spec
from rotatord.testing.faults import CALL_FAULTS, COMMIT_FAULTS, Fault, Point
from rotatord.testing.issuer import FakeIssuer
from rotatord.testing.powers import FullIssuer, SuspendingIssuer
from rotatord.testing.simulator import Simulator
from rotatord.testing.world import World
from tests.simulation.scenarios import SECOND, traits

SEEDS = min(int(os.environ.get("ROTATORD_SEEDS", "10")), 200)
FIRST = int(os.environ.get("ROTATORD_FIRST_SEED", "0"))
# Seeds that once found something; they are always run.
REGRESSIONS: tuple[int, ...] = (35,)  # a wall clock set after a publish: the wait for pollers was never over
FAULT_SHARE = 0.02
WILD_HOURS = 6


def _traits(rng: random.Random) -> Any:
    spreading = rng.random() < 0.5
    capped = rng.random() < 0.3
    return traits(
        value_origin=rng.choice(["issuer", "issuer", "caller"]),
        scope_proof=rng.choice(["exact", "none"]),
        max_live=2 if capped else None,
        propagation=rng.choice([2, 5]) * SECOND if spreading else 0 * SECOND,
        listing_delay=rng.choice([0, 3]) * SECOND,
        call_settles_within=15 * SECOND,
    )


def _policy(rng: random.Random) -> Policy:
    return Policy(
        max_age=timedelta(hours=rng.choice([1, 2, 24])),
        overlap=rng.choice([0, 1, 60]) * SECOND,
        settle=rng.choice([0, 5]) * SECOND,
        dwell=rng.choice([0, 3]) * SECOND,
        poll=SECOND,
        jitter_percent=5.0,
        verify_within=timedelta(minutes=5),
        reload_within=timedelta(minutes=5),
        prove_within=timedelta(minutes=5),
        publish_within=timedelta(minutes=10),
        suspend=rng.random() < 0.7,
    )


def _consumer(rng: random.Random) -> dict[str, Any]:
    kind = rng.choice(["attestation", "attestation", "rollout", "polling"])
    if kind == "polling":
        return {"evidence": kind, "poll": rng.choice([2, 10]) * SECOND}
    return {
        "evidence": kind,
        "copies": rng.choice([1, 3]),
        "applies_after": rng.choice([0, 2, 20]) * SECOND if kind == "attestation" else rng.choice([1, 9]) * SECOND,
        "drains": rng.choice([0, 8]) * SECOND if kind == "rollout" else 0 * SECOND,
        "poll": 7 * SECOND if kind == "attestation" and rng.random() < 0.3 else None,
    }


def build(rng: random.Random, seed: int) -> tuple[World, list[Spec]]:
    """Three credentials of up to three issuers, each with a consumer of its own at each destination."""
    world = World(seed)
    world.add_backend()
    specs = []
    for number in range(3):
        name = f"cred-{number}"
        kind = rng.choice([FakeIssuer, SuspendingIssuer, FullIssuer])
        issuer = world.add_issuer(f"issuer-{number}", kind=kind, traits=_traits(rng))
        places = tuple(world.destination(f"{name}/{place}", wave=place if rng.random() < 0.3 else 0) for place in range(2))
        for place, destination in enumerate(places):
            if place == 0 or rng.random() < 0.6:
                world.add_consumer(f"{name}-app-{place}", issuer, destination, **_consumer(rng))
        specs.append(world.spec(name, issuer=f"issuer-{number}", policy=_policy(rng), destinations=places))
    return world, specs


def _chooser(rng: random.Random, wild: list[bool]) -> Any:
    def choose(point: Point, _count: int) -> Fault | None:
        if not wild[0] or rng.random() >= FAULT_SHARE:
            return None
        return rng.choice(COMMIT_FAULTS if point.op.startswith("commit.") else CALL_FAULTS)

    return choose


def _meddle(rng: random.Random, sim: Simulator, spec: Spec) -> None:
    """What people and neighbours do."""
    world, name = sim.world, spec.name
    deed = rng.randrange(9)
    if deed <= 2:
        sim.request("rotate", name)
    elif deed == 3:
        sim.request("rollback", name, reason="changed our mind")
    elif deed == 4:
        until = world.clock.now() + timedelta(minutes=rng.choice([1, 30]))
        sim.request("hold", name, owner="somebody", until=until.isoformat())
    elif deed == 5:
        world.backends["store"].lose(rng.choice(spec.destinations), Slot.CURRENT)
        sim.request("inspect", name)
    elif deed == 6:
        sim.request("inspect", name)
    elif deed == 7:
        world.clock.jump_wall(rng.choice([-3600, -90, 90, 3600]))
    else:
        victim = rng.choice(list(world.consumers.values()))
        victim.restart()


def play(seed: int) -> tuple[Simulator, list[Spec]]:
    """Hours of trouble, then calm until everything is quiet."""
    rng = random.Random(seed)
    world, specs = build(rng, seed)
    wild = [True]
    sim = Simulator(world, choose=_chooser(rng, wild))
    sim.declare(*specs)
    end = world.clock.outside() + timedelta(hours=WILD_HOURS)
    while world.clock.outside() < end:
        sim.run(rng.choice([1, 10, 120, 900]))
        _meddle(rng, sim, rng.choice(specs))
    wild[0] = False
    world.calm()
    for spec in specs:
        _settle(sim, spec)
    return sim, specs


def _settle(sim: Simulator, spec: Spec) -> None:
    """A person does what each halt suggests."""
    for _ in range(12):
        record = sim.record(spec.name)
        if record.asked is None and not record.drift and record.rotation is None:
            sim.request("inspect", spec.name)
        record = sim.settle(spec.name, 4 * 24 * 3600.0)
        if record.rotation is not None and record.rotation.halt is not None:
            how = "accept" if record.rotation.halt.code in {"base_absent", "base_dead", "value_lost"} else "retry"
            assert not sim.request("resume", spec.name, how=how, reason="as the halt suggests")
        elif record.current is None or record.drift:
            sim.request("rotate", spec.name)
        else:
            return
    raise AssertionError(f"{spec.name} does not come to rest: {sim.record(spec.name)}\n{sim.tail()}")


def _secrets_in_journal(sim: Simulator) -> list[str]:
    texts = "".join(sim.journal._bodies.values()) + "".join(entry[3] for entry in sim.journal._events.values())
    values = [value for issuer in sim.world.issuers.values() for value in issuer.values()]
    return ["a secret value is in the journal" for value in values if value in texts]


def judge(sim: Simulator, specs: list[Spec]) -> list[str]:
    problems = sim.problems() + _secrets_in_journal(sim)
    for spec in specs:
        problems += [f"{spec.name}: {what}" for what in sim.world.unquiet(spec)]
    return problems


@pytest.mark.timeout(3600)
def test_seeds_of_one_daemon(capsys: pytest.CaptureFixture[str]) -> None:
    """No seed loses, doubles, refuses or strands a credential."""
    failures = []
    events = deaths = 0
    pairs: set[tuple[Point, Fault]] = set()
    for seed in (*REGRESSIONS, *range(FIRST, FIRST + SEEDS)):
        try:
            sim, specs = play(seed)
        except AssertionError as stuck:
            failures.append(f"seed {seed}: {str(stuck)[:1500]}")
            continue
        problems = judge(sim, specs)
        if problems:
            failures.append(f"seed {seed}: {problems[:3]}")
        events, deaths = events + sim.events, deaths + sim.deaths
        pairs |= sim.hands.reached
    with capsys.disabled():
        print(f"\nsimulation: {SEEDS} seeds, {events} events, {deaths} crashes, {len(pairs)} (step x fault) pairs reached")
    assert not failures, f"{len(failures)} seeds failed:\n" + "\n".join(failures[:20])


def test_one_seed_is_one_run() -> None:
    """The same seed twice has the same trace."""
    traces = [hashlib.sha256("\n".join(play(3)[0].hands.trace).encode()).hexdigest() for _ in range(2)]
    assert traces[0] == traces[1]
