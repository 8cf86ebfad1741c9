"""Whose value a slot holds, seen from one record; and where the current version's value can be had."""

from __future__ import annotations

from collections.abc import Generator
from enum import StrEnum
from typing import Any

from rotatord.model import Marker, Record, Slot, Spec, Version
from rotatord.ops import Context, Op, clear, fields_of, holds, read
from rotatord.ports import Held
from rotatord.secret import Secret


class Kind(StrEnum):
    """What is in a destination, in relation to the record."""

    EMPTY = "missing"
    CURRENT = "current"  # what the record calls current
    NEW = "new"  # what the open rotation brings
    OLDER = "ours_older"  # a version of ours from before
    NEWER = "ours_newer"  # of ours, and unknown to this journal: the journal is behind
    FOREIGN = "foreign"  # not ours, or changed by hand
    OTHER = "other_installation"


def named(record: Record, marker: Marker) -> bool:
    """Whether a marker names this credential, by its present or an earlier name."""
    return marker.credential == record.name or marker.credential in record.formerly


def kind(ctx: Context, record: Record, held: Held, names: tuple[str, ...], reference: Secret | None = None) -> Kind:
    """Classify what a current slot holds."""
    if held.empty:
        return Kind.EMPTY
    marker = held.marker
    if marker is not None and marker.installation != ctx.installation:
        return Kind.OTHER
    new = record.rotation.new if record.rotation else None
    if new is not None and holds(ctx, held, new, names, reference):
        return Kind.NEW
    current = record.current
    if current is not None and holds(ctx, held, current, ctx.plugins.issuer(current.issuer).traits.fields):
        return Kind.CURRENT
    if marker is None or not named(record, marker) or not held.intact:
        return Kind.FOREIGN
    if marker.generation > record.generation:
        return Kind.NEWER  # whatever its fingerprint says: the key may be lost with the journal, and the content is as written
    fields = fields_of(held, names)
    if fields is not None and ctx.fingerprinter.fingerprint(fields) != marker.fingerprint and not ctx.rekeyed:
        return Kind.FOREIGN
    return Kind.OLDER


def fields_at(ctx: Context, spec: Spec, slot: Slot, version: Version) -> Generator[Op, Any, Secret | None]:
    """The version's complete value from one slot of the home, or None if it is not there."""
    names = ctx.plugins.issuer(version.issuer).traits.fields
    held: Held = yield from read(ctx.plugins.backend(spec.home.backend), spec.home, slot)
    if not holds(ctx, held, version, names):
        return None
    return fields_of(held, names)


def clear_previous(ctx: Context, spec: Spec, version: Version, *, empty: bool) -> Generator[Op, Any, None]:
    """What the way back would restore is not kept once the home's current slot holds it again. ``empty``: move the token of
    an empty slot too, since a write that keeps the version there may be on its way still."""
    home, backend = spec.home, ctx.plugins.backend(spec.home.backend)
    names = ctx.plugins.issuer(version.issuer).traits.fields
    previous = yield from read(backend, home, Slot.PREVIOUS)
    if previous.empty and not empty:
        return
    if not previous.empty:
        current = yield from read(backend, home, Slot.CURRENT)
        if not (holds(ctx, previous, version, names) and holds(ctx, current, version, names)):
            return
    yield from clear(backend, home, Slot.PREVIOUS, previous.token)


def find_fields(ctx: Context, spec: Spec, version: Version) -> Generator[Op, Any, Secret | None]:
    """The version's value from wherever it still lies: the home's slots first, then every other destination."""
    for slot in (Slot.CURRENT, Slot.PENDING, Slot.PREVIOUS):
        fields: Secret | None = yield from fields_at(ctx, spec, slot, version)
        if fields is not None:
            return fields
    names = ctx.plugins.issuer(version.issuer).traits.fields
    for destination in spec.destinations[1:]:
        held = yield from read(ctx.plugins.backend(destination.backend), destination, Slot.CURRENT)
        if holds(ctx, held, version, names):
            found = fields_of(held, names)
            if found is not None:
                return found
    return None
