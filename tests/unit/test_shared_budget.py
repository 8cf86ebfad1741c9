"""Quotas over several daemons: together never more than there is, and none left unused for long."""

from __future__ import annotations

import pytest

from rotatord.budget import Budgets, Limit
from rotatord.testing.clock import VirtualClock

MINUTE = 60.0


def spent(replicas: int, calls: int, minutes: int = 10) -> list[int]:
    """How many calls all daemons together make in each window of a minute that starts at any call, each as eager as can be."""
    clock = VirtualClock()
    holder: list[int] = []

    def turn(number: int) -> bool:
        holder[:] = holder or [number]
        return holder[0] == number

    several = []
    for number in range(replicas):
        budgets = Budgets(clock, {"issuer": Limit(at_once=9, calls=calls, seconds=MINUTE)})
        budgets.turn = lambda what, seconds, number=number: turn(number)  # type: ignore[misc]
        budgets.share(replicas)
        several.append(budgets)
    moments: list[float] = []
    for _ in range(int(minutes * MINUTE / 0.25)):
        for budgets in several:
            while "issuer" not in budgets.full():
                budgets.spend("issuer")
                moments.append(clock.monotonic())
        clock.advance(0.25)
    return [sum(start <= moment < start + MINUTE for moment in moments) for start in moments]


@pytest.mark.parametrize(("replicas", "calls"), [(1, 60), (2, 60), (3, 60), (3, 12), (3, 11), (3, 5), (4, 1), (5, 300)])
def test_a_quota_holds_over_all(replicas: int, calls: int) -> None:
    """In no window of a minute do all together make more calls than the quota has, and most of it is used."""
    windows = spent(replicas, calls)
    assert max(windows) <= calls
    full = windows[len(windows) // 3 : -max(windows)] or windows
    assert max(full) >= 0.6 * calls


def test_one_that_comes_to_others_begins_with_nothing() -> None:
    """The others learn a moment later that there are more: until then nothing is spent twice."""
    clock = VirtualClock()
    budgets = Budgets(clock, {"issuer": Limit(calls=60, seconds=MINUTE)})
    assert not budgets.full()
    budgets.share(2)
    assert budgets.full() == {"issuer"}
    clock.advance(3)
    assert not budgets.full()
    budgets.share(1)  # the other is gone
    assert not budgets.full()


def test_what_is_in_work_is_bounded_by_name() -> None:
    """The bound that the journal keeps over all daemons is the configured one."""
    budgets = Budgets(VirtualClock(), {"small": Limit(at_once=2)})
    assert budgets.most("small") == 2
    assert budgets.most("other") == Limit().at_once
