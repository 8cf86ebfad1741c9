"""Nothing of ours outlives a version: neither a pause between two tries, nor the wait for a person."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from rotatord.engine import READ_ONLY
from rotatord.model import Hold, Record
from rotatord.testing.powers import FullIssuer
from rotatord.testing.simulator import Simulator
from rotatord.testing.world import World
from tests.simulation.scenarios import NAME, policy, traits
from tests.simulation.stage import staged

HOUR = timedelta(hours=1)
LIFE = 12 * HOUR


def expiring(**rules: Any) -> Simulator:
    """Versions of twelve hours, and a consumer that breaks on each new one."""
    sim, _ = staged(issuer={"expiry": True}, rules={"ttl": LIFE, "max_age": None, "jitter_percent": 0.0} | rules)
    good = sim.record(NAME).generation
    sim.world.checks["app-health"].breaks = lambda label: int(label.split("-")[0]) > good
    return sim


def tries(sim: Simulator) -> int:
    return sum(event.action == "rotation.planned" for event in sim.journal.replay()) - 1


def told(sim: Simulator, kind: str) -> list[str]:
    return [notice.text for notice in sim.journal.notices(sim.world.clock.now(), 100) if notice.kind == kind]


def ends(record: Record) -> float:
    assert record.current is not None
    assert record.current.expires_at is not None
    return record.current.expires_at.timestamp()


def test_it_is_tried_more_often_as_the_end_comes_near_and_replaced_in_time() -> None:
    """The table alone (1 h, 4 h, 24 h, a person) would have let it expire. It is mended ten minutes before, and is new before
    the old one has ended; a person was asked for meanwhile."""
    sim = expiring()
    end = ends(sim.record(NAME))
    sim.run(end - sim.world.clock.now().timestamp() - 600)
    assert sim.record(NAME).generation > 4
    assert 5 <= tries(sim) <= 20
    assert any("4 rotations in a row were rolled back" in text for text in told(sim, "halted"))
    sim.world.checks["app-health"].breaks = lambda _label: False
    sim.run(540)
    assert ends(sim.record(NAME)) > end
    assert sim.record(NAME).rotation is None
    assert not sim.record(NAME).held_for_person
    assert not sim.problems()


def test_a_leak_under_a_hold_is_loud() -> None:
    """The hold stands; whoever hears of the leak hears of the hold, whichever came first."""
    sim, _ = staged()
    hold = {"until": sim.world.clock.now() + HOUR, "owner": "bo"}
    sim.request("hold", NAME, **hold)
    sim.request("rotate", NAME, reason="compromised")
    sim.run(600.0)
    assert sim.record(NAME).generation == 1
    assert any("compromised and held: version 1 leaked and lives while bo holds it" in text for text in told(sim, "leaked"))
    sim.request("release", NAME)
    sim.settle(NAME)
    assert sim.record(NAME).generation == 2
    assert not sim.problems()


def test_a_hold_put_on_what_leaked_is_told_too() -> None:
    """The same the other way round."""
    sim, _ = staged()
    sim.request("rotate", NAME, reason="compromised")
    before = len(told(sim, "leaked"))
    sim.request("hold", NAME, until=sim.world.clock.now() + HOUR, owner="bo")
    assert len(told(sim, "leaked")) == before + 1
    assert sim.record(NAME).holds == (Hold(owner="bo", until=sim.world.clock.now() + HOUR),)


def test_read_only_prolongs_what_would_expire() -> None:
    """While the installation writes nothing at destinations, a periodic version is prolonged: that touches none."""
    world = World(5)
    source = world.add_issuer(kind=FullIssuer, traits=traits(), period=HOUR)
    world.add_backend()
    world.add_consumer("app", source, world.destination(NAME))
    sim = Simulator(world)
    sim.declare(world.spec(NAME, policy=policy()))
    sim.settle(NAME)
    sim.journal.set_fact(READ_ONLY, "somebody else's destination knows more than this journal")
    sim.run((5 * HOUR).total_seconds())
    assert ends(sim.record(NAME)) > sim.world.clock.now().timestamp()
    assert sim.record(NAME).generation == 1
    assert not sim.problems()
