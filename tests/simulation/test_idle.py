"""Consumers that are to run nothing: a rotation does not begin over them, and never halts because of them."""

from __future__ import annotations

from datetime import timedelta

from rotatord.model import State
from rotatord.testing.consumer import FakeConsumer
from rotatord.testing.simulator import Simulator
from tests.simulation.scenarios import NAME
from tests.simulation.stage import at, halted, staged, strike, until, well

MINUTE = timedelta(minutes=1)


class Scalable(FakeConsumer):
    """Runs as many instances as it is scaled to, unless it is down."""

    down = False

    def idle(self) -> str:
        self._enter("idle")
        return "" if self.copies or self.down else "it is scaled to zero"


def scale(sim: Simulator, count: int, *, down: bool = False) -> None:
    for name in ("app", "other"):
        consumer = sim.world.consumers[name]
        assert isinstance(consumer, Scalable)
        consumer.down = down
        consumer.scale(count)


def test_nothing_is_made_while_nothing_is_to_run() -> None:
    """It says so, and what would let it go on; scaled up, it goes on by itself."""
    sim, spec = staged(consumer={"kind": Scalable})
    scale(sim, 0)
    sim.request("rotate", NAME)
    record = until(sim, lambda record: record.rotation is not None and record.rotation.waiting != "")
    assert record.rotation is not None
    advice = "nothing is made until it runs (scale it up, or let the policy say `idle: pass`)"
    said = [f"consumer {name}: it is scaled to zero; {advice}" for name in ("app", "other")]
    assert record.rotation.waiting == "; ".join(said)
    sim.run(1800.0)
    assert at(State.PLANNED)(sim.record(NAME))
    assert len(sim.world.issuers["issuer"].live()) == 1
    scale(sim, 1)
    sim.settle(NAME)
    well(sim, spec)
    assert sim.record(NAME).generation == 2


def test_a_wait_for_it_ends() -> None:
    """Within ``mint_within``, with nothing made and the old version in force."""
    sim, spec = staged(consumer={"kind": Scalable}, rules={"mint_within": 10 * MINUTE})
    first = sim.record(NAME).last
    scale(sim, 0)
    sim.request("rotate", NAME)
    record = until(sim, lambda record: record.rotation is None and record.last != first, 900)
    assert record.last is not None
    assert (record.last.state, record.ledger) == (State.ROLLED_BACK, ())
    well(sim, spec)


def test_scaled_to_zero_in_the_middle_it_comes_back() -> None:
    """Nobody is left on the new version, so it can be discarded; the old one is in force, as it was, and nothing is halted."""
    sim, spec = staged(consumer={"kind": Scalable})
    strike(sim, at(State.RELOADED), lambda: scale(sim, 0))
    record = until(sim, lambda record: record.rotation is None or halted(record), 3600)
    assert record.rotation is None
    assert record.last is not None
    assert record.last.state is State.ROLLED_BACK
    assert record.current is not None
    assert record.current.generation == 1
    sim.settle(NAME)
    well(sim, spec)


def test_scaled_to_zero_in_an_overlap_both_live_on() -> None:
    """The base is not revoked while nobody shows that the new one works."""
    sim, spec = staged(consumer={"kind": Scalable}, rules={"overlap": MINUTE})
    sim.request("rotate", NAME)
    until(sim, at(State.VERIFIED))
    scale(sim, 0)
    sim.run(3600.0)
    assert at(State.VERIFIED)(sim.record(NAME))
    assert len(sim.world.issuers["issuer"].live()) == 2
    scale(sim, 1)
    sim.settle(NAME)
    well(sim, spec)


def test_a_repair_does_not_wait_for_what_is_to_run_nothing() -> None:
    """The current version is where it should be; who starts later reads it."""
    sim, spec = staged(consumer={"kind": Scalable})
    scale(sim, 0)
    sim.request("repair", NAME)
    sim.settle(NAME)
    well(sim, spec)


def test_what_is_down_is_not_idle() -> None:
    """It should run and does not: a way back over it is not proven, and a person is told."""
    sim, _ = staged(consumer={"kind": Scalable})
    strike(sim, at(State.RELOADED), lambda: scale(sim, 0, down=True))
    until(sim, halted, 7200)
