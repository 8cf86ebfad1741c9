"""What the processes over one database know of each other: who is alive, whose turn a chore is, when to look for work.

One thread listens. It also says that we are alive, reads the database's clock, and looks whether a lease of somebody else
ran out, which nobody announces; so where notifications do not come through (a pooler in transaction mode), all goes on,
only later.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Callable, Collection
from typing import Any

import psycopg
from psycopg import sql

from rotatord.clock import Clock, Instant
from rotatord.errors import JournalUnavailable
from rotatord.journal.postgresql import Connection, Pool, PostgresqlServer
from rotatord.journal.postgresql_leases import NOW

ALIVE_SECONDS = 10.0  # a process that has not been heard of for so long has no share of any quota
_EPOCH = "database"
_LONG_GONE = 3600 * 1_000_000

_MICROS = "%(micros)s"
_TURN = f"""
    INSERT INTO leases AS l (name, owner, fence, expires_at) VALUES (%(name)s, %(owner)s, 1, {NOW} + {_MICROS})
    ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, fence = l.fence + 1, expires_at = excluded.expires_at
    WHERE l.owner IN ('', excluded.owner) OR l.expires_at <= {NOW}
    RETURNING name
"""
_ALIVE = f"SELECT name FROM leases WHERE name LIKE 'replica:%%' AND owner <> '' AND expires_at > {NOW}"
_TIDY = f"DELETE FROM leases WHERE name LIKE 'replica:%%' AND expires_at < {NOW} - {_LONG_GONE}"
# The last number that anything got tells whether something ran out since.
_RAN_OUT = f"""
    SELECT count(*) FROM leases l JOIN credentials c USING (name)
    WHERE l.owner NOT IN ('', %(owner)s) AND l.expires_at <= {NOW} AND c.due_at IS NOT NULL
"""
_LEAVE = "UPDATE leases SET owner = '', expires_at = 0 WHERE owner = %(owner)s"
_FORGET = "DELETE FROM leases WHERE name = %(name)s RETURNING name"
_GONE = "DELETE FROM leases WHERE name LIKE 'replica:%%' AND owner = ''"


class CommonClock:
    """See :class:`rotatord.clock.Clock`; its instants count seconds of the database's clock, the same on every machine.

    Waits before the pivot are believed when two clocks agree: here the machine's wall clock and the database's. Were it
    each machine's own monotonic clock, a wait would begin anew whenever another process looked at it.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead = 0.0  # of the database's clock, over our monotonic one

    def read(self, database_seconds: float, monotonic: float) -> None:
        """What the database's clock showed when ours was there."""
        self._ahead = database_seconds - monotonic

    def now(self) -> Any:
        return self._clock.now()

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def instant(self) -> Instant:
        return Instant(self._clock.now(), self._clock.monotonic() + self._ahead, _EPOCH)

    def wait(self, event: threading.Event, seconds: float) -> bool:
        return self._clock.wait(event, seconds)


class Replicas:
    """See :class:`rotatord.ports.Shared`."""

    def __init__(
        self, server: PostgresqlServer, pool: Pool, clock: Clock, owner: str, channel: str, *, poll_seconds: float
    ) -> None:
        self.clock = CommonClock(clock)
        self._server = server
        self._pool = pool
        self._owner = owner
        self._channel = channel
        self._poll_seconds = poll_seconds
        self._name = ""
        self._thread: threading.Thread | None = None
        self._heard: Callable[[int], None] = lambda _: None
        self._leaving = threading.Event()
        self._told, self._tell = os.pipe()
        self._alive = 0
        self._ran_out = 0

    def join(self, mark: str) -> Collection[str]:
        before, self._name = self._name, f"replica:{self._owner}:{mark}"
        alive = set(self._say_alive())
        if before not in {"", self._name}:
            self._pool.rows(_FORGET, {"name": before})
            alive.discard(before)
        return {name.rpartition(":")[2] for name in alive if name != self._name}

    def alive(self) -> Collection[str]:
        return {name.split(":")[1] for (name,) in self._pool.rows(_ALIVE, {})}

    def watch(self, heard: Callable[[int], None]) -> None:
        self._heard = heard
        self._thread = threading.Thread(target=self._run, name="replicas", daemon=True)
        self._thread.start()

    def turn(self, chore: str, seconds: float) -> bool:
        return bool(self._pool.rows(_TURN, self._lease(f"chore:{chore}", seconds)))

    def leave(self) -> None:
        """Give everything back and say so; idempotent. Where the database is away everything runs out by itself."""
        if self._leaving.is_set():
            return
        self._leaving.set()
        os.write(self._tell, b"x")
        if self._thread is not None:
            self._thread.join(timeout=5)
        if not self._server.read_only and (self._thread is not None or self._name):
            with contextlib.suppress(JournalUnavailable):
                self._pool.run(self._left)

    def _left(self, connection: Connection) -> None:
        connection.execute(_LEAVE, {"owner": self._owner})
        connection.execute(_GONE)
        connection.execute("SELECT pg_notify(%s, %s)", (self._channel, self._owner))

    # --- the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        connection: Connection | None = None
        while not self._leaving.is_set():
            try:
                if connection is None:
                    connection = self._server.connect()
                    connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._channel)))
                    self._heard(max(1, self._alive))  # whatever was said while nobody listened
                self._look()
                self._listen(connection)
            except (psycopg.Error, JournalUnavailable):
                if connection is not None:
                    connection.close()
                connection = None
                select.select([self._told], [], [], self._poll_seconds)
        if connection is not None:
            connection.close()

    def _listen(self, connection: Connection) -> None:
        """Until something is said, or for one poll."""
        ready, _, _ = select.select([connection.fileno(), self._told], [], [], self._poll_seconds)
        if not ready or self._leaving.is_set():
            return
        said = [notify.payload for notify in connection.notifies(timeout=0)]
        if any(who != self._owner for who in said):
            self._heard(max(1, self._alive))

    def _look(self) -> None:
        alive = len(self._say_alive())
        ((ran_out,),) = self._pool.rows(_RAN_OUT, {"owner": self._owner})
        if alive != self._alive or ran_out != self._ran_out:
            self._heard(max(1, alive))
        self._alive, self._ran_out = alive, ran_out

    def _say_alive(self) -> Collection[str]:
        """Also reads the clock."""

        def work(connection: Connection) -> Collection[str]:
            before = self.clock.monotonic()
            ((database,),) = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchall()
            self.clock.read(database, (before + self.clock.monotonic()) / 2)
            connection.execute(_TURN, self._lease(self._name, ALIVE_SECONDS))
            connection.execute(_TIDY)
            return [name for (name,) in connection.execute(_ALIVE, {}).fetchall()]

        return self._pool.run(work)

    def _lease(self, name: str, seconds: float) -> dict[str, Any]:
        return {"name": name, "owner": self._owner, "micros": round(seconds * 1_000_000)}
