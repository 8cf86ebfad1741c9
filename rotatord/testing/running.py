"""Clocks of strict fakes: one that runs by itself, for a person or a real client."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Protocol

from rotatord.clock import SystemClock


class Clock(Protocol):
    """The fake's time."""

    def now(self) -> datetime:
        """Aware, UTC."""
        ...

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        ...


class RunningClock:
    """Runs by itself from the present, ``scale`` times as fast, and can be moved on. With scale 0 it only moves when told."""

    def __init__(self, scale: float = 1.0) -> None:
        self._clock = SystemClock()
        self._start, self._began = self._clock.now(), self._clock.monotonic()
        self._scale = scale
        self._moved = 0.0

    def now(self) -> datetime:
        return self._start + timedelta(seconds=(self._clock.monotonic() - self._began) * self._scale + self._moved)

    def advance(self, seconds: float) -> None:
        if seconds < 0:
            raise ValueError("time passes forwards")
        self._moved += seconds
