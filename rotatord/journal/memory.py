"""The journal in memory: for tests, the simulation, and a look around without a file. It forgets with its owner.

It stores the same texts as the SQL journal, so that what cannot be stored there cannot be stored here either.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from rotatord.clock import Clock, Ids
from rotatord.errors import Conflict, JournalDamaged, JournalUnavailable, StaleSequence
from rotatord.journal.codec import EVENTS, NOTICES, RECORDS, decoded
from rotatord.journal.leases import Leases
from rotatord.journal.row import NO_TIME, Row, micros, moment, row_of
from rotatord.model import Event, Notice, Record
from rotatord.ports import NOTHING, Amendment, Lease
from rotatord.replacing import replace


@dataclass(slots=True)
class _Told:
    """A notice on its way."""

    body: str
    at: int
    try_at: int = 0
    attempts: int = 0
    done: bool = False


class MemoryJournal:
    """See :class:`rotatord.ports.Journal`. Every search looks at everything: meant for thousands, not for millions."""

    def __init__(self, clock: Clock, ids: Ids, *, lease_seconds: float = 15.0) -> None:
        self._clock = clock
        self._ids = ids
        self._lease_seconds = lease_seconds
        self._epoch = 0
        self._closed = False
        self._lock = threading.RLock()
        self._rows: dict[str, Row] = {}
        self._bodies: dict[str, str] = {}
        self._events: dict[int, tuple[int, str, str, str]] = {}  # seq: time, credential, id, body
        self._event_ids: set[str] = set()
        self._event_seq = 0
        self._notices: dict[str, _Told] = {}
        self._facts: dict[str, str] = {}
        self.reopen()

    def reopen(self) -> None:
        """What a restart of the daemon does to a durable journal: all leases are void, and fences still rise."""
        with self._lock:
            self._epoch += 1
            self._closed = False
            self._leases = Leases(self._clock, self._ids.new("owner"), self._epoch, self._lease_seconds)

    # --- leases ---

    def claim(
        self,
        now: datetime,
        limit: int,
        *,
        full: frozenset[str] = frozenset(),
        most: Callable[[str], int] | None = None,
    ) -> Sequence[Lease]:
        del most  # its only worker knows best how much of one issuer is in work
        with self._opened():
            held = self._leases.held()
            due = [
                (row.deadline, row.due_at, row.name)
                for row in self._rows.values()
                if row.due_at is not None and row.due_at <= micros(now) and row.name not in held and row.issuer not in full
            ]
            leases = (self._claimed(name) for _, _, name in sorted(due)[:limit])
            return [lease for lease in leases if lease is not None]

    def _claimed(self, name: str) -> Lease | None:
        """None for one that is damaged: nobody takes it anew before that lease runs out."""
        try:
            return self.lease(name)
        except JournalDamaged:
            self._leases.take(name)
            return None

    def lease(self, name: str) -> Lease | None:
        with self._opened():
            record = self._known(name)
            taken = self._leases.take(name)
            return None if taken is None else self._leases.lease(taken, record)

    def renew(self, lease: Lease, seconds: float = 0.0) -> Lease:
        return self._leases.renew(lease, seconds)

    def release(self, lease: Lease) -> None:
        self._leases.give_back(lease.name, lease.fence)

    # --- records ---

    def commit(
        self,
        lease: Lease,
        record: Record,
        events: Sequence[Event] = (),
        notices: Sequence[Notice] = (),
        given: Mapping[str, str | None] = NOTHING,
    ) -> Record:
        if record.name != lease.name:
            raise ValueError(f"a lease of {lease.name} cannot commit {record.name}")
        with self._opened():
            self._leases.check(lease)
            if self._rows[record.name].seq != record.seq:
                raise StaleSequence(f"{record.name} was changed since sequence {record.seq}")
            for key, value in given.items():
                if self._facts.get(key) != value:
                    raise StaleSequence(f"{key} was changed since it was read")
            return self._store(Amendment(record=record, events=tuple(events), notices=tuple(notices)), record.seq + 1)

    def amend(self, name: str, change: Callable[[Record], Amendment | None]) -> Record:
        with self._opened():
            record = self._known(name)
            amendment = change(record)
            if amendment is None:
                return record
            if amendment.record.name != name:
                raise ValueError(f"an amendment of {name} cannot change {amendment.record.name}")
            return self._store(amendment, record.seq + 1)

    def put(self, records: Sequence[Amendment]) -> None:
        names = [amendment.record.name for amendment in records]
        if len(set(names)) != len(names):
            raise Conflict("the same credential was put twice")
        with self._opened():
            for name in names:
                if name in self._rows:
                    raise Conflict(f"the journal knows {name} already")
            for amendment in records:
                _encoded(amendment)  # all or none: what cannot be stored is found before anything is
            for amendment in records:
                self._store(amendment, amendment.record.seq)

    def get(self, name: str) -> Record | None:
        with self._opened():
            return self._known(name) if name in self._bodies else None

    def names(self) -> Sequence[str]:
        with self._opened():
            return sorted(self._rows)

    def records(self, *, after: str = "", limit: int = 500, damaged: dict[str, str] | None = None) -> Sequence[Record]:
        with self._opened():
            names = sorted(name for name in self._rows if name > after)[:limit]
            return decoded(((name, self._bodies[name]) for name in names), damaged)

    # --- scheduling ---

    def least_recently_inspected(self, before: datetime, limit: int) -> Sequence[str]:
        with self._opened():
            rows = [(row.inspected_at, row.name) for row in self._rows.values() if row.inspected_at is not None]
            return [name for inspected_at, name in sorted(rows) if inspected_at < micros(before)][:limit]

    def late(self, now: datetime, limit: int) -> Sequence[str]:
        with self._opened():
            rows = [(row.late_at, row.name) for row in self._rows.values() if row.late_at is not None]
            return [name for late_at, name in sorted(rows) if late_at <= micros(now)][:limit]

    def next_due(self, after: datetime | None = None) -> datetime | None:
        with self._opened():
            held, least = self._leases.held(), NO_TIME if after is None else micros(after)
            rows = [row for row in self._rows.values() if row.name not in held]
            due = [row.due_at for row in rows if row.due_at is not None and row.due_at > least]
            return moment(min(due)) if due else None

    def counts(self, now: datetime) -> dict[str, int]:
        with self._opened():
            rows, until = self._rows.values(), micros(now)
            return {
                "credentials": len(rows),
                "due": sum(row.due_at is not None and row.due_at <= until for row in rows),
                "open": sum(row.open for row in rows),
                "halted": sum(row.halted for row in rows),
                "owed": sum(row.owed for row in rows),
                "overdue": sum(row.deadline <= until for row in rows),
            }

    # --- events and notices ---

    def record_events(self, events: Sequence[Event], notices: Sequence[Notice] = ()) -> None:
        with self._opened():
            self._append(events, notices)

    def replay(self, credential: str | None = None, *, after: int = 0, limit: int = 1000) -> Sequence[Event]:
        with self._opened():
            wanted = (
                (seq, body)
                for seq, (_, of, _, body) in self._events.items()
                if seq > after and (credential is None or of == credential)
            )
            return [replace(EVENTS.decode(body), seq=seq) for _, (seq, body) in zip(range(limit), wanted, strict=False)]

    def notices(self, now: datetime, limit: int) -> Sequence[Notice]:
        with self._opened():
            due = [told for told in self._notices.values() if not told.done and told.try_at <= micros(now)]
            return [replace(NOTICES.decode(told.body), attempts=told.attempts) for told in due[:limit]]

    def notice_done(self, id: str) -> None:
        with self._opened():
            if id in self._notices:
                self._notices[id].done = True

    def notice_again(self, id: str, at: datetime) -> None:
        with self._opened():
            if id in self._notices:
                self._notices[id].try_at = micros(at)
                self._notices[id].attempts += 1

    # --- facts and upkeep ---

    def fact(self, key: str) -> str | None:
        with self._opened():
            return self._facts.get(key)

    def set_fact(self, key: str, value: str | None, events: Sequence[Event] = ()) -> None:
        with self._opened():
            self._append(events)
            if value is None:
                self._facts.pop(key, None)
            else:
                self._facts[key] = value

    def prune(self, before: datetime, limit: int) -> int:
        with self._opened():
            until = micros(before)
            events = sorted((time, seq) for seq, (time, *_) in self._events.items() if time < until)[:limit]
            for _, seq in events:
                self._event_ids.discard(self._events.pop(seq)[2])
            done = sorted((told.at, key) for key, told in self._notices.items() if told.done and told.at < until)
            done = done[: limit - len(events)]
            for _, key in done:
                del self._notices[key]
            return len(events) + len(done)

    def close(self) -> None:
        """Refuse everything until :meth:`reopen`."""
        with self._lock:
            self._closed = True

    # --- inside ---

    def _opened(self) -> threading.RLock:
        """The lock, for ``with``; raises JournalUnavailable after close."""
        if self._closed:
            raise JournalUnavailable("the journal is closed")
        return self._lock

    def _known(self, name: str) -> Record:
        return RECORDS.decode(self._bodies[name], name)

    def _store(self, amendment: Amendment, seq: int) -> Record:
        record = replace(amendment.record, seq=seq)
        body = RECORDS.encode(record)
        self._append(amendment.events, amendment.notices)
        self._rows[record.name], self._bodies[record.name] = row_of(record), body
        return record

    def _append(self, events: Sequence[Event], notices: Sequence[Notice] = ()) -> None:
        encoded = [EVENTS.encode(event) for event in events]
        told = [_Told(body=NOTICES.encode(notice), at=micros(notice.at)) for notice in notices]
        for event, body in zip(events, encoded, strict=True):
            if event.id not in self._event_ids:
                self._event_seq += 1
                self._event_ids.add(event.id)
                self._events[self._event_seq] = (micros(event.time), event.credential, event.id, body)
        for notice, one in zip(notices, told, strict=True):
            self._notices.setdefault(notice.id, one)


def _encoded(amendment: Amendment) -> None:
    RECORDS.encode(amendment.record)
    for event in amendment.events:
        EVENTS.encode(event)
    for notice in amendment.notices:
        NOTICES.encode(notice)
