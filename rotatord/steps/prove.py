"""prove: the issuer accepts the version and gives it the scope that was asked for, neither wider nor narrower."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from rotatord import moves, principals
from rotatord.errors import NotFound
from rotatord.model import JsonMap, Record, Slot, Version, Way
from rotatord.ops import (
    Context,
    Done,
    Failed,
    Op,
    Stop,
    Unit,
    Wait,
    ask,
    commit,
    left,
    open_rotation,
    parameters_of,
    passed,
    soon,
)
from rotatord.ops import with_rotation as changed
from rotatord.ports import Accepted, Inconclusive, Issuer, PrincipalScope, ProbeAnswer, Suspend
from rotatord.replacing import replace
from rotatord.secret import Secret
from rotatord.steps.slots import fields_at, find_fields

INCONCLUSIVE_WAIT_SECONDS = 2.0


def prove(ctx: Context, record: Record) -> Unit:
    """Forward: the staged version. Back: the base, resumed first if it was suspended."""
    rotation = open_rotation(record)
    if rotation.way is Way.FORWARD:
        return (yield from _prove_new(ctx, record))
    return (yield from _prove_base(ctx, record))


def probe(
    ctx: Context, version: Version, fields: Secret, scope: JsonMap, parameters: JsonMap
) -> Generator[Op, Any, ProbeAnswer]:
    """Ask the issuer about a value."""
    issuer = ctx.plugins.issuer(version.issuer)
    target = {"scope": scope, "parameters": parameters}
    answer: ProbeAnswer = yield from ask(version.issuer, issuer, "probe", lambda: issuer.probe(fields, target))
    return answer


def _prove_new(ctx: Context, record: Record) -> Unit:
    rotation = open_rotation(record)
    new = rotation.new
    assert new is not None
    issuer = ctx.plugins.issuer(new.issuer)
    believed, start = passed(ctx, rotation.minted, issuer.traits.propagation)
    if not believed:
        until = left(ctx, start, issuer.traits.propagation)
        return Wait(changed(record, minted=start), until, "the issuer's answers are believed only after its propagation time")
    fields = yield from fields_at(ctx, rotation.plan, Slot.PENDING, new)
    if fields is None and rotation.touched:  # turned forward again: it may be published already
        fields = yield from find_fields(ctx, rotation.plan, new)
    if fields is None:
        return Failed(record, "the staged value is gone from the pending slot")
    expected = _expected(record, issuer)
    answer = yield from probe(ctx, new, fields, expected, rotation.plan.parameters)
    if isinstance(answer, Inconclusive):
        return Wait(record, soon(ctx, INCONCLUSIVE_WAIT_SECONDS), f"the probe is inconclusive: {answer.why}")
    if not isinstance(answer, Accepted):
        return Failed(record, f"the issuer refuses the new version: {answer.why}")
    if problem := parity(expected, answer, issuer, new):
        return Failed(record, problem)
    if problem := (yield from _lockout(ctx, record, fields, new)):
        return Failed(record, problem)
    proven = replace(new, accepted=True, expires_at=new.expires_at or answer.expires_at)
    record = moves.succeed(changed(record, new=proven), ctx.now())
    record = yield from commit(record, ctx.event(record, "prove", "done", proven, scope=answer.scope))
    return Done(record)


def _lockout(ctx: Context, record: Record, fields: Secret, new: Version) -> Generator[Op, Any, str]:
    """Why we ourselves could not go on, were this version of our own published; "" when we could, or it is not ours."""
    problems: list[str] = []
    for trial in ctx.trials(open_rotation(record).plan, fields, new.label):
        problems += yield trial
    return "with it we would be locked out: " + "; ".join(problems) if problems else ""


def _expected(record: Record, issuer: Issuer) -> JsonMap:
    """The scope to be seen: the one asked for, or where it sits on the principal what all its versions need together."""
    plan = open_rotation(record).plan
    grant = principals.grant_of(record, plan.issuer, plan.parameters)
    if grant is None or not isinstance(issuer, PrincipalScope):
        return plan.scope
    return issuer.widen(list(grant.scopes))


def parity(asked: JsonMap, answer: Accepted, issuer: Issuer, version: Version) -> str:
    """How the scope seen differs from the scope asked for; "" when it does not, as far as the issuer lets one see."""
    if answer.ref is not None and version.ref and answer.ref != version.ref:
        return "the value belongs to another version than the issuer said when it was minted"
    if answer.scope is None or issuer.traits.scope_proof == "none":
        return ""
    seen = answer.scope
    keys = set(seen) | (set(asked) if issuer.traits.scope_proof == "exact" else set(asked) & set(seen))
    differing = sorted(key for key in keys if _plain(asked.get(key)) != _plain(seen.get(key)))
    if not differing:
        return ""
    what = "; ".join(f"{key}: asked {asked.get(key)!r}, has {seen.get(key)!r}" for key in differing)
    return f"the new version does not have the scope that was asked for: {what}"


def _plain(value: Any) -> Any:
    """Lists compare as sets, and nothing is the same as an empty list."""
    if value is None:
        return frozenset()
    if isinstance(value, list | tuple | set | frozenset):
        return frozenset(str(item) for item in value)
    return value


def _prove_base(ctx: Context, record: Record) -> Unit:
    rotation = open_rotation(record)
    base = rotation.base
    if base is None:
        return Stop(record, "base_absent", "there is no earlier version to go back to; the new one stays published")
    issuer = ctx.plugins.issuer(base.issuer)
    if rotation.suspension is not None:
        waiting = yield from _resume(ctx, record, issuer, base)
        if isinstance(waiting, Wait):
            return waiting
        record = waiting
    fields = yield from find_fields(ctx, rotation.plan, base)
    if fields is None:
        return Stop(record, "base_absent", "the old value is in no slot any more; the new one stays published")
    answer = yield from probe(ctx, base, fields, base.scope, parameters_of(base, rotation.plan))
    if isinstance(answer, Inconclusive):
        return Wait(record, soon(ctx, INCONCLUSIVE_WAIT_SECONDS), f"the probe of the old version is inconclusive: {answer.why}")
    if not isinstance(answer, Accepted):
        return Stop(record, "base_dead", f"the issuer refuses the old version ({answer.why}); the new one stays published")
    record = moves.succeed(changed(record, base=replace(base, accepted=True)), ctx.now())
    record = yield from commit(record, ctx.event(record, "prove", "done", base))
    return Done(record)


def _resume(ctx: Context, record: Record, issuer: Issuer, base: Version) -> Generator[Op, Any, Record | Wait]:
    """End a suspension, once the suspend call can no longer land late; then wait for the issuer to spread the word."""
    rotation = open_rotation(record)
    suspension = rotation.suspension
    assert suspension is not None
    settled, start = passed(ctx, suspension.intended_at, issuer.traits.call_settles_within)
    unanswered = suspension.done_at is None or suspension.attempts > 1
    if unanswered and suspension.resuming_at is None and not settled:
        record = changed(record, suspension=replace(suspension, intended_at=start))
        until = left(ctx, start, issuer.traits.call_settles_within)
        return Wait(record, until, "an unanswered suspend may still land; resuming after it no longer can")
    if suspension.resuming_at is None:
        assert isinstance(issuer, Suspend)
        resume, parameters = issuer.resume, parameters_of(base, rotation.plan)
        try:
            yield from ask(base.issuer, issuer, "resume", lambda: resume(base.ref, parameters), effect=True)
        except NotFound:
            return changed(record, suspension=None)  # the probe that follows tells that it is gone
        record = changed(record, suspension=replace(suspension, resuming_at=ctx.instant()))
        record = yield from commit(record, ctx.event(record, "resume", "done", base))
        suspension = open_rotation(record).suspension
        assert suspension is not None
    believed, start = passed(ctx, suspension.resuming_at, issuer.traits.propagation)
    if not believed:
        record = changed(record, suspension=replace(suspension, resuming_at=start))
        until = left(ctx, start, issuer.traits.propagation)
        return Wait(record, until, "the issuer's answers are believed only after its propagation time")
    return changed(record, suspension=None)
