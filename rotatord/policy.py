"""Is a credential due, why, and when may it start? Pure: a record and a moment in, an answer out.

The question is asked of a chain of named checks. The first that is due now gives the reason; if none is, the one that
comes first in time. What may hold it up (a person's hold, a freeze, backoff, a window) is looked at afterwards.
"""

# ruff: noqa: ARG001  every check has the same signature

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from rotatord import windows
from rotatord.model import JsonMap, Pause, Policy, Reason, Record, Standing, Version, digest_of

NEVER = "never"
# Without renew_before a version is replaced when a third of its life is left, as certificates commonly are.
DEFAULT_LEAD = 1 / 3
# The last stretch of a life in which nothing may hold a rotation up: this share of it, at most Policy.alarm_before.
LAST_SHARE = 0.1
_OUTSIDE = "outside its windows"
FAILURE_RATE = "stopped at a failure rate"  # how a hold begins that rotations of others brought about; it lets nothing expire
UNTOUCHED = {
    Standing.UNMANAGED: "its destination holds a value that rotatord did not make: adopt it, or set on_unknown: replace",
    Standing.BEHIND: "its destination knows more than this journal: read only until rebuild",
    Standing.FORGOTTEN: "it is no longer declared: nothing is done to it without retire",
    Standing.RETIRED: "it is retired",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """The answer. ``now``: start a rotation at this moment; true only when nothing holds it up."""

    now: bool
    reason: Reason
    check: str  # the name of the check that decided; "never" where none ever will
    at: datetime | None  # when that check makes it due, holds and windows aside; None: never
    why: str  # a sentence
    starts_at: datetime | None = None  # when a rotation would start by itself; ask again then. None: not without a person
    blocked_by: str | None = None  # what holds up a rotation that is due, in words
    warnings: tuple[str, ...] = ()  # what will go wrong if nothing changes, each a sentence


@dataclass(frozen=True, slots=True)
class _Found:
    """What one check says: due since or from ``at``."""

    check: str
    reason: Reason
    at: datetime
    why: str


Check = Callable[[Record, datetime], _Found | None]


def due(record: Record, now: datetime, *, freeze: Pause | None = None) -> Due:
    """Why and when the next rotation of a credential starts. ``freeze``: the pause in force over all."""
    found = _first_due(record, now)
    if found is None:
        why = "nothing ever makes it due: no max_age, no renew_before, and its version does not expire"
        return Due(now=False, reason=Reason.DUE, check=NEVER, at=None, why=why, warnings=_doom(record, now, None, None))
    starts_at, blocked_by = _held_up(record, found, now, freeze)
    return Due(
        now=starts_at is not None and starts_at <= now,
        reason=found.reason,
        check=found.check,
        at=found.at,
        why=found.why,
        starts_at=starts_at,
        blocked_by=blocked_by if found.at <= now else None,
        warnings=_doom(record, now, found.at, starts_at, blocked_by or ""),
    )


def forecast(record: Record, now: datetime, *, freeze: Pause | None = None) -> tuple[str, ...]:
    """What will go wrong if nothing changes, days ahead; each a sentence."""
    return due(record, now, freeze=freeze).warnings


# --- the checks, in order of weight --------------------------------------------------------------------------------


def compromised(record: Record, now: datetime) -> _Found | None:
    """The current version is marked as leaked."""
    current = record.current
    if current is None:
        return None
    for mark in record.leaks:
        if mark.generation == current.generation or (mark.ref and mark.ref == current.ref):
            return _Found("compromised", Reason.COMPROMISED, mark.at, f"its current version leaked, marked at {_at(mark.at)}")
    return None


def manual(record: Record, now: datetime) -> _Found | None:
    """A person asked for it."""
    asked = record.asked
    if asked is None or asked.verb != "rotate":
        return None
    return _Found("manual", asked.reason, asked.at, f"{asked.actor} asked for it at {_at(asked.at)}")


def first(record: Record, now: datetime) -> _Found | None:
    """There is no version yet."""
    if record.current is not None:
        return None
    return _Found("first", Reason.DUE, now, "it has no version yet")


def expiring(record: Record, now: datetime) -> _Found | None:
    """So little of the life that the issuer reports is left that nothing should hold a rotation up."""
    current = record.current
    if current is None or current.expires_at is None:
        return None
    if current.renew_at is not None:  # periodic: its expiry moves ahead with each renewal, unless those fail
        at = renewal_missed(current.renew_at, current.expires_at)
        if now < at:
            return None
        return _Found("expiring", Reason.EXPIRING, at, f"it was not renewed in time and expires at {_at(current.expires_at)}")
    at = current.expires_at - _last_stretch(record.spec.policy, current)
    if now < at:
        return None  # until then renew_before speaks for it
    return _Found("expiring", Reason.EXPIRING, at, f"it expires at {_at(current.expires_at)}")


def scope_changed(record: Record, now: datetime) -> _Found | None:
    """The configuration asks for something else than the current version was minted with."""
    current, spec = record.current, record.spec
    if current is None:
        return None
    known = current.rotation != "adopted" or bool(current.scope)
    if current.issuer != spec.issuer:
        what = f"its issuer changed from {current.issuer} to {spec.issuer}"
    elif known and _differ(spec.scope, current.scope):
        what = "its scope changed in the configuration"
    elif current.parameters is not None and _differ(spec.parameters, current.parameters):
        what = "its parameters changed in the configuration"
    else:
        return None
    return _Found("scope_changed", Reason.SCOPE_CHANGED, now, what)


def renew_before(record: Record, now: datetime) -> _Found | None:
    """The renewal lead before the end of its life: its expiry or its greatest age, whichever is earlier."""
    current, policy = record.current, record.spec.policy
    if current is None:
        return None
    asked = policy.renew_before is not None or policy.renew_before_percent is not None
    expires_at = None if current.renew_at is not None else current.expires_at
    ages_at = current.minted_at + policy.max_age if policy.max_age is not None and asked else None
    ends = [moment for moment in (expires_at, ages_at) if moment is not None]
    if not ends:
        return None
    end = min(ends)
    lead = renewal_lead(policy, end - current.minted_at)
    at = end - lead - _pull(record, lead, end - current.minted_at)
    verb = "expires" if end == expires_at else "reaches its greatest age"
    return _Found("renew_before", Reason.DUE, at, f"it {verb} at {_at(end)} and is replaced from {_at(at)} on")


def max_age(record: Record, now: datetime) -> _Found | None:
    """It is as old as its policy lets it be."""
    current, age = record.current, record.spec.policy.max_age
    if current is None or age is None:
        return None
    at = current.minted_at + age - _pull(record, age, 2 * age)
    return _Found("max_age", Reason.DUE, at, f"minted at {_at(current.minted_at)}, it is to be replaced from {_at(at)} on")


CHECKS: tuple[Check, ...] = (compromised, manual, first, expiring, scope_changed, renew_before, max_age)


def _first_due(record: Record, now: datetime) -> _Found | None:
    found = [answer for check in CHECKS if (answer := check(record, now)) is not None]
    return next((answer for answer in found if answer.at <= now), None) or min(
        found, key=lambda answer: answer.at, default=None
    )


# --- times ---------------------------------------------------------------------------------------------------------


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


def _pull(record: Record, lead: timedelta, life: timedelta) -> timedelta:
    """By how much this credential is due earlier than its twins; never more than half of what is left before the lead."""
    return min(lead * record.spec.policy.jitter_percent / 100, (life - lead) / 2) * spread(record.name)


def renewal_missed(renew_at: datetime, expires_at: datetime) -> datetime:
    """From when on a periodic version counts as one that will expire: it should have been prolonged long before."""
    return renew_at + (expires_at - renew_at) / 2


def _last_stretch(policy: Policy, version: Version) -> timedelta:
    assert version.expires_at is not None
    life = version.expires_at - version.minted_at
    return min(policy.alarm_before, life * LAST_SHARE, renewal_lead(policy, life) / 2)


# --- what holds it up ----------------------------------------------------------------------------------------------


def _held_up(record: Record, found: _Found, now: datetime, freeze: Pause | None) -> tuple[datetime | None, str | None]:
    """When it may start (None: not by itself) and what holds it up until then."""
    untouched = UNTOUCHED.get(record.standing)
    if untouched is not None:
        return None, untouched
    earliest: datetime = found.at
    words: str | None = None
    hold = max((hold for hold in record.holds if hold.until > now), key=lambda hold: hold.until, default=None)
    if hold is not None and hold.until > earliest:
        earliest, words = (
            hold.until,
            f"held by {hold.owner} until {_at(hold.until)}" + (f": {hold.reason}" if hold.reason else ""),
        )
    emergency, person = found.reason is Reason.COMPROMISED, found.check == "manual"
    if freeze is not None and not emergency:
        if freeze.until is None:
            return None, freeze.why
        if freeze.until > earliest:
            earliest, words = freeze.until, freeze.why
    last_chance = found.reason is Reason.EXPIRING and record.held_for_person.startswith(FAILURE_RATE)
    if record.held_for_person and not (emergency or person or last_chance):
        return None, record.held_for_person
    until = record.backoff_until
    if until is not None and until > max(earliest, now) and not person and _backoff_counts(record, emergency=emergency):
        earliest, words = until, f"backing off until {_at(until)} after {_rolled_back(record)}"
    if emergency or person or record.current is None:
        return earliest, words
    return _windowed(record, earliest, words, now)


def _rolled_back(record: Record) -> str:
    many = f"{record.failures} rotations were rolled back in a row" if record.failures > 1 else "a rotation was rolled back"
    return many + (f": {record.last.error}" if record.last is not None and record.last.error else "")


def _backoff_counts(record: Record, *, emergency: bool) -> bool:
    """An emergency waits for the backoff that emergencies have earned, not for that of everyday failures."""
    return not emergency or (record.last is not None and record.last.reason is Reason.COMPROMISED)


def _windowed(record: Record, earliest: datetime, words: str | None, now: datetime) -> tuple[datetime | None, str | None]:
    policy = record.spec.policy
    wanted = max(earliest, now)
    opens = windows.next_open(policy.windows, wanted)
    if opens == wanted:
        return earliest, words
    latest = latest_start(record)
    if policy.expiry_beats_window and latest is not None and (opens is None or opens > latest):
        if latest <= wanted:
            return earliest, words
        opens = latest
        return opens, f"{_OUTSIDE}; starts at {_at(opens)} all the same, because it would expire before they open"
    if opens is None:
        return None, f"{_OUTSIDE}, which do not open any more"
    return opens, f"{_OUTSIDE} until {_at(opens)}"


def latest_start(record: Record) -> datetime | None:
    """When so little of the current version's life is left that its replacement should be under way; None: it does not end."""
    current = record.current
    if current is None or current.expires_at is None:
        return None
    if current.renew_at is not None:
        return renewal_missed(current.renew_at, current.expires_at)
    return current.expires_at - _last_stretch(record.spec.policy, current)


# --- what will go wrong --------------------------------------------------------------------------------------------


def _doom(record: Record, now: datetime, at: datetime | None, starts_at: datetime | None, words: str = "") -> tuple[str, ...]:
    current, rotation, policy = record.current, record.rotation, record.spec.policy
    if current is None or current.expires_at is None or record.standing in UNTOUCHED:
        return ()
    expires_at = current.expires_at
    if expires_at <= now:
        return (f"expired at {_at(expires_at)}",)
    if rotation is not None:
        return (f"will expire {_at(expires_at)} while its rotation is halted ({rotation.halt.code})",) if rotation.halt else ()
    if current.renew_at is not None:
        return (f"will expire {_at(expires_at)} unless it can be renewed: {record.renew_error}",) if record.renew_error else ()
    found = []
    if policy.renew_before is not None and policy.renew_before >= expires_at - current.minted_at:
        found.append("its issuer gave it a shorter life than renew_before: it is replaced when a third of that life is left")
    if starts_at is None:
        if at is None or at <= now + policy.alarm_before:
            found.append(f"will expire {_at(expires_at)}: {words or 'nothing starts a rotation before'}")
    elif starts_at >= expires_at:
        outside = words.startswith(_OUTSIDE)
        before = f"before the next window opens {_at(starts_at)}" if outside else f"before a rotation starts ({words})"
        found.append(f"will expire {_at(expires_at)} {before}")
    elif policy.expiry_beats_window and starts_at == latest_start(record):
        opens = windows.next_open(policy.windows, max(starts_at, now))
        if opens != max(starts_at, now):
            opening = f"opens {_at(opens)}" if opens else "ever opens"
            found.append(
                f"would expire {_at(expires_at)} before the next window {opening}: starts {_at(starts_at)}, outside it"
            )
    return tuple(found)


def _differ(one: JsonMap, other: JsonMap) -> bool:
    """Asked at each commit; equal as they stand is the ordinary case."""
    return one != other and digest_of(_in_order(one)) != digest_of(_in_order(other))


def _in_order(value: Any) -> Any:
    """The same with its lists sorted: the order of permissions says nothing."""
    if isinstance(value, dict):
        return {key: _in_order(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return sorted((_in_order(item) for item in value), key=digest_of)
    return value


def _at(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(" ", "minutes")[:16] + "Z"
