"""One issuer that hangs, and what that does to its neighbours, in virtual time: the same on every machine.

The engine that claims, its budgets, leases and units are the real ones; its threads are simulated tasks, and a call takes
as long as it is said to take.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future
from dataclasses import replace
from datetime import timedelta
from typing import Any

from benchmarks.figures import Figure, percentile
from benchmarks.outside import MemoryIssuer, Outside, managed, spec_of
from rotatord.budget import Budgets, Limit
from rotatord.engine import Engine
from rotatord.errors import Retryable
from rotatord.hands import Hands
from rotatord.journal.memory import MemoryJournal
from rotatord.ops import Call
from rotatord.pauses import Pauses
from rotatord.ports import Amendment, Lease
from rotatord.telemetry import Telemetry
from rotatord.testing.clock import START, SeededIds, VirtualClock
from rotatord.testing.turns import Task, Turns

NEIGHBOURS = 4
ROTATIONS = 300
A_SECOND = 4  # five of them at a time: the threads that are left suffice
STUCK = 64
CALL_SECONDS = 0.05
LOOK_SECONDS = 0.01  # how often it is looked for work that has come due
AT_ONCE = 8
WORKERS = 16
LATER = timedelta(seconds=20)  # until then it hangs already


class Pool(Executor):
    """Threads of which one runs at a time."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self.tasks: dict[str, Task] = {}  # by credential

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        (lease,) = args

        def work(_: Task) -> None:
            future.set_running_or_notify_cancel()
            fn(lease, **kwargs)
            future.set_result(None)

        self.tasks[lease.name] = self._turns.start(lease.name, work)
        return future


class SlowHands(Hands):
    """Calls take their time; those to the issuer that hangs take until their timeout, and nothing comes of them."""

    def __init__(self, turns: Turns, pool: Pool, hanging: str, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._turns, self._pool, self._hanging = turns, pool, hanging

    def call(self, lease: Lease, call: Call) -> Any:
        hangs = call.issuer != "" and call.issuer == self._hanging
        self._turns.sleep(self._pool.tasks[lease.name], call.timeout if hangs else CALL_SECONDS)
        if hangs:
            raise Retryable("no answer")
        return super().call(lease, call)


def durations(seed: int, hanging: str, at_once: int = AT_ONCE) -> list[float]:
    """Seconds of each rotation at the healthy issuers, from due to completed, or to the end of all."""
    clock, ids = VirtualClock(), SeededIds(seed)
    turns = Turns(clock, ids.fraction)
    journal, pool, outside = MemoryJournal(clock, ids, lease_seconds=60.0), Pool(turns), Outside()
    names = ["stuck", *(f"fine-{number}" for number in range(NEIGHBOURS))]
    outside.issuers = {name: MemoryIssuer() for name in names}
    budgets = Budgets(clock, {name: Limit(at_once=at_once) for name in names})
    ctx = replace(outside.context(ids), clock=clock, paused=Pauses(lambda: None, clock.now))
    hands = SlowHands(turns, pool, hanging, journal, clock, Telemetry(), spend=budgets.spend)
    engine = Engine(journal, ctx, Telemetry(), budgets, workers=WORKERS, hands=hands, pool=pool)
    dues = {f"c{number}": START + LATER + timedelta(seconds=number / A_SECOND) for number in range(ROTATIONS)}
    rows = [managed(spec_of(name, issuer=f"fine-{n % NEIGHBOURS}"), due) for n, (name, due) in enumerate(dues.items())]
    rows += [managed(spec_of(f"cs{number}", issuer="stuck"), START) for number in range(STUCK)]
    journal.put([Amendment(record=row) for row in rows])

    def look() -> None:
        engine.claim()
        turns.after(LOOK_SECONDS, look)

    turns.after(0.0, look)
    turns.run(LATER.total_seconds() + ROTATIONS / A_SECOND + 30.0)
    now = clock.now()
    turns.close()
    ends = {record.name: record.last.finished_at if record.last else now for record in journal.records(limit=1000)}
    return [(ends[name] - due).total_seconds() for name, due in dues.items()]


def measure(seed: int) -> Iterable[Figure]:
    bare, beside, open_to_it = durations(seed, ""), durations(seed, "stuck"), durations(seed, "stuck", WORKERS)
    for percent, goal in ((50, None), (99, 1.10)):
        plain = percentile(bare, percent)
        yield Figure(
            name=f"p{percent} of rotations beside a hanging issuer in virtual time, ratio to without",
            value=percentile(beside, percent) / plain,
            unit="x",
            goal=goal,
            bare=1.0,
            note=f"{ROTATIONS} rotations, {plain:.2f} s without; were it to take every thread: "
            f"{percentile(open_to_it, percent) / plain:.1f} x",
            facts={"count": ROTATIONS, "seconds": plain},
        )
