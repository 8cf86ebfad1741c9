"""Leases as rows: who works on what is decided by the database, and believed for a shorter time than the database does.

A lease ends by the database's clock. Its holder reckons by its own monotonic clock from before the statement was sent, so
that it stops believing first, whatever happens in between: a slow network, a machine that sleeps, a process that was
stopped. A commit looks at the row itself and keeps it from being taken until the commit is over.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from rotatord.clock import Clock
from rotatord.errors import JournalUnavailable, LeaseLost
from rotatord.journal.claims import Claims
from rotatord.journal.codec import decoded
from rotatord.journal.postgresql import CLAIMING, Connection, Pool
from rotatord.journal.row import micros
from rotatord.journal.statements import Statements
from rotatord.journal.writer import Transaction
from rotatord.ports import Lease
from rotatord.replacing import replace

SLACK_SECONDS = 0.25  # by which the database believes longer
# Not named with its schema: who tests may put a clock of its own before it in the search path.
NOW = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"

_HELD = f"SELECT l.name, c.issuer FROM leases l JOIN credentials c USING (name) WHERE l.owner <> '' AND l.expires_at > {NOW}"
_TAKE = f"""
    WITH free AS (
        SELECT name FROM leases WHERE name = ANY(%(names)s) AND (owner = '' OR expires_at <= {NOW}) FOR UPDATE SKIP LOCKED
    )
    UPDATE leases l SET owner = %(owner)s, fence = l.fence + 1, expires_at = {NOW} + %(micros)s
    FROM free WHERE l.name = free.name RETURNING l.name, l.fence
"""
_BODIES = "SELECT r.name, r.body FROM records r JOIN credentials c USING (name) WHERE r.name = ANY(%(names)s)"
_DUE = f"{_BODIES} AND c.due_at <= %(now)s"
_MINE = f"name = %(name)s AND fence = %(fence)s AND owner = %(owner)s AND expires_at > {NOW}"
_RENEW = f"UPDATE leases SET expires_at = greatest(expires_at, {NOW} + %(micros)s) WHERE {_MINE} RETURNING name"
# A lease that was prolonged for one long call ends when its holder believes again that it does.
_SHORTEN = f"UPDATE leases SET expires_at = least(expires_at, {NOW} + %(micros)s) WHERE {_MINE} RETURNING name"
_CHECK = f"SELECT name FROM leases WHERE {_MINE} FOR SHARE"
# What is given back although it is due, by one that stops, is for others to take at once.
_RELEASE = f"""
    WITH given AS (
        UPDATE leases SET owner = '', expires_at = 0
        WHERE name = %(name)s AND fence = %(fence)s AND owner = %(owner)s RETURNING name
    )
    SELECT pg_notify(%(channel)s, %(owner)s) FROM given JOIN credentials c USING (name)
    WHERE c.due_at <= {NOW}
"""
_GIVE_BACK = "UPDATE leases SET owner = '', expires_at = 0 WHERE owner = %(owner)s AND NOT (name = ANY(%(names)s))"
_RECORDS_ONLY = " AND position(':' IN name) = 0"


class SharedLeasing:
    """See :class:`rotatord.journal.sql.Leasing`."""

    def __init__(
        self, pool: Pool, statements: Statements, clock: Clock, owner: str, lease_seconds: float, channel: str
    ) -> None:
        self._pool = pool
        self._statements = statements
        self._clock = clock
        self._owner = owner
        self._seconds = lease_seconds
        self._channel = channel
        self._taking = threading.Lock()
        self._active: dict[str, int] = {}  # what threads of ours work on, by name: the fence
        self._prolonged: set[tuple[str, int]] = set()  # names and fences
        self._unsure = False  # whether the database may hold leases for us that nobody works on

    def claim(self, now: datetime, limit: int, full: frozenset[str], most: Callable[[str], int] | None) -> Sequence[Lease]:
        def work(connection: Connection) -> list[Lease]:
            with connection.transaction():
                # One claim at a time, so that what all have of one issuer together can be counted.
                connection.execute(CLAIMING, {"what": "claim"})
                names = self._chosen(connection, micros(now), limit, full, most)
                damaged: dict[str, str] = {}  # their leases are kept: they are looked at again when those have run out
                return self._taken(connection, names, _DUE, {"now": micros(now)}, damaged) if names else []

        return self._take(work)

    def lease(self, name: str) -> Lease | None:
        def work(connection: Connection) -> list[Lease]:
            with connection.transaction():
                found = self._taken(connection, [name], _BODIES, {})
            if not found and not connection.execute(self._statements.exists, {"key": name}).fetchall():
                raise KeyError(name)
            return found

        found = self._take(work)
        return found[0] if found else None

    def renew(self, lease: Lease, seconds: float) -> Lease:
        self._believe(lease)
        before, lasting = self._clock.monotonic(), max(self._seconds, seconds)
        if not self._pool.rows(_RENEW, {**self._key(lease), "micros": _micros(lasting)}):
            raise self._lost(lease)
        if lasting > self._seconds:
            self._prolonged.add((lease.name, lease.fence))
        return replace(lease, expires=max(lease.expires, before + lasting))

    def release(self, lease: Lease) -> None:
        with self._taking:
            if self._active.get(lease.name) == lease.fence:
                del self._active[lease.name]
            self._prolonged.discard((lease.name, lease.fence))
        try:
            self._pool.rows(_RELEASE, {**self._key(lease), "channel": self._channel})
        except JournalUnavailable:
            self._unsure = True
            raise

    def check(self, transaction: Transaction, lease: Lease) -> None:
        self._believe(lease)
        key, left = (lease.name, lease.fence), lease.expires - self._clock.monotonic()
        shorten = key in self._prolonged and left <= self._seconds
        values = {**self._key(lease), "micros": _micros(left)}
        if not transaction.rows(_SHORTEN if shorten else _CHECK, values):
            raise self._lost(lease)
        if shorten:
            self._prolonged.discard(key)

    def held(self) -> frozenset[str]:
        return frozenset(name for name, _ in self._pool.rows(_HELD, {}))

    def close(self) -> None:
        """Give everything back: others can go on at once."""
        with self._taking:
            self._active.clear()

    # --- inside ---

    def _take(self, work: Callable[[Connection], list[Lease]]) -> list[Lease]:
        """Under a lock, so that what is taken is known to be ours before anybody tidies up."""
        attempts = 0

        def attempted(connection: Connection) -> list[Lease]:
            nonlocal attempts
            attempts += 1
            return work(connection)

        with self._taking:
            try:
                if self._unsure:
                    names = {"owner": self._owner, "names": list(self._active)}
                    self._pool.run(lambda connection: connection.execute(_GIVE_BACK + _RECORDS_ONLY, names))
                    self._unsure = False
                found = self._pool.run(attempted)
                self._unsure = attempts > 1
            except JournalUnavailable:
                self._unsure = True  # it may have been done, and only the answer lost
                raise
            self._active.update((lease.name, lease.fence) for lease in found)
            return found

    def _chosen(
        self, connection: Connection, now: int, limit: int, full: frozenset[str], most: Callable[[str], int] | None
    ) -> list[str]:
        """The first to claim, of each issuer no more than it has room for."""
        held = connection.execute(_HELD).fetchall()
        taken, busy = {name for name, _ in held}, set(full)
        at_work = Counter(issuer for _, issuer in held)
        claims = Claims(self._statements, lambda text, values: connection.execute(text, values).fetchall(), connection.execute)
        chosen: list[str] = []
        while len(chosen) < limit:
            found = claims.candidates(now, limit - len(chosen), busy, taken)
            for _, _, name, issuer in found:
                if most is not None and at_work[issuer] >= most(issuer):
                    busy.add(issuer)
                    continue
                at_work[issuer] += 1
                taken.add(name)
                chosen.append(name)
            if not found:
                break
        return chosen

    def _taken(
        self,
        connection: Connection,
        names: list[str],
        bodies: str,
        values: Mapping[str, Any],
        damaged: dict[str, str] | None = None,
    ) -> list[Lease]:
        """Lease first, then read: what is read is what the last holder left. In the order of the names."""
        before = self._clock.monotonic()
        wanted = {"names": names, "owner": self._owner, "micros": _micros(self._seconds)}
        fences = dict(connection.execute(_TAKE, wanted).fetchall())
        if not fences:
            return []
        found = dict(connection.execute(bodies, {"names": list(fences), **values}).fetchall())
        for name in fences.keys() - found.keys():  # it was done meanwhile
            connection.execute(_RELEASE, {"name": name, "fence": fences[name], "owner": self._owner, "channel": self._channel})
        ends = before + self._seconds
        return [
            Lease(name=record.name, owner=self._owner, fence=fences[record.name], expires=ends, record=record)
            for record in decoded(((name, found[name]) for name in names if name in found), damaged)
        ]

    def _key(self, lease: Lease) -> dict[str, Any]:
        return {"name": lease.name, "fence": lease.fence, "owner": lease.owner}

    def _believe(self, lease: Lease) -> None:
        """Raises LeaseLost when we must not believe in it any more, whatever the database thinks."""
        if lease.expires <= self._clock.monotonic():
            raise LeaseLost(f"the lease of {lease.name} has run out")

    def _lost(self, lease: Lease) -> LeaseLost:
        return LeaseLost(f"the lease of {lease.name} is lost: somebody else may be working on it")


def _micros(seconds: float) -> int:
    return round((seconds + SLACK_SECONDS) * 1_000_000)
