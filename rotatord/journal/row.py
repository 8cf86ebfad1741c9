"""What the journal indexes of a record, derived from the record alone. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from rotatord.lateness import next_level
from rotatord.lives import far_too_old
from rotatord.model import Owing, Record, Standing

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

NO_DEADLINE = 1 << 62  # sorts after every time
NO_TIME = -NO_DEADLINE  # and this before


def micros(moment: datetime) -> int:
    """Whole microseconds since 1970; exact, so that comparing numbers is comparing times."""
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def moment(number: int) -> datetime:
    """The inverse of :func:`micros`."""
    return _EPOCH + number * _MICROSECOND


class Row(NamedTuple):
    """The indexed columns of one record; times in microseconds since 1970."""

    name: str
    seq: int
    issuer: str
    due_at: int | None
    deadline: int  # when the credential stops working, or must have been replaced; NO_DEADLINE
    inspected_at: int | None  # only of quiet managed records: 0 when never inspected
    open: int
    halted: int
    owed: int
    late_at: int | None  # when the watchdog has to tell that its rotation is late


def row_of(record: Record) -> Row:
    """Everything that queries select and order by."""
    rotation = record.rotation
    return Row(
        name=record.name,
        seq=record.seq,
        issuer=record.spec.issuer,
        due_at=None if record.due_at is None else micros(record.due_at),
        deadline=min((micros(at) for at in _deadlines(record)), default=NO_DEADLINE),
        inspected_at=_inspected_at(record),
        open=int(rotation is not None),
        halted=int(rotation is not None and rotation.halt is not None),
        owed=sum(owed.owing is not Owing.DEAD for debt in record.ledger for owed in debt.owed),
        late_at=None if (late := next_level(record)) is None else micros(late[0]),
    )


def _deadlines(record: Record) -> Iterator[datetime]:
    rotation = record.rotation
    if rotation is None and record.standing is not Standing.MANAGED:
        return  # remembered only: nothing of it is ours to keep alive
    if record.current is not None and record.current.expires_at is not None:
        yield record.current.expires_at
    if record.current is not None and record.spec.policy.max_age is not None:
        yield record.current.minted_at + far_too_old(record.spec.policy.max_age)
    if rotation is not None and rotation.hard_deadline is not None:
        yield rotation.hard_deadline
    if record.leaks:
        held = [record.current] if rotation is None else [record.current, rotation.base, rotation.new]
        generations = {version.generation for version in held if version is not None}
        yield from (leak.deadline for leak in record.leaks if leak.generation in generations)


def _inspected_at(record: Record) -> int | None:
    if record.standing is not Standing.MANAGED or record.rotation is not None or record.ledger:
        return None
    return 0 if record.inspected_at is None else micros(record.inspected_at)
