"""A secret store in memory: slots with compare tokens, and everything that people do to stores behind our back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from rotatord.document import check_keys, content_digest, from_document, to_document
from rotatord.errors import Conflict
from rotatord.model import Destination, Marker, Slot
from rotatord.ports import Held
from rotatord.secret import Secret
from rotatord.testing.book import Book, Fake
from rotatord.testing.clock import VirtualClock

Place = tuple[str, Slot]
UNREADABLE = Secret({"unreadable": "what a reader makes of a document that somebody broke"})


@dataclass(frozen=True, slots=True)
class Kept:
    """What lies in one slot. ``document`` None: cleared or never written."""

    token: str
    document: Mapping[str, str] | None = None
    marker: Marker | None = None
    written: Secret | None = None  # what the marker's write was given
    digest: str = ""  # of the document that it made of it

    @property
    def intact(self) -> bool:
        return self.document is None or self.marker is None or content_digest(self.document) == self.digest


@dataclass(frozen=True, slots=True)
class Shown:
    """What a reader sees at a destination. ``label``: of the marker, as a companion key would say."""

    fields: Secret | None
    label: str | None


_NOTHING = Shown(None, None)


@dataclass(frozen=True, slots=True)
class Showing:
    """One value that was readable at a current slot, from when on."""

    at: datetime
    destination: str
    shown: Shown


class FakeBackend(Fake):
    """One store. Everything ever readable at a current slot stays in ``showings``, with its time.

    ``recovers``: False for a store whose current slots cannot be read back as fields; markers and ``intact`` still can.
    """

    def __init__(
        self,
        clock: VirtualClock,
        *,
        name: str = "store",
        book: Book | None = None,
        timeout: float = 5.0,
        recovers: bool = True,
        call_seconds: float = 0.0,
    ) -> None:
        super().__init__(clock, name, book, call_seconds)
        self.timeout = timeout
        self.recovers = recovers
        self.problems: tuple[str, ...] = ()  # what preflight answers
        self.showings: list[Showing] = []
        self._slots: dict[Place, Kept] = {}
        self._destinations: dict[str, Destination] = {}
        self._now: dict[str, Shown] = {}
        self._past: list[dict[Place, Kept]] = []
        self._writes = 0
        self._lives = 1  # of the whole store; a wiped or restored one gives tokens never seen before

    # --- the port ------------------------------------------------------------------------------------------------

    def check(self, destination: Destination) -> Sequence[str]:
        problems = check_keys(destination)
        return problems if destination.address else ["an address needs at least one part", *problems]

    def preflight(self, destination: Destination, *, home: bool = True) -> Sequence[str]:
        self._enter("preflight", destination=destination.id)
        return self.problems

    def read(self, destination: Destination, slot: Slot) -> Held:
        self._enter("read", destination=destination.id, slot=slot.value)
        with self._lock:
            kept = self._kept(destination, slot)
            if kept.document is None:
                return Held(token=kept.token, empty=True)
            return Held(
                token=kept.token,
                empty=False,
                fields=_fields(destination, slot, kept) if self.recovers or slot is not Slot.CURRENT else None,
                marker=kept.marker,
                intact=kept.intact,
            )

    def write(self, destination: Destination, slot: Slot, fields: Secret, marker: Marker, expect: str) -> str:
        self._enter("write", destination=destination.id, slot=slot.value, ref=marker.ref, label=marker.label)
        values = fields.reveal_all()
        document = to_document(destination, values, marker.label) if slot is Slot.CURRENT else values
        with self._lock:
            self._compare(destination, slot, expect)
            kept = Kept(self._token(), document, marker, fields, content_digest(document))
            return self._put(destination, slot, kept)

    def clear(self, destination: Destination, slot: Slot, expect: str) -> str:
        self._enter("clear", destination=destination.id, slot=slot.value)
        with self._lock:
            self._compare(destination, slot, expect)
            return self._put(destination, slot, Kept(self._token()))

    # --- what readers see ----------------------------------------------------------------------------------------

    def shown(self, destination: Destination, at: datetime | None = None) -> Shown:
        """What a reader of the current slot sees now, or saw ``at`` a moment. Needs no permission, is not recorded."""
        with self._lock:
            if at is None:
                return self.shows(destination.id)
            seen = [each for each in self.showings if each.destination == destination.id and each.at <= at]
            return seen[-1].shown if seen else _NOTHING

    def shows(self, place: str) -> Shown:
        """What a reader of the current slot sees now, by the destination's id."""
        return self._now.get(place, _NOTHING)

    def changed(self, destination: Destination) -> datetime:
        """When the current slot last began to show what it shows."""
        with self._lock:
            return max((each.at for each in self.showings if each.destination == destination.id), default=self.clock.outside())

    def document(self, destination: Destination, slot: Slot = Slot.CURRENT) -> dict[str, str] | None:
        """The stored keys and texts, or None."""
        with self._lock:
            document = self._kept(destination, slot).document
            return None if document is None else dict(document)

    def holds(self, secret: Secret) -> list[str]:
        """The destinations whose current slot shows exactly this secret now."""
        with self._lock:
            return [place for place in self._destinations if self.shows(place).fields == secret]

    def raw(self) -> bytes:
        """Everything that the store keeps, as a thief of its disk would find it."""
        with self._lock:
            slots = {f"{place}/{slot.value}": kept.document for (place, slot), kept in self._slots.items()}
            return json.dumps(slots, ensure_ascii=False).encode()

    # --- what happens behind our back --------------------------------------------------------------------------------

    def tamper(
        self,
        destination: Destination,
        document: Mapping[str, str],
        *,
        slot: Slot = Slot.CURRENT,
        keep_marker: bool = True,
    ) -> None:
        """Somebody edits the stored keys by hand. Without ``keep_marker`` it is their document, not ours."""
        with self._lock:
            old = self._kept(destination, slot)
            ours = old if keep_marker else Kept("")
            self._put(destination, slot, replace(ours, token=self._token(), document=dict(document)))

    def lose(self, destination: Destination, slot: Slot = Slot.CURRENT) -> None:
        """Somebody deletes one document."""
        with self._lock:
            self._put(destination, slot, Kept(self._token()))

    def restore_older(self, steps: int = 1) -> None:
        """The whole store is restored as it was ``steps`` writes ago."""
        with self._lock:
            self._replace(self._past[-min(steps, len(self._past))] if self._past else {})

    def wipe(self) -> None:
        """The whole store is lost and comes back empty."""
        with self._lock:
            self._replace({})

    def _replace(self, slots: dict[Place, Kept]) -> None:
        self._past.append(dict(self._slots))
        self._lives += 1
        self._slots = {}
        for place, kept in slots.items():
            self._slots[place] = replace(kept, token=self._token())
        for destination in self._destinations.values():
            self._show(destination)

    def _kept(self, destination: Destination, slot: Slot) -> Kept:
        return self._slots.get((destination.id, slot)) or Kept(f"{self._lives}.0")

    def _compare(self, destination: Destination, slot: Slot, expect: str) -> None:
        if self._kept(destination, slot).token != expect:
            raise Conflict(f"{destination.id} {slot.value} was changed meanwhile")

    def _token(self) -> str:
        self._writes += 1
        return f"{self._lives}.{self._writes}"

    def _put(self, destination: Destination, slot: Slot, kept: Kept) -> str:
        self._past.append(dict(self._slots))
        self._destinations[destination.id] = destination
        self._slots[destination.id, slot] = kept
        if slot is Slot.CURRENT:
            self._show(destination)
        return kept.token

    def _show(self, destination: Destination) -> None:
        kept = self._kept(destination, Slot.CURRENT)
        shown = _NOTHING
        if kept.document is not None:
            readable = kept.written if kept.intact else None
            fields = readable or _fields(destination, Slot.CURRENT, kept) or UNREADABLE
            shown = Shown(fields, kept.marker.label if kept.marker else None)
        self._now[destination.id] = shown
        self.showings.append(Showing(self.clock.outside(), destination.id, shown))


def _fields(destination: Destination, slot: Slot, kept: Kept) -> Secret | None:
    """The fields that a document shows: all that were written, or as much as its keys name when it is not ours."""
    if kept.document is None:
        return None
    names = kept.written.names if kept.written else None
    if slot is not Slot.CURRENT:
        values = {key: value for key, value in kept.document.items() if value}
        return Secret(values) if values else None
    found = from_document(destination, kept.document, names)
    return Secret(found) if found else None
