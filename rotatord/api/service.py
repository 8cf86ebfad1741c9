"""What the API and the command line may ask of a running daemon. Blocking, thread-safe, never a secret value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from rotatord.commands import Command
from rotatord.model import Event, JsonMap, Pause, Record
from rotatord.own_used import Told
from rotatord.ports import Amendment


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What holds for the whole installation. ``read_only`` and ``paused`` say why; empty: they are not. ``pause``: the same
    in parts."""

    installation: str
    version: str
    read_only: str = ""
    paused: str = ""
    pause: Pause | None = None
    own: tuple[JsonMap, ...] = ()  # how long that still works which we ourselves speak to issuers and backends with
    own_used: Told = field(default_factory=dict)  # how daemons get on with it


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one preflight look saw. ``ok`` None: it could not be told."""

    subject: str
    ok: bool | None
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stray:
    """Something live at an issuer that this journal neither made nor adopted. Reported, never touched."""

    issuer: str
    ref: str
    why: str
    credential: str = ""
    created_at: datetime | None = None
    expires_at: datetime | None = None


class Service(Protocol):
    """The daemon as people see it."""

    def now(self) -> datetime: ...

    def facts(self) -> Facts: ...

    def names(self) -> Sequence[str]: ...

    def record(self, name: str) -> Record:
        """Raises KeyError for an unknown name."""
        ...

    def records(self, *, after: str = "", limit: int = 500) -> Sequence[Record]:
        """A page of records by name, the names greater than ``after``."""
        ...

    def page(self, after: str, limit: int, damaged: dict[str, str]) -> tuple[Sequence[Record], str | None]:
        """The same, and where the next page starts; None on the last. What cannot be read is left out and put into
        ``damaged`` with why."""
        ...

    def request(self, command: Command) -> Record | None:
        """Do what a person asks: durable when it returns. None for a command about the installation.
        Raises Refused with the reason, KeyError, or JournalUnavailable; then nothing is changed."""
        ...

    def attempt(self, record: Record, command: Command) -> Amendment:
        """What ``request`` would make of this record, stored nowhere. Raises Refused."""
        ...

    def events(self, credential: str | None, *, after: int, limit: int) -> Sequence[Event]: ...

    def counts(self) -> dict[str, int]: ...

    def strays(self) -> Sequence[Stray]:
        """What the last sweep of every issuer found. Raises Retryable when a look failed: then nobody can tell."""
        ...

    def unlisted(self) -> Sequence[str]:
        """The issuers that cannot list what they have, or label nothing: of them nobody can tell."""
        ...

    def unreached(self) -> Mapping[str, str]:
        """The issuers that could not be looked at, and why: of them nobody can tell either."""
        ...

    def check(self, names: Sequence[str]) -> Sequence[Finding]:
        """Preflight against the live systems; read-only. No names: everything."""
        ...

    def preview(self, name: str) -> JsonMap:
        """What would be sent to make the next version: ``issuer``, and ``request`` or ``cannot_show``. Read-only."""
        ...

    def reload(self) -> Sequence[str]:
        """Load the configuration anew; its problems, one a line, and then the old one stays in force."""
        ...

    def alive(self) -> Sequence[Finding]:
        """Whether the threads turn. For restarts: nothing here may depend on the outside."""
        ...

    def ready(self) -> Sequence[Finding]:
        """Whether work can be done: journal writable, not read-only."""
        ...

    def metrics(self) -> bytes:
        """In the text format of Prometheus."""
        ...
