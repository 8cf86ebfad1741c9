"""One daemon in virtual time over a world of fakes, with a fault of one's choice at a point of one's choice.

The units of work yield every outside call and every commit; these hands carry them out and, when told to, die before or
after one, lose its answer, or let its effect land late. A death is an exception that nothing in the engine may catch;
the daemon is then started again over the same journal, exactly as after a kill -9.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from rotatord import pauses, principals, react
from rotatord.commands import parse
from rotatord.engine import READ_ONLY
from rotatord.errors import Denied, JournalUnavailable, OutsideError, Refused, Retryable, StaleSequence
from rotatord.gates import GATE, Gate
from rotatord.journal.memory import MemoryJournal
from rotatord.model import Event, JsonMap, Notice, Owing, Record, Spec, Standing, Way
from rotatord.ops import Call, Context
from rotatord.ports import NOTHING, Amendment, Lease
from rotatord.saga import LEFT_ALONE, RESTLESS, Saga
from rotatord.secret import Fingerprinter
from rotatord.testing.faults import Fault, Point
from rotatord.testing.turns import Death
from rotatord.testing.world import World

INSTALLATION = "simulated"
LATE_SECONDS = 7.0
MOST_TURNS = 40_000


Chooser = Callable[[Point, int], Fault | None]  # the point and how often it has been passed, this time included


@dataclass(slots=True)
class _Late:
    at: datetime
    run: Callable[[], Any]


@dataclass(slots=True)
class SimulatedHands:
    """Carries out what units yield, with the faults that ``choose`` asks for."""

    simulator: Simulator
    choose: Chooser
    seen: dict[Point, int] = field(default_factory=dict)
    reached: set[tuple[Point, Fault]] = field(default_factory=set)
    trace: list[str] = field(default_factory=list)

    def call(self, lease: Lease, call: Call) -> Any:
        """See :class:`rotatord.saga.Hands`."""
        sim = self.simulator
        point, fault = self._pass(call.point)
        if sim.stale(lease):
            raise sim.lost()
        if fault is Fault.LEASE:
            sim.world.clock.advance(60)
            raise sim.lost()
        if fault is Fault.CRASH_BEFORE:
            raise Death
        if fault is Fault.ERROR:
            raise Retryable(f"injected: {point.op}")
        if fault is Fault.DENIED:
            raise Denied(f"injected: {point.op}")
        if fault is Fault.LATE and call.effect:
            sim.late.append(_Late(sim.world.clock.outside() + timedelta(seconds=sim.late_seconds), call.run))
            raise Retryable(f"injected: {point.op} timed out")
        answer = call.run()
        sim.after_event()
        if fault is Fault.CRASH_AFTER:
            raise Death
        if fault is Fault.LOST:
            raise Retryable(f"injected: the answer of {point.op} was lost")
        return answer

    def commit(
        self,
        lease: Lease,
        record: Record,
        events: tuple[Event, ...],
        notices: tuple[Notice, ...],
        given: Mapping[str, str | None] = NOTHING,
    ) -> Record:
        """See :class:`rotatord.saga.Hands`."""
        sim = self.simulator
        name = events[0].action + "." + events[0].outcome if events else "quietly"
        _, fault = self._pass(f"commit.{name}")
        if fault is Fault.CRASH_BEFORE:
            raise Death
        if fault is Fault.LEASE:
            sim.world.clock.advance(60)
        if fault is Fault.STALE:
            sim.journal.amend(
                record.name, lambda current: Amendment(record=replace(current, inspected_at=current.inspected_at))
            )
            raise StaleSequence("injected: overtaken")
        if fault is Fault.AWAY:
            raise JournalUnavailable("injected: the journal is away")
        stored = sim.journal.commit(lease, record, events, notices, given)
        sim.after_event()
        if fault is Fault.CRASH_AFTER:
            raise Death
        if fault is Fault.UNHEARD:
            raise JournalUnavailable("injected: stored, but the answer was lost")
        return stored

    def _pass(self, op: str) -> tuple[Point, Fault | None]:
        sim = self.simulator
        point = Point(sim.unit, sim.way, op)
        count = self.seen[point] = self.seen.get(point, 0) + 1
        fault = self.choose(point, count)
        self.trace.append(
            f"{sim.world.clock.outside().isoformat()} {point.unit}/{point.way} {op} {fault.value if fault else ''}"
        )
        if fault is not None:
            self.reached.add((point, fault))
        return point, fault


class Simulator:
    """A world, a journal that survives deaths, and a daemon that may die at any point."""

    def __init__(
        self,
        world: World,
        *,
        gate: Gate = GATE,
        choose: Chooser = lambda _point, _count: None,
        late_seconds: float = LATE_SECONDS,
        parts: JsonMap | None = None,
    ) -> None:
        self.world = world
        self.late_seconds = late_seconds  # when an effect that lands late does
        self.parts = parts or {}  # broken steps or ledger, for tests that show that they are noticed
        self.journal = MemoryJournal(world.clock, world.ids)
        self.hands = SimulatedHands(self, choose)
        self.gate = gate
        self.late: list[_Late] = []
        self.deaths = 0
        self.events = 0
        self.unit = "claim"
        self.way = ""
        self.checks: list[Callable[[Simulator], str | None]] = []
        self.broken: list[str] = []
        self.key = b"simulated-fingerprint-key-32-byte"
        self.rekeyed = False
        self.saga = self._start()
        world.excuse = self._excused

    # --- the daemon ----------------------------------------------------------------------------------------------

    def _start(self) -> Saga:
        ctx = Context(
            installation=INSTALLATION,
            plugins=self.world.plugins,
            clock=self.world.clock,
            ids=self.world.ids,
            fingerprinter=Fingerprinter(self.key),
            rekeyed=self.rekeyed,
            paused=pauses.live(self.journal, self.world.clock.now),
            gate=self.gate,
        )
        ctx = self.world.restarted(ctx, self.journal)
        saga = _Watched(
            self,
            self.journal,
            ctx,
            self.hands,
            read_only=lambda: bool(self.journal.fact(READ_ONLY)),
            make_read_only=lambda why: self.journal.set_fact(READ_ONLY, why),
            rebuilt=lambda: self.journal.set_fact(READ_ONLY, None),
            log=self._heard,
            **self.parts,
        )
        self.ctx = ctx
        return saga

    def declare(self, *specs: Spec) -> None:
        """Make credentials known, as loading a configuration does."""
        self.journal.put([Amendment(record=Record(name=spec.name, spec=spec, due_at=self.world.clock.now())) for spec in specs])

    def request(self, verb: str, credential: str, **arguments: Any) -> str:
        """What a person asks; why it was refused, or ""."""
        accept = react.Accept(lambda issuer: self.world.plugins.issuer(issuer).traits)
        command = parse(verb, credential, "uid:0(tester)", arguments)
        try:
            self.journal.amend(credential, lambda record: accept(record, command, self.world.clock.now(), self.world.ids))
        except Refused as refused:
            return str(refused)
        return ""

    def restart(self) -> None:
        """A new daemon over the same journal; all leases are void."""
        self.deaths += 1
        self.journal.reopen()
        self.saga = self._start()

    def turn(self) -> bool:
        """Work on everything that is due now; whether there was anything."""
        leases = self.journal.claim(self.world.clock.now(), 1)
        for lease in leases:
            try:
                self.saga.work(lease)
            except Death:
                self.restart()
            except JournalUnavailable:
                self.world.clock.advance(1)  # the engine waits a moment and claims again
        return bool(leases)

    def step(self, most: float = 3600.0) -> bool:
        """Let time pass to the next thing that happens, at most ``most`` seconds, and let it happen."""
        clock = self.world.clock
        moments = [late.at for late in self.late]
        for consumer in self.world.consumers.values():
            moments += [at for copy in consumer.copies for at in (copy.loads_at, copy.polls_at, copy.ends_at) if at]
        moments += [at for copier in self.world.copiers for at in copier.moments]
        waits = [(at - clock.outside()).total_seconds() for at in moments]  # theirs is another clock than ours
        due = self.journal.next_due()
        if due is not None:
            waits.append((due - clock.now()).total_seconds())
        clock.advance(min(max(min(waits, default=most), 0.05), most))
        self._land()
        self.world.tick()
        worked = False
        for _ in range(20):
            if not self.turn():
                break
            worked = True
            self.world.tick()
            self.after_event()
        return worked

    def run(self, seconds: float) -> None:
        """Run for so long."""
        end = self.world.clock.outside() + timedelta(seconds=seconds)
        for _ in range(MOST_TURNS):
            left = (end - self.world.clock.outside()).total_seconds()
            if left <= 0:
                return
            self.step(left)
        raise AssertionError(f"more than {MOST_TURNS} turns in {seconds} s: something runs hot\n" + self.tail())

    def settle(self, name: str, seconds: float = 6 * 3600.0) -> Record:
        """Run until the credential is quiet or halted; the assertion tells what it still waits for otherwise."""
        end = self.world.clock.outside() + timedelta(seconds=seconds)
        for _ in range(MOST_TURNS):
            record = self.record(name)
            if self.quiet(record) or (record.rotation is not None and record.rotation.halt is not None):
                return record
            left = (end - self.world.clock.outside()).total_seconds()
            assert left > 0, f"not quiet after {seconds} s: {record.rotation} {record.ledger}\n{self.tail()}"
            self.step(left)
        raise AssertionError("more turns than anything should need\n" + self.tail())

    def quiet(self, record: Record) -> bool:
        """No open rotation, nothing owed, nothing asked, looked at."""
        return (
            record.rotation is None
            and not record.ledger
            and record.standing is not Standing.NEW
            and record.asked is None
            and principals.stale(record) is None
            and (record.due_at is None or record.due_at > self.world.clock.now())
            and not self.late
        )

    def record(self, name: str) -> Record:
        record = self.journal.get(name)
        assert record is not None
        return record

    def stale(self, lease: Lease) -> bool:
        return lease.expires <= self.world.clock.monotonic()

    def lost(self) -> BaseException:
        from rotatord.errors import LeaseLost  # noqa: PLC0415

        return LeaseLost("injected: the lease ran out")

    def _land(self) -> None:
        """Late effects arrive; what they answer nobody hears."""
        now = self.world.clock.outside()
        due = [late for late in self.late if late.at <= now]
        self.late = [late for late in self.late if late.at > now]
        for late in due:
            try:
                late.run()
            except OutsideError as refused:
                self.hands.trace.append(f"{now.isoformat()} late effect refused: {type(refused).__name__}")
            else:
                self.hands.trace.append(f"{now.isoformat()} late effect landed")
            self.after_event()

    # --- judging -------------------------------------------------------------------------------------------------

    def after_event(self) -> None:
        """Invariants are checked after every event, not only at the end."""
        self.events += 1
        for check in self.checks:
            problem = check(self)
            if problem:
                self.broken.append(f"{self.world.clock.outside().isoformat()} {problem}")

    def _heard(self, event: str, **facts: object) -> None:
        if event in {RESTLESS, LEFT_ALONE}:
            self.broken.append(f"{self.world.clock.outside().isoformat()} {event}: {facts}")

    def _excused(self, act: str, ref: str) -> bool:
        """Deaths that a person or a policy forced, on record."""
        for name in self.journal.names():
            record = self.record(name)
            owed = [item for debt in record.ledger for item in debt.owed if item.version.ref == ref]
            if any(item.forced and item.owing is not Owing.OWED for item in owed):
                return True
            if any(mark.ref == ref and mark.contain for mark in record.leaks):
                return True
        return act == "in_place"

    def problems(self) -> list[str]:
        """Everything that broke an invariant so far."""
        return [f"{v.at.isoformat()} {v.kind} {v.who}: {v.what}" for v in self.world.violations] + self.broken

    def tail(self, lines: int = 60) -> str:
        """The end of the trace, for a failing test."""
        return "\n".join(self.hands.trace[-lines:])


class _Watched(Saga):
    """Tells the simulator which unit is at work, so that points have names."""

    def __init__(self, simulator: Simulator, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._simulator = simulator

    def _one(self, lease: Lease, record: Record, work: Any) -> Record:
        rotation = record.rotation
        self._simulator.unit = work.kind.value
        self._simulator.way = ""
        if work.kind.value == "step" and rotation is not None:
            from rotatord.moves import row  # noqa: PLC0415

            self._simulator.unit = row(rotation).step.value
            self._simulator.way = rotation.way.value if rotation.way is not Way.FORWARD else "forward"
        return super()._one(lease, record, work)
