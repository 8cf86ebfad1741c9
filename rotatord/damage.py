"""Records that cannot be read: each costs only itself. They are left out of what is done for many, told of once, and shown as
unknown until they can be read again. Nobody guesses what was in one, and nobody writes over it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from rotatord.clock import Clock, Ids
from rotatord.errors import JournalDamaged
from rotatord.model import Event, Notice, Record
from rotatord.ports import Amendment, Journal

DAMAGED = "damaged"  # fact: the records that could not be read when somebody looked last, each with why
WAY_OUT = (
    "nothing is done about it, and nobody can tell how long it still works: look at its issuer, "
    "and restore the journal from a backup"
)


def page_of(
    journal: Journal, after: str, limit: int, damaged: dict[str, str] | None = None
) -> tuple[Sequence[Record], str | None]:
    """A page by name as :meth:`rotatord.ports.Journal.records` has it, and where the next one starts; None: it is the last."""
    met: dict[str, str] | None = None if damaged is None else {}
    page = journal.records(after=after, limit=limit, damaged=met)
    if damaged is not None and met:
        damaged.update(met)
    names = [*(record.name for record in page), *(met or ())]
    return page, max(names) if len(names) == limit else None


def known(text: str | None) -> dict[str, str]:
    """What the fact says."""
    return dict(json.loads(text or "{}"))


def amended(journal: Journal, name: str, change: Callable[[Record], Amendment | None]) -> None:
    """One of many is changed, unless it is damaged: then nothing is done about it, and the others go on."""
    with suppress(JournalDamaged):
        journal.amend(name, change)


class Damage:
    """What is known of damaged records, among all daemons."""

    def __init__(self, journal: Journal, clock: Clock, ids: Ids) -> None:
        self._journal = journal
        self._clock = clock
        self._ids = ids

    def note(self, met: Mapping[str, str]) -> None:
        """Say so of those that nobody knew of."""
        before = known(self._journal.fact(DAMAGED))
        fresh = {name: why for name, why in met.items() if name not in before}
        if not fresh:
            return
        now = self._clock.now()
        events, notices = [], []
        for name, why in sorted(fresh.items()):
            text = f"{name}: {why}: {WAY_OUT}"
            facts = {"what": "damaged", "why": why}
            notices.append(Notice(id=self._ids.new("ntc"), kind="halted", credential=name, text=text, at=now, facts=facts))
            events.append(self._event(name, "damaged", why=why))
        self._journal.record_events(events, notices)
        self._journal.set_fact(DAMAGED, json.dumps(before | fresh, sort_keys=True))

    def review(self) -> None:
        """Forget those that can be read again."""
        before = known(self._journal.fact(DAMAGED))
        still = {name: why for name in before if (why := self._why(name))}
        if still != before:
            gone = [self._event(name, "readable") for name in sorted(before.keys() - still.keys())]
            self._journal.set_fact(DAMAGED, json.dumps(still, sort_keys=True) if still else None, gone)

    def _why(self, name: str) -> str:
        try:
            self._journal.get(name)
        except JournalDamaged as error:
            return str(error)
        return ""

    def _event(self, name: str, outcome: str, **facts: str) -> Event:
        return Event(
            id=self._ids.new("evt"),
            time=self._clock.now(),
            actor="rotatord",
            action="alarm",
            credential=name,
            outcome=outcome,
            evidence=dict(facts),
        )
