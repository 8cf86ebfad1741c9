"""Is a credential due, why, and when may it start? Pure: a record and a moment in, an answer out.

The question is asked of a chain of named checks. The first that is due now gives the reason; if none is, the one that
comes first in time. What may hold it up (a person's hold, a freeze, backoff, a window) is looked at afterwards.
"""

# ruff: noqa: ARG001  every check has the same signature

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rotatord import windows
from rotatord.dangers import OUTSIDE, UNTOUCHED, doom
from rotatord.lives import backoff_end, last_stretch, latest_start, renewal, renewal_missed, sooner, too_old, when
from rotatord.model import JsonMap, Pause, Reason, Record, digest_of

NEVER = "never"
_ALL_THE_SAME = "tried at {} all the same, because its version would expire"
FAILURE_RATE = "stopped at a failure rate"  # how a hold begins that rotations of others brought about


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
    endangered: str = ""  # why the current version expires, or lives on though it leaked, if nothing changes


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
        dooms, notes = doom(record, now, None, None)
        return Due(
            now=False, reason=Reason.DUE, check=NEVER, at=None, why=why, warnings=(*dooms, *notes), endangered="; ".join(dooms)
        )
    starts_at, blocked_by = _held_up(record, found, now, freeze)
    dooms, notes = doom(record, now, found.at, starts_at, blocked_by or "", freeze)
    return Due(
        now=starts_at is not None and starts_at <= now,
        reason=found.reason,
        check=found.check,
        at=found.at,
        why=found.why,
        starts_at=starts_at,
        blocked_by=blocked_by if found.at <= now else None,
        warnings=(*dooms, *notes),
        endangered="; ".join(dooms),
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
            return _Found("compromised", Reason.COMPROMISED, mark.at, f"its current version leaked, marked at {when(mark.at)}")
    return None


def manual(record: Record, now: datetime) -> _Found | None:
    """A person asked for it."""
    asked = record.asked
    if asked is None or asked.verb != "rotate":
        return None
    return _Found("manual", asked.reason, asked.at, f"{asked.actor} asked for it at {when(asked.at)}")


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
        return _Found("expiring", Reason.EXPIRING, at, f"it was not renewed in time and expires at {when(current.expires_at)}")
    at = current.expires_at - last_stretch(record.spec.policy, current)
    if now < at:
        return None  # until then renew_before speaks for it
    return _Found("expiring", Reason.EXPIRING, at, f"it expires at {when(current.expires_at)}")


_FOUND_OTHERWISE = "what was adopted may do something else than the scope in the configuration says"


def scope_changed(record: Record, now: datetime) -> _Found | None:
    """The configuration asks for something else than the current version was minted with."""
    current, spec = record.current, record.spec
    if current is None:
        return None
    known = current.rotation != "adopted" or bool(current.scope)
    if current.issuer != spec.issuer:
        what = f"its issuer changed from {current.issuer} to {spec.issuer}"
    elif known and _differ(spec.scope, current.scope):
        what = "its scope changed in the configuration" if current.rotation != "adopted" else _FOUND_OTHERWISE
    elif current.parameters is not None and _differ(spec.parameters, current.parameters):
        what = "its parameters changed in the configuration"
    else:
        return None
    return _Found("scope_changed", Reason.SCOPE_CHANGED, now, what)


def renew_before(record: Record, now: datetime) -> _Found | None:
    """The renewal lead before the end of its life: its expiry or its greatest age, whichever is earlier."""
    found = renewal(record)
    if found is None or record.current is None:
        return None
    at, end = found
    verb = "expires" if end == record.current.expires_at else "reaches its greatest age"
    return _Found("renew_before", Reason.DUE, at, f"it {verb} at {when(end)} and is replaced from {when(at)} on")


def max_age(record: Record, now: datetime) -> _Found | None:
    """It is as old as its policy lets it be."""
    found = too_old(record)
    if found is None or record.current is None:
        return None
    at, minted_at = found[0], record.current.minted_at
    return _Found("max_age", Reason.DUE, at, f"minted at {when(minted_at)}, it is to be replaced from {when(at)} on")


CHECKS: tuple[Check, ...] = (compromised, manual, first, expiring, scope_changed, renew_before, max_age)


def _first_due(record: Record, now: datetime) -> _Found | None:
    found = [answer for check in CHECKS if (answer := check(record, now)) is not None]
    return next((answer for answer in found if answer.at <= now), None) or min(
        found, key=lambda answer: answer.at, default=None
    )


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
            f"held by {hold.owner} until {when(hold.until)}" + (f": {hold.reason}" if hold.reason else ""),
        )
    emergency, person = found.reason is Reason.COMPROMISED, found.check == "manual"
    if freeze is not None and not emergency:
        if freeze.until is None:
            return None, freeze.why
        if freeze.until > earliest:
            earliest, words = freeze.until, freeze.why
    if record.held_for_person and not (emergency or person):
        again = _last_chance(record)
        if again is None:
            return None, record.held_for_person
        if again > max(earliest, now):
            earliest, words = again, f"{record.held_for_person}; {_ALL_THE_SAME.format(when(again))}"
    until = backoff_end(record)
    if until is not None and until > max(earliest, now) and not person and _backoff_counts(record, emergency=emergency):
        earliest, words = until, f"backing off until {when(until)} after {_rolled_back(record)}"
    if emergency or person or record.current is None:
        return earliest, words
    return _windowed(record, earliest, words, now)


def _last_chance(record: Record) -> datetime | None:
    """When a rotation that is left to a person begins all the same: in the last stretch of a life, as waiting would do more
    harm than another failure. None: nothing expires."""
    latest = latest_start(record)
    return None if latest is None else max(filter(None, (latest, sooner(record))))


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
        return opens, f"{OUTSIDE}; starts at {when(opens)} all the same, because it would expire before they open"
    if opens is None:
        return None, f"{OUTSIDE}, which do not open any more"
    return opens, f"{OUTSIDE} until {when(opens)}"


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
