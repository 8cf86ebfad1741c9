"""The durable memory, in memory or in SQL. The only way in is :func:`open_journal`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from rotatord.clock import Clock, Ids
from rotatord.errors import JournalUnavailable
from rotatord.ports import Journal

LEASE_SECONDS = 15.0
_SQLITE = "sqlite:///"
_POSTGRESQL = ("postgresql://", "postgresql+psycopg://")


def open_journal(
    url: str | Callable[[], str], clock: Clock, ids: Ids, *, read_only: bool = False, lease_seconds: float = LEASE_SECONDS
) -> Journal:
    """Open ``memory:``, ``sqlite:///PATH`` (an absolute path has four slashes) or ``postgresql://…``, made and migrated
    where needed. What may hold a password may be a callable: it is asked again for each connection.

    ``read_only`` looks at a journal without its lock, daemon or no daemon; everything that writes then raises
    JournalUnavailable. Raises JournalUnavailable (held by another daemon, unreadable), JournalTooNew, and ValueError for
    a URL of another kind.
    """
    if isinstance(url, str):
        return open_journal(partial(str, url), clock, ids, read_only=read_only, lease_seconds=lease_seconds)
    asked, url = url, url()
    if url == "memory:":
        from rotatord.journal.memory import MemoryJournal  # noqa: PLC0415 - each kind costs only who uses it

        return MemoryJournal(clock, ids, lease_seconds=lease_seconds)
    if url.startswith(_SQLITE) and url != _SQLITE:
        from rotatord.journal.sqlite_journal import open_sqlite  # noqa: PLC0415 - likewise: SQLAlchemy is not cheap to import

        return open_sqlite(url.removeprefix(_SQLITE), clock, ids, read_only=read_only, lease_seconds=lease_seconds)
    if is_postgresql(url):
        try:
            from rotatord.journal.postgresql_journal import open_postgresql  # noqa: PLC0415 - likewise
        except ImportError:
            raise JournalUnavailable("a journal in PostgreSQL needs psycopg: install rotatord[postgresql]") from None
        return open_postgresql(asked, clock, ids, read_only=read_only, lease_seconds=lease_seconds)
    kind = url.partition(":")[0]  # never the whole URL: it may hold a password
    raise ValueError(f"a journal is memory:, sqlite:///PATH or postgresql://HOST/DATABASE, not {kind}:")


def is_postgresql(url: str) -> bool:
    """Whether the journal at this URL is one that several processes may share."""
    return url.startswith(_POSTGRESQL)
