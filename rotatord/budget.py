"""Budgets per issuer: how many credentials are worked on at once, and how many calls are made in a time.

An issuer that hangs takes its own share of the threads and no more; one whose quota is used up is left alone until it
has some again, and what is due there is claimed nearest expiry first. Issuers that act as one and the same principal have
one quota between them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from rotatord.clock import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """``at_once``: credentials in work. ``calls`` per ``seconds``: the quota; 0 calls: none known. ``of``: tells whose that is,
    whenever it matters; None: this issuer's alone, as a quota that somebody configured for it is."""

    at_once: int = 8
    calls: int = 0
    seconds: float = 1.0
    of: Callable[[], str] | None = None


DEFAULT = Limit()
# Of a quota so much is spent evenly, and the rest at once after a pause: together never more than the quota in any window.
EVEN_SHARE = 0.95
LEAST_CALLS_EACH = 4  # of a quota that is divided
ENOUGH = 1 - 1e-6  # of a call, that a wait reckoned in fractions of seconds is over when it is


class Budgets:
    """Thread-safe counts of what is in work and what quota is left."""

    def __init__(self, clock: Clock, limits: dict[str, Limit] | None = None) -> None:
        self._clock = clock
        self._limits = limits or {}
        self._at_work: dict[str, int] = {}
        self._tokens: dict[str, tuple[float, float]] = {}  # whose quota: tokens left, when that was counted
        self._sharing = 1
        self.turn: Callable[[str, float], bool] = lambda *_: True  # whether a quota too small to divide is ours
        self._lock = threading.Lock()

    def set(self, limits: dict[str, Limit]) -> None:
        """Other limits are in force from now on; what is in work or overdrawn stays counted."""
        with self._lock:
            self._limits = limits

    def share(self, replicas: int) -> None:
        """So many daemons use the issuers' quotas; each has an even part of them. One that comes to others begins with
        nothing saved up: they learn of it a moment later."""
        with self._lock:
            if replicas > self._sharing:
                now = self._clock.monotonic()
                for name, limit in self._limits.items():
                    if limit.calls:
                        whose = _whose(name, limit)
                        self._tokens[whose] = (min(0.0, self._left(whose, limit)), now)
            self._sharing = max(1, replicas)

    def most(self, issuer: str) -> int:
        """How many credentials of this issuer are worked on at once, by all daemons together."""
        return self._limits.get(issuer, DEFAULT).at_once

    def begin(self, issuer: str) -> None:
        """Work on a credential of this issuer begins."""
        with self._lock:
            self._at_work[issuer] = self._at_work.get(issuer, 0) + 1

    def end(self, issuer: str) -> None:
        """That work ended."""
        with self._lock:
            left = self._at_work.get(issuer, 0) - 1
            if left > 0:
                self._at_work[issuer] = left
            else:
                self._at_work.pop(issuer, None)

    def spend(self, issuer: str, calls: int = 1) -> None:
        """So many calls are made. They may overdraw: work that has begun is finished, and nothing new begins until it is paid
        back. Below zero: fewer were made than was spent."""
        limit = self._limits.get(issuer, DEFAULT)
        if limit.calls:
            with self._lock:
                whose = _whose(issuer, limit)
                self._tokens[whose] = (self._left(whose, limit) - calls, self._clock.monotonic())

    def full(self) -> frozenset[str]:
        """Issuers at which nothing new may begin now."""
        with self._lock:
            busy = {name for name, count in self._at_work.items() if count >= self._limits.get(name, DEFAULT).at_once}
            quotas = self._quotas()
            spent = {name for name, whose, limit in quotas if whose in self._tokens and self._left(whose, limit) < ENOUGH}
            small = [(name, whose, limit.seconds) for name, whose, limit in quotas if self._parts(limit) < self._sharing]
        theirs = {name for name, whose, seconds in small if not self.turn(f"quota:{whose}", 2 * seconds)}
        return frozenset(busy | spent | theirs)

    def wait(self) -> float | None:
        """Seconds until some quota is back, where one is used up; None when none is."""
        with self._lock:
            waits = [
                (1 - left) / self._rate(limit)
                for _, whose, limit in self._quotas()
                if whose in self._tokens and (left := self._left(whose, limit)) < ENOUGH
            ]
        return min(waits, default=None)

    def _quotas(self) -> list[tuple[str, str, Limit]]:
        """Issuers with a quota, and whose it is."""
        return [(name, _whose(name, limit), limit) for name, limit in self._limits.items() if limit.calls]

    def _left(self, whose: str, limit: Limit) -> float:
        now, most = self._clock.monotonic(), max(1.0, limit.calls * (1 - EVEN_SHARE) / self._parts(limit))
        tokens, at = self._tokens.get(whose, (most, now))
        return min(most, tokens + (now - at) * self._rate(limit))

    def _rate(self, limit: Limit) -> float:
        """Calls a second. What all together may have saved up is not spent twice."""
        parts = self._parts(limit)
        evenly = limit.calls * EVEN_SHARE if parts == 1 else min(limit.calls * EVEN_SHARE, limit.calls - parts)
        return evenly / limit.seconds / parts

    def _parts(self, limit: Limit) -> int:
        """Into how many a quota is divided: one that is small against the number of daemons has one user at a time."""
        return self._sharing if limit.calls >= LEAST_CALLS_EACH * self._sharing else 1


def _whose(issuer: str, limit: Limit) -> str:
    """Whose quota an issuer uses."""
    return limit.of() if limit.of is not None else issuer
