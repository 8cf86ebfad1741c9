"""Leases of a journal that one daemon alone has open: kept in its memory, void when it dies.

Claiming therefore writes nothing. Fences still rise across restarts: their upper half is the journal's epoch, a number
that is raised durably at each opening, and that every transaction compares before it writes.
"""

from __future__ import annotations

import threading

from rotatord.clock import Clock
from rotatord.errors import LeaseLost
from rotatord.model import Record
from rotatord.ports import Lease
from rotatord.replacing import replace

_EPOCH_BITS = 32

Taken = tuple[int, float]  # fence, expires


class Leases:
    """Who works on what, by the monotonic clock. Thread-safe."""

    def __init__(self, clock: Clock, owner: str, epoch: int, seconds: float) -> None:
        self._clock = clock
        self._owner = owner
        self._seconds = seconds
        self._fence = epoch << _EPOCH_BITS
        self._held: dict[str, Taken] = {}
        self._lock = threading.Lock()

    def take(self, name: str) -> Taken | None:
        """A new fence and expiry, or None while somebody holds the name."""
        with self._lock:
            now = self._clock.monotonic()
            held = self._held.get(name)
            if held is not None and held[1] > now:
                return None
            self._fence += 1
            self._held[name] = taken = (self._fence, now + self._seconds)
            return taken

    def lease(self, taken: Taken, record: Record) -> Lease:
        """What the holder is given."""
        return Lease(name=record.name, owner=self._owner, fence=taken[0], expires=taken[1], record=record)

    def give_back(self, name: str, fence: int) -> None:
        """Forget it, unless somebody else has it by now."""
        with self._lock:
            if name in self._held and self._held[name][0] == fence:
                del self._held[name]

    def renew(self, lease: Lease, seconds: float = 0.0) -> Lease:
        """For ``seconds`` at least. Raises LeaseLost."""
        with self._lock:
            now = self._clock.monotonic()
            self._check(lease, now)
            expires = max(lease.expires, now + max(self._seconds, seconds))
            self._held[lease.name] = (lease.fence, expires)
        return replace(lease, expires=expires)

    def check(self, lease: Lease) -> None:
        """Raises LeaseLost unless the lease is held now."""
        with self._lock:
            self._check(lease, self._clock.monotonic())

    def holder(self, name: str) -> Taken:
        """The fence and the end of the last lease that was not given back; zeros when there is none."""
        return self._held.get(name, (0, 0.0))

    def ends(self) -> list[float]:
        """When the leases that were not given back run out, or did."""
        return [expires for _, expires in self._held.values()]

    def held(self) -> frozenset[str]:
        """The names that somebody holds now."""
        with self._lock:
            now = self._clock.monotonic()
            for name in [name for name, (_, expires) in self._held.items() if expires <= now]:
                del self._held[name]
            return frozenset(self._held)

    def _check(self, lease: Lease, now: float) -> None:
        held = self._held.get(lease.name)
        if held is None or held[0] != lease.fence:
            raise LeaseLost(f"the lease of {lease.name} is lost: somebody else may be working on it")
        if held[1] <= now:
            raise LeaseLost(f"the lease of {lease.name} has run out")
