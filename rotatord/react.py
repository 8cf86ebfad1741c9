"""What people's commands do to a record: pure. Everything is decided here, against the record as it is, in one transaction.

A command that cannot be done raises :class:`~rotatord.errors.Refused` with the reason and what would work instead.
"""

# ruff: noqa: ARG001  the handlers share one signature

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from rotatord import moves
from rotatord.clock import Ids
from rotatord.commands import Command
from rotatord.dangers import kept_though_leaked
from rotatord.errors import Refused
from rotatord.machine import Place
from rotatord.model import (
    Asked,
    Event,
    Hold,
    LeakMark,
    Notice,
    Outcome,
    Reason,
    Record,
    Reloaded,
    Standing,
    State,
    Version,
    Way,
)
from rotatord.ops import open_rotation, with_rotation
from rotatord.ports import Amendment, Traits
from rotatord.replacing import replace
from rotatord.work import next_due

TraitsOf = Callable[[str], Traits]
Handler = Callable[[Record, Command, datetime, Ids, TraitsOf], Record]


class Accept:
    """Carries out commands on records. ``traits`` tells an issuer's traits by its configured name; ``own_of`` what we speak to
    by now with what lies at a credential's destinations."""

    def __init__(self, traits: TraitsOf, own_of: Callable[[Record], Sequence[str]] = lambda record: record.spec.own_of) -> None:
        self._traits = traits
        self._own_of = own_of

    def __call__(self, record: Record, command: Command, now: datetime, ids: Ids) -> Amendment:
        """The record as the command wants it, with its event. Raises Refused."""
        if command.verb in {"contain", "retire"}:
            _not_locking_us_out(record, command, self._own_of(record))
        changed = HANDLERS[command.verb](record, command, now, ids, self._traits)
        changed = replace(changed, due_at=next_due(changed, now))
        facts = {key: str(value) for key, value in command.arguments.items() if value not in ("", None)}
        event = Event(
            id=ids.new("evt"),
            time=now,
            actor=command.actor,
            action=command.verb,
            credential=record.name,
            outcome="accepted",
            version=record.current.label if record.current else "",
            rotation=record.rotation.id if record.rotation else "",
            reason=str(command.arguments.get("reason", "")),
            evidence=facts,
        )
        notices: tuple[Notice, ...] = ()
        kept = kept_though_leaked(changed, now)
        if len(changed.leaks) > len(record.leaks) or (kept and command.verb == "hold"):
            text = f"{record.name}: " + (kept or f"marked as compromised by {command.actor}")
            notices = (Notice(id=ids.new("ntc"), kind="leaked", credential=record.name, text=text, at=now),)
        return Amendment(record=changed, events=(event,), notices=notices)


def _not_locking_us_out(record: Record, command: Command, own_of: Sequence[str]) -> None:
    """What we ourselves speak to somebody with is never ended before there is another: nobody could make one."""
    named = record.current if command.verb == "retire" else _named(record, command)
    in_use = {version.generation for version in (record.current, record.rotation.new if record.rotation else None) if version}
    if not own_of or named is None or named.generation not in in_use:
        return
    said = f"rotatord itself speaks to {' and '.join(own_of)} with it, and would be locked out"
    if command.verb == "contain":
        raise Refused(f"{said}: `rotate {record.name} --reason compromised` replaces it first, and then ends it at once")
    raise Refused(f"{said}: let the settings of those refer to something else, and then retire it")


def _settled_standing(record: Record) -> None:
    if record.standing is Standing.BEHIND:
        raise Refused("the journal knows less than the destinations; `rebuild` first")
    if record.standing is Standing.UNMANAGED:
        raise Refused("its destination holds a value that rotatord did not make; `adopt` first")
    if record.standing is Standing.RETIRED:
        raise Refused("it is retired")


def _rotate(record: Record, command: Command, now: datetime, ids: Ids, traits: TraitsOf) -> Record:
    _settled_standing(record)
    if record.standing is Standing.FORGOTTEN:
        raise Refused("it is no longer declared in the configuration")
    if command.arguments.get("reason") == Reason.COMPROMISED:
        return mark_leaked(record, _named(record, command), command.actor, now, traits, contain=False)
    rotation = record.rotation
    if rotation is not None and rotation.way is not Way.REPAIR:
        raise Refused(f"rotation {rotation.id} is open ({rotation.state.value}, {rotation.way.value})")
    hold = next((hold for hold in record.holds if hold.until > now), None)
    if hold is not None:
        raise Refused(f"held by {hold.owner} until {hold.until.isoformat()}; `release` ends the hold")
    asked = Asked(verb="rotate", actor=command.actor, at=now)
    return replace(record, rotation=None, asked=asked, failures=0, backoff_until=None, held_for_person="")


def _named(record: Record, command: Command) -> Version | None:
    """The version that a command says leaked: the current one, or the one being rolled out."""
    generation = command.arguments.get("version")
    if generation is None:
        return record.current
    known = [record.current, record.rotation.new if record.rotation else None]
    version = next((item for item in known if item is not None and item.generation == generation), None)
    if version is None:
        raise Refused(f"generation {generation} is neither current nor being rolled out; `revoke` ends one that is owed")
    return version


def mark_leaked(
    record: Record, version: Version | None, actor: str, now: datetime, traits: TraitsOf, *, contain: bool
) -> Record:
    """Mark a version as compromised and turn whatever is under way accordingly (design: Compromised)."""
    if version is None:
        raise Refused("there is no current version")
    known = moves.compromised(record, version)
    deadline = known.deadline if known else now + record.spec.policy.compromised_deadline  # asked again, it stays
    if known is None:
        mark = LeakMark(ref=version.ref, generation=version.generation, at=now, deadline=deadline, contain=contain, actor=actor)
        record = replace(record, leaks=(*record.leaks, mark))
    elif contain:
        marks = tuple(replace(m, contain=True) if m.generation == version.generation else m for m in record.leaks)
        record = replace(record, leaks=marks)
    rotation = record.rotation
    if rotation is None:
        return record
    if rotation.way is Way.REPAIR:
        return replace(record, rotation=None)
    issuer = traits(rotation.plan.issuer)
    if rotation.new is not None and rotation.new.generation == version.generation:
        return _new_leaked(record, issuer, actor, now)
    return _base_leaked(with_rotation(record, reason=Reason.COMPROMISED, hard_deadline=deadline, due_at=now), issuer, now)


def _base_leaked(record: Record, issuer: Traits, now: datetime) -> Record:
    """The version being replaced leaked: forward, whatever it was doing, a halt included. Nothing restores it."""
    rotation = open_rotation(record)
    if rotation.halt is not None and rotation.halt.code != "journal_behind":
        record = with_rotation(record, halt=None, since=now, attempts=0)
    if rotation.new is None or not rotation.touched or rotation.state is State.DISCARDING:
        return record
    if moves.mint_kills_base(rotation, issuer):
        return record
    if moves.compromised(record, rotation.new):
        return moves.no_clean_one(record, issuer, now)
    return moves.forward_again(record, State.STAGED, now) if rotation.way is Way.BACK else record


def _new_leaked(record: Record, issuer: Traits, actor: str, now: datetime) -> Record:
    """The version being rolled out leaked. Unpublished: discard it and mint another. Half published: go on, there is no
    cleaner way; with no base to go back to, the rotation ends and the next one replaces both."""
    rotation = open_rotation(record)
    if rotation.way is Way.FORWARD and not rotation.touched and not moves.in_place_pivot_passed(rotation, issuer):
        record = moves.turn_back(record, "the new version leaked before it was published", now)
        return replace(record, asked=record.asked or Asked(verb="rotate", actor=actor, at=now))
    if rotation.state is State.DISCARDING or moves.mint_kills_base(rotation, issuer):
        return record
    stuck = rotation.way is Way.BACK and rotation.halt is not None
    if stuck or moves.compromised(record, rotation.base):
        return moves.no_clean_one(record, issuer, now)
    return record


def _rollback(record: Record, command: Command, now: datetime, ids: Ids, traits: TraitsOf) -> Record:
    rotation = record.rotation
    if rotation is None:
        raise Refused("no rotation is open; past the pivot there is only forward: `rotate` makes a new version")
    issuer = traits(rotation.plan.issuer)
    if why := moves.why_no_way_back(record, issuer):
        raise Refused(why)
    reason = command.arguments.get("reason") or "asked for"
    return moves.turn_back(with_rotation(record, halt=None), f"{command.actor}: {reason}", now)


def _hold(record: Record, command: Command, now: datetime, ids: Ids, traits: TraitsOf) -> Record:
    until: datetime = command.arguments["until"]
    if until <= now:
        raise Refused(f"the hold would have ended already, at {until.isoformat()}")
    hold = Hold(owner=command.arguments["owner"], until=until, reason=command.arguments.get("reason", ""))
    return replace(record, holds=(*(h for h in record.holds if h.until > now), hold))


def _release(record: Record, command: Command, now: datetime, ids: Ids, traits: TraitsOf) -> Record:
    if not record.holds:
        raise Refused("nobody holds it")
    record = replace(record, holds=())
    if record.rotation is not None and record.rotation.halt is None:
        record = with_rotation(record, due_at=now)
    return replace(record, ledger=tuple(replace(debt, due_at=now) for debt in record.ledger))


def _resume(record: Record, command: Command, now: datetime, ids: Ids, traits: TraitsOf) -> Record:
    rotation = record.rotation
    if rotation is None or rotation.halt is None:
        if record.held_for_person:
            return replace(record, held_for_person="", backoff_until=None, failures=0)
        raise Refused("it is not halted")
    how, reason = command.arguments["how"], command.arguments.get("reason", "")
    record = with_rotation(record, halt=None, error="", attempts=0, since=now, due_at=now, unhealthy=0, waiting="")
    if how == "retry":
        # What did not show in time is published and reloaded anew: only looking again would show the same.
        return moves.publish_again(with_rotation(record, drifts=0), now) if rotation.state is State.RELOADED else record
    if how == "accept":
        record = with_rotation(record, accepted_risk=f"{command.actor}: {reason}")
        return _accept(record, now)
    if how == "skip_consumer":
        return _skip(record, command.arguments["consumer"], f"{command.actor}: {reason}", now)
    return _replan(record, command, now, traits, remint=how == "remint")


def _accept(record: Record, now: datetime) -> Record:
    """Go on without proof, recorded. On the way back: the new version stays, the base is given up."""
    rotation = open_rotation(record)
    if rotation.way is Way.BACK and rotation.state is not State.DISCARDING:
        if rotation.new is None:
            raise Refused("there is no new version to accept; `--retry`, or `retire`")
        return moves.forward_again(record, State.PROVEN, now)  # published anew: some may have been restored already
    return record


def _skip(record: Record, consumer: str, reason: str, now: datetime) -> Record:
    rotation = open_rotation(record)
    names = [item.name for item in rotation.plan.consumers]
    if consumer not in names:
        raise Refused(f"it has no consumer {consumer!r}; it has: {', '.join(names) or 'none'}")
    others = tuple(f for f in rotation.reloaded if (f.consumer, f.leg) != (consumer, rotation.leg))
    fact = Reloaded(consumer=consumer, leg=rotation.leg, intended_at=now, skipped=reason)
    return with_rotation(record, reloaded=(*others, fact))


def _replan(record: Record, command: Command, now: datetime, traits: TraitsOf, *, remint: bool) -> Record:
    rotation = open_rotation(record)
    issuer = traits(rotation.plan.issuer)
    if rotation.way is Way.REPAIR:
        return replace(record, rotation=None)
    if moves.in_place_pivot_passed(rotation, issuer):
        if not remint:
            raise Refused("minting at an in-place issuer ended the old version: `--retry` or `--remint`")
        intents = tuple(replace(i, outcome=Outcome.ABANDONED) if i.outcome is Outcome.OPEN else i for i in rotation.intents)
        record = with_rotation(record, new=None, intents=intents)
        return moves.enter(record, Place(State.PLANNED, Way.FORWARD), now)
    record = replace(record, asked=Asked(verb="rotate", actor=command.actor, at=now))
    if rotation.way is Way.BACK:
        return record
    if rotation.base is None and rotation.touched:  # a first version that is no good: nothing to restore
        return moves.give_up(record, f"{command.actor}: replanned", now)
    if why := moves.why_no_way_back(record, issuer):
        raise Refused(why)
    return moves.turn_back(record, f"{command.actor}: replanned", now)


def _repair(record: Record, command: Command, now: datetime, ids: Ids, traits: TraitsOf) -> Record:
    _settled_standing(record)
    if record.rotation is not None:
        raise Refused(f"rotation {record.rotation.id} is open and publishes what is right itself")
    if record.current is None:
        raise Refused("there is no current version to publish; `rotate` makes one")
    if moves.compromised(record, record.current):
        raise Refused("the current version is known to be compromised; `rotate` replaces it")
    return moves.plan_repair(record, now, ids, command.actor)


def _ask(record: Record, command: Command, now: datetime, ids: Ids, traits: TraitsOf) -> Record:
    if command.verb != "inspect" and record.rotation is not None and record.standing is not Standing.BEHIND:
        raise Refused(f"rotation {record.rotation.id} is open; `rollback` it or let it end first")
    if command.verb == "rebuild" and record.standing is not Standing.BEHIND:
        raise Refused("its journal is not behind; nothing to rebuild")
    if command.verb == "adopt" and record.standing is Standing.FORGOTTEN:
        raise Refused("it is no longer declared in the configuration")
    if command.verb == "adopt" and record.standing is Standing.BEHIND:
        raise Refused("the journal knows less than the destinations; `rebuild` instead")
    asked = Asked(verb=command.verb, actor=command.actor, at=now, ref=command.arguments.get("ref", ""))
    return replace(record, asked=asked, troubles=())


def _retire(record: Record, command: Command, now: datetime, ids: Ids, traits: TraitsOf) -> Record:
    _settled_standing(record)
    if record.rotation is not None:
        raise Refused(f"rotation {record.rotation.id} is open; `rollback` it or let it end first")
    if record.current is not None and record.current.ref:
        forced = f"retired by {command.actor}: {command.arguments['reason']}"
        debt = moves.debt_of(record.current, "retired", now, rotation=ids.new("ret"), forced=forced)
        record = moves.owe(record, debt)
    return replace(record, current=None, standing=Standing.RETIRED, asked=None)


def _contain(record: Record, command: Command, now: datetime, ids: Ids, traits: TraitsOf) -> Record:
    _settled_standing(record)
    return mark_leaked(record, _named(record, command), command.actor, now, traits, contain=True)


def _revoke(record: Record, command: Command, now: datetime, ids: Ids, traits: TraitsOf) -> Record:
    generation = command.arguments["version"]
    for debt in record.ledger:
        if any(owed.version.generation == generation for owed in debt.owed):
            forced = f"{command.actor}: {command.arguments['reason']}" if command.arguments.get("now") else ""
            reason = "revoked by a person" if forced else ""
            owed = tuple(
                replace(o, forced=forced or o.forced, reason=reason or o.reason) if o.version.generation == generation else o
                for o in debt.owed
            )
            home = None if forced and debt.all_dead else debt.home  # let go: nobody looks there any more
            items = tuple(replace(debt, owed=owed, due_at=now, home=home) if d.key == debt.key else d for d in record.ledger)
            return replace(record, ledger=items)
    if record.current is not None and record.current.generation == generation:
        raise Refused("it is the current version: `rotate --reason compromised` replaces it first, `contain` ends it at once")
    raise Refused(f"generation {generation} is not in the revocation ledger")


HANDLERS: dict[str, Handler] = {
    "rotate": _rotate,
    "rollback": _rollback,
    "hold": _hold,
    "release": _release,
    "resume": _resume,
    "repair": _repair,
    "adopt": _ask,
    "rebuild": _ask,
    "inspect": _ask,
    "retire": _retire,
    "contain": _contain,
    "revoke": _revoke,
}
