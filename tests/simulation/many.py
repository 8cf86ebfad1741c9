"""Many seeds in several processes, and what they came to."""

from __future__ import annotations

import gc
import hashlib
import json
import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from rotatord.testing.faults import Fault, Point
from tests.simulation.seeds import play

KEPT = Path(__file__).with_name("regressions.json")
CHUNK = 20
Pair = tuple[Point, Fault]


@dataclass(frozen=True, slots=True)
class Kept:
    """A seed that once found something."""

    seed: int
    without: tuple[str, ...]
    found: str

    def __str__(self) -> str:
        return str(self.seed)


def kept() -> list[Kept]:
    """See regressions.json."""
    return [Kept(each["seed"], tuple(each["without"]), each["found"]) for each in json.loads(KEPT.read_text())]


def keep(found: Kept, path: Path = KEPT) -> bool:
    """Run it always, from now on; whether it was new. One entry a line, as a person would add it."""
    entries = json.loads(path.read_text())
    if any(each["seed"] == found.seed for each in entries):
        return False
    entries.append({"seed": found.seed, "without": list(found.without), "found": found.found})
    path.write_text("[\n" + ",\n".join(f"  {json.dumps(each, ensure_ascii=False)}" for each in entries) + "\n]\n")
    return True


@dataclass(slots=True)
class Found:
    """What so many seeds came to."""

    seeds: int = 0
    events: int = 0
    crashes: int = 0
    freezes: int = 0
    stops: int = 0
    faults: int = 0
    processes: int = 0
    seconds: float = 0.0
    pairs: set[Pair] = field(default_factory=set)
    failures: dict[int, list[str]] = field(default_factory=dict)
    hashes: dict[int, str] = field(default_factory=dict)
    differing: list[int] = field(default_factory=list)
    compared: int = 0

    def add(self, other: Found) -> None:
        for name in ("seeds", "events", "crashes", "freezes", "stops", "faults"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.pairs |= other.pairs
        self.failures.update(other.failures)

    def __str__(self) -> str:
        return (
            f"simulation: {self.seeds} seeds of 2 replicas and 3 credentials, {self.events} events, {self.faults} faults, "
            f"{self.crashes} crashes, {self.freezes} freezes, {self.stops} clean stops, {len(self.pairs)} (step x fault) pairs "
            f"reached, {len(self.failures)} violations; {self.compared} run twice, {len(self.differing)} differed; "
            f"{self.seconds:.0f} s in {self.processes} processes; digest {self.digest}"
        )

    @property
    def digest(self) -> str:
        """The same for the same runs of the same seeds, in whatever order they ended."""
        return hashlib.sha256(repr(sorted(self.hashes.items())).encode()).hexdigest()[:16]


def run_chunk(first: int, count: int) -> Found:
    """Some seeds, in this process. Memory is tidied between them, not within; what was there before is never looked at."""
    found = Found()
    gc.freeze()
    gc.disable()
    try:
        for seed in range(first, first + count):
            run = play(seed)
            fleet = run.fleet
            found.seeds += 1
            found.events += fleet.events
            found.crashes += fleet.crashes
            found.freezes += fleet.freezes
            found.stops += fleet.stops
            found.faults += len(fleet.fates.happened)
            found.pairs |= fleet.reached
            if not fleet.crashes:
                run.problems.append("no crash")
            if run.problems:
                found.failures[seed] = run.problems[:3]
            found.hashes[seed] = fleet.hash()
    finally:
        gc.enable()
        gc.collect()
    return found


def run_many(first: int, count: int, *, most_seconds: float, fewest: int, twice: int) -> Found:
    """Seeds from ``first`` on, a process on each core, until all are done or the time is over; never fewer than ``fewest``."""
    found = Found(processes=os.cpu_count() or 1)
    started = time.monotonic()
    chunks = _chunks(first, count, twice)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(found.processes, mp_context=context) as pool:
        waiting: set[Future[Found]] = set()
        more = True
        while more or waiting:
            while more and len(waiting) < found.processes * 2:
                over = time.monotonic() - started > most_seconds and found.seeds >= fewest
                chunk = None if over else next(chunks, None)
                if chunk is None:
                    more = False
                else:
                    waiting.add(pool.submit(run_chunk, *chunk))
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                _take(found, future.result())
    found.seconds = time.monotonic() - started
    return found


def _chunks(first: int, count: int, twice: int) -> Iterator[tuple[int, int]]:
    """The first of them twice."""
    for start in range(first, first + count, CHUNK):
        length = min(CHUNK, first + count - start)
        yield start, length
        if start - first < twice:
            yield start, length


def _take(found: Found, chunk: Found) -> None:
    again = [seed for seed in chunk.hashes if seed in found.hashes]
    found.differing += [seed for seed in again if found.hashes[seed] != chunk.hashes[seed]]
    found.compared += len(again)
    found.hashes.update(chunk.hashes)
    if not again:
        found.add(chunk)
