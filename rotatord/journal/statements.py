"""Every statement of a SQL journal, written in SQLAlchemy Core and compiled once per dialect.

They are then run on the driver's own cursor with named parameters: a commit costs a few statements of a few
microseconds, where going through SQLAlchemy each time would cost as much again as the database.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import BigInteger, Dialect, Integer, String, bindparam, delete, func, insert, literal_column, select, update
from sqlalchemy.sql import ColumnElement, Executable, Select

from rotatord.journal.row import NO_DEADLINE, Row
from rotatord.journal.tables import CREDENTIALS, EVENTS, FACTS, JOURNAL, LEASES, NOTICES, RECORDS

_C, _R, _E, _N, _F, _J = CREDENTIALS.c, RECORDS.c, EVENTS.c, NOTICES.c, FACTS.c, JOURNAL.c


def _number(name: str) -> ColumnElement[int]:
    return bindparam(name, type_=BigInteger)


def _few(statement: Select[Any]) -> Select[Any]:
    """At most ``limit`` rows; SQLite's dialect would bind an offset of its own."""
    return statement.limit(bindparam("limit", type_=Integer)).offset(literal_column("0"))


def _counted(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return select(func.count()).select_from(CREDENTIALS).where(condition).scalar_subquery()


# Constants stand in the text: partial indexes apply only then, and nobody has to bind them.
_ZERO: ColumnElement[int] = literal_column("0", type_=Integer)
_ONE: ColumnElement[int] = literal_column("1", type_=Integer)
_NEVER: ColumnElement[int] = literal_column(str(NO_DEADLINE), type_=BigInteger)

_NAMED = _C.name == bindparam("key")
_ROW: dict[Any, Any] = {_C[name]: bindparam(name) for name in Row._fields if name != "name"}
_MOVING = ("name", "seq", "due_at")
_SLEEPING = (_C.ready == _ZERO, _C.due_at.is_not(None), _C.due_at <= _number("now"))
_CANDIDATE = (_C.deadline, _C.due_at, _C.name, _C.issuer)


class Statements:
    """The texts, for one dialect. ``insert_once`` is the dialect's insert, which knows ON CONFLICT."""

    def __init__(self, dialect: Dialect, insert_once: Callable[..., Any]) -> None:
        def text(statement: Executable) -> str:
            return str(statement.compile(dialect=dialect))  # type: ignore[attr-defined]

        last_event = select(func.max(_E.seq)).scalar_subquery()
        self.state = text(select(_J.epoch, _J.event_seq, func.coalesce(last_event, _ZERO)))
        self.open_epoch = text(update(JOURNAL).values(epoch=_J.epoch + _ONE))
        self.add_credentials = text(update(JOURNAL).values(credentials=_J.credentials + _number("more")))
        self.set_event_seq = text(update(JOURNAL).values(event_seq=_number("last")))

        self.insert_row = text(insert(CREDENTIALS).values(name=bindparam("name"), ready=_ZERO, **_by_name(Row._fields[1:])))
        self.insert_lease = text(
            insert(LEASES).values(
                name=bindparam("name"), owner=literal_column("''", type_=String), fence=_ZERO, expires_at=_ZERO
            )
        )
        self.insert_body = text(insert(RECORDS).values(name=bindparam("name"), body=bindparam("body")))
        self.update_row = text(
            update(CREDENTIALS).where(_NAMED, _C.seq == _number("expected")).values({**_ROW, _C.ready: _ZERO})
        )
        # Most commits move nothing but the due time: then no other index is touched.
        same = [_C[name].is_not_distinct_from(bindparam(name)) for name in Row._fields if name not in _MOVING]
        moved = {_C.seq: _number("seq"), _C.due_at: _number("due_at"), _C.ready: _ZERO}
        self.update_due = text(update(CREDENTIALS).where(_NAMED, _C.seq == _number("expected"), *same).values(moved))
        self.update_body = text(update(RECORDS).where(_R.name == bindparam("key")).values(body=bindparam("body")))

        self.body = text(select(_R.body).where(_R.name == bindparam("key")))
        self.body_if_due = text(
            select(_R.body)
            .select_from(RECORDS.join(CREDENTIALS, _C.name == _R.name))
            .where(_NAMED, _C.due_at <= _number("now"))
        )
        self.exists = text(select(_C.name).where(_NAMED))
        self.names = text(select(_C.name).order_by(_C.name))
        self.page = text(_few(select(_R.name, _R.body).where(_R.name > bindparam("after")).order_by(_R.name)))

        self._scheduling(text)
        self._events(text, insert_once)

    def _scheduling(self, text: Callable[[Executable], str]) -> None:
        self.sleeping_due = text(_few(select(*_CANDIDATE).where(*_SLEEPING)))
        some = _few(select(_C.name).where(*_SLEEPING))
        self.promote = text(update(CREDENTIALS).where(_C.name.in_(some)).values(ready=_ONE))
        self.next_ready_issuer = text(
            _few(select(_C.issuer).where(_C.ready == _ONE, _C.issuer > bindparam("after")).order_by(_C.issuer))
        )
        # "+ 0" keeps SQLite from the index of due times: this one is read in the order of deadlines.
        self.ready_of_issuer = text(
            _few(
                select(*_CANDIDATE)
                .where(_C.ready == _ONE, _C.issuer == bindparam("issuer"), _C.due_at + _ZERO <= _number("now"))
                .order_by(_C.deadline, _C.due_at, _C.name)
            )
        )
        self.next_sleeping = text(_earliest(_C.ready == _ZERO))
        self.next_ready = text(_earliest(_C.ready == _ONE))
        self.inspected = text(
            _few(select(_C.name).where(_C.inspected_at < _number("before")).order_by(_C.inspected_at, _C.name))
        )
        late = select(_C.name).where(_C.late_at <= _number("now")).order_by(_C.late_at, _C.name)
        self.late = text(_few(late))
        due = _counted((_C.ready == _ONE) & (_C.due_at <= _number("now")))
        sleeping_due = _SLEEPING[0] & _SLEEPING[1] & _SLEEPING[2]
        owed = select(func.coalesce(func.sum(_C.owed), _ZERO)).where(_C.owed > _ZERO).scalar_subquery()
        self.counts = text(
            select(
                _J.credentials,
                _counted(sleeping_due) + due,
                _counted(_C.open == _ONE),
                _counted(_C.halted == _ONE),
                owed,
                _counted((_C.deadline < _NEVER) & (_C.deadline <= _number("now"))),
            )
        )

    def _events(self, text: Callable[[Executable], str], insert_once: Callable[..., Any]) -> None:
        self.insert_event = text(
            insert_once(EVENTS)
            .values(_by_name(("seq", "id", "time", "credential", "body")))
            .on_conflict_do_nothing(index_elements=["id"])
        )
        self.events_after = text(_replay())
        self.events_of = text(_replay().where(_E.credential == bindparam("credential")))
        oldest = _few(select(_E.seq, _E.time).order_by(_E.seq)).subquery()
        old = select(oldest.c.seq).where(oldest.c.time < _number("before"))
        self.prune_events = text(delete(EVENTS).where(_E.seq.in_(old)))

        self.insert_notice = text(
            insert_once(NOTICES)
            .values(try_at=_ZERO, attempts=_ZERO, done=_ZERO, **_by_name(("id", "at", "body")))
            .on_conflict_do_nothing(index_elements=["id"])
        )
        # "+ 0" here too: the few that wait are sorted, instead of walking through all that were ever sent.
        self.notices = text(
            _few(
                select(_N.body, _N.attempts).where(_N.done == _ZERO, _N.try_at <= _number("now")).order_by(_N.position + _ZERO)
            )
        )
        known = _N.id == bindparam("key")
        self.notice_done = text(update(NOTICES).where(known).values(done=_ONE))
        self.notice_again = text(update(NOTICES).where(known).values(try_at=_number("again"), attempts=_N.attempts + _ONE))
        told = _few(select(_N.position).where(_N.done == _ONE, _N.at < _number("before")).order_by(_N.at))
        self.prune_notices = text(delete(NOTICES).where(_N.position.in_(told)))

        self.fact = text(select(_F.value).where(_F.key == bindparam("key")))
        self.delete_fact = text(delete(FACTS).where(_F.key == bindparam("key")))
        self.insert_fact = text(insert(FACTS).values(_by_name(("key", "value"))))


def _by_name(names: tuple[str, ...]) -> dict[str, Any]:
    return {name: bindparam(name) for name in names}


def _earliest(condition: ColumnElement[bool]) -> Select[Any]:
    """With the name, so that what is leased can be passed over."""
    later = _C.due_at > _number("after")
    return _few(select(_C.due_at, _C.name).where(condition, _C.due_at.is_not(None), later).order_by(_C.due_at))


def _replay() -> Select[Any]:
    return _few(select(_E.seq, _E.body).where(_E.seq > _number("after")).order_by(_E.seq))
