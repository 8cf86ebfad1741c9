"""Group commit: transactions of many threads, executed by one of them at a time, as one transaction where several wait.

There is no thread of its own. Whoever asks joins the queue; whoever gets the lock next executes all that has queued up
while the one before it was waiting for the disk. Alone, a caller executes its own work at once.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from rotatord.errors import JournalUnavailable
from rotatord.journal.codec import EVENTS, NOTICES
from rotatord.journal.row import micros
from rotatord.journal.sqlite import SqliteFile
from rotatord.model import Event, Notice

MOST_AT_ONCE = 128

T = TypeVar("T")


class Written:
    """Events and notices as rows, encoded before the lock is taken."""

    __slots__ = ("events", "notices")

    def __init__(self, events: Sequence[Event], notices: Sequence[Notice] = ()) -> None:
        self.events = [
            {"id": event.id, "time": micros(event.time), "credential": event.credential, "body": EVENTS.encode(event)}
            for event in events
        ]
        self.notices = [{"id": notice.id, "at": micros(notice.at), "body": NOTICES.encode(notice)} for notice in notices]


class Transaction:
    """What a piece of work writes with. Work that raises must not have written anything yet."""

    def __init__(self, file: SqliteFile, connection: sqlite3.Connection, event_seq: int) -> None:
        self._connection = connection
        self.statements = file.statements
        self.event_seq = event_seq

    def execute(self, text: str, values: Mapping[str, Any] | Sequence[Any] = ()) -> sqlite3.Cursor:
        return self._connection.execute(text, values)

    def executemany(self, text: str, values: Sequence[Mapping[str, Any]]) -> None:
        self._connection.executemany(text, values)

    def store(self, written: Written) -> None:
        """Append the events and notices that are not stored yet; an id that is known already is left as it is."""
        for event in written.events:
            self.event_seq += self.execute(self.statements.insert_event, {**event, "seq": self.event_seq + 1}).rowcount
        for notice in written.notices:
            self.execute(self.statements.insert_notice, notice)


class Ticket(Generic[T]):
    """One piece of work in the queue, and what became of it."""

    __slots__ = ("done", "error", "result", "work")

    def __init__(self, work: Callable[[Transaction], T]) -> None:
        self.work = work
        self.done = False
        self.error: BaseException | None = None
        self.result: T | None = None

    def fail(self, error: BaseException) -> None:
        self.error = error
        self.done = True


class Writer:
    """The only one who writes to an owned file."""

    def __init__(self, file: SqliteFile, epoch: int) -> None:
        self._file = file
        self._epoch = epoch
        self._connection: sqlite3.Connection | None = None
        self._closed = False
        self._queue: deque[Ticket[Any]] = deque()
        self._lock = threading.Lock()
        self._executing: int | None = None  # the thread that holds the lock

    def run(self, work: Callable[[Transaction], T]) -> T:
        """Execute ``work`` in a transaction and return its result once that is durable.

        Work may run more than once; what it raises it raises here, and then nothing of it is stored. Raises
        JournalUnavailable when the transaction could not be made durable; the next one tries anew.
        """
        if self._executing == threading.get_ident():
            raise RuntimeError("a change of the journal must not itself write to the journal")
        ticket = Ticket(work)
        self._queue.append(ticket)
        while not ticket.done:
            with self._lock:
                if not ticket.done:
                    self._flush()
        if ticket.error is not None:
            raise ticket.error
        return ticket.result  # type: ignore[return-value]

    def close(self) -> None:
        """Wait for what is being executed; everything later is refused."""
        with self._lock:
            self._closed = True
            self._disconnect()

    def _flush(self) -> None:
        self._executing = threading.get_ident()
        tickets = [self._queue.popleft() for _ in range(min(len(self._queue), MOST_AT_ONCE))]
        try:
            if not self._execute(tickets):
                for ticket in tickets:  # one of them failed after it had written: each on its own
                    self._execute([ticket])
        except BaseException:
            self._disconnect()
            interrupted = JournalUnavailable("the journal was interrupted")
            for ticket in tickets:
                if not ticket.done:
                    ticket.fail(interrupted)
            raise
        finally:
            self._executing = None

    def _execute(self, tickets: list[Ticket[Any]]) -> bool:
        """Settle all the tickets in one transaction; False when they must be executed one by one instead."""
        try:
            connection = self._begin()
            transaction = self._transaction(connection)
            for ticket in tickets:
                before = connection.total_changes
                try:
                    ticket.result = ticket.work(transaction)
                    ticket.error = None
                except sqlite3.Error:
                    raise
                except Exception as error:  # noqa: BLE001 - it belongs to the thread that asked
                    ticket.error = error
                    if connection.total_changes != before:
                        connection.execute("ROLLBACK")
                        ticket.done = len(tickets) == 1
                        return ticket.done
            connection.execute("COMMIT")
        except (sqlite3.Error, JournalUnavailable) as error:
            self._disconnect()
            self._fail(tickets, error)
            return True
        for ticket in tickets:
            ticket.done = True
        return True

    def _begin(self) -> sqlite3.Connection:
        if self._closed:
            raise JournalUnavailable("the journal is closed")
        self._file.check_in_place()
        if self._connection is None:
            self._connection = self._file.connect()
        self._connection.execute("BEGIN IMMEDIATE")
        return self._connection

    def _transaction(self, connection: sqlite3.Connection) -> Transaction:
        epoch, pruned, last = connection.execute(self._file.statements.state).fetchone()
        if epoch != self._epoch:
            raise JournalUnavailable("another daemon has opened this journal since: stop this one")
        return Transaction(self._file, connection, max(pruned, last))

    def _fail(self, tickets: list[Ticket[Any]], error: Exception) -> None:
        """Trouble with the file is everybody's; a fault of ours in one statement is told to all, as it is."""
        told: Exception = error
        if isinstance(error, sqlite3.Error):
            try:
                told = self._file.failure(error)
            except sqlite3.Error as fault:
                told = fault
        for ticket in tickets:  # an exception of its own for each thread that will raise it
            ticket.fail(JournalUnavailable(str(told)) if isinstance(told, JournalUnavailable) else told)

    def _disconnect(self) -> None:
        """After any failure the connection is thrown away: closing rolls back, and a new one knows nothing stale."""
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None
