"""The engine around the saga: it drains, keeps what hangs apart, and does nothing without its journal."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest

from rotatord import apply, react
from rotatord.budget import Budgets, Limit
from rotatord.clock import Clock, Instant
from rotatord.commands import parse
from rotatord.engine import READ_ONLY, Engine, issuer_of
from rotatord.errors import JournalUnavailable
from rotatord.gates import GATE
from rotatord.journal.memory import MemoryJournal
from rotatord.model import Event, JsonMap, Notice, Policy, Record, Spec, Standing
from rotatord.ops import Context
from rotatord.pauses import live
from rotatord.ports import NOTHING, Amendment, Lease, Minted, MintRequest
from rotatord.secret import Fingerprinter, Secret
from rotatord.telemetry import Telemetry
from rotatord.testing.clock import START, VirtualClock
from rotatord.testing.issuer import FakeIssuer
from rotatord.testing.world import World

SECONDS = 10.0
KEY = b"a-fingerprint-key-of-32-bytes-!!"
POLICY = Policy(max_age=timedelta(days=30), unproven_overlap=timedelta(seconds=1))


class Patient:
    """The world's time for an engine with a thread of its own: it waits in truth, shortly, and moves no clock."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.waits = 0

    def now(self) -> datetime:
        return self._clock.now()

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def instant(self) -> Instant:
        return self._clock.instant()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self.waits += 1
        return event.wait(min(seconds, 0.01))


class Hanging(FakeIssuer):
    """Mints that do not answer until they are let go."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.let_go = threading.Event()
        self.begun = threading.Semaphore(0)
        self.waiting = 0
        self.most = 0

    def mint(self, request: MintRequest, proposed: Secret | None) -> Minted:
        with self._lock:
            self.waiting += 1
            self.most = max(self.most, self.waiting)
        self.begun.release()
        self.let_go.wait(SECONDS)
        with self._lock:
            self.waiting -= 1
        return super().mint(request, proposed)


class Breaking(MemoryJournal):
    """Can be read and, while ``broken``, not be written, as on a full disk."""

    broken = False
    unclaimable = False  # a lease that is asked for by name is had, and then it fails

    def claim(self, *how: Any, **limits: Any) -> Sequence[Lease]:
        if self.unclaimable:
            raise JournalUnavailable("the database is away")
        return super().claim(*how, **limits)

    def commit(
        self,
        lease: Lease,
        record: Record,
        events: Sequence[Event] = (),
        notices: Sequence[Notice] = (),
        given: Mapping[str, str | None] = NOTHING,
    ) -> Record:
        if self.broken:
            raise JournalUnavailable("the disk is full")
        return super().commit(lease, record, events, notices, given)


def engine_of(
    world: World, journal: MemoryJournal, *, clock: Clock | None = None, limits: dict[str, Limit] | None = None, **settings: Any
) -> Engine:
    """An engine over the world's plugins."""
    clock = clock or world.clock
    context = Context(
        installation="ours",
        plugins=world.plugins,
        clock=clock,
        ids=world.ids,
        fingerprinter=Fingerprinter(KEY),
        paused=live(journal, clock.now),
        gate=GATE,
    )
    budgets = Budgets(clock, limits)
    return Engine(journal, context, Telemetry(), budgets, **{"workers": 4, "drain_seconds": 5.0, **settings})


def declare(journal: MemoryJournal, *specs: Spec) -> None:
    journal.put([Amendment(record=Record(name=spec.name, spec=spec, due_at=START)) for spec in specs])


def command(world: World, journal: MemoryJournal, verb: str, name: str, **arguments: Any) -> None:
    accept = react.Accept(lambda issuer: world.plugins.issuer(issuer).traits)
    asked = parse(verb, name, "uid:0(tester)", arguments)
    journal.amend(name, lambda record: accept(record, asked, world.clock.now(), world.ids))


def until(reached: Callable[[], bool], what: str) -> None:
    """Wait for a real thread, at most so long."""
    deadline, pause = time.monotonic() + SECONDS, threading.Event()
    while not reached():
        assert time.monotonic() < deadline, f"not within {SECONDS} s: {what}"
        pause.wait(0.005)


@contextmanager
def started(engine: Engine, *hanging: Hanging) -> Iterator[Engine]:
    """An engine that is stopped with the test, and whose hanging calls are let go."""
    engine.start()
    try:
        yield engine
    finally:
        for issuer in hanging:
            issuer.let_go.set()
        engine.stop()


@pytest.fixture
def world() -> World:
    world = World()
    world.add_backend()
    world.add_issuer()
    return world


@pytest.fixture
def journal(world: World) -> Breaking:
    return Breaking(world.clock, world.ids)


def record_of(journal: MemoryJournal, name: str) -> Record:
    record = journal.get(name)
    assert record is not None
    return record


def label_of(journal: MemoryJournal, name: str) -> str:
    current = record_of(journal, name).current
    return current.label if current is not None else ""


def settle(world: World, engine: Engine, journal: MemoryJournal, *names: str) -> None:
    """Run once after once, time passing between, until every credential is quiet."""
    for _ in range(100):
        engine.run_once()
        records = [record_of(journal, name) for name in names]
        if all(r.current and not r.rotation and not r.ledger for r in records):
            return
        world.clock.advance(5)
    raise AssertionError([record_of(journal, name) for name in names])


# --- running once ----------------------------------------------------------------------------------------------------


def test_what_is_due_is_done_and_nothing_stays_leased(world: World, journal: Breaking) -> None:
    """One run brings what is due as far as it goes; every lease is given back."""
    declare(journal, world.spec("one", policy=POLICY), world.spec("two", policy=POLICY))
    settle(world, engine_of(world, journal), journal, "one", "two")
    for name in ("one", "two"):
        assert world.unquiet(record_of(journal, name).spec) == []
        assert journal.lease(name) is not None, "still leased"


def test_what_is_our_own_comes_first(world: World, journal: Breaking) -> None:
    """Whatever else is due, and however near its end; and it is worked on no more often than anything else."""
    names = [f"cred-{number}" for number in range(6)]
    declare(journal, *(world.spec(name, policy=POLICY) for name in [*names, "ours"]))
    engine = engine_of(world, journal, workers=1, first=lambda: ["gone", "ours"])
    settle(world, engine, journal, *names, "ours")
    minted = [call.facts["credential"] for call in world.book.calls if call.method == "mint"]
    assert minted[0] == "ours"
    assert sorted(minted) == sorted([*names, "ours"])


def test_what_is_our_own_begins_before_the_journal_is_asked_again(world: World, journal: Breaking) -> None:
    """Else its lease would run out unused, when the journal fails in between."""
    declare(journal, *(world.spec(name, policy=POLICY) for name in ["other", "ours"]))
    engine = engine_of(world, journal, first=lambda: ["ours"])
    journal.unclaimable = True
    with pytest.raises(JournalUnavailable):
        engine.claim()
    assert engine.drained(SECONDS)
    asked_of = {call.facts.get("credential") for call in world.book.calls if call.method == "mint"}
    assert asked_of <= {"ours"}
    lease = journal.lease("ours")
    assert lease is not None, "still leased"
    assert lease.record.seq > 0, "nothing was done"


def test_a_quota_is_waited_for(world: World, journal: Breaking) -> None:
    """A run does not end with work undone because a quota was used up meanwhile."""
    names = [f"cred-{number}" for number in range(4)]
    declare(journal, *(world.spec(name, policy=POLICY) for name in names))
    begun = world.clock.monotonic()
    engine_of(world, journal, limits={"issuer": Limit(calls=2, seconds=60, at_once=1)}).run_once()
    assert world.book.count("mint") == len(names)
    assert world.clock.monotonic() > begun


def test_a_run_without_a_journal_ends_and_says_so(world: World, journal: Breaking) -> None:
    """A journal that cannot be written ends the run with that error, before any side effect."""
    declare(journal, world.spec("one", policy=POLICY))
    journal.broken = True
    with pytest.raises(JournalUnavailable, match="disk is full"):
        engine_of(world, journal).run_once()
    assert world.book.count("mint") == world.book.count("write") == 0


# --- apart from each other -------------------------------------------------------------------------------------------


def test_an_issuer_that_hangs_takes_its_share_and_no_more(world: World, journal: Breaking) -> None:
    """However many credentials of a hanging issuer are due at once, those of another are worked on meanwhile."""
    slow = world.add_issuer("slow", kind=Hanging)
    assert isinstance(slow, Hanging)
    declare(journal, *(world.spec(f"a-{number}", issuer="slow", policy=POLICY) for number in range(8)))
    declare(journal, world.spec("z", policy=POLICY))
    limits = {"slow": Limit(at_once=2), "issuer": Limit(at_once=2)}
    engine = engine_of(world, journal, clock=Patient(world.clock), limits=limits)
    with started(engine, slow):
        until(lambda: world.issuers["issuer"].live("z") != [], "z is minted while the other issuer hangs")
        assert slow.begun.acquire(timeout=SECONDS)
        assert slow.waiting >= 1
        assert slow.most <= 2
    assert slow.most <= 2


def test_stop_does_not_wait_for_ever(world: World, journal: Breaking) -> None:
    """A call that hangs past the time to drain is left behind, and stop says so; its intent is in the journal."""
    slow = world.add_issuer("slow", kind=Hanging)
    assert isinstance(slow, Hanging)
    declare(journal, world.spec("one", issuer="slow", policy=POLICY))
    engine = engine_of(world, journal, clock=Patient(world.clock), drain_seconds=0.2)
    with started(engine, slow):
        assert slow.begun.acquire(timeout=SECONDS)
        assert engine.stop() is False
        rotation = record_of(journal, "one").rotation
        assert rotation is not None
        assert len(rotation.intents) == 1


def test_stop_lets_what_is_in_flight_end(world: World, journal: Breaking) -> None:
    """The answer of a call in flight is journaled, nothing further is begun, and nothing stays leased."""
    slow = world.add_issuer("slow", kind=Hanging)
    assert isinstance(slow, Hanging)
    declare(journal, world.spec("one", issuer="slow", policy=POLICY), world.spec("two", issuer="slow", policy=POLICY))
    engine = engine_of(world, journal, clock=Patient(world.clock), limits={"slow": Limit(at_once=1)})
    with started(engine, slow):
        assert slow.begun.acquire(timeout=SECONDS)
        ended: list[bool] = []
        stopping = threading.Thread(target=lambda: ended.append(engine.stop()))
        stopping.start()
        until(engine._stopping.is_set, "stop has begun")
        slow.let_go.set()
        stopping.join(SECONDS)
        assert ended == [True]
    assert world.book.count("mint") == 1
    done = [name for name in ("one", "two") if (rotation := record_of(journal, name).rotation) and rotation.new]
    assert len(done) == 1, "the version that was minted is not in the journal"
    assert all(journal.lease(name) is not None for name in ("one", "two"))


# --- without its journal ---------------------------------------------------------------------------------------------


def test_without_a_journal_nothing_is_done_and_later_everything(world: World, journal: Breaking) -> None:
    """While the journal cannot be written there is no side effect, nor a storm of looks outside; then work goes on."""
    declare(journal, world.spec("one", policy=POLICY))
    journal.broken = True
    said: list[str] = []
    clock = Patient(world.clock)
    engine = engine_of(world, journal, clock=clock, log=lambda what, **_: said.append(what))
    with started(engine):
        until(lambda: clock.waits >= 10, "the engine rests between tries")
        turns = clock.waits
        assert engine.journal_away == "the disk is full"
        assert world.book.count("mint") == world.book.count("write") == 0
        assert world.book.count("read") <= 3 * (turns + 3), "destinations are read without rest"
        assert len([what for what in said if what.startswith("journal unavailable")]) == 1
        journal.broken = False
        until(lambda: label_of(journal, "one") != "" or record_of(journal, "one").rotation is not None, "work goes on")
        until(lambda: engine.journal_away == "", "nothing is wrong any more")


def test_a_closed_journal_ends_no_loop(world: World, journal: Breaking) -> None:
    """A journal that is away altogether is asked again until it is back."""
    declare(journal, world.spec("one", policy=POLICY))
    journal.close()
    engine = engine_of(world, journal, clock=Patient(world.clock))
    with started(engine):
        until(lambda: engine.journal_away != "", "the loss is noticed")
        journal.reopen()
        until(lambda: world.book.count("mint") == 1, "work goes on")


# --- the whole installation ------------------------------------------------------------------------------------------


def lost(world: World, journal: Breaking) -> Breaking:
    """One credential is rotated once; then its journal is lost, and an empty one knows it and another one."""
    declare(journal, world.spec("known", policy=POLICY))
    settle(world, engine_of(world, journal), journal, "known")
    empty = Breaking(world.clock, world.ids)
    declare(empty, world.spec("known", policy=POLICY), world.spec("another", policy=POLICY))
    world.book.calls.clear()
    return empty


def test_an_empty_journal_over_populated_destinations_writes_nothing(world: World, journal: Breaking) -> None:
    """The survey makes the installation read only before anything is written, also where the journal is right."""
    empty = lost(world, journal)
    engine_of(world, empty).run_once()
    assert "journal was lost" in (empty.fact(READ_ONLY) or "")
    assert record_of(empty, "known").standing is Standing.BEHIND
    assert {call.method for call in world.book.calls} <= {"read"}


def test_rebuilding_the_last_one_ends_read_only(world: World, journal: Breaking) -> None:
    """After rebuild the version that everybody uses is current again, nothing was minted for it, and work goes on."""
    shown = world.backends["store"].shown(world.destination("known")).fields
    empty = lost(world, journal)
    shown = world.backends["store"].shown(world.destination("known")).fields
    engine = engine_of(world, empty)
    engine.run_once()
    command(world, empty, "rebuild", "known")
    settle(world, engine, empty, "known", "another")
    assert empty.fact(READ_ONLY) is None
    assert world.backends["store"].shown(world.destination("known")).fields == shown
    assert len(world.issuers["issuer"].live("known")) == 1
    assert world.violations == []


def test_what_is_no_longer_declared_keeps_nobody_read_only(world: World, journal: Breaking) -> None:
    """When the one that was behind is taken out of the configuration, the others are worked on again."""

    empty = lost(world, journal)
    engine_of(world, empty).run_once()
    kept = {"another": world.spec("another", policy=POLICY)}
    apply.apply(empty, kept, {}, world.clock.now(), world.ids)
    settle(world, engine_of(world, empty), empty, "another")
    assert empty.fact(READ_ONLY) is None
    assert not [call for call in world.book.calls if call.method in {"revoke", "mint"} and "known" in str(call.facts)]


def test_a_destination_that_does_not_answer_holds_up_no_other(world: World, journal: Breaking) -> None:
    """A store that is away at the start is looked at again later; credentials elsewhere are worked on."""
    away = world.add_backend("away")
    away.down = True
    declare(journal, world.spec("one", policy=POLICY, destinations=(world.destination("one", "away"),)))
    declare(journal, world.spec("two", policy=POLICY))
    engine = engine_of(world, journal)
    settle(world, engine, journal, "two")
    assert record_of(journal, "one").troubles
    assert world.book.count("mint") == 1
    away.calm()
    settle(world, engine, journal, "one")


def test_the_budget_is_that_of_the_open_rotation(world: World, journal: Breaking) -> None:
    """Work on a rotation counts against the issuer it was planned with, whatever is declared by now."""
    declare(journal, world.spec("one", policy=POLICY))
    engine_of(world, journal).run_once()
    record = record_of(journal, "one")
    assert record.rotation is not None
    facts: JsonMap = {"plan": record.rotation.plan.issuer, "budget": issuer_of(record)}
    assert facts == {"plan": "issuer", "budget": "issuer"}
