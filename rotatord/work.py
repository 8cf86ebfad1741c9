"""What to do next for one credential, and when: pure. One claim is one or more units of work under one lease.

Order: containing a leak, people's wishes, renewals, ledger and step in turns, then planning what is due, then repair.
"""

# ruff: noqa: ARG001  the picks share one signature

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from rotatord import policy, principals
from rotatord.lives import renewal_missed
from rotatord.model import Debt, Grant, LeakMark, Pause, Reason, Record, Rotation, Standing, Trouble, Version, Way

LOOK_AGAIN = timedelta(minutes=5)  # at something that is due but blocked for an unknown time


class Kind(StrEnum):
    """The kinds of work."""

    CONTAIN = "contain"
    INSPECT = "inspect"
    ADOPT = "adopt"
    REBUILD = "rebuild"
    RENEW = "renew"
    LEDGER = "ledger"
    STEP = "step"
    RESCOPE = "rescope"
    PLAN = "plan"
    REPAIR = "repair"
    END_REPAIR = "end_repair"
    ALARM = "alarm"


@dataclass(frozen=True, slots=True)
class Work:
    """One unit: what, and on which part of the record."""

    kind: Kind
    debt: Debt | None = None
    version: Version | None = None
    mark: LeakMark | None = None
    grant: Grant | None = None
    due: policy.Due | None = None


def choose(record: Record, now: datetime, *, surveyed: bool, read_only: bool, freeze: Pause | None = None) -> Work | None:
    """The next unit, or None when nothing is due. ``surveyed``: since this daemon started, the destinations were compared
    with the journal; before that nothing is written. ``read_only``: only people's looks and rebuilds, and renewals."""
    failed_look = _failed_look(record)
    if failed_look is not None and failed_look.due_at > now:
        return _beside_a_failed_look(record, now, freeze, read_only=read_only)
    work = _asked(record, read_only=read_only)
    if work is not None and not _troubled(record, work.kind, now):
        return work
    if failed_look is not None or (not surveyed and record.standing not in _NEVER_LOOKED_AT):
        return Work(Kind.INSPECT)
    if record.standing in {Standing.NEW, Standing.UNMANAGED, Standing.BEHIND}:
        return None
    if read_only:  # a version that nobody prolongs would expire, and prolonging it touches no destination
        return _renew(record, now, freeze) if record.standing in _RENEWED else None
    for pick in (_contain, _renew, _turn, _rescope, _plan, _repair, _alarm):
        work = pick(record, now, freeze)
        if work is not None and not _troubled(record, work.kind, now):
            return work
    return None


def _beside_a_failed_look(record: Record, now: datetime, freeze: Pause | None, *, read_only: bool) -> Work | None:
    """What touches no destination: a leak is contained, and a version is prolonged, all the same."""
    if record.standing not in _RENEWED:
        return None
    return (None if read_only else _contain(record, now, freeze)) or _renew(record, now, freeze)


_RENEWED = {Standing.MANAGED, Standing.FORGOTTEN}
_NEVER_LOOKED_AT = {Standing.RETIRED, Standing.BEHIND}


def trouble_of(record: Record, kind: Kind) -> Trouble | None:
    """How this kind of work failed last; None where it did not."""
    return next((trouble for trouble in record.troubles if trouble.unit == kind.value), None)


def without_trouble(record: Record, kind: Kind) -> tuple[Trouble, ...]:
    """The troubles of every other kind of work."""
    return tuple(trouble for trouble in record.troubles if trouble.unit != kind.value)


def _failed_look(record: Record) -> Trouble | None:
    """A failed look holds up everything, since the destinations cannot be seen, and is repeated by whoever comes to it: this
    daemon may have surveyed them before another one failed to."""
    return trouble_of(record, Kind.INSPECT) if record.standing not in _NEVER_LOOKED_AT else None


def _troubled(record: Record, kind: Kind, now: datetime) -> bool:
    """Whether this kind of work failed and is not tried again yet."""
    trouble = trouble_of(record, kind)
    return trouble is not None and trouble.due_at > now


def _asked(record: Record, *, read_only: bool) -> Work | None:
    if record.asked is None:
        return None
    kind = {"adopt": Kind.ADOPT, "rebuild": Kind.REBUILD, "inspect": Kind.INSPECT}.get(record.asked.verb)
    if kind is None or (read_only and kind is Kind.ADOPT):
        return None
    return Work(kind)


def _contain(record: Record, now: datetime, freeze: Pause | None) -> Work | None:
    mark = next((mark for mark in record.leaks if mark.contain and mark.contained_at is None), None)
    return Work(Kind.CONTAIN, mark=mark) if mark is not None and not _troubled(record, Kind.CONTAIN, now) else None


def _versions(record: Record) -> list[Version]:
    """Versions that must stay alive: the current one and the one being rolled out."""
    new = record.rotation.new if record.rotation else None
    return [version for version in (record.current, new) if version is not None]


def _renew(record: Record, now: datetime, freeze: Pause | None) -> Work | None:
    if record.standing is Standing.RETIRED or _troubled(record, Kind.RENEW, now):
        return None
    due = [version for version in _versions(record) if version.renew_at is not None and version.renew_at <= now]
    if not due:
        return None
    trouble = trouble_of(record, Kind.RENEW)
    tries = trouble.attempts if trouble is not None else 0
    return Work(Kind.RENEW, version=due[tries % len(due)])  # one that cannot be prolonged does not starve the other


def _ledger_due(record: Record, now: datetime) -> Debt | None:
    due = [debt for debt in record.ledger if debt.due_at <= now]
    return min(due, key=lambda debt: debt.due_at) if due else None


def _step_due(record: Record, now: datetime) -> Rotation | None:
    rotation = record.rotation
    if rotation is None or rotation.halt is not None or rotation.due_at > now:
        return None
    return rotation


def _turn(record: Record, now: datetime, freeze: Pause | None) -> Work | None:
    """Ledger and step in turns, so that neither starves the other."""
    debt, step = _ledger_due(record, now), _step_due(record, now)
    if record.rotation is not None and record.rotation.way is Way.REPAIR:
        due = policy.due(record, now, freeze=freeze)
        if due.now and _ends_repair(record.rotation, due):
            return Work(Kind.END_REPAIR)
    if debt is not None and (step is None or record.ledger_turn):
        return Work(Kind.LEDGER, debt=debt)
    return Work(Kind.STEP) if step is not None else None


def _ends_repair(repair: Rotation, due: policy.Due) -> bool:
    """A rotation publishes everywhere itself. A repair that halted gives way to any."""
    return repair.halt is not None or due.reason in {Reason.COMPROMISED, Reason.EXPIRING, Reason.DUE}


def _rescope(record: Record, now: datetime, freeze: Pause | None) -> Work | None:
    """A principal that may do more than its living versions need is narrowed."""
    grant = principals.stale(record)
    if freeze or grant is None or (grant.due_at is not None and grant.due_at > now):
        return None
    return Work(Kind.RESCOPE, grant=grant)


def _plan(record: Record, now: datetime, freeze: Pause | None) -> Work | None:
    if record.rotation is not None or record.standing is not Standing.MANAGED:
        return None
    due = policy.due(record, now, freeze=freeze)
    return Work(Kind.PLAN, due=due) if due.now else None


def _repair(record: Record, now: datetime, freeze: Pause | None) -> Work | None:
    if freeze:
        return None
    if record.rotation is not None or record.current is None or record.standing is not Standing.MANAGED:
        return None
    if any(mark.generation == record.current.generation for mark in record.leaks):
        return None
    if not record.drift or (record.spec.policy.on_drift == "hold" and any(_foreign(item.what) for item in record.drift)):
        return None
    if any(item.what == "other_installation" for item in record.drift):
        return None
    if record.asked is not None and record.asked.verb == "rotate" and record.asked.reason is Reason.DUE:
        return None  # a repair found nothing to put back and asked for a new version: a hold keeps that waiting, not trying
    return Work(Kind.REPAIR)


def _foreign(what: str) -> bool:
    return what not in {"missing", "ours_older"}


def _alarm(record: Record, now: datetime, freeze: Pause | None) -> Work | None:
    mark = next((mark for mark in record.leaks if not mark.told and mark.deadline <= now), None)
    if mark is not None:
        return Work(Kind.ALARM, mark=mark)
    at = alarm_at(record)
    return Work(Kind.ALARM) if at is not None and at <= now else None


def alarm_at(record: Record) -> datetime | None:
    """When the coming expiry of the current version is announced; None when it was, or when it never expires."""
    current = record.current
    if current is None or current.expires_at is None or record.alarmed == current.generation:
        return None
    if current.renew_at is not None:
        return renewal_missed(current.renew_at, current.expires_at)
    return current.expires_at - min(record.spec.policy.alarm_before, (current.expires_at - current.minted_at) / 10)


def next_due(record: Record, now: datetime) -> datetime | None:
    """When to look at this record again; None when only a person or a new configuration can bring work."""
    if record.standing is Standing.BEHIND:
        return now if record.asked is not None and record.asked.verb in {"rebuild", "inspect"} else None
    failed_look = _failed_look(record)
    if failed_look is not None:
        beside = (_contain_at(record, now), _renew_at(record, now)) if record.standing in _RENEWED else ()
        return min([failed_look.due_at, *(moment for moment in beside if moment is not None)])
    if record.standing is Standing.NEW:
        return now
    times = [moment for find in _TIMES if (moment := find(record, now)) is not None]
    if not times:
        return None
    return min(times)


def _delayed(record: Record, kind: Kind, moment: datetime | None) -> datetime | None:
    """Not before the next try of work that failed."""
    trouble = trouble_of(record, kind)
    return moment if moment is None or trouble is None else max(moment, trouble.due_at)


def _asked_at(record: Record, now: datetime) -> datetime | None:
    work = _asked(record, read_only=False)
    if work is not None:
        return _delayed(record, work.kind, now)
    return _contain_at(record, now)


def _contain_at(record: Record, now: datetime) -> datetime | None:
    contain = any(mark.contain and mark.contained_at is None for mark in record.leaks)
    return _delayed(record, Kind.CONTAIN, now) if contain else None


def _rotation_at(record: Record, now: datetime) -> datetime | None:
    rotation = record.rotation
    return rotation.due_at if rotation is not None and rotation.halt is None else None


def _ledger_at(record: Record, now: datetime) -> datetime | None:
    return min((debt.due_at for debt in record.ledger), default=None)


def _rescope_at(record: Record, now: datetime) -> datetime | None:
    grant = principals.stale(record)
    return None if grant is None else _delayed(record, Kind.RESCOPE, max(grant.due_at or now, now))


def _renew_at(record: Record, now: datetime) -> datetime | None:
    if record.standing is Standing.RETIRED:
        return None
    moment = min((version.renew_at for version in _versions(record) if version.renew_at is not None), default=None)
    return _delayed(record, Kind.RENEW, moment)


def _plan_at(record: Record, now: datetime) -> datetime | None:
    rotation = record.rotation
    if record.standing is not Standing.MANAGED or (rotation is not None and rotation.way is not Way.REPAIR):
        return None
    due = policy.due(record, now)
    if rotation is not None and not _ends_repair(rotation, due):
        return None
    if due.now:
        return now
    if due.starts_at is not None:
        return due.starts_at
    return now + LOOK_AGAIN if due.at is not None and due.at <= now else due.at


def _repair_at(record: Record, now: datetime) -> datetime | None:
    return now if _repair(record, now, None) is not None else None


def _alarm_at(record: Record, now: datetime) -> datetime | None:
    leaked = [mark.deadline for mark in record.leaks if not mark.told]
    expiring = alarm_at(record) if record.standing is Standing.MANAGED else None
    return min([*leaked, *([expiring] if expiring else [])], default=None)


_TIMES: tuple[Callable[[Record, datetime], datetime | None], ...] = (
    _asked_at,
    _rotation_at,
    _ledger_at,
    _rescope_at,
    _renew_at,
    _plan_at,
    _repair_at,
    _alarm_at,
)
