"""The journal in PostgreSQL: many processes over one database share the work."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager

from rotatord.clock import Clock, Ids
from rotatord.journal.postgresql import Pool, PostgresqlServer, PostgresqlStore
from rotatord.journal.postgresql_leases import SharedLeasing
from rotatord.journal.postgresql_replicas import CommonClock, Replicas
from rotatord.journal.sql import SqlJournal
from rotatord.journal.writer import Writer


class PostgresqlJournal(SqlJournal):
    """See :class:`rotatord.ports.Journal` and :class:`rotatord.ports.Shared`."""

    def __init__(
        self, server: PostgresqlServer, clock: Clock, owner: str, lease_seconds: float, *, read_only: bool = False
    ) -> None:
        self.owner = owner
        pool = Pool(server)
        (channel,) = pool.rows("SELECT 'rotatord:' || current_schema()", {})[0]
        leasing = SharedLeasing(pool, server.statements, clock, owner, lease_seconds, channel)
        super().__init__(
            server.statements, pool, Writer(PostgresqlStore(server, channel, owner)), leasing, read_only=read_only, shared=True
        )
        self._server = server
        self._pool = pool
        self._replicas = Replicas(server, pool, clock, owner, channel, poll_seconds=min(1.0, lease_seconds / 5))

    def join(self, mark: str) -> Collection[str]:
        return self._replicas.join(mark)

    def alive(self) -> Collection[str]:
        return self._replicas.alive()

    def watch(self, heard: Callable[[int], None]) -> None:
        self._replicas.watch(heard)

    def turn(self, chore: str, seconds: float) -> bool:
        return self._replicas.turn(chore, seconds)

    def alone(self, what: str) -> AbstractContextManager[None]:
        return self._server.alone(what)

    def common_clock(self) -> CommonClock:
        return self._replicas.clock

    def close(self) -> None:
        """Hand over first: the others need not wait for anything of ours to run out."""
        self._replicas.leave()
        super().close()


def open_postgresql(
    url: Callable[[], str], clock: Clock, ids: Ids, *, read_only: bool, lease_seconds: float
) -> PostgresqlJournal:
    """Connect, and make or upgrade the schema. Raises JournalUnavailable, JournalTooNew, and ValueError for what is no URL."""
    server = PostgresqlServer(url, read_only=read_only)
    server.prepare()
    return PostgresqlJournal(server, clock, ids.new("owner"), lease_seconds, read_only=read_only)
