"""How long versions live, and by when what replaces them should begin. Pure."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from rotatord.model import Policy, Record, Version

# Without renew_before a version is replaced when a third of its life is left, as certificates commonly are.
DEFAULT_LEAD = 1 / 3
# The last stretch of a life in which nothing may hold a rotation up: this share of it, at most Policy.alarm_before.
LAST_SHARE = 0.1
TOO_OLD = 1.1  # of its max_age: by then a version should have been replaced, whatever held that up
# What was rolled back is tried again after this share of the life that was left then, where backing off would last longer;
# after one that ended when the version had expired, within the hour.
RETRY_SHARE = 1 / 4
RETRY_LEAST, RETRY_EXPIRED = timedelta(minutes=1), timedelta(hours=1)


def renewal_lead(policy: Policy, life: timedelta) -> timedelta:
    """How long before the end of ``life`` a version is replaced. Always shorter than the life: an issuer may give less
    than was asked for, and a version that is due at birth would be replaced for ever."""
    if policy.renew_before is not None and policy.renew_before < life:
        return policy.renew_before
    if policy.renew_before is None and policy.renew_before_percent is not None:
        return life * policy.renew_before_percent / 100
    return life * DEFAULT_LEAD


def spread(name: str) -> float:
    """A number in [0, 1) that is always the same for a name and even over many names."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) / 2**64


def pull(record: Record, lead: timedelta, life: timedelta) -> timedelta:
    """By how much this credential is due earlier than its twins; never more than half of what is left before the lead."""
    return _pulled(record.name, record.spec.policy.jitter_percent, lead, life)


@lru_cache(maxsize=1024)
def _pulled(name: str, percent: float, lead: timedelta, life: timedelta) -> timedelta:
    """Asked several times at each commit, and always the same for one version."""
    return min(lead * percent / 100, (life - lead) / 2) * spread(name)


def renewal(record: Record) -> tuple[datetime, datetime] | None:
    """When the renewal lead begins, and the end that it leads to: the expiry of the current version, or its greatest age where
    the policy names a lead. None where there is neither."""
    current, policy = record.current, record.spec.policy
    if current is None:
        return None
    asked = policy.renew_before is not None or policy.renew_before_percent is not None
    ends = [] if current.renew_at is not None or current.expires_at is None else [current.expires_at]
    if policy.max_age is not None and asked:
        ends.append(current.minted_at + policy.max_age)
    if not ends:
        return None
    end = min(ends)
    lead = renewal_lead(policy, end - current.minted_at)
    return end - lead - pull(record, lead, end - current.minted_at), end


def too_old(record: Record) -> tuple[datetime, datetime] | None:
    """When the current version is as old as its policy lets it be, and when it is far too old."""
    current, age = record.current, record.spec.policy.max_age
    if current is None or age is None:
        return None
    return current.minted_at + age - pull(record, age, 2 * age), current.minted_at + far_too_old(age)


@lru_cache(maxsize=1024)
def far_too_old(age: timedelta) -> timedelta:
    """The age at which a version that should live for ``age`` should have been replaced, whatever held that up."""
    return age * TOO_OLD


def renewal_missed(renew_at: datetime, expires_at: datetime) -> datetime:
    """From when on a periodic version counts as one that will expire: it should have been prolonged long before."""
    return renew_at + (expires_at - renew_at) / 2


def last_stretch(policy: Policy, version: Version) -> timedelta:
    """How much of its life is left when nothing may hold its replacement up any more."""
    assert version.expires_at is not None
    life = version.expires_at - version.minted_at
    return min(policy.alarm_before, life * LAST_SHARE, renewal_lead(policy, life) / 2)


def latest_start(record: Record) -> datetime | None:
    """When so little of the current version's life is left that its replacement should be under way; None: it does not end."""
    current = record.current
    if current is None or current.expires_at is None:
        return None
    if current.renew_at is not None:
        return renewal_missed(current.renew_at, current.expires_at)
    return current.expires_at - last_stretch(record.spec.policy, current)


def backoff_end(record: Record) -> datetime | None:
    """When a rotation that was rolled back is tried again: after the usual pause, and where that would let the current
    version expire, after a share of the life that it has left. None: no pause, or only a person ends it."""
    until, early = record.backoff_until, sooner(record)
    return until if until is None or early is None else min(until, early)


def sooner(record: Record) -> datetime | None:
    """When the next try has to begin so that there is time for several before the current version expires."""
    current, last = record.current, record.last
    if not record.failures or last is None or current is None or current.expires_at is None or current.renew_at is not None:
        return None
    left = current.expires_at - last.finished_at
    return last.finished_at + (max(RETRY_LEAST, left * RETRY_SHARE) if left > timedelta(0) else RETRY_EXPIRED)


def when(moment: datetime) -> str:
    """As sentences say it."""
    return moment.astimezone(UTC).isoformat(" ", "minutes")[:16] + "Z"
