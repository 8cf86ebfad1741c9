"""verify: pass the gate over the subject, with evidence, and stay healthy for the dwell time."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from rotatord import moves
from rotatord.clock import Instant, elapsed
from rotatord.durations import spell
from rotatord.gates import Gate, evaluate, verdict
from rotatord.model import Evidence, Record, Rotation, State, Verdict, Way
from rotatord.ops import Context, Done, Failed, Unit, Wait, commit, open_rotation
from rotatord.ops import with_rotation as changed
from rotatord.replacing import replace
from rotatord.steps.slots import clear_previous


def verify(ctx: Context, record: Record) -> Unit:
    """To ``verified`` forward, to ``discarding`` back, to ``completed`` for a repair; unknown waits, unhealthy fails."""
    rotation = open_rotation(record)
    gate: Gate = ctx.gate
    record = agreed(ctx, record)
    evidence = yield from evaluate(ctx, record, gate.verify)
    result = verdict(evidence)
    unhealthy = any(item.facts.get("state") == "unhealthy" for item in evidence)
    record = changed(record, evidence=tuple(evidence), unhealthy=rotation.unhealthy + 1 if unhealthy else 0)
    if places := lost(record, evidence):
        return (yield from publish_again(ctx, record, places))
    if copies := returned(rotation, evidence):
        return (yield from restart_again(ctx, record, copies))
    why = override(ctx, record)
    if result is not Verdict.PASS and overridden(why, evidence):
        event = ctx.event(record, "verify", "overridden", rotation.subject, why=why, **summary(evidence))
        record = yield from commit(record, event)
    elif refused(why, evidence):
        return Failed(record, reasons(evidence))
    elif result is not Verdict.PASS:
        return Wait(changed(record, healthy_since=None), ctx.now() + rotation.plan.policy.poll, reasons(evidence))
    else:
        started = rotation.healthy_since or ctx.instant()
        dwelt = elapsed(started, ctx.instant(), rotation.plan.policy.dwell)
        if not dwelt:
            kept = started if dwelt is False else ctx.instant()
            record = changed(record, healthy_since=kept)
            return Wait(
                record, ctx.now() + rotation.plan.policy.poll, f"healthy; dwelling for {spell(rotation.plan.policy.dwell)}"
            )
    events = [ctx.event(record, "verify", "done", rotation.subject, **summary(evidence))]
    moved = moves.succeed(record, ctx.now())
    if open_rotation(moved).state is State.COMPLETED:
        events.append(ctx.event(record, "rotation.completed", "done", rotation.subject, way=rotation.way.value))
        if rotation.subject is not None:  # a repair: what it restored may have come from there
            yield from clear_previous(ctx, rotation.plan, rotation.subject, empty=False)
        moved = moves.complete(record, ctx.plugins.issuer(rotation.plan.issuer).traits, ctx.now())
    return Done((yield from commit(moved, *events)))


def agreed(ctx: Context, record: Record) -> Record:
    """Waits of the gate whose clocks disagree by now (one was set, or the machine booted) begin anew: without that they
    would never be over."""
    rotation, now = open_rotation(record), ctx.instant()

    def start(instant: Instant | None) -> Instant | None:
        return now if instant is not None and elapsed(instant, now, timedelta(0)) is None else instant

    written = tuple(replace(fact, instant=start(fact.instant)) for fact in rotation.written)
    return changed(record, written=written, base_quiet=start(rotation.base_quiet))


def override(ctx: Context, record: Record) -> str:
    """Why consumers without proof may be passed over: a person accepted the risk, or the hard deadline of a compromised
    base has come; "" otherwise. Recorded as the exception to invariants 1 and 2 that it is."""
    rotation = open_rotation(record)
    if rotation.accepted_risk:
        return rotation.accepted_risk
    late = rotation.hard_deadline is not None and ctx.now() >= rotation.hard_deadline
    if late and rotation.way is Way.FORWARD and moves.compromised(record, rotation.base):
        return f"the base is compromised and was to die by {rotation.hard_deadline:%Y-%m-%d %H:%MZ}"
    return ""


OVERRIDABLE = {"copies_hold", "consumers_proven", "consumers_healthy", "base_idle"}


def overridden(why: str, evidence: list[Evidence]) -> bool:
    """An override passes over consumers and other users: the new version must be at every destination, and holds count."""
    blocking = {item.check for item in evidence if item.verdict is not Verdict.PASS}
    return bool(why) and blocking <= OVERRIDABLE


def refused(why: str, evidence: list[Evidence]) -> bool:
    """Whether something failed that is not passed over: what is still waited for beside it is only waited for."""
    return any(item.verdict is Verdict.FAIL and not (why and item.check in OVERRIDABLE) for item in evidence)


MOST_DRIFTS = 3
OURS_TO_RESTORE = {"missing", "ours_older", "current"}


def lost(record: Record, evidence: list[Evidence]) -> list[str]:
    """Destinations that no longer hold the subject and hold nothing of somebody else's: they are written again."""
    if open_rotation(record).drifts >= MOST_DRIFTS:
        return []
    missing = [item for item in evidence if item.check == "destinations_hold" and item.verdict is not Verdict.PASS]
    if any(item.facts.get("holds") not in OURS_TO_RESTORE for item in missing):
        return []
    return [item.subject for item in missing]


def returned(rotation: Rotation, evidence: list[Evidence]) -> list[str]:
    """Copies that had lost the subject at the look before and hold it again: who began meanwhile read something else, and
    looks like everybody who read the subject."""

    def missing(items: Iterable[Evidence]) -> set[str]:
        return {item.subject for item in items if item.check == "copies_hold" and item.verdict is not Verdict.PASS}

    before = missing(item for item in rotation.evidence if item.at > rotation.since)
    return [] if missing(evidence) else sorted(before)


def restart_again(ctx: Context, record: Record, copies: list[str]) -> Unit:
    """Publish and reload once more, a few times: a copy that comes and goes is no ground for a proof."""
    if open_rotation(record).drifts >= MOST_DRIFTS:
        return Failed(record, f"{', '.join(copies)} loses what was published again and again: look at what fills it")
    return (yield from publish_again(ctx, record, copies))


def publish_again(ctx: Context, record: Record, places: list[str]) -> Unit:
    """Commit the way back to publish."""
    event = ctx.event(record, "publish", "drifted", open_rotation(record).subject, destinations=places)
    return Done((yield from commit(moves.publish_again(record, ctx.now()), event)))


def reasons(evidence: list[Evidence]) -> str:
    """Why the gate did not open, in words."""
    return "; ".join(f"{item.subject}: {item.detail}" for item in evidence if item.verdict is not Verdict.PASS)


def summary(evidence: list[Evidence]) -> dict[str, list[dict[str, object]]]:
    """The evidence as facts of an event."""
    rows = [
        {"check": item.check, "subject": item.subject, "verdict": item.verdict.value, "detail": item.detail, **item.facts}
        for item in evidence
    ]
    return {"evidence": rows}
