"""What the engine costs: rotations through real threads over a real journal, beside a bare loop of the same calls."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.journal import bare_commits_of
from benchmarks.outside import Outside, managed, spec_of
from rotatord.budget import Budgets, Limit
from rotatord.clock import RandomIds, SystemClock
from rotatord.engine import Engine
from rotatord.journal import open_journal
from rotatord.journal.memory import MemoryJournal
from rotatord.model import State
from rotatord.ports import Amendment, Journal
from rotatord.telemetry import Telemetry

ROTATIONS = 400
SLOW_ROTATIONS = 64
SLOW_SECONDS = 0.05
WORKERS = 16
IDS = RandomIds()
CLOCK = SystemClock()


@contextmanager
def sqlite_journal() -> Iterator[Journal]:
    """A journal in a directory of its own."""
    with tempfile.TemporaryDirectory() as folder:
        journal = open_journal(f"sqlite:///{folder}/journal.db", CLOCK, IDS, lease_seconds=600.0)
        try:
            yield journal
        finally:
            journal.close()


@contextmanager
def memory_journal() -> Iterator[Journal]:
    """One that costs next to nothing: what is left is the engine."""
    yield MemoryJournal(CLOCK, IDS, lease_seconds=600.0)


def engine_over(journal: Journal, outside: Outside, limits: dict[str, Limit] | None = None, workers: int = WORKERS) -> Engine:
    """A real engine. ``limits``: none but the number of threads, unless told."""
    given = limits or {name: Limit(at_once=workers) for name in outside.issuers}
    return Engine(journal, outside.context(IDS), Telemetry(), Budgets(CLOCK, given), workers=workers)


def rotate_all(journal: Journal, outside: Outside, count: int) -> tuple[float, float, float]:
    """Rotate so many credentials once, to the proven death of the old version: seconds, processor seconds, commits of each."""
    now = datetime.now(UTC)
    journal.put([Amendment(record=managed(spec_of(f"c{number}"), now)) for number in range(count)])
    engine = engine_over(journal, outside)
    wall, cpu = time.perf_counter(), time.process_time()
    engine.run_once()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    engine.stop()
    records = [record for number in range(count) if (record := journal.get(f"c{number}")) is not None]
    done = [
        r for r in records if r.last is not None and r.last.state is State.COMPLETED and not r.ledger and r.rotation is None
    ]
    if len(done) != count:
        raise AssertionError(f"{count - len(done)} of {count} rotations did not end well")
    return wall, cpu, sum(record.seq for record in records) / count


def bare_calls(seconds: float, calls: int, threads: int) -> float:
    """Seconds that so many calls take over these threads, with nothing around them."""
    each = [calls // threads + (number < calls % threads) for number in range(threads)]

    def work(count: int) -> None:
        for _ in range(count):
            time.sleep(seconds)

    return _in_threads([lambda count=count: work(count) for count in each])  # type: ignore[misc]


def _in_threads(works: list[Callable[[], None]]) -> float:
    threads = [threading.Thread(target=work) for work in works]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - start


def quick() -> Iterable[Figure]:
    """Calls that cost nothing: what is left is ours."""
    with sqlite_journal() as journal:
        rotate_all(journal, Outside(), 50)  # warms up
    with sqlite_journal() as journal:
        outside = Outside()
        wall, cpu, commits = rotate_all(journal, outside, ROTATIONS)
    with memory_journal() as journal:
        memory_wall, memory_cpu, _ = rotate_all(journal, Outside(), ROTATIONS)
    with tempfile.TemporaryDirectory() as folder:
        bare_ms, bare_us = bare_commits_of(Path(folder), round(commits * ROTATIONS / 8))
    bare_wall, bare_cpu = sum(bare_ms) * 8 / 1000, bare_us * commits / 1000
    facts = {"rotations": ROTATIONS, "calls_each": outside.calls / ROTATIONS, "commits_each": commits}
    note = f"{commits:.0f} commits, {outside.calls / ROTATIONS:.0f} calls each; bare: as many plain commits, one by one"
    yield Figure(
        name="processor time of a rotation",
        value=cpu / ROTATIONS * 1000,
        unit="ms",
        goal=2.0,
        bare=bare_cpu,
        note=note,
        facts=facts,
    )
    yield Figure(
        name="processor time of a rotation, journal in memory",
        value=memory_cpu / ROTATIONS * 1000,
        unit="ms",
        note="the same without SQLite: what the engine itself needs",
    )
    yield Figure(
        name="rotations a second",
        value=ROTATIONS / wall,
        unit="/s",
        goal=100.0,
        at_most=False,
        bare=ROTATIONS / bare_wall,
        note=note,
        facts={**facts, "in_memory": ROTATIONS / memory_wall},
    )


def slow() -> Iterable[Figure]:
    """Calls as slow as real ones: the engine should hide behind them."""
    with sqlite_journal() as journal:
        outside = Outside(SLOW_SECONDS)
        wall, _, _ = rotate_all(journal, outside, SLOW_ROTATIONS)
    bare = bare_calls(SLOW_SECONDS, outside.calls, WORKERS)
    yield Figure(
        name=f"rotations with calls of {SLOW_SECONDS * 1000:.0f} ms, ratio to the bare calls",
        value=wall / bare,
        unit="x",
        goal=1.10,
        bare=1.0,
        note=f"{SLOW_ROTATIONS} rotations, {outside.calls} calls, {WORKERS} threads",
        facts={"seconds": wall, "bare_seconds": bare},
    )


def measure(seed: int) -> Iterable[Figure]:
    del seed  # nothing here is random
    yield from quick()
    yield from slow()
