"""The watchdog goes by the journal alone, says things once, and says them again when they come back."""

from __future__ import annotations

from datetime import timedelta

from rotatord.engine import PAUSED
from rotatord.journal.memory import MemoryJournal
from rotatord.model import Policy, Record, Spec, Standing, Version
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


def test_a_pause_is_told_of_daily_until_it_ends() -> None:
    """The one who paused is named; a short pause is nobody's business, and a new one counts anew."""
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
