"""Time and ids that a test owns: nothing here reads the machine's clock, and every run of one seed is the same."""

from __future__ import annotations

import random
import threading
from datetime import UTC, datetime, timedelta

from rotatord.clock import Instant

START = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)  # a Monday noon: inside every ordinary window


class VirtualClock:
    """A :class:`rotatord.clock.Clock` that moves only when told to. Thread-safe.

    ``wait`` never blocks: it moves time by what it was asked to wait, unless the event is set already. ``outside`` is
    what everybody else's clocks show: only ``advance`` moves it, so the fakes do not notice that our wall clock was set.
    """

    def __init__(self, start: datetime = START) -> None:
        if start.tzinfo is None:
            raise ValueError("the start of a clock needs a time zone")
        self._lock = threading.Lock()
        self._wall = start.astimezone(UTC)
        self._outside = self._wall
        self._monotonic = 1000.0
        self._boots = 1

    def now(self) -> datetime:
        return self._wall

    def outside(self) -> datetime:
        """The time at issuers, backends and consumers."""
        return self._outside

    def monotonic(self) -> float:
        return self._monotonic

    def instant(self) -> Instant:
        with self._lock:
            return Instant(self._wall, self._monotonic, f"boot-{self._boots}")

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """True at once if ``event`` is set; else ``seconds`` have passed and the answer is whether it is set now."""
        if not event.is_set():
            self.advance(max(seconds, 0.0))
        return event.is_set()

    def advance(self, seconds: float) -> None:
        """Let time pass on both clocks."""
        if seconds < 0:
            raise ValueError("time passes forwards; jump_wall sets the wall clock back")
        with self._lock:
            self._pass(seconds)

    def advance_to(self, moment: datetime) -> None:
        """Let time pass until the wall clock shows ``moment``; nothing if it is past."""
        with self._lock:
            seconds = (moment - self._wall).total_seconds()
            self._pass(max(seconds, 0.0))

    def jump_wall(self, seconds: float) -> None:
        """Set the wall clock forwards or back, as a person or NTP does; the monotonic clock does not notice."""
        with self._lock:
            self._wall += timedelta(seconds=seconds)

    def reboot(self) -> None:
        """A new boot: monotonic seconds count from zero again, under a new epoch."""
        with self._lock:
            self._boots += 1
            self._monotonic = 0.0

    def _pass(self, seconds: float) -> None:
        self._wall += timedelta(seconds=seconds)
        self._outside += timedelta(seconds=seconds)
        self._monotonic += seconds


class SeededIds:
    """A :class:`rotatord.clock.Ids` that gives the same ids for the same seed. Thread-safe."""

    def __init__(self, seed: int | str = 0) -> None:
        self._random = random.Random(seed)  # noqa: S311 - repeatable on purpose, guards nothing
        self._lock = threading.Lock()

    def new(self, prefix: str) -> str:
        with self._lock:
            return f"{prefix}_{self._random.getrandbits(64):016x}"

    def fraction(self) -> float:
        with self._lock:
            return self._random.random()
