"""All that is special about SQLite: its file, its lock, its connections and what its errors mean.

One daemon owns the file: it holds an OS lock beside it for as long as it lives, so that whoever gets the lock knows
that every earlier owner is dead.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from pathlib import Path

from sqlalchemy.dialects import sqlite as dialect

from rotatord.errors import JournalTooNew, JournalUnavailable
from rotatord.journal import marks
from rotatord.journal.migrations import HEAD, SERVED, usable
from rotatord.journal.statements import Statements

_BUSY_MILLISECONDS = 5000  # a backup or a person's shell may hold the file for a moment
_CHECKPOINT_PAGES = 4000  # 16 MB: rarer and larger checkpoints keep the slowest commits few
_PRIVATE = 0o600
_BUGS = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.NotSupportedError)


class SqliteFile:
    """The database file. ``connect`` may be called again after a failure; ``release`` ends the ownership."""

    def __init__(self, path: str, *, read_only: bool) -> None:
        self.path = Path(path).absolute()
        self.read_only = read_only
        self.statements = Statements(dialect.dialect(paramstyle="named"), dialect.insert)
        self._lock: int | None = None
        self._identity: tuple[int, int] | None = None

    def take(self) -> None:
        """Become its owner, make the file where there is none, and migrate it where it is older."""
        self.own()
        try:
            self.migrate()
        except BaseException:
            self.release()
            raise

    def own(self) -> None:
        """Become its owner, whatever state it is in, and make the file where there is none."""
        try:
            self._lock = _lock(self.path)
            if not self.path.exists():
                os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, _PRIVATE))
            for part in (self.path, Path(f"{self.path}-wal"), Path(f"{self.path}-shm")):
                if part.exists():
                    part.chmod(_PRIVATE)  # SQLite gives a new -wal and -shm the mode of the database
            self._identity = _identity(self.path)
        except BaseException as error:
            self.release()
            if isinstance(error, OSError):
                raise self.failure(error) from None
            raise

    def migrate(self) -> None:
        """Bring an empty or older one up to date. Raises JournalUnavailable or JournalTooNew."""
        try:
            if self._revision() == HEAD:
                return
            from rotatord.journal.migrations.upgrade import upgrade  # noqa: PLC0415 - Alembic, only when it is needed

            with contextlib.closing(self.connect()) as connection:
                upgrade("sqlite://", connection)
        except (OSError, sqlite3.Error) as error:
            raise self.failure(error) from None

    def look(self) -> None:
        """Check that it can be read, without owning it."""
        if not self.path.exists():
            raise JournalUnavailable(f"there is no journal at {self.path}")
        try:
            revision = self._revision()
        except sqlite3.Error as error:
            raise self.failure(error) from None
        if revision != HEAD:
            raise JournalUnavailable(f"the journal {self.path} is of an older version: start the daemon once to upgrade it")

    def connect(self) -> sqlite3.Connection:
        """A connection in autocommit mode, to be used by one thread at a time."""
        connection = self._connect("ro" if self.read_only else "rw")
        try:
            if not self.read_only:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        except BaseException:
            connection.close()
            raise
        return connection

    def check_in_place(self) -> None:
        """Raises JournalUnavailable when the file that we write is no longer the one at its path."""
        try:
            identity = _identity(self.path)
        except OSError:
            identity = None
        if identity != self._identity:
            raise JournalUnavailable(f"the journal {self.path} was removed or replaced while it was in use")

    def failure(self, error: Exception) -> JournalUnavailable:
        """What an error of the driver means. Programming errors are raised as they are."""
        if isinstance(error, _BUGS):
            raise error
        return JournalUnavailable(f"the journal {self.path} cannot be used: {error}")

    def release(self) -> None:
        """Give the lock up. The lock file stays: deleting it would let two owners lock two files of one name."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _connect(self, mode: str) -> sqlite3.Connection:
        return sqlite3.connect(
            f"{self.path.as_uri()}?mode={mode}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=_BUSY_MILLISECONDS / 1000,
        )

    def _revision(self) -> str | None:
        """None for an empty file. Changes nothing: it may be somebody else's file."""
        with contextlib.closing(self._connect("ro")) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            known = "alembic_version" in tables
            found = connection.execute("SELECT version_num FROM alembic_version").fetchone() if known else None
            move = connection.execute(marks.MOVE).fetchone() if known and "facts" in tables else None
            serves = connection.execute(SERVED).fetchone() if known and "facts" in tables else None
        if not tables:
            return None
        if not known:
            raise JournalUnavailable(f"{self.path} is a database, but not a journal of rotatord")
        revision = str(found[0]) if found else None
        marks.refuse(str(self.path), revision, move[0] if move else None)
        if revision is None:
            return None
        treated = usable(revision, serves[0] if serves else None)
        if treated is None:
            raise JournalTooNew(
                f"the journal {self.path} was made by a newer rotatord (schema {revision}, this one knows up to {HEAD}): "
                "run that version again, or restore the journal from before the upgrade"
            )
        return treated


def _identity(path: Path) -> tuple[int, int]:
    found = os.stat(path)  # noqa: PTH116 - before each transaction: pathlib costs twice as much
    return found.st_dev, found.st_ino


def _lock(path: Path) -> int:
    lock = os.open(f"{path}.lock", os.O_CREAT | os.O_RDWR, _PRIVATE)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(lock)
        raise JournalUnavailable(f"the journal {path} is in use by another daemon, pid {holder}") from None
    except BaseException:
        os.close(lock)
        raise
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock
