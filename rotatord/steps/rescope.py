"""rescope: where the scope sits on the principal, widen it before a mint and narrow it once what it was for is dead."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from rotatord import principals
from rotatord.clock import Instant
from rotatord.model import Grant, JsonMap, Record
from rotatord.ops import Context, Done, Op, Unit, Wait, ask, commit, left, passed
from rotatord.ports import PrincipalScope
from rotatord.replacing import replace


def rescope(ctx: Context, record: Record, grant: Grant) -> Unit:
    """Give a principal what its living versions need, and nothing else."""
    scopes = principals.living(record, grant.issuer, grant.parameters)
    result = yield from set_scope(ctx, record, grant.issuer, grant.parameters, scopes)
    if isinstance(result, Wait):
        known = principals.grant_of(result.record, grant.issuer, grant.parameters)
        assert known is not None
        return Done((yield from commit(_with(result.record, replace(known, due_at=result.until)))))
    return Done(result)


def set_scope(
    ctx: Context, record: Record, name: str, parameters: JsonMap, scopes: principals.Scopes
) -> Generator[Op, Any, Record | Wait]:
    """Tell the principal to cover exactly these scopes, unless it was told so and has answered. A change to something else
    waits until no earlier, unanswered one can land after it."""
    issuer = ctx.plugins.issuer(name)
    grant = principals.grant_of(record, name, parameters)
    if issuer.traits.scope_on != "principal" or not isinstance(issuer, PrincipalScope) or not any(scopes):
        return record if grant is None else (yield from _forget(ctx, record, grant))
    if grant is not None and not grant.open and grant.scopes == scopes:
        return record
    loose = (grant.asked if grant.open else grant.loose) if grant is not None else None
    if grant is not None and grant.scopes != scopes and loose is not None:
        over, start = passed(ctx, loose, issuer.traits.call_settles_within)
        if not over:
            waiting = replace(grant, asked=start) if grant.open else replace(grant, loose=start)
            why = "an unanswered change of the principal's scope may still land; the next one waits until it no longer can"
            return Wait(_with(record, waiting), left(ctx, start, issuer.traits.call_settles_within), why)
        loose = None
    target = issuer.widen(list(scopes))
    record = yield from _tell(ctx, record, name, parameters, scopes, loose)
    change = issuer.set_scope
    yield from ask(name, issuer, "set_scope", lambda: change(target, parameters), effect=True)
    told = principals.grant_of(record, name, parameters)
    assert told is not None
    event = ctx.event(record, "set_scope", "done", record.current, scope=target)
    return (yield from commit(_with(record, replace(told, open=False)), event))


def _tell(
    ctx: Context, record: Record, name: str, parameters: JsonMap, scopes: principals.Scopes, loose: Instant | None
) -> Generator[Op, Any, Record]:
    """Commit the intent; of one that is tried again the log has told."""
    asked = Grant(issuer=name, parameters=parameters, scopes=scopes, asked=ctx.instant(), loose=loose)
    before = principals.grant_of(record, name, parameters)
    if before is not None and before.open and before.scopes == scopes:
        return (yield from commit(_with(record, asked)))
    event = ctx.event(record, "set_scope", "intended", record.current, scopes=list(scopes))
    return (yield from commit(_with(record, asked), event))


def _forget(ctx: Context, record: Record, grant: Grant) -> Generator[Op, Any, Record]:
    """No living version asks for anything (any more), and an empty scope touches nothing: nothing is left to be told."""
    why = "none of its versions asks for a scope; what the principal may do stays as it is"
    event = ctx.event(record, "set_scope", "done", record.current, why=why)
    return (yield from commit(replace(record, grants=_others(record, grant)), event))


def _with(record: Record, grant: Grant) -> Record:
    return replace(record, grants=(*_others(record, grant), grant))


def _others(record: Record, grant: Grant) -> tuple[Grant, ...]:
    return tuple(item for item in record.grants if (item.issuer, item.parameters) != (grant.issuer, grant.parameters))
