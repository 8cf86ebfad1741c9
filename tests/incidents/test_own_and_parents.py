"""The parent ended, and nothing could be renewed any more."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from rotatord.gates import GATE, Gate
from rotatord.model import Slot
from rotatord.ops import Context
from rotatord.own_life import OwnLives
from rotatord.ports import Journal
from rotatord.testing.own import OwnIssuer, OwnWorld
from rotatord.testing.simulator import Simulator
from rotatord.testing.world import World
from tests.incidents.retold import replayed
from tests.simulation.scenarios import policy, traits

DAY = timedelta(days=1)
CHILD, OURS = "child", "ours"


def scene(
    gate: Gate = GATE, *, tried: bool = True, ttl: timedelta | None = None, powerless: int | None = None
) -> tuple[Simulator, OwnWorld]:
    """A child that is made, and made again, with a parent of ours. ``tried``: whether that parent is tried before it is
    published; ``ttl``: of a parent that a person made, and that nobody replaces; ``powerless``: a generation of it that works
    and may not mint."""
    world = World(28)
    own = OwnWorld(world, OURS, traits=traits(expiry=True))
    assert isinstance(own.source, OwnIssuer)
    own.source.powerless = lambda version: version.request.credential == OURS and version.request.generation == powerless
    began = world.restarted

    def restarted(ctx: Context, journal: Journal) -> Context:
        bound = began(ctx, journal)
        return bound if tried else replace(bound, trials=lambda *_: ())

    world.restarted = restarted
    sim = Simulator(world, gate=gate)
    child = world.destination(CHILD)
    world.add_consumer("app", own.source, child, excused=True)
    specs = [world.spec(CHILD, policy=policy(max_age=None, ttl=4 * DAY), destinations=(child,))]
    if ttl is None:
        specs.append(own.spec(OURS, policy=policy()))
    else:
        own.by_hand(ttl)
    sim.declare(*specs)
    for spec in specs:
        sim.settle(spec.name)
    return sim, own


def harm(sim: Simulator) -> list[str]:
    """What nobody wants to read afterwards."""
    record = sim.record(CHILD)
    now = sim.world.clock.now()
    dead = record.current is None or (record.current.expires_at is not None and record.current.expires_at <= now)
    return sim.problems() + (["the child expired"] if dead else [])


def test_platform9() -> None:
    """Platform9's Vault chain: only the child token was renewed; its parent expired, so nothing could renew. Here a parent
    that nobody replaces is watched all the same: people hear of its end weeks before, and of what depends on it."""

    def story(watched: bool = True) -> list[str]:
        sim, own = scene(ttl=30 * DAY)
        lives = OwnLives(sim.journal, sim.world.clock, sim.world.ids, own.plugins)
        end = sim.world.clock.now() + 30 * DAY
        for _ in range(34):
            if watched:
                lives.look()
            sim.run(DAY.total_seconds())
        notices = sim.journal.notices(sim.world.clock.now(), 1000)
        warned = [each for each in notices if each.facts.get("dependents") == [CHILD] and each.at < end - 10 * DAY]
        assert harm(sim), "the parent did not end"
        return [] if warned else ["the parent ended and took the child along, and nobody had heard of it"]

    replayed(story, watched=False)


def test_platform9_the_parent_is_replaced_in_time() -> None:
    """The same, where the parent is a credential like any other: it is replaced again and again, and the child with it."""
    sim, own = scene()
    sim.run(40 * DAY.total_seconds())
    assert harm(sim) == []
    assert sim.record(OURS).generation > 1
    assert sim.record(CHILD).generation > 5
    assert own.store.document(own.home, Slot.PENDING) is None


def replace_parent(**left_out: Any) -> list[str]:
    """It is replaced once, and the child after it."""
    sim, _ = scene(**left_out)
    sim.request("rotate", OURS)
    sim.run(3600.0)
    sim.request("rotate", CHILD)
    sim.run(DAY.total_seconds())
    return harm(sim)


def test_platform9_no_parent_ends_while_it_is_in_use() -> None:
    """A login made with the old parent goes on in memory: it must not end before every daemon has shown the new one."""
    replayed(replace_parent, gate=GATE.without("consumers_proven"))


def test_platform9_no_parent_is_published_that_could_not_renew() -> None:
    """One that works, and may not mint: it is tried before it is published, and the one in place stays."""
    unproven = GATE.without("consumers_proven")
    replayed(lambda **left_out: replace_parent(gate=unproven, powerless=2, **left_out), tried=False)
