"""What may happen to a PostgreSQL, or on the way to it, while two processes' journals work: nothing that was acknowledged
is lost, nothing is done twice, nobody waits for ever, and all goes on at the same pace afterwards."""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest

from rotatord.clock import RandomIds, SystemClock
from rotatord.errors import JournalError, JournalUnavailable
from rotatord.journal import open_journal
from rotatord.journal.postgresql import READERS
from rotatord.journal.postgresql_journal import PostgresqlJournal
from rotatord.testing.contracts.journal_setting import a_record, an_event, put
from tests.integration.stalling_proxy import StallingProxy
from tests.servers.postgresql import Database, PostgresServer

pytestmark = [pytest.mark.postgresql, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
NAMES = [f"c{number}" for number in range(8)]
WORKERS = 3  # of each process
SLICE_SECONDS = 0.5
STRETCH = 6  # slices before and after
RESUMES_WITHIN = 5.0  # seconds, after what struck is over


class Load:
    """Threads of two processes' journals that lease, commit and release for as long as it lasts."""

    def __init__(self, *journals: PostgresqlJournal) -> None:
        self.journals = journals
        self.acknowledged: dict[str, list[str]] = {name: [] for name in NAMES}
        self.failures: list[str] = []
        self.bugs: list[BaseException] = []
        self.done = 0
        self.longest = 0.0  # that a single use of the journal took, failed or not
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=(journal, number)) for journal in journals for number in range(WORKERS)
        ]

    def __enter__(self) -> Self:
        put(self.journals[0], *[a_record(name) for name in NAMES])
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(40)
        assert not any(thread.is_alive() for thread in self._threads), "a worker waits for ever"
        assert not self.bugs, self.bugs

    def _work(self, journal: PostgresqlJournal, number: int) -> None:
        turn = number
        while not self._stopping.is_set():
            turn += 1
            began = time.monotonic()
            try:
                self._one(journal, NAMES[turn % len(NAMES)])
            except JournalError as error:
                self.failures.append(f"{type(error).__name__}: {error}")
                self._stopping.wait(0.1)
            except BaseException as error:  # noqa: BLE001  told at the end
                self.bugs.append(error)
                return
            self.longest = max(self.longest, time.monotonic() - began)

    def _one(self, journal: PostgresqlJournal, name: str) -> None:
        lease = journal.lease(name)
        if lease is None:
            self._stopping.wait(0.002)
            return
        try:
            number = lease.record.failures + 1
            event = an_event(f"{name}-{number}-{lease.fence}", credential=name)
            journal.commit(lease, replace(lease.record, failures=number), [event])
            self.acknowledged[name].append(event.id)
            self.done += 1
        finally:
            journal.release(lease)

    def told(self, turn: int) -> None:
        """One commit, and its event's id on standard output once it is acknowledged."""
        name = NAMES[turn % len(NAMES)]
        before = len(self.acknowledged[name])
        self._one(self.journals[0], name)
        for event in self.acknowledged[name][before:]:
            print(event, flush=True)

    def pace(self) -> float:
        """Commits a second: the median of some slices."""
        slices = []
        for _ in range(STRETCH):
            before, began = self.done, time.monotonic()
            threading.Event().wait(SLICE_SECONDS)
            slices.append((self.done - before) / (time.monotonic() - began))
        return statistics.median(slices)

    def until_going(self) -> float:
        """Seconds until something is committed again, through each journal."""
        began = time.monotonic()
        for journal in self.journals:
            while True:
                try:
                    journal.record_events([an_event(RandomIds().new("evt"), credential="-")])
                    break
                except JournalUnavailable:
                    assert time.monotonic() - began < 30
                    threading.Event().wait(0.05)
        before = self.done
        while self.done == before:
            assert time.monotonic() - began < 30, self.failures[-3:]
            threading.Event().wait(0.02)
        return time.monotonic() - began

    def check(self) -> None:
        """Nothing lost, nothing done twice, no gap."""
        journal = self.journals[0]
        for name in NAMES:
            record = journal.get(name)
            assert record is not None
            stored = [event.id for event in journal.replay(name, limit=1_000_000)]
            assert len(stored) == record.failures, "an event without its record, or the other way round"
            assert [event.split("-")[1] for event in stored] == [str(number + 1) for number in range(len(stored))]
            assert set(self.acknowledged[name]) <= set(stored), "an acknowledged commit is lost"
        seqs = [event.seq for event in journal.replay(limit=1_000_000)]
        assert seqs == list(range(1, len(seqs) + 1))


Strike = Callable[[], None]


def opened(url: str) -> PostgresqlJournal:
    journal = open_journal(url, SystemClock(), RandomIds(), lease_seconds=3)
    assert isinstance(journal, PostgresqlJournal)
    return journal


@pytest.fixture
def struck(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Load]]:
    """Puts two journals under load, strikes, and checks what must hold after that; prints the figures."""

    def strike(url: str, blow: Strike, *, journals: tuple[PostgresqlJournal, ...] = ()) -> Load:
        used = journals or (opened(url), opened(url))
        load = Load(*used)
        try:
            with load:
                before = load.pace()
                blow()
                resumed = load.until_going()
                after = load.pace()
            load.check()
        finally:
            for journal in used:
                journal.close()
        with capsys.disabled():
            print(
                f"\n{blow.__name__}: resumed after {resumed:.1f} s; {before:.0f} then {after:.0f} commits/s; "
                f"{len(load.failures)} refused meanwhile, the longest call {load.longest:.1f} s"
            )
        assert resumed < RESUMES_WITHIN
        assert after > before / 2  # other work on this machine makes paces differ
        return load

    return strike


def test_killed_connections(database: Database, struck: Callable[..., Load]) -> None:
    """All connections are cut, ten times over."""

    def killed_connections() -> None:
        for _ in range(10):
            assert database.kill_connections()
            threading.Event().wait(0.1)

    struck(database.url, killed_connections)


def test_a_restart(own_postgresql: PostgresServer, own_database: Database, struck: Callable[..., Load]) -> None:
    """The server is stopped and started, and then crashes and recovers."""

    def restarted() -> None:
        own_postgresql.stop()
        threading.Event().wait(1)
        own_postgresql.start()
        threading.Event().wait(1)
        own_postgresql.stop(crash=True)
        own_postgresql.start()

    load = struck(own_database.url, restarted)
    assert load.failures
    assert not any(own_database.password in text for text in load.failures)


def test_a_server_that_hangs(own_postgresql: PostgresServer, own_database: Database, struck: Callable[..., Load]) -> None:
    """It answers nothing for longer than every lease: whoever asks is told so in bounded time, and nobody waits for ever."""

    def hung() -> None:
        own_postgresql.pause()
        threading.Event().wait(12)
        own_postgresql.resume()

    load = struck(own_database.url, hung)
    assert any("not answered" in text for text in load.failures)
    assert load.longest < 25


def test_a_network_that_swallows(database: Database, struck: Callable[..., Load]) -> None:
    """Nothing gets through to the server for a while, then the connections break."""
    proxy = StallingProxy(database.server.port)

    def swallowed() -> None:
        proxy.stall()
        threading.Event().wait(10)
        proxy.cut()
        proxy.flow()

    try:
        load = struck(database.url_at(proxy.port), swallowed)
    finally:
        proxy.close()
    assert load.failures


def test_one_behind_a_broken_network_holds_up_nobody(database: Database) -> None:
    """A process that is cut off in the middle of a transaction, with the lock that all writers take, is thrown out."""
    proxy = StallingProxy(database.server.port)
    cut_off, other = opened(database.url_at(proxy.port)), opened(database.url)
    put(other, a_record("a"))
    inside, go_on = threading.Event(), threading.Event()

    def stuck(record: object) -> None:
        inside.set()
        go_on.wait(30)

    def amended() -> None:
        with pytest.raises(JournalUnavailable):
            cut_off.amend("a", stuck)

    thread = threading.Thread(target=amended)
    thread.start()
    try:
        assert inside.wait(10)
        began = time.monotonic()
        other.record_events([an_event("e1")])
        assert time.monotonic() - began < 4.5
    finally:
        go_on.set()
        thread.join(20)
        proxy.close()
        cut_off.close()
        other.close()


CHILD = """
import sys
from tests.integration.test_postgresql_outages import Load, opened
from rotatord.errors import JournalError
load = Load(opened(sys.argv[1]))
for turn in range(1_000_000):
    try:
        load.told(turn)
    except JournalError:
        pass
"""


class Crashing:
    """A process of its own over the same journal, killed and begun again; ``acknowledged`` outlives it."""

    def __init__(self, url: str, file: Path) -> None:
        self._url, self._file = url, file

    def __enter__(self) -> Self:
        self._begin()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(10)

    def crash(self) -> None:
        """Killed in the middle of its work: it has done some since it was begun."""
        before, deadline = len(self.acknowledged()), time.monotonic() + 20
        while len(self.acknowledged()) < before + 5:
            assert time.monotonic() < deadline
            assert self._process.poll() is None
            threading.Event().wait(0.02)
        self._process.kill()
        self._process.wait(10)
        self._begin()

    def acknowledged(self) -> list[str]:
        """The ids of what it was told to be stored, as far as it could say so."""
        return [line for line in self._file.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def _begin(self) -> None:
        with self._file.open("ab") as told:
            self._process = subprocess.Popen(
                [sys.executable, "-c", CHILD, self._url], stdout=told, stdin=subprocess.DEVNULL, cwd=ROOT
            )


def test_crashes_of_a_process(database: Database, struck: Callable[..., Load], tmp_path: Path) -> None:
    """One of those that share the journal is killed with -9, five times over, in the middle of its work: what it was told to
    be stored is stored, nothing is done twice, and the others take over what it held."""
    ours, theirs = opened(database.url), opened(database.url)
    (tmp_path / "told").touch()
    child = Crashing(database.url, tmp_path / "told")

    def crashes() -> None:
        with child:
            for _ in range(5):
                child.crash()
        stored = {event.id for event in ours.replay(limit=1_000_000)}
        assert {line.strip() for line in child.acknowledged()} <= stored, "an acknowledged commit is lost"

    struck("", crashes, journals=(ours, theirs))


def test_an_exhausted_pool(database: Database, struck: Callable[..., Load]) -> None:
    """Every connection for reading is taken for a while: who asks is told, and goes on when one comes back."""
    ours, theirs = opened(database.url), opened(database.url)

    def exhausted() -> None:
        sleepers = [threading.Thread(target=sleep) for _ in range(READERS)]
        for sleeper in sleepers:
            sleeper.start()
        for sleeper in sleepers:
            sleeper.join()

    def sleep() -> None:
        ours._pool.rows("SELECT pg_sleep(4)", {})

    struck("", exhausted, journals=(ours, theirs))


def test_a_server_without_connections_left(own_postgresql: PostgresServer, own_database: Database) -> None:
    """When the server has none to give, we say so and leave the ones we have alone."""
    journal = opened(own_database.url)
    put(journal, a_record("a"))
    with own_postgresql.admin() as admin:
        admin.execute(f"ALTER ROLE {own_database.name} CONNECTION LIMIT 0")
        with pytest.raises(JournalUnavailable, match="too many connections") as refused:
            opened(own_database.url)
        assert own_database.password not in str(refused.value)
        assert journal.get("a") == a_record("a")
        admin.execute(f"ALTER ROLE {own_database.name} CONNECTION LIMIT -1")
    opened(own_database.url).close()
    journal.close()


def test_a_journal_that_went_back_in_time(database: Database) -> None:
    """Restored from a backup under a running daemon, the journal is written no more by it: what was done since is not in it."""
    journal = opened(database.url)
    journal.record_events([an_event("e1"), an_event("e2")])
    with database.admin() as admin:
        admin.execute("DELETE FROM events WHERE id = 'e2'")
        admin.execute("UPDATE journal SET event_seq = 1")
    with pytest.raises(JournalUnavailable, match="older than what this daemon has stored"):
        journal.record_events([an_event("e3")])
    journal.close()
    again = opened(database.url)
    again.record_events([an_event("e3")])
    again.close()
