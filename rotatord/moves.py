"""How a record changes when something was decided: pure, no I/O, every move through the table of :mod:`rotatord.machine`."""

from __future__ import annotations

from datetime import datetime, timedelta

from rotatord.clock import Ids
from rotatord.machine import HALTED, STAYS, TABLE, Place, Row
from rotatord.model import (
    Asked,
    Debt,
    Halt,
    LeakMark,
    Outcome,
    OwedVersion,
    Reason,
    Record,
    Rotation,
    State,
    Summary,
    Version,
    Way,
)
from rotatord.ops import open_rotation, with_rotation
from rotatord.ports import Traits
from rotatord.replacing import replace
from rotatord.retry import after_rolled_back, after_step

BY_HAND = "replaced by hand"  # why a version is owed that a person's own value stands in for
UNPROVEN = "given up unproven"  # why a version is owed that consumers may still be using
NOT_LEFT = frozenset({BY_HAND, UNPROVEN})  # these die only once a later rotation or repair has proven that everybody left


def place(rotation: Rotation) -> Place:
    """Where the rotation stands."""
    return Place(rotation.state, rotation.way)


def row(rotation: Rotation) -> Row:
    """The table's row for where it stands. KeyError: a bug, the rotation has ended."""
    return TABLE[place(rotation)]


def deadline(rotation: Rotation) -> datetime | None:
    """When the present place has lasted too long, by the policy the rotation was planned with."""
    limit = row(rotation).limit
    return None if limit is None else rotation.since + getattr(rotation.plan.policy, limit)


def enter(record: Record, to: Place, now: datetime) -> Record:
    """Move the open rotation to a place of the table. A change of way begins a new leg and starts the waves again."""
    rotation = open_rotation(record)
    turned = to.way is not rotation.way
    return with_rotation(
        record,
        state=to.state,
        way=to.way,
        leg=rotation.leg + 1 if turned else rotation.leg,
        wave=0 if turned else rotation.wave,
        since=now,
        attempts=0,
        due_at=now,
        waiting="",
        error="",
        unhealthy=0,
        healthy_since=None,
        timer=None if turned else rotation.timer,
    )


def succeed(record: Record, now: datetime) -> Record:
    """Take the table's edge for success; while waves remain, to the next wave."""
    rotation = open_rotation(record)
    entry = row(rotation)
    last_wave = len(rotation.plan.waves) - 1 if rotation.way is not Way.BACK else rotation.reached
    if entry.next_wave is not None and rotation.wave < last_wave:
        record = with_rotation(record, wave=rotation.wave + 1)
        return enter(record, entry.next_wave, now)
    return enter(record, entry.ok, now)


def publish_again(record: Record, now: datetime) -> Record:
    """A destination lost what was published: publish once more, as a new leg, so that everything is written anew."""
    rotation = open_rotation(record)
    to = row(rotation).drifted
    assert to is not None, "only places after publish can see drift"
    record = with_rotation(record, leg=rotation.leg + 1, drifts=rotation.drifts + 1, wave=0, reached=_furthest(rotation))
    return enter(with_rotation(record, timer=None), to, now)


def _furthest(rotation: Rotation) -> int:
    return rotation.reached if rotation.way is Way.BACK else max(rotation.reached, rotation.wave)


def plan(
    record: Record, reason: Reason, now: datetime, ids: Ids, actor: str, *, hard_deadline: datetime | None = None
) -> Record:
    """Open a rotation forward over the specification as it is now."""
    if record.rotation is not None:  # no assertion: PYTHONOPTIMIZE leaves those out
        raise ValueError(f"{record.name} has an open rotation already")
    rotation = Rotation(
        id=ids.new("rot"),
        reason=reason,
        way=Way.FORWARD,
        state=State.PLANNED,
        plan=record.spec,
        base=record.current,
        since=now,
        due_at=now,
        started_at=now,
        actor=actor,
        hard_deadline=hard_deadline,
        overwrites=record.asked is not None and record.asked.overwrites,
    )
    return replace(record, rotation=rotation, asked=None)


def plan_repair(record: Record, now: datetime, ids: Ids, actor: str) -> Record:
    """Open a repair: publish, reload and verify the current version again."""
    if record.rotation is not None or record.current is None:
        raise ValueError(f"{record.name}: a repair needs a current version, and no open rotation")
    rotation = Rotation(
        id=ids.new("rot"),
        reason=Reason.MANUAL,
        way=Way.REPAIR,
        state=State.PROVEN,
        plan=record.spec,
        base=record.current,
        since=now,
        due_at=now,
        started_at=now,
        actor=actor,
    )
    return replace(record, rotation=rotation, asked=None)


def compromised(record: Record, version: Version | None) -> LeakMark | None:
    """The mark that says this version leaked, or None."""
    if version is None:
        return None
    return next((mark for mark in record.leaks if mark.generation == version.generation), None)


def mint_kills_base(rotation: Rotation, traits: Traits) -> bool:
    """Whether minting ends the base: at an in-place issuer, unless the base is another issuer's."""
    return traits.strategy == "in_place" and (rotation.base is None or rotation.base.issuer == rotation.plan.issuer)


def in_place_pivot_passed(rotation: Rotation, traits: Traits) -> bool:
    """At an in-place issuer the mint intent is the pivot: nothing before it can be restored."""
    return mint_kills_base(rotation, traits) and bool(rotation.intents)


def why_no_way_back(record: Record, traits: Traits) -> str:
    """Why the open rotation cannot be rolled back now; "" when it can."""
    rotation = open_rotation(record)
    if rotation.way is Way.REPAIR:
        return "a repair restores the current version; there is nothing to go back to"
    if rotation.way is Way.BACK:
        return "it is going back already"
    if in_place_pivot_passed(rotation, traits):
        return "minting at an in-place issuer ended the old version; there is only forward"
    if not rotation.touched:
        return ""
    if rotation.base is None:
        return "there is no earlier version to go back to"
    if compromised(record, rotation.base):
        return "the version it would restore is known to be compromised"
    return ""


def turn_back(record: Record, why: str, now: datetime) -> Record:
    """Undo: before anything was published, discard; afterwards restore the base. The caller asked why_no_way_back."""
    rotation = open_rotation(record)
    to = Place(State.STAGED, Way.BACK) if rotation.touched else Place(State.DISCARDING, Way.BACK)
    record = with_rotation(record, rollback=why, reached=_furthest(rotation), halt=None)
    return enter(record, to, now)


def give_up(record: Record, why: str, now: datetime) -> Record:
    """End the rotation without restoring anything, because there is nothing clean to restore: what it minted is owed, but
    dies only once a later rotation has proven that everybody left it."""
    return enter(with_rotation(record, rollback=why, halt=None), Place(State.DISCARDING, Way.BACK), now)


def forward_again(record: Record, state: State, now: datetime) -> Record:
    """Turn from the way back to the way forward. A suspension is asked for anew, and none that may still land is forgotten."""
    rotation = open_rotation(record)
    suspension = rotation.suspension and replace(rotation.suspension, done_at=None, resuming_at=None)
    return enter(with_rotation(record, halt=None, suspension=suspension, drifts=0), Place(state, Way.FORWARD), now)


def halt(record: Record, code: str, why: str, now: datetime) -> Record:
    """Stop the open rotation for a person; everything stays as it is."""
    return with_rotation(record, halt=Halt(code=code, message=why, at=now), error=why, waiting="")


def fail(record: Record, why: str, traits: Traits, now: datetime, *, verdict: bool = True) -> Record:
    """Take the table's edge for a permanent failure or a passed deadline. ``verdict``: the gate said no, as opposed to
    trouble on the way; at ``verified`` only that turns back."""
    rotation = open_rotation(record)
    to = row(rotation).failed
    if to == STAYS:
        if verdict and not why_no_way_back(record, traits):
            return turn_back(record, why, now)
        attempts = rotation.attempts + 1
        wait = max(rotation.plan.policy.poll, after_step(attempts, 0.0))
        return with_rotation(record, error=why, attempts=attempts, due_at=now + wait)
    if to == HALTED:
        return halt(record, f"{rotation.way.value}_{row(rotation).step.value}_failed", why, now)
    if rotation.way is Way.FORWARD and in_place_pivot_passed(rotation, traits):
        return halt(record, "in_place_no_way_back", why, now)
    if refusal := why_no_way_back(record, traits):
        if compromised(record, rotation.base) and rotation.new is not None:
            return _only_forward(record, why, now)
        return halt(record, "no_way_back", f"{why}; {refusal}", now)
    return turn_back(record, why, now)


def _only_forward(record: Record, why: str, now: datetime) -> Record:
    """The base leaked, so it is never restored: go on, loudly. A new version that is no good itself is given up for another
    one; past the hard deadline a reload that fails does not keep the base alive, the gate decides."""
    rotation = open_rotation(record)
    if rotation.state is State.STAGED:
        return give_up(record, why, now)
    if rotation.state is State.PUBLISHED and rotation.hard_deadline is not None and now >= rotation.hard_deadline:
        return with_rotation(enter(record, row(rotation).ok, now), error=why)
    return with_rotation(record, error=why, since=now, due_at=now + timedelta(seconds=30), unhealthy=0)


def _summary(record: Record, state: State, now: datetime) -> Summary:
    rotation = open_rotation(record)
    return Summary(
        id=rotation.id,
        reason=rotation.reason,
        way=rotation.way,
        state=state,
        started_at=rotation.started_at,
        finished_at=now,
        error=rotation.rollback or rotation.error,
    )


def owe(record: Record, debt: Debt) -> Record:
    """Put an entry in the ledger, merged with the one of the same rotation."""
    for index, entry in enumerate(record.ledger):
        if entry.key == debt.key:
            known = {owed.version.ref for owed in entry.owed}
            untils = [until for until in (entry.sweep_until, debt.sweep_until) if until is not None]
            merged = replace(
                entry,
                owed=(*entry.owed, *(owed for owed in debt.owed if owed.version.ref not in known)),
                sweep_until=max(untils) if untils else None,
                sweep_from=None,
                sweep_for=max(entry.sweep_for, debt.sweep_for),
                abandoned=tuple(sorted({*entry.abandoned, *debt.abandoned})),
                intents=debt.intents or entry.intents,
                kept=debt.kept or entry.kept,
                home=debt.home or entry.home,
                due_at=debt.due_at,
            )
            return replace(record, ledger=(*record.ledger[:index], merged, *record.ledger[index + 1 :]))
    return replace(record, ledger=(*record.ledger, debt))


def owed_by(record: Record, traits: Traits, now: datetime, *, keep: Version | None, reason: str) -> Debt | None:
    """What the open rotation owes of its own mints, except ``keep``; None when nothing. Where minting kills, nothing is: the
    one live version is the one that counts, and it may have the id of the one before."""
    rotation = open_rotation(record)
    if mint_kills_base(rotation, traits):
        return None
    lost = [intent for intent in rotation.intents if intent.outcome is not Outcome.ANSWERED or intent.repeated]
    owed: tuple[OwedVersion, ...] = ()
    if rotation.new is not None and rotation.new.ref and (keep is None or rotation.new.ref != keep.ref):
        owed = (OwedVersion(version=rotation.new, reason=reason),)
    if not owed and not lost:
        return None
    settles = traits.call_settles_within + traits.listing_delay
    return Debt(
        rotation=rotation.id,
        issuer=rotation.plan.issuer,
        owed=owed,
        sweep_until=now + settles if lost else None,  # from now on: the mint may have been called a moment ago
        sweep_for=settles if lost else timedelta(0),
        abandoned=tuple(intent.generation for intent in lost),
        intents=rotation.intents,
        kept=keep.ref if keep else "",
        parameters=rotation.plan.parameters,
        home=rotation.plan.home,
        opened_at=now,
        due_at=now,
    )


def abandon(record: Record, traits: Traits, now: datetime) -> Record:
    """Give up the open mint intents: whatever they made is owed."""
    rotation = open_rotation(record)
    intents = tuple(
        replace(intent, outcome=Outcome.ABANDONED) if intent.outcome is Outcome.OPEN else intent for intent in rotation.intents
    )
    record = with_rotation(record, intents=intents)
    debt = owed_by(record, traits, now, keep=None, reason="orphaned")
    return record if debt is None else owe(record, debt)


def debt_of(version: Version, reason: str, now: datetime, *, rotation: str, forced: str = "") -> Debt:
    """A ledger entry for one version."""
    return Debt(
        rotation=rotation,
        issuer=version.issuer,
        owed=(OwedVersion(version=version, reason=reason, forced=forced),),
        opened_at=now,
        due_at=now,
    )


def complete(record: Record, traits: Traits, now: datetime, *, forced: str = "") -> Record:
    """The pivot, or the end of a repair. Forward: the new version is current and the base is owed. ``forced``: why that
    was decided without the full gate."""
    rotation = open_rotation(record)
    ended = replace(record, rotation=None, last=_summary(record, State.COMPLETED, now), failures=0, backoff_until=None)
    if rotation.plan.destinations != record.spec.destinations and record.asked is None:
        ended = replace(ended, asked=Asked(verb="inspect", actor="configuration", at=now))  # declared since it was planned
    if rotation.way is Way.REPAIR:
        return replace(ended, drift=())
    assert rotation.new is not None
    ended = replace(ended, current=rotation.new, drift=(), held_for_person=_still_braked(record))
    own = owed_by(record, traits, now, keep=rotation.new, reason="orphaned")
    if own is not None:
        ended = owe(ended, own)
    base = rotation.base
    if base is not None and base.ref and not mint_kills_base(rotation, traits):
        reason = "leaked" if compromised(record, base) else "replaced"
        ended = owe(ended, replace(debt_of(base, reason, now, rotation=rotation.id, forced=forced), home=rotation.plan.home))
    return replace(ended, leaks=_live_marks(ended))


def _still_braked(record: Record) -> str:
    """What a change of the configuration during the rotation holds for a person; its own end settles everything else."""
    return record.held_for_person if open_rotation(record).plan != record.spec else ""


def _live_marks(record: Record) -> tuple[LeakMark, ...]:
    """Marks that still name a version that lives: current, new, or owed."""
    alive = {owed.version.generation for debt in record.ledger for owed in debt.owed}
    alive |= {v.generation for v in (record.current, record.rotation.new if record.rotation else None) if v}
    return tuple(mark for mark in record.leaks if mark.generation in alive)


def forget_dead_marks(record: Record) -> Record:
    """Drop leak marks whose version is proven dead."""
    return replace(record, leaks=_live_marks(record))


def discarded(record: Record, traits: Traits, now: datetime) -> Record:
    """The end of the way back: everything this rotation minted is owed, and the credential backs off."""
    rotation = open_rotation(record)
    restored = not rotation.touched or any(fact.leg == rotation.leg for fact in rotation.written)
    debt = owed_by(record, traits, now, keep=None, reason="discarded" if restored else UNPROVEN)
    ended = replace(record, rotation=None, last=_summary(record, State.ROLLED_BACK, now))
    if debt is not None:
        ended = owe(ended, debt)
    leaked_before_publish = compromised(record, rotation.new) is not None
    failures = record.failures if leaked_before_publish else record.failures + 1
    wait = timedelta(0) if leaked_before_publish else after_rolled_back(failures, rotation.reason)
    # A look at the destinations follows: what a failed publish left behind is found at once.
    asked = record.asked or Asked(verb="inspect", actor="rotatord", at=now)
    held = (
        _still_braked(record) if wait is not None else f"{failures} rotations in a row were rolled back; `rotate` tries again"
    )
    return replace(
        ended,
        asked=asked,
        failures=failures,
        backoff_until=now + wait if wait is not None else None,
        held_for_person=held,
        leaks=_live_marks(ended),
    )


def no_clean_one(record: Record, traits: Traits, now: datetime) -> Record:
    """Base and new are both no good to keep. Where a third may live, end here and start anew; where the issuer is capped
    the base can only die after everybody left it, so the new one is rolled out first and replaced next."""
    if traits.max_live is None and traits.strategy in {"overlapping", "leased"}:
        return superseded(record, traits, now)
    return forward_again(record, State.STAGED, now) if open_rotation(record).way is Way.BACK else record


def superseded(record: Record, traits: Traits, now: datetime) -> Record:
    """No clean base is left: the new version becomes current and a new rotation starts. The base dies once that one has
    proven that everybody left it; a leaked one at its deadline, if no destination holds it any more."""
    rotation = open_rotation(record)
    assert rotation.new is not None
    own = owed_by(record, traits, now, keep=rotation.new, reason="orphaned")
    ended = replace(record, rotation=None, current=rotation.new, last=_summary(record, State.SUPERSEDED, now))
    if own is not None:
        ended = owe(ended, own)
    if rotation.base is not None and rotation.base.ref:
        ended = owe(ended, debt_of(rotation.base, UNPROVEN, now, rotation=rotation.id))
    return ended
