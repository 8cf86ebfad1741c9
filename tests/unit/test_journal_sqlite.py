"""What only the SQLite journal has to do: its file, its lock, its failures, its speed."""

import contextlib
import os
import sqlite3
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rotatord.errors import JournalTooNew, JournalUnavailable, LeaseLost
from rotatord.journal import open_journal
from rotatord.journal.codec import EVENTS, RECORDS, SCHEMA
from rotatord.journal.migrations import FACT as SERVES_FACT
from rotatord.journal.migrations import HEAD
from rotatord.journal.sql import SqlJournal
from rotatord.journal.sqlite import SqliteFile
from rotatord.journal.writer import Ticket, Transaction, Written
from rotatord.model import Record
from rotatord.ports import Amendment, Journal
from rotatord.testing.clock import START, SeededIds, VirtualClock
from rotatord.testing.contracts.journal_setting import a_notice, a_record, an_event, held, put


def opened(path: Path, clock: VirtualClock | None = None, *, read_only: bool = False) -> Journal:
    return open_journal(f"sqlite:///{path}", clock or VirtualClock(), SeededIds(), read_only=read_only)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    journal = opened(path)
    yield journal
    journal.close()


def altered(path: Path, statement: str) -> None:
    """Change the file as no rotatord of this version would."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()


# --- opening -------------------------------------------------------------------------------------------------------


def test_an_unknown_url_is_refused() -> None:
    """A URL of another kind is a ValueError that does not repeat it, for it may hold a password."""
    with pytest.raises(ValueError, match="postgresql") as refused:
        open_journal("mysql://user:hush@db/x", VirtualClock(), SeededIds())
    assert "hush" not in str(refused.value)


def test_files_are_private(path: Path) -> None:
    """Database, WAL, shared memory and lock are for their owner only, also where the database was laxer before."""
    path.touch(mode=0o644)
    path.chmod(0o644)
    journal = opened(path)
    put(journal, a_record("a"))
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    journal.close()
    assert modes == dict.fromkeys(("journal.db", "journal.db-wal", "journal.db-shm", "journal.db.lock"), 0o600)


def test_durability_is_set_explicitly(journal: Journal, path: Path) -> None:
    """WAL and FULL, whatever this SQLite was compiled with."""
    assert isinstance(journal, SqlJournal)
    connection = SqliteFile(str(path), read_only=False).connect()
    with contextlib.closing(connection):
        pragmas = [
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous", "busy_timeout")
        ]
    assert pragmas == ["wal", 2, 5000]


def test_a_second_daemon_is_refused(journal: Journal, path: Path) -> None:
    """The second opener is told who holds the journal, and gets it once it is closed."""
    with pytest.raises(JournalUnavailable, match=f"pid {os.getpid()}"):
        opened(path)
    put(journal, a_record("a"))
    journal.close()
    again = opened(path)
    assert again.get("a") == a_record("a")
    again.close()


def test_reopening_voids_leases_and_raises_fences(path: Path) -> None:
    """The lock proves that the last owner is dead: its leases are void at once, and its fences stay below the new ones."""
    clock = VirtualClock()
    first = opened(path, clock)
    put(first, a_record("a"))
    old = held(first, "a")
    first.close()
    second = opened(path, clock)
    (new,) = second.claim(START, 1)
    with pytest.raises(LeaseLost):
        second.commit(old, old.record)
    second.close()
    assert new.fence > old.fence


def test_an_owner_that_lost_the_file_commits_nothing(path: Path) -> None:
    """Where the lock was defeated, the epoch in the file is the fence: the older daemon cannot write any more."""
    first = opened(path)
    put(first, a_record("a"))
    lease = held(first, "a")
    Path(f"{path}.lock").unlink()
    second = opened(path)
    with pytest.raises(JournalUnavailable, match="another daemon"):
        first.commit(lease, lease.record, [an_event("e1")])
    assert not second.replay()
    second.close()
    first.close()


def test_a_replaced_file_is_noticed(journal: Journal, path: Path) -> None:
    """Nothing is acknowledged that would be written to a file that nobody will ever open again."""
    put(journal, a_record("a"))
    path.rename(path.with_suffix(".moved"))
    with pytest.raises(JournalUnavailable, match="removed or replaced"):
        journal.set_fact("a", "b")
    path.with_suffix(".moved").rename(path)
    journal.set_fact("a", "b")
    assert journal.fact("a") == "b"


def newer(path: Path, serves: str | None) -> None:
    """As a later version would leave it; ``serves``: what it says of those before it."""
    opened(path).close()
    altered(path, "UPDATE alembic_version SET version_num = '9999'")
    altered(path, f"UPDATE facts SET value = '{serves}' WHERE key = '{SERVES_FACT}'")


def test_a_newer_journal_that_serves_us_is_used(path: Path) -> None:
    """Going back by one version needs no older journal: what only added something stands as it is, and is left so."""
    newer(path, HEAD)
    journal = opened(path)
    put(journal, a_record("a"))
    journal.close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("9999",)
    assert opened(path, read_only=True).get("a") == a_record("a")


@pytest.mark.parametrize("serves", ["9999", "9998", ""])
def test_a_newer_journal_is_refused(path: Path, serves: str) -> None:
    """A journal from a newer version is left alone, read-only or not, with a sentence that says what to do."""
    newer(path, serves)
    before = path.read_bytes()
    for read_only in (False, True):
        with pytest.raises(JournalTooNew, match="run that version again"):
            opened(path, read_only=read_only)
    assert path.read_bytes() == before


def test_a_newer_record_is_refused(path: Path) -> None:
    """A record or event of a later schema is refused, not guessed at; a damaged one is named without its content."""
    journal = opened(path)
    put(journal, a_record("a"))
    journal.record_events([an_event("e1")])
    journal.close()
    for table in ("records", "events"):
        altered(path, f"UPDATE {table} SET body = replace(body, '\"schema\":{SCHEMA},', '\"schema\":{SCHEMA + 1},')")
    newer = opened(path, read_only=True)
    with pytest.raises(JournalTooNew, match=f"up to {SCHEMA}"):
        newer.get("a")
    with pytest.raises(JournalTooNew):
        newer.replay()
    newer.close()
    with pytest.raises(JournalUnavailable, match="damaged at name") as damaged:
        RECORDS.decode(f'{{"schema":{SCHEMA},"name":["hush"]}}')
    assert "hush" not in str(damaged.value)
    with pytest.raises(JournalUnavailable, match="damaged"):
        EVENTS.decode("")


def test_an_older_reader_ignores_what_it_does_not_know() -> None:
    """A field that a later version has added does not keep this one from reading."""
    text = RECORDS.encode(a_record("a"))
    assert RECORDS.decode(text[:-1] + ',"later":{"x":1}}') == a_record("a")


def test_another_database_is_refused(path: Path) -> None:
    """A database of somebody else's is not turned into a journal, and no database at all is said to be none."""
    altered(path, "CREATE TABLE users (name TEXT)")
    before = path.read_bytes()
    for read_only in (False, True):
        with pytest.raises(JournalUnavailable, match="not a journal"):
            opened(path, read_only=read_only)
    assert path.read_bytes() == before
    path.write_bytes(b"not a database, for sure" * 100)
    with pytest.raises(JournalUnavailable, match="not a database"):
        opened(path)
    with pytest.raises(JournalUnavailable, match="No such file"):
        opened(path.parent / "missing" / "journal.db")


# --- looking -------------------------------------------------------------------------------------------------------


def test_reading_only(path: Path) -> None:
    """Without the lock a journal can be looked at, daemon or no daemon, and everything that writes is refused."""
    journal = opened(path)
    put(journal, a_record("a"))
    journal.record_events([an_event("e1")])
    beside = opened(path, read_only=True)
    assert beside.get("a") == a_record("a")
    journal.set_fact("key", "value")
    assert beside.fact("key") == "value"
    beside.close()
    journal.close()

    alone = opened(path, read_only=True)
    assert [event.id for event in alone.replay()] == ["e1"]
    assert alone.counts(START)["credentials"] == 1
    for write in (
        lambda: alone.claim(START, 1),
        lambda: alone.lease("a"),
        lambda: alone.amend("a", lambda _: None),
        lambda: alone.put([]),
        lambda: alone.record_events([], [a_notice("n1")]),
        lambda: alone.prune(START, 1),
    ):
        with pytest.raises(JournalUnavailable, match="reading only"):
            write()
    alone.close()
    with pytest.raises(JournalUnavailable, match="no journal"):
        opened(path.parent / "other.db", read_only=True)
    assert not (path.parent / "other.db").exists()


# --- failing -------------------------------------------------------------------------------------------------------


def test_a_full_database_recovers(journal: Journal, path: Path) -> None:
    """When the disk is full nothing is stored and JournalUnavailable says so; when there is room again, all goes on."""
    assert isinstance(journal, SqlJournal)
    put(journal, a_record("a"))
    lease = held(journal, "a")
    big = replace(lease.record, spec=replace(lease.record.spec, purpose="x" * 300_000))
    writer = journal._writer._store.connection
    assert writer is not None
    writer.execute("PRAGMA max_page_count = 1")  # cut to what there is: no page more
    with pytest.raises(JournalUnavailable, match="full"):
        journal.commit(lease, big, [an_event("e1")])
    assert journal.get("a") == lease.record
    assert not journal.replay()
    assert journal.commit(lease, big, [an_event("e1")]).seq == 1  # a new connection has no limit
    assert [event.seq for event in journal.replay()] == [1]


_OUT_OF_SPACE = """
    import resource, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[2])
    from test_journal_sqlite import opened, a_record, an_event, put
    from rotatord.errors import JournalUnavailable

    journal = opened(Path(sys.argv[1]))
    put(journal, a_record("a"))
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, most))
    stored, failed = [], 0
    for number in range(400):
        try:
            journal.record_events([an_event(f"e{number}")])
            stored.append(f"e{number}")
        except JournalUnavailable:
            failed += 1
            if failed == 3:
                resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert failed == 3, failed
    assert [event.id for event in journal.replay()] == stored
    journal.close()
    print(",".join(stored))
"""


def test_a_full_disk_recovers(path: Path) -> None:
    """Writes that the operating system refuses lose nothing that was acknowledged, keep the numbers gapless, and pass."""
    done = run_child(_OUT_OF_SPACE, path)
    assert done.returncode == 0, done.stderr
    journal = opened(path)
    events = journal.replay()
    journal.close()
    assert [event.id for event in events] == done.stdout.strip().split(",")
    assert [event.seq for event in events] == list(range(1, len(events) + 1))


_COMMIT_FOR_EVER = """
    import sys, threading
    from dataclasses import replace
    from pathlib import Path
    sys.path.insert(0, sys.argv[2])
    from test_journal_sqlite import opened, a_record, an_event, held, put

    journal = opened(Path(sys.argv[1]))
    if not journal.names():
        put(journal, *[a_record(f"c{number}") for number in range(4)])

    def work(name):
        lease = held(journal, name)
        record = lease.record
        while True:
            record = replace(record, failures=record.failures + 1)
            events = [an_event(f"{name}-{record.failures}-{part}", credential=name) for part in "ab"]
            record = journal.commit(lease, record, events)
            sys.stdout.write(f"{name} {record.failures}\\n")
            sys.stdout.flush()

    for name in journal.names():
        threading.Thread(target=work, args=(name,)).start()
"""


def test_kill_9_loses_no_acknowledged_commit(path: Path) -> None:
    """However often it is killed amid commits, all that was acknowledged is there, whole, and nothing is doubled."""
    acknowledged: dict[str, int] = {}
    for lines in (1, 40, 150):
        with subprocess.Popen(child(_COMMIT_FOR_EVER, path), stdout=subprocess.PIPE, text=True) as killed:
            assert killed.stdout is not None
            for _ in range(lines):
                name, count = killed.stdout.readline().split()
                acknowledged[name] = int(count)
            killed.kill()
            for line in killed.stdout:  # what was acknowledged before the signal struck
                if line.endswith("\n"):
                    acknowledged[line.split()[0]] = int(line.split()[1])
        journal = opened(path)
        for record in journal.records():
            assert record.failures in {acknowledged.get(record.name, 0), acknowledged.get(record.name, 0) + 1}
            own = [event.id for event in journal.replay(record.name, limit=100_000)]
            assert own == [f"{record.name}-{n}-{part}" for n in range(1, record.failures + 1) for part in "ab"]
            acknowledged[record.name] = record.failures
        seqs = [event.seq for event in journal.replay(limit=100_000)]
        assert seqs == list(range(1, len(seqs) + 1))
        journal.close()


def child(code: str, path: Path) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(code), str(path), str(Path(__file__).parent)]


def run_child(code: str, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(child(code, path), capture_output=True, text=True, timeout=60, check=False)


def test_one_faulty_request_does_not_fail_its_neighbours(journal: Journal) -> None:
    """Work that fails after it has written is undone alone, also when it shares a transaction with others."""
    assert isinstance(journal, SqlJournal)
    runs: list[str] = []

    def event(id: str) -> Callable[[Transaction], None]:
        def work(transaction: Transaction) -> None:
            runs.append(id)
            transaction.store(Written([an_event(id)]))
            if id == "faulty":
                raise RuntimeError("a bug")

        return work

    waiting = [Ticket(event(name)) for name in ("before", "faulty", "after")]
    journal._writer._queue.extend(waiting)
    journal._writer.run(event("last"))
    assert runs == ["before", "faulty", "before", "faulty", "after", "last"]  # together, then each alone
    assert [ticket.done for ticket in waiting] == [True] * 3
    assert [str(ticket.error) for ticket in waiting] == ["None", "a bug", "None"]
    assert [(event.seq, event.id) for event in journal.replay()] == [(1, "before"), (2, "after"), (3, "last")]


def test_a_change_that_writes_is_refused(journal: Journal) -> None:
    """A change that is not pure is a bug that is told, not a deadlock; reading is harmless."""
    put(journal, a_record("a"))

    def impure(record: Record) -> Amendment:
        assert journal.get("a") == record
        journal.record_events([an_event("e1")])
        return Amendment(record=record)

    with pytest.raises(RuntimeError, match="must not itself write"):
        journal.amend("a", impure)
    journal.record_events([an_event("e2")])
    assert [event.id for event in journal.replay()] == ["e2"]


# --- speed ---------------------------------------------------------------------------------------------------------


def test_no_statement_of_the_daily_work_scans(journal: Journal, path: Path) -> None:
    """Claims, commits and looks go by index: their cost does not grow with the number of credentials."""
    assert isinstance(journal, SqlJournal)
    counting = {"counts", "names", "prune_events"}  # as large as what they return or delete; the counts by small indexes
    connection = SqliteFile(str(path), read_only=False).connect()
    with contextlib.closing(connection):
        for name, text in vars(journal._statements).items():
            steps = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {text}", _Anything())]
            scans = [step for step in steps if step.startswith("SCAN") and step != "SCAN journal"]  # that table has one row
            assert name in counting or not scans, f"{name}: {steps}"


class _Anything(dict[str, object]):
    """A value for every parameter."""

    def __missing__(self, key: str) -> object:
        return 1
