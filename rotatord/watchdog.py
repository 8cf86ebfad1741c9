"""Says so when something is past the time by which it must have been done, whatever the engine believes.

It asks the journal what is too old, expired or still leaked, and nothing of what claims, due times or rotations say: an
engine that does nothing at all is found out here. It also tells of a pause: daily, before its end, and when it is over.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta

from rotatord.clock import Clock, Ids
from rotatord.model import Event, Notice, Pause, digest_of
from rotatord.pauses import PAUSED, pause_of
from rotatord.ports import Journal

PAUSE_SEEN = "pause_seen"  # fact: which pause was seen first when, and what was told of it last
TOLD = "overdue_told"
DAY = timedelta(hours=24)  # a pause that goes on is told of after each
SOON = timedelta(hours=1)  # before its end it is told of too, or at half of its length where it is shorter
BEGUN = "begun"  # whoever paused knows


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
            text = f"{overdue} credentials are past the time by which they must have been rotated"
            notice = Notice(id=self._ids.new("ntc"), kind="overdue", credential="", text=text, at=self._clock.now())
            self._journal.record_events((), (notice,))
        if bool(overdue) != told:
            self._journal.set_fact(TOLD, "yes" if overdue else None)
        self._pause()
        return dict(counts)

    def _pause(self) -> None:
        """Nobody forgets a pause: neither one that goes on, nor that it is about to end, nor that it has ended."""
        text, seen = self._journal.fact(PAUSED), self._journal.fact(PAUSE_SEEN)
        if not text:
            if seen is not None:
                self._journal.set_fact(PAUSE_SEEN, None)
            return
        now, pause, known = self._clock.now(), pause_of(text), _seen(seen)
        assert pause is not None
        which = digest_of(text)
        if known.get("pause") != which:
            known = {"pause": which, "since": (pause.at or now).isoformat(), "told": BEGUN}
        since = datetime.fromisoformat(known["since"])
        stage = _stage(pause, since, now)
        if stage not in {BEGUN, known["told"]}:
            self._tell(pause, stage, digest_of([which, known["since"], stage]))
        if known | {"told": stage} != _seen(seen):
            self._journal.set_fact(PAUSE_SEEN, json.dumps(known | {"told": stage}))

    def _tell(self, pause: Pause, stage: str, key: str) -> None:
        """The ids go by what is told, so that a death before it is noted does not tell it twice."""
        now = self._clock.now()
        texts = {
            "over": f"the pause has ended by itself: it was {pause.words}; what is due begins",
            "soon": f"rotations begin again soon: paused {pause.words}; `pause` anew where that is too early",
        }
        text = texts.get(stage, f"no rotation starts anywhere, for more than {stage}: paused {pause.words}; `unpause` ends it")
        facts = {"owner": pause.owner, "until": pause.until.isoformat() if pause.until else ""}
        ended = Event(
            id=f"evt_{key}", time=now, actor="rotatord", action="unpause", credential="", outcome="done", evidence=facts
        )
        notice = Notice(id=f"ntc_{key}", kind="paused", credential="", text=text, at=now)
        self._journal.record_events((ended,) if stage == "over" else (), (notice,))


def _seen(text: str | None) -> dict[str, str]:
    """What is known of the pause; nothing where an earlier version noted it in another form."""
    return dict(json.loads(text)) if text and text.startswith("{") else {}


def _stage(pause: Pause, since: datetime, now: datetime) -> str:
    """How far a pause is: begun, so many days long, about to end, or over."""
    if pause.until is not None and now >= pause.until:
        return "over"
    if pause.until is not None and now >= pause.until - min(SOON, (pause.until - since) / 2):
        return "soon"
    days = max(0, (now - since) // DAY)
    return f"{days * 24} hours" if days else BEGUN
