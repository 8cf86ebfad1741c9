"""mint: make the new version and put its value into the home's pending slot, so that nothing can be lost after it."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from rotatord import moves, principals
from rotatord.clock import Instant
from rotatord.errors import Conflict, Denied, OutsideError, Permanent, Retryable
from rotatord.guards import GUARDS, Candidate, Guards
from rotatord.model import Marker, MintIntent, Outcome, Record, Rotation, Slot, Version
from rotatord.ops import (
    Context,
    Done,
    Failed,
    Op,
    Unit,
    Wait,
    ask,
    clear,
    commit,
    fields_of,
    left,
    open_rotation,
    passed,
    read,
    soon,
    write,
)
from rotatord.ops import with_rotation as changed
from rotatord.ports import Held, Issuer, Minted, MintRequest, Query
from rotatord.replacing import replace
from rotatord.secret import Secret, digests
from rotatord.steps.preflight import preflight
from rotatord.steps.rescope import set_scope

OVERWRITE_TRIES = 3
SEARCH_WAIT_SECONDS = 5.0


def mint(ctx: Context, record: Record, guards: Guards = GUARDS) -> Unit:
    """From ``planned`` to ``staged``. A value lost between the two: owe it, mint again."""
    rotation = open_rotation(record)
    issuer = ctx.plugins.issuer(rotation.plan.issuer)
    pending = yield from _read_pending(ctx, rotation)
    intent = _open_intent(rotation)
    if intent is not None and issuer.traits.value_origin == "issuer":
        version = _recognise(record, pending, intent, issuer)
        if version is not None:
            return (yield from _staged(ctx, record, version))
    if intent is not None and not _proposal(pending, rotation, intent):
        settled, start = passed(ctx, intent.instant, issuer.traits.call_settles_within)
        if issuer.traits.strategy == "in_place" and not settled:
            record = _retimed(record, intent, start)
            until = left(ctx, start, issuer.traits.call_settles_within)
            return Wait(record, until, "an unanswered mint may still land; minting again after it no longer can")
        record = yield from _abandon(ctx, record, issuer)
    early = yield from preflight(ctx, record, issuer)
    if not isinstance(early, Record):
        return early
    widened = yield from _widen(ctx, early)
    if isinstance(widened, Wait):
        return widened
    return (yield from _mint_one(ctx, widened, issuer, guards))


def _widen(ctx: Context, record: Record) -> Generator[Op, Any, Record | Wait]:
    """Where the scope sits on the principal: cover what lives and what comes, before it comes."""
    plan = open_rotation(record).plan
    scopes = principals.with_scope(principals.living(record, plan.issuer, plan.parameters), plan.scope)
    return (yield from set_scope(ctx, record, plan.issuer, plan.parameters, scopes))


def _open_intent(rotation: Rotation) -> MintIntent | None:
    return next((intent for intent in rotation.intents if intent.outcome is Outcome.OPEN), None)


def _read_pending(ctx: Context, rotation: Rotation) -> Generator[Op, Any, Held]:
    home = rotation.plan.home
    held: Held = yield from read(ctx.plugins.backend(home.backend), home, Slot.PENDING)
    return held


def _proposal(pending: Held, rotation: Rotation, intent: MintIntent) -> bool:
    """Whether pending holds the value that we chose for this intent."""
    marker = pending.marker
    return marker is not None and marker.rotation == rotation.id and marker.generation == intent.generation


def _recognise(record: Record, pending: Held, intent: MintIntent, issuer: Issuer) -> Version | None:
    """The version that an earlier, interrupted attempt already put into pending. A ref in the ledger is never staged."""
    rotation = open_rotation(record)
    if not _proposal(pending, rotation, intent) or fields_of(pending, issuer.traits.fields) is None:
        return None
    marker = pending.marker
    assert marker is not None
    if any(owed.version.ref == marker.ref for debt in record.ledger for owed in debt.owed):
        return None
    fields = fields_of(pending, issuer.traits.fields)
    assert fields is not None
    return Version(
        generation=marker.generation,
        rotation=rotation.id,
        issuer=rotation.plan.issuer,
        ref=marker.ref,
        fingerprint=marker.fingerprint,
        scope=rotation.plan.scope,
        parameters=rotation.plan.parameters,
        minted_at=intent.at,
        expires_at=intent.at + rotation.plan.policy.ttl if rotation.plan.policy.ttl and issuer.traits.expiry else None,
        digests=digests(fields, issuer.traits.high_entropy),
    )


def _staged(ctx: Context, record: Record, version: Version) -> Unit:
    """Commit the fact, with the intent answered."""
    record = moves.succeed(changed(_answered(record, version.generation), new=version, minted=ctx.instant()), ctx.now())
    record = yield from commit(record, ctx.event(record, "mint", "done", version, ref=version.ref))
    return Done(record)


def _answered(record: Record, generation: int) -> Record:
    """What became of that intent is known."""
    intents = tuple(
        replace(intent, outcome=Outcome.ANSWERED) if intent.generation == generation else intent
        for intent in open_rotation(record).intents
    )
    return changed(record, intents=intents)


def _abandon(ctx: Context, record: Record, issuer: Issuer) -> Generator[Op, Any, Record]:
    """Give up a lost value. Pending is rewritten first, so that a late write of it is refused by its compare token."""
    rotation = open_rotation(record)
    home = rotation.plan.home
    backend = ctx.plugins.backend(home.backend)
    held = yield from read(backend, home, Slot.PENDING)
    yield from clear(backend, home, Slot.PENDING, held.token)
    record = moves.abandon(record, issuer.traits, ctx.now())
    return (yield from commit(record, ctx.event(record, "mint", "failed", why="the answer was lost; whatever it made is owed")))


def _request(ctx: Context, record: Record, generation: int) -> MintRequest:
    rotation = open_rotation(record)
    plan = rotation.plan
    return MintRequest(
        installation=ctx.installation,
        credential=record.name,
        rotation=rotation.id,
        generation=generation,
        scope=plan.scope,
        parameters=plan.parameters,
        ttl=plan.policy.ttl,
        owner=plan.owner,
        purpose=plan.purpose,
    )


def _mint_one(ctx: Context, record: Record, issuer: Issuer, guards: Guards) -> Unit:
    rotation = open_rotation(record)
    plan = rotation.plan
    intent = _open_intent(rotation)
    by_caller = issuer.traits.value_origin == "caller"
    if intent is None:
        yield from _ask_for_the_last(ctx, record, issuer)
        known: tuple[str, ...] = ()
        if not issuer.traits.labels:
            query = Query(installation=ctx.installation, credential=record.name, parameters=plan.parameters, scope=plan.scope)
            live = yield from ask(plan.issuer, issuer, "find", lambda: issuer.find(query))
            known = tuple(sorted(item.ref for item in live))
            if (unexplained := _unexplained(record, known)) and _searching(record):
                return Wait(record, soon(ctx, SEARCH_WAIT_SECONDS), "what an unanswered mint made is still searched for")
            if unexplained:
                words = f"live at the issuer and made by nobody that we know of: {', '.join(unexplained)}"
                return Failed(
                    record, f"{words}; delete what nobody uses, or `adopt {record.name} --ref` what the destinations hold"
                )
        intent = MintIntent(generation=record.generation + 1, at=ctx.now(), instant=ctx.instant(), known=known)
        record = replace(changed(record, intents=(*rotation.intents, intent)), generation=intent.generation)
        record = yield from commit(record, ctx.event(record, "mint", "intended", generation=intent.generation))
    else:
        record = _again(record, intent, ctx.instant())
        record = yield from commit(record, ctx.event(record, "mint", "intended", generation=intent.generation, again=True))
    request = _request(ctx, record, intent.generation)
    proposed: Secret | None = None
    if by_caller:
        proposed = yield from _propose(ctx, record, issuer, request)
    try:
        minted: Minted = yield from ask(plan.issuer, issuer, "mint", lambda: issuer.mint(request, proposed), effect=True)
    except Permanent as error:
        if error.made_nothing:
            yield from commit(_answered(record, intent.generation))
        raise
    version = _version(ctx, record, issuer, minted, intent)
    if not by_caller:
        yield from _overwrite_pending(ctx, record, version, minted.fields)
    if problem := guards.problem(_candidate(ctx, record, issuer, minted, version)):
        failed = changed(record, new=version)
        return Failed(failed, problem)
    return (yield from _staged(ctx, record, version))


def _ask_for_the_last(ctx: Context, record: Record, issuer: Issuer) -> Generator[Op, Any, None]:
    """Where nobody could search for what an earlier unanswered mint made, ask that first: an issuer that refuses us would
    refuse this mint too, which would leave one more to search for, at each try for as long as our identity is dead. Raises
    Denied. Any other trouble keeps nobody from minting."""
    plan = open_rotation(record).plan
    unsearched = (item for item in record.ledger if item.issuer == plan.issuer and item.sweep_until is not None and item.error)
    debt = next(unsearched, None)
    if debt is None:
        return
    query = Query(
        installation=ctx.installation,
        credential=record.name,
        rotation=debt.rotation,
        parameters=plan.parameters if debt.parameters is None else debt.parameters,
        scope=plan.scope,
    )
    try:
        yield from ask(plan.issuer, issuer, "find", lambda: issuer.find(query))
    except Denied:
        raise
    except OutsideError:
        return


def _retimed(record: Record, intent: MintIntent, start: Instant) -> Record:
    """The wait for an unanswered mint counts from ``start``."""
    intents = tuple(
        replace(item, instant=start) if item.generation == intent.generation else item for item in open_rotation(record).intents
    )
    return changed(record, intents=intents)


def _again(record: Record, intent: MintIntent, start: Instant) -> Record:
    """The same value is minted once more: the unanswered call may still land, so what it leaves is searched for later."""
    intents = tuple(
        replace(item, repeated=True, instant=start) if item.generation == intent.generation else item
        for item in open_rotation(record).intents
    )
    return changed(record, intents=intents)


def _unexplained(record: Record, known: tuple[str, ...]) -> list[str]:
    ours = {owed.version.ref for debt in record.ledger for owed in debt.owed}
    ours |= {version.ref for version in (record.current, open_rotation(record).new) if version}
    return sorted(set(known) - ours)


def _searching(record: Record) -> bool:
    """Whether the ledger still looks for what a lost answer of this rotation made."""
    rotation = open_rotation(record).id
    return any(debt.rotation == rotation and debt.sweep_until is not None for debt in record.ledger)


def _version(ctx: Context, record: Record, issuer: Issuer, minted: Minted, intent: MintIntent) -> Version:
    rotation = open_rotation(record)
    return Version(
        generation=intent.generation,
        rotation=rotation.id,
        issuer=rotation.plan.issuer,
        ref=minted.ref,
        fingerprint=ctx.fingerprinter.fingerprint(minted.fields),
        scope=rotation.plan.scope,
        parameters=rotation.plan.parameters,
        minted_at=intent.at,
        expires_at=minted.expires_at,
        renew_at=minted.renew_at,
        digests=digests(minted.fields, issuer.traits.high_entropy),
    )


def _candidate(ctx: Context, record: Record, issuer: Issuer, minted: Minted, version: Version) -> Candidate:
    rotation = open_rotation(record)
    return Candidate(
        minted=minted,
        fingerprint=version.fingerprint,
        replaced=rotation.base.fingerprint if rotation.base is not None else "",
        traits=issuer.traits,
        ttl=rotation.plan.policy.ttl,
        now=ctx.now(),
    )


def _propose(ctx: Context, record: Record, issuer: Issuer, request: MintRequest) -> Generator[Op, Any, Secret]:
    """The value that we choose, durable in pending before the issuer hears of it."""
    rotation = open_rotation(record)
    pending = yield from _read_pending(ctx, rotation)
    intent = _open_intent(rotation)
    assert intent is not None
    if _proposal(pending, rotation, intent):
        known = fields_of(pending, issuer.traits.fields)
        if known is not None:
            return known
    proposed: Secret = yield from ask(rotation.plan.issuer, issuer, "propose", lambda: issuer.propose(request))
    version = _version(ctx, record, issuer, Minted(ref="", fields=proposed), intent)
    yield from _overwrite_pending(ctx, record, version, proposed)
    return proposed


def _overwrite_pending(ctx: Context, record: Record, version: Version, fields: Secret) -> Generator[Op, Any, None]:
    """Write pending whatever it holds: it is ours alone. A lost race is looked at again, a few times."""
    home = open_rotation(record).plan.home
    backend = ctx.plugins.backend(home.backend)
    marker: Marker = ctx.marker(record, version, Slot.PENDING)
    for _ in range(OVERWRITE_TRIES):
        held = yield from read(backend, home, Slot.PENDING)
        try:
            yield from write(backend, home, Slot.PENDING, fields, marker, held.token)
        except Conflict:
            continue
        return
    raise Retryable(f"somebody else keeps writing the pending slot of {home.id}")
