"""The revocation ledger: every version that must still die, until it is proven dead and its slots are clear.

It retries for ever, never blocks the next rotation (but for capped issuers), and only ever ends what this journal's own
mint intent made or what a person adopted by ref - never what a destination holds, read again just before.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from rotatord import moves
from rotatord.durations import spell
from rotatord.errors import Denied, Invalid, NotFound
from rotatord.model import Debt, Destination, Outcome, OwedVersion, Owing, Record, Slot, Spec, State, Version, Way
from rotatord.ops import (
    Context,
    Done,
    Op,
    Unit,
    Wait,
    ask,
    clear,
    commit,
    holds,
    left,
    parameters_of,
    passed,
    read,
    soon,
)
from rotatord.ports import Accepted, Held, Inconclusive, Issuer, Query, RefusedVerdict, Sessions, Suspend
from rotatord.replacing import replace
from rotatord.secret import Secret
from rotatord.steps.copies import shows
from rotatord.steps.slots import fields_at, find_fields, named

Question = Generator[Op, Any, str]  # why a version must not die yet, or ""
Guard = Callable[[Context, Record, OwedVersion], Question]
PROOF_WAIT_SECONDS = 1.0
BLOCKED_WAIT_SECONDS = 10.0
TOLD_AFTER, TOLD_AGAIN_AFTER = timedelta(hours=1), timedelta(days=1)
PROOFS_WHEN_SPREADING = 2
CLOCK_SKEW = timedelta(minutes=5)  # our wall clock may be so far ahead of the issuer's; what lived before the intent is known


def settle(ctx: Context, record: Record, key: str, guards: tuple[Guard, ...] | None = None) -> Unit:
    """One piece of work on one entry: search, revoke one version, prove one dead, clear its slots, or close the entry.
    ``guards``: for tests, which leave one out."""
    debt = entry(record, key)
    guards = GUARDS if guards is None else guards
    if why := _blocked(ctx, record, debt):
        return Wait(record, soon(ctx, BLOCKED_WAIT_SECONDS), why)
    if debt.sweep_until is not None:
        record = yield from _sweep(ctx, record, debt)
        debt = entry(record, key)
    for owed in debt.owed:
        if owed.owing is Owing.DEAD:
            continue
        if owed.owing is Owing.REVOKED:
            return (yield from _prove_dead(ctx, record, debt, owed))
        return (yield from _revoke(ctx, record, debt, owed, guards))
    for owed in debt.owed:
        yield from _clear_slots(ctx, record, debt, owed)
    over, start = passed(ctx, debt.sweep_from, debt.sweep_for)
    if debt.sweep_until is not None and not over:
        until = left(ctx, start, debt.sweep_for)
        record = _replace_debt(record, replace(debt, sweep_from=start, sweep_until=until))
        return Wait(record, until, "an unanswered mint may still appear at the issuer until then")
    if debt.sweep_until is not None:
        record = yield from _sweep(ctx, record, debt)
        if any(owed.owing is not Owing.DEAD for owed in entry(record, key).owed):
            return Done(record)
    record = replace(record, ledger=tuple(item for item in record.ledger if item.key != key))
    refs = [owed.version.ref for owed in debt.owed]
    record = yield from commit(
        moves.forget_dead_marks(record), ctx.event(record, "ledger", "settled", rotation=debt.rotation, refs=refs)
    )
    return Done(record)


def entry(record: Record, key: str) -> Debt:
    """The ledger's entry of that key; KeyError when it is settled."""
    for debt in record.ledger:
        if debt.key == key:
            return debt
    raise KeyError(key)


def _blocked(ctx: Context, record: Record, debt: Debt) -> str:
    forced = any(owed.forced for owed in debt.owed)
    now = ctx.now()
    if not forced:
        hold = next((hold for hold in record.holds if hold.until > now), None)
        if hold is not None:
            return f"held by {hold.owner} until {hold.until.isoformat()}"
        leaked = any(moves.compromised(record, owed.version) for owed in debt.owed)
        if (pause := ctx.paused()) is not None and not leaked:
            return pause.why
        if any(_in_use(record, owed, now) for owed in debt.owed) and not _left_since(record, debt):
            return "no rotation or repair has proven yet that its consumers left it; `repair` does"
    rotation = record.rotation
    if rotation is not None and rotation.way is Way.REPAIR and not forced:
        return "a repair is open; what it publishes is not touched meanwhile"
    minting = rotation is not None and any(intent.outcome is Outcome.OPEN for intent in rotation.intents)
    if rotation is not None and rotation.id == debt.rotation and minting:
        return "a mint of this rotation is not answered yet"
    return ""


def _in_use(record: Record, owed: OwedVersion, now: datetime) -> bool:
    """Whether consumers may still run on it. A leaked one does not live on for their sake beyond its deadline."""
    mark = moves.compromised(record, owed.version)
    return owed.reason in moves.NOT_LEFT and (mark is None or now < mark.deadline)


def _left_since(record: Record, debt: Debt) -> bool:
    """Whether a rotation or repair that began after the entry was made has proven that everybody uses something else."""
    last = record.last
    return last is not None and last.state is State.COMPLETED and last.started_at >= debt.opened_at


def _replace_debt(record: Record, debt: Debt) -> Record:
    return replace(record, ledger=tuple(debt if item.key == debt.key else item for item in record.ledger))


def _replace_owed(record: Record, debt: Debt, owed: OwedVersion) -> Record:
    """The record with this owed version changed; progress clears the entry's error."""
    items = tuple(owed if item.version.ref == owed.version.ref else item for item in debt.owed)
    return _replace_debt(record, replace(debt, owed=items, attempts=0, error="", stands_since=None, stands_told=None))


def _spec_of(record: Record) -> Spec:
    return record.rotation.plan if record.rotation is not None else record.spec


def _sweep(ctx: Context, record: Record, debt: Debt) -> Generator[Op, Any, Record]:
    """Find what lost mint answers left behind. A ref that was kept, or that an open rotation staged, is never owed."""
    issuer = ctx.plugins.issuer(debt.issuer)
    spec = _spec_of(record)
    lost = [intent for intent in debt.intents if intent.generation in debt.abandoned]
    query = Query(
        installation=ctx.installation,
        credential=record.name,
        rotation=debt.rotation,
        parameters=spec.parameters if debt.parameters is None else debt.parameters,
        scope=spec.scope,
        since=min((intent.at - CLOCK_SKEW for intent in lost), default=None),
        known=tuple(sorted({ref for intent in lost for ref in intent.known})),
    )
    live = yield from ask(debt.issuer, issuer, "find", lambda: issuer.find(query))
    new = record.rotation.new if record.rotation else None
    kept = {debt.kept, *(version.ref for version in (record.current, new) if version)}
    known = {owed.version.ref for item in record.ledger for owed in item.owed}
    fresh = [item for item in live if item.ref not in kept | known and item.generation in (0, *debt.abandoned)]
    if not fresh:
        return record
    orphans = tuple(
        OwedVersion(version=_orphan(debt, item.ref, item.generation, ctx.now()), reason="orphaned") for item in fresh
    )
    record = _replace_debt(record, replace(debt, owed=(*debt.owed, *orphans)))
    event = ctx.event(
        record, "ledger", "owed", rotation=debt.rotation, refs=[item.ref for item in fresh], why="a lost mint answer"
    )
    return (yield from commit(record, event))


def _orphan(debt: Debt, ref: str, generation: int, now: datetime) -> Version:
    return Version(
        generation=generation or (debt.abandoned[-1] if debt.abandoned else 0),
        rotation=debt.rotation,
        issuer=debt.issuer,
        ref=ref,
        fingerprint="",
        minted_at=now,
        parameters=debt.parameters,
    )


def not_shown(ctx: Context, record: Record, owed: OwedVersion) -> Question:
    """No destination shows it, by a look just before its death."""
    where = yield from _still_held(ctx, record, owed.version)
    if not where or (owed.forced and owed.reason not in moves.NOT_LEFT):
        return ""
    return f"{where} still holds {owed.version.label}; it is not revoked while anything may read it there"


def not_needed(ctx: Context, record: Record, owed: OwedVersion) -> Question:  # noqa: ARG001  guards share one signature
    """It is neither current nor what an open rotation minted or stands on."""
    return "" if _ours(record, owed.version) else f"{owed.version.ref} is current; it is not revoked"
    yield  # a generator, like every guard


GUARDS: tuple[Guard, ...] = (not_shown, not_needed)


def _revoke(ctx: Context, record: Record, debt: Debt, owed: OwedVersion, guards: tuple[Guard, ...]) -> Unit:
    """Read the destinations again, journal the intent, revoke, journal the fact."""
    version = owed.version
    for guard in guards:
        if why := (yield from guard(ctx, record, owed)):
            return (yield from _stands(ctx, record, debt, version, why))
    issuer = ctx.plugins.issuer(version.issuer)
    if not issuer.traits.revocable and version.expires_at is not None and ctx.now() < version.expires_at:
        why = f"{version.label} cannot be revoked; it ends by itself at {version.expires_at.isoformat()}"
        return Wait(record, version.expires_at, why)
    if owed.owing is Owing.OWED:
        owed = replace(owed, forced=owed.forced or _exception(record, debt, owed))
        record = _replace_owed(record, debt, replace(owed, owing=Owing.REVOKING))
        record = yield from commit(record, ctx.event(record, "revoke", "intended", version, ref=version.ref, why=owed.reason))
        debt = entry(record, debt.key)
        owed = replace(owed, owing=Owing.REVOKING)
    spec = _spec_of(record)
    parameters = parameters_of(version, spec)
    value = yield from fields_at(ctx, spec, Slot.PREVIOUS, version) if version.fingerprint else _nothing()
    if spec.policy.end_sessions and isinstance(issuer, Sessions):
        end = issuer.end_sessions
        yield from ask(version.issuer, issuer, "end_sessions", lambda: end(version.ref, parameters), effect=True)
    yield from ask(version.issuer, issuer, "revoke", lambda: issuer.revoke(version.ref, value, parameters), effect=True)
    record = _replace_owed(record, debt, replace(owed, owing=Owing.REVOKED, revoked_at=ctx.now(), revoked=ctx.instant()))
    record = yield from commit(record, ctx.event(record, "revoke", "done", version, ref=version.ref))
    return Done(record)


def _exception(record: Record, debt: Debt, owed: OwedVersion) -> str:
    """Why it may die although nobody has proven that everybody left it; "" when that is proven."""
    mark = moves.compromised(record, owed.version)
    if owed.reason not in moves.NOT_LEFT or _left_since(record, debt) or mark is None:
        return ""
    return f"compromised; it was to die by {mark.deadline.isoformat()}"


def _stands(ctx: Context, record: Record, debt: Debt, version: Version, why: str) -> Unit:
    """Wait for what nothing of ours will change: told after an hour, and each day that it goes on."""
    now = ctx.now()
    since = debt.stands_since or now
    debt = replace(debt, stands_since=since)
    tell_at = since + TOLD_AFTER if debt.stands_told is None else debt.stands_told + TOLD_AGAIN_AFTER
    if now < tell_at:
        return Wait(_replace_debt(record, debt), soon(ctx, BLOCKED_WAIT_SECONDS), why)
    record = _replace_debt(record, replace(debt, stands_told=now))
    text = (
        f"{record.name}: {version.label} should have died {spell(now - since)} ago and cannot: {why}. Make whoever reads it "
        f"there read the new one, or end it for them: `rotatord revoke {record.name}@{version.generation} --now --reason …`"
    )
    facts = {"owner": record.spec.owner, "rotation": debt.rotation}
    record = yield from commit(
        record,
        ctx.event(record, "ledger", "waiting", version, why=why),
        notices=(ctx.notice(record, "overdue", text, **facts),),
    )
    return Wait(record, soon(ctx, BLOCKED_WAIT_SECONDS), why)


def _nothing() -> Generator[Op, Any, None]:
    return None
    yield


def _ours(record: Record, version: Version) -> bool:
    """Never what is current, nor what an open rotation minted or stands on."""
    rotation = record.rotation
    protected = [record.current]
    if rotation is not None:
        protected += [rotation.new, rotation.base]
    return all(item is None or item.ref != version.ref for item in protected)


def _still_held(ctx: Context, record: Record, version: Version) -> Generator[Op, Any, str]:
    """The destination whose current slot holds the version, or ""."""
    names = ctx.plugins.issuer(version.issuer).traits.fields
    specs = [record.spec] + ([record.rotation.plan] if record.rotation else [])
    places = {destination.id: destination for spec in specs for destination in spec.destinations}
    copies = {copy.id: copy for spec in specs for consumer in spec.consumers for copy in consumer.copies}
    for destination in (copies | places).values():
        held = yield from read(ctx.plugins.backend(destination.backend), destination, Slot.CURRENT)
        # Of an orphan no value is known: there the marker tells, in case the journal is older than the world.
        by_marker = held.marker is not None and held.marker.installation == ctx.installation and held.marker.ref == version.ref
        if by_marker if not version.fingerprint else holds(ctx, held, version, names):
            return destination.id
        if destination.id not in places and (yield from _shown_in_part(ctx, record, held, version)):
            return destination.id
    return ""


def _shown_in_part(ctx: Context, record: Record, held: Held, version: Version) -> Generator[Op, Any, bool]:
    """Whether a copy that has only some of the fields shows those of this version, and not the same of the current one."""
    names = frozenset(ctx.plugins.issuer(version.issuer).traits.fields)
    if not version.fingerprint or held.empty or held.fields is None or held.fields.names >= names:
        return False
    spec = _spec_of(record)
    fields: Secret | None = yield from find_fields(ctx, spec, version)
    if fields is None or not shows(held, fields):
        return False
    current: Secret | None = (yield from find_fields(ctx, spec, record.current)) if record.current is not None else None
    return current is None or not shows(held, current)


def _prove_dead(ctx: Context, record: Record, debt: Debt, owed: OwedVersion) -> Unit:
    """Refused from the vantage that had accepted it, or gone at the issuer; more than once where views spread slowly."""
    version = owed.version
    issuer = ctx.plugins.issuer(version.issuer)
    spec = _spec_of(record)
    believed, start = passed(ctx, owed.revoked, issuer.traits.propagation)
    if not believed:
        until = left(ctx, start, issuer.traits.propagation)
        record = _replace_owed(record, debt, replace(owed, revoked=start))
        return Wait(record, until, "the issuer's answers are believed only after its propagation time")
    proof = yield from _proof(ctx, record, issuer, version, spec)
    if not proof:
        again = ctx.now() + max(timedelta(seconds=PROOF_WAIT_SECONDS), issuer.traits.propagation / 2)
        if passed(ctx, start, issuer.traits.propagation + issuer.traits.call_settles_within)[0]:
            owed = replace(owed, owing=Owing.REVOKING)  # still alive long after: revoke again
        return Wait(_replace_owed(record, debt, owed), again, f"{version.label} is revoked but not proven dead yet")
    proofs = owed.proofs + 1
    needed = PROOFS_WHEN_SPREADING if issuer.traits.propagation else 1
    owed = replace(owed, proofs=proofs, proof=proof, owing=Owing.DEAD if proofs >= needed else owed.owing)
    record = _replace_owed(record, debt, owed)
    if owed.owing is not Owing.DEAD:
        return Wait(record, ctx.now() + issuer.traits.propagation / 2, "one more look before it counts as dead")
    record = yield from commit(record, ctx.event(record, "prove_dead", "done", version, ref=version.ref, grade=proof))
    return Done(record)


def _proof(ctx: Context, record: Record, issuer: Issuer, version: Version, spec: Spec) -> Generator[Op, Any, str]:
    """The grade of the proof, or "" when it still lives as far as can be told."""
    parameters = parameters_of(version, spec)
    if version.accepted and version.fingerprint:
        fields = yield from fields_at(ctx, spec, Slot.PREVIOUS, version)
        if fields is not None:
            target = {"scope": version.scope, "parameters": parameters}
            answer = yield from ask(version.issuer, issuer, "probe", lambda: issuer.probe(fields, target))
            if isinstance(answer, Accepted | Inconclusive):
                return ""  # what still opens the door is alive, whatever the issuer lists
            # A suspended version is refused too: there the issuer must also say that it is gone.
            if isinstance(answer, RefusedVerdict) and not isinstance(issuer, Suspend):
                return "refused"
    query = Query(
        installation=ctx.installation, credential=record.name, ref=version.ref, parameters=parameters, scope=spec.scope
    )
    live = yield from ask(version.issuer, issuer, "find", lambda: issuer.find(query))
    return "" if any(item.ref == version.ref for item in live) else "gone"


def _clear_slots(ctx: Context, record: Record, debt: Debt, owed: OwedVersion) -> Generator[Op, Any, None]:
    """Clear pending and previous of the home where their marker names the dead version, also of the home that it had when
    it was replaced; of a retired credential every destination that still shows it."""
    version, spec = owed.version, _spec_of(record)
    places = [(spec.home, Slot.PREVIOUS), (spec.home, Slot.PENDING)]
    if owed.reason == "retired":
        places += [(destination, Slot.CURRENT) for destination in spec.destinations]
    for place, slot in places:
        yield from _clear_slot(ctx, record, version, place, slot)
    if debt.home is not None and debt.home.id != spec.home.id:
        with suppress(Denied, Invalid, NotFound):  # it may be out of our reach by now
            for slot in (Slot.PREVIOUS, Slot.PENDING):
                yield from _clear_slot(ctx, record, version, debt.home, slot)


def _clear_slot(ctx: Context, record: Record, version: Version, place: Destination, slot: Slot) -> Generator[Op, Any, None]:
    backend = ctx.plugins.backend(place.backend)
    held = yield from read(backend, place, slot)
    marker = held.marker
    if held.empty or marker is None or marker.installation != ctx.installation or not named(record, marker):
        return
    if marker.generation == version.generation and marker.ref == version.ref:
        yield from clear(backend, place, slot, held.token)
