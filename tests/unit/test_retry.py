"""Backoff: the tables, their ends, and that nothing in them is random."""

from datetime import timedelta

import pytest

from rotatord import retry
from rotatord.model import Reason


def seconds(wait: timedelta | None) -> float:
    assert wait is not None
    return wait.total_seconds()


def test_steps_wait_longer_and_then_alike() -> None:
    """The table is walked once, its last entry repeats."""
    waits = [seconds(retry.after_step(attempt, 0)) for attempt in range(1, 11)]
    assert waits == [1, 2, 5, 10, 30, 60, 120, 300, 300, 300]


def test_jitter_only_stretches_and_comes_from_outside() -> None:
    """A fraction makes a wait up to a quarter longer; the same fraction makes the same wait."""
    assert seconds(retry.after_step(4, 1)) == 12.5
    assert retry.after_step(4, 0.3) == retry.after_step(4, 0.3)
    with pytest.raises(ValueError, match="between 0 and 1"):
        retry.after_step(1, 1.5)


def test_retry_after_is_obeyed_up_to_an_hour() -> None:
    """The other side may ask for more patience than our table has, not for less, and not for ever."""
    assert seconds(retry.after_step(1, 0, retry_after=42)) == 42
    assert seconds(retry.after_step(8, 0, retry_after=1)) == 300
    assert seconds(retry.after_step(1, 0, retry_after=1e9)) == 3600
    assert seconds(retry.after_step(1, 0, retry_after=-5)) == 1


def test_the_ledger_never_gives_up() -> None:
    """Waits double up to an hour and stay there, however many tries there were."""
    assert [seconds(retry.after_ledger(attempt, 0)) for attempt in (1, 2, 3, 12, 100_000)] == [2, 4, 8, 3600, 3600]


def test_rolled_back_rotations_end_with_a_person() -> None:
    """1 h, 4 h, 24 h, then None: hold."""
    hours = [retry.after_rolled_back(failures, Reason.DUE) for failures in (1, 2, 3, 4, 9)]
    assert hours == [timedelta(hours=1), timedelta(hours=4), timedelta(hours=24), None, None]


def test_an_emergency_is_never_parked() -> None:
    """A compromised credential is tried again every quarter of an hour for as long as it takes."""
    assert retry.after_rolled_back(50, Reason.COMPROMISED) == timedelta(minutes=15)


def test_notices_are_tried_for_about_three_days() -> None:
    """The schedule sums up to three days and then ends."""
    total = sum((wait for attempt in range(1, 10) if (wait := retry.after_notice(attempt, 0))), timedelta())
    assert timedelta(days=2.5) < total < timedelta(days=3.5)
    assert retry.after_notice(10, 0) is None


def test_our_own_credentials_are_tried_once_a_minute_in_the_end() -> None:
    """What is refused for days is not asked for every few seconds; whoever mends it sees that within the minute or so."""
    waits = [seconds(retry.after_own(attempt, 0)) for attempt in (1, 2, 3, 4, 5, 6, 100_000)]
    assert waits == [5, 10, 20, 40, 60, 60, 60]
    assert seconds(retry.after_own(1, 0, retry_after=300)) == 300
