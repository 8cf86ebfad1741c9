"""plan: units that only decide and commit - open a rotation or a repair, end a repair for something weightier, alarm."""

from __future__ import annotations

from rotatord import moves
from rotatord.model import LeakMark, Record
from rotatord.ops import Context, Done, Unit, commit
from rotatord.policy import Due
from rotatord.replacing import replace


def plan(ctx: Context, record: Record, due: Due) -> Unit:
    """Open a rotation for the reason that made it due."""
    mark = moves.compromised(record, record.current)
    actor = record.asked.actor if record.asked is not None and due.check == "manual" else ctx.actor
    hard = mark.deadline if mark else None
    record = moves.plan(record, due.reason, ctx.now(), ctx.ids, actor, hard_deadline=hard)
    event = ctx.event(record, "rotation.planned", "done", record.current, why=due.why, check=due.check, by=actor)
    return Done((yield from commit(record, event)))


def plan_repair(ctx: Context, record: Record) -> Unit:
    """Open a repair of what drifted."""
    drift = [f"{item.destination}: {item.what}" for item in record.drift]
    record = moves.plan_repair(record, ctx.now(), ctx.ids, ctx.actor)
    return Done(
        (yield from commit(record, ctx.event(record, "rotation.planned", "done", record.current, why="drift", drift=drift)))
    )


def end_repair(ctx: Context, record: Record) -> Unit:
    """A due or compromised rotation ends an open repair: it publishes everywhere itself."""
    event = ctx.event(record, "rotation.superseded", "done", record.current, why="a rotation is due")
    return Done((yield from commit(replace(record, rotation=None), event)))


def overdue(ctx: Context, record: Record, mark: LeakMark) -> Unit:
    """Announce that a leaked version still lives after its deadline: its replacement is not everywhere yet."""
    marks = tuple(replace(item, told=True) if item.generation == mark.generation else item for item in record.leaks)
    rotation = record.rotation
    why = (rotation.error or rotation.waiting) if rotation is not None else ""
    text = f"{record.name}: leaked generation {mark.generation} was to die by {mark.deadline.isoformat()} and lives: {why}"
    notice = ctx.notice(record, "overdue", text, generation=mark.generation)
    event = ctx.event(record, "alarm", "overdue", generation=mark.generation, why=why)
    return Done((yield from commit(replace(record, leaks=marks), event, notices=(notice,))))


def alarm(ctx: Context, record: Record) -> Unit:
    """Announce that the current version will expire with no replacement under way that is sure to be in time."""
    current = record.current
    assert current is not None
    assert current.expires_at is not None
    text = f"{record.name}: its current version expires at {current.expires_at.isoformat()} and is not replaced yet"
    notice = ctx.notice(record, "expiring", text, expires_at=current.expires_at.isoformat())
    record = replace(record, alarmed=current.generation)
    return Done((yield from commit(record, ctx.event(record, "alarm", "expiring", current), notices=(notice,))))
