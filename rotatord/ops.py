"""What a unit of work may do to the world, as values: outside calls and commits.

Units are generators that *yield* each :class:`Call` and each :class:`Commit` and are sent the result. The saga carries
them out; the simulator does the same and injects crashes, lost answers and late effects at every one of them, without a
line of test code in the units themselves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from rotatord.clock import Clock, Ids, Instant, elapsed
from rotatord.errors import OutsideError
from rotatord.model import Destination, Event, JsonMap, Marker, Notice, Record, Rotation, Slot, Spec, Version
from rotatord.pauses import Pauses
from rotatord.ports import NOTHING, Backend, Consumer, Health, Held, Issuer, Plugins
from rotatord.replacing import replace
from rotatord.secret import Fingerprinter, Secret


@dataclass(frozen=True, slots=True)
class Call:
    """One call to the outside. ``effect``: it changes something there. ``issuer``: whose rate budget it uses."""

    point: str
    run: Callable[[], Any]
    timeout: float
    effect: bool = False
    issuer: str = ""


@dataclass(frozen=True, slots=True)
class Commit:
    """One transaction of the journal; the answer is the stored record. ``given``: facts that must still be as they were
    read."""

    record: Record
    events: tuple[Event, ...] = ()
    notices: tuple[Notice, ...] = ()
    given: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Done:
    """The unit did what there was to do; look again at once."""

    record: Record


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before ``until``, and why. ``record`` may carry what was seen meanwhile."""

    record: Record
    until: datetime
    why: str


@dataclass(frozen=True, slots=True)
class Failed:
    """A verdict, not an error: the step cannot succeed. The saga takes the table's failure edge."""

    record: Record
    why: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Stopped for a person. ``code`` is listed in docs/halts.md; ``read_only`` makes the whole installation read only."""

    record: Record
    code: str
    why: str
    read_only: bool = False


Result = Done | Wait | Failed | Stop
Op = Call | Commit
Unit = Generator[Op, Any, Result]


@dataclass(frozen=True, slots=True)
class Context:
    """All that a unit may use. Times come from ``clock``, ids from ``ids``; plugins are reached through yielded calls."""

    installation: str
    plugins: Plugins
    clock: Clock
    ids: Ids
    fingerprinter: Fingerprinter
    paused: Pauses  # while nothing new may start or die
    rekeyed: bool = False  # the fingerprint key was replaced: what it cannot compare any more is known by its marker
    gate: Any = None  # gates.Gate; typed there to keep this module free of it
    # What shows, before a version is published, that we ourselves could go on with it; nothing where it is not our own.
    trials: Callable[[Spec, Secret, str], Sequence[Call]] = lambda _spec, _fields, _label: ()
    actor: str = "rotatord"
    facts: JsonMap = field(default_factory=dict)

    def now(self) -> datetime:
        return self.clock.now()

    def instant(self) -> Instant:
        return self.clock.instant()

    def event(self, record: Record, action: str, outcome: str = "done", version: Version | None = None, **facts: Any) -> Event:
        """An event about this record; the journal gives it its sequence number."""
        rotation = record.rotation
        return Event(
            id=self.ids.new("evt"),
            time=self.now(),
            actor=self.actor,
            action=action,
            credential=record.name,
            outcome=outcome,
            version=version.label if version else "",
            rotation=rotation.id if rotation else "",
            reason=rotation.reason.value if rotation else "",
            evidence=facts,
        )

    def notice(self, record: Record, kind: str, text: str, **facts: Any) -> Notice:
        """A message for people about this record."""
        return Notice(id=self.ids.new("ntc"), kind=kind, credential=record.name, text=text, at=self.now(), facts=facts)

    def write_token(self, rotation: str, leg: int, slot: Slot, base: Version | None, fingerprint: str) -> str:
        """The idempotence token of a write: the same write repeated has the same token, another leg has another."""
        parts = (rotation, str(leg), slot.value, base.fingerprint if base else "", fingerprint)
        return hashlib.sha256("|".join(parts).encode()).hexdigest()[:32]

    def marker(self, record: Record, version: Version, slot: Slot) -> Marker:
        """What is written beside ``version`` in ``slot`` during the present leg."""
        rotation = open_rotation(record)
        token = self.write_token(rotation.id, rotation.leg, slot, rotation.base, version.fingerprint)
        return Marker(
            installation=self.installation,
            credential=record.name,
            rotation=version.rotation,
            generation=version.generation,
            ref=version.ref,
            fingerprint=version.fingerprint,
            write=token,
        )


def open_rotation(record: Record) -> Rotation:
    """The record's open rotation; there must be one."""
    assert record.rotation is not None, f"{record.name} has no open rotation"
    return record.rotation


def with_rotation(record: Record, **changes: Any) -> Record:
    """The record with its open rotation changed."""
    return replace(record, rotation=replace(open_rotation(record), **changes))


def commit(
    record: Record, *events: Event, notices: tuple[Notice, ...] = (), given: Mapping[str, str | None] = NOTHING
) -> Generator[Op, Any, Record]:
    """Store the record; returns it as stored."""
    stored: Record = yield Commit(record, events, notices, given)
    return stored


# --- calls to backends: every read and write of a slot goes through these ------------------------------------------


def read(backend: Backend, destination: Destination, slot: Slot) -> Generator[Op, Any, Held]:
    """What the slot holds now."""
    held: Held = yield Call(f"backend.read.{slot.value}", lambda: backend.read(destination, slot), backend.timeout)
    return held


def write(
    backend: Backend, destination: Destination, slot: Slot, fields: Secret, marker: Marker, expect: str
) -> Generator[Op, Any, str]:
    """Compare-and-set one slot."""
    token: str = yield Call(
        f"backend.write.{slot.value}",
        lambda: backend.write(destination, slot, fields, marker, expect),
        backend.timeout,
        effect=True,
    )
    return token


def clear(backend: Backend, destination: Destination, slot: Slot, expect: str) -> Generator[Op, Any, str]:
    """Compare-and-clear one slot."""
    token: str = yield Call(
        f"backend.clear.{slot.value}", lambda: backend.clear(destination, slot, expect), backend.timeout, effect=True
    )
    return token


def ask(name: str, issuer: Issuer, method: str, run: Callable[[], Any], *, effect: bool = False) -> Generator[Op, Any, Any]:
    """One call to an issuer, counted against its budget."""
    return (yield Call(f"issuer.{method}", run, issuer.timeout, effect=effect, issuer=name))


def tell(
    consumer: Consumer | Health, point: str, run: Callable[[], Any], *, effect: bool = False, name: str = ""
) -> Generator[Op, Any, Any]:
    """One call to a consumer or a health check. ``name``: the consumer's, put before what goes wrong with it."""
    try:
        return (yield Call(point, run, consumer.timeout, effect=effect))
    except OutsideError as error:
        if name:
            error.args = (f"consumer {name}: {error}",)
        raise


# --- what a slot holds ---------------------------------------------------------------------------------------------


def parameters_of(version: Version, spec: Spec) -> JsonMap:
    """Where a version lives at its issuer: what it was minted with, whatever is declared by now. Asking elsewhere would
    find it gone although it lives."""
    return spec.parameters if version.parameters is None else version.parameters


def same(marker: Marker | None, version: Version) -> bool:
    """Whether a marker names this version."""
    return marker is not None and marker.generation == version.generation and marker.fingerprint == version.fingerprint


def holds(ctx: Context, held: Held, version: Version, names: tuple[str, ...], reference: Secret | None = None) -> bool:
    """Whether a slot holds ``version``: by its value where all fields can be read back, else by its marker, the
    backend's word that the content is untouched, and the fields of ``reference`` as far as both are known."""
    if held.empty or (held.marker is not None and held.marker.installation != ctx.installation):
        return False
    if held.fields is not None and held.fields.names >= frozenset(names):
        exact = Secret({name: held.fields.reveal(name) for name in names})
        if ctx.fingerprinter.fingerprint(exact) == version.fingerprint:
            return True
        return ctx.rekeyed and held.intact and same(held.marker, version)
    if not held.intact or not same(held.marker, version):
        return False
    if reference is None or held.fields is None:
        return True
    common = held.fields.names & reference.names
    return all(held.fields.reveal(name) == reference.reveal(name) for name in common)


def fields_of(held: Held, names: tuple[str, ...]) -> Secret | None:
    """The complete secret of a slot, or None."""
    if held.empty or held.fields is None or not held.fields.names >= frozenset(names):
        return None
    return Secret({name: held.fields.reveal(name) for name in names})


def passed(ctx: Context, start: Instant | None, duration: timedelta) -> tuple[bool, Instant]:
    """Whether ``duration`` has passed on both clocks, and the moment that it counts from: clocks that disagree, or no
    start at all, begin the wait anew."""
    now = ctx.instant()
    if not duration:
        return True, start or now
    gone = None if start is None else elapsed(start, now, duration)
    return (False, now) if gone is None or start is None else (gone, start)


def left(ctx: Context, start: Instant, duration: timedelta) -> datetime:
    """When the wait will be over, by our wall clock."""
    return ctx.now() + max(duration - timedelta(seconds=ctx.instant().monotonic - start.monotonic), timedelta(milliseconds=10))


def soon(ctx: Context, seconds: float) -> datetime:
    """``seconds`` from now."""
    return ctx.now() + timedelta(seconds=seconds)
