"""Notices that the wall clock was set, and tells. Set back, what waits is looked at again now: it would otherwise sleep
until the old time comes round once more. How long it really has to wait is then measured on both clocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from rotatord.clock import DISAGREEMENT, Clock, Ids
from rotatord.damage import page_of
from rotatord.model import Event, Record
from rotatord.ports import Amendment, Journal
from rotatord.work import next_due

PAGE = 500


class Jumps:
    """Compares the wall clock with the monotonic one. ``look`` every few seconds, from one thread."""

    def __init__(self, journal: Journal, clock: Clock, ids: Ids, wake: Callable[[], None] = lambda: None) -> None:
        self._journal = journal
        self._clock = clock
        self._ids = ids
        self._wake = wake
        self._began = self._beginning()

    def look(self) -> None:
        """Raises JournalUnavailable; the next look then finds the same jump."""
        began = self._beginning()
        ahead = began - self._began
        if abs(ahead) > DISAGREEMENT:
            self._tell(ahead)
            if ahead < timedelta(0):
                self._look_again()
            self._wake()
        self._began = began  # what NTP does a little at a time is never a jump

    def _beginning(self) -> datetime:
        """The wall's idea of when the monotonic clock began: it moves only when the wall clock is set."""
        instant = self._clock.instant()
        return instant.wall - timedelta(seconds=instant.monotonic)

    def _tell(self, ahead: timedelta) -> None:
        event = Event(
            id=self._ids.new("evt"),
            time=self._clock.now(),
            actor="rotatord",
            action="clock",
            credential="",
            outcome="set",
            evidence={"seconds_ahead": round(ahead.total_seconds()), "why": "the wall clock was set: waits start again"},
        )
        self._journal.record_events((event,))

    def _look_again(self) -> None:
        after: str | None = ""
        now = self._clock.now()
        while after is not None:
            page, after = page_of(self._journal, after, PAGE, {})
            for record in page:
                if hurried(record, now) is not None:
                    self._journal.amend(record.name, lambda record: hurried(record, now))


def hurried(record: Record, now: datetime) -> Amendment | None:
    """The record with everything that waits due now; None where nothing does."""
    rotation = record.rotation
    if rotation is not None and rotation.due_at > now:
        rotation = replace(rotation, due_at=now)
    troubles = tuple(replace(trouble, due_at=min(trouble.due_at, now)) for trouble in record.troubles)
    ledger = tuple(replace(debt, due_at=min(debt.due_at, now)) for debt in record.ledger)
    hurrying = replace(record, rotation=rotation, troubles=troubles, ledger=ledger)
    hurrying = replace(hurrying, due_at=next_due(hurrying, now))
    return None if hurrying == record else Amendment(record=hurrying)
