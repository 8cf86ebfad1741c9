"""Group commit: transactions of many threads, executed by one of them at a time, as one transaction where several wait.

There is no thread of its own. Whoever asks joins the queue; whoever gets the lock next executes all that has queued up
while the one before it was waiting for the disk. Alone, a caller executes its own work at once.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

from rotatord.errors import JournalUnavailable
from rotatord.journal.codec import EVENTS, NOTICES
from rotatord.journal.row import micros
from rotatord.journal.statements import Statements
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
    """What a piece of work reads and writes with. Work that raises must not have written anything yet."""

    def __init__(self, connection: Any, statements: Statements, event_seq: int) -> None:
        self._connection = connection
        self.statements = statements
        self.event_seq = event_seq
        self.wrote = False
        self.urgent = False  # other processes should look now

    def rows(self, text: str, values: Mapping[str, Any]) -> list[Any]:
        """What a query finds."""
        found: list[Any] = self._connection.execute(text, values).fetchall()
        return found

    def execute(self, text: str, values: Mapping[str, Any]) -> int:
        """Write; how many rows it touched."""
        count: int = self._connection.execute(text, values).rowcount
        self.wrote = self.wrote or count > 0
        return count

    def executemany(self, text: str, values: Sequence[Mapping[str, Any]]) -> None:
        self.wrote = True
        self._connection.cursor().executemany(text, values)

    def store(self, written: Written) -> None:
        """Append the events and notices that are not stored yet; an id that is known already is left as it is."""
        for event in written.events:
            self.event_seq += self.execute(self.statements.insert_event, {**event, "seq": self.event_seq + 1})
        for notice in written.notices:
            self.execute(self.statements.insert_notice, notice)


class Store(Protocol):
    """Where transactions go, one at a time; used by whoever has the writer's lock."""

    @property
    def faults(self) -> type[Exception]:
        """What the driver raises."""

    def begin(self) -> Transaction:
        """Keep every other writer out, in this and all other processes. Raises JournalUnavailable or a fault."""

    def commit(self, transaction: Transaction) -> None:
        """Make it durable."""

    def rollback(self) -> None: ...

    def disconnect(self) -> None:
        """Throw the connection away, which rolls back: a new one knows nothing stale."""

    def failure(self, error: Exception) -> JournalUnavailable:
        """What a fault means; a fault of ours is raised as it is."""


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
    """The only one of this process who writes records, events, notices and facts."""

    def __init__(self, store: Store) -> None:
        self._store = store
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
            if self._closed:
                raise JournalUnavailable("the journal is closed")
            transaction = self._store.begin()
            for ticket in tickets:
                transaction.wrote = False
                try:
                    ticket.result = ticket.work(transaction)
                    ticket.error = None
                except self._store.faults:
                    raise
                except Exception as error:  # noqa: BLE001 - it belongs to the thread that asked
                    ticket.error = error
                    if transaction.wrote:
                        self._store.rollback()
                        ticket.done = len(tickets) == 1
                        return ticket.done
            self._store.commit(transaction)
        except (self._store.faults, JournalUnavailable) as error:
            self._disconnect()
            self._fail(tickets, error)
            return True
        for ticket in tickets:
            ticket.done = True
        return True

    def _fail(self, tickets: list[Ticket[Any]], error: Exception) -> None:
        """Trouble with the database is everybody's; a fault of ours in one statement is told to all, as it is."""
        told: Exception = error
        if isinstance(error, self._store.faults):
            try:
                told = self._store.failure(error)
            except self._store.faults as fault:
                told = fault
        for ticket in tickets:  # an exception of its own for each thread that will raise it
            ticket.fail(JournalUnavailable(str(told)) if isinstance(told, JournalUnavailable) else told)

    def _disconnect(self) -> None:
        with contextlib.suppress(self._store.faults):
            self._store.disconnect()
