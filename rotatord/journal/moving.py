"""Moving a journal from one database to another, whole: records, ledgers, events, notices and facts.

Two journals over the same credentials must never both be in force. So the copy bears the mark of a move that has not ended
until the original bears the mark of one that has; only then the copy's mark is taken away. Whatever instant a crash picks,
the original is in force before, the copy after, and in between neither: then the same command ends the move.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, create_engine, delete, func, insert, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from rotatord.clock import Ids
from rotatord.errors import JournalUnavailable, Refused
from rotatord.journal.codec import EVENTS as EVENT_TEXTS
from rotatord.journal.marks import ARRIVING, AWAY, FACT, NO_NUMBER, Move, NotInForce, read_move
from rotatord.journal.migrations import FACT as SERVES
from rotatord.journal.migrations import HEAD
from rotatord.journal.row import micros
from rotatord.journal.tables import CREDENTIALS, EVENTS, FACTS, JOURNAL, LEASES, METADATA
from rotatord.model import Event

_ROWS = 500
_LOCK_WRITERS = "SELECT event_seq FROM journal FOR UPDATE"
_MOVED = tuple(table for table in METADATA.sorted_tables if table not in (JOURNAL, LEASES))  # leases die with their owners
_NOT_OF_ITS_SCHEMA = FACTS.c.key != SERVES  # what says of its own tables who can read them is no content


@dataclass(slots=True)
class End:
    """One of the two journals, opened so that nobody else has it."""

    name: str
    connection: Connection
    begin: str  # the statement that keeps those out who write
    revision: str  # of the schema, or the mark that stands there
    move: Move | None = None  # the last one that it took part in
    shared: bool = False  # its leases are rows


Place = Callable[[], AbstractContextManager[End]]


def moving(source: Place, target: Place, *, actor: str, now: datetime, ids: Ids) -> Iterator[str]:
    """Move, one stage at a time; each is told when it is durable. Who stops here and there may begin again at any time.

    Raises Refused (one is in use, the target holds something), JournalUnavailable or JournalTooNew.
    """
    with source() as origin, target() as goal:
        if origin.revision == AWAY:
            yield from _ended(origin, goal)
            return
        if goal.revision == AWAY:
            raise Refused(f"{goal.name} was moved away from there: name an empty place, or remove what is left there")
        if goal.revision == ARRIVING and goal.move is not None and goal.move.origin != origin.name:
            raise Refused(f"a move from {goal.move.origin} to {goal.name} has not ended: end that one first")
        if goal.revision == ARRIVING and (goal.move is None or goal.move.schema != HEAD):
            raise Refused(f"a move to {goal.name} was begun by another version of rotatord: remove what is left there")
        if goal.revision == HEAD and _holds(goal):
            raise Refused(f"{goal.name} holds a journal already, {_holds(goal)}: name an empty place")
        if not _holds(origin):
            raise Refused(f"{origin.name} holds nothing that could be moved")
        at = now.isoformat(timespec="seconds")
        move = Move(id=ids.new("move"), origin=origin.name, to=goal.name, at=at, event_seq=_last(origin), schema=HEAD)
        _copy(origin, goal, move)
        goal.connection.exec_driver_sql(goal.begin)
        yield f"copied {_holds(goal)}"
        _compare(origin, goal)
        move = _tell(goal, move, actor, now, ids)
        goal.connection.exec_driver_sql(goal.begin)
        yield "compared: row by row the same"
        _mark(origin, AWAY, move, NO_NUMBER)
        yield f"{origin.name} is not in force any more"
        _mark(goal, HEAD, move, move.event_seq)
        yield f"{goal.name} is in force"


def _ended(origin: End, goal: End) -> Iterator[str]:
    """The move that had come to its last stage."""
    move = origin.move
    if move is None or goal.move is None or goal.move.id != move.id:
        where = f" to {move.to} at {move.at}" if move else ""
        raise Refused(f"{origin.name} was moved{where}: there is nothing in force to be moved")
    if goal.revision == ARRIVING:
        _mark(goal, move.schema, move, move.event_seq)
    yield f"{goal.name} is in force"


# --- what is moved ---------------------------------------------------------------------------------------------------


def _copy(origin: End, goal: End, move: Move) -> None:
    """All rows, in one transaction, under the mark of a move that has not ended."""
    for table in (*reversed(_MOVED), LEASES):
        goal.connection.execute(delete(table).where(_NOT_OF_ITS_SCHEMA) if table is FACTS else delete(table))
    for table in _MOVED:
        for rows in _all(origin, table).partitions(_ROWS):
            goal.connection.execute(insert(table), [row._asdict() for row in rows])
    if goal.shared:
        free = select(CREDENTIALS.c.name, text("''"), text("0"), text("0"))
        goal.connection.execute(insert(LEASES).from_select(["name", "owner", "fence", "expires_at"], free))
        next_position = "(SELECT coalesce(max(position), 0) + 1 FROM notices)"
        goal.connection.execute(text(f"SELECT setval(pg_get_serial_sequence('notices', 'position'), {next_position}, false)"))
    epoch, credentials = origin.connection.execute(select(JOURNAL.c.epoch, JOURNAL.c.credentials)).one()
    goal.connection.execute(update(JOURNAL).values(epoch=epoch, credentials=credentials))
    _mark(goal, ARRIVING, move, NO_NUMBER)


def _compare(origin: End, goal: End) -> None:
    """Raises JournalUnavailable where what can be read back is not what was there."""
    for table in _MOVED:
        was, now = (_digest(_all(end, table)) for end in (origin, goal))
        if was != now:
            raise JournalUnavailable(
                f"{goal.name} holds other {table.name} than were written ({now[0]} rows for {was[0]}); "
                f"{origin.name} stays in force"
            )


def _digest(rows: Any) -> tuple[int, str]:
    count, digest = 0, hashlib.sha256()
    for row in rows:
        count += 1
        digest.update(repr(tuple(row)).encode())
    return count, digest.hexdigest()


def _all(end: End, table: Table) -> Any:
    """All rows in one order wherever they lie, a few at a time; without what only this journal has to know."""
    rows = select(table).order_by(*table.primary_key)
    if table is FACTS:
        rows = rows.where(FACTS.c.key != FACT, _NOT_OF_ITS_SCHEMA)
    return end.connection.execute(rows, execution_options={"yield_per": _ROWS})


def _tell(goal: End, move: Move, actor: str, now: datetime, ids: Ids) -> Move:
    """The last event of the original's numbers is that it was moved."""
    counted = {table.name: _count(goal, table) for table in _MOVED}
    evidence = {"from": move.origin, "to": move.to, **counted}
    event = Event(
        id=ids.new("evt"), time=now, actor=actor, action="journal.moved", credential="", outcome="done", evidence=evidence
    )
    told = replace(move, event_seq=move.event_seq + 1)
    goal.connection.execute(
        insert(EVENTS).values(seq=told.event_seq, id=event.id, time=micros(now), credential="", body=EVENT_TEXTS.encode(event))
    )
    _mark(goal, ARRIVING, told, NO_NUMBER)
    return told


def _mark(end: End, revision: str, move: Move, event_seq: int) -> None:
    """Put it in force or out of it, durably. A number that is lower than any refuses whoever still has it open."""
    end.connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
    end.connection.execute(update(JOURNAL).values(event_seq=event_seq))
    end.connection.execute(delete(FACTS).where(FACTS.c.key == FACT))
    end.connection.execute(insert(FACTS).values(key=FACT, value=move.text()))
    end.connection.commit()


def _holds(end: End) -> str:
    """What is in it, in words; empty for nothing at all."""
    counts = {table.name: _count(end, table) for table in _MOVED}
    if not any(counts.values()):
        return ""
    return ", ".join(f"{counts[name]} {name}" for name in ("credentials", "events", "notices"))


def _count(end: End, table: Table) -> int:
    counted = select(func.count()).select_from(table)
    return int(end.connection.execute(counted.where(_NOT_OF_ITS_SCHEMA) if table is FACTS else counted).scalar_one())


def _last(end: End) -> int:
    """The number of the last event, also of one that was pruned."""
    pruned = end.connection.execute(select(JOURNAL.c.event_seq)).scalar_one()
    return max(int(pruned), int(end.connection.execute(select(func.max(EVENTS.c.seq))).scalar_one() or 0))


# --- where it lies ---------------------------------------------------------------------------------------------------


def sqlite_place(path: str | Path, *, exists: bool = False) -> Place:
    """A file. ``exists``: it must be there."""
    return partial(_sqlite, Path(path).absolute(), exists)


def postgresql_place(url: Callable[[], str]) -> Place:
    """A database."""
    return partial(_postgresql, url)


@contextmanager
def _sqlite(path: Path, exists: bool) -> Iterator[End]:
    from rotatord.journal.sqlite import SqliteFile  # noqa: PLC0415 - each kind costs only who uses it

    if exists and not path.exists():
        raise Refused(f"there is no journal at {path}")
    file = SqliteFile(str(path), read_only=False)
    file.own()
    try:
        revision, move = _state(file.migrate)
        with closing(file.connect()) as raw, _connected(str(path), "sqlite://", raw) as connection:
            yield _opened(End(str(path), connection, "BEGIN IMMEDIATE", revision, move))
    finally:
        file.release()


@contextmanager
def _postgresql(url: Callable[[], str]) -> Iterator[End]:
    from rotatord.journal.postgresql import PostgresqlServer, parsed  # noqa: PLC0415 - likewise

    server = PostgresqlServer(url, read_only=False)
    parts = parsed(url())
    name = f"PostgreSQL {parts.get('host', 'localhost')}/{parts.get('dbname', parts.get('user', ''))}"
    revision, move = _state(server.prepare)
    with closing(server.connect(patient=True)) as raw:
        raw.autocommit = False
        with _connected(name, "postgresql+psycopg://", raw) as connection:
            end = _opened(End(name, connection, _LOCK_WRITERS, revision, move, shared=True))
            _refuse_company(connection)
            yield end


def _state(prepare: Callable[[], None]) -> tuple[str, Move | None]:
    try:
        prepare()
    except NotInForce as error:
        return error.revision, error.move
    return HEAD, None


@contextmanager
def _connected(name: str, url: str, raw: Any) -> Iterator[Connection]:
    engine = create_engine(url, creator=lambda: raw, poolclass=StaticPool)
    try:
        with engine.connect() as connection:
            yield connection
    except DBAPIError as error:  # its own text would quote the rows
        said = str(error.orig).strip().splitlines() or [type(error.orig).__name__]
        raise JournalUnavailable(f"{name}: {said[0]}") from None


def _opened(end: End) -> End:
    end.connection.exec_driver_sql(end.begin)
    if end.move is None:
        end.move = _noted(end)
    return end


def _noted(end: End) -> Move | None:
    found = end.connection.execute(select(FACTS.c.value).where(FACTS.c.key == FACT)).scalar_one_or_none()
    return read_move(found)


def _refuse_company(connection: Connection) -> None:
    """Raises Refused where somebody is at work with this database, or is just starting."""
    from rotatord.journal.postgresql import STARTING  # noqa: PLC0415
    from rotatord.journal.postgresql_leases import NOW  # noqa: PLC0415

    alone = connection.exec_driver_sql(STARTING, {"what": "configuration"}).scalar_one()
    held = select(func.count()).where(LEASES.c.owner != "", LEASES.c.expires_at > text(NOW))
    at_work = connection.scalar(held.where(LEASES.c.name.not_like("chore:%")))  # those outlive who did them by hours
    if not alone or at_work:
        raise Refused(
            "a daemon works with this database: stop all of them and try again (one that was killed counts until its lease is "
            "over: 15 seconds, or what `database: {lease: …}` says)"
        )
