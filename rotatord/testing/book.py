"""What the fakes write down while they run, and the knobs that make any of them refuse or fail."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from rotatord.errors import Denied, Retryable
from rotatord.model import JsonMap
from rotatord.testing.clock import VirtualClock

ErrorFactory = Callable[[], Exception]


class Call(NamedTuple):
    """One call of a port, before it took effect. ``facts`` hold no secret values."""

    at: datetime
    who: str
    method: str
    facts: JsonMap


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that must never happen, seen by a fake at the moment it happened."""

    at: datetime
    kind: str  # outage | killed_in_use | suspended_in_use
    who: str
    what: str


class Book:
    """One list of calls and one of violations, shared by all fakes of a world. Thread-safe."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.calls: list[Call] = []
        self.violations: list[Violation] = []

    def call(self, who: str, method: str, facts: JsonMap) -> None:
        self.calls.append(Call(self.clock.outside(), who, method, facts))

    def violation(self, kind: str, who: str, what: str) -> None:
        self.violations.append(Violation(self.clock.outside(), kind, who, what))

    def count(self, method: str, who: str | None = None) -> int:
        """How often a method was called, refused and failed calls included."""
        return sum(1 for call in self.calls if call.method == method and who in (None, call.who))


@dataclass(slots=True)
class _Failing:
    error: ErrorFactory
    left: int | None  # None: until calmed


class Fake:
    """What all fakes share: a name, a lock, the book, and three knobs.

    ``down``: every call is Retryable. ``deny``: a method answers Denied until ``allow``. ``fail``: a method raises what
    it is told, a number of times. None of them lets the call take effect; calls that take effect and lose their answer,
    or land late, are the simulator's business.
    """

    def __init__(self, clock: VirtualClock, name: str, book: Book | None = None, call_seconds: float = 0.0) -> None:
        self.clock = clock
        self.name = name
        self.book = book if book is not None else Book(clock)
        self.down = False
        self.call_seconds = call_seconds
        self._lock = threading.RLock()
        self._denied: set[str] = set()
        self._failing: dict[str, _Failing] = {}

    @property
    def calls(self) -> list[Call]:
        """Every call of this fake so far."""
        return [call for call in self.book.calls if call.who == self.name]

    def deny(self, *methods: str) -> None:
        """Answer Denied to these methods, as when our own identity lost a permission."""
        self._denied.update(methods)

    def allow(self, *methods: str) -> None:
        """Take a denial back; of all methods when none is named."""
        self._denied.difference_update(methods or tuple(self._denied))

    def fail(self, method: str, times: int | None = 1, error: ErrorFactory | None = None) -> None:
        """Raise ``error()`` (Retryable unless told) on the next ``times`` calls of a method; None: until ``calm``."""
        self._failing[method] = _Failing(error or (lambda: Retryable(f"{self.name} is unavailable")), times)

    def calm(self) -> None:
        """Take all knobs back."""
        self.down = False
        self._denied.clear()
        self._failing.clear()

    def _enter(self, method: str, **facts: object) -> None:
        """Record a call, let it take its time, and raise what the knobs say. Call it before any effect."""
        self.book.call(self.name, method, facts)
        if self.call_seconds:
            self.clock.advance(self.call_seconds)
        if self.down:
            raise Retryable(f"{self.name} does not answer")
        if method in self._denied:
            raise Denied(f"{self.name} denies {method}")
        failing = self._failing.get(method)
        if failing is None:
            return
        if failing.left is not None:
            failing.left -= 1
            if failing.left <= 0:
                del self._failing[method]
        raise failing.error()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"
