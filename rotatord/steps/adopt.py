"""adopt and rebuild: a person tells the journal what is already there. Neither revokes anything itself."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from rotatord import moves
from rotatord.model import Asked, JsonMap, Notice, Record, Slot, Standing, Version
from rotatord.ops import Context, Done, Op, Unit, ask, commit, fields_of, read
from rotatord.ports import Accepted, Held, Issuer, LiveRef, PrincipalScope, Query, Shortens
from rotatord.replacing import replace
from rotatord.steps.inspect import behind, unknown_version
from rotatord.steps.prove import parity, probe
from rotatord.steps.slots import Kind, kind


def adopt(ctx: Context, record: Record, asked: Asked) -> Unit:
    """Take over the value at home. With ``ref`` it may be revoked once it is replaced; without, never. A version of ours
    that it stands in for is owed, and dies once a repair has proven that everybody left it."""
    spec = record.spec
    held = yield from read(ctx.plugins.backend(spec.home.backend), spec.home, Slot.CURRENT)
    record = replace(record, asked=None)
    seen = kind(ctx, record, held, ctx.plugins.issuer(spec.issuer).traits.fields)
    if seen is Kind.NEWER:
        return behind(ctx, record, spec.home.id)
    if refusal := _not_to_be_adopted(record, held, seen):
        return Done((yield from commit(record, ctx.event(record, "adopt", "failed", why=refusal, by=asked.actor))))
    found = yield from _identified(ctx, record, asked, held)
    if isinstance(found, str):
        return Done((yield from commit(record, ctx.event(record, "adopt", "failed", why=found, by=asked.actor))))
    version, ref = found
    event = ctx.event(record, "adopt", "done", version, ref=version.ref, by=asked.actor)
    return Done((yield from commit(_taken_over(ctx, record, version, ref), event)))


def _not_to_be_adopted(record: Record, held: Held, seen: Kind) -> str:
    """Why what lies at home is not somebody's to be taken over; "" when it is."""
    home = record.spec.home.id
    if record.rotation is not None:
        return f"rotation {record.rotation.id} is open"
    if seen is Kind.CURRENT:
        return f"{home} holds the current version already"
    if seen is Kind.OLDER:
        return f"{home} holds an older version of ours: `repair` publishes the current one"
    if seen is Kind.OTHER and held.marker is not None:
        return f"{home} belongs to the installation {held.marker.installation}, which is not this one"
    return ""


def _identified(ctx: Context, record: Record, asked: Asked, held: Held) -> Generator[Op, Any, tuple[Version, str | None] | str]:
    """The version at home, and the issuer's id of it where the issuer tells; or why there is none to adopt."""
    spec = record.spec
    issuer = ctx.plugins.issuer(spec.issuer)
    fields = fields_of(held, issuer.traits.fields)
    if fields is None:
        return f"{spec.home.id} holds no value with the fields {', '.join(issuer.traits.fields)}"
    ref = asked.ref
    if ref and isinstance(issuer, Shortens):
        whole, given = issuer.whole_ref, asked.ref
        ref = yield from ask(spec.issuer, issuer, "whole_ref", lambda: whole(given, spec.parameters))
    if ref:
        query = Query(installation=ctx.installation, credential=record.name, ref=ref, parameters=spec.parameters)
        live = yield from ask(spec.issuer, issuer, "find", lambda: issuer.find(query))
        if not any(item.ref == ref for item in live):
            return f"the issuer knows no live version {ref}"
    version = unknown_version(ctx, record, ctx.fingerprinter.fingerprint(fields), ref)
    answer = yield from probe(ctx, version, fields, spec.scope, spec.parameters)
    if not isinstance(answer, Accepted):
        return "the issuer does not accept the value at home"
    if ref and answer.ref is not None and answer.ref != ref:
        command = f"`adopt {record.name} --ref {answer.ref}`"
        return f"the value at home belongs to {answer.ref}, not to {ref}: if that is meant, {command}"
    version = replace(
        version,
        generation=record.generation + 1,
        scope=_scope(spec.scope, answer, issuer, version),
        expires_at=answer.expires_at,
        accepted=True,
        parameters=spec.parameters if ref else None,  # with a ref it was found there, and only there can it be ended
    )
    return version, answer.ref


def _taken_over(ctx: Context, record: Record, version: Version, ref: str | None) -> Record:
    former, now = record.current, ctx.now()
    record = replace(record, standing=Standing.MANAGED, current=version, generation=version.generation, drift=())
    if former is None or not former.ref or former.ref in {version.ref, ref}:
        look = Asked(verb="inspect", actor=ctx.actor, at=now)  # the other destinations do not hold it yet
        return replace(record, asked=look)
    record = moves.owe(record, moves.debt_of(former, moves.BY_HAND, now, rotation=ctx.ids.new("adp")))
    return moves.plan_repair(record, now, ctx.ids, ctx.actor)


def _scope(asked: JsonMap, answer: Accepted, issuer: Issuer, version: Version) -> JsonMap:
    """The scope as declared where the issuer shows the same, else as it shows it: then it is due for a change."""
    shown = issuer.widen([asked]) if isinstance(issuer, PrincipalScope) else asked
    return asked if answer.scope is None or not parity(shown, answer, issuer, version) else answer.scope


def rebuild(ctx: Context, record: Record, asked: Asked) -> Unit:
    """Restore a record from slots and labels. Versions that no slot calls current stay live and are reported as strays."""
    spec = record.spec
    issuer = ctx.plugins.issuer(spec.issuer)
    home = ctx.plugins.backend(spec.home.backend)
    held = yield from read(home, spec.home, Slot.CURRENT)
    highest = record.generation
    for slot in (Slot.PENDING, Slot.PREVIOUS):
        other = yield from read(home, spec.home, slot)
        if other.marker is not None and other.marker.installation == ctx.installation:
            highest = max(highest, other.marker.generation)
    query = Query(installation=ctx.installation, credential=record.name, parameters=spec.parameters, scope=spec.scope)
    live: list[LiveRef] = list((yield from ask(spec.issuer, issuer, "find", lambda: issuer.find(query))))
    highest = max([highest, *(item.generation for item in live)])
    marker, fields = held.marker, fields_of(held, issuer.traits.fields)
    if marker is None or fields is None or marker.installation != ctx.installation or not held.intact:
        if not held.empty:
            record = replace(record, standing=Standing.UNMANAGED, generation=highest, rotation=None, asked=None, current=None)
            why = f"{spec.home.id} holds no readable value of ours; `adopt` takes it over"
            return Done((yield from commit(record, ctx.event(record, "rebuild", "unmanaged", why=why, by=asked.actor))))
        record = replace(record, standing=Standing.MANAGED, generation=highest, rotation=None, asked=None, current=None)
        return Done(
            (yield from commit(record, ctx.event(record, "rebuild", "done", why="nothing is published", by=asked.actor)))
        )
    at_issuer = next((item for item in live if item.ref == marker.ref), None)
    version = Version(
        generation=marker.generation,
        rotation=marker.rotation,
        issuer=spec.issuer,
        ref=marker.ref,
        fingerprint=ctx.fingerprinter.fingerprint(fields),
        scope=spec.scope,
        minted_at=(at_issuer.created_at if at_issuer else None) or ctx.now(),
        expires_at=at_issuer.expires_at if at_issuer else None,
        parameters=spec.parameters if at_issuer else None,
    )
    answer = yield from probe(ctx, version, fields, spec.scope, spec.parameters)
    accepted = isinstance(answer, Accepted)
    if isinstance(answer, Accepted):
        version = replace(version, scope=_scope(spec.scope, answer, issuer, version), accepted=True)
    others = sorted(item.ref for item in live if item.ref != marker.ref)
    rebuilt = replace(
        record,
        standing=Standing.MANAGED,
        generation=max(highest, marker.generation),
        current=version,
        rotation=None,
        drift=(),
        asked=None,
    )
    event = ctx.event(rebuilt, "rebuild", "done", version, accepted=accepted, others=others, by=asked.actor)
    notices: tuple[Notice, ...] = ()
    if others:
        text = f"{record.name}: {len(others)} live versions that this journal did not make: {', '.join(others)}"
        notices = (ctx.notice(record, "strays", text, refs=others),)
    return Done((yield from commit(rebuilt, event, notices=notices)))
