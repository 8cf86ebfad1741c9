"""Several replicas of the daemon in virtual time over one journal and one world of fakes, hostile by default.

Every outside call may take time; while it does, the others go on. Who works next, what fails, what is late and who dies is
drawn from one seed, so that a seed is one run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rotatord import principals, react
from rotatord.commands import parse
from rotatord.errors import JournalUnavailable, OutsideError, Refused
from rotatord.gates import GATE, Gate
from rotatord.model import Event, JsonMap, Record, Spec, Standing, State, Way
from rotatord.moves import compromised
from rotatord.ops import Call
from rotatord.ports import Amendment, Lease
from rotatord.testing.fates import Draws, Fate, Fates
from rotatord.testing.faults import Fault, Point
from rotatord.testing.replica import Answer, Replica, ReplicaHands
from rotatord.testing.shared_journal import SharedJournal
from rotatord.testing.turns import Death, Task, Turns
from rotatord.testing.watch import Watch
from rotatord.testing.world import World

INSTALLATION = "simulated"
KEY = b"simulated-fingerprint-key-32-byte"
SKEWED_SHARE = 0.2
BACKEND_SETTLES = 40.0  # seconds after which a write that timed out has landed, or never will


@dataclass(frozen=True, slots=True)
class Strike:
    """Something that happens so long after the rotation of a credential gets somewhere, once."""

    name: str
    at: tuple[State, Way]
    seconds: float
    happen: Callable[[], None]


class Fleet:
    """A world, one journal, and replicas. ``parts``: broken steps or ledger, for tests that show that they are noticed;
    ``hands``: broken hands likewise."""

    def __init__(
        self,
        world: World,
        fates: Fates,
        *,
        replicas: int = 2,
        seed: int = 0,
        gate: Gate = GATE,
        parts: JsonMap | None = None,
        hands: type[ReplicaHands] = ReplicaHands,
        journal: type[SharedJournal] = SharedJournal,
    ) -> None:
        draws = Draws(seed)
        self.world, self.fates, self.gate, self.parts, self.hands = world, fates, gate, parts or {}, hands
        self.installation, self.key = INSTALLATION, KEY
        self.journal = journal(world.clock, world.ids)
        self.turns = Turns(world.clock, draws.fraction, self._look, self._passed)
        self.tasks: dict[tuple[str, int], Task] = {}
        self.trace: list[tuple[Any, ...]] = []
        self.reached: set[tuple[Point, Fault]] = set()
        self.crashes = self.freezes = self.stops = self.events = 0
        self.pending = 0  # effects that will land later
        self.watch = Watch(self)
        self.journal.stored = self._stored
        world.excuse = self.watch.excused
        self._draw = draws.fraction
        self._looking = False
        self.dirty = True
        self.strikes: list[Strike] = []  # what happens when a rotation gets somewhere
        self.on_time = True  # nobody has set a clock
        self.replicas = [Replica(self, number, self._skew(), 1000.0 * number) for number in range(1, replicas + 1)]

    def _skew(self) -> float:
        """Most clocks are off by a second, some by many."""
        return (40.0 if self._draw() < SKEWED_SHARE else 2.0) * (self._draw() - 0.5)

    # --- what people do ------------------------------------------------------------------------------------------

    def declare(self, *specs: Spec) -> None:
        """Make credentials known, as loading a configuration does."""
        now = self.world.clock.outside()
        self.journal.put([Amendment(record=Record(name=spec.name, spec=spec, due_at=now)) for spec in specs])

    def request(self, verb: str, credential: str, **arguments: Any) -> str:
        """What a person asks of some replica; why it was refused, or ""."""
        accept = react.Accept(lambda issuer: self.world.plugins.issuer(issuer).traits)
        command = parse(verb, credential, "uid:0(tester)", arguments)
        now = self.replicas[int(self._draw() * len(self.replicas))].clock.now()
        try:
            self.journal.amend(credential, lambda record: accept(record, command, now, self.world.ids))
        except Refused as refused:
            return str(refused)
        return ""

    def kill(self, replica: Replica, by: str = "", down: float | None = None) -> None:
        """kill -9. Its leases stay until they run out; what it had asked of others happens all the same."""
        if replica.up:
            self.crashes += 1
            self.trace.append((self.turns.now, replica.name, "killed", by))
            self._down(replica, 12.0 * self._draw() if down is None else down)
        if by:
            raise Death

    def stop(self, replica: Replica, down: float) -> None:
        """SIGTERM: units in flight are ended, leases given back."""
        if not replica.up or replica.stopping:
            return
        self.stops += 1
        replica.stopping = True
        self.trace.append((self.turns.now, replica.name, "stopping"))
        life = replica.life
        self.turns.after(5.0, lambda: self._stopped(replica, life, down))

    def _stopped(self, replica: Replica, life: int, down: float) -> None:
        if replica.up and replica.life == life:
            self._down(replica, down)

    def _down(self, replica: Replica, seconds: float) -> None:
        replica.up = False
        replica.journal.dead = True
        for key, task in list(replica.tasks.items()):
            self.tasks.pop(key, None)
            self.turns.doom(task)
        replica.tasks = {}
        replica.frozen_until = 0.0
        self.turns.after(seconds, replica.boot)

    def freeze(self, replica: Replica, lease: Lease | None, seconds: float) -> None:
        """SIGSTOP, and SIGCONT later: no task of it runs meanwhile, and none notices."""
        self.freezes += 1
        until = self.turns.now + seconds
        replica.frozen_until = max(replica.frozen_until, until)
        for task in replica.tasks.values():
            task.frozen_until = replica.frozen_until
        self.trace.append((self.turns.now, replica.name, "frozen", seconds))
        if lease is not None:
            self.turns.sleep(self._task(lease), seconds)

    def _task(self, lease: Lease) -> Task:
        return self.tasks[lease.name, lease.fence]

    # --- what replicas do ----------------------------------------------------------------------------------------

    def fate_of(self, replica: Replica, lease: Lease, call: Call | None, events: Sequence[Event] = ()) -> Fate:
        """What becomes of this call, or of this commit."""
        key = (lease.name, lease.fence)
        if key not in self.tasks or replica.journal.dead:
            raise Death  # somebody that died a moment ago
        unit, way = replica.at_work.get(lease.name, ("claim", ""))
        if call is not None:
            op = call.point
            fate = self.fates.of_call(lease.name, call, self._settles(call))
        else:
            op = f"commit.{events[0].action}.{events[0].outcome}" if events else "commit.quietly"
            fate = self.fates.of_commit(lease.name)
        self.events += 1
        self.trace.append((self.turns.now, replica.name, lease.name, unit, way, op, fate.fault and fate.fault.value, fate.id))
        if fate.fault is not None:
            self.reached.add((Point(unit, way, op), fate.fault))
        return fate

    def _settles(self, call: Call) -> float:
        if not call.issuer:
            return BACKEND_SETTLES
        return self.world.issuers[call.issuer].traits.call_settles_within.total_seconds()

    def later(self, seconds: float, land: Callable[[], None]) -> None:
        """An effect that happens whatever becomes of its caller."""
        self.pending += 1

        def happen() -> None:
            self.pending -= 1
            self.dirty = True
            land()

        self.turns.after(seconds, happen)

    def landed(self, lease: Lease, call: Call, answer: Answer, *, late: bool) -> None:
        """A call has done what it does."""
        if late:
            self.trace.append((self.turns.now, lease.name, call.point, "landed late"))
            if answer.error is not None and not isinstance(answer.error, OutsideError):
                raise answer.error
        if call.effect:
            self.world.tick()
            self.watch.landed(lease, call, answer)

    def _stored(self, lease: Lease | None, before: Record | None, after: Record, events: Sequence[Event]) -> None:
        self.events += 1
        self.dirty = True
        self.watch.stored(lease, before, after, events)
        if self.strikes and after.rotation is not None:
            here = (after.rotation.state, after.rotation.way)
            if before is None or before.rotation is None or here != (before.rotation.state, before.rotation.way):
                self._strike(after.name, here)

    def _strike(self, name: str, here: tuple[State, Way]) -> None:
        for strike in [each for each in self.strikes if (each.name, each.at) == (name, here)]:
            self.strikes.remove(strike)
            self.turns.after(strike.seconds, strike.happen)

    # --- time ----------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Queue what comes next of what nobody has queued: a look for work, and what consumers and copiers do."""
        at = self.turns.next_at()
        moment = self.world.next_moment()
        if moment is not None:
            seconds = (moment - self.world.clock.outside()).total_seconds()
            if at is None or self.turns.now + seconds < at:
                self.turns.after(max(seconds, 0.0), self._tick)
                at = self.turns.now + max(seconds, 0.0)
        if self._looking:
            return
        wanted, end = self.journal.next_due(), self.journal.next_end()
        if wanted is None and end is None:
            return
        replica = self.replicas[int(self._draw() * len(self.replicas))]
        waits = [] if wanted is None else [max((wanted - replica.clock.now()).total_seconds(), 0.0)]
        wait = min([*waits, *([] if end is None else [end])])
        if at is None or self.turns.now + wait <= at:
            self._looking = True
            part = self._draw()
            self.turns.after(wait + (0.05 if part < 0.6 else 2.0 * part), lambda: self._claim(replica))

    def _tick(self) -> None:
        self.world.tick()

    def _claim(self, replica: Replica) -> None:
        self._looking = False
        if not replica.up or replica.stopping or replica.frozen_until > self.turns.now:
            return
        try:
            replica.claim()
        except JournalUnavailable:
            return

    def _passed(self) -> None:
        self.world.keep_up()

    def run(self, seconds: float) -> None:
        """Let so much time pass."""
        self.turns.run(seconds)

    def calm(self) -> None:
        """Nothing goes wrong any more, and everybody is up and on time."""
        self.fates.wild = False
        self.world.calm()
        for replica in self.replicas:
            replica.clock.skew *= 0
        self.dirty = True

    def settle(self, seconds: float) -> bool:
        """Run until every credential is quiet or halted; False when that took too long."""

        def wanted() -> bool:
            if not self.dirty:
                return False
            self.dirty = False
            return self.settled()

        self.dirty = True
        self.turns.run(seconds, wanted)
        return self.settled()

    def settled(self) -> bool:
        return not self.pending and all(self.quiet(record) or halted(record) for record in self.journal.records())

    def unsettled(self) -> list[str]:
        return [record.name for record in self.journal.records() if not (self.quiet(record) or halted(record))]

    def quiet(self, record: Record) -> bool:
        """No open rotation, nothing owed, nothing asked, looked at, nobody at work on it, and no leak that is yet to be
        replaced once its backoff is over."""
        return (
            record.rotation is None
            and not record.ledger
            and record.standing is not Standing.NEW
            and record.asked is None
            and principals.stale(record) is None
            and (compromised(record, record.current) is None or bool(record.held_for_person))
            and (record.due_at is None or record.due_at > self.world.clock.outside())
        )

    def record(self, name: str) -> Record:
        record = self.journal.get(name)
        assert record is not None
        return record

    # --- judging -------------------------------------------------------------------------------------------------

    def problems(self) -> list[str]:
        """Everything that broke an invariant so far."""
        return [f"{v.at.isoformat()} {v.kind} {v.who}: {v.what}" for v in self.world.violations] + self.watch.broken

    def hash(self) -> str:
        """The same for the same run."""
        return hashlib.sha256("\n".join(map(repr, self.trace)).encode()).hexdigest()

    def tail(self, lines: int = 60, name: str = "") -> str:
        """The end of the trace, for a failing test."""
        shown = [line for line in self.trace if not name or name in line or len(line) <= 4]
        return "\n".join(" ".join(map(str, line)) for line in shown[-lines:])

    def close(self) -> None:
        self.turns.close()


def halted(record: Record) -> bool:
    """Stopped for a person."""
    return record.rotation is not None and record.rotation.halt is not None
