"""What the journal costs in PostgreSQL, how soon a killed daemon is followed, how soon all goes on after an outage."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg

from benchmarks.figures import Figure, median, percentile
from benchmarks.journal import BATCH, COMMITS, THREADS, Timed, commits, event, record, timed, together
from rotatord.clock import RandomIds, SystemClock
from rotatord.errors import JournalError
from rotatord.journal import open_journal
from rotatord.journal.codec import EVENTS, RECORDS
from rotatord.ports import Amendment, Journal
from tests.servers.binaries import find
from tests.servers.postgresql import POSTGRESQL, Database, PostgresServer

KILLS = 50
OUTAGES = 5
LEASE_SECONDS = 2.0  # the figure is the time beyond it: waiting fifteen seconds fifty times would show nothing more
_HOLD = """
import sys
from rotatord.clock import RandomIds, SystemClock
from rotatord.journal import open_journal
journal = open_journal(sys.argv[1], SystemClock(), RandomIds(), lease_seconds=float(sys.argv[2]))
journal.join("bench")
journal.watch(lambda _: None)
for line in sys.stdin:
    lease = journal.lease(line.strip())
    print("held" if lease else "busy", flush=True)
"""


def opened(url: str, lease_seconds: float = 600.0) -> Journal:
    return open_journal(url, SystemClock(), RandomIds(), lease_seconds=lease_seconds)


def bare(database: Database) -> Timed:
    """The least that stores the same: one row with the text, one event, one transaction, just as durable."""
    body, line = RECORDS.encode(record("c0")), EVENTS.encode(event("c0"))
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE bare_records (name text PRIMARY KEY, seq bigint, body text)")
        connection.execute("CREATE TABLE bare_events (seq bigserial PRIMARY KEY, body text)")
        connection.execute("INSERT INTO bare_records VALUES ('c0', 0, %s)", (body,))

        def work(number: int) -> None:
            with connection.transaction():
                text = "UPDATE bare_records SET seq = seq + 1, body = %s WHERE name = 'c0' AND seq = %s"
                connection.execute(text, (body, number))
                connection.execute("INSERT INTO bare_events (body) VALUES (%s)", (line,))

        return timed(COMMITS, work)


def steps(database: Database) -> Iterable[Figure]:
    journal = opened(database.url)
    journal.put([Amendment(record=record(f"c{number}")) for number in range(THREADS + 1)])
    commits(journal)  # warms up
    samples, cpu = commits(journal)
    plain, plain_cpu = bare(database)
    per_second, shared_cpu = together(journal)

    def claim(_: int) -> None:
        for lease in journal.claim(lease_time, BATCH):
            journal.release(lease)

    lease_time = SystemClock().now()
    claims, _ = timed(200, claim)
    journal.close()
    for percent, goal in ((50, 6.0), (99, None)):
        value, bare_value = percentile(samples, percent), percentile(plain, percent)
        yield Figure(name=f"commit p{percent}, PostgreSQL", value=value, unit="ms", goal=goal, bare=bare_value)
    yield Figure(name="processor time of a commit, PostgreSQL", value=cpu, unit="µs", bare=plain_cpu)
    yield Figure(
        name=f"commits of {THREADS} threads, PostgreSQL", value=per_second, unit="/s", bare=1000 * COMMITS / sum(plain)
    )
    yield Figure(name=f"processor time of a commit, {THREADS} threads, PostgreSQL", value=shared_cpu, unit="µs", bare=plain_cpu)
    yield Figure(name=f"claim and release of {BATCH}, PostgreSQL", value=percentile(claims, 50), unit="ms")


@contextmanager
def holder(database: Database) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", _HOLD, database.url, str(LEASE_SECONDS)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def takeover(database: Database, dice: random.Random) -> Figure:
    """From kill -9 of a process to another one's lease on what it held, asked for when the journal says so."""
    journal = opened(database.url, LEASE_SECONDS)
    name, told = "taken", threading.Event()
    journal.put([Amendment(record=record(name))])
    journal.join("bench")  # type: ignore[attr-defined]
    journal.watch(lambda _: told.set())  # type: ignore[attr-defined]
    samples = []
    for _ in range(KILLS):
        with holder(database) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(f"{name}\n")
            process.stdin.flush()
            assert process.stdout.readline().strip() == "held"
            threading.Event().wait(dice.random() * 0.3)
            process.kill()
            began = time.perf_counter()
            while not (leases := journal.claim(SystemClock().now(), 1)):
                told.clear()
                told.wait(5)
            samples.append(time.perf_counter() - began)
            for lease in leases:
                journal.release(lease)
    journal.close()
    facts = {"count": KILLS, "p50_s": percentile(samples, 50), "lease_s": LEASE_SECONDS}
    note = f"with a lease of {LEASE_SECONDS:g} s, {KILLS} kills"
    return Figure(
        name="takeover after kill -9, p99",
        value=percentile(samples, 99),
        unit="s",
        goal=LEASE_SECONDS + 2,
        note=note,
        facts=facts,
    )


def until_committed(journal: Journal, name: str) -> float:
    """Tries again as the engine does; when it was done."""
    while True:
        try:
            lease = journal.lease(name)
            if lease is not None:
                journal.commit(lease, lease.record)
                journal.release(lease)
                return time.perf_counter()
        except JournalError:
            pass
        threading.Event().wait(1.0)


def outage(server: PostgresServer, database: Database) -> Figure:
    """From the moment at which the server takes connections again to the first commit."""
    journal = opened(database.url)
    journal.put([Amendment(record=record("out"))])
    samples = []
    for _ in range(OUTAGES):
        server.stop(crash=True)
        with ThreadPoolExecutor(1) as pool:
            going = pool.submit(until_committed, journal, "out")
            threading.Event().wait(2)
            server.start()
            began = time.perf_counter()
            samples.append(max(0.0, going.result(60) - began))
    journal.close()
    return Figure(
        name="resume after an outage of PostgreSQL", value=median(samples), unit="s", goal=5.0, facts={"count": OUTAGES}
    )


def measure(seed: int) -> Iterable[Figure]:
    binary = find(POSTGRESQL)
    if binary is None:
        print(f"no PostgreSQL: {POSTGRESQL.remedy}")
        return
    server = PostgresServer(binary, durable=True)
    try:
        server.start()
        with server.database() as database:
            yield from steps(database)
        with server.database() as database:
            yield takeover(database, random.Random(seed))
        with server.database() as database:
            yield outage(server, database)
    finally:
        server.remove()
