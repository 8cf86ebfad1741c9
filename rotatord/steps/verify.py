"""verify: pass the gate over the subject, with evidence, and stay healthy for the dwell time."""

from __future__ import annotations

from rotatord import moves
from rotatord.clock import elapsed
from rotatord.gates import Gate, evaluate, verdict
from rotatord.model import Evidence, Record, State, Verdict
from rotatord.ops import Context, Done, Failed, Unit, Wait, commit, open_rotation
from rotatord.ops import with_rotation as changed


def verify(ctx: Context, record: Record) -> Unit:
    """To ``verified`` forward, to ``discarding`` back, to ``completed`` for a repair; unknown waits, unhealthy fails."""
    rotation = open_rotation(record)
    gate: Gate = ctx.gate
    evidence = yield from evaluate(ctx, record, gate.verify)
    result = verdict(evidence)
    unhealthy = any(item.facts.get("state") == "unhealthy" for item in evidence)
    record = changed(record, evidence=tuple(evidence), unhealthy=rotation.unhealthy + 1 if unhealthy else 0)
    if rotation.accepted_risk and result is not Verdict.PASS:
        record = yield from commit(record, ctx.event(record, "verify", "overridden", rotation.subject, **summary(evidence)))
    elif result is Verdict.FAIL:
        return Failed(record, reasons(evidence))
    elif result is Verdict.WAIT:
        return Wait(changed(record, healthy_since=None), ctx.now() + rotation.plan.policy.poll, reasons(evidence))
    else:
        started = rotation.healthy_since or ctx.instant()
        dwelt = elapsed(started, ctx.instant(), rotation.plan.policy.dwell)
        if not dwelt:
            kept = started if dwelt is False else ctx.instant()
            record = changed(record, healthy_since=kept)
            return Wait(record, ctx.now() + rotation.plan.policy.poll, f"healthy; dwelling for {rotation.plan.policy.dwell}")
    events = [ctx.event(record, "verify", "done", rotation.subject, **summary(evidence))]
    moved = moves.succeed(record, ctx.now())
    if open_rotation(moved).state is State.COMPLETED:
        events.append(ctx.event(record, "rotation.completed", "done", rotation.subject, way=rotation.way.value))
        moved = moves.complete(record, ctx.plugins.issuer(rotation.plan.issuer).traits, ctx.now())
    return Done((yield from commit(moved, *events)))


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
