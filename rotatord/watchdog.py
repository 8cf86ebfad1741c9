"""Says so when something is past the time by which it must have been done, whatever the engine believes.

It asks the journal what is too old, expired, still leaked or late, and nothing of what claims and due times say: an engine
that does nothing at all is found out here. Of a rotation that should have happened it tells when 50, 25 and 10 % of the time
to the end are left. It also tells of a pause: daily, before its end, and when it is over.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta

from rotatord.clock import Clock, Ids
from rotatord.damage import Damage
from rotatord.errors import JournalDamaged
from rotatord.lateness import Span, reached
from rotatord.lives import when
from rotatord.model import Event, JsonMap, Notice, Pause, Record, digest_of
from rotatord.pauses import PAUSED, in_force, pause_of
from rotatord.policy import due
from rotatord.ports import Amendment, Journal
from rotatord.replacing import replace
from rotatord.views import waiting

PAUSE_SEEN = "pause_seen"  # fact: which pause was seen first when, and what was told of it last
TOLD = "overdue_told"
LOOKED = "watchdog_at"  # fact: when it last looked to the end
DAY = timedelta(hours=24)  # a pause that goes on is told of after each
SOON = timedelta(hours=1)  # before its end it is told of too, or at half of its length where it is shorter
AT_ONCE = 1000  # late rotations that are told of in one look
BEGUN = "begun"  # whoever paused knows


class Watchdog:
    """Looks at the journal only."""

    def __init__(self, journal: Journal, clock: Clock, ids: Ids) -> None:
        self._journal = journal
        self._clock = clock
        self._ids = ids
        self._damage = Damage(journal, clock, ids)

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
        self._damage.review()
        self._late()
        self._pause()
        self._journal.set_fact(LOOKED, self._clock.now().isoformat())
        return dict(counts)

    def _late(self) -> None:
        """What is told is noted in the very transaction: once for each version and level, however many look, and also after a
        restart. A record that has nothing to tell any more leaves the list by being stored anew."""
        now, freeze = self._clock.now(), in_force(self._journal.fact(PAUSED), self._clock.now())

        def tell(record: Record) -> Amendment:
            found = reached(record, now)
            if found is None:
                return Amendment(record=record)
            (span, level), current = found, record.current
            assert current is not None
            text, facts = late_words(record, span, level, now, freeze)
            kind = "expiring" if span.expires else "overdue"
            notice = Notice(id=self._ids.new("ntc"), kind=kind, credential=record.name, text=text, at=now, facts=facts)
            told = Event(
                id=self._ids.new("evt"),
                time=now,
                actor="rotatord",
                action="alarm",
                credential=record.name,
                outcome="late",
                version=current.label,
                evidence=facts,
            )
            noted = replace(record, late_told=level, late_generation=current.generation)
            return Amendment(record=noted, events=(told,), notices=(notice,))

        damaged: dict[str, str] = {}
        for name in self._journal.late(now, AT_ONCE):
            try:
                self._journal.amend(name, tell)
            except JournalDamaged as error:  # it costs only itself: whoever is late beside it is told of
                damaged[name] = str(error)
        self._damage.note(damaged)

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


def late_words(record: Record, span: Span, level: int, now: datetime, freeze: Pause | None) -> tuple[str, JsonMap]:
    """What people are told of a rotation that is late, and the same as facts."""
    why = waiting(record, due(record, now, freeze=freeze)) or "nothing holds it up: does anybody work on it?"
    over = now >= span.end
    end = ("expired" if over else "expires") if span.expires else ("got too old" if over else "gets too old")
    left = "" if over else f"; less than {level} % of that time is left"
    text = f"{record.name}: should have been rotated at {when(span.should)} and {end} at {when(span.end)}{left}: {why}"
    return text, {"left_percent": level, "should": span.should.isoformat(), "end": span.end.isoformat(), "why": why}


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
