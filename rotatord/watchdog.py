"""Says so when something is past the time by which it must have been done, whatever the engine believes.

It asks the journal what is too old, expired or still leaked, and nothing of what claims, due times or rotations say: an
engine that does nothing at all is found out here. It also tells of a pause that nobody ended.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from rotatord.clock import Clock, Ids
from rotatord.engine import PAUSED
from rotatord.model import Notice
from rotatord.ports import Journal

PAUSE_SEEN = "pause_seen"  # fact: when a pause was seen first, or told of last
TOLD = "overdue_told"
LONG_PAUSE = timedelta(hours=24)  # and again after each such time


class Watchdog:
    """Looks at the journal only."""

    def __init__(self, journal: Journal, clock: Clock, ids: Ids) -> None:
        self._journal = journal
        self._clock = clock
        self._ids = ids

    def look(self) -> dict[str, int]:
        """One look; the counts that it went by."""
        counts = self._journal.counts(self._clock.now())
        overdue, told = counts.get("overdue", 0), self._journal.fact(TOLD) == "yes"
        if overdue and not told:
            self._tell(f"{overdue} credentials are past the time by which they must have been rotated")
        if bool(overdue) != told:
            self._journal.set_fact(TOLD, "yes" if overdue else None)
        self._pause()
        return dict(counts)

    def _pause(self) -> None:
        """A pause has no end of its own, so its owner is reminded every day."""
        words, seen = self._journal.fact(PAUSED), self._journal.fact(PAUSE_SEEN)
        now = self._clock.now()
        if not words:
            if seen is not None:
                self._journal.set_fact(PAUSE_SEEN, None)
            return
        since = datetime.fromisoformat(seen) if seen is not None else None
        if since is not None and timedelta(0) <= now - since < LONG_PAUSE:
            return
        if since is not None:
            self._tell(
                f"no rotation starts anywhere, for more than {LONG_PAUSE.days * 24} hours: paused {words}; `unpause` ends it"
            )
        self._journal.set_fact(PAUSE_SEEN, now.isoformat())

    def _tell(self, text: str) -> None:
        notice = Notice(id=self._ids.new("ntc"), kind="overdue", credential="", text=text, at=self._clock.now())
        self._journal.record_events((), (notice,))
