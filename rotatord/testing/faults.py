"""What may happen to an outside call or a commit, in a simulation."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """What may happen at a point."""

    CRASH_BEFORE = "crash before"
    CRASH_AFTER = "crash after"
    LOST = "answer lost"
    LATE = "lands late"
    ERROR = "fails"
    DENIED = "denied"
    STALE = "overtaken"  # commits: somebody's request raised the sequence first
    LEASE = "stalled past its lease"
    AWAY = "journal away"  # commits: nothing is stored
    UNHEARD = "journal's answer lost"  # commits: stored, and nobody learns of it
    SLOW = "slow"
    HUNG = "hangs"  # until its timeout; nothing comes of it
    FROZEN = "frozen"  # the whole replica is stopped for a while, and goes on
    FROZEN_STARTED = "frozen at the start"  # after the last look at the lease


CALL_FAULTS = (Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.LOST, Fault.LATE, Fault.ERROR, Fault.DENIED, Fault.LEASE)
COMMIT_FAULTS = (Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.STALE, Fault.LEASE, Fault.AWAY, Fault.UNHEARD)


@dataclass(frozen=True, slots=True)
class Point:
    """Where something happens: the unit that was at work, the way, and the call or commit within it."""

    unit: str
    way: str
    op: str
