"""Secret stores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from rotatord.model import Destination, Marker, Slot
from rotatord.secret import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a slot holds. ``token`` is the compare token of exactly this state, also of an empty slot.

    ``fields`` are the secret's fields as far as they can be read back (None: empty, or a form that only a person or a
    template can read). ``marker`` is ours or None. ``intact`` says that the stored content is byte for byte what the
    marker's write put there (the fingerprint is the core's to compare where ``fields`` is given).
    """

    token: str
    empty: bool
    fields: Secret | None = None
    marker: Marker | None = None
    intact: bool = True


class Backend(Protocol):
    """A secret store. A destination's current slot is what readers see; pending and previous hold all fields verbatim."""

    timeout: float

    def check(self, destination: Destination) -> Sequence[str]:
        """Static problems of an address, as sentences; no I/O."""
        ...

    def read(self, destination: Destination, slot: Slot) -> Held:
        """Never a cached or replicated copy that may be older than our own last write. A missing document is empty."""
        ...

    def write(self, destination: Destination, slot: Slot, fields: Secret, marker: Marker, expect: str) -> str:
        """Replace the slot in one atomic write if its token is still ``expect`` (else Conflict) and return the new token.
        Every write changes the token, also when the content is the same. Durable when it returns."""
        ...

    def clear(self, destination: Destination, slot: Slot, expect: str) -> str:
        """Make the slot empty, its old values unrecoverable, if its token is still ``expect`` (else Conflict).
        Changes the token, also of a slot that is empty already. Current slots are cleared only by ``retire``."""
        ...


@runtime_checkable
class BackendPreflight(Protocol):
    """Read-only look at the live store: reachable, readable, writable? Sentences; empty is fine.

    ``home``: whether its pending and previous slots are used too. Where they are not, no right to them may be asked for.
    """

    def preflight(self, destination: Destination, *, home: bool = True) -> Sequence[str]: ...
