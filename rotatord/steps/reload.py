"""reload: ask the consumers of this wave to read anew. Accepted is not applied: verify decides that."""

from __future__ import annotations

from collections.abc import Generator
from datetime import timedelta
from functools import partial
from typing import Any

from rotatord import moves
from rotatord.durations import spell
from rotatord.model import ConsumerSpec, Record, Reloaded, Seen, Slot, Version
from rotatord.ops import Context, Done, Op, Unit, Wait, commit, left, open_rotation, passed, tell
from rotatord.ops import with_rotation as changed
from rotatord.ports import Consumer, Published, Restarts
from rotatord.replacing import replace
from rotatord.steps.copies import lagging, noted, waiting_for
from rotatord.steps.publish import last_written
from rotatord.steps.slots import fields_at


def reload(ctx: Context, record: Record) -> Unit:
    """One intent for the wave, then each consumer, then its fact; a consumer that has its fact is not asked again."""
    rotation = open_rotation(record)
    subject = rotation.subject
    assert subject is not None
    wave = rotation.plan.waves[rotation.wave]
    consumers = [consumer for consumer in rotation.plan.consumers if consumer.wave == wave]
    missing = [consumer for consumer in consumers if fact_of(record, consumer) is None]
    if missing:
        if late := waiting_for((yield from lagging(ctx, record, missing, subject))):
            return Wait(record, ctx.now() + rotation.plan.policy.poll, late)
        record = yield from _look_around(ctx, noted(ctx, record, missing), missing, subject)
        facts = tuple(Reloaded(consumer=c.name, leg=rotation.leg, intended_at=ctx.now()) for c in missing)
        record = changed(record, reloaded=(*open_rotation(record).reloaded, *facts))
        names = [consumer.name for consumer in missing]
        record = yield from commit(record, ctx.event(record, "reload", "intended", subject, consumers=names, wave=wave))
    for consumer in consumers:
        fact = fact_of(record, consumer)
        assert fact is not None
        if fact.done_at is not None or fact.skipped:
            continue
        plugin = ctx.plugins.consumer(consumer)
        if waiting := _gathering(ctx, record, plugin):
            return waiting
        published = yield from describe(ctx, record, plugin, subject, seen_of(record, consumer))
        yield from tell(plugin, "consumer.reload", partial(plugin.reload, published), effect=True, name=consumer.name)
        record = _with_fact(record, replace(fact, done_at=ctx.now()))
        event = ctx.event(record, "reload", "done", subject, consumer=consumer.name)
        if consumer is consumers[-1]:  # one commit for the last fact and the state that it completes
            return Done((yield from commit(moves.succeed(record, ctx.now()), event)))
        record = yield from commit(record, event)
    return Done((yield from commit(moves.succeed(record, ctx.now()))))


def _look_around(ctx: Context, record: Record, consumers: list[ConsumerSpec], subject: Version) -> Generator[Op, Any, Record]:
    """Note who runs now, after the destinations were read back: only who is not among them has surely read anew. The mark
    of the last restart is taken after that, so that whoever a later restart starts is not among them."""
    for consumer in consumers:
        plugin = ctx.plugins.consumer(consumer)
        if plugin.evidence != "rollout" and not isinstance(plugin, Restarts):
            continue
        published = yield from describe(ctx, record, plugin, subject)
        instances = yield from tell(plugin, "consumer.instances", partial(plugin.instances, published), name=consumer.name)
        restart = ""
        if isinstance(plugin, Restarts):
            mark = partial(plugin.last_restart, published)
            restart = yield from tell(plugin, "consumer.last_restart", mark, name=consumer.name)
        rotation = open_rotation(record)
        ids = tuple(sorted(item.id for item in instances))
        seen = Seen(consumer=consumer.name, leg=rotation.leg, instances=ids, restart=restart)
        record = changed(record, seen=(*rotation.seen, seen))
    return record


def _gathering(ctx: Context, record: Record, plugin: Consumer) -> Wait | None:
    """A short wait before a restart, in which other credentials of the same consumer are published too: they share it."""
    written = last_written(record)
    if not isinstance(plugin, Restarts) or written is None or written.instant is None:
        return None
    gather = timedelta(seconds=plugin.gather)
    over, start = passed(ctx, written.instant, gather)
    if over:
        return None
    if start != written.instant:  # a clock was set: counted anew
        facts = tuple(replace(fact, instant=start) if fact == written else fact for fact in open_rotation(record).written)
        record = changed(record, written=facts)
    why = f"other credentials of the same consumer may join its restart for {spell(gather)}"
    return Wait(record, left(ctx, start, gather), why)


def seen_of(record: Record, consumer: ConsumerSpec) -> Seen | None:
    """What was seen of it right after the destinations of the present leg were read back; None when nobody looked."""
    rotation = open_rotation(record)
    return next((item for item in rotation.seen if item.consumer == consumer.name and item.leg == rotation.leg), None)


def fact_of(record: Record, consumer: ConsumerSpec) -> Reloaded | None:
    """What is recorded of this consumer in the present leg."""
    rotation = open_rotation(record)
    return next((f for f in rotation.reloaded if f.consumer == consumer.name and f.leg == rotation.leg), None)


def _with_fact(record: Record, fact: Reloaded) -> Record:
    rotation = open_rotation(record)
    facts = tuple(fact if (f.consumer, f.leg) == (fact.consumer, fact.leg) else f for f in rotation.reloaded)
    return changed(record, reloaded=facts)


def describe(
    ctx: Context, record: Record, consumer: Consumer | None, subject: Version, seen: Seen | None = None
) -> Generator[Op, Any, Published]:
    """What consumers and checks are told: never the value, but where asked a way to check that an instance has it."""
    rotation = open_rotation(record)
    written = last_written(record)
    possession = None
    if consumer is not None and getattr(consumer, "possession", False):
        fields = yield from fields_at(ctx, rotation.plan, Slot.CURRENT, subject)
        if fields is not None:
            possession = fields.prove
    return Published(
        credential=record.name,
        label=subject.label,
        rotation=rotation.id,
        token=f"{rotation.id}.{rotation.leg}",
        at=written.at if written else rotation.since,
        restart_seen=seen.restart if seen is not None else "",
        possession=possession,
    )
