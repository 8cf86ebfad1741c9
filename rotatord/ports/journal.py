"""The durable memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Protocol, runtime_checkable

from rotatord.clock import Clock
from rotatord.model import Event, Notice, Record

NOTHING: Mapping[str, str | None] = MappingProxyType({})  # that a commit is conditional on beside its record


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to work on one credential until ``expires`` (seconds of the monotonic clock)."""

    name: str
    owner: str
    fence: int  # only rises
    expires: float
    record: Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Amendment:
    """A record as a request wants it, with the events and notices that are committed with it."""

    record: Record
    events: tuple[Event, ...] = ()
    notices: tuple[Notice, ...] = ()


class Journal(Protocol):
    """The durable memory: records, events, notices, and a few named facts. Thread-safe. One transaction per call."""

    def claim(
        self,
        now: datetime,
        limit: int,
        *,
        full: frozenset[str] = frozenset(),
        most: Callable[[str], int] | None = None,
    ) -> Sequence[Lease]:
        """Lease up to ``limit`` records that are due and not leased, nearest deadline first, none whose issuer is in
        ``full``. A new lease has a higher fence than any before for that record. One that is damaged is left out, and
        leased to nobody until as much time has passed as a lease lasts.

        Where several processes claim, those of one issuer that are leased by all of them together stay within
        ``most(issuer)``; where one process claims, keeping that is the caller's own affair.
        """
        ...

    def lease(self, name: str) -> Lease | None:
        """Lease this record now whether due or not; None while somebody else holds it. KeyError if unknown."""
        ...

    def renew(self, lease: Lease, seconds: float = 0.0) -> Lease:
        """Prolong, for ``seconds`` at least. Raises LeaseLost."""
        ...

    def release(self, lease: Lease) -> None:
        """Give the lease back; harmless when it is lost already."""
        ...

    def commit(
        self,
        lease: Lease,
        record: Record,
        events: Sequence[Event] = (),
        notices: Sequence[Notice] = (),
        given: Mapping[str, str | None] = NOTHING,
    ) -> Record:
        """Store ``record`` if the stored sequence is still ``record.seq`` and the lease is held; returns it with
        ``seq + 1``. ``given``: facts as they were read, None for one that was not there; nobody may have changed one of
        them. Raises StaleSequence or LeaseLost, and then nothing at all is stored."""
        ...

    def amend(self, name: str, change: Callable[[Record], Amendment | None]) -> Record:
        """Read, change and store in one transaction, whoever holds the lease; raises the sequence, so that a worker's
        next commit fails. ``change`` may run more than once, must be pure, may raise Refused, and returns None to leave
        the record as it is. KeyError if the name is unknown."""
        ...

    def put(self, records: Sequence[Amendment]) -> None:
        """Insert records that do not exist yet, all or none. Conflict if one exists."""
        ...

    def get(self, name: str) -> Record | None:
        """Raises JournalDamaged."""
        ...

    def names(self) -> Sequence[str]: ...

    def records(self, *, after: str = "", limit: int = 500, damaged: dict[str, str] | None = None) -> Sequence[Record]:
        """A page of all records by name, the names greater than ``after``. Raises JournalDamaged where one of them cannot be
        read, unless ``damaged`` is given: then it is left out, and named there with why. It counts for ``limit``."""
        ...

    def least_recently_inspected(self, before: datetime, limit: int) -> Sequence[str]:
        """Names of quiet managed records whose last inspection is oldest and earlier than ``before``."""
        ...

    def late(self, now: datetime, limit: int) -> Sequence[str]:
        """Records whose rotation is so late by now that people have to be told (:mod:`rotatord.lateness`), the first first;
        by index, whatever due times and leases say."""
        ...

    def next_due(self, after: datetime | None = None) -> datetime | None:
        """The earliest time at which something that nobody has leased is due, of those later than ``after``."""
        ...

    def counts(self, now: datetime) -> dict[str, int]:
        """``credentials, due, open, halted, owed, overdue``: for metrics, in constant time or by index."""
        ...

    def record_events(self, events: Sequence[Event], notices: Sequence[Notice] = ()) -> None:
        """Events that belong to no change of a record."""
        ...

    def replay(self, credential: str | None = None, *, after: int = 0, limit: int = 1000) -> Sequence[Event]:
        """Events in order of ``seq``, after the given one."""
        ...

    def notices(self, now: datetime, limit: int) -> Sequence[Notice]:
        """Undelivered notices that are due for a try, oldest first."""
        ...

    def notice_done(self, id: str) -> None: ...

    def notice_again(self, id: str, at: datetime) -> None:
        """The try failed; the next one is due ``at``."""
        ...

    def fact(self, key: str) -> str | None:
        """A named fact of the installation (its id, ``read_only``, brakes)."""
        ...

    def set_fact(self, key: str, value: str | None, events: Sequence[Event] = ()) -> None: ...

    def prune(self, before: datetime, limit: int) -> int:
        """Delete up to ``limit`` events and delivered notices older than ``before``; how many went."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class Shared(Protocol):
    """What a journal can do beside that several processes have open: what they must know of each other."""

    def join(self, mark: str) -> Collection[str]:
        """Tell the others that this process is alive, under a mark; the marks of those that are. ``watch`` then keeps
        telling them."""
        ...

    def alive(self) -> Collection[str]:
        """The owners of all processes that are alive, as of now; ``owner`` is this one's."""
        ...

    @property
    def owner(self) -> str: ...

    def watch(self, heard: Callable[[int], None]) -> None:
        """From now on call ``heard``, with the number of processes alive, when something may have become due by what
        another did, when another's lease ran out, and when that number changes. From a thread of the journal's own."""
        ...

    def turn(self, chore: str, seconds: float) -> bool:
        """Whether it is this process that does a chore of the whole installation, for so long; whoever has it and asks
        again keeps it."""
        ...

    def alone(self, what: str) -> AbstractContextManager[None]:
        """Keep every other process out of the same, waiting for one that is in. Raises JournalUnavailable."""
        ...

    def common_clock(self) -> Clock:
        """This process's clock, but with instants that every process agrees on: by the database's clock."""
        ...
