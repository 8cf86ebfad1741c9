"""Careless parts for simulated replicas: each is the true part with one safeguard left out."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from rotatord import moves
from rotatord.errors import JournalUnavailable
from rotatord.gates import GATE, Check, Gate
from rotatord.hands import Leased
from rotatord.ledger import entry, settle
from rotatord.machine import Step
from rotatord.model import Destination, Event, Notice, Outcome, Owing, Record, Slot, State, Verdict, Way
from rotatord.ops import Context, Done, Op, Unit, ask, commit, open_rotation
from rotatord.ops import with_rotation as changed
from rotatord.ports import NOTHING, Held, Lease
from rotatord.replacing import replace
from rotatord.saga import STEPS
from rotatord.steps.authorise import authorise
from rotatord.steps.discard import discard
from rotatord.steps.mint import mint
from rotatord.steps.publish import publish
from rotatord.testing.replica import ReplicaHands
from rotatord.testing.shared_journal import SharedJournal

Broken = dict[str, Any]
UnitOf = Callable[[Context, Record], Unit]


def step(which: Step, unit: UnitOf) -> Broken:
    """A fleet with one step exchanged."""
    return {"parts": {"steps": {**STEPS, which: unit}}}


def ledger(unit: Callable[[Context, Record, str], Unit]) -> Broken:
    """A fleet with another ledger."""
    return {"parts": {"settle": unit}}


def _succeeds(which: Step) -> Broken:
    """A step that believes what it is there to find out."""

    def believe(ctx: Context, record: Record) -> Unit:
        return Done((yield from commit(moves.succeed(record, ctx.now()), ctx.event(record, which.value, "done"))))

    return step(which, believe)


def _decides_alone(ctx: Context, record: Record) -> Unit:
    """The pivot without a look at the gate."""
    traits = ctx.plugins.issuer(open_rotation(record).plan.issuer).traits
    return Done((yield from commit(moves.complete(record, traits, ctx.now()), ctx.event(record, "authorise", "done"))))


def _believed_reload() -> Broken:
    """An accepted reload is taken for proof: nobody asks what runs."""
    broken = _succeeds(Step.VERIFY)["parts"]["steps"]
    return {"parts": {"steps": {**broken, Step.AUTHORISE: _decides_alone}}}


def _revokes_before_verify(ctx: Context, record: Record) -> Unit:
    """As soon as everything is published, the old one is owed."""
    if open_rotation(record).way is Way.FORWARD:
        return (yield from _decides_alone(ctx, record))
    return (yield from STEPS[Step.RELOAD](ctx, record))


def _without(name: str) -> Broken:
    return {"gate": GATE.without(name)}


def _lenient() -> Broken:
    """A gate to which whatever is not known to be bad is good."""

    def soft(check: Check) -> Check:
        def look(ctx: Context, record: Record) -> Generator[Op, Any, list[Any]]:
            found = yield from check.ask(ctx, record)
            return [replace(item, verdict=Verdict.PASS) if item.verdict is Verdict.WAIT else item for item in found]

        return Check(check.name, look)

    return {"gate": Gate(tuple(map(soft, GATE.verify)), tuple(map(soft, GATE.authorise)))}


def _no_copies(unit: UnitOf) -> UnitOf:
    """A step that knows nothing of the places that somebody else fills."""

    def look(ctx: Context, record: Record) -> Unit:
        plan = open_rotation(record).plan
        bare = replace(plan, consumers=tuple(replace(consumer, copies=()) for consumer in plan.consumers))
        return (yield from unit(ctx, changed(record, plan=bare)))

    return look


def _copies_not_read() -> Broken:
    looking = (Step.RELOAD, Step.VERIFY, Step.AUTHORISE)
    return {"parts": {"steps": {**STEPS, **{which: _no_copies(STEPS[which]) for which in looking}}}}


def _mints_again(ctx: Context, record: Record) -> Unit:
    """Takes a lost answer for none, and mints once more without looking or owing."""
    rotation = open_rotation(record)
    intents = tuple(replace(intent, outcome=Outcome.ANSWERED) for intent in rotation.intents)
    return (yield from mint(ctx, changed(record, intents=intents)))


def _restores_home_only(ctx: Context, record: Record) -> Unit:
    rotation = open_rotation(record)
    if rotation.way is Way.BACK:
        record = changed(record, plan=replace(rotation.plan, destinations=rotation.plan.destinations[:1]))
    return (yield from publish(ctx, record))


def _discards_at_once(ctx: Context, record: Record) -> Unit:
    """A way back that takes the base for published without writing it."""
    if open_rotation(record).way is Way.BACK:
        discarding = changed(record, state=State.DISCARDING)
        return Done((yield from commit(discarding, ctx.event(record, "publish", "done"))))
    return (yield from publish(ctx, record))


def _owes_nothing(ctx: Context, record: Record) -> Unit:
    """The way back forgets what was minted."""
    return (yield from discard(ctx, changed(record, new=None, intents=())))


def _does_not_wait_for_late_mints(ctx: Context, record: Record, key: str) -> Unit:
    """What is not there now is taken for never made."""
    debt = replace(entry(record, key), sweep_until=None, sweep_for=entry(record, key).sweep_for * 0)
    items = tuple(debt if item.key == key else item for item in record.ledger)
    return (yield from settle(ctx, replace(record, ledger=items), key))


def _takes_intents_for_facts(ctx: Context, record: Record, key: str) -> Unit:
    """A death that was intended is taken for one that was proven."""
    debt = entry(record, key)
    owed = tuple(replace(item, owing=Owing.DEAD) if item.owing is Owing.OWED else item for item in debt.owed)
    items = tuple(replace(debt, owed=owed) if item.key == key else item for item in record.ledger)
    return (yield from settle(ctx, replace(record, ledger=items), key))


class _Blind:
    """A backend in which nothing is ever found."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    def read(self, destination: Destination, slot: Slot) -> Held:
        return Held(token=self._backend.read(destination, slot).token, empty=True)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)


class _Blunt(_Blind):
    """A backend whose writes compare nothing."""

    def read(self, destination: Destination, slot: Slot) -> Held:
        held: Held = self._backend.read(destination, slot)
        return held

    def write(self, destination: Destination, slot: Slot, fields: Any, marker: Any, expect: str) -> str:
        token: str = self._backend.write(
            destination,
            slot,
            fields,
            marker,
            self._backend._kept(destination, slot).token,
        )
        return token


class _Plugins:
    def __init__(self, plugins: Any, backend: type[_Blind]) -> None:
        self._plugins = plugins
        self._kind = backend

    def backend(self, name: str) -> Any:
        return self._kind(self._plugins.backend(name))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plugins, name)


def _does_not_read_again(ctx: Context, record: Record, key: str) -> Unit:
    """Revokes without a look at what the destinations hold by now."""
    return (yield from settle(replace(ctx, plugins=_Plugins(ctx.plugins, _Blind)), record, key))


def _compares_nothing(ctx: Context, record: Record) -> Unit:
    return (yield from publish(replace(ctx, plugins=_Plugins(ctx.plugins, _Blunt)), record))


def _narrows_at_once(ctx: Context, record: Record) -> Unit:
    """The principal is given what the new version needs before the old one is dead."""
    plan = open_rotation(record).plan
    issuer = ctx.plugins.issuer(plan.issuer)
    narrow = getattr(issuer, "set_scope", None)
    if narrow is not None:
        less = {"may": ["read"]}
        yield from ask(plan.issuer, issuer, "set_scope", lambda: narrow(less, plan.parameters), effect=True)
    return (yield from authorise(ctx, record))


class _Unfenced(SharedJournal):
    """Commits under any lease, also one that somebody else has by now."""

    def commit(
        self,
        lease: Lease,
        record: Record,
        events: Sequence[Event] = (),
        notices: Sequence[Notice] = (),
        given: Mapping[str, str | None] = NOTHING,
    ) -> Record:
        fence, expires = self._leases.holder(lease.name)
        self._leases._held[lease.name] = (lease.fence, self._clock.monotonic() + 1.0)
        try:
            return super().commit(lease, record, events, notices, given)
        finally:
            self._leases._held[lease.name] = (fence, expires)


class _Overwriting(SharedJournal):
    """Commits whatever the sequence: what people asked meanwhile is lost."""

    def commit(
        self,
        lease: Lease,
        record: Record,
        events: Sequence[Event] = (),
        notices: Sequence[Notice] = (),
        given: Mapping[str, str | None] = NOTHING,
    ) -> Record:
        stored = self.get(lease.name)
        assert stored is not None
        return super().commit(lease, replace(record, seq=stored.seq), events, notices, given)


class _Trusting(Leased):
    """Never looks whether its lease still lasts."""

    def lasts(self, lease: Lease, seconds: float) -> Lease:
        return lease


class _TrustingHands(ReplicaHands):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.leased = _Trusting(self.leased._journal, self.leased._clock)


class _TrustingCommits(Leased):
    """Looks whether its lease lasts before a call, and not before a commit."""

    def lasts(self, lease: Lease, seconds: float) -> Lease:
        return super().lasts(lease, seconds) if seconds else lease


class _TrustingCommitHands(ReplicaHands):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.leased = _TrustingCommits(self.leased._journal, self.leased._clock)


class _HastyHands(ReplicaHands):
    """Intents are not written down before what they intend is done."""

    def commit(
        self,
        lease: Lease,
        record: Record,
        events: tuple[Event, ...],
        notices: tuple[Notice, ...],
        given: Mapping[str, str | None] = NOTHING,
    ) -> Record:
        if events and events[0].outcome == "intended":
            return record
        return super().commit(lease, record, events, notices, given)


class _BoldHands(ReplicaHands):
    """Goes on although the journal could not be written."""

    def commit(
        self,
        lease: Lease,
        record: Record,
        events: tuple[Event, ...],
        notices: tuple[Notice, ...],
        given: Mapping[str, str | None] = NOTHING,
    ) -> Record:
        try:
            return super().commit(lease, record, events, notices, given)
        except JournalUnavailable:
            return record


# The careless part, and a seed in which it is noticed; the tests try others should that one change.
BUGS: dict[str, tuple[Broken, int]] = {
    "revoke before verify": (step(Step.RELOAD, _revokes_before_verify), 0),
    "an accepted reload is proof": (_believed_reload(), 0),
    "unknown counts as good": (_lenient(), 1),
    "no consumer is asked": (_without("consumers_proven"), 1),
    "the overlap is not waited for": (_without("overlap_passed"), 5),
    "holds are not read": (_without("no_hold"), 6),
    "copies are not read": (_copies_not_read(), 2),
    "nothing is proven before it is published": (_succeeds(Step.PROVE), 0),
    "mint again without find": (step(Step.MINT, _mints_again), 0),
    "home only restored": (step(Step.PUBLISH, _restores_home_only), 34),
    "nothing restored": (step(Step.PUBLISH, _discards_at_once), 10),
    "writes compare nothing": (step(Step.PUBLISH, _compares_nothing), 79),
    "the way back owes nothing": (step(Step.DISCARD, _owes_nothing), 1),
    "no wait for late mints": (ledger(_does_not_wait_for_late_mints), 0),
    "intended deaths count as deaths": (ledger(_takes_intents_for_facts), 1),
    "destinations are not read before a death": (ledger(_does_not_read_again), 1),
    "the principal is narrowed before the base is dead": (step(Step.AUTHORISE, _narrows_at_once), 4),
    "no fence": ({"journal": _Unfenced, "hands": _TrustingCommitHands}, 47),
    "no sequence": ({"journal": _Overwriting}, 49),
    "no look at the lease": ({"hands": _TrustingHands}, 0),
    "no intent before the act": ({"hands": _HastyHands}, 0),
    "goes on without a journal": ({"hands": _BoldHands}, 0),
}
