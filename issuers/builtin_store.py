"""The memory of the built-in issuer: one SQLite file of digests, labels and dates. No token is ever in it.

Every change is one statement, committed with an fsync before it returns; only the date of last use is written without
one (it survives the death of the daemon, and a power cut may cost the last moment of it).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rotatord.clock import SystemClock
from rotatord.errors import Denied, Permanent, Retryable
from rotatord.model import JsonMap

BUSY_SECONDS = 3.0  # how long one call waits in all: for its turn among our threads, then for who else has the file
NOTE_SECONDS = 0.05  # a note of last use waits no longer for the file: everybody's questions wait behind it
SCHEMA = 1
REMEMBERED = timedelta(days=90)  # how long a dead token's row is kept, to tell "revoked" from "never ours"
USE_RESOLUTION = timedelta(seconds=1)  # the file is told of a use at most this often per token

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_COLUMNS = "ref, installation, credential, rotation, generation, scope, created, expires, suspended, revoked, last_used"
_TABLE = """
CREATE TABLE IF NOT EXISTS token (
    digest BLOB PRIMARY KEY,
    store TEXT NOT NULL,
    ref TEXT NOT NULL UNIQUE,
    installation TEXT NOT NULL,
    credential TEXT NOT NULL,
    rotation TEXT NOT NULL,
    generation INTEGER NOT NULL,
    scope TEXT NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER,
    suspended INTEGER,
    revoked INTEGER,
    last_used INTEGER
) STRICT
"""
_INDEXES = (
    "CREATE INDEX IF NOT EXISTS token_by_label ON token (store, installation, credential)",
    "CREATE INDEX IF NOT EXISTS token_by_death ON token (revoked) WHERE revoked IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS token_by_end ON token (expires) WHERE expires IS NOT NULL",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One issued token, without the token."""

    ref: str
    installation: str
    credential: str
    rotation: str
    generation: int
    scope: JsonMap
    created: datetime
    expires: datetime | None
    suspended: datetime | None = None
    revoked: datetime | None = None
    last_used: datetime | None = None

    def refusal(self, now: datetime) -> str:
        """Why the token is not accepted at ``now``; "" when it is."""
        if self.revoked is not None:
            return "revoked"
        if self.expires is not None and self.expires <= now:
            return "expired"
        return "suspended" if self.suspended is not None else ""


def digest(token: str) -> bytes:
    """SHA-256: enough for a value of 178 random bits, which nobody can guess their way to."""
    return hashlib.sha256(token.encode()).digest()


def _number(moment: datetime | None) -> int | None:
    return None if moment is None else (moment - _EPOCH) // timedelta(microseconds=1)


def _moment(number: int | None) -> datetime | None:
    return None if number is None else _EPOCH + timedelta(microseconds=number)


def _row(values: Sequence[Any]) -> Row:
    ref, installation, credential, rotation, generation, scope, created, *dates = values
    expires, suspended, revoked, last_used = map(_moment, dates)
    return Row(
        ref=ref,
        installation=installation,
        credential=credential,
        rotation=rotation,
        generation=generation,
        scope=json.loads(scope),
        created=_EPOCH + timedelta(microseconds=created),
        expires=expires,
        suspended=suspended,
        revoked=revoked,
        last_used=last_used,
    )


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """SQLite's errors in our tree. Their texts name tables and files, never values."""
    try:
        yield
    except PermissionError as error:
        raise Denied(f"the built-in issuer's store: {error.strerror}") from error
    except (sqlite3.OperationalError, OSError) as error:  # locked, full, unreadable
        raise Retryable(f"the built-in issuer's store: {error}") from error
    except sqlite3.Error as error:
        raise Permanent(f"the built-in issuer's store: {error}") from error


class Store:
    """The tokens of one named store inside a file that several may share. Thread-safe; opened on first use."""

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._name = name
        self._clock = SystemClock()  # only for how long to wait
        self._lock = threading.Lock()  # guards the connections below, each of which serves one statement at a time
        self._durable: sqlite3.Connection | None = None
        self._quick: sqlite3.Connection | None = None
        self._durable_lock = threading.Lock()
        self._quick_lock = threading.Lock()
        self._used: dict[str, datetime] = {}  # exact; the file knows it to the second

    def add(self, token: str, row: Row) -> None:
        """Store a new token's digest. Durable when it returns."""
        self._change(
            f"INSERT INTO token (digest, store, {_COLUMNS}) VALUES ({', '.join('?' * 13)})",  # noqa: S608 - constants only
            digest(token),
            self._name,
            row.ref,
            row.installation,
            row.credential,
            row.rotation,
            row.generation,
            json.dumps(row.scope, sort_keys=True),
            _number(row.created),
            _number(row.expires),
            _number(row.suspended),
            _number(row.revoked),
            _number(row.last_used),
        )

    def lookup(self, token: str) -> Row | None:
        """The row of a token, dead or alive; None if this store never issued it."""
        found = self._select("digest = ?", digest(token))
        return found[0] if found else None

    def by_ref(self, ref: str) -> Row | None:
        found = self._select("ref = ?", ref)
        return found[0] if found else None

    def labelled(self, installation: str, credential: str) -> Sequence[Row]:
        return self._select("installation = ? AND credential = ?", installation, credential)

    def all(self) -> Sequence[Row]:
        return self._select("1")

    def suspend(self, ref: str, now: datetime) -> bool:
        """False if there is no such token that still lives."""
        changed = self._change(
            "UPDATE token SET suspended = coalesce(suspended, ?) WHERE store = ? AND ref = ? AND revoked IS NULL",
            _number(now),
            self._name,
            ref,
        )
        return changed == 1

    def resume(self, ref: str) -> bool:
        """False if there is no such token that still lives."""
        changed = self._change(
            "UPDATE token SET suspended = NULL WHERE store = ? AND ref = ? AND revoked IS NULL", self._name, ref
        )
        return changed == 1

    def revoke(self, ref: str, now: datetime) -> None:
        """For ever. Harmless when it is revoked already or was never there. Forgets what died long ago."""
        self._change(
            "UPDATE token SET revoked = coalesce(revoked, ?) WHERE store = ? AND ref = ?", _number(now), self._name, ref
        )
        self._used.pop(ref, None)
        long_ago = _number(now - REMEMBERED)
        with contextlib.suppress(Retryable):  # the next one forgets them
            self._change("DELETE FROM token WHERE revoked < ? OR expires < ?", long_ago, long_ago, within=NOTE_SECONDS)

    def use(self, row: Row, now: datetime) -> None:
        """Remember a use by somebody else. Never fails: the answer to them matters more than the note in the file,
        and what the file refused is still known to :meth:`last_used` until the daemon ends."""
        self._used[row.ref] = now
        if row.last_used is not None and now - row.last_used < USE_RESOLUTION:
            return
        with contextlib.suppress(Retryable, Permanent), _translated(), self._turn(self._quick_lock) as end:
            self._opened(end)[1].execute(
                "UPDATE token SET last_used = ? WHERE ref = ? AND coalesce(last_used, 0) < ?",
                (_number(now), row.ref, _number(now)),
            )

    def last_used(self, ref: str) -> datetime | None:
        row = self.by_ref(ref)
        known = (row.last_used if row is not None else None, self._used.get(ref))
        return max((moment for moment in known if moment is not None), default=None)

    def close(self) -> None:
        with self._lock, self._durable_lock, self._quick_lock:
            for connection in (self._durable, self._quick):
                if connection is not None:
                    connection.close()
            self._durable = self._quick = None

    # --- the file ------------------------------------------------------------------------------------------------

    def _select(self, where: str, *values: object) -> list[Row]:
        """Reads share the quick connection, so that none waits for another's fsync."""
        with _translated(), self._turn(self._quick_lock) as end:
            query = f"SELECT {_COLUMNS} FROM token WHERE store = ? AND {where} ORDER BY created, ref"  # noqa: S608 - constants only
            found = self._opened(end)[1].execute(query, (self._name, *values)).fetchall()
        return [_row(values) for values in found]

    def _change(self, statement: str, *values: object, within: float = BUSY_SECONDS) -> int:
        with _translated(), self._turn(self._durable_lock, within) as end:
            connection = self._opened(end)[0]
            connection.execute(f"PRAGMA busy_timeout = {int(self._left(end) * 1000)}")
            return connection.execute(statement, values).rowcount

    @contextlib.contextmanager
    def _turn(self, lock: threading.Lock, within: float = BUSY_SECONDS) -> Iterator[float]:
        """Hold the lock; the monotonic moment by which the rest must be done. Raises Retryable when others hold on to it."""
        end = self._clock.monotonic() + within
        with self._taken(lock, end):
            yield end

    @contextlib.contextmanager
    def _taken(self, lock: threading.Lock, end: float) -> Iterator[None]:
        if not lock.acquire(timeout=self._left(end)):
            raise Retryable("the built-in issuer's store: too many calls wait for the file")
        try:
            yield
        finally:
            lock.release()

    def _left(self, end: float) -> float:
        return max(0.0, end - self._clock.monotonic())

    def _opened(self, end: float) -> tuple[sqlite3.Connection, sqlite3.Connection]:
        with self._taken(self._lock, end):
            if self._durable is None or self._quick is None:
                self._durable = self._open("FULL", self._left(end))
                self._quick = self._open("NORMAL", NOTE_SECONDS)
            return self._durable, self._quick

    def _open(self, synchronous: str, busy_seconds: float) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # SQLite gives its side files the mode of the main file, so this one is made first.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._path.chmod(0o600)
        connection = sqlite3.connect(self._path, timeout=busy_seconds, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        if found > SCHEMA:
            connection.close()
            raise Permanent(f"{self._path} was made by a newer version of rotatord")
        if found < SCHEMA:
            connection.execute(_TABLE)
            for index in _INDEXES:
                connection.execute(index)
            connection.execute(f"PRAGMA user_version = {SCHEMA}")
        return connection
