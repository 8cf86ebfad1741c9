"""The journal contract over a real PostgreSQL, and what it promises beyond when several processes have it open.

The database's clock is part of the contract's time here: a function of the same name, found first in the search path,
stands before the server's own, so that a lease runs out when the test says so.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from rotatord.clock import RandomIds, SystemClock
from rotatord.errors import JournalDamaged, LeaseLost, StaleSequence
from rotatord.hands import Leased
from rotatord.journal import open_journal
from rotatord.journal.postgresql_journal import PostgresqlJournal
from rotatord.ports import Amendment, Journal, Shared
from rotatord.testing.clock import START, SeededIds, VirtualClock
from rotatord.testing.contracts.journal import JournalContract
from rotatord.testing.contracts.journal_setting import (
    HOUR,
    LATER,
    LEASE_SECONDS,
    a_record,
    an_event,
    held,
    names_of,
    put,
    side_by_side,
)
from tests.servers.postgresql import Database

pytestmark = pytest.mark.postgresql

PATH = "-csearch_path%3Dpublic,pg_catalog"
_VIRTUAL = """
    CREATE TABLE virtual_clock (ahead interval NOT NULL);
    INSERT INTO virtual_clock VALUES ('0');
    CREATE FUNCTION clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
        AS 'SELECT pg_catalog.clock_timestamp() + (SELECT ahead FROM public.virtual_clock)';
"""


class CommonTime(VirtualClock):
    """A virtual clock that the database follows."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._connection = psycopg.connect(database.url, autocommit=True)
        self._connection.execute(_VIRTUAL)

    def advance(self, seconds: float) -> None:
        super().advance(seconds)
        self.advance_database(seconds + 0.5)  # it believes a little longer

    def advance_database(self, seconds: float) -> None:
        self._connection.execute("UPDATE virtual_clock SET ahead = ahead + make_interval(secs => %s)", (seconds,))

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def clock(database: Database) -> Iterator[CommonTime]:
    clock = CommonTime(database)
    yield clock
    clock.close()


def opened(database: Database, clock: VirtualClock, seed: int = 0) -> PostgresqlJournal:
    url = database.url_at(database.server.port, options=PATH)
    journal = open_journal(url, clock, SeededIds(seed), lease_seconds=LEASE_SECONDS)
    assert isinstance(journal, PostgresqlJournal)
    return journal


class TestPostgresqlJournal(JournalContract):
    @pytest.fixture
    def clock(self, clock: CommonTime) -> CommonTime:  # type: ignore[override]
        return clock

    @pytest.fixture
    def journal(self, clock: CommonTime, database: Database) -> Iterator[Journal]:
        journal = opened(database, clock)
        yield journal
        journal.close()


@pytest.fixture
def pair(clock: CommonTime, database: Database) -> Iterator[tuple[PostgresqlJournal, PostgresqlJournal]]:
    """Two processes' journals over one database."""
    journals = opened(database, clock, 1), opened(database, clock, 2)
    yield journals
    for journal in journals:
        journal.close()


Pair = tuple[PostgresqlJournal, PostgresqlJournal]


def test_a_damaged_record_keeps_nobody_from_the_others(pair: Pair, clock: CommonTime, database: Database) -> None:
    """Neither process is stopped by it, and its lease is kept for as long as one lasts: nobody turns around it."""
    one, two = pair
    put(one, *(a_record(name, due_at=START) for name in "abc"))
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("UPDATE records SET body = replace(body::text, '\"name\"', '\"nom\"') WHERE name = 'b'")
    assert names_of(one.claim(START, 9)) == ["a", "c"]
    assert names_of(two.claim(START, 9)) == []
    with pytest.raises(JournalDamaged, match="of b is damaged"):
        two.get("b")
    damaged: dict[str, str] = {}
    assert [item.name for item in two.records(damaged=damaged)] == ["a", "c"]
    assert list(damaged) == ["b"]
    clock.advance(LEASE_SECONDS + 1)
    assert names_of(two.claim(START, 9)) == ["a", "c"]


def test_claims_of_several_processes_are_disjoint(pair: Pair) -> None:
    """However many claim at once, in however many processes, each record is claimed by one of them."""
    put(pair[0], *[a_record(f"c{number:03}") for number in range(200)])
    claimed: list[str] = []

    def work(number: int) -> None:
        while leases := pair[number % 2].claim(START, 7):
            claimed.extend(names_of(leases))

    side_by_side(6, work)
    assert sorted(claimed) == list(pair[0].names())


def test_what_one_holds_the_other_passes_over(pair: Pair) -> None:
    """A leased record is neither claimed, leased nor due for any other process; released, it is."""
    ours, theirs = pair
    put(ours, a_record("a"), a_record("b", due_at=LATER))
    lease = held(ours, "a")
    assert theirs.lease("a") is None
    assert not theirs.claim(START, 9)
    assert theirs.next_due() == LATER
    ours.release(lease)
    (taken,) = theirs.claim(START, 9)
    assert taken.fence > lease.fence
    theirs.release(lease)  # somebody else's old lease: harmless
    assert ours.lease("a") is None


def test_what_is_being_looked_at_is_passed_over(pair: Pair, database: Database) -> None:
    """A lease that somebody else's transaction has locked at this moment is nobody's to wait for: the others are claimed."""
    ours, theirs = pair
    put(ours, *[a_record(name) for name in "abc"])
    with psycopg.connect(database.url) as other:
        other.execute("SELECT name FROM leases WHERE name = 'b' FOR UPDATE")
        assert names_of(theirs.claim(START, 9)) == ["a", "c"]
        assert theirs.lease("b") is None
    assert names_of(theirs.claim(START, 9)) == ["b"]


def test_what_one_makes_due_wakes_the_others(pair: Pair) -> None:
    """A request to one process is heard by the others, who look for work then and not at their next turn."""
    ours, theirs = pair
    put(ours, a_record("a", due_at=LATER))
    heard = threading.Event()
    theirs.join("key")
    ours.join("key")
    theirs.watch(lambda _: heard.set())
    assert heard.wait(5)  # it listens
    for _ in range(50):  # until nothing more is heard of what came before
        heard.clear()
        if not heard.wait(0.5):
            break
    assert not heard.is_set()
    ours.amend("a", lambda record: Amendment(record=replace(record, due_at=START)))
    assert heard.wait(5)
    assert names_of(theirs.claim(START, 9)) == ["a"]


def test_takeover_after_expiry(pair: Pair, clock: CommonTime) -> None:
    """Past its end by the database's clock a lease is anybody's, under a higher fence; the old holder's commit, renewal and
    release change nothing, even while its own clock stands still."""
    ours, theirs = pair
    put(ours, a_record("a"))
    (stale,) = ours.claim(START, 1)
    clock.advance_database(LEASE_SECONDS + 1)  # ours was frozen, as far as its own clock can tell
    (lease,) = theirs.claim(START, 1)
    assert lease.fence > stale.fence
    for use in (
        lambda: ours.commit(stale, replace(stale.record, failures=9), [an_event("e9")]),
        lambda: ours.renew(stale),
    ):
        with pytest.raises(LeaseLost):
            use()
    ours.release(stale)
    assert not theirs.replay()
    stored = theirs.commit(lease, replace(lease.record, failures=1), [an_event("e1")])
    assert ours.get("a") == stored


def test_a_lease_ends_earlier_for_its_holder(pair: Pair, clock: CommonTime) -> None:
    """When the holder stops believing, nobody else has it yet."""
    ours, theirs = pair
    put(ours, a_record("a"))
    lease = held(ours, "a")
    VirtualClock.advance(clock, LEASE_SECONDS)  # our clock alone: the database's stands where it was
    with pytest.raises(LeaseLost):
        ours.commit(lease, lease.record)
    assert theirs.lease("a") is None


def test_a_lease_may_be_prolonged_for_one_long_call(pair: Pair, clock: CommonTime) -> None:
    """A call that lasts longer than a lease is covered whole, and no shorter renewal takes that back."""
    ours, theirs = pair
    put(ours, a_record("a"))
    lease = ours.renew(held(ours, "a"), 120.0)
    assert lease.expires == clock.monotonic() + 120
    lease = ours.renew(lease)
    clock.advance(LEASE_SECONDS * 4)
    assert theirs.lease("a") is None
    assert ours.commit(lease, lease.record).seq == 1


def test_what_was_prolonged_for_a_call_ends_with_it(pair: Pair, clock: CommonTime) -> None:
    """When the long call is over, the next commit gives the rest of the lease back: nobody waits for a call that has ended."""
    ours, theirs = pair
    put(ours, a_record("a"))
    leased, lease = Leased(ours, clock), held(ours, "a")
    assert leased.lasts(lease, 120.0).expires > clock.monotonic() + 120
    leased.shorten(lease)
    stored = ours.commit(leased.lasts(lease, 0.0), lease.record)
    clock.advance(LEASE_SECONDS)
    assert held(theirs, "a").record == stored


def test_a_request_to_one_makes_the_others_commit_stale(pair: Pair) -> None:
    """A request beats whoever works on the record, through whichever process it came."""
    ours, theirs = pair
    put(ours, a_record("a"))
    lease = held(ours, "a")
    amended = theirs.amend("a", lambda record: Amendment(record=replace(record, failures=3), events=(an_event("e1"),)))
    with pytest.raises(StaleSequence):
        ours.commit(lease, replace(lease.record, failures=1))
    assert ours.commit(lease, amended).failures == 3


def test_numbers_have_no_gaps_over_processes(pair: Pair) -> None:
    """Events of several processes are numbered as one series, and whoever follows it misses none."""
    threads, each = 6, 20
    put(pair[0], *[a_record(f"c{number}") for number in range(threads)])

    def work(number: int) -> None:
        journal = pair[number % 2]
        lease = held(journal, f"c{number}")
        record = lease.record
        for turn in range(each):
            record = journal.commit(lease, record, [an_event(f"e-{number}-{turn}", credential=lease.name)])

    side_by_side(threads, work)
    assert [event.seq for event in pair[1].replay(limit=10_000)] == list(range(1, threads * each + 1))


def test_a_clean_stop_hands_over(pair: Pair) -> None:
    """What a process held when it stopped is free at once, and the others are told."""
    ours, theirs = pair
    put(ours, a_record("a"), a_record("b"))
    heard = threading.Event()
    theirs.join("key")
    theirs.watch(lambda _: heard.set())
    assert heard.wait(5)  # it listens
    ours.join("key")
    assert len(ours.claim(START, 9)) == 2
    threading.Event().wait(0.5)
    heard.clear()
    started = time.monotonic()
    ours.close()
    assert heard.wait(1)
    assert sorted(names_of(theirs.claim(START, 9))) == ["a", "b"]
    assert time.monotonic() - started < 1


def test_an_issuers_room_is_shared(pair: Pair) -> None:
    """What all processes together have in work of one issuer stays within its bound, however they claim at once; others
    are claimed in its place."""
    put(
        pair[0],
        *[a_record(f"busy-{n:02}", issuer="busy", expires_at=START + n * HOUR) for n in range(20)],
        *[a_record(f"free-{n:02}", issuer="free") for n in range(4)],
    )
    claimed: list[str] = []

    def work(number: int) -> None:
        for _ in range(4):
            claimed.extend(names_of(pair[number % 2].claim(START, 3, most=lambda name: 5 if name == "busy" else 9)))

    side_by_side(4, work)
    assert len(claimed) == len(set(claimed)) == 9
    assert sum(name.startswith("busy") for name in claimed) == 5


def test_a_chore_is_done_by_one(pair: Pair, clock: CommonTime) -> None:
    """Whoever has a chore keeps it by asking again; when it stops asking, or stops, the next one has it."""
    ours, theirs = pair
    assert ours.turn("sweep", 60)
    assert not theirs.turn("sweep", 60)
    assert theirs.turn("notices", 60)
    clock.advance(50)
    assert ours.turn("sweep", 60)
    clock.advance(50)
    assert not theirs.turn("sweep", 60)
    clock.advance(11)
    assert theirs.turn("sweep", 60)
    assert not ours.turn("sweep", 60)


def test_they_know_of_each_other(pair: Pair, clock: CommonTime) -> None:
    """Each learns how many are alive and under which mark; one that is silent is counted no longer."""
    ours, theirs = pair
    assert isinstance(ours, Shared)
    assert not list(ours.join("one"))
    assert list(theirs.join("two")) == ["one"]
    assert set(ours.alive()) == set(theirs.alive()) == {ours.owner, theirs.owner}
    clock.advance_database(60)
    assert not list(ours.join("one"))
    assert set(ours.alive()) == {ours.owner}


def test_one_alone(pair: Pair) -> None:
    """What must not be done by two at once is done one after the other."""
    inside = 0
    most = 0

    def work(number: int) -> None:
        nonlocal inside, most
        for _ in range(3):
            with pair[number % 2].alone("configuration"):
                inside += 1
                most = max(most, inside)
                threading.Event().wait(0.01)
                inside -= 1

    side_by_side(4, work)
    assert most == 1


def test_instants_are_the_same_everywhere(pair: Pair, clock: CommonTime) -> None:
    """A wait that one process began goes on in another, whatever machine that is on."""
    ours, theirs = pair
    ours.join("key")
    theirs.join("key")
    begun = ours.common_clock().instant()
    clock.reboot()  # theirs is another machine
    theirs.join("key")
    clock.advance(30)
    ended = theirs.common_clock().instant()
    assert ended.epoch == begun.epoch
    assert 29 < ended.monotonic - begun.monotonic < 32


_HOLD = """
    import sys
    from rotatord.clock import RandomIds, SystemClock
    from rotatord.errors import JournalError
    from rotatord.hands import Leased
    from rotatord.journal import open_journal

    clock = SystemClock()
    journal = open_journal(sys.argv[1], clock, RandomIds(), lease_seconds=float(sys.argv[2]))
    lease = journal.lease("a")
    print("held", lease.fence, flush=True)
    sys.stdin.readline()
    for what, use in (
        ("call", lambda: Leased(journal, clock).lasts(lease, 0.1)),
        ("renewal", lambda: journal.renew(lease)),
        ("commit", lambda: journal.commit(lease, lease.record)),
    ):
        try:
            use()
            print(what, "done", flush=True)
        except JournalError as error:
            print(what, type(error).__name__, flush=True)
    sys.stdin.readline()
"""


def child(database: Database, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(_HOLD), database.url, str(seconds)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])


def said(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    return process.stdout.readline().split()


def until_taken(journal: Journal, seconds: float) -> float:
    """Poll for the record; how long it took."""
    began, pause = time.monotonic(), threading.Event()
    while journal.lease("a") is None:
        assert time.monotonic() - began < seconds, "the lease was not taken over"
        pause.wait(0.05)
    return time.monotonic() - began


@pytest.mark.slow
def test_a_frozen_process_finds_that_it_is_too_late(database: Database) -> None:
    """Stopped beyond its lease and continued: its next outside call is not started, its commit is refused."""
    journal = open_journal(database.url, SystemClock(), RandomIds(), lease_seconds=2)
    put(journal, a_record("a"))
    frozen = child(database, 2)
    try:
        assert said(frozen)[0] == "held"
        os.kill(frozen.pid, signal.SIGSTOP)
        assert until_taken(journal, 4) < 4
        os.kill(frozen.pid, signal.SIGCONT)
        assert frozen.stdin is not None
        frozen.stdin.write("\n")
        frozen.stdin.flush()
        assert [said(frozen) for _ in range(3)] == [[what, "LeaseLost"] for what in ("call", "renewal", "commit")]
    finally:
        frozen.kill()
        frozen.communicate()
        journal.close()


@pytest.mark.slow
def test_a_killed_process_is_followed_within_its_lease(database: Database) -> None:
    """kill -9: the next one has the record when the lease is over, not before and not much later."""
    journal = open_journal(database.url, SystemClock(), RandomIds(), lease_seconds=2)
    put(journal, a_record("a"))
    killed = child(database, 2)
    try:
        assert said(killed)[0] == "held"
        killed.kill()
        assert 1 < until_taken(journal, 4) < 4
    finally:
        killed.kill()
        killed.communicate()
        journal.close()
