"""A record that cannot be read costs only itself: the others are worked on, watched and shown, and everybody hears of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from served import HOUR, Served, listening, record, spec, version
from test_pulse import Ward

from rotatord import apply
from rotatord.api import pages
from rotatord.api.rotate import RotateSelection, rotate
from rotatord.beat import Beat
from rotatord.cli import main
from rotatord.damage import DAMAGED, known
from rotatord.errors import JournalDamaged
from rotatord.journal import open_journal
from rotatord.journal.memory import MemoryJournal
from rotatord.model import Policy, Record
from rotatord.ports import Amendment, Journal
from rotatord.telemetry import Telemetry
from rotatord.testing.clock import START, SeededIds, VirtualClock
from rotatord.watchdog import Watchdog

DAY = timedelta(days=1)
NAMES = ("a", "b", "c")


def late(name: str) -> Record:
    """Due, and by the next day later than people may hear of for the first time."""
    rules = Policy(renew_before=8 * DAY, jitter_percent=0.0)
    current = version(minted_at=START - 27 * DAY, expires_at=START + 3 * DAY)
    return record(name, spec=spec(name, policy=rules), current=current, due_at=START)


def damage(journal: Journal, name: str) -> None:
    bodies = cast("MemoryJournal", journal)._bodies
    bodies[name] = bodies[name].replace('"name"', '"nom"', 1)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture(params=["memory", "sqlite"])
def journal(request: pytest.FixtureRequest, clock: VirtualClock, tmp_path: Path) -> Iterator[Journal]:
    """Three records, and the middle one is damaged."""
    url = "memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/journal.db"
    made = open_journal(url, clock, SeededIds())
    made.put([Amendment(record=late(name)) for name in NAMES])
    if request.param == "memory":
        damage(made, "b")
    else:
        made.close()
        with closing(sqlite3.connect(tmp_path / "journal.db")) as connection, connection:
            connection.execute("UPDATE records SET body = replace(body, '\"name\"', '\"nom\"') WHERE name = 'b'")
        made = open_journal(url, clock, SeededIds(2))
    yield made
    made.close()


def test_the_others_are_claimed(journal: Journal, clock: VirtualClock) -> None:
    """One that is damaged keeps nobody waiting, is tried by nobody before a lease would have run out, and named by whoever
    asks for it."""
    for _ in range(2):
        leases = journal.claim(START, 9)
        assert [lease.name for lease in leases] == ["a", "c"]
        assert journal.next_due() is None  # so that nobody turns around it
        for lease in leases:
            journal.release(lease)
        clock.advance(30)
    with pytest.raises(JournalDamaged, match="of b is damaged"):
        journal.get("b")
    with pytest.raises(JournalDamaged):
        journal.lease("b")


def test_whoever_looks_at_all_must_say_that_it_can_do_without(journal: Journal) -> None:
    """Left out unasked, it would look like one that is not there: what it holds would be a stray, or be made anew."""
    with pytest.raises(JournalDamaged, match="of b is damaged"):
        journal.records()
    damaged: dict[str, str] = {}
    assert [item.name for item in journal.records(limit=2, damaged=damaged)] == ["a"]
    assert list(damaged) == ["b"]
    assert [item.name for item in journal.records(after="b", damaged=damaged)] == ["c"]
    with pytest.raises(JournalDamaged):
        list(apply.declared(journal))
    assert [item.name for item in apply.declared(journal, {})] == ["a", "c"]


def test_the_watchdog_looks_to_the_end(journal: Journal, clock: VirtualClock) -> None:
    """Every other late one is told of, and the damaged one once, with what to do; it is still so after a restart."""
    for number in range(3):
        Watchdog(journal, clock, SeededIds(number + 5)).look()
    told = {(notice.credential, notice.kind): notice.text for notice in journal.notices(clock.now(), 99)}
    assert {name for name, _ in told} == {"a", "b", "c"}
    assert "the stored Record of b is damaged at name" in told["b", "halted"]
    assert "restore the journal from a backup" in told["b", "halted"]
    assert len(journal.notices(clock.now(), 99)) == 3
    assert [(event.credential, event.outcome) for event in journal.replay() if event.action == "alarm"].count(
        ("b", "damaged")
    ) == 1


def test_it_is_found_though_nothing_is_due(clock: VirtualClock) -> None:
    """Nobody asks for a record before its time: the beat looks at each once in a while. One that is mended is forgotten."""
    journal = MemoryJournal(clock, SeededIds())
    journal.put([Amendment(record=record(name)) for name in NAMES])
    whole = journal._bodies["b"]
    damage(journal, "b")
    beat = Beat(journal, clock, SeededIds(3), Telemetry())
    beat.look()
    beat.look()
    assert list(known(journal.fact(DAMAGED))) == ["b"]
    assert len(journal.notices(clock.now(), 9)) == 1
    journal._bodies["b"] = whole
    Watchdog(journal, clock, SeededIds(4)).look()
    assert journal.fact(DAMAGED) is None
    assert [event.outcome for event in journal.replay("b")] == ["damaged", "readable"]


def test_the_signal_does_not_say_that_all_is_well() -> None:
    """Everything goes on, but of that one nobody says anything any more: whoever listens outside hears of it."""
    ward = Ward()
    ward.journal.put([Amendment(record=late(name)) for name in NAMES])
    ward.passes()
    assert ward.pulse.troubles() == []
    whole = ward.journal._bodies["b"]
    damage(ward.journal, "b")
    ward.passes(DAY.total_seconds() * 3)
    (trouble,) = ward.pulse.troubles()
    assert trouble.startswith("nobody can tell how b stands: the stored Record of b is damaged")
    ward.journal._bodies["b"] = whole
    ward.passes()
    assert ward.pulse.troubles() == []


@pytest.mark.parametrize("limit", [1, 2, 3, 9])
def test_status_shows_the_others_and_says_that_it_cannot_tell(limit: int) -> None:
    """On whatever page it stands, and be it the last of one; so does the plan."""
    served = Served(*(record(name) for name in NAMES))
    damage(served.journal, "b")
    for page in (pages.status, pages.plan):
        seen: list[Any] = []
        lost: list[Any] = []
        after: str | None = ""
        while after is not None:
            body = page(served.service, after=after, limit=limit)
            seen += [row["name"] for row in body["credentials"]]
            lost += body["damaged"]
            after = body["next"]
        assert seen == ["a", "c"]
        assert [item["name"] for item in lost] == ["b"]
        assert "restore the journal from a backup" in lost[0]["error"]


def test_an_emergency_rotates_the_others() -> None:
    """All of an issuer at once: whether the damaged one belongs to it nobody can tell, which is not passed over."""
    served = Served(*(record(name) for name in NAMES))
    damage(served.journal, "b")
    outcomes = rotate(served.service, "uid:0(root)", RotateSelection(issuer="cf"))["outcomes"]
    assert [(item["name"], item["accepted"]) for item in outcomes] == [("a", True), ("c", True), ("b", False)]
    assert "nobody can tell" in outcomes[-1]["message"]
    assert served.clock.now() < START + HOUR


def test_commands_say_that_they_cannot_tell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 3: nothing is known to be wrong, and that is not all there is to know. Its own name ends with why."""
    served = Served(*(record(name) for name in NAMES))
    damage(served.journal, "b")
    with listening(served, tmp_path):
        for command in (["status"], ["plan"]):
            assert main.run(["--state-dir", str(tmp_path), *command]) == 3
            out, err = capsys.readouterr()
            assert "I cannot tell how b stands: the stored Record of b is damaged" in out + err
            assert "\nc " in out
        assert main.run(["--state-dir", str(tmp_path), "why", "b"]) == 3
        assert "the stored Record of b is damaged" in "".join(capsys.readouterr())


def test_a_changed_configuration_comes_into_force_for_the_others(journal: Journal) -> None:
    """Also at a start; of the damaged one nothing is made anew, changed or forgotten, whether it is declared or not."""
    changed = {name: replace(late(name).spec, owner="other") for name in NAMES}
    for specs in (changed, {"a": changed["a"], "c": changed["c"], "d": spec("d")}):
        assert apply.refusals(journal, ["cf"], ["file"], specs, {}) == []
        apply.apply(journal, specs, {}, START, SeededIds(7))
        assert [item.spec.owner for item in journal.records(limit=3, damaged={})] == ["other", "other"]
    assert list(journal.names()) == ["a", "b", "c", "d"]
    damaged: dict[str, str] = {}
    journal.records(damaged=damaged)
    assert list(damaged) == ["b"]


def test_it_cannot_be_renamed(journal: Journal) -> None:
    """A credential of its new name would be made over its destinations. Once it has that name, nobody need look back."""
    (problem,) = apply.refusals(journal, ["cf"], ["file"], ["n"], {"n": "b"})
    assert "b cannot be renamed to n yet: its record cannot be read" in str(problem)
    assert apply.refusals(journal, ["cf"], ["file"], ["b"], {"b": "a"}) == []
    apply.apply(journal, {"b": spec("b")}, {"b": "a"}, START, SeededIds(7))
    assert list(journal.names()) == ["a", "b", "c"]
