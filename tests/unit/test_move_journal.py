"""A journal that is moved: all of it arrives, and at no instant are two of them in force over the same credentials."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from rotatord.errors import JournalUnavailable, Refused
from rotatord.journal import open_journal
from rotatord.journal.migrations import HEAD
from rotatord.journal.moving import moving, sqlite_place
from rotatord.ports import Journal
from rotatord.testing.clock import START, SeededIds, VirtualClock
from rotatord.testing.contracts.journal_setting import LATER, a_notice, a_record, a_rotation, an_event, put

STAGES = ("copied 2 credentials, 3 events, 1 notices", "compared", "is not in force any more", "is in force")


def opened(path: Path) -> Journal:
    return open_journal(f"sqlite:///{path}", VirtualClock(), SeededIds(), read_only=False)


def in_force(path: Path) -> bool:
    """Whether a daemon would work with it."""
    try:
        opened(path).close()
    except JournalUnavailable:
        return False
    return True


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """One in the middle of its life: a rotation open, a notice untold, an event pruned."""
    path = tmp_path / "old.db"
    journal = opened(path)
    turning = a_record("turning", expires_at=LATER)
    put(journal, replace(turning, rotation=a_rotation(turning.spec, turning.current)), a_record("waiting", due_at=LATER))
    journal.record_events([an_event("e0", time=START - timedelta(days=9)), an_event("e1"), an_event("e2"), an_event("e3")])
    journal.record_events((), [a_notice("n1")])
    journal.prune(START, 9)
    journal.set_fact("installation", "inst_1")
    journal.set_fact("paused", "everything")
    journal.close()
    return path


def stages(old: Path, new: Path, ids: SeededIds | None = None) -> Iterator[str]:
    return moving(
        sqlite_place(old, exists=True), sqlite_place(new), actor="uid:0(root)", now=START, ids=ids or SeededIds("move")
    )


def everything(journal: Journal) -> tuple[object, ...]:
    """What the port shows of it, but for the event and the fact of the move itself."""
    events = [event for event in journal.replay() if event.action != "journal.moved"]
    facts = {key: journal.fact(key) for key in ("installation", "paused")}
    return list(journal.records()), events, journal.notices(START, 99), facts, journal.counts(START)


def test_all_of_it_arrives(old: Path, tmp_path: Path) -> None:
    """Records with their rotations and ledgers, events under their numbers, untold notices, facts; the log says so, and
    numbers go on."""
    journal = opened(old)
    before = everything(journal)
    journal.close()
    new = tmp_path / "new.db"
    told = list(stages(old, new))
    assert all(part in text for part, text in zip(STAGES, told, strict=True)), told
    journal = opened(new)
    assert everything(journal) == before
    last = journal.replay()[-1]
    assert (last.seq, last.action, last.actor, last.evidence["credentials"]) == (5, "journal.moved", "uid:0(root)", 2)
    journal.record_events([an_event("e9")])
    assert journal.replay()[-1].seq == 6
    lease = journal.lease("turning")
    assert lease is not None
    journal.commit(lease, lease.record)
    journal.close()


def test_the_old_one_is_refused_by_name(old: Path, tmp_path: Path) -> None:
    """Started on by mistake, or only looked at: a sentence says where it is in force and what to do."""
    list(stages(old, tmp_path / "new.db"))
    for read_only in (False, True):
        with pytest.raises(JournalUnavailable) as told:
            open_journal(f"sqlite:///{old}", VirtualClock(), SeededIds(), read_only=read_only)
        said = str(told.value)
        assert f"was moved to {tmp_path}/new.db at 2026-01-05T12:00:00+00:00 and is in force there" in said
        assert "`rotatord move-journal`" in said
    with pytest.raises(Refused, match="nothing in force to be moved"):
        list(stages(old, tmp_path / "third.db"))
    with contextlib.closing(sqlite3.connect(old)) as connection:
        ((mark,),) = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    assert mark == "moved"  # where a version of rotatord from before this command looks, too


@pytest.mark.parametrize("stage", range(4))
def test_wherever_it_stops_never_two_are_in_force(old: Path, tmp_path: Path, stage: int) -> None:
    """The old one until it has let go; the same command again ends the move, and nothing is doubled or lost."""
    journal = opened(old)
    before = everything(journal)
    journal.close()
    new = tmp_path / "new.db"
    going = stages(old, new)
    for _ in range(stage + 1):
        next(going)
    going.close()  # type: ignore[attr-defined]
    assert in_force(old) is (stage < 2)
    assert in_force(new) is (stage == 3)
    if stage < 3:
        with pytest.raises(JournalUnavailable, match=f"a move from {old} to it has begun and not ended"):
            opened(new)
    assert list(stages(old, new, SeededIds("again")))[-1] == f"{new} is in force"
    assert (in_force(old), in_force(new)) == (False, True)
    journal = opened(new)
    assert everything(journal) == before
    assert [event.action for event in journal.replay()].count("journal.moved") == 1
    journal.close()


def test_there_and_back(old: Path, tmp_path: Path) -> None:
    """To a third place, the one that it came from being taken; each move is in the log."""
    second, third = tmp_path / "second.db", tmp_path / "third.db"
    list(stages(old, second))
    with pytest.raises(Refused, match="was moved away from there"):
        list(stages(second, old, SeededIds("back")))
    list(stages(second, third, SeededIds("on")))
    journal = opened(third)
    assert [event.evidence["from"] for event in journal.replay() if event.action == "journal.moved"] == [str(old), str(second)]
    journal.close()


def test_nothing_is_written_over(old: Path, tmp_path: Path) -> None:
    """A target that holds anything, a daemon that has either of them, a source that is not there or empty, and the copy of
    somebody else's move: refused, and the old one stays in force."""
    other = tmp_path / "other.db"
    journal = opened(other)
    with pytest.raises(JournalUnavailable, match="in use by another daemon"):
        list(stages(old, other))
    journal.set_fact("installation", "inst_2")
    journal.close()
    with pytest.raises(Refused, match="holds a journal already"):
        list(stages(old, other))
    journal = opened(old)
    with pytest.raises(JournalUnavailable, match="in use by another daemon"):
        list(stages(old, tmp_path / "new.db"))
    journal.close()
    with pytest.raises(Refused, match="there is no journal at"):
        list(stages(tmp_path / "none.db", tmp_path / "new.db"))
    assert not (tmp_path / "none.db").exists()
    opened(tmp_path / "empty.db").close()
    with pytest.raises(Refused, match="holds nothing that could be moved"):
        list(stages(tmp_path / "empty.db", tmp_path / "new.db"))
    half = stages(old, tmp_path / "half.db")
    for _ in range(3):
        next(half)
    half.close()  # type: ignore[attr-defined]
    with pytest.raises(Refused, match=f"a move from {old} to .* has not ended: end that one first"):
        list(stages(other, tmp_path / "half.db"))
    assert not in_force(old)
    list(stages(old, tmp_path / "half.db"))


def test_what_does_not_arrive_whole_is_not_put_in_force(old: Path, tmp_path: Path) -> None:
    """A row that can be read back otherwise than it was: the old one stays in force, and nobody else can write meanwhile."""
    new = tmp_path / "new.db"
    going = stages(old, new)
    next(going)
    meanwhile = sqlite3.connect(old, timeout=0, isolation_level=None)
    with contextlib.closing(meanwhile), pytest.raises(sqlite3.OperationalError, match="locked"):
        meanwhile.execute("UPDATE facts SET value = 'other'")
    going.close()  # type: ignore[attr-defined]
    with contextlib.closing(sqlite3.connect(new)) as connection:
        change = "UPDATE facts SET value = 'nothing' WHERE key = 'paused'"
        connection.execute(f"CREATE TRIGGER bad AFTER INSERT ON facts BEGIN {change}; END")
    with pytest.raises(JournalUnavailable, match="holds other facts than were written"):
        list(stages(old, new))
    assert (in_force(old), in_force(new)) == (True, False)


@pytest.mark.parametrize("stage", [0, 2])
def test_another_version_may_end_a_move_but_not_begin_it_anew(old: Path, tmp_path: Path, stage: int) -> None:
    """An upgrade comes between: what is there in full is put in force as the schema that it has, and brought up to date when
    it is opened; what is there by half is not written over in a schema that it has not."""
    new = tmp_path / "new.db"
    going = stages(old, new)
    for _ in range(stage + 1):
        next(going)
    going.close()  # type: ignore[attr-defined]
    for path in (old, new):
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("""UPDATE facts SET value = replace(value, '"schema": "', '"schema": "0') WHERE key = 'move'""")
            connection.commit()
    if stage == 0:
        with pytest.raises(Refused, match="begun by another version of rotatord"):
            list(stages(old, new))
        assert in_force(old)
    else:
        assert list(stages(old, new)) == [f"{new} is in force"]
        with contextlib.closing(sqlite3.connect(new)) as connection:
            ((mark,),) = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        assert mark == "0" + HEAD
