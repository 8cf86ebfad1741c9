"""All that is special about PostgreSQL: its connections, their settings, its schema, and what its errors mean.

Everything that could wait for ever has a bound of its own: making a connection, waiting for a free one, for a lock, for a
statement, for an answer of a server that hangs, and a transaction whose client hangs while it holds a lock.
"""

from __future__ import annotations

import contextlib
import select
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg import errors, sql, waiting
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from rotatord.clock import Clock, SystemClock
from rotatord.errors import JournalTooNew, JournalUnavailable, RotatordError
from rotatord.journal import marks
from rotatord.journal.migrations import HEAD, SERVED, usable
from rotatord.journal.statements import Statements
from rotatord.journal.writer import Transaction

T = TypeVar("T")

CONNECT_SECONDS = 3
ANSWER_SECONDS = 7.0  # of silence, after which a server is taken to hang
PATIENT_SECONDS = 3600.0  # of a migration
SILENT_SECONDS = 3  # a client that stops in the middle of a transaction holds what everybody waits for
READERS = 4
FREE_WITHIN_SECONDS = 5.0
BACKOFF_SECONDS = (0.1, 2.0)  # between two attempts to connect: the first wait, and the longest
OLDEST_VERSION = 130000

_LOCK = 0x726F7461  # "rota": what rotatord locks in a database is told apart from what others do, each schema for itself
_IN_SCHEMA = f"({_LOCK}, hashtext(%(what)s || current_schema()))"
CLAIMING = f"SELECT pg_advisory_xact_lock{_IN_SCHEMA}"
STARTING = f"SELECT pg_try_advisory_xact_lock{_IN_SCHEMA}"
_DEFAULTS: dict[str, Any] = {
    "application_name": "rotatord",
    "client_encoding": "UTF8",
    "connect_timeout": CONNECT_SECONDS,
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
# Sent after connecting, not with it: a pooler in between would refuse what it does not know. A commit that could vanish
# with the server is no commit, whatever the server's default is.
_SESSION = f"""
    SET statement_timeout = 5000; SET lock_timeout = 4000;
    SET idle_in_transaction_session_timeout = {SILENT_SECONDS * 1000};
    SET default_transaction_isolation = 'read committed';
    SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 3; SET tcp_keepalives_count = 3;
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') IN ('off', 'local')
"""
_PATIENT = "SET statement_timeout = 0; SET lock_timeout = '120s'; SET idle_in_transaction_session_timeout = 0"
_BUGS = (psycopg.IntegrityError, psycopg.DataError, psycopg.NotSupportedError, psycopg.ProgrammingError)
_CIRCUMSTANCES = (errors.InsufficientPrivilege, errors.UndefinedTable, errors.InvalidSchemaName)


class Silent(psycopg.OperationalError):
    """The server does not answer; asking it again would only take as long again."""


class Connection(psycopg.Connection[Any]):
    """One that gives a server up which does not answer."""

    patience = ANSWER_SECONDS

    def wait(self, gen: Any, interval: float = 0.0, timeout: float | None = None) -> Any:
        """As the driver's own, but not for ever."""
        del interval
        poll = select.poll()
        milliseconds = int((self.patience if timeout is None else timeout) * 1000)
        try:
            asked = next(gen)
            while True:
                poll.register(self.pgconn.socket, asked_events(asked))
                found = poll.poll(milliseconds)
                if not found:
                    self.pgconn.finish()
                    raise Silent(f"the server has not answered for {milliseconds / 1000:g} s")
                asked = gen.send(ready_state(found[0][1]))
        except StopIteration as end:
            return end.value


def asked_events(asked: int) -> int:
    """What to poll for, as the driver asks: 1 reading, 2 writing, 3 both."""
    return (select.POLLIN if asked & 1 else 0) | (select.POLLOUT if asked & 2 else 0)


def ready_state(events: int) -> Any:
    """The driver's word for what has happened; trouble is for it to find out by reading or writing."""
    trouble = events & ~(select.POLLIN | select.POLLOUT)
    reading, writing = bool(events & select.POLLIN or trouble), bool(events & select.POLLOUT or trouble)
    return waiting.Ready((1 if reading else 0) | (2 if writing else 0))


class PostgresqlServer:
    """The database that ``url`` names; asked anew for each connection, as the password in it may be replaced."""

    def __init__(self, url: Callable[[], str], *, read_only: bool, clock: Clock | None = None) -> None:
        self._url = url
        self.read_only = read_only
        self.statements = _fewer(Statements(PGDialect_psycopg(), insert))  # type: ignore[no-untyped-call]
        self.server_clock = clock or SystemClock()  # not the journal's: who waits for a server waits in real time
        self._connecting = threading.Lock()
        self._failed: JournalUnavailable | None = None
        self._again_at = 0.0
        self._backoff = BACKOFF_SECONDS[0]

    # --- connections -----------------------------------------------------------------------------------------------

    def connect(self, *, patient: bool = False) -> Connection:
        """A connection in autocommit mode, for one thread at a time; a patient one may wait for locks and work for long.
        Raises JournalUnavailable; soon after a failure nobody waits for another."""
        with self._connecting:
            if self._failed is not None and self.server_clock.monotonic() < self._again_at:
                raise JournalUnavailable(str(self._failed))
            try:
                connection = self._connected(patient=patient)
            except psycopg.Error as error:
                self._failed = self.failure(error)
            except (RotatordError, ValueError) as error:  # the reference leads nowhere, or to something else
                self._failed = JournalUnavailable(f"the journal's database cannot be reached: {error}")
            else:
                self._failed, self._backoff = None, BACKOFF_SECONDS[0]
                return connection
            self._again_at = self.server_clock.monotonic() + self._backoff
            self._backoff = min(2 * self._backoff, BACKOFF_SECONDS[1])
            raise self._failed from None

    def _connected(self, *, patient: bool) -> Connection:
        parts = parsed(self._url())
        connection = Connection.connect(**{**_DEFAULTS, **parts}, autocommit=True)
        try:
            if connection.info.server_version < OLDEST_VERSION:
                raise JournalUnavailable("the journal needs PostgreSQL 13 or newer")
            with connection.cursor() as cursor:
                cursor.execute(_SESSION)
                if self.read_only:
                    cursor.execute("SET default_transaction_read_only = on")
                if patient:
                    cursor.execute(_PATIENT)
                    connection.patience = PATIENT_SECONDS
        except BaseException:
            connection.close()
            raise
        return connection

    def failure(self, error: Exception) -> JournalUnavailable:
        """What an error of the driver means. Programming errors are raised as they are."""
        if isinstance(error, _BUGS) and not isinstance(error, _CIRCUMSTANCES):
            raise error
        if isinstance(error, errors.InsufficientPrivilege):
            return JournalUnavailable(
                f"the journal's database refuses: {_said(error)}; see docs/operations.md for what is needed"
            )
        return JournalUnavailable(f"the journal's database cannot be used: {_said(error)}")

    # --- the schema ------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Make or upgrade the schema; several processes at once do it one after the other. One that only looks wants it
        up to date. Raises JournalUnavailable or JournalTooNew."""
        revision = self._revision()
        if revision == HEAD:
            return
        if self.read_only:
            raise JournalUnavailable("the journal is of an older version, or empty: start the daemon once to upgrade it")
        from rotatord.journal.migrations.upgrade import upgrade  # noqa: PLC0415 - Alembic, only when it is needed

        with contextlib.closing(self.connect(patient=True)) as connection:
            connection.autocommit = False
            try:
                upgrade("postgresql+psycopg://", connection, begin=f"SELECT pg_advisory_xact_lock({_LOCK}, 0)")
            except Exception as error:
                cause = getattr(error, "orig", None)  # SQLAlchemy wraps what the driver raised
                if isinstance(cause, psycopg.Error):
                    raise self.failure(cause) from None
                raise

    def _revision(self) -> str | None:
        """None for an empty schema."""
        with contextlib.closing(self.connect()) as connection:
            try:
                known, ours = connection.execute(
                    "SELECT to_regclass('alembic_version') IS NOT NULL, to_regclass('journal') IS NOT NULL"
                ).fetchone() or (False, False)
                found = connection.execute("SELECT version_num FROM alembic_version").fetchone() if known else None
                move = connection.execute(marks.MOVE).fetchone() if known and ours else None
                serves = connection.execute(SERVED).fetchone() if known and ours else None
            except psycopg.Error as error:
                raise self.failure(error) from None
        if known != ours:
            raise JournalUnavailable(
                "the schema of this database is used by something else: give rotatord one of its own, "
                "with ?options=-csearch_path%3DNAME in the URL or ALTER ROLE … SET search_path"
            )
        revision = str(found[0]) if found else None
        marks.refuse("in this database", revision, move[0] if move else None)
        if revision is None:
            return None
        treated = usable(revision, str(serves[0]) if serves else None)
        if treated is None:
            raise JournalTooNew(
                f"this journal was made by a newer rotatord (schema {revision}, this one knows up to {HEAD}): "
                "run that version again, or restore the journal from before the upgrade"
            )
        return treated

    @contextmanager
    def alone(self, what: str) -> Iterator[None]:
        """Hold a lock of the database, for as long as this connection lives; a server that is gone lets go of it."""
        with contextlib.closing(self.connect(patient=True)) as connection:
            try:
                connection.execute(f"SELECT pg_advisory_lock{_IN_SCHEMA}", {"what": what})
            except psycopg.Error as error:
                raise self.failure(error) from None
            yield


def _fewer(statements: Statements) -> Statements:
    """A record's row and body move in one statement: each one costs the way there and back."""
    body = "UPDATE records SET body = %(body)s FROM moved WHERE records.name = moved.name"
    for name in ("update_due", "update_row"):
        setattr(statements, name, f"WITH moved AS ({getattr(statements, name)} RETURNING credentials.name) {body}")
    statements.update_body = ""
    return statements


def parsed(url: str) -> dict[str, Any]:
    """What the driver is given. Raises ValueError that does not repeat the URL, as it may hold a password."""
    try:
        return dict(conninfo_to_dict(url.replace("postgresql+psycopg://", "postgresql://", 1)))
    except psycopg.ProgrammingError:
        raise ValueError("this is no URL of a PostgreSQL database: postgresql://USER@HOST:PORT/DATABASE") from None


def _said(error: Exception) -> str:
    """The first line: what follows may quote the statement."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


class Pool:
    """A bounded number of connections for reads and leases. Whatever fails on one that lay idle is tried once more on a
    fresh one: it may have been dead for hours."""

    def __init__(self, server: PostgresqlServer, size: int = READERS) -> None:
        self._server = server
        self._idle: list[Connection] = []
        self._free = threading.BoundedSemaphore(size)
        self._lock = threading.Lock()
        self._closed = False

    def rows(self, text: str, values: Mapping[str, Any]) -> list[Any]:
        """Raises JournalUnavailable; the next read tries anew."""
        return self.run(lambda connection: connection.execute(text, values).fetchall())

    def run(self, work: Callable[[Connection], T]) -> T:
        """Work that may be done twice. Raises JournalUnavailable."""
        if not self._free.acquire(timeout=FREE_WITHIN_SECONDS):
            raise JournalUnavailable("the journal's database is slow: no connection has become free")
        try:
            while True:
                connection, idle = self._taken()
                try:
                    done = work(connection)
                except psycopg.Error as error:
                    lost = connection.closed and not isinstance(error, Silent)
                    self._given_back(connection)
                    if idle and lost:
                        continue
                    raise self._server.failure(error) from None
                except BaseException:
                    self._given_back(connection)
                    raise
                self._given_back(connection)
                return done
        finally:
            self._free.release()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _taken(self) -> tuple[Connection, bool]:
        with self._lock:
            if self._closed:
                raise JournalUnavailable("the journal is closed")
            if self._idle:
                return self._idle.pop(), True
        return self._server.connect(), False

    def _given_back(self, connection: Connection) -> None:
        whole = not connection.closed and connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        with self._lock:
            if whole and not self._closed:
                self._idle.append(connection)
                return
        connection.close()


class PostgresqlStore:
    """See :class:`rotatord.journal.writer.Store`. Writers of all processes take turns at one row: their transactions are
    short, none ever waits in a circle, and the numbers of events have no gaps."""

    faults = psycopg.Error

    def __init__(self, server: PostgresqlServer, channel: str, owner: str) -> None:
        self._server = server
        self._wake = f"SELECT pg_notify({sql.Literal(channel).as_string()}, {sql.Literal(owner).as_string()}); "
        self._connection: Connection | None = None
        self._begun_at = 0
        self._seen = 0  # the last number of an event that was ever stored, as far as we know

    def begin(self) -> Transaction:
        """A connection that lay idle may be dead: nothing has been sent yet, so another one is as good."""
        if self._connection is not None:
            try:
                return self._begun(self._connection)
            except psycopg.Error as error:
                if not self._connection.closed or isinstance(error, Silent):
                    raise
                self.disconnect()
        self._connection = self._server.connect()
        return self._begun(self._connection)

    def _begun(self, connection: Connection) -> Transaction:
        cursor = connection.execute("BEGIN; SELECT event_seq FROM journal FOR UPDATE")
        cursor.nextset()
        found = cursor.fetchone()
        if found is None:
            raise JournalUnavailable("the journal's database has lost the journal's row: restore it from a backup")
        if found[0] < self._seen:
            raise JournalUnavailable(
                "the journal is older than what this daemon has stored in it (it was restored, or a standby that lagged took "
                "over): restart this daemon, which compares the destinations first"
            )
        self._begun_at = found[0]
        return Transaction(connection, self._server.statements, found[0])

    def commit(self, transaction: Transaction) -> None:
        assert self._connection is not None
        moved = transaction.event_seq != self._begun_at
        number = f"UPDATE journal SET event_seq = {transaction.event_seq:d}; " if moved else ""
        self._connection.execute(number + (self._wake if transaction.urgent else "") + "COMMIT")
        self._seen = transaction.event_seq

    def rollback(self) -> None:
        assert self._connection is not None
        self._connection.execute("ROLLBACK")

    def disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def failure(self, error: Exception) -> JournalUnavailable:
        return self._server.failure(error)
