"""publish: the subject of the present way becomes current in every destination of this wave, each read back."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from rotatord import moves
from rotatord.errors import Conflict, Retryable
from rotatord.model import Asked, Destination, Event, Reason, Record, Slot, Version, Way, Written
from rotatord.ops import (
    Context,
    Done,
    Failed,
    Op,
    Stop,
    Unit,
    Wait,
    commit,
    fields_of,
    holds,
    open_rotation,
    read,
    same,
    soon,
    write,
)
from rotatord.ops import with_rotation as changed
from rotatord.ports import Held
from rotatord.replacing import replace
from rotatord.secret import Secret
from rotatord.steps.slots import Kind, fields_at, find_fields, kind

WRITE_TRIES = 3
DRIFT_WAIT_SECONDS = 30.0


def publish(ctx: Context, record: Record) -> Unit:
    """Compare-and-set each destination of the wave. After a change of way every destination is written anew, even where
    it already looks right, so that compare tokens move and a late write of the other way is refused."""
    rotation = open_rotation(record)
    subject = rotation.subject
    assert subject is not None, "publish has a subject"
    if rotation.way is not Way.FORWARD and moves.compromised(record, subject):
        return Stop(record, "base_compromised", "the version to publish is known to be compromised; rotate instead")
    fields = yield from _value(ctx, record, subject)
    if fields is None:
        if rotation.way is Way.FORWARD:
            return Failed(record, "the new value is gone from the pending slot")
        if rotation.way is Way.REPAIR:
            return (yield from _replace_lost(ctx, record, subject))
        return Stop(record, "value_lost", "no slot holds the value to publish any more; the new version stays published")
    killed = moves.mint_kills_base(rotation, ctx.plugins.issuer(rotation.plan.issuer).traits)
    if rotation.way is Way.FORWARD and rotation.base is not None and not killed:
        yield from _keep_previous(ctx, record, rotation.base)
    wave = rotation.plan.waves[rotation.wave]
    if not rotation.touched:
        record = yield from commit(
            changed(record, touched=True), ctx.event(record, "publish", "intended", subject, way=rotation.way.value)
        )
    places = [item for item in rotation.plan.destinations if item.wave == wave]
    for destination in places:
        if _written(record, destination):
            continue
        outcome = yield from _publish_one(ctx, record, destination, subject, fields)
        if isinstance(outcome, Wait):
            return outcome
        record, event = outcome
        if destination is places[-1]:  # one commit for the last fact and the state that it completes
            ended = ctx.event(record, "publish", "done", subject, wave=wave, way=rotation.way.value)
            return Done((yield from commit(moves.succeed(record, ctx.now()), event, ended)))
        record = yield from commit(record, event)
    event = ctx.event(record, "publish", "done", subject, wave=wave, way=rotation.way.value)
    return Done((yield from commit(moves.succeed(record, ctx.now()), event)))


def _replace_lost(ctx: Context, record: Record, subject: Version) -> Unit:
    """The current value is gone from everywhere: only a new version can fill the destinations again. Who asked for a repair
    meant what stands there now to go; that holds for what comes in its place."""
    rotation = open_rotation(record)
    person = rotation.actor != ctx.actor
    why = "no slot holds the current value any more; a new version is made"
    event = ctx.event(record, "rotation.superseded", "done", subject, why=why)
    asked = Asked(verb="rotate", actor=rotation.actor, at=ctx.now(), reason=Reason.DUE, overwrites=person)
    return Done((yield from commit(replace(record, rotation=None, asked=asked), event)))


def _written(record: Record, destination: Destination) -> bool:
    rotation = open_rotation(record)
    return any(fact.destination == destination.id and fact.leg == rotation.leg for fact in rotation.written)


def _value(ctx: Context, record: Record, subject: Version) -> Generator[Op, Any, Secret | None]:
    rotation = open_rotation(record)
    if rotation.way is Way.FORWARD:
        staged: Secret | None = yield from fields_at(ctx, rotation.plan, Slot.PENDING, subject)
        if staged is not None:
            return staged
    found: Secret | None = yield from find_fields(ctx, rotation.plan, subject)
    return found


def _keep_previous(ctx: Context, record: Record, base: Version) -> Generator[Op, Any, None]:
    """Copy the home's current to previous, only while it is the base: this is what the way back restores."""
    home = open_rotation(record).plan.home
    backend = ctx.plugins.backend(home.backend)
    names = ctx.plugins.issuer(base.issuer).traits.fields
    current = yield from read(backend, home, Slot.CURRENT)
    fields = fields_of(current, names)
    if fields is None or not holds(ctx, current, base, names):
        return
    previous = yield from read(backend, home, Slot.PREVIOUS)
    marker = ctx.marker(record, base, Slot.PREVIOUS)
    if previous.marker == marker and holds(ctx, previous, base, names):
        return
    yield from write(backend, home, Slot.PREVIOUS, fields, marker, previous.token)


def _publish_one(
    ctx: Context, record: Record, destination: Destination, subject: Version, fields: Secret
) -> Generator[Op, Any, tuple[Record, Event] | Wait]:
    rotation = open_rotation(record)
    backend = ctx.plugins.backend(destination.backend)
    names = ctx.plugins.issuer(subject.issuer).traits.fields
    marker = ctx.marker(record, subject, Slot.CURRENT)
    for _ in range(WRITE_TRIES):
        held: Held = yield from read(backend, destination, Slot.CURRENT)
        # Where our value lies under no marker or an old one, readers are told a wrong version beside it: written anew.
        repaired = rotation.way is Way.REPAIR and same(held.marker, subject) and holds(ctx, held, subject, names, fields)
        if repaired or (held.marker == marker and holds(ctx, held, subject, names, fields)):
            return _fact(ctx, record, destination, subject)
        if _foreign(ctx, record, held, names, fields):
            why = f"{destination.id} was changed by somebody else; `repair` writes ours back, `adopt` takes over theirs"
            return Wait(record, soon(ctx, DRIFT_WAIT_SECONDS), why)
        try:
            yield from write(backend, destination, Slot.CURRENT, fields, marker, held.token)
        except Conflict:
            continue
        back: Held = yield from read(backend, destination, Slot.CURRENT)
        if back.marker == marker and holds(ctx, back, subject, names, fields):
            return _fact(ctx, record, destination, subject)
    raise Retryable(f"{destination.id} does not hold what was written: somebody else keeps writing it")


def _foreign(ctx: Context, record: Record, held: Held, names: tuple[str, ...], fields: Secret) -> bool:
    rotation = open_rotation(record)
    wanted = rotation.overwrites or (rotation.way is Way.REPAIR and rotation.actor != ctx.actor)
    if rotation.plan.policy.on_drift == "repair" or wanted:
        return kind(ctx, record, held, names, fields) is Kind.OTHER
    return kind(ctx, record, held, names, fields) in {Kind.FOREIGN, Kind.OTHER}


def _fact(ctx: Context, record: Record, destination: Destination, subject: Version) -> tuple[Record, Event]:
    """The record and the event that say that this destination holds the subject, with the time it was read back."""
    rotation = open_rotation(record)
    fact = Written(destination=destination.id, leg=rotation.leg, at=ctx.now(), instant=ctx.instant())
    others = tuple(item for item in rotation.written if item.destination != destination.id or item.leg != rotation.leg)
    record = changed(record, written=(*others, fact))
    event = ctx.event(record, "write", "done", subject, destination=destination.id, way=rotation.way.value)
    return record, event


def last_written(record: Record) -> Written | None:
    """The latest write of the present leg."""
    rotation = open_rotation(record)
    facts = [fact for fact in rotation.written if fact.leg == rotation.leg]
    return max(facts, key=lambda fact: fact.at) if facts else None
