"""adopt and rebuild: a person tells the journal what is already there. Nothing is revoked by either."""

from __future__ import annotations

from dataclasses import replace

from rotatord.model import Asked, JsonMap, Notice, Record, Slot, Standing, Version
from rotatord.ops import Context, Done, Stop, Unit, ask, commit, fields_of, read
from rotatord.ports import Accepted, Issuer, LiveRef, Query
from rotatord.steps.inspect import behind, unknown_version
from rotatord.steps.prove import parity, probe
from rotatord.steps.slots import Kind, kind


def adopt(ctx: Context, record: Record, asked: Asked) -> Unit:
    """Take over the value at home. With ``ref`` it may be revoked once it is replaced; without, never."""
    spec = record.spec
    issuer = ctx.plugins.issuer(spec.issuer)
    home = ctx.plugins.backend(spec.home.backend)
    held = yield from read(home, spec.home, Slot.CURRENT)
    fields = fields_of(held, issuer.traits.fields)
    record = replace(record, asked=None)
    seen = kind(ctx, record, held, issuer.traits.fields)
    if seen is Kind.NEWER:
        return behind(ctx, record, spec.home.id)
    if seen is Kind.OTHER and held.marker is not None:
        why = f"{spec.home.id} belongs to the installation {held.marker.installation}, which is not this one"
        return Done((yield from commit(record, ctx.event(record, "adopt", "failed", why=why))))
    if fields is None:
        why = f"{spec.home.id} holds no value with the fields {', '.join(issuer.traits.fields)}"
        return Done((yield from commit(record, ctx.event(record, "adopt", "failed", why=why))))
    if asked.ref:
        query = Query(installation=ctx.installation, credential=record.name, ref=asked.ref, parameters=spec.parameters)
        live = yield from ask(spec.issuer, issuer, "find", lambda: issuer.find(query))
        if not any(item.ref == asked.ref for item in live):
            why = f"the issuer knows no live version {asked.ref}"
            return Done((yield from commit(record, ctx.event(record, "adopt", "failed", why=why))))
    version = unknown_version(ctx, record, ctx.fingerprinter.fingerprint(fields), asked.ref)
    answer = yield from probe(ctx, version, fields, spec.scope, spec.parameters)
    if not isinstance(answer, Accepted):
        why = "the issuer does not accept the value at home"
        return Done((yield from commit(record, ctx.event(record, "adopt", "failed", why=why))))
    if asked.ref and answer.ref is not None and answer.ref != asked.ref:
        why = f"the value at home belongs to {answer.ref}, not to {asked.ref}"
        return Done((yield from commit(record, ctx.event(record, "adopt", "failed", why=why))))
    generation = record.generation + 1
    version = replace(
        version,
        generation=generation,
        scope=_scope(spec.scope, answer, issuer, version),
        expires_at=answer.expires_at,
        accepted=True,
    )
    look = Asked(verb="inspect", actor=ctx.actor, at=ctx.now())  # the other destinations do not hold it yet
    record = replace(record, standing=Standing.MANAGED, current=version, generation=generation, drift=(), asked=look)
    event = ctx.event(record, "adopt", "done", version, ref=asked.ref, by=asked.actor)
    return Done((yield from commit(record, event)))


def _scope(asked: JsonMap, answer: Accepted, issuer: Issuer, version: Version) -> JsonMap:
    """The scope as declared where the issuer shows the same, else as it shows it: then it is due for a change."""
    return asked if answer.scope is None or not parity(asked, answer, issuer, version) else answer.scope


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
    if marker is None or fields is None or marker.installation != ctx.installation:
        if not held.empty:
            return Stop(record, "rebuild_unclear", f"{spec.home.id} holds no readable value of ours; `adopt` takes it over")
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
