"""Request rates: so many in five minutes for each user or account's token, then five minutes of nothing; so many a second for
each address."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from rotatord.testing.cloudflare.refusals import Refused, refused


@dataclass(frozen=True)
class Rates:
    """The real ones. ``per_second``: None on a clock that stands still between calls."""

    most: int = 1200
    seconds: int = 300
    per_second: int | None = None
    failures: int | None = None  # so many wrong credentials an address may show in the same time; None: any number


@dataclass
class _Window:
    began: datetime
    used: int = 0
    blocked_until: datetime | None = None


class Limits:
    """Counts. Under the fake's lock."""

    def __init__(self, rates: Rates) -> None:
        self.rates = rates
        self._windows: dict[str, _Window] = {}
        self._seconds: dict[str, tuple[int, int]] = {}
        self._failures: dict[str, _Window] = {}
        self.blocks: list[tuple[datetime, str]] = []  # each time that somebody was shut out

    def draw(self, budget: str, address: str, now: datetime) -> None:
        """Take one call, or refuse it as the API does."""
        window = self._window(budget, now)
        if window.blocked_until is None and window.used >= self.rates.most:
            window.blocked_until = now + timedelta(seconds=self.rates.seconds)
            self.blocks.append((now, budget))
        if window.blocked_until is not None:
            raise self._refused(window.blocked_until - now)
        window.used += 1
        self._draw_second(address, now)

    def fail(self, address: str, now: datetime) -> None:
        """Somebody showed a wrong credential."""
        self._failing(address, now).used += 1

    def check_failures(self, address: str, now: datetime) -> None:
        """Refuse who has shown too many of them."""
        if self.rates.failures is not None and self._failing(address, now).used >= self.rates.failures:
            raise refused("too many failures")

    def _failing(self, address: str, now: datetime) -> _Window:
        window = self._failures.setdefault(address, _Window(now))
        if now >= window.began + timedelta(seconds=self.rates.seconds):
            window = self._failures[address] = _Window(now)
        return window

    def headers(self, budget: str, now: datetime) -> Mapping[str, str]:
        """What every answer tells of the quota."""
        window, rates = self._window(budget, now), self.rates
        left = 0 if window.blocked_until else max(rates.most - window.used, 0)
        until = window.blocked_until or window.began + timedelta(seconds=rates.seconds)
        return {
            "Ratelimit": f'"default";r={left};t={math.ceil((until - now).total_seconds())}',
            "Ratelimit-Policy": f'"default";q={rates.most};w={rates.seconds}',
        }

    def _window(self, budget: str, now: datetime) -> _Window:
        window = self._windows.setdefault(budget, _Window(now))
        ends = window.blocked_until or window.began + timedelta(seconds=self.rates.seconds)
        if now >= ends:
            window = self._windows[budget] = _Window(now)
        return window

    def _draw_second(self, address: str, now: datetime) -> None:
        if self.rates.per_second is None:
            return
        second = int(now.timestamp())
        before, used = self._seconds.get(address, (second, 0))
        used = used + 1 if before == second else 1
        self._seconds[address] = (second, used)
        if used > self.rates.per_second:
            raise self._refused(timedelta(seconds=1), self.rates.per_second, 1)

    def _refused(self, wait: timedelta, most: int | None = None, seconds: int | None = None) -> Refused:
        error = refused("too many requests", most=most or self.rates.most, seconds=seconds or self.rates.seconds)
        error.headers["Retry-After"] = str(math.ceil(wait.total_seconds()))
        return error
