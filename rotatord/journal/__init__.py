"""The durable memory, in memory or in SQL. The only way in is :func:`open_journal`."""

from __future__ import annotations

from rotatord.clock import Clock, Ids
from rotatord.ports import Journal

LEASE_SECONDS = 15.0
_SQLITE = "sqlite:///"


def open_journal(url: str, clock: Clock, ids: Ids, *, read_only: bool = False, lease_seconds: float = LEASE_SECONDS) -> Journal:
    """Open ``memory:`` or ``sqlite:///PATH`` (an absolute path has four slashes), made and migrated where needed.

    ``read_only`` looks at a journal without its lock, daemon or no daemon; everything that writes then raises
    JournalUnavailable. Raises JournalUnavailable (held by another daemon, unreadable), JournalTooNew, and ValueError for
    a URL of another kind.
    """
    if url == "memory:":
        from rotatord.journal.memory import MemoryJournal  # noqa: PLC0415 - each kind costs only who uses it

        return MemoryJournal(clock, ids, lease_seconds=lease_seconds)
    if url.startswith(_SQLITE) and url != _SQLITE:
        from rotatord.journal.sqlite_journal import open_sqlite  # noqa: PLC0415 - likewise: SQLAlchemy is not cheap to import

        return open_sqlite(url.removeprefix(_SQLITE), clock, ids, read_only=read_only, lease_seconds=lease_seconds)
    kind = url.partition(":")[0]  # never the whole URL: it may hold a password
    raise ValueError(f"a journal is memory:, sqlite:///PATH or postgresql://HOST/DATABASE, not {kind}:")
