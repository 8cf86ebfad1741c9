"""The journal in a SQLite file: its transactions, its reads, and leases that live in memory, because whoever has the file
is its only worker."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from rotatord.clock import Clock, Ids
from rotatord.errors import JournalDamaged, JournalUnavailable
from rotatord.journal.claims import Claims
from rotatord.journal.codec import RECORDS
from rotatord.journal.leases import Leases, Taken
from rotatord.journal.row import micros
from rotatord.journal.sql import SqlJournal
from rotatord.journal.sqlite import SqliteFile
from rotatord.journal.writer import Transaction, Writer
from rotatord.ports import Lease


def open_sqlite(path: str, clock: Clock, ids: Ids, *, read_only: bool, lease_seconds: float) -> SqlJournal:
    """Take the file, or only look at it. Raises JournalUnavailable or JournalTooNew."""
    file = SqliteFile(path, read_only=read_only)
    if read_only:
        file.look()
    else:
        file.take()
    try:
        epoch = 0 if read_only else _open_epoch(file)
        reader, writer = SqliteReader(file), Writer(SqliteStore(file, epoch))
        leasing = LocalLeasing(reader, writer, Leases(clock, ids.new("owner"), epoch, lease_seconds), file)
        return SqlJournal(file.statements, reader, writer, leasing, read_only=read_only, closing=file.release)
    except BaseException:
        file.release()
        raise


def _open_epoch(file: SqliteFile) -> int:
    """Raise the epoch: whoever still had this file open can commit nothing any more."""
    try:
        connection = file.connect()
        try:
            connection.execute(file.statements.open_epoch)
            return int(connection.execute(file.statements.state).fetchone()[0])
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise file.failure(error) from None


class SqliteStore:
    """See :class:`rotatord.journal.writer.Store`."""

    faults = sqlite3.Error

    def __init__(self, file: SqliteFile, epoch: int) -> None:
        self._file = file
        self._epoch = epoch
        self.connection: sqlite3.Connection | None = None

    def begin(self) -> Transaction:
        self._file.check_in_place()
        if self.connection is None:
            self.connection = self._file.connect()
        self.connection.execute("BEGIN IMMEDIATE")
        epoch, pruned, last = self.connection.execute(self._file.statements.state).fetchone()
        if epoch != self._epoch:
            raise JournalUnavailable("another daemon has opened this journal since: stop this one")
        return Transaction(self.connection, self._file.statements, max(pruned, last))

    def commit(self, transaction: Transaction) -> None:
        del transaction  # the numbers of events are read from the events
        assert self.connection is not None
        self.connection.execute("COMMIT")

    def rollback(self) -> None:
        assert self.connection is not None
        self.connection.execute("ROLLBACK")

    def disconnect(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close()

    def failure(self, error: Exception) -> JournalUnavailable:
        return self._file.failure(error)


class SqliteReader:
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


class LocalLeasing:
    """See :class:`rotatord.journal.sql.Leasing`. How much of one issuer is in work its only worker knows best."""

    def __init__(self, reader: SqliteReader, writer: Writer, leases: Leases, file: SqliteFile) -> None:
        self._reader = reader
        self._leases = leases
        self._statements = file.statements
        self._claims = Claims(
            file.statements,
            reader.rows,
            lambda text, values: writer.run(lambda transaction: transaction.execute(text, values)),
        )
        self._claiming = threading.Lock()

    def claim(self, now: datetime, limit: int, full: frozenset[str], most: Callable[[str], int] | None) -> Sequence[Lease]:
        del most
        due = {"now": micros(now)}
        leases = []
        with self._claiming:
            for _, _, name, _ in self._claims.candidates(due["now"], limit, full, self._leases.held()):
                taken = self._leases.take(name)
                if taken is not None:
                    leases.append(self._claimed(name, taken, due))
        return [lease for lease in leases if lease is not None]

    def _claimed(self, name: str, taken: Taken, due: Mapping[str, Any]) -> Lease | None:
        """None for one that is damaged, whose lease is kept: it is looked at again when that has run out."""
        try:
            return self._read(name, taken, self._statements.body_if_due, due)
        except JournalDamaged:
            return None

    def lease(self, name: str) -> Lease | None:
        taken = self._leases.take(name)
        if taken is None:
            return None
        lease = self._read(name, taken, self._statements.body, {})
        if lease is None:
            raise KeyError(name)
        return lease

    def renew(self, lease: Lease, seconds: float) -> Lease:
        return self._leases.renew(lease, seconds)

    def release(self, lease: Lease) -> None:
        self._leases.give_back(lease.name, lease.fence)

    def check(self, transaction: Transaction, lease: Lease) -> None:
        del transaction  # it keeps nobody out: there is nobody else
        self._leases.check(lease)

    def held(self) -> frozenset[str]:
        return self._leases.held()

    def close(self) -> None:
        """Leases die with the owner of the file."""

    def _read(self, name: str, taken: Taken, text: str, values: Mapping[str, Any]) -> Lease | None:
        """Lease first, then read: what is read is what the last holder left. None, and given back, when nothing is found."""
        record, damaged = None, False
        try:
            found = self._reader.rows(text, {"key": name, **values})
            record = RECORDS.decode(found[0][0], name) if found else None
        except JournalDamaged:
            damaged = True
            raise
        finally:
            if record is None and not damaged:
                self._leases.give_back(name, taken[0])
        return None if record is None else self._leases.lease(taken, record)
