"""One journal for several simulated replicas: in memory, with the leases that real replicas have, and watched.

Records are kept as they are, not as text: a sample is encoded, decoded and compared, and searched for secret values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from rotatord.clock import Clock, Ids
from rotatord.errors import JournalUnavailable
from rotatord.journal.codec import EVENTS, RECORDS
from rotatord.journal.memory import MemoryJournal
from rotatord.journal.row import NO_TIME, micros, moment, row_of
from rotatord.model import Event, Notice, Record
from rotatord.ports import NOTHING, Amendment, Lease
from rotatord.replacing import replace
from rotatord.testing.issuer import PREFIX
from rotatord.testing.turns import Death

SAMPLE = 16  # one record of so many is encoded

Stored = Callable[[Lease | None, Record | None, Record, Sequence[Event]], None]


class SharedJournal(MemoryJournal):
    """``stored`` is told of each record that was stored, with the one before and the lease that it was stored under."""

    def __init__(self, clock: Clock, ids: Ids, *, lease_seconds: float = 15.0) -> None:
        self.stored: Stored = lambda *_: None
        self.fences: dict[str, int] = {}  # the highest that anybody was given
        self.leaked = 0
        self._kept: dict[str, Record] = {}
        self._told: list[Event] = []
        self._count = 0
        self._under: Lease | None = None
        super().__init__(clock, ids, lease_seconds=lease_seconds)

    def lease(self, name: str) -> Lease | None:
        lease = super().lease(name)
        if lease is not None:
            self.fences[name] = max(lease.fence, self.fences.get(name, 0))
        return lease

    def holds(self, lease: Lease, seconds: float) -> bool:
        """The truth: whether this lease lasts for so long from now."""
        fence, expires = self._leases.holder(lease.name)
        return fence == lease.fence and expires - self._clock.monotonic() >= seconds

    def next_due(self, after: datetime | None = None) -> datetime | None:
        """As any journal's; asked before everything that happens, so it makes no sets."""
        now, holder = self._clock.monotonic(), self._leases.holder
        least = NO_TIME if after is None else micros(after)
        due = [
            row.due_at
            for row in self._rows.values()
            if row.due_at is not None and row.due_at > least and holder(row.name)[1] <= now
        ]
        return moment(min(due)) if due else None

    def next_end(self) -> float | None:
        """Seconds until the next lease runs out."""
        now = self._clock.monotonic()
        ends = [end - now for end in self._leases.ends() if end > now]
        return min(ends, default=None)

    def commit(
        self,
        lease: Lease,
        record: Record,
        events: Sequence[Event] = (),
        notices: Sequence[Notice] = (),
        given: Mapping[str, str | None] = NOTHING,
    ) -> Record:
        self._under = lease
        try:
            return super().commit(lease, record, events, notices, given)
        finally:
            self._under = None

    def get(self, name: str) -> Record | None:
        return self._kept.get(name)

    def records(self, *, after: str = "", limit: int = 500, damaged: dict[str, str] | None = None) -> Sequence[Record]:
        del damaged  # nothing is stored as text here
        return [self._kept[name] for name in sorted(n for n in self._kept if n > after)[:limit]]

    @property
    def events(self) -> Sequence[Event]:
        """Everything that was told, oldest first."""
        return self._told

    def _known(self, name: str) -> Record:
        return self._kept[name]

    def _store(self, amendment: Amendment, seq: int) -> Record:
        record = replace(amendment.record, seq=seq)
        before = self._kept.get(record.name)
        self._count += 1
        if self._count % SAMPLE == 0:
            self._compare(record, amendment.events)
        self._told.extend(amendment.events)
        self._rows[record.name], self._kept[record.name] = row_of(record), record
        self.stored(self._under, before, record, amendment.events)
        return record

    def _compare(self, record: Record, events: Sequence[Event]) -> None:
        text = RECORDS.encode(record)
        assert RECORDS.decode(text) == record, f"{record.name} does not come back as it was stored"
        self.leaked += PREFIX in text + "".join(map(EVENTS.encode, events))

    def search(self) -> None:
        """Look for secret values in everything that is kept."""
        texts = [RECORDS.encode(record) for record in self._kept.values()] + [EVENTS.encode(event) for event in self._told]
        self.leaked += sum(PREFIX in text for text in texts)


class ReplicaJournal:
    """A replica's connection: its own name on leases, whose end it knows by its own clock. After ``cut`` nothing gets
    through any more, a lease that would be given back included; that is what a kill -9 leaves behind."""

    def __init__(self, shared: SharedJournal, owner: str, offset: float) -> None:
        self._shared = shared
        self._owner = owner
        self._offset = offset
        self.dead = False
        self.away = False
        self.seqs: dict[str, int] = {}  # of each record, as this replica knows it

    def claim(self, now: datetime, limit: int, **limits: Any) -> list[Lease]:
        self._through()
        return [self._mine(lease) for lease in self._shared.claim(now, limit, **limits)]

    def lease(self, name: str) -> Lease | None:
        self._through()
        lease = self._shared.lease(name)
        return None if lease is None else self._mine(lease)

    def renew(self, lease: Lease, *seconds: float) -> Lease:
        self._through()
        renewed = self._shared.renew(lease, *seconds)
        return replace(renewed, expires=renewed.expires + self._offset)

    def release(self, lease: Lease) -> None:
        if not self.dead:
            self._shared.release(lease)

    def commit(
        self,
        lease: Lease,
        record: Record,
        events: Sequence[Event] = (),
        notices: Sequence[Notice] = (),
        given: Mapping[str, str | None] = NOTHING,
    ) -> Record:
        self._through()
        stored = self._shared.commit(lease, record, events, notices, given)
        self.seqs[stored.name] = stored.seq
        return stored

    def get(self, name: str) -> Record | None:
        self._through()
        record = self._shared.get(name)
        if record is not None:
            self.seqs[name] = record.seq
        return record

    def fact(self, key: str) -> str | None:
        return self._shared.fact(key)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shared, name)

    def _mine(self, lease: Lease) -> Lease:
        self.seqs[lease.name] = lease.record.seq
        return replace(lease, owner=self._owner, expires=lease.expires + self._offset)

    def _through(self) -> None:
        if self.dead:
            raise Death
        if self.away:
            raise JournalUnavailable("simulated: the journal cannot be reached")
