"""A value that becomes known at each place at its own moment."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from datetime import datetime
from typing import Generic, TypeVar

T = TypeVar("T")
Place = TypeVar("Place", bound=Hashable)


class Register(Generic[T, Place]):
    """A value with the moments at which each place learns of each change. Changes never overtake one another."""

    def __init__(self, value: T) -> None:
        self._first = value
        self._changes: list[tuple[T, Mapping[Place, datetime]]] = []

    @property
    def newest(self) -> T:
        """What was written last, whoever knows of it."""
        return self._changes[-1][0] if self._changes else self._first

    def write(self, value: T, arrivals: Mapping[Place, datetime]) -> None:
        if self._changes:
            before = self._changes[-1][1]
            arrivals = {place: max(moment, before[place]) for place, moment in arrivals.items()}
        self._changes.append((value, arrivals))

    def seen(self, place: Place, now: datetime) -> T:
        """What this place answers."""
        for value, arrivals in reversed(self._changes):
            if arrivals[place] <= now:
                return value
        return self._first

    def next_news(self, place: Place, now: datetime) -> datetime | None:
        """When this place hears of the next change that there is already."""
        return min((arrivals[place] for _, arrivals in self._changes if arrivals[place] > now), default=None)
