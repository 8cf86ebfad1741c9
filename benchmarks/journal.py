"""What the journal costs: commits beside a bare loop of the same SQL, commits of many threads, claims as it grows."""

from __future__ import annotations

import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.figures import Figure, percentile
from rotatord.clock import RandomIds, SystemClock
from rotatord.journal import open_journal
from rotatord.journal.codec import EVENTS, RECORDS
from rotatord.model import Event, Record
from rotatord.ports import Amendment, Journal
from rotatord.testing.contracts.journal_setting import a_record, a_rotation, a_version

COMMITS = 2000
THREADS = 16
CLAIMS = 300
BATCH = 16
SIZES = (1_000, 100_000, 1_000_000)
HERD = datetime(2040, 1, 1, tzinfo=UTC)
IDS = RandomIds()
Timed = tuple[list[float], float]


def record(name: str) -> Record:
    """One in the middle of a rotation: about 4 KB."""
    base = a_record(name)
    return replace(base, rotation=a_rotation(base.spec, a_version()))


def event(name: str) -> Event:
    return Event(id=IDS.new("evt"), time=datetime.now(UTC), actor="engine", action="mint", credential=name, outcome="done")


def opened(folder: str) -> Journal:
    return open_journal(f"sqlite:///{folder}/journal.db", SystemClock(), IDS, lease_seconds=600.0)


def timed(count: int, work: Callable[[int], None]) -> Timed:
    """Milliseconds of each call, and microseconds of processor time per call."""
    samples = []
    cpu = time.process_time()
    for number in range(count):
        start = time.perf_counter()
        work(number)
        samples.append((time.perf_counter() - start) * 1000)
    return samples, (time.process_time() - cpu) / count * 1e6


def commits(journal: Journal) -> Timed:
    lease = journal.lease("c0")
    assert lease is not None
    latest = lease.record

    def work(_: int) -> None:
        nonlocal latest
        latest = journal.commit(lease, latest, [event("c0")])

    measured = timed(COMMITS, work)
    journal.release(lease)
    return measured


def bare_commits_of(folder: Path, count: int) -> Timed:
    """The least that stores the same: one row with the text, one event, one transaction, just as durable."""
    connection = sqlite3.connect(folder / "bare.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE records (name TEXT PRIMARY KEY, seq INTEGER, body TEXT)")
    connection.execute("CREATE TABLE events (seq INTEGER PRIMARY KEY, body TEXT)")
    body, line = RECORDS.encode(record("c0")), EVENTS.encode(event("c0"))
    connection.execute("INSERT INTO records VALUES ('c0', 0, ?)", (body,))

    def work(number: int) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE records SET seq = seq + 1, body = ? WHERE name = 'c0' AND seq = ?", (body, number))
        connection.execute("INSERT INTO events (body) VALUES (?)", (line,))
        connection.execute("COMMIT")

    measured = timed(count, work)
    connection.close()
    return measured


def together(journal: Journal) -> tuple[float, float]:
    """Commits a second of many threads, and microseconds of processor time per commit."""
    each = COMMITS // THREADS

    def work(name: str) -> None:
        lease = journal.lease(name)
        assert lease is not None
        latest = lease.record
        for _ in range(each):
            latest = journal.commit(lease, latest, [event(name)])

    threads = [threading.Thread(target=work, args=(f"c{number}",)) for number in range(1, THREADS + 1)]
    start, cpu = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    count = each * THREADS
    return count / (time.perf_counter() - start), (time.process_time() - cpu) / count * 1e6


def fill(journal: Journal, size: int) -> None:
    """A hundred are due before HERD, all others then."""
    early = max(1, size // 100)
    for first in range(0, size, 5000):
        rows = [
            a_record(
                f"c{number:07}",
                due_at=HERD if number % early else HERD - timedelta(hours=1),
                issuer=f"issuer-{number % 5}",
                expires_at=HERD + timedelta(days=9, seconds=-(number * 7919 % size)),
            )
            for number in range(first, min(first + 5000, size))
        ]
        journal.put([Amendment(record=row) for row in rows])


def claims(size: int) -> Iterable[Figure]:
    """Claims of BATCH with one issuer full: when about a hundred are due, and when all are due at once."""
    with tempfile.TemporaryDirectory() as folder:
        journal = opened(folder)
        fill(journal, size)
        full = frozenset({"issuer-1"})

        def claim_at(now: datetime) -> Callable[[int], None]:
            def work(_: int) -> None:
                for lease in journal.claim(now, BATCH, full=full):
                    journal.release(lease)

            return work

        before, herd = HERD - timedelta(seconds=1), HERD + timedelta(seconds=1)
        ordinary, _ = timed(CLAIMS, claim_at(before))
        sorting, _ = timed(1, claim_at(herd))
        crowded, _ = timed(CLAIMS, claim_at(herd))
        idle, _ = timed(CLAIMS, lambda _: (journal.next_due(), None)[1])
        counting, _ = timed(20, lambda _: (journal.counts(before), None)[1])
        journal.close()
    at = f"at {size:,} credentials"
    yield _claim(f"claim of {BATCH}, few due, {at}", ordinary)
    yield _claim(f"claim of {BATCH}, all due, {at}", crowded)
    yield Figure(name=f"first claim of a herd, {at}", value=sorting[0], unit="ms")
    yield Figure(name=f"look for the next due time, {at}", value=percentile(idle, 50), unit="ms")
    yield Figure(name=f"counts for metrics, all due, {at}", value=percentile(counting, 50), unit="ms")


def _claim(name: str, samples: list[float]) -> Figure:
    facts = {"p99_ms": percentile(samples, 99), "count": len(samples)}
    return Figure(name=name, value=percentile(samples, 50), unit="ms", facts=facts)


def measure(seed: int) -> Iterable[Figure]:
    del seed  # nothing here is random
    with tempfile.TemporaryDirectory() as folder:
        journal = opened(folder)
        journal.put([Amendment(record=record(f"c{number}")) for number in range(THREADS + 1)])
        commits(journal)  # warms up
        samples, cpu = commits(journal)
        bare, bare_cpu = bare_commits_of(Path(folder), COMMITS)
        per_second, shared_cpu = together(journal)
        journal.close()
    facts = {"count": COMMITS}
    for percent, goal in ((50, 3.0), (99, None)):
        value, plain = percentile(samples, percent), percentile(bare, percent)
        yield Figure(name=f"commit p{percent}", value=value, unit="ms", goal=goal, bare=plain, facts=facts)
    yield Figure(name="processor time of a commit", value=cpu, unit="µs", bare=bare_cpu, facts=facts)
    yield Figure(name=f"commits of {THREADS} threads", value=per_second, unit="/s", bare=1000 * COMMITS / sum(bare))
    yield Figure(name=f"processor time of a commit, {THREADS} threads", value=shared_cpu, unit="µs", bare=bare_cpu)
    for size in SIZES:
        yield from claims(size)
