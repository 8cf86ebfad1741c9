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


def test_issuers_of_one_principal_spend_one_quota() -> None:
    """Whichever of them asks; who has a quota of his own is not counted in."""
    clock = VirtualClock()
    limit = Limit(calls=60, seconds=MINUTE, of=lambda: "somebody")
    budgets = Budgets(clock, {"one": limit, "other": limit, "apart": Limit(calls=60, seconds=MINUTE)})
    for _ in range(10):
        budgets.spend("one")
    assert budgets.full() == {"one", "other"}
    wait = budgets.wait()
    assert wait is not None
    clock.advance(wait + 0.01)
    assert not budgets.full()
    budgets.spend("other", 2)
    assert budgets.full() == {"one", "other"}


def test_whose_a_quota_is_may_come_out_later() -> None:
    """What was spent until then was spent by whom it was taken for."""
    clock, principal = VirtualClock(), ["anybody"]
    budgets = Budgets(clock, {"issuer": Limit(calls=60, seconds=MINUTE, of=lambda: principal[0])})
    budgets.spend("issuer", 10)
    principal[0] = "somebody"
    assert not budgets.full()


def test_a_small_quota_of_one_principal_has_one_user_at_a_time() -> None:
    """Of all daemons, whichever issuer it is used through."""
    limit = Limit(calls=4, seconds=MINUTE, of=lambda: "somebody")
    budgets, asked = Budgets(VirtualClock(), {"one": limit, "other": limit}), set[str]()
    budgets.turn = lambda what, _: bool(asked.add(what))  # type: ignore[func-returns-value]
    budgets.share(3)
    assert budgets.full() == {"one", "other"}
    assert asked == {"quota:somebody"}
