"""What plugins may offer about our own credentials: those that *we* speak to an issuer or a backend with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol, runtime_checkable

from rotatord.model import Destination, JsonMap

Secrets = Callable[[JsonMap | str], str]  # resolves a reference


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """What can be seen of how long one credential of our own still works."""

    place: str  # in the settings: "auth.token"
    ends_at: datetime | None = None  # None: it has no end, or nobody can tell
    lasts: timedelta | None = None  # from beginning to end, where that is known
    renewed: bool = False  # somebody prolongs or replaces it well before its end, as long as all is well
    unknown: str = ""  # why nobody can tell; "" where it can be told
    danger: str = ""  # what may end it before, in words


@runtime_checkable
class Empowered(Protocol):
    """An issuer or a backend whose own credential may be replaced while it runs. All methods are read-only at the other
    side, but for a login of their own that they end again."""

    def works_with(self, secret: Secrets, needs: Sequence[Any]) -> Sequence[str]:
        """Whether everything that we do here could be done with what ``secret`` makes of the references in our settings,
        asked with exactly that and nothing remembered. ``needs``: ``(scope, parameters)`` of each credential of an issuer,
        ``(destination, home)`` of each destination of a backend. Sentences; empty is fine. A refusal is a sentence; raises
        Retryable where it cannot be told now."""
        ...

    def take_up(self) -> None:
        """Forget what was made of our references before (a login, a session): from now on everything is done with what they
        lead to. Where that does not work the former is kept. Raises OutsideError."""
        ...


@runtime_checkable
class TellsOwnLife(Protocol):
    """A plugin that can look how long our own credentials there still work, or say that it cannot."""

    def own_life(self) -> Sequence[Life]:
        """One for each. Read-only. Raises OutsideError."""
        ...


@runtime_checkable
class Referable(Protocol):
    """A backend whose documents may be what a reference in the settings leads to."""

    def referred(self, destination: Destination, keys: Sequence[str]) -> Sequence[tuple[JsonMap, str]]:
        """The references that lead into this document, each with the key whose value it reads. ``keys``: of the document.
        Pure. A ``vault`` reference names no backend: it is this one. Raises Invalid or ValueError for a bad address."""
        ...
