"""Leak marks at every moment: base or new, before and after publish, on the way back, in a halt, twice."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from rotatord.errors import Denied
from rotatord.model import Record, Spec, State, Way
from rotatord.testing.faults import Fault, Point
from rotatord.testing.simulator import Simulator
from tests.simulation.scenarios import NAME, SECOND
from tests.simulation.stage import at, halted, staged, strike, until, well

MOMENTS = {
    "planned": at(State.PLANNED),
    "staged": at(State.STAGED),
    "proven": at(State.PROVEN),
    "published": at(State.PUBLISHED),
    "reloaded": at(State.RELOADED),
    "verified": at(State.VERIFIED),
    "staged back": at(State.STAGED, Way.BACK),
    "proven back": at(State.PROVEN, Way.BACK),
    "published back": at(State.PUBLISHED, Way.BACK),
    "reloaded back": at(State.RELOADED, Way.BACK),
    "discarding": at(State.DISCARDING, Way.BACK),
}
LEAKS = {"base": (1,), "new": (2,), "base, then new": (1, 2), "new, then base": (2, 1)}


def _leak(sim: Simulator, generation: int) -> str:
    return sim.request("rotate", NAME, reason="compromised", version=generation)


@pytest.mark.parametrize("leak", LEAKS)
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("cap", [None, 2])
def test_a_leak_at_any_moment(moment: str, leak: str, cap: int | None) -> None:
    """Whatever leaks whenever, nobody is refused, no leaked version stays, and all comes to rest with one live version."""
    way_back = "back" in moment or moment == "discarding"
    sim, spec = staged(issuer={"max_live": cap}, rules={"verify_within": timedelta(minutes=2)})
    _strike(sim, moment, LEAKS[leak], way_back=way_back)
    for name in ("app", "other"):
        sim.world.checks[f"{name}-health"].breaks = lambda _label: False
    sim.run(120.0)  # an emergency that rolled back waits a minute
    end = sim.settle(NAME, 2 * 24 * 3600.0)
    assert end.rotation is None, end.rotation
    assert end.current is not None
    marked = {(item.generation) for item in end.leaks}
    assert end.current.generation not in marked
    well(sim, spec)


def _strike(sim: Simulator, moment: str, generations: tuple[int, ...], *, way_back: bool) -> None:
    """Mark the generations the moment that the rotation comes to that place."""
    if way_back:
        sim.world.checks["app-health"].breaks = lambda label: label.startswith("2-")

    def leak() -> None:
        for generation in generations:
            _leak(sim, generation)

    strike(sim, MOMENTS[moment], leak)


def test_a_second_mark_does_not_move_the_deadline() -> None:
    """Who calls the same version compromised again does not buy it time."""
    sim, _ = staged(consumer={"applies_after": None})
    sim.request("rotate", NAME, reason="compromised")
    until(sim, at(State.RELOADED))
    before = sim.record(NAME).rotation
    sim.run(30.0)
    _leak(sim, 1)
    after = sim.record(NAME).rotation
    assert before is not None
    assert after is not None
    assert after.hard_deadline == before.hard_deadline


def _half_way_back(sim: Simulator) -> Record:
    """A rotation that went back and halted there, as the base's consumer cannot be reached any more."""
    sim.world.checks["app-health"].breaks = lambda label: label.startswith("2-")
    app = sim.world.consumers["app"]
    strike(sim, at(State.PROVEN, Way.BACK), lambda: app.fail("reload", None, lambda: Denied("not allowed any more")))
    return until(sim, halted)


@pytest.mark.parametrize("leaked", [1, 2])
def test_a_leak_ends_a_halt(leaked: int) -> None:
    """A halt does not keep a leaked version alive: base or new, the credential moves on by itself."""
    sim, spec = staged()
    _half_way_back(sim)
    assert not _leak(sim, leaked)
    sim.world.calm()
    for check in sim.world.checks.values():
        check.breaks = lambda _label: False
    end = sim.settle(NAME, 24 * 3600.0)
    assert end.rotation is None
    assert not end.leaks
    well(sim, spec)


def test_what_consumers_may_still_use_is_not_killed_when_both_leaked() -> None:
    """Base and new leaked, half published: the base lives until the third version is everywhere, or until its deadline."""
    sim, spec = staged(consumer={"applies_after": 20 * SECOND})
    sim.request("rotate", NAME)
    until(sim, at(State.RELOADED))
    _leak(sim, 2)
    _leak(sim, 1)
    assert [owed.version.generation for debt in sim.record(NAME).ledger for owed in debt.owed] == [1]
    end = sim.settle(NAME)
    assert end.generation == 3
    well(sim, spec)


def test_a_version_leaked_before_publish_is_replaced_at_once() -> None:
    """The rotation that a person asked for is not forgotten because its first version leaked."""
    sim, spec = staged()
    started = sim.world.clock.outside()
    strike(sim, MOMENTS["staged"], lambda: _leak(sim, 2))
    end = sim.settle(NAME)
    assert end.current is not None
    assert end.current.generation == 3
    assert sim.world.clock.outside() - started < timedelta(minutes=5)
    well(sim, spec)


def _deadline(sim: Simulator, spec: Spec, **settings: Any) -> list[str]:
    sim.request("rotate", NAME, reason="compromised")
    sim.run(settings.get("seconds", 3600.0))
    return [notice.kind for notice in sim.journal.notices(sim.world.clock.now(), 100)]


def test_at_its_deadline_a_leaked_base_dies_although_somebody_uses_it() -> None:
    """Last use by others is the thief's, too: it holds up nothing beyond the hard deadline."""
    sim, _ = staged(rules={"still_used": "hold", "idle_for": timedelta(hours=5), "suspend": False})
    _deadline(sim, sim.record(NAME).spec)
    record = sim.record(NAME)
    assert record.rotation is None
    assert [live.generation for live in sim.world.issuers["issuer"].live(NAME)] == [2]


def test_a_consumer_that_cannot_be_reloaded_does_not_outlast_the_deadline() -> None:
    """The new version is everywhere; who cannot be told of it loses the leaked one at the deadline, on record."""
    sim, _ = staged(rules={"reload_within": timedelta(minutes=2)})
    app = sim.world.consumers["app"]
    app.excused = True
    app.fail("reload", None)
    _deadline(sim, sim.record(NAME).spec)
    assert [live.generation for live in sim.world.issuers["issuer"].live(NAME)] == [2]


def test_a_leaked_version_that_cannot_be_replaced_is_paged_at_its_deadline() -> None:
    """A destination that cannot be written keeps it alive, and people are told."""
    sim, spec = staged()
    sim.world.backends["store"].deny("write")
    kinds = _deadline(sim, spec)
    assert "overdue" in kinds
    assert [live.generation for live in sim.world.issuers["issuer"].live(NAME) if live.generation == 1] == [1]
    assert not sim.problems()


def test_a_pause_does_not_keep_a_leaked_version_alive() -> None:
    """A freeze is passed for what leaked, up to its proven death."""
    from rotatord.pauses import PAUSED

    sim, spec = staged()
    sim.journal.set_fact(PAUSED, "release day")
    sim.request("rotate", NAME, reason="compromised")
    sim.settle(NAME)
    well(sim, spec)


def test_a_late_resume_does_not_undo_a_containment() -> None:
    """On the way back the base is resumed, and the answer does not come; then it leaks and is contained. The resume that lands
    afterwards brings nothing back to life."""
    late: list[Point] = []

    def choose(point: Point, _: int) -> Fault | None:
        if point.op == "issuer.resume" and not late:
            late.append(point)
            return Fault.LATE
        return None

    def suspended(record: Record) -> bool:
        suspension = record.rotation.suspension if record.rotation is not None else None
        return suspension is not None and suspension.done_at is not None

    sim, spec = staged(choose=choose, rules={"settle": 60 * SECOND})
    sim.request("rotate", NAME)
    until(sim, suspended)
    sim.request("rollback", NAME, reason="changed our mind")
    until(sim, lambda _: bool(late))
    assert not sim.request("contain", NAME, version=1, reason="found in a log")
    until(sim, lambda record: any(mark.contained_at is not None for mark in record.leaks))
    issuer = sim.world.issuers["issuer"]
    for _ in range(90):
        sim.step(1.0)
        assert not any(live.ref == "issuer-ref-1" and not live.suspended for live in issuer.live())
    sim.settle(NAME, 2 * 24 * 3600.0)
    well(sim, spec)
