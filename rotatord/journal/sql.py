"""The journal in SQL: one transaction per call, many calls per transaction of the database."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from rotatord.clock import Clock, Ids
from rotatord.errors import Conflict, JournalUnavailable, StaleSequence
from rotatord.journal.claims import Claims
from rotatord.journal.codec import EVENTS, NOTICES, RECORDS
from rotatord.journal.leases import Leases, Taken
from rotatord.journal.row import NO_TIME, micros, moment, row_of
from rotatord.journal.sqlite import SqliteFile
from rotatord.journal.writer import Transaction, Writer, Written
from rotatord.model import Event, Notice, Record
from rotatord.ports import Amendment, Lease

T = TypeVar("T")


def open_sqlite(path: str, clock: Clock, ids: Ids, *, read_only: bool, lease_seconds: float) -> SqlJournal:
    """Take the file, or only look at it. Raises JournalUnavailable or JournalTooNew."""
    file = SqliteFile(path, read_only=read_only)
    if read_only:
        file.look()
    else:
        file.take()
    try:
        return SqlJournal(file, clock, ids.new("owner"), lease_seconds)
    except BaseException:
        file.release()
        raise


class SqlJournal:
    """See :class:`rotatord.ports.Journal`. Leases live in memory: whoever has the file is its only worker."""

    def __init__(self, file: SqliteFile, clock: Clock, owner: str, lease_seconds: float) -> None:
        self._file = file
        self._statements = file.statements
        self._reader = _Reader(file)
        epoch = 0 if file.read_only else self._open_epoch()
        self._writer = Writer(file, epoch)
        self._leases = Leases(clock, owner, epoch, lease_seconds)
        self._claims = Claims(file.statements, self._reader.rows, self._writer)
        self._claiming = threading.Lock()

    # --- leases ---

    def claim(self, now: datetime, limit: int, *, full: frozenset[str] = frozenset()) -> Sequence[Lease]:
        self._must_write()
        due = {"now": micros(now)}
        leases = []
        with self._claiming:
            for _, _, name, _ in self._claims.candidates(due["now"], limit, full, self._leases.held()):
                taken = self._leases.take(name)
                if taken is not None:
                    leases.append(self._read(name, taken, self._statements.body_if_due, due))
        return [lease for lease in leases if lease is not None]

    def lease(self, name: str) -> Lease | None:
        self._must_write()
        taken = self._leases.take(name)
        if taken is None:
            return None
        lease = self._read(name, taken, self._statements.body, {})
        if lease is None:
            raise KeyError(name)
        return lease

    def renew(self, lease: Lease) -> Lease:
        return self._leases.renew(lease)

    def release(self, lease: Lease) -> None:
        self._leases.give_back(lease.name, lease.fence)

    # --- records ---

    def commit(self, lease: Lease, record: Record, events: Sequence[Event] = (), notices: Sequence[Notice] = ()) -> Record:
        if record.name != lease.name:
            raise ValueError(f"a lease of {lease.name} cannot commit {record.name}")
        stored = replace(record, seq=record.seq + 1)
        values, body, written = row_of(stored)._asdict(), RECORDS.encode(stored), Written(events, notices)

        def work(transaction: Transaction) -> Record:
            self._leases.check(lease)
            _update(transaction, values, body, expected=record.seq)
            transaction.store(written)
            return stored

        return self._write(work)

    def amend(self, name: str, change: Callable[[Record], Amendment | None]) -> Record:
        def work(transaction: Transaction) -> Record:
            found = transaction.execute(self._statements.body, {"key": name}).fetchone()
            if found is None:
                raise KeyError(name)
            record = RECORDS.decode(found[0])
            amendment = change(record)
            if amendment is None:
                return record
            if amendment.record.name != name:
                raise ValueError(f"an amendment of {name} cannot change {amendment.record.name}")
            stored = replace(amendment.record, seq=record.seq + 1)
            written = Written(amendment.events, amendment.notices)
            _update(transaction, row_of(stored)._asdict(), RECORDS.encode(stored), expected=record.seq)
            transaction.store(written)
            return stored

        return self._write(work)

    def put(self, records: Sequence[Amendment]) -> None:
        rows = [row_of(amendment.record)._asdict() for amendment in records]
        bodies = [{"name": amendment.record.name, "body": RECORDS.encode(amendment.record)} for amendment in records]
        written = [Written(amendment.events, amendment.notices) for amendment in records]
        names = [row["name"] for row in rows]
        if len(set(names)) != len(names):
            raise Conflict("the same credential was put twice")

        def work(transaction: Transaction) -> None:
            for name in names:
                if transaction.execute(self._statements.exists, {"key": name}).fetchone():
                    raise Conflict(f"the journal knows {name} already")
            transaction.execute(self._statements.add_credentials, {"more": len(rows)})
            transaction.executemany(self._statements.insert_row, rows)
            transaction.executemany(self._statements.insert_body, bodies)
            for one in written:
                transaction.store(one)

        self._write(work)

    def get(self, name: str) -> Record | None:
        found = self._reader.rows(self._statements.body, {"key": name})
        return RECORDS.decode(found[0][0]) if found else None

    def names(self) -> Sequence[str]:
        return [name for (name,) in self._reader.rows(self._statements.names, {})]

    def records(self, *, after: str = "", limit: int = 500) -> Sequence[Record]:
        found = self._reader.rows(self._statements.page, {"after": after, "limit": limit})
        return [RECORDS.decode(body) for (body,) in found]

    # --- scheduling ---

    def least_recently_inspected(self, before: datetime, limit: int) -> Sequence[str]:
        found = self._reader.rows(self._statements.inspected, {"before": micros(before), "limit": limit})
        return [name for (name,) in found]

    def next_due(self, after: datetime | None = None) -> datetime | None:
        held = self._leases.held()
        enough = {"limit": len(held) + 1, "after": NO_TIME if after is None else micros(after)}
        found = [
            due_at
            for text in (self._statements.next_ready, self._statements.next_sleeping)
            for due_at, name in self._reader.rows(text, enough)
            if name not in held
        ]
        return moment(min(found)) if found else None

    def counts(self, now: datetime) -> dict[str, int]:
        found = self._reader.rows(self._statements.counts, {"now": micros(now)})[0]
        return dict(zip(("credentials", "due", "open", "halted", "owed", "overdue"), found, strict=True))

    # --- events and notices ---

    def record_events(self, events: Sequence[Event], notices: Sequence[Notice] = ()) -> None:
        written = Written(events, notices)
        self._write(lambda transaction: transaction.store(written))

    def replay(self, credential: str | None = None, *, after: int = 0, limit: int = 1000) -> Sequence[Event]:
        values = {"after": after, "limit": limit, "credential": credential}
        text = self._statements.events_after if credential is None else self._statements.events_of
        return [replace(EVENTS.decode(body), seq=seq) for seq, body in self._reader.rows(text, values)]

    def notices(self, now: datetime, limit: int) -> Sequence[Notice]:
        found = self._reader.rows(self._statements.notices, {"now": micros(now), "limit": limit})
        return [replace(NOTICES.decode(body), attempts=attempts) for body, attempts in found]

    def notice_done(self, id: str) -> None:
        self._execute(self._statements.notice_done, {"key": id})

    def notice_again(self, id: str, at: datetime) -> None:
        self._execute(self._statements.notice_again, {"key": id, "again": micros(at)})

    # --- facts and upkeep ---

    def fact(self, key: str) -> str | None:
        found = self._reader.rows(self._statements.fact, {"key": key})
        return str(found[0][0]) if found else None

    def set_fact(self, key: str, value: str | None, events: Sequence[Event] = ()) -> None:
        written = Written(events)

        def work(transaction: Transaction) -> None:
            transaction.execute(self._statements.delete_fact, {"key": key})
            if value is not None:
                transaction.execute(self._statements.insert_fact, {"key": key, "value": value})
            transaction.store(written)

        self._write(work)

    def prune(self, before: datetime, limit: int) -> int:
        def work(transaction: Transaction) -> int:
            values = {"before": micros(before), "limit": limit}
            # The numbers go on from here, whatever is left.
            transaction.execute(self._statements.set_event_seq, {"last": transaction.event_seq})
            events = transaction.execute(self._statements.prune_events, values).rowcount
            values["limit"] = limit - events
            return events + transaction.execute(self._statements.prune_notices, values).rowcount

        return self._write(work)

    def close(self) -> None:
        self._writer.close()
        self._reader.close()
        self._file.release()

    # --- inside ---

    def _open_epoch(self) -> int:
        """Raise the epoch: whoever still had this file open can commit nothing any more."""
        try:
            connection = self._file.connect()
            try:
                connection.execute(self._statements.open_epoch)
                return int(connection.execute(self._statements.state).fetchone()[0])
            finally:
                connection.close()
        except sqlite3.Error as error:
            raise self._file.failure(error) from None

    def _read(self, name: str, taken: Taken, text: str, values: Mapping[str, Any]) -> Lease | None:
        """Lease first, then read: what is read is what the last holder left. None, and given back, when nothing is found."""
        record = None
        try:
            found = self._reader.rows(text, {"key": name, **values})
            record = RECORDS.decode(found[0][0]) if found else None
        finally:
            if record is None:
                self._leases.give_back(name, taken[0])
        return None if record is None else self._leases.lease(taken, record)

    def _execute(self, text: str, values: Mapping[str, Any]) -> None:
        self._write(lambda transaction: transaction.execute(text, values))

    def _write(self, work: Callable[[Transaction], T]) -> T:
        self._must_write()
        return self._writer.run(work)

    def _must_write(self) -> None:
        if self._file.read_only:
            raise JournalUnavailable("the journal was opened for reading only")


def _update(transaction: Transaction, values: dict[str, Any], body: str, *, expected: int) -> None:
    name = values["name"]
    row = {**values, "key": name, "expected": expected}
    for text in (transaction.statements.update_due, transaction.statements.update_row):
        if transaction.execute(text, row).rowcount == 1:
            break
    else:
        raise StaleSequence(f"{name} was changed since sequence {expected}")
    transaction.execute(transaction.statements.update_body, {"key": name, "body": body})


class _Reader:
    """One connection for all reads, each of which sees all that is committed."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._closed = False

    def rows(self, text: str, values: Mapping[str, Any]) -> list[Any]:
        """Raises JournalUnavailable; the next read tries anew."""
        with self._lock:
            if self._closed:
                raise JournalUnavailable("the journal is closed")
            try:
                if self._connection is None:
                    self._connection = self._file.connect()
                return self._connection.execute(text, values).fetchall()
            except sqlite3.Error as error:
                self._disconnect()
                raise self._file.failure(error) from None

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._disconnect()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
