"""The tables of a SQL journal, as SQLAlchemy sees them. Changing one needs a migration.

``credentials`` is narrow and holds what is searched by; the bodies lie apart in ``records``, so that scheduling never
rewrites them. All times are microseconds since 1970; flags are 0 or 1.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, SmallInteger, String, Table, Text, text

from rotatord.journal.row import NO_DEADLINE

METADATA = MetaData()

# One row. ``epoch`` counts the openings for writing, ``credentials`` the records, of which none is ever deleted;
# ``event_seq`` was the last one given when events were last pruned.
JOURNAL = Table(
    "journal",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, nullable=False),
    Column("event_seq", BigInteger, nullable=False),
    Column("credentials", BigInteger, nullable=False),
)

CREDENTIALS = Table(
    "credentials",
    METADATA,
    Column("name", String, primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("issuer", String, nullable=False),
    Column("due_at", BigInteger),
    Column("deadline", BigInteger, nullable=False),
    Column("inspected_at", BigInteger),
    Column("open", SmallInteger, nullable=False),
    Column("halted", SmallInteger, nullable=False),
    Column("owed", Integer, nullable=False),
    Column("late_at", BigInteger),
    Column("ready", SmallInteger, nullable=False),  # known to be due; see claims.py
    sqlite_with_rowid=False,
)

_C = CREDENTIALS.c


def _index(name: str, *columns: Column[int] | Column[str], where: str) -> Index:
    return Index(name, *columns, sqlite_where=text(where), postgresql_where=text(where))


_index("credentials_due", _C.ready, _C.due_at, where="due_at IS NOT NULL")
_index("credentials_ready", _C.issuer, _C.deadline, _C.due_at, where="ready = 1")
_index("credentials_deadline", _C.deadline, where=f"deadline < {NO_DEADLINE}")
_index("credentials_inspected", _C.inspected_at, where="inspected_at IS NOT NULL")
_index("credentials_open", _C.open, where="open = 1")
_index("credentials_halted", _C.halted, where="halted = 1")
_index("credentials_late", _C.late_at, where="late_at IS NOT NULL")
_index("credentials_owed", _C.owed, where="owed > 0")

RECORDS = Table(
    "records",
    METADATA,
    Column("name", String, primary_key=True),
    Column("body", Text, nullable=False),
)

EVENTS = Table(
    "events",
    METADATA,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("id", String, nullable=False, unique=True),
    Column("time", BigInteger, nullable=False),
    Column("credential", String, nullable=False),
    Column("body", Text, nullable=False),
    Index("events_credential", "credential", "seq"),
)

NOTICES = Table(
    "notices",
    METADATA,
    Column("position", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("id", String, nullable=False, unique=True),
    Column("at", BigInteger, nullable=False),
    Column("try_at", BigInteger, nullable=False),  # 0: at once
    Column("attempts", Integer, nullable=False),
    Column("done", SmallInteger, nullable=False),
    Column("body", Text, nullable=False),
    Index("notices_at", "at"),
)

_index("notices_try", NOTICES.c.try_at, where="done = 0")

FACTS = Table(
    "facts",
    METADATA,
    Column("key", String, primary_key=True),
    Column("value", Text, nullable=False),
)

# Who works on what, where several processes may: a row for each record, beside it one for each chore (``chore:NAME``) and
# each process that is alive (``replica:OWNER:MARK``). No owner: free. ``expires_at`` goes by the database's clock.
LEASES = Table(
    "leases",
    METADATA,
    Column("name", String, primary_key=True),
    Column("owner", String, nullable=False),
    Column("fence", BigInteger, nullable=False),  # only rises
    Column("expires_at", BigInteger, nullable=False),
)

_index("leases_owner", LEASES.c.owner, where="owner <> ''")
