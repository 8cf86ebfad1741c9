"""The invariants of the design, checked at each event and cheaply: what is stored, what starts, and what has landed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from rotatord.machine import TABLE, Place
from rotatord.model import Destination, Event, Outcome, Owing, Record, Rotation, State, Way
from rotatord.moves import compromised, place
from rotatord.ops import Call
from rotatord.ports import Lease
from rotatord.saga import LEFT_ALONE, RESTLESS

if TYPE_CHECKING:
    from rotatord.testing.fleet import Fleet
    from rotatord.testing.replica import Answer, Replica

_B, _F, _R = Way.BACK, Way.FORWARD, Way.REPAIR
# Where a person, or a leak, may turn a rotation beside the edges of the table.
_TURNS: dict[Way, frozenset[Place]] = {
    _F: frozenset({Place(State.STAGED, _B), Place(State.DISCARDING, _B), Place(State.PLANNED, _F)}),
    _B: frozenset({Place(State.DISCARDING, _B), Place(State.STAGED, _F), Place(State.PROVEN, _F)}),
    _R: frozenset(),
}
FURTHEST_CLOCKS = timedelta(seconds=45)  # between any two replicas, unless somebody sets one
LONGEST_LOOK = timedelta(seconds=30)
_ENDS = frozenset({Place(State.VERIFIED, _F), Place(State.DISCARDING, _B), Place(State.RELOADED, _R)})


class Watch:
    """``broken``: sentences, one for each time that an invariant did not hold."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._unwritten: set[tuple[str, int]] = set()
        self._verified: dict[str, datetime] = {}  # since when each rotation has stood where its overlap runs
        self._forced: set[str] = set()  # versions whose death was forced, on record
        self.broken: list[str] = []

    def say(self, number: int, what: str) -> None:
        """An invariant of the design, by its number, did not hold."""
        if len(self.broken) < 50:
            self.broken.append(f"{self._fleet.world.clock.outside().isoformat()} invariant {number}: {what}")

    def heard(self, event: str, **facts: object) -> None:
        """What a replica has logged."""
        if event in {RESTLESS, LEFT_ALONE}:
            self.broken.append(f"{self._fleet.world.clock.outside().isoformat()} {event}: {facts}")

    # --- what is stored ------------------------------------------------------------------------------------------

    def stored(self, lease: Lease | None, before: Record | None, after: Record, events: Sequence[Event]) -> None:
        """A record was stored."""
        name, journal = after.name, self._fleet.journal
        if before is not None and after.seq != before.seq + 1:
            self.say(5, f"{name}: sequence {after.seq} after {before.seq}")
        if lease is not None and lease.fence < journal.fences.get(name, 0):
            self.say(5, f"{name}: committed under fence {lease.fence}, and {journal.fences[name]} was given out")
        if before is not None and after.generation < before.generation:
            self.say(6, f"{name}: generation {after.generation} after {before.generation}")
        self._forced.update(mark.ref for mark in after.leaks if mark.contain)
        for debt in after.ledger:
            self._forced.update(item.version.ref for item in debt.owed if item.forced and item.owing is not Owing.OWED)
        rotation = after.rotation
        overridden = any(event.outcome == "overridden" for event in events)
        if rotation is not None and rotation.base is not None and (rotation.accepted_risk or overridden):
            self._forced.add(rotation.base.ref)
        if after.due_at is None and (after.ledger or (rotation is not None and rotation.halt is None)):
            self.say(8, f"{name}: not quiet, and neither due nor halted")
        if before is None or before.rotation is None:
            return
        if lease is not None and before.holds and not after.holds:
            self.say(8, f"{name}: a hold was forgotten")
        self._moved(before, before.rotation, after)
        if any(event.action == "authorise" and event.outcome == "done" for event in events):
            self._decided(before, before.rotation, after)
        if any(event.action == "rotation.rolled_back" for event in events) and not after.leaks:
            self._undone(before.rotation, after)

    def _undone(self, was: Rotation, after: Record) -> None:
        """The end of the way back: nobody reads what is discarded any more."""
        if was.base is None or was.new is None or not was.touched:
            return
        world = self._fleet.world
        for destination in was.plan.destinations:
            fields = world.backends[destination.backend].shown(destination).fields
            if fields is not None and world.issuers[was.plan.issuer].ref_of(fields) == was.new.ref:
                self.say(1, f"{after.name}: rolled back, and {destination.id} shows {was.new.ref}")

    def _decided(self, before: Record, was: Rotation, after: Record) -> None:
        """The pivot: the base may die from here on. What the gate is for is asked of the world itself."""
        base, fleet = was.base, self._fleet
        forced = [item for debt in after.ledger for item in debt.owed if item.forced]
        if base is None or not base.ref or was.accepted_risk or forced or before.leaks:
            return
        now = fleet.world.clock.outside()
        since = self._verified.get(was.id)
        if since is None or now - since < was.plan.policy.overlap:
            self.say(2, f"{after.name}: decided after {since and now - since}, and the overlap is {was.plan.policy.overlap}")
        for hold in before.holds:
            if hold.until > now + FURTHEST_CLOCKS and fleet.on_time:
                self.say(2, f"{after.name}: decided although {hold.owner} holds it until {hold.until.isoformat()}")
        for destination in was.plan.destinations:
            if self._lacks(destination, was, now):
                self.say(2, f"{after.name}: decided although {destination.id} has not held the new version for long")
        if why := fleet.world.needs(fleet.world.issuers[base.issuer], base.ref):
            self.say(2, f"{after.name}: decided that {base.ref} may die, and {why}")

    def _lacks(self, destination: Destination, was: Rotation, now: datetime) -> bool:
        """Whether a destination does not show the new version, and has not for longer than a look at the gate takes."""
        world = self._fleet.world
        backend, issuer = world.backends[destination.backend], world.issuers[was.plan.issuer]
        fields = backend.shown(destination).fields
        ref = issuer.ref_of(fields) if fields is not None else None
        if was.new is None or ref == was.new.ref:
            return False
        return now - backend.changed(destination) > LONGEST_LOOK

    def _moved(self, before: Record, was: Rotation, after: Record) -> None:
        here, now = place(was), after.rotation
        if now is None or now.id != was.id:
            if here not in _ENDS and was.way is not _R and not after.leaks and not before.leaks:
                self.say(6, f"{after.name}: ended at {here.state.value} {here.way.value}")
            self._owes(before, was, after)
            return
        to = place(now)
        if to == Place(State.VERIFIED, _F) and here != to:
            self._verified[was.id] = self._fleet.world.clock.outside()
        row = TABLE[here]
        if to == here or to in {row.ok, row.next_wave, row.drifted, row.failed} or to in _TURNS[here.way]:
            return
        self.say(6, f"{after.name}: went from {here} to {to}")

    def _owes(self, before: Record, was: Rotation, after: Record) -> None:
        """Everything that was minted is kept or owed."""
        known = {owed.version.ref for debt in after.ledger for owed in debt.owed}
        known |= {version.ref for version in (after.current,) if version is not None}
        known |= {version.ref for version in (after.rotation.new, after.rotation.base) if version} if after.rotation else set()
        traits = self._fleet.world.issuers[was.plan.issuer].traits
        if traits.strategy == "in_place":
            return
        for version in (was.new, was.base):
            if version is not None and version.ref and version.ref not in known:
                self.say(3, f"{after.name}: {version.ref} is neither current nor owed")

    def unwritten(self, lease: Lease) -> None:
        """A commit of this lease's holder did not succeed, as far as it knows."""
        self._unwritten.add((lease.name, lease.fence))

    # --- what starts ---------------------------------------------------------------------------------------------

    def starting(self, replica: Replica, lease: Lease, call: Call, *, frozen: bool) -> None:
        """A call starts. ``frozen``: stopped between the look at its lease and now, which nothing can see."""
        journal = self._fleet.journal
        if not frozen and not journal.holds(lease, call.timeout):
            self.say(5, f"{lease.name}: {call.point} starts, and its lease may not outlive it")
        if not call.effect:
            return
        if (lease.name, lease.fence) in self._unwritten:
            self.say(9, f"{lease.name}: {call.point} starts although the journal could not be written")
        truth = journal.get(lease.name)
        if truth is None or frozen or truth.seq != replica.journal.seqs.get(lease.name):
            return  # overtaken: its next commit fails
        unit = replica.at_work.get(lease.name, ("", ""))[0]
        why = self._cause(truth, call.point, unit)
        if why:
            self.say(6, f"{lease.name}: {call.point} in {unit} without a journaled cause: {why}")
        if call.point == "backend.write.current" and truth.rotation is not None and truth.rotation.way is not _F:
            mark = compromised(truth, truth.rotation.subject)
            if mark is not None:
                self.say(7, f"{lease.name}: generation {mark.generation} is restored although it is known to be compromised")

    def _cause(self, record: Record, point: str, unit: str) -> str:
        """Why this effect has no cause in the journal; "" when it has one."""
        rotation = record.rotation
        if unit in {"contain", "renew", "adopt", "rebuild", "rescope"}:
            return ""
        if point == "issuer.mint":
            open_ = rotation is not None and any(intent.outcome is Outcome.OPEN for intent in rotation.intents)
            return "" if open_ else "no mint is intended"
        if point == "issuer.revoke":
            owed = [item for debt in record.ledger for item in debt.owed if item.owing is Owing.REVOKING]
            return "" if owed else "no death is intended"
        if point == "issuer.suspend":
            intended = rotation is not None and rotation.suspension is not None and rotation.suspension.done_at is None
            return "" if intended else "no suspension is intended"
        if point == "backend.write.current":
            return "" if rotation is not None and (rotation.touched or rotation.way is _R) else "no publish is intended"
        if point == "consumer.reload":
            intended = rotation is not None and any(item.done_at is None for item in rotation.reloaded)
            return "" if intended else "no reload is intended"
        return ""

    # --- what has landed -----------------------------------------------------------------------------------------

    def landed(self, lease: Lease, call: Call, answer: Answer) -> None:
        """An effect took place, or was refused."""
        if call.point != "backend.write.current" or answer.error is not None:
            return
        record = self._fleet.journal.get(lease.name)
        if record is None:
            return
        spec = record.rotation.plan if record.rotation is not None else record.spec
        world = self._fleet.world
        issuer = world.issuers[spec.issuer]
        for destination in spec.destinations:
            fields = world.backends[destination.backend].shown(destination).fields
            ref = issuer.ref_of(fields) if fields is not None else None
            version = issuer.versions.get(ref) if ref is not None else None
            if version is None or version.ended_at is None or issuer.traits.strategy == "in_place":
                continue
            if not self.excused("publish", version.ref):
                self.say(1, f"{destination.id} shows {version.ref}, which is dead")

    # --- exceptions ----------------------------------------------------------------------------------------------

    def excused(self, act: str, ref: str) -> bool:
        """Deaths that a person or a policy forced, on record."""
        return act == "in_place" or ref in self._forced
