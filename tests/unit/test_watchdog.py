"""The watchdog goes by the journal alone, says things once, and says them again when they come back."""

from __future__ import annotations

from datetime import timedelta

from rotatord.journal.memory import MemoryJournal
from rotatord.model import Pause, Policy, Record, Spec, Standing, Version
from rotatord.pauses import PAUSED, text_of
from rotatord.ports import Amendment
from rotatord.replacing import replace
from rotatord.testing.clock import SeededIds, VirtualClock
from rotatord.watchdog import Watchdog

DAY = timedelta(days=1)


class Stage:
    """A journal with one credential of ten days, which nobody works on."""

    def __init__(self) -> None:
        self.clock, ids = VirtualClock(), SeededIds(1)
        self.journal = MemoryJournal(self.clock, ids)
        self.dog = Watchdog(self.journal, self.clock, ids)
        spec = Spec(name="cred", issuer="issuer", policy=Policy(max_age=10 * DAY))
        self.journal.put([Amendment(record=Record(name="cred", spec=spec, standing=Standing.MANAGED, current=self.version(1)))])

    def version(self, generation: int) -> Version:
        return Version(
            generation=generation, rotation="r", issuer="issuer", ref="ref", fingerprint="f", minted_at=self.clock.now()
        )

    def after(self, time: timedelta) -> list[str]:
        """What has been told by then."""
        self.clock.advance(time.total_seconds())
        self.dog.look()
        return [notice.text for notice in self.journal.notices(self.clock.now(), 100)]


def test_too_old_is_told_once() -> None:
    """A tenth past its greatest age, not before; and not again with every look."""
    stage = Stage()
    assert stage.after(10.5 * DAY) == []
    assert len(stage.after(DAY)) == 1
    assert len(stage.after(DAY)) == 1


def test_it_is_told_again_when_it_comes_again() -> None:
    """Replaced, and too old once more."""
    stage = Stage()
    stage.after(12 * DAY)
    stage.journal.amend("cred", lambda record: Amendment(record=replace(record, current=stage.version(2))))
    assert len(stage.after(DAY)) == 1
    assert len(stage.after(12 * DAY)) == 2


def test_what_is_not_ours_any_more_is_not_overdue() -> None:
    """A credential that is only remembered has no greatest age."""
    stage = Stage()
    stage.journal.amend("cred", lambda record: Amendment(record=replace(record, standing=Standing.FORGOTTEN)))
    assert stage.after(100 * DAY) == []


def test_a_pause_is_told_of_before_and_after_it_ends() -> None:
    """Daily while it goes on, an hour before its end, and once when it is over, whoever looks how often; with its owner."""
    stage = Stage()
    now = stage.clock.now()
    pause = Pause(owner="ana", until=now + 2.5 * DAY, reason="moving", actor="uid:0(root)", at=now)
    stage.journal.set_fact(PAUSED, text_of(pause))
    assert stage.after(timedelta(hours=23)) == []
    assert "ana (asked by uid:0(root)): moving" in stage.after(timedelta(hours=2))[0]
    assert len(stage.after(DAY)) == 2
    assert "begin again soon" in stage.after(timedelta(hours=10, minutes=30))[-1]
    told = stage.after(timedelta(hours=1))
    assert "has ended by itself" in told[-1]
    assert stage.after(30 * timedelta(minutes=1)) == told
    assert Watchdog(stage.journal, stage.clock, SeededIds(2)).look()  # after a restart
    assert stage.after(DAY / 2) == told
    assert [(event.action, event.actor) for event in stage.journal.replay()] == [("unpause", "rotatord")]


def test_a_pause_without_an_end_is_told_of_daily() -> None:
    """An earlier version wrote no end; the one who paused is named, and a new one counts anew."""
    stage = Stage()
    stage.journal.set_fact(PAUSED, "by me at noon")
    assert stage.after(timedelta(0)) == []
    assert len(told := stage.after(DAY)) == 1
    assert "by me" in told[0]
    assert len(stage.after(DAY / 2)) == 1
    assert len(stage.after(DAY / 2)) == 2
    stage.journal.set_fact(PAUSED, None)
    stage.after(DAY)
    stage.journal.set_fact(PAUSED, "again")
    assert len(stage.after(timedelta(hours=1))) == 2
