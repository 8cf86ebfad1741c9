"""How long to wait before trying again: tables, pure. Attempts count from 1; jitter is passed in, never drawn here.

tenacity supplies the wait strategies; it neither retries nor sleeps here, because only the saga does.
"""

from __future__ import annotations

from datetime import timedelta

from tenacity import RetryCallState, Retrying, wait_chain, wait_exponential, wait_fixed
from tenacity.wait import wait_base

from rotatord.model import Reason

# A step against something outside. The last entry repeats until the place's deadline ends it.
STEP = wait_chain(*(wait_fixed(seconds) for seconds in (1, 2, 5, 10, 30, 60, 120, 300)))
# What is owed is owed for ever: doubling up to an hour.
LEDGER = wait_exponential(multiplier=2, max=3600)
# With a credential of our own that is refused, or cannot be read or tried: for ever, and once a minute in the end, so that
# whoever has mended it sees that soon. Longer only where the other side asks for it.
OWN = wait_chain(*(wait_fixed(seconds) for seconds in (5, 10, 20, 40, 60)))
# After a rotation that rolled back; when the table ends, a person is asked.
ROLLED_BACK = (timedelta(hours=1), timedelta(hours=4), timedelta(hours=24))
# An emergency is never parked: the last entry repeats.
ROLLED_BACK_COMPROMISED = (timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=15))
# A notice is tried for about three days (the schedule of Standard Webhooks).
NOTICE = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
JITTER = 0.25  # a wait is stretched by up to this share
LONGEST_ASKED = timedelta(hours=1)  # no Retry-After is obeyed beyond this


def after_step(attempt: int, fraction: float, retry_after: float | None = None) -> timedelta:
    """The wait after the ``attempt``-th failed try of a step. ``retry_after``: seconds that the other side asked for."""
    return _wait(STEP, attempt, fraction, retry_after)


def after_ledger(attempt: int, fraction: float, retry_after: float | None = None) -> timedelta:
    """The wait after the ``attempt``-th failed try to end an owed version."""
    return _wait(LEDGER, attempt, fraction, retry_after)


def after_own(attempt: int, fraction: float, retry_after: float | None = None) -> timedelta:
    """The wait after the ``attempt``-th failed try in a row to use a credential of our own."""
    return _wait(OWN, attempt, fraction, retry_after)


def after_rolled_back(failures: int, reason: Reason) -> timedelta | None:
    """The pause after the ``failures``-th rotation in a row that rolled back; None: hold for a person."""
    if reason is Reason.COMPROMISED:
        return ROLLED_BACK_COMPROMISED[min(failures, len(ROLLED_BACK_COMPROMISED)) - 1]
    return ROLLED_BACK[failures - 1] if failures <= len(ROLLED_BACK) else None


def after_notice(attempt: int, fraction: float) -> timedelta | None:
    """The wait after the ``attempt``-th failed delivery of a notice; None: it is given up, which is logged."""
    if attempt > len(NOTICE):
        return None
    return _stretched(NOTICE[attempt - 1], fraction)


def _wait(strategy: wait_base, attempt: int, fraction: float, retry_after: float | None) -> timedelta:
    state = RetryCallState(Retrying(), None, (), {})  # the strategies look at the number only
    state.attempt_number = max(attempt, 1)
    own = timedelta(seconds=strategy(state))
    asked = min(timedelta(seconds=max(retry_after or 0.0, 0.0)), LONGEST_ASKED)
    return _stretched(max(own, asked), fraction)


def _stretched(wait: timedelta, fraction: float) -> timedelta:
    if not 0 <= fraction <= 1:
        raise ValueError(f"a jitter fraction lies between 0 and 1, not {fraction}")
    return wait * (1 + JITTER * fraction)
