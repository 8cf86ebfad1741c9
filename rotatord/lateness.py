"""How late a rotation is: shares of the time between the moment when it should have begun and the end of the version. Pure.

That time begins when the policy makes the rotation due (the renewal lead, the greatest age, the renewal of a periodic
version), and with windows when the first of them opens after that, at the latest where the policy lets it start without
one. Holds, pauses and backing off do not move it: they are what makes a rotation late. It ends with the version, or when
that is as old as nothing may get. A rotation is over, here, when everybody was proven to run on the new version.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from rotatord import windows
from rotatord.lives import latest_start, renewal, too_old
from rotatord.model import Record, Standing, State, Way, Window

LEVELS = (50, 25, 10)  # per cent of that time that are left when people are told


@dataclass(frozen=True, slots=True)
class Span:
    """From when on a rotation is late, and until when it must have happened. ``expires``: the version ends then."""

    should: datetime
    end: datetime
    expires: bool

    def at(self, level: int) -> datetime:
        """When so many per cent of it are left."""
        return self.end - (self.end - self.should) * level / 100


def span(record: Record) -> Span | None:
    """None where nothing has to be replaced, nothing is ours, or its replacement is in use everywhere."""
    current, rotation = record.current, record.rotation
    if current is None or record.standing is not Standing.MANAGED:
        return None
    if rotation is not None and rotation.state is State.VERIFIED and rotation.way is Way.FORWARD:
        return None
    if current.renew_at is not None and current.expires_at is not None:
        return Span(current.renew_at, current.expires_at, expires=True)
    found = [times for times in (renewal(record), too_old(record)) if times is not None]
    if not found:
        return None
    due, end = min(at for at, _ in found), min(end for _, end in found)
    should = _opened(record, due)
    return Span(should, end, expires=end == current.expires_at) if should < end else None


def next_level(record: Record) -> tuple[datetime, int] | None:
    """When people have to be told next, and that so many per cent are left; None when all was told."""
    late = span(record)
    if late is None:
        return None
    level = next((level for level in LEVELS if level < told(record)), None)
    return None if level is None else (late.at(level), level)


def reached(record: Record, now: datetime) -> tuple[Span, int] | None:
    """What people have to be told now: the last level that was passed, where it was not told."""
    late = span(record)
    passed = [] if late is None else [level for level in LEVELS if level < told(record) and late.at(level) <= now]
    return (late, passed[-1]) if late is not None and passed else None


def told(record: Record) -> int:
    """The last level that was told of the current version; 100: none."""
    current = record.current
    return record.late_told if current is not None and record.late_generation == current.generation else 100


def _opened(record: Record, due: datetime) -> datetime:
    policy = record.spec.policy
    opens = _next_open(policy.windows, due) if policy.windows else due
    latest = latest_start(record) if policy.expiry_beats_window else None
    found = [moment for moment in (opens, latest) if moment is not None]
    return max(due, min(found)) if found else due


@lru_cache(maxsize=4096)
def _next_open(rules: tuple[Window, ...], due: datetime) -> datetime | None:
    """Asked at each commit, and always the same for one version."""
    return windows.next_open(rules, due)
