"""Time and ids that a test owns."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

from rotatord.clock import elapsed
from rotatord.testing.clock import START, SeededIds, VirtualClock


def test_time_moves_only_when_told() -> None:
    """Both clocks stand still until advanced, and then move together."""
    clock = VirtualClock()
    start = clock.instant()
    assert clock.instant() == start
    clock.advance(90)
    assert clock.now() == START + timedelta(seconds=90)
    assert clock.monotonic() == start.monotonic + 90
    with pytest.raises(ValueError, match="forwards"):
        clock.advance(-1)


def test_waiting_takes_no_real_time() -> None:
    """A wait moves time by what was asked, unless the event is set already."""
    clock, event = VirtualClock(), threading.Event()
    assert clock.wait(event, 3600) is False
    assert clock.now() == START + timedelta(hours=1)
    event.set()
    assert clock.wait(event, 3600) is True
    assert clock.now() == START + timedelta(hours=1)


def test_a_jump_is_seen_by_nobody_else() -> None:
    """Setting our wall clock moves neither monotonic time nor the clocks outside, and elapsed() notices."""
    clock = VirtualClock()
    start = clock.instant()
    clock.jump_wall(-3600)
    assert clock.monotonic() == start.monotonic
    assert clock.outside() == START
    assert elapsed(start, clock.instant(), timedelta(0)) is None


def test_a_reboot_starts_the_monotonic_clock_anew() -> None:
    """After a reboot there is no common monotonic clock."""
    clock = VirtualClock()
    start = clock.instant()
    clock.reboot()
    clock.advance(5)
    assert clock.monotonic() == 5
    assert elapsed(start, clock.instant(), timedelta(0)) is None


def test_advance_to_a_moment() -> None:
    """Time goes to the moment that is named, never back."""
    clock = VirtualClock(datetime(2026, 1, 1, tzinfo=UTC))
    clock.advance_to(datetime(2026, 1, 2, tzinfo=UTC))
    clock.advance_to(datetime(2026, 1, 1, tzinfo=UTC))
    assert clock.now() == clock.outside() == datetime(2026, 1, 2, tzinfo=UTC)


def test_a_seed_is_a_sequence() -> None:
    """Ids and fractions repeat for a seed and differ between seeds."""
    one, same, other = SeededIds(1), SeededIds(1), SeededIds(2)
    drawn = [one.new("rot") for _ in range(5)]
    assert drawn == [same.new("rot") for _ in range(5)]
    assert set(drawn).isdisjoint(other.new("rot") for _ in range(5))
    assert 0 <= one.fraction() < 1
