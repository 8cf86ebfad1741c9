"""What strict fakes of HTTP services share: a request as it came, what goes back, and what a connection may suffer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Wire:
    """A request as it came."""

    method: str
    path: str  # with the query
    headers: Mapping[str, str]  # lower-case names
    body: bytes


@dataclass(frozen=True)
class Reply:
    """What goes back."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Dropped:
    """Do it, then hang up without an answer."""


@dataclass(frozen=True)
class Late:
    """Hang up (after ``held`` real seconds), and do it only when ``seconds`` have passed on the account's clock."""

    seconds: float
    held: float = 0.0


@dataclass(frozen=True)
class Hangs:
    """Do nothing and answer nothing for so many real seconds, then hang up."""

    seconds: float = 60.0


@dataclass(frozen=True)
class Slow:
    """Do it; the answer takes so many real seconds to arrive, a little at a time."""

    seconds: float


@dataclass(frozen=True)
class Garbled:
    """Do it, and answer with something that is not what was promised."""

    body: bytes = b"<html><body>502 Bad Gateway</body></html>"
    status: int = 200
    content_type: str = "text/html"


@dataclass(frozen=True)
class CutOff:
    """Do it, promise the whole answer, send half of it and hang up."""
