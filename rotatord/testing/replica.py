"""One simulated replica of the daemon: its clocks, its leases, and hands that let things go wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from rotatord import pauses
from rotatord.clock import Instant
from rotatord.engine import READ_ONLY
from rotatord.errors import Denied, JournalUnavailable, OutsideError, Retryable
from rotatord.hands import Leased
from rotatord.model import Event, Notice, Record, Way
from rotatord.moves import row
from rotatord.ops import Call, Context
from rotatord.ports import NOTHING, Journal, Lease
from rotatord.saga import Saga
from rotatord.secret import Fingerprinter
from rotatord.testing.clock import VirtualClock
from rotatord.testing.fates import Fate
from rotatord.testing.faults import Fault
from rotatord.testing.shared_journal import ReplicaJournal
from rotatord.testing.turns import Task

if TYPE_CHECKING:
    import threading

    from rotatord.testing.fleet import Fleet

WORKERS = 2
JOURNAL_AWAY_SECONDS = 1.0


class ReplicaClock:
    """The clocks of one machine: the wall clock is off by ``skew``, monotonic seconds count from its own boot. Instants
    count the seconds of the journal's clock, as those of a database that several machines share do."""

    def __init__(self, world: VirtualClock, skew: float, offset: float) -> None:
        self._world = world
        self.skew = timedelta(seconds=skew)
        self.offset = offset

    def now(self) -> datetime:
        return self._world.outside() + self.skew

    def monotonic(self) -> float:
        return self._world.monotonic() + self.offset

    def instant(self) -> Instant:
        return Instant(self.now(), self._world.monotonic(), "journal")

    def wait(self, event: threading.Event, seconds: float) -> bool:
        raise NotImplementedError("nothing that is simulated waits like this")


@dataclass(slots=True)
class Answer:
    """What came of a call: its value, or what it raised."""

    value: Any = None
    error: Exception | None = None

    def take(self, run: Callable[[], Any]) -> None:
        try:
            self.value = run()
        except Exception as error:  # noqa: BLE001  raised again where the caller hears of it
            self.error = error

    def give(self) -> Any:
        if self.error is not None:
            raise self.error
        return self.value


class ReplicaHands:
    """See :class:`rotatord.saga.Hands`. The look at the lease is the real one."""

    def __init__(self, fleet: Fleet, replica: Replica) -> None:
        self._fleet = fleet
        self._replica = replica
        self.leased = Leased(cast("Journal", replica.journal), replica.clock)

    def call(self, lease: Lease, call: Call) -> Any:
        fleet, replica = self._fleet, self._replica
        fate = fleet.fate_of(replica, lease, call)
        fault = fate.fault
        if fault is Fault.CRASH_BEFORE:
            fleet.kill(replica, by=lease.name)
        if fault is Fault.FROZEN:
            fleet.freeze(replica, lease, fate.freezes)
        self.leased.lasts(lease, call.timeout)
        if fault is Fault.FROZEN_STARTED:
            fleet.freeze(replica, lease, fate.freezes)
        fleet.watch.starting(replica, lease, call, frozen=fault is Fault.FROZEN_STARTED)
        answer = self._carry_out(lease, call, fate)
        if fault is Fault.CRASH_AFTER:
            fleet.kill(replica, by=lease.name)
        if fault in _ERRORS:
            raise _ERRORS[fault](f"simulated: {call.point} {fault}")
        return answer.give()

    def _carry_out(self, lease: Lease, call: Call, fate: Fate) -> Answer:
        fleet, answer = self._fleet, Answer()

        def land() -> None:
            answer.take(call.run)
            fleet.landed(lease, call, answer, late=fate.lands is not None and fate.lands > fate.answers)

        if fate.lands == 0.0:
            land()
        elif fate.lands is not None:
            fleet.later(fate.lands, land)
        if fate.answers:
            fleet.turns.sleep(fleet.tasks[lease.name, lease.fence], fate.answers)
        return answer

    def commit(
        self,
        lease: Lease,
        record: Record,
        events: tuple[Event, ...],
        notices: tuple[Notice, ...],
        given: Mapping[str, str | None] = NOTHING,
    ) -> Record:
        fleet, replica = self._fleet, self._replica
        fate = fleet.fate_of(replica, lease, None, events)
        fault = fate.fault
        if fault is Fault.CRASH_BEFORE:
            fleet.kill(replica, by=lease.name)
        if fault in {Fault.FROZEN, Fault.FROZEN_STARTED}:
            fleet.freeze(replica, lease, fate.freezes)
        if fault is Fault.AWAY:
            fleet.watch.unwritten(lease)
            raise JournalUnavailable("simulated: the journal is away")
        stored = replica.journal.commit(self.leased.lasts(lease, 0.0), record, events, notices, given)
        if fault is Fault.CRASH_AFTER:
            fleet.kill(replica, by=lease.name)
        if fault is Fault.UNHEARD:
            fleet.watch.unwritten(lease)
            raise JournalUnavailable("simulated: stored, but the answer was lost")
        return stored


_ERRORS: dict[Fault | None, type[OutsideError]] = {
    Fault.ERROR: Retryable,
    Fault.LOST: Retryable,
    Fault.LATE: Retryable,
    Fault.HUNG: Retryable,
    Fault.DENIED: Denied,
}


class Replica:
    """A daemon that dies, freezes, stops and starts again; each life is a new owner of leases."""

    def __init__(self, fleet: Fleet, number: int, skew: float, offset: float) -> None:
        self.name = f"replica-{number}"
        self.clock = ReplicaClock(fleet.world.clock, skew, offset)
        self.up = False
        self.stopping = False
        self.frozen_until = 0.0
        self.life = 0
        self.tasks: dict[tuple[str, int], Task] = {}
        self.at_work: dict[str, tuple[str, str]] = {}  # unit and way, by credential
        self._fleet = fleet
        self.boot()

    def boot(self) -> None:
        """Start, with nothing but what the journal knows."""
        fleet = self._fleet
        self.life += 1
        self.up, self.stopping = True, False
        self.journal = ReplicaJournal(fleet.journal, f"{self.name}/{self.life}", self.clock.offset)
        self.hands = fleet.hands(fleet, self)
        self.tasks, self.at_work = {}, {}
        journal = fleet.journal
        ctx = Context(
            installation=fleet.installation,
            plugins=fleet.world.plugins,
            clock=self.clock,
            ids=fleet.world.ids,
            fingerprinter=Fingerprinter(fleet.key),
            paused=pauses.live(journal, self.clock.now),
            gate=fleet.gate,
        )
        self.saga = _Told(
            self,
            self.journal,
            ctx,
            self.hands,
            read_only=lambda: bool(journal.fact(READ_ONLY)),
            make_read_only=lambda why: journal.set_fact(READ_ONLY, why),
            rebuilt=lambda: journal.set_fact(READ_ONLY, None),
            stopping=lambda: self.stopping,
            log=fleet.watch.heard,
            **fleet.parts,
        )

    def claim(self) -> bool:
        """Take what is due; whether there was anything."""
        fleet = self._fleet
        free = WORKERS - len(self.tasks)
        if free <= 0:
            return False
        leases = self.journal.claim(self.clock.now(), free)
        for lease in leases:
            key = (lease.name, lease.fence)
            self.tasks[key] = fleet.tasks[key] = fleet.turns.start(f"{self.name} {lease.name}", partial(self._work, lease))
        return bool(leases)

    def _work(self, lease: Lease, task: Task) -> None:
        fleet, life, key = self._fleet, self.life, (lease.name, lease.fence)
        try:
            self.saga.work(lease)
        except JournalUnavailable:
            fleet.turns.sleep(task, JOURNAL_AWAY_SECONDS)
        finally:
            fleet.tasks.pop(key, None)
            if life == self.life:
                self.tasks.pop(key, None)
                self.hands.leased.forget(lease)


class _Told(Saga):
    """Notes which unit is at work, so that what happens in it has a name."""

    def __init__(self, replica: Replica, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._replica = replica

    def _one(self, lease: Lease, record: Record, work: Any) -> Record:
        unit, way, rotation = work.kind.value, "", record.rotation
        if unit == "step" and rotation is not None:
            unit, way = row(rotation).step.value, rotation.way.value if rotation.way is not Way.FORWARD else "forward"
        self._replica.at_work[lease.name] = (unit, way)
        return super()._one(lease, record, work)
