"""Budgets per issuer: a quota is used nearly in full and never exceeded, and an issuer takes no more than its share."""

from __future__ import annotations

import pytest

from rotatord.budget import Budgets, Limit
from rotatord.clock import RandomIds
from rotatord.hands import Hands
from rotatord.journal.memory import MemoryJournal
from rotatord.model import Record
from rotatord.ops import Call
from rotatord.ports import Lease
from rotatord.telemetry import Telemetry
from rotatord.testing.clock import VirtualClock
from rotatord.testing.world import World


def spent_in(budgets: Budgets, clock: VirtualClock, seconds: float) -> int:
    """Calls made by somebody who calls whenever the budget lets him."""
    calls, end = 0, clock.monotonic() + seconds
    while clock.monotonic() < end:
        if "issuer" in budgets.full():
            wait = budgets.wait()
            assert wait is not None
            clock.advance(max(wait, 0.001))
        else:
            budgets.spend("issuer")
            calls += 1
    return calls


@pytest.mark.parametrize("quota", [60, 1000])
def test_a_quota_is_used_nearly_in_full_and_never_exceeded(quota: int) -> None:
    """In the first window, burst included, and in every later one."""
    clock = VirtualClock()
    budgets = Budgets(clock, {"issuer": Limit(calls=quota, seconds=60.0)})
    for _ in range(3):
        assert 0.9 * quota <= spent_in(budgets, clock, 60.0) <= quota


def test_what_has_begun_may_overdraw_and_is_paid_back() -> None:
    """Nothing new begins until the calls that were too many have been waited for."""
    clock = VirtualClock()
    budgets = Budgets(clock, {"issuer": Limit(calls=60, seconds=60.0)})
    for _ in range(20):
        budgets.spend("issuer")
    wait = budgets.wait()
    assert wait is not None
    assert wait > 15
    assert "issuer" in budgets.full()
    clock.advance(wait + 0.01)
    assert "issuer" not in budgets.full()


def test_an_issuer_takes_no_more_than_its_share() -> None:
    """As many as are allowed at once are in work, and others are not kept from theirs."""
    budgets = Budgets(VirtualClock(), {"slow": Limit(at_once=2), "other": Limit(at_once=2)})
    budgets.begin("slow")
    assert budgets.full() == frozenset()
    budgets.begin("slow")
    assert budgets.full() == {"slow"}
    budgets.end("slow")
    assert budgets.full() == frozenset()


def test_a_call_that_was_several_requests_is_paid_for_as_such() -> None:
    """And one that was none, because its answer was remembered, is paid back."""
    clock = VirtualClock()
    spent: dict[str, int] = {"issuer": 0}
    made = iter((4, 0, 1))

    def spend(issuer: str, calls: int) -> None:
        spent[issuer] += calls

    hands = Hands(MemoryJournal(clock, RandomIds()), clock, Telemetry(), spend=spend, sent=lambda _: next(made))
    record = Record(name="a", spec=World(1).spec("a"))
    lease = Lease(name="a", owner="me", fence=1, expires=clock.monotonic() + 600, record=record)
    for total in (4, 4, 5):
        hands.call(lease, Call("issuer.find", lambda: (), 1.0, issuer="issuer"))
        assert spent["issuer"] == total
    hands.call(lease, Call("backend.read", lambda: (), 1.0))
    assert spent["issuer"] == 5
