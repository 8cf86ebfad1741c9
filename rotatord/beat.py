"""The figures that are looked up now and then: counts, expiries, and what will expire if nothing changes."""

from __future__ import annotations

from rotatord import policy
from rotatord.clock import Clock, Ids
from rotatord.damage import Damage, page_of
from rotatord.errors import JournalDamaged
from rotatord.pauses import live
from rotatord.ports import Journal
from rotatord.telemetry import EXPIRY_SERIES, Telemetry

PAGE = 200  # credentials that are judged in one beat; the rest follows in the next ones


class Beat:
    """One daemon's. However many credentials there are, a beat costs the same."""

    def __init__(self, journal: Journal, clock: Clock, ids: Ids, telemetry: Telemetry) -> None:
        self._journal = journal
        self._clock = clock
        self._telemetry = telemetry
        self._pauses = live(journal, clock.now)
        self._after = ""
        self._endangered: set[str] = set()
        self._damage = Damage(journal, clock, ids)

    def look(self) -> None:
        counts = self._journal.counts(self._clock.now())
        self._telemetry.counts(counts)
        if counts.get("credentials", 0) <= EXPIRY_SERIES:  # beyond that the journal is not read for a metric
            records = self._journal.records(limit=EXPIRY_SERIES, damaged={})
            ends = {(r.name, r.spec.issuer): r.current.expires_at for r in records if r.current and r.current.expires_at}
            self._telemetry.expiries({key: end for key, end in ends.items() if end is not None})
        self._judge()

    def _judge(self) -> None:
        """The next ones by name, and again those that were endangered when they were judged last."""
        damaged: dict[str, str] = {}
        page, after = page_of(self._journal, self._after, PAGE, damaged)
        self._after = after or ""
        judged = {record.name: record for record in page}
        for name in sorted(self._endangered - judged.keys() - damaged.keys())[:PAGE]:
            try:
                record = self._journal.get(name)
            except JournalDamaged:
                continue  # the page that it is on says so
            if record is not None:
                judged[name] = record
        self._damage.note(damaged)  # whoever is not due for years is looked at here too
        now, freeze = self._clock.now(), self._pauses()
        found = {name for name, record in judged.items() if policy.due(record, now, freeze=freeze).endangered}
        self._endangered = (self._endangered - judged.keys()) | found
        self._telemetry.endangered(len(self._endangered))
