"""Leases that have to outlast a call, over journals that are slow, or give none that is long enough."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rotatord.errors import Invalid, LeaseLost
from rotatord.hands import MARGIN_SECONDS, Leased
from rotatord.ports import Lease
from rotatord.testing.clock import VirtualClock

LEASE_SECONDS = 4.0


class SlowJournal:
    """Prolongs leases by what it is asked for, up to a most, reckoned from when it was asked, and takes its time for it."""

    def __init__(self, clock: VirtualClock, takes: float, most: float = 1000.0) -> None:
        self.clock, self.takes, self.most = clock, takes, most

    def renew(self, lease: Lease, seconds: float = 0.0) -> Lease:
        before = self.clock.monotonic()
        self.clock.advance(self.takes)
        return replace(lease, expires=before + min(max(LEASE_SECONDS, seconds), self.most))


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


def leased(clock: VirtualClock, journal: Any) -> tuple[Leased, Lease]:
    """With a lease that has run out almost."""
    none: Any = None
    return Leased(journal, clock), Lease(name="a", owner="us", fence=1, expires=clock.monotonic() + 0.5, record=none)


def test_a_call_that_fits(clock: VirtualClock) -> None:
    """As usual, and longer than usual."""
    for seconds in (1.0, 30.0):
        mine, lease = leased(clock, SlowJournal(clock, takes=0.1))
        assert mine.lasts(lease, seconds).expires - clock.monotonic() > seconds + MARGIN_SECONDS


def test_a_slow_journal_is_not_the_calls_fault(clock: VirtualClock) -> None:
    """Each renewal takes longer than the margin: the work is given up and taken up anew, and no rotation is turned back."""
    mine, lease = leased(clock, SlowJournal(clock, takes=1.5))
    with pytest.raises(LeaseLost, match="too little"):
        mine.lasts(lease, 3.0)


def test_a_journal_that_gives_no_longer_lease(clock: VirtualClock) -> None:
    """Trying again would not help: the call has to be shorter."""
    mine, lease = leased(clock, SlowJournal(clock, takes=0.0, most=LEASE_SECONDS))
    with pytest.raises(Invalid, match="shorter timeout"):
        mine.lasts(lease, 30.0)
