"""inspect: look at the destinations. First contact, drift, and a journal that knows less than the world does.

Reads only. What it finds decides whether anything may be written at all.
"""

from __future__ import annotations

from rotatord.model import Asked, Drift, Record, Slot, Standing, Version
from rotatord.ops import Context, Done, Stop, Unit, commit, fields_of, read
from rotatord.ports import Held
from rotatord.replacing import replace
from rotatord.steps.slots import Kind, kind, named


def inspect(ctx: Context, record: Record) -> Unit:
    """Compare every destination with the record; first contact decides the standing."""
    spec = record.spec
    names = ctx.plugins.issuer(spec.issuer).traits.fields
    found: list[tuple[str, Kind, Held]] = []
    reference = None
    for index, destination in enumerate(spec.destinations):
        backend = ctx.plugins.backend(destination.backend)
        held = yield from read(backend, destination, Slot.CURRENT)
        if index == 0:
            reference = fields_of(held, names)
        found.append((destination.id, kind(ctx, record, held, names, reference), held))
    for slot in (Slot.PENDING, Slot.PREVIOUS) if spec.destinations else ():
        held = yield from read(ctx.plugins.backend(spec.home.backend), spec.home, slot)
        if _unknown_of_ours(ctx, record, held):
            return behind(ctx, record, f"the {slot.value} slot of {spec.home.id}")
    newer = next((place for place, seen, held in found if seen is Kind.NEWER or _unpublished(ctx, record, held)), None)
    if newer is not None:
        return behind(ctx, record, newer)
    record = replace(record, inspected_at=ctx.now(), asked=_answered(record))
    if record.standing in {Standing.NEW, Standing.UNMANAGED} and record.rotation is None and record.current is None:
        return (yield from _first_contact(ctx, record, found))
    return (yield from _drift(ctx, record, found))


def _answered(record: Record) -> Asked | None:
    return None if record.asked is not None and record.asked.verb == "inspect" else record.asked


def _unknown_of_ours(ctx: Context, record: Record, held: Held) -> bool:
    """Whether a slot holds a version of ours that this journal has never intended."""
    marker = held.marker
    if held.empty or marker is None or marker.installation != ctx.installation or not named(record, marker):
        return False
    return marker.generation > record.generation


def _unpublished(ctx: Context, record: Record, held: Held) -> bool:
    """Whether a destination shows what the open rotation, by this journal, has only begun to mint: it did more since. To go
    on from here would look for an orphan and find what everybody uses."""
    rotation, marker = record.rotation, held.marker
    if rotation is None or rotation.touched or marker is None or marker.installation != ctx.installation:
        return False
    return named(record, marker) and any(intent.generation == marker.generation for intent in rotation.intents)


def behind(ctx: Context, record: Record, where: str) -> Stop:
    """The journal knows less than the world: nothing is written, anywhere, until it is rebuilt."""
    why = (
        f"{record.name}: {where} holds a version that this journal has never published: the journal was lost or restored "
        f"from an older copy; nothing is written until `rotatord rebuild`"
    )
    record = replace(record, standing=Standing.BEHIND, asked=None, inspected_at=ctx.now())
    return Stop(record, "journal_behind", why, read_only=True)


def _first_contact(ctx: Context, record: Record, found: list[tuple[str, Kind, Held]]) -> Unit:
    foreign = [place for place, seen, _ in found if seen in {Kind.FOREIGN, Kind.OTHER, Kind.OLDER}]
    if not foreign:
        record = replace(record, standing=Standing.MANAGED)
        return Done((yield from commit(record, ctx.event(record, "inspect", "managed", why="its destinations are empty"))))
    others = any(seen is Kind.OTHER for _, seen, _ in found)
    names = ctx.plugins.issuer(record.spec.issuer).traits.fields
    fields = fields_of(found[0][2], names)
    if record.spec.policy.on_unknown == "replace" and not others:
        current = None
        if fields is not None:
            current = unknown_version(ctx, record, ctx.fingerprinter.fingerprint(fields))
        record = replace(record, standing=Standing.MANAGED, current=current)
        event = ctx.event(record, "inspect", "managed", why="on_unknown: replace; the value found is kept and never revoked")
        return Done((yield from commit(record, event)))
    why = "belongs to another installation" if others else "holds a value that rotatord did not make; `adopt` takes it over"
    if record.standing is Standing.UNMANAGED:
        return Done((yield from commit(record)))
    record = replace(record, standing=Standing.UNMANAGED)
    return Done((yield from commit(record, ctx.event(record, "inspect", "unmanaged", where=foreign, why=why))))


def unknown_version(ctx: Context, record: Record, fingerprint: str, ref: str = "") -> Version:
    """A version that somebody else made and that is now ours to replace."""
    return Version(
        generation=record.generation,
        rotation="adopted",
        issuer=record.spec.issuer,
        ref=ref,
        fingerprint=fingerprint,
        minted_at=ctx.now(),
    )


def _drift(ctx: Context, record: Record, found: list[tuple[str, Kind, Held]]) -> Unit:
    good = {Kind.CURRENT, Kind.NEW}
    known = {item.destination: item for item in record.drift}
    drift: list[Drift] = []
    events = []
    notices = []
    for place, seen, _ in found:
        if seen in good or (record.current is None and seen is Kind.EMPTY):
            continue
        before = known.get(place)
        item = before if before and before.what == seen.value else Drift(destination=place, what=seen.value, seen_at=ctx.now())
        drift.append(item)
        if item is not before:
            events.append(ctx.event(record, "inspect", "drift", destination=place, what=seen.value))
            notices.append(ctx.notice(record, "drift", f"{record.name}: {place} drifted: {seen.value}", destination=place))
    if record.rotation is not None and record.rotation.halt is None:
        drift = list(record.drift)  # the open rotation writes these destinations itself
        events, notices = [], []
    standing = Standing.MANAGED if record.standing in {Standing.NEW, Standing.UNMANAGED} else record.standing
    record = replace(record, drift=tuple(drift), standing=standing)
    return Done((yield from commit(record, *events, notices=tuple(notices))))
