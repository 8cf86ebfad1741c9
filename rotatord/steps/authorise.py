"""authorise: wait for the overlap, suspend the base where that can be undone, read everything again, and decide.

The commit at the end is the pivot: after it the base is in the ledger and there is only forward. It is conditional on the
sequence number that was read, and on the pause that was: a hold, a rollback, a leak mark or a pause that was accepted before
it wins.
"""

from __future__ import annotations

from collections.abc import Generator
from datetime import datetime, timedelta
from typing import Any

from rotatord import moves
from rotatord.clock import elapsed
from rotatord.durations import spell
from rotatord.errors import NotFound
from rotatord.gates import Gate, evaluate, verdict
from rotatord.model import Evidence, Record, Rotation, Slot, Suspension, Verdict
from rotatord.ops import Context, Done, Failed, Op, Unit, Wait, ask, clear, commit, open_rotation, parameters_of, read, soon
from rotatord.ops import with_rotation as changed
from rotatord.ports import Suspend
from rotatord.replacing import replace
from rotatord.steps.verify import (
    agreed,
    lost,
    overridden,
    override,
    publish_again,
    reasons,
    refused,
    restart_again,
    returned,
    summary,
)

HOLD_WAIT_SECONDS = 30.0
LOOK_AT_LEAST = timedelta(seconds=30)


def authorise(ctx: Context, record: Record) -> Unit:
    """From ``verified`` to ``completed``; stays verified, never revokes silently, while anything is missing."""
    gate: Gate = ctx.gate
    record = agreed(ctx, (yield from _timed(ctx, record)))
    unpaused = ctx.paused.given()  # before the gate asks for it: whoever pauses from here on is heard, by the next gate
    evidence = yield from evaluate(ctx, record, gate.authorise)
    result = verdict(evidence)
    rotation = open_rotation(record)
    record = _note_use(ctx, record, evidence)
    unhealthy = any(item.facts.get("state") == "unhealthy" for item in evidence)
    record = changed(record, evidence=tuple(evidence), unhealthy=rotation.unhealthy + 1 if unhealthy else 0)
    if places := lost(record, evidence):
        return (yield from publish_again(ctx, record, places))
    if copies := returned(rotation, evidence):
        return (yield from restart_again(ctx, record, copies))
    why = override(ctx, record)
    passed = result is Verdict.PASS or overridden(why, evidence)
    if refused(why, evidence):
        return Failed(record, reasons(evidence))
    if not passed:
        record = yield from _told(ctx, record, reasons(evidence))
        return Wait(record, _next_look(ctx, rotation, evidence), reasons(evidence))
    suspended = yield from _suspend(ctx, record)
    if isinstance(suspended, Wait):
        return suspended
    record = suspended
    yield from _clear_pending(ctx, record)
    rotation = open_rotation(record)
    traits = ctx.plugins.issuer(rotation.plan.issuer).traits
    event = ctx.event(
        record, "authorise", "done", rotation.base, kept=rotation.new.label if rotation.new else "", **summary(evidence)
    )
    ended = ctx.event(record, "rotation.completed", "done", rotation.new)
    forced = "" if result is Verdict.PASS else why
    record = yield from commit(moves.complete(record, traits, ctx.now(), forced=forced), event, ended, given=unpaused)
    return Done(record)


def _told(ctx: Context, record: Record, why: str) -> Generator[Op, Any, Record]:
    """Announce once that the overlap goes on although its time is over: the base stays alive for as long as it takes."""
    rotation = open_rotation(record)
    policy = rotation.plan.policy
    if rotation.stretched or ctx.now() < rotation.since + policy.overlap + policy.settle + policy.verify_within:
        return record
    record = changed(record, stretched=True)
    notice = ctx.notice(record, "overdue", f"{record.name}: the old version cannot be ended yet: {why}", rotation=rotation.id)
    return (yield from commit(record, ctx.event(record, "authorise", "stretched", rotation.base, why=why), notices=(notice,)))


def _timed(ctx: Context, record: Record) -> Generator[Op, Any, Record]:
    """Start the overlap. Clocks that disagree start it again, and that is told: it stretches, it never shrinks."""
    rotation = open_rotation(record)
    now = ctx.instant()
    if rotation.timer is None:
        return changed(record, timer=now)
    if elapsed(rotation.timer, now, timedelta(0)) is not None:
        return record
    why = "the clock was set, or the machine restarted: the overlap starts again"
    return (yield from commit(changed(record, timer=now), ctx.event(record, "authorise", "restarted", rotation.base, why=why)))


def _note_use(ctx: Context, record: Record, evidence: list[Evidence]) -> Record:
    """Remember what the issuer said of the base's last use; when it says something new, the quiet begins anew."""
    rotation = open_rotation(record)
    told = next((item.facts["last_used"] for item in evidence if "last_used" in item.facts), None)
    if told is None or (told == rotation.base_used and rotation.base_quiet is not None):
        return record
    return changed(record, base_used=told, base_quiet=ctx.instant())


def _next_look(ctx: Context, rotation: Rotation, evidence: list[Evidence]) -> datetime:
    """Holds are looked at now and then; an overlap ten times, so that what goes wrong in it is seen while it can be
    undone; everything else as often as the policy says."""
    waiting = {item.check for item in evidence if item.verdict is Verdict.WAIT}
    if waiting == {"overlap_passed"} and rotation.timer is not None:
        overlap = rotation.plan.policy.overlap
        left = overlap - timedelta(seconds=ctx.instant().monotonic - rotation.timer.monotonic)
        return ctx.now() + max(min(left, max(overlap / 10, LOOK_AT_LEAST)), timedelta(milliseconds=10))
    if "no_hold" in waiting:
        return soon(ctx, HOLD_WAIT_SECONDS)
    poll = rotation.plan.policy.poll
    return ctx.now() + (max(poll, LOOK_AT_LEAST) if rotation.stretched else poll)  # for days, perhaps, once people were told


def _suspend(ctx: Context, record: Record) -> Generator[Op, Any, Record | Wait]:
    """Disable the base reversibly and let it settle: a consumer that was missed shows now, while it can be undone."""
    rotation = open_rotation(record)
    base, policy = rotation.base, rotation.plan.policy
    if base is None or not base.ref or not policy.suspend:
        return record
    if moves.mint_kills_base(rotation, ctx.plugins.issuer(rotation.plan.issuer).traits):
        return record  # it is dead, and its id may be that of the new one
    issuer = ctx.plugins.issuer(base.issuer)
    if not isinstance(issuer, Suspend):
        return record
    if rotation.suspension is None or rotation.suspension.done_at is None:
        attempts = rotation.suspension.attempts + 1 if rotation.suspension else 1
        record = changed(record, suspension=Suspension(intended_at=ctx.instant(), attempts=attempts))
        record = yield from commit(record, ctx.event(record, "suspend", "intended", base))
        suspend, parameters = issuer.suspend, parameters_of(base, rotation.plan)
        try:
            yield from ask(base.issuer, issuer, "suspend", lambda: suspend(base.ref, parameters), effect=True)
        except NotFound:
            return record  # gone already: there is nothing left that anybody could miss
        suspension = open_rotation(record).suspension
        assert suspension is not None
        record = changed(record, suspension=replace(suspension, done_at=ctx.instant()))
        record = yield from commit(record, ctx.event(record, "suspend", "done", base))
        # Even without a time to settle the gate is asked once more, now that the base is out of use.
        again = ctx.now() + policy.settle + issuer.traits.propagation
        return Wait(record, again, "the base is suspended; looking for anything that misses it")
    return _settling(ctx, record, policy.settle + issuer.traits.propagation) or record


def _settling(ctx: Context, record: Record, duration: timedelta) -> Wait | None:
    """Wait until the suspension has settled on both clocks; afterwards the gate is asked once more by the next run."""
    suspension = open_rotation(record).suspension
    assert suspension is not None
    assert suspension.done_at is not None
    if not duration:
        return None
    passed = elapsed(suspension.done_at, ctx.instant(), duration)
    if passed is None:
        record = changed(record, suspension=replace(suspension, done_at=ctx.instant()))
    if passed:
        return None
    return Wait(
        record, ctx.now() + duration, f"the base is suspended; looking for anything that misses it for {spell(duration)}"
    )


def _clear_pending(ctx: Context, record: Record) -> Generator[Op, Any, None]:
    """The staged copy has done its duty; quiet credentials have empty pending slots."""
    rotation = open_rotation(record)
    home = rotation.plan.home
    backend = ctx.plugins.backend(home.backend)
    held = yield from read(backend, home, Slot.PENDING)
    if not held.empty and held.marker is not None and held.marker.rotation == rotation.id:
        yield from clear(backend, home, Slot.PENDING, held.token)
