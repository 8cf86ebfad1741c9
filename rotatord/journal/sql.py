"""The journal in SQL: one transaction per call, many calls per transaction of the database.

What the databases have in common. Where they differ they bring a part: how it is read (:class:`Reader`), how transactions
begin and end (:class:`rotatord.journal.writer.Store`), and who may work on what (:class:`Leasing`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, TypeVar

from rotatord.errors import Conflict, JournalUnavailable, StaleSequence
from rotatord.journal.codec import EVENTS, NOTICES, RECORDS, decoded
from rotatord.journal.row import NO_TIME, micros, moment, row_of
from rotatord.journal.statements import Statements
from rotatord.journal.writer import Transaction, Writer, Written
from rotatord.model import Event, Notice, Record
from rotatord.ports import NOTHING, Amendment, Lease
from rotatord.replacing import replace

T = TypeVar("T")


class Reader(Protocol):
    """Reads what is committed, from any thread."""

    def rows(self, text: str, values: Mapping[str, Any]) -> list[Any]:
        """Raises JournalUnavailable; the next read tries anew."""

    def close(self) -> None: ...


class Leasing(Protocol):
    """Who works on what; see :class:`rotatord.ports.Journal`."""

    def claim(self, now: datetime, limit: int, full: frozenset[str], most: Callable[[str], int] | None) -> Sequence[Lease]: ...
    def lease(self, name: str) -> Lease | None: ...
    def renew(self, lease: Lease, seconds: float) -> Lease: ...
    def release(self, lease: Lease) -> None: ...

    def check(self, transaction: Transaction, lease: Lease) -> None:
        """Raises LeaseLost unless the lease is held, until this transaction ends."""

    def held(self) -> frozenset[str]:
        """The records that somebody works on now."""

    def close(self) -> None: ...


class SqlJournal:
    """See :class:`rotatord.ports.Journal`."""

    def __init__(
        self,
        statements: Statements,
        reader: Reader,
        writer: Writer,
        leasing: Leasing,
        *,
        read_only: bool = False,
        shared: bool = False,
        closing: Callable[[], None] = lambda: None,
    ) -> None:
        self._statements = statements
        self._reader = reader
        self._writer = writer
        self._leasing = leasing
        self._read_only = read_only
        self._shared = shared  # leases are rows
        self._closing = closing

    # --- leases ---

    def claim(
        self,
        now: datetime,
        limit: int,
        *,
        full: frozenset[str] = frozenset(),
        most: Callable[[str], int] | None = None,
    ) -> Sequence[Lease]:
        self._must_write()
        return self._leasing.claim(now, limit, full, most)

    def lease(self, name: str) -> Lease | None:
        self._must_write()
        return self._leasing.lease(name)

    def renew(self, lease: Lease, seconds: float = 0.0) -> Lease:
        return self._leasing.renew(lease, seconds)

    def release(self, lease: Lease) -> None:
        self._leasing.release(lease)

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
        stored = replace(record, seq=record.seq + 1)
        values, body, written = row_of(stored)._asdict(), RECORDS.encode(stored), Written(events, notices)

        def work(transaction: Transaction) -> Record:
            self._leasing.check(transaction, lease)
            for key, value in given.items():
                found = transaction.rows(self._statements.fact, {"key": key})
                if (str(found[0][0]) if found else None) != value:
                    raise StaleSequence(f"{key} was changed since it was read")
            _update(transaction, values, body, expected=record.seq)
            transaction.store(written)
            return stored

        return self._write(work)

    def amend(self, name: str, change: Callable[[Record], Amendment | None]) -> Record:
        def work(transaction: Transaction) -> Record:
            found = transaction.rows(self._statements.body, {"key": name})
            if not found:
                raise KeyError(name)
            record = RECORDS.decode(found[0][0], name)
            amendment = change(record)
            if amendment is None:
                return record
            if amendment.record.name != name:
                raise ValueError(f"an amendment of {name} cannot change {amendment.record.name}")
            stored = replace(amendment.record, seq=record.seq + 1)
            written = Written(amendment.events, amendment.notices)
            _update(transaction, row_of(stored)._asdict(), RECORDS.encode(stored), expected=record.seq)
            transaction.store(written)
            transaction.urgent = True
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
                if transaction.rows(self._statements.exists, {"key": name}):
                    raise Conflict(f"the journal knows {name} already")
            transaction.execute(self._statements.add_credentials, {"more": len(rows)})
            transaction.executemany(self._statements.insert_row, rows)
            transaction.executemany(self._statements.insert_body, bodies)
            if self._shared:
                transaction.executemany(self._statements.insert_lease, rows)
            for one in written:
                transaction.store(one)
            transaction.urgent = True

        self._write(work)

    def get(self, name: str) -> Record | None:
        found = self._reader.rows(self._statements.body, {"key": name})
        return RECORDS.decode(found[0][0], name) if found else None

    def names(self) -> Sequence[str]:
        return [name for (name,) in self._reader.rows(self._statements.names, {})]

    def records(self, *, after: str = "", limit: int = 500, damaged: dict[str, str] | None = None) -> Sequence[Record]:
        found = self._reader.rows(self._statements.page, {"after": after, "limit": limit})
        return decoded(((name, body) for name, body in found), damaged)

    # --- scheduling ---

    def least_recently_inspected(self, before: datetime, limit: int) -> Sequence[str]:
        found = self._reader.rows(self._statements.inspected, {"before": micros(before), "limit": limit})
        return [name for (name,) in found]

    def late(self, now: datetime, limit: int) -> Sequence[str]:
        return [name for (name,) in self._reader.rows(self._statements.late, {"now": micros(now), "limit": limit})]

    def next_due(self, after: datetime | None = None) -> datetime | None:
        held = self._leasing.held()
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
            transaction.urgent = transaction.urgent or bool(events)

        self._write(work)

    def prune(self, before: datetime, limit: int) -> int:
        def work(transaction: Transaction) -> int:
            values = {"before": micros(before), "limit": limit}
            # The numbers go on from here, whatever is left.
            transaction.execute(self._statements.set_event_seq, {"last": transaction.event_seq})
            events = transaction.execute(self._statements.prune_events, values)
            values["limit"] = limit - events
            return events + transaction.execute(self._statements.prune_notices, values)

        return self._write(work)

    def close(self) -> None:
        self._leasing.close()
        self._writer.close()
        self._reader.close()
        self._closing()

    # --- inside ---

    def _execute(self, text: str, values: Mapping[str, Any]) -> None:
        self._write(lambda transaction: transaction.execute(text, values))

    def _write(self, work: Callable[[Transaction], T]) -> T:
        self._must_write()
        return self._writer.run(work)

    def _must_write(self) -> None:
        if self._read_only:
            raise JournalUnavailable("the journal was opened for reading only")


def _update(transaction: Transaction, values: dict[str, Any], body: str, *, expected: int) -> None:
    name = values["name"]
    row = {**values, "key": name, "expected": expected, "body": body}
    for text in (transaction.statements.update_due, transaction.statements.update_row):
        if transaction.execute(text, row) == 1:
            break
    else:
        raise StaleSequence(f"{name} was changed since sequence {expected}")
    if transaction.statements.update_body:  # not done with the row already
        transaction.execute(transaction.statements.update_body, {"key": name, "body": body})
